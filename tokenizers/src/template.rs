//! [`PromptTemplate`]: how a prompt is put to a model that was trained on conversations,
//! and which way a model wants.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use bitnet_gguf::Gguf;

use crate::{Special, Tokenizer};

/// A way to put a prompt to a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PromptTemplate {
    /// As it is: the model continues the text.
    Raw,
    /// `[INST] PROMPT [/INST]`.
    Instruct,
    /// LLaMA-3's headers and `<|eot_id|>`, ending where the assistant begins to speak.
    Llama3Chat,
}

/// What is asked for on a command line: one template, or the one that the model wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TemplateChoice {
    /// [`PromptTemplate::detect`].
    #[default]
    Auto,
    /// This one.
    Fixed(PromptTemplate),
}

/// What gave a template away, in the order in which it is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Evidence {
    /// `tokenizer.chat_template` in the model file, or the one that came with the tokenizer.
    ChatTemplate,
    /// Tokens of the vocabulary.
    Tokens,
    /// Words in the path of the model.
    Path,
    /// Nothing did; most models that are run were trained on instructions.
    Fallback,
}

impl PromptTemplate {
    /// Every template.
    pub const ALL: [PromptTemplate; 3] = [
        PromptTemplate::Raw,
        PromptTemplate::Instruct,
        PromptTemplate::Llama3Chat,
    ];

    /// The name in command lines and receipts.
    pub const fn name(self) -> &'static str {
        match self {
            PromptTemplate::Raw => "raw",
            PromptTemplate::Instruct => "instruct",
            PromptTemplate::Llama3Chat => "llama3-chat",
        }
    }

    /// The template that a model wants, and how that is known. `model` is its path, or its name.
    pub fn detect(gguf: &Gguf, tokenizer: &Tokenizer, model: &Path) -> (PromptTemplate, Evidence) {
        let metadata = gguf.metadata().get("tokenizer.chat_template");
        let template = metadata
            .and_then(|value| value.as_str())
            .or(tokenizer.chat_template());
        let has = |text: &str| {
            (0..tokenizer.vocab_size()).any(|id| tokenizer.token_text(id as u32) == Some(text))
        };
        let path = model.to_string_lossy().to_lowercase();
        template
            .and_then(by_chat_template)
            .map(|found| (found, Evidence::ChatTemplate))
            .or_else(|| by_tokens(has).map(|found| (found, Evidence::Tokens)))
            .or_else(|| by_path(&path).map(|found| (found, Evidence::Path)))
            .unwrap_or((PromptTemplate::Instruct, Evidence::Fallback))
    }

    /// The text to encode, without the token that begins a text. Where a template has no place of
    /// its own for the `system` prompt, it goes before the prompt.
    pub fn apply(self, prompt: &str, system: Option<&str>) -> String {
        match (self, system) {
            (PromptTemplate::Raw, None) => prompt.to_owned(),
            (PromptTemplate::Raw, Some(system)) => format!("{system}\n\n{prompt}"),
            (PromptTemplate::Instruct, None) => format!("[INST] {prompt} [/INST]"),
            (PromptTemplate::Instruct, Some(system)) => {
                format!("[INST] <<SYS>>\n{system}\n<</SYS>>\n\n{prompt} [/INST]")
            }
            (PromptTemplate::Llama3Chat, system) => {
                let turn = |role: &str, text: &str| {
                    format!("<|start_header_id|>{role}<|end_header_id|>\n\n{text}<|eot_id|>")
                };
                let system = system.map(|text| turn("system", text)).unwrap_or_default();
                let user = turn("user", prompt);
                format!("{system}{user}<|start_header_id|>assistant<|end_header_id|>\n\n")
            }
        }
    }

    /// The text of a further turn, behind an answer that the model has given: the answer's end,
    /// then the prompt.
    pub fn follow(self, prompt: &str) -> String {
        match self {
            PromptTemplate::Raw => prompt.to_owned(),
            PromptTemplate::Instruct => format!(" {}", self.apply(prompt, None)),
            PromptTemplate::Llama3Chat => format!("<|eot_id|>{}", self.apply(prompt, None)),
        }
    }

    /// How to read special tokens in the text of [`PromptTemplate::apply`].
    pub const fn special(self) -> Special {
        match self {
            PromptTemplate::Raw => Special::AsText,
            PromptTemplate::Instruct | PromptTemplate::Llama3Chat => Special::Parse,
        }
    }
}

fn by_chat_template(template: &str) -> Option<PromptTemplate> {
    let says = |words: &[&str]| words.iter().any(|word| template.contains(word));
    if says(&["<|eot_id|>", "<|start_header_id|>"]) {
        Some(PromptTemplate::Llama3Chat)
    } else if says(&["[INST]", "### Instruction"]) {
        Some(PromptTemplate::Instruct)
    } else {
        None
    }
}

fn by_tokens(has: impl Fn(&str) -> bool) -> Option<PromptTemplate> {
    if has("<|start_header_id|>") && has("<|eot_id|>") {
        Some(PromptTemplate::Llama3Chat)
    } else if has("[INST]") {
        Some(PromptTemplate::Instruct)
    } else {
        None
    }
}

fn by_path(path: &str) -> Option<PromptTemplate> {
    let says = |words: &[&str]| words.iter().any(|word| path.contains(word));
    if says(&["llama-3", "llama3"]) {
        Some(PromptTemplate::Llama3Chat)
    } else if says(&["instruct", "chat"]) {
        Some(PromptTemplate::Instruct)
    } else {
        None
    }
}

