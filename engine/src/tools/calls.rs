//! [`Calls`]: calls of tools, told apart from text as they come.

use std::sync::Arc;

use bitnet_tokenizers::Tokenizer;

use super::body::Reader;
use super::definition::{CallPart, Tools};
use super::form::CallForm;
use crate::generated::Piece;
use crate::stop::begun;
use crate::thoughts::Stretch;

/// What is new of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// Text, or a thought.
    Text(Stretch),
    /// A call.
    Call(CallPart),
}

/// Divides one answer into text and calls. What begins like a call and is none is text, to the last
/// letter. Made by [`Encoder::calls`](crate::Encoder::calls).
#[derive(Clone, Debug)]
pub struct Calls {
    form: &'static CallForm,
    tools: Arc<Tools>,
    tokenizer: Arc<Tokenizer>,
    place: Place,
    held: String,
    /// Whether there was a call.
    called: bool,
}

#[derive(Clone, Debug)]
enum Place {
    /// A call may follow, if it does at once.
    Beginning,
    /// A call may follow anywhere.
    Text,
    Call(Box<Reader>),
    /// No call follows.
    Over,
}

impl Calls {
    pub(crate) fn new(
        form: &'static CallForm,
        tools: Arc<Tools>,
        tokenizer: Arc<Tokenizer>,
    ) -> Calls {
        Calls {
            form,
            tools,
            tokenizer,
            place: match form.open {
                "" => Place::Beginning,
                _ => Place::Text,
            },
            held: String::new(),
            called: false,
        }
    }

    /// Takes what stands of the answer already, and tells nothing of it.
    pub(crate) fn go_on_from(&mut self, begun: &str) {
        self.read(begun, &mut |_| {});
        self.held.clear();
    }

    /// Whether a call has begun, or its mark stands there.
    pub fn is_in_call(&self) -> bool {
        matches!(self.place, Place::Call(_))
    }

    /// What is sure of the answer with one more piece, which says `stretches`: a mark may be a
    /// control token that no text shows.
    pub fn push(&mut self, stretches: Vec<Stretch>, piece: &Piece) -> Vec<Part> {
        let mut parts = Vec::new();
        for stretch in stretches {
            match stretch.thought {
                true => parts.push(Part::Text(stretch)),
                false => self.read(&stretch.text, &mut |part| parts.push(part)),
            }
        }
        let token = piece.token;
        let mark = token.and_then(|token| self.form.spelled(token.id, &self.tokenizer));
        if let Some(mark) = mark {
            self.read(mark, &mut |part| parts.push(part));
        }
        parts
    }

    /// What was held back, once no more comes behind `stretches`.
    pub fn finish(&mut self, stretches: Vec<Stretch>) -> Vec<Part> {
        let mut parts = self.push(stretches, &Piece::default());
        let held = std::mem::take(&mut self.held);
        match std::mem::replace(&mut self.place, Place::Over) {
            // It was cut off.
            Place::Call(reader) if reader.is_inside() => parts.push(Part::Call(CallPart::Ended)),
            Place::Call(mut reader) => {
                let rest = reader.unread();
                if !rest.trim().is_empty() {
                    parts.push(said(&(held + &rest)));
                }
            }
            // Blanks behind a call say nothing.
            _ if held.is_empty() || self.called => {}
            _ => parts.push(said(&held)),
        }
        parts
    }

    fn read(&mut self, text: &str, each: &mut impl FnMut(Part)) {
        let CallForm { open, prefix, .. } = *self.form;
        let mut text = text.to_owned();
        loop {
            match &mut self.place {
                Place::Over => {
                    if !text.is_empty() {
                        each(said(&text));
                    }
                    return;
                }
                Place::Beginning => {
                    self.held.push_str(&text);
                    let start = self.held.trim_start();
                    let start = start.strip_prefix(prefix).unwrap_or(start).trim_start();
                    if start.is_empty() || (!prefix.is_empty() && prefix.starts_with(start)) {
                        return;
                    }
                    if start.starts_with('{') {
                        text = start.to_owned();
                        self.held.truncate(self.held.len() - text.len());
                        self.place = Place::Call(Box::new(Reader::new(self.form)));
                    } else {
                        text = std::mem::take(&mut self.held);
                        self.place = Place::Over;
                    }
                }
                Place::Text => {
                    self.held.push_str(&text);
                    let found = self.held.find(open);
                    let end = found.unwrap_or(self.held.len() - begun(&self.held, open));
                    // Blanks before a call are no part of what is said.
                    let sure = self.held[..end].trim_end().len();
                    if sure > 0 {
                        each(said(&self.held[..sure]));
                    }
                    let Some(at) = found else {
                        self.held.drain(..sure);
                        return;
                    };
                    text = self.held.split_off(at + open.len());
                    self.held.drain(..sure);
                    self.place = Place::Call(Box::new(Reader::new(self.form)));
                }
                Place::Call(reader) => {
                    let read = reader.push(&text, &self.tools, &mut |part| {
                        // What stood before it is a mark.
                        self.held.clear();
                        self.called = true;
                        each(Part::Call(part));
                    });
                    if read == Ok(false) {
                        return;
                    }
                    text = reader.unread();
                    let held = std::mem::take(&mut self.held);
                    self.place = match open {
                        "" => Place::Over,
                        _ => Place::Text,
                    };
                    // A mark without a call is text.
                    if read.is_err() && !held.is_empty() {
                        each(said(&held));
                    }
                }
            }
        }
    }
}

