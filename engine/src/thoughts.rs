//! Thoughts that a model writes before its answer, told apart from it as they come.

use std::sync::Arc;

use bitnet_tokenizers::Tokenizer;

use crate::constraint::Thought;
use crate::generated::Piece;
use crate::stop::begun;

/// What stands before and behind a thought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marks {
    open: &'static str,
    close: &'static str,
}

const fn marks(open: &'static str, close: &'static str) -> Marks {
    Marks { open, close }
}

/// Marks that models are known to write: Qwen3, DeepSeek-R1 and most others; Magistral; Command A
/// Reasoning; Seed-OSS; MiniCPM3 and 4.
const KNOWN: [Marks; 5] = [
    marks("<think>", "</think>"),
    marks("[THINK]", "[/THINK]"),
    marks("<|START_THINKING|>", "<|END_THINKING|>"),
    marks("<seed:think>", "</seed:think>"),
    marks("<|thought_start|>", "<|thought_end|>"),
];

impl Marks {
    /// The marks of a model: those that its template writes, else those that are tokens of its
    /// vocabulary; none where it does not think.
    pub(crate) fn of(template: Option<&str>, tokenizer: &Tokenizer) -> Option<Marks> {
        let in_template = |mark: &str| template.is_some_and(|source| source.contains(mark));
        let is_token = |mark: &str| tokenizer.special_tokens().any(|(_, text, _)| text == mark);
        let mut known = KNOWN.into_iter();
        known
            .clone()
            .find(|marks| in_template(marks.open) || in_template(marks.close))
            .or_else(|| known.find(|marks| is_token(marks.open) && is_token(marks.close)))
    }

    /// The mark that a token stands for.
    pub(crate) fn spelled(&self, id: u32, tokenizer: &Tokenizer) -> Option<&'static str> {
        let text = tokenizer.token_text(id)?;
        [self.open, self.close]
            .into_iter()
            .find(|mark| *mark == text)
    }
}

/// A stretch of what a model writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The text.
    pub text: String,
    /// Whether it is of a thought, without its marks and the line breaks beside them.
    pub thought: bool,
}

/// What an answer is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// A thought may begin, or what is said.
    Beginning,
    Thought,
    Answer,
}

/// Divides one answer into its thought and what is said, piece by piece. Made by
/// [`Encoder::thinking`](crate::Encoder::thinking).
#[derive(Clone, Debug)]
pub struct Thinking {
    thoughts: Thoughts,
    tokenizer: Arc<Tokenizer>,
}

impl Thinking {
    pub(crate) fn begin(marks: Marks, prompt: &str, tokenizer: &Arc<Tokenizer>) -> Thinking {
        Thinking {
            thoughts: Thoughts::begin(marks, prompt),
            tokenizer: Arc::clone(tokenizer),
        }
    }

    /// What is sure of the answer with one more piece, which may be a control token that no text
    /// shows.
    pub fn push(&mut self, piece: &Piece) -> Vec<Stretch> {
        let tokenizer = &self.tokenizer;
        let hidden = piece
            .token
            .filter(|token| tokenizer.token_bytes(token.id).is_empty());
        let mark = hidden.and_then(|token| self.thoughts.marks.spelled(token.id, tokenizer));
        let mut stretches = Vec::new();
        let text = format!("{}{}", piece.text, mark.unwrap_or_default());
        self.thoughts.push(&text, |stretch| stretches.push(stretch));
        stretches
    }

    /// Takes what stands of the answer already, and tells nothing of it.
    pub(crate) fn go_on_from(&mut self, begun: &str) {
        self.thoughts.push(begun, |_| {});
        self.thoughts.held.clear();
    }

    /// Whether it is within a thought, or between the mark that opens one and its first word.
    pub fn is_open(&self) -> bool {
        matches!(self.thoughts.place, Place::Opened | Place::Thought)
    }

    /// Takes a token with its text, as [`Thinking::push`] does.
    pub(crate) fn see(&mut self, token: u32, text: &str) {
        let mark = match text.is_empty() {
            true => self.thoughts.marks.spelled(token, &self.tokenizer),
            false => None,
        };
        self.thoughts.push(mark.unwrap_or(text), |_| {});
    }

    /// What is being written.
    pub(crate) fn stage(&self) -> Stage {
        match self.thoughts.place {
            Place::Beginning => Stage::Beginning,
            Place::Opened | Place::Thought => Stage::Thought,
            Place::Closed | Place::Answer => Stage::Answer,
        }
    }

    /// What of it decides where an answer begins, at the beginning of one; nothing where there is
    /// no thought to come.
    pub(crate) fn recipe(&self) -> Option<Thought> {
        let Marks { open, close } = self.thoughts.marks;
        let opened = match self.stage() {
            Stage::Beginning => false,
            Stage::Thought => true,
            Stage::Answer => return None,
        };
        Some(Thought {
            open: open.to_owned(),
            close: close.to_owned(),
            opened,
        })
    }

    /// What a recipe says; nothing where its marks are unknown.
    pub(crate) fn of_recipe(thought: &Thought, tokenizer: &Arc<Tokenizer>) -> Option<Thinking> {
        let mut known = KNOWN.into_iter();
        let marks = known.find(|it| it.open == thought.open && it.close == thought.close)?;
        let prompt = if thought.opened { marks.open } else { "" };
        Some(Thinking::begin(marks, prompt, tokenizer))
    }

