//! Keeping control tokens that came with a conversation apart from those that the template wrote.
//!
//! Each control token in a text of the conversation is put between two private characters before
//! rendering, and the rendered text is cut at them afterwards, as transformers does it
//! (`mark_control_tokens`, `encode_marked_chat`). The characters stand around the token and not in
//! it, so that a template which splits a text at `</think>` still finds it.

use crate::{Conversation, Json};

const START: char = '\u{f0000}';
const END: char = '\u{f0001}';
const MARKS: [char; 2] = [START, END];

/// A stretch of rendered text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// Text: to be encoded with the control tokens off, as one stretch.
    Text(String),
    /// A control token that the template wrote: its id and nothing else.
    Control(String),
}

/// The control tokens of a vocabulary, as far as they matter to a template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlTokens {
    longest_first: Vec<String>,
    /// The bytes with which a token begins.
    starts: Vec<u8>,
}

impl ControlTokens {
    /// The vocabulary's tokens of type control. Those of type user-defined (`<think>`) belong here
    /// only where the template writes them: see [`ControlTokens::with_user_defined`].
    pub fn new<T: Into<String>>(tokens: impl IntoIterator<Item = T>) -> ControlTokens {
        let mut longest_first: Vec<String> = tokens.into_iter().map(Into::into).collect();
        longest_first.retain(|token| !token.is_empty());
        longest_first.sort_by(|a, b| b.chars().count().cmp(&a.chars().count()).then(a.cmp(b)));
        longest_first.dedup();
        let mut starts: Vec<u8> = longest_first.iter().map(|t| t.as_bytes()[0]).collect();
        starts.sort_unstable();
        starts.dedup();
        ControlTokens {
            longest_first,
            starts,
        }
    }

    /// Adds the user-defined tokens whose text stands in the template `source`, except blanks, of
    /// which some vocabularies define whole runs.
    #[must_use]
    pub fn with_user_defined<'a>(
        self,
        tokens: impl IntoIterator<Item = &'a str>,
        source: &str,
    ) -> ControlTokens {
        let added = tokens
            .into_iter()
            .filter(|token| !token.trim().is_empty() && source.contains(token))
            .map(str::to_owned);
        ControlTokens::new(self.longest_first.into_iter().chain(added))
    }

    /// The tokens, the longest first.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.longest_first.iter().map(String::as_str)
    }

    /// The first token in `text`, the longest of those that begin there: where it begins, and it.
    fn find<'t>(&self, text: &'t str) -> Option<(usize, &'t str)> {
        let bytes = text.as_bytes();
        (0..bytes.len())
            .filter(|&at| self.starts.contains(&bytes[at]))
            .find_map(|at| {
                let rest = &bytes[at..];
                let found = self
                    .iter()
                    .find(|token| rest.starts_with(token.as_bytes()))?;
                Some((at, &text[at..at + found.len()]))
            })
    }

    /// The conversation with its control tokens between the private characters, and whether that
    /// changed anything. Private characters that were there are removed: nobody forges a mark.
    pub(crate) fn mark(&self, conversation: &Conversation) -> (Conversation, bool) {
        let mut marked = conversation.clone();
        let mut any = false;
        let lists = [
            Some(&mut marked.messages),
            marked.tools.as_mut(),
            marked.documents.as_mut(),
        ];
        for value in lists
            .into_iter()
            .flatten()
            .flatten()
            .chain(marked.variables.values_mut())
        {
            self.mark_value(value, &mut any);
        }
        (marked, any)
    }

    fn mark_value(&self, value: &mut Json, any: &mut bool) {
        match value {
            Json::Text(text) => self.mark_text(text, any),
            Json::List(items) => items.iter_mut().for_each(|item| self.mark_value(item, any)),
            Json::Map(map) => {
                map.values_mut().for_each(|item| self.mark_value(item, any));
                // Names come with a conversation, too: those of a tool's parameters.
                let mut any_name = false;
                let names = map.keys().cloned();
                let mut names: Vec<String> = names.collect();
                for name in &mut names {
                    self.mark_text(name, &mut any_name);
                }
                if any_name {
                    *any = true;
                    let values = std::mem::take(map).into_values();
                    *map = names.into_iter().zip(values).collect();
                }
            }
            Json::Null | Json::Bool(_) | Json::Int(_) | Json::Float(_) => {}
        }
    }

    fn mark_text(&self, text: &mut String, any: &mut bool) {
        if text.contains(MARKS) {
            *any = true;
            *text = unmarked(text);
        }
        let mut out = String::new();
        let mut rest = text.as_str();
        while let Some((at, token)) = self.find(rest) {
            out.push_str(&rest[..at]);
            out.push(START);
            out.push_str(token);
            out.push(END);
            rest = &rest[at + token.len()..];
        }
        let begins_one = self.ends_with_beginning(rest);
        if begins_one || !out.is_empty() {
            *any = true;
            out.push_str(rest);
            // So that what follows, another message perhaps, makes no token of it.
            out.extend(begins_one.then_some(END));
            *text = out;
        }
    }

    /// Whether the end of `text` is the beginning of a token, and not all of it.
    fn ends_with_beginning(&self, text: &str) -> bool {
        self.iter().any(|token| {
            let mut cuts = token.char_indices().map(|(at, _)| at).skip(1);
            cuts.any(|at| !token[..at].trim().is_empty() && text.ends_with(&token[..at]))
        })
    }

    /// Cuts rendered text, marked or not, into stretches of text and the template's own tokens.
    pub(crate) fn cut(&self, marked: &str) -> Vec<Segment> {
        let mut segments = Vec::new();
        let mut stretch = String::new();
        let mut rest = marked;
        while !rest.is_empty() {
            let mark = rest.find(MARKS).unwrap_or(rest.len());
            self.cut_plain(&rest[..mark], &mut stretch, &mut segments);
            rest = &rest[mark..];
            let Some(first) = rest.chars().next() else {
                break;
            };
            let behind = &rest[first.len_utf8()..];
            rest = match self.marked_token(first, behind) {
                Some(token) => {
                    stretch.push_str(token);
                    &behind[token.len() + END.len_utf8()..]
                }
                None => behind,
            };
        }
        end(&mut stretch, &mut segments);
        segments
    }

    /// The token between the two characters, of which `first` is the first.
    fn marked_token<'t>(&self, first: char, behind: &'t str) -> Option<&'t str> {
        let (inner, _) = behind.split_once(END).filter(|_| first == START)?;
        self.longest_first
            .iter()
            .any(|token| token == inner)
            .then_some(inner)
    }

    fn cut_plain(&self, text: &str, stretch: &mut String, segments: &mut Vec<Segment>) {
        let mut rest = text;
        while let Some((at, token)) = self.find(rest) {
            stretch.push_str(&rest[..at]);
            end(stretch, segments);
            segments.push(Segment::Control(token.to_owned()));
            rest = &rest[at + token.len()..];
        }
        stretch.push_str(rest);
    }
}