fn said(text: &str) -> Part {
    Part::Text(Stretch {
        text: text.to_owned(),
        thought: false,
    })
}

#[cfg(test)]
mod tests {
    use bitnet_chat_templates::Json;

    use super::*;
    use crate::tools::Tool;

    const HERMES: &str = "<tool_call>";
    const FALCON: &str = "<tool_call>\n[";
    const TAGS: &str = "<tool_call><function=<parameter=";
    const MISTRAL: &str = "[TOOL_CALLS]";
    const LLAMA: &str = "\"parameters\": dictionary of argument name";
    const HUNYUAN: &str = "<tool_calls>";
    const PYTHON: &str = "<|tool_call_start|>";

    fn tokenizer() -> Arc<Tokenizer> {
        let file = bitnet_gguf::Gguf::open("../demo/demo.gguf").unwrap();
        Arc::new(Tokenizer::from_gguf(&file).unwrap())
    }

    /// What is said in `text`, which comes in pieces of `size` characters, and its calls; one that
    /// has not ended is an error.
    fn divided(
        form: &str,
        tokenizer: &Arc<Tokenizer>,
        text: &str,
        size: usize,
    ) -> (String, Vec<(String, String)>) {
        let schema = r#"{"properties": {"zip": {"type": "string"}}}"#;
        let tools = Tools {
            list: vec![Tool::new("f", None, Json::parse(schema).ok())],
            ..Tools::default()
        };
        let form = CallForm::of(form).unwrap();
        let mut calls = Calls::new(form, Arc::new(tools), Arc::clone(tokenizer));
        let mut parts = Vec::new();
        let characters: Vec<char> = text.chars().collect();
        for piece in characters.chunks(size) {
            let text = piece.iter().collect();
            let thought = false;
            parts.extend(calls.push(vec![Stretch { text, thought }], &Piece::default()));
        }
        parts.extend(calls.finish(Vec::new()));
        let (mut said, mut made, mut inside) = (String::new(), Vec::new(), false);
        for part in parts {
            match part {
                Part::Text(stretch) => said.push_str(&stretch.text),
                Part::Call(CallPart::Begun { name }) => {
                    assert!(!std::mem::replace(&mut inside, true), "{text:?} by {size}");
                    made.push((name, String::new()));
                }
                Part::Call(CallPart::Arguments(text)) => {
                    made.last_mut().unwrap().1.push_str(&text);
                }
                Part::Call(CallPart::Ended) => assert!(std::mem::replace(&mut inside, false)),
            }
        }
        assert!(!inside, "{text:?} by {size}");
        (said, made)
    }