impl TemplateChoice {
    /// Every name that can be given.
    pub const NAMES: [&'static str; 4] = ["auto", "raw", "instruct", "llama3-chat"];

    /// The template, looked for where none was fixed, and how it is known; `None` when it was
    /// given.
    pub fn resolve(
        self,
        gguf: &Gguf,
        tokenizer: &Tokenizer,
        model: &Path,
    ) -> (PromptTemplate, Option<Evidence>) {
        match self {
            TemplateChoice::Fixed(template) => (template, None),
            TemplateChoice::Auto => {
                let (template, evidence) = PromptTemplate::detect(gguf, tokenizer, model);
                (template, Some(evidence))
            }
        }
    }
}

impl FromStr for TemplateChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<TemplateChoice, String> {
        if text == "auto" {
            return Ok(TemplateChoice::Auto);
        }
        let found = PromptTemplate::ALL
            .into_iter()
            .find(|template| template.name() == text);
        found.map(TemplateChoice::Fixed).ok_or_else(|| {
            format!(
                "unknown template `{text}`; known are {}",
                TemplateChoice::NAMES.join(", ")
            )
        })
    }
}

impl fmt::Display for PromptTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Evidence::ChatTemplate => "by the chat template of the model",
            Evidence::Tokens => "by the tokens of its vocabulary",
            Evidence::Path => "by its path",
            Evidence::Fallback => "for want of any hint",
        })
    }
}

#[cfg(test)]
mod tests {
    use bitnet_gguf::{Array, Value, Writer};

    use super::*;

    /// A file with a vocabulary of these tokens and this chat template.
    fn model(tokens: &[&str], template: Option<&str>) -> Gguf {
        let mut writer = Writer::new();
        writer.set("tokenizer.ggml.model", Value::from("gpt2"));
        writer.set("tokenizer.ggml.pre", Value::from("llama-bpe"));
        writer.set(
            "tokenizer.ggml.tokens",
            Value::from(Array::from_strings(tokens.iter().copied())),
        );
        writer.set(
            "tokenizer.ggml.merges",
            Value::from(Array::from_strings(std::iter::empty())),
        );
        if let Some(template) = template {
            writer.set("tokenizer.chat_template", Value::from(template));
        }
        let bytes = writer
            .begin(Vec::new())
            .and_then(|body| body.finish())
            .expect("a file");
        Gguf::from_bytes(bytes).expect("a sound file")
    }

    fn detect(tokens: &[&str], template: Option<&str>, path: &str) -> (PromptTemplate, Evidence) {
        let gguf = model(tokens, template);
        let tokenizer = Tokenizer::from_gguf(&gguf).expect("a tokenizer");
        PromptTemplate::detect(&gguf, &tokenizer, Path::new(path))
    }

    #[test]
    fn the_chat_template_decides_then_tokens_then_the_path_then_instruct() {
        use Evidence::{ChatTemplate, Fallback, Path, Tokens};
        use PromptTemplate::{Instruct, Llama3Chat};
        let llama3 = ["a", "<|start_header_id|>", "<|eot_id|>"];
        let says = "{{ '[INST] ' + message['content'] }}";
        assert_eq!(
            detect(&llama3, Some(says), "llama3.gguf"),
            (Instruct, ChatTemplate)
        );
        assert_eq!(
            detect(&["a"], Some("x<|eot_id|>"), "m.gguf"),
            (Llama3Chat, ChatTemplate)
        );
        assert_eq!(
            detect(&llama3, Some("{{ x }}"), "m.gguf"),
            (Llama3Chat, Tokens)
        );
        assert_eq!(
            detect(&["a", "[INST]"], None, "Llama-3/m.gguf"),
            (Instruct, Tokens)
        );
        assert_eq!(
            detect(&["a"], None, "Llama-3-8B/m.gguf"),
            (Llama3Chat, Path)
        );
        assert_eq!(
            detect(&["a"], None, "models/bitnet-instruct.gguf"),
            (Instruct, Path)
        );
        assert_eq!(
            detect(&["a"], None, "models/unknown.gguf"),
            (Instruct, Fallback)
        );
    }

    #[test]
    fn each_template_puts_the_prompt_where_models_expect_it() {
        use PromptTemplate::{Instruct, Llama3Chat, Raw};
        assert_eq!(Raw.apply("Hi", None), "Hi");
        assert_eq!(Instruct.apply("Hi", None), "[INST] Hi [/INST]");
        assert_eq!(
            Instruct.apply("Hi", Some("Be brief.")),
            "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST]"
        );
        assert_eq!(
            Llama3Chat.apply("Hi", Some("Be brief.")),
            "<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>\
             <|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>\
             <|start_header_id|>assistant<|end_header_id|>\n\n"
        );
        assert_eq!(Raw.special(), Special::AsText);
        assert_eq!(Llama3Chat.special(), Special::Parse);
    }

    #[test]
    fn every_name_is_understood_and_no_other() {
        for name in TemplateChoice::NAMES {
            assert!(name.parse::<TemplateChoice>().is_ok(), "{name}");
        }
        let error = "chatml".parse::<TemplateChoice>().expect_err("unknown");
        assert!(error.contains("llama3-chat"), "{error}");
    }

    #[test]
    fn a_further_turn_ends_the_answer_before_it() {
        assert_eq!(PromptTemplate::Raw.follow("b"), "b");
        assert_eq!(PromptTemplate::Instruct.follow("b"), " [INST] b [/INST]");
        assert_eq!(
            PromptTemplate::Llama3Chat.follow("b"),
            "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nb<|eot_id|>\
             <|start_header_id|>assistant<|end_header_id|>\n\n"
        );
    }
}