fn end(stretch: &mut String, segments: &mut Vec<Segment>) {
    if !stretch.is_empty() {
        segments.push(Segment::Text(std::mem::take(stretch)));
    }
}

/// `text` without the private characters.
pub(crate) fn unmarked(text: &str) -> String {
    text.replace(MARKS, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Segment {
        Segment::Text(text.into())
    }

    fn control(token: &str) -> Segment {
        Segment::Control(token.into())
    }

    #[test]
    fn longer_tokens_go_first_and_marked_ones_are_text() {
        let tokens = ControlTokens::new(["<e>", "<e><f>"]);
        let marked = "a<e>b\u{f0000}<e>\u{f0001}c<e><f>\u{f0000}d\u{f0001}";
        let expected = [
            text("a"),
            control("<e>"),
            text("b<e>c"),
            control("<e><f>"),
            text("d"),
        ];
        assert_eq!(tokens.cut(marked), expected);
    }

    #[test]
    fn a_control_token_that_meets_a_lone_mark_is_the_templates() {
        let tokens = ControlTokens::new(["<e>"]);
        assert_eq!(tokens.cut("\u{f0000}<e>x"), [control("<e>"), text("x")]);
        assert_eq!(tokens.cut("<\u{f0001}e>"), [text("<e>")]);
    }

    #[test]
    fn names_and_values_of_every_list_are_marked() {
        let tokens = ControlTokens::new(["<e>"]);
        let mut conversation = Conversation::question("a<e>");
        conversation.tools = Some(vec![Json::map([("<e>", "<e>".into())])]);
        let (marked, any) = tokens.mark(&conversation);
        assert!(any);
        assert_eq!(
            marked.messages[0],
            Json::message("user", "a\u{f0000}<e>\u{f0001}")
        );
        let tool = Json::map([("\u{f0000}<e>\u{f0001}", "\u{f0000}<e>\u{f0001}".into())]);
        assert_eq!(marked.tools, Some(vec![tool]));
        assert!(!tokens.mark(&Conversation::question("a < e >")).1);
        let forged = Conversation::question("\u{f0000}<\u{f0001}e>");
        let (marked, any) = tokens.mark(&forged);
        assert!(any);
        assert_eq!(marked, Conversation::question("\u{f0000}<e>\u{f0001}"));
    }

    #[test]
    fn a_token_that_is_cut_over_two_texts_is_text() {
        let tokens = ControlTokens::new(["<|end|>"]);
        let mut conversation = Conversation::question("a<|en");
        conversation.messages.push(Json::message("user", "d|>b"));
        let (marked, any) = tokens.mark(&conversation);
        assert!(any);
        let texts = marked.messages.iter().filter_map(|m| m.text_at("content"));
        let joined: String = texts.collect();
        assert_eq!(tokens.cut(&joined), [text("a<|end|>b")]);
        // A role that a template puts between the parts of a token is one.
        assert!(!tokens.mark(&Conversation::question("end")).1);
    }

    #[test]
    fn user_defined_tokens_count_where_the_template_writes_them() {
        let tokens = ControlTokens::new(["<e>"]);
        let tokens = tokens.with_user_defined(["<think>", "   ", "<unused>"], "x   <think>");
        assert_eq!(tokens.iter().collect::<Vec<_>>(), ["<think>", "<e>"]);
    }
}