    #[test]
    fn calls_are_read_in_every_form_however_the_text_is_cut() {
        let tokenizer = tokenizer();
        let one = r#"{"name": "f", "arguments": {"a": "}\"<", "b": [1, {}]}}"#;
        let f: (&str, &str) = ("f", r#"{"a": "}\"<", "b": [1, {}]}"#);
        let g = ("g", "{}");
        let hermes = format!("Well.\n<tool_call>\n{one}\n</tool_call>");
        let two = format!(
            "<tool_call>{one}</tool_call>\n<tool_call>\n{{\"name\":\"g\",\"arguments\":{{}}}}\n</tool_call>\n"
        );
        let list = format!("<tool_call>\n[\n  {one},\n  {{\"name\": \"g\"}}\n]\n</tool_call>");
        let turned = r#"<tool_call>{"arguments": {"x": 1}, "name": "h"}</tool_call>"#;
        let quoted = r#"<tool_call>{"name": "h", "arguments": "{\"x\": 1}"}</tool_call>"#;
        let more = r#"<tool_call>{"name": "h", "arguments": {"x": 1}, "id": "}"}</tool_call> So."#;
        let tags = "<tool_call>\n<function=f>\n<parameter=zip>\n0123\n</parameter>\n\
            <parameter=n>\n5\n</parameter>\n<parameter=text>\ntwo\nlines\n</parameter>\n\
            </function>\n</tool_call>";
        let no_parameter = "<tool_call>\n<function=g>\n</function>\n</tool_call>";
        let mistral = format!("[TOOL_CALLS][{one}, {{\"name\": \"g\", \"arguments\": {{}}}}]");
        let llama = r#"{"name": "g", "parameters": {}}; {"name": "h", "parameters": {"x": 1}}"#;
        let typed = r#" <|python_tag|>{"type": "function", "name": "g", "parameters": {}}"#;
        let h = ("h", r#"{"x": 1}"#);
        let compact = ("h", r#"{"x":1}"#);
        let spelled = r#"{"zip": "0123", "n": 5, "text": "two\nlines"}"#;
        let hunyuan =
            format!("So<tool_calls>[{one}, {{\"name\": \"g\", \"arguments\": {{}}}}]</tool_calls>");
        let python = "So.\n<|tool_call_start|>\n```python\nf(a='}\\\"<', b=[1, {}])\ng()\n\
            h(x = 1)\n```\n<|tool_call_end|>\n";
        let f_compact = ("f", r#"{"a":"}\"<","b":[1,{}]}"#);
        let h_compact = compact;
        let listed = "<|tool_call_start|>[g(), h(x=1)]<|tool_call_end|>";
        let cut = r#"<tool_call>{"name": "f", "arguments": {"a": "b"#;
        for (form, text, said, calls) in [
            (HERMES, &hermes[..], "Well.", vec![f]),
            (HERMES, &two, "", vec![f, g]),
            (HERMES, &list, "", vec![f, g]),
            (HERMES, turned, "", vec![compact]),
            (HERMES, quoted, "", vec![h]),
            (HERMES, more, " So.", vec![h]),
            (HERMES, cut, "", vec![("f", r#"{"a": "b"#)]),
            (FALCON, &list, "", vec![f, g]),
            (TAGS, tags, "", vec![("f", spelled)]),
            (TAGS, no_parameter, "", vec![g]),
            (MISTRAL, &mistral, "", vec![f, g]),
            (HUNYUAN, &hunyuan, "So", vec![f, g]),
            (PYTHON, python, "So.", vec![f_compact, g, h_compact]),
            (PYTHON, listed, "", vec![g, h_compact]),
            (LLAMA, llama, "", vec![g, h]),
            (LLAMA, typed, "", vec![g]),
        ] {
            let calls = calls.iter().map(|(name, arguments)| {
                let own = |text: &str| text.to_owned();
                (own(name), own(arguments))
            });
            let expected = (said.to_owned(), calls.collect::<Vec<_>>());
            for size in 1..=text.chars().count() {
                let found = divided(form, &tokenizer, text, size);
                assert_eq!(found, expected, "{text:?} by {size}");
            }
        }
    }

    #[test]
    fn what_is_no_call_is_text_to_the_last_letter() {
        let tokenizer = tokenizer();
        for (form, text) in [
            (HERMES, "a < b, <tool_ca"),
            (HERMES, "Write <tool_call> before it. "),
            (HERMES, "<tool_call>{\"no name\": 1}</tool_call>"),
            (HERMES, "<tool_call>\n{\"name\": \"f\", \"argum"),
            (HERMES, "  \n"),
            (TAGS, "<tool_call>{\"name\": \"f\"}"),
            (
                PYTHON,
                "<|tool_call_start|>\n```python\nf(1)\n```\n<|tool_call_end|>",
            ),
            (PYTHON, "<|tool_call_start|>[f(a='x"),
            (MISTRAL, "[TOOL_CALLS][1, 2]"),
            (HUNYUAN, "<tool_calls>\n[\n{\"no name\": 1}]</tool_calls>"),
            (LLAMA, "{\"answer\": {\"x\": 1}} and more"),
            (LLAMA, "<|python_tag|>print(1)"),
            (LLAMA, "See {\"name\": \"g\", \"parameters\": {}}"),
        ] {
            for size in 1..=text.chars().count() {
                let (said, calls) = divided(form, &tokenizer, text, size);
                assert_eq!((&said[..], calls.len()), (text, 0), "{text:?} by {size}");
            }
        }
    }
}
