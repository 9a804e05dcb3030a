//! What of a conversation a chat template writes nowhere.

use crate::{ChatTemplate, ControlTokens, Conversation, Json, Rendered};

impl ChatTemplate {
    /// The first part of a conversation that the template writes nowhere in what it made of it,
    /// `rendered`: a path such as `messages[1].content`, messages counted from 0.
    ///
    /// Not looked for is the text beside a call, which several models are trained without.
    pub fn left_out(&self, conversation: &Conversation, rendered: &Rendered) -> Option<String> {
        let write = |other: &Conversation| {
            let rendered = self.render(other, &ControlTokens::default());
            rendered.ok().map(|rendered| rendered.text)
        };
        left_out(conversation, &rendered.text, write)
    }
}

/// As [`ChatTemplate::left_out`]; `write` is the template: none where it fails.
fn left_out(
    conversation: &Conversation,
    text: &str,
    write: impl Fn(&Conversation) -> Option<String>,
) -> Option<String> {
    let without = |change: &dyn Fn(&mut Conversation)| {
        let mut other = conversation.clone();
        change(&mut other);
        write(&other).is_some_and(|other| other == text)
    };
    if conversation.tools.is_some() && without(&|other| other.tools = None) {
        return Some("tools".to_owned());
    }
    // Whether all contents are there is seen at once, since most templates copy each as it is.
    let mut marked = conversation.clone();
    for (i, message) in marked.messages.iter_mut().enumerate() {
        if says_something(message) {
            set(message, "content", mark(i).into());
        }
    }
    let marked = write(&marked);
    let is_seen = |i: usize| marked.as_ref().is_some_and(|text| text.contains(&mark(i)));

    for (i, message) in conversation.messages.iter().enumerate() {
        let has_calls = has_calls(message);
        let no_calls = |other: &mut Conversation| {
            set(&mut other.messages[i], "tool_calls", Json::List(Vec::new()));
        };
        if has_calls && without(&no_calls) {
            return Some(format!("messages[{i}].tool_calls"));
        }
        let other_content = |other: &mut Conversation| {
            set(&mut other.messages[i], "content", mark(i).into());
        };
        if says_something(message) && !has_calls && !is_seen(i) && without(&other_content) {
            return Some(format!("messages[{i}].content"));
        }
    }
    None
}

/// A text that no message has.
fn mark(message: usize) -> String {
    format!("\u{1}{message}\u{1}")
}

fn says_something(message: &Json) -> bool {
    message
        .text_at("content")
        .is_some_and(|text| !text.trim().is_empty())
}

fn has_calls(message: &Json) -> bool {
    matches!(message, Json::Map(entries) if entries.contains_key("tool_calls"))
}

fn set(message: &mut Json, key: &str, value: Json) {
    if let Json::Map(entries) = message {
        entries.insert(key.to_owned(), value);
    }
}
