//! [`CallForm`]: how a model writes its calls, which its template tells.

use bitnet_tokenizers::Tokenizer;

/// How a model writes calls of tools.
#[derive(Debug, PartialEq, Eq)]
pub struct CallForm {
    /// What it is called in messages.
    pub name: &'static str,
    /// What a template that teaches it has in it: all of these.
    signs: &'static [&'static str],
    /// What one that teaches another form has in it.
    others: &'static [&'static str],
    /// What stands before calls. Where it is empty, an answer is a call from its beginning on.
    pub(crate) open: &'static str,
    /// What stands behind calls, if anything does.
    pub(super) close: &'static str,
    /// What may stand before an answer that is a call.
    pub(super) prefix: &'static str,
    /// What stands between.
    pub(super) body: Body,
}

/// What stands between the marks of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// `{"name": NAME, ARGUMENTS: {..}}`.
    Json {
        /// The key of the arguments.
        arguments: &'static str,
        /// Whether there are several in a list.
        list: bool,
    },
    /// `<function=NAME> <parameter=KEY> VALUE </parameter> .. </function>`.
    Tags,
    /// `NAME(KEY=VALUE, ..)`, with values as Python writes them, one behind another.
    Python,
}

const fn json(arguments: &'static str) -> Body {
    Body::Json {
        arguments,
        list: false,
    }
}

const LIST: Body = Body::Json {
    arguments: "arguments",
    list: true,
};

/// What templates of GLM and of Hunyuan's third generation have, whose calls stand in the same
/// marks in another form.
const KEYS_AND_VALUES: &[&str] = &["<arg_key>"];

/// Every form. The first whose signs a template has is the template's.
static FORMS: [CallForm; 7] = [
    CallForm {
        name: "tags of Qwen3-Coder and Qwen3.5",
        signs: &["<tool_call>", "<function=", "<parameter="],
        others: &[],
        open: "<tool_call>",
        close: "</tool_call>",
        prefix: "",
        body: Body::Tags,
    },
    CallForm {
        name: "lists of Hunyuan",
        signs: &["<tool_calls>"],
        others: KEYS_AND_VALUES,
        open: "<tool_calls>",
        close: "</tool_calls>",
        prefix: "",
        body: LIST,
    },
    CallForm {
        name: "lists of Falcon3",
        signs: &["<tool_call>\n["],
        others: KEYS_AND_VALUES,
        open: "<tool_call>",
        close: "</tool_call>",
        prefix: "",
        body: LIST,
    },
    CallForm {
        name: "objects of Hermes and Qwen",
        signs: &["<tool_call>"],
        others: KEYS_AND_VALUES,
        open: "<tool_call>",
        close: "</tool_call>",
        prefix: "",
        body: json("arguments"),
    },
    CallForm {
        name: "lists of Mistral",
        signs: &["[TOOL_CALLS]"],
        others: &[],
        open: "[TOOL_CALLS]",
        close: "",
        prefix: "",
        body: LIST,
    },
    CallForm {
        name: "Python of MiniCPM",
        signs: &["<|tool_call_start|>"],
        others: &[],
        open: "<|tool_call_start|>",
        close: "<|tool_call_end|>",
        prefix: "",
        body: Body::Python,
    },
    CallForm {
        name: "objects of LLaMA-3",
        signs: &["\"parameters\": dictionary of argument name"],
        others: &[],
        open: "",
        close: "",
        prefix: "<|python_tag|>",
        body: json("parameters"),
    },
];

impl CallForm {
    /// The form that a template teaches; none where it is none of those that are known.
    pub fn of(template: &str) -> Option<&'static CallForm> {
        let source = template.replace("\\n", "\n").replace("\\\"", "\"");
        let has = |sign: &&str| source.contains(sign);
        let taught =
            |form: &&CallForm| form.signs.iter().all(&has) && !form.others.iter().any(&has);
        FORMS.iter().find(taught)
    }

    /// Whether calls stand behind a mark, so that they can be held to a grammar from there on.
    pub(crate) fn is_held_behind_mark(&self) -> bool {
        !self.open.is_empty() && self.body != Body::Python
    }

    /// The names of all of them.
    pub fn names() -> impl Iterator<Item = &'static str> {
        FORMS.iter().map(|form| form.name)
    }

    /// The mark that a token stands for which no text shows.
    pub(super) fn spelled(&self, id: u32, tokenizer: &Tokenizer) -> Option<&'static str> {
        if !tokenizer.token_bytes(id).is_empty() {
            return None;
        }
        let text = tokenizer.token_text(id)?;
        let mut marks = [self.open, self.close, self.prefix].into_iter();
        marks.find(|mark| *mark == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_teaches_the_form_that_it_shows() {
        for (template, name) in [
            (
                r#"return {{- '<tool_call>\n{"name": <function-name>}\n</tool_call>' }}"#,
                Some("objects of Hermes and Qwen"),
            ),
            (
                r#"{{- 'MUST follow:\n<tool_call>\n[\n  {"name": "function_name"}\n]' }}"#,
                Some("lists of Falcon3"),
            ),
            (
                r"{{- '<tool_call>\n<function=f>\n<parameter=p>\nvalue\n</parameter>' }}",
                Some("tags of Qwen3-Coder and Qwen3.5"),
            ),
            (
                r#"{{- 'in the format {"name": function name, "parameters": dictionary of argument name and its value}.' }}"#,
                Some("objects of LLaMA-3"),
            ),
            ("{{ '[TOOL_CALLS]' }}", Some("lists of Mistral")),
            ("{{ '<tool_calls>' ~ calls }}", Some("lists of Hunyuan")),
            (
                "{{ '<tool_calls>\\n<tool_call>' ~ name ~ '\\n<arg_key>' }}",
                None,
            ),
            ("{{ '<tool_call>' ~ name ~ '\\n<arg_key>' }}", None),
            (
                "{{ '<|tool_call_start|>\\n```python\\n' }}",
                Some("Python of MiniCPM"),
            ),
            ("{{ messages[0].content }}", None),
        ] {
            assert_eq!(CallForm::of(template).map(|form| form.name), name);
        }
    }
}
