//! [`Conversation`]: all that a template sees of a request, and how transformers prepares it.

use chrono::NaiveDateTime;
use indexmap::IndexMap;

use crate::{Error, Json};

/// What is to be written in a model's form.
#[derive(Clone, Debug, PartialEq)]
pub struct Conversation {
    /// The turns, each a mapping with a `role` and mostly a `content`.
    pub messages: Vec<Json>,
    /// Functions that the model may call, as JSON schemas.
    pub tools: Option<Vec<Json>>,
    /// Texts that the model may draw on.
    pub documents: Option<Vec<Json>>,
    /// More names that the template sees, such as `enable_thinking`. They win over everything else.
    pub variables: IndexMap<String, Json>,
    /// Whether the text ends where the model begins to answer; true by default.
    pub add_generation_prompt: bool,
    /// Whether the text ends where that of the last message does, so that the model goes on from
    /// there, as transformers has it; no answer begins then.
    pub continue_final_message: bool,
    /// The local time that `strftime_now` tells; the machine's own clock without one.
    pub now: Option<NaiveDateTime>,
}

impl Default for Conversation {
    fn default() -> Conversation {
        Conversation {
            messages: Vec::new(),
            tools: None,
            documents: None,
            variables: IndexMap::new(),
            add_generation_prompt: true,
            continue_final_message: false,
            now: None,
        }
    }
}

impl Conversation {
    /// These turns, and nothing else.
    pub fn new(messages: Vec<Json>) -> Conversation {
        Conversation {
            messages,
            ..Conversation::default()
        }
    }

    /// One question of a user.
    pub fn question(text: &str) -> Conversation {
        Conversation::new(vec![Json::message("user", text)])
    }

    /// The text of the last message that the model is to go on from; none where it is not.
    pub fn continued(&self) -> Option<&str> {
        let last = self.messages.last();
        let last = last.filter(|_| self.continue_final_message)?;
        last.text_at("content")
    }

    /// The bytes that the template has to do with.
    pub(crate) fn weight(&self) -> u64 {
        let lists = [
            Some(&self.messages),
            self.tools.as_ref(),
            self.documents.as_ref(),
        ];
        let lists = lists.into_iter().flatten().flatten();
        lists.chain(self.variables.values()).map(Json::weight).sum()
    }

    /// The messages as `apply_chat_template` of transformers 5.24.0 hands them to a template: keys
    /// whose value is null are gone, and a thought is found under both of its names.
    ///
    /// # Errors
    /// A message that is no mapping.
    pub(crate) fn prepared_messages(&self) -> Result<Vec<Json>, Error> {
        self.messages
            .iter()
            .enumerate()
            .map(|(at, message)| match message {
                Json::Map(map) => Ok(Json::Map(prepared(map))),
                other => Err(Error::NotAMessage {
                    number: at + 1,
                    found: other.kind(),
                }),
            })
            .collect()
    }
}

/// Names under which a thought is given; the first that is there counts.
const THOUGHTS: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

fn prepared(message: &IndexMap<String, Json>) -> IndexMap<String, Json> {
    let kept = || message.iter().filter(|(_, value)| **value != Json::Null);
    let thought = THOUGHTS
        .iter()
        .filter_map(|name| message.get(*name))
        .find(|value| **value != Json::Null);
    // Python's `{"thinking": thought, **message, "reasoning_content": thought}`: a key keeps its
    // first place and takes the last value.
    let mut out = IndexMap::with_capacity(message.len() + 2);
    if let Some(thought) = thought {
        out.insert("thinking".to_owned(), thought.clone());
    }
    out.extend(kept().map(|(key, value)| (key.clone(), value.clone())));
    if let Some(thought) = thought {
        out.insert("reasoning_content".to_owned(), thought.clone());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepare(text: &str) -> Json {
        let conversation = Conversation::new(vec![Json::parse(text).unwrap()]);
        conversation.prepared_messages().unwrap().remove(0)
    }

    fn keys(value: &Json) -> Vec<&str> {
        match value {
            Json::Map(map) => map.keys().map(String::as_str).collect(),
            _ => panic!("no mapping"),
        }
    }

    #[test]
    fn null_keys_are_dropped_from_a_message_and_not_deeper() {
        let got = prepare(r#"{"role": "a", "content": null, "x": {"n": null}, "l": [null]}"#);
        assert_eq!(
            got,
            Json::parse(r#"{"role": "a", "x": {"n": null}, "l": [null]}"#).unwrap()
        );
    }

    #[test]
    fn a_thought_goes_by_both_names_in_the_places_of_a_python_dict() {
        let got = prepare(r#"{"role": "a", "reasoning": "r"}"#);
        assert_eq!(
            keys(&got),
            ["thinking", "role", "reasoning", "reasoning_content"]
        );
        let got = prepare(r#"{"role": "a", "thinking": "t", "reasoning_content": "r"}"#);
        assert_eq!(keys(&got), ["thinking", "role", "reasoning_content"]);
        let expected =
            Json::parse(r#"{"thinking": "t", "role": "a", "reasoning_content": "r"}"#).unwrap();
        assert_eq!(got, expected);
    }

    #[test]
    fn a_message_that_is_no_mapping_is_an_error() {
        let error = Conversation::new(vec![Json::Null])
            .prepared_messages()
            .unwrap_err();
        assert_eq!(
            error,
            Error::NotAMessage {
                number: 1,
                found: "null"
            }
        );
    }
}