    /// The token that opens a thought, if it is one.
    pub(crate) fn opening(&self) -> Option<u32> {
        let mut tokens = self.tokenizer.special_tokens();
        let open = tokens.find(|(_, text, _)| *text == self.thoughts.marks.open);
        open.map(|(id, ..)| id)
    }

    /// What was held back, once no more comes.
    pub fn finish(&mut self) -> Vec<Stretch> {
        let mut stretches = Vec::new();
        self.thoughts.finish(|stretch| stretches.push(stretch));
        stretches
    }
}

/// Divides the text of one answer, however it is cut into pieces. A thought is what stands between
/// marks at its beginning; marks anywhere else are text.
#[derive(Clone, Debug)]
pub(crate) struct Thoughts {
    marks: Marks,
    place: Place,
    held: String,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    /// Nothing but blanks and line breaks so far.
    Beginning,
    /// Behind the opening mark.
    Opened,
    Thought,
    /// Behind the closing mark.
    Closed,
    Answer,
}

impl Thoughts {
    /// Begins an answer behind `prompt`, which may have opened the thought already.
    pub(crate) fn begin(marks: Marks, prompt: &str) -> Thoughts {
        let prompt = prompt.trim_end();
        Thoughts {
            marks,
            place: if prompt.ends_with(marks.open) {
                Place::Opened
            } else if prompt.ends_with(marks.close) {
                // The prompt has thought already, or says that nothing is to be thought.
                Place::Closed
            } else {
                Place::Beginning
            },
            held: String::new(),
        }
    }

    /// Takes more text, and calls `each` with what is sure now.
    pub(crate) fn push(&mut self, text: &str, mut each: impl FnMut(Stretch)) {
        let Marks { open, close } = self.marks;
        self.held.push_str(text);
        loop {
            match self.place {
                Place::Beginning => {
                    let begun = self.held.trim_start();
                    if let Some(rest) = begun.strip_prefix(open) {
                        self.held = rest.to_owned();
                        self.place = Place::Opened;
                    } else if open.starts_with(begun) {
                        return;
                    } else {
                        self.place = Place::Answer;
                    }
                }
                Place::Opened | Place::Closed => {
                    self.held = self.held.trim_start_matches('\n').to_owned();
                    if self.held.is_empty() {
                        return;
                    }
                    self.place = match self.place {
                        Place::Opened => Place::Thought,
                        _ => Place::Answer,
                    };
                }
                Place::Thought => {
                    let closed = self.held.find(close);
                    let end = closed.unwrap_or(self.held.len() - begun(&self.held, close));
                    let sure = self.held[..end].trim_end_matches('\n').len();
                    give(&self.held[..sure], true, &mut each);
                    let Some(at) = closed else {
                        self.held.drain(..sure);
                        return;
                    };
                    self.held.drain(..at + close.len());
                    self.place = Place::Closed;
                }
                Place::Answer => {
                    give(&std::mem::take(&mut self.held), false, &mut each);
                    return;
                }
            }
        }
    }

    /// Calls `each` with what was held back, once no more text comes.
    pub(crate) fn finish(&mut self, mut each: impl FnMut(Stretch)) {
        let held = std::mem::take(&mut self.held);
        match self.place {
            Place::Opened | Place::Closed => {}
            Place::Thought => give(held.trim_end_matches('\n'), true, &mut each),
            Place::Beginning | Place::Answer => give(&held, false, &mut each),
        }
    }
}

fn give(text: &str, thought: bool, each: &mut impl FnMut(Stretch)) {
    if !text.is_empty() {
        let text = text.to_owned();
        each(Stretch { text, thought });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The thought and the answer in `text`, which comes in pieces of `size` characters.
    fn divided(prompt: &str, text: &str, size: usize) -> (String, String) {
        let mut thoughts = Thoughts::begin(KNOWN[0], prompt);
        let (mut thought, mut answer) = (String::new(), String::new());
        let mut each = |stretch: Stretch| match stretch.thought {
            true => thought.push_str(&stretch.text),
            false => answer.push_str(&stretch.text),
        };
        let characters: Vec<char> = text.chars().collect();
        for piece in characters.chunks(size) {
            thoughts.push(&piece.iter().collect::<String>(), &mut each);
        }
        thoughts.finish(&mut each);
        (thought, answer)
    }

    #[test]
    fn a_thought_is_divided_from_its_answer_however_it_is_cut() {
        for (prompt, text, thought, answer) in [
            (
                "",
                "<think>\na < b\n\nc\n</think>\n\nYes.\n",
                "a < b\n\nc",
                "Yes.\n",
            ),
            ("", "\n<think></think>Yes", "", "Yes"),
            ("", " <thin ice", "", " <thin ice"),
            ("", "See <think>x</think>", "", "See <think>x</think>"),
            ("", "<think>x</think>y</think>", "x", "y</think>"),
            ("", "<think>\nnever done</thi", "never done</thi", ""),
            ("Assistant: <think>\n", "so\n</think>\nYes", "so", "Yes"),
            ("<think>\n\n</think>\n\n", "Yes", "", "Yes"),
            ("", "  ", "", "  "),
        ] {
            for size in 1..=text.chars().count() {
                let expected = (thought.to_owned(), answer.to_owned());
                assert_eq!(divided(prompt, text, size), expected, "{text:?} by {size}");
            }
        }
    }
}
