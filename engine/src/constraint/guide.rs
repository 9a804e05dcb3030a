//! [`Constraint`], and [`Guide`]: a grammar on its way through one answer.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bitnet_kernels::TokenSet;
use llguidance::Matcher;

use super::error::GrammarError;
use super::grammar::Grammar;
use super::recipe::{Mark, Recipe};
use super::vocabulary::{Vocabulary, refused};
use crate::error::Error;
use crate::thoughts::{Stage, Thinking};

/// A grammar, prepared for a vocabulary. Made by
/// [`Encoder::constraint`](crate::Encoder::constraint); clones share it.
#[derive(Clone)]
pub struct Constraint {
    matcher: Arc<Mutex<Matcher>>,
    grammar: Arc<Grammar>,
    end: u32,
    thinking: Option<Thinking>,
    mark: Option<Mark>,
    /// The control token that the mark is, if it is one.
    mark_token: Option<u32>,
}

impl Constraint {
    pub(crate) fn new(
        vocabulary: &Vocabulary,
        grammar: &Grammar,
    ) -> Result<Constraint, GrammarError> {
        let mut matcher = vocabulary.matcher(grammar)?;
        // What allows nothing at all is found before it is asked for.
        matcher.compute_mask_or_eos().map_err(refused)?;
        if let Some(error) = matcher.get_error() {
            return Err(refused(error));
        }
        // What it would pass over with a warning would not be held to.
        let warnings = matcher.grammar_warnings();
        if let Some(warning) = warnings.first() {
            return Err(refused(warning));
        }
        Ok(Constraint {
            matcher: Arc::new(Mutex::new(matcher)),
            grammar: Arc::new(grammar.clone()),
            end: vocabulary.end,
            thinking: None,
            mark: None,
            mark_token: None,
        })
    }

    /// What it is made of. [`Encoder::constraint_of`](crate::Encoder::constraint_of) makes it
    /// again.
    pub fn recipe(&self) -> Recipe {
        Recipe {
            grammar: Grammar::clone(&self.grammar),
            thought: self.thinking.as_ref().and_then(Thinking::recipe),
            mark: self.mark.clone(),
        }
    }

    /// Leaves what is thought before an answer free: `thinking` tells it apart
    /// ([`Encoder::thinking`](crate::Encoder::thinking)).
    pub fn behind(mut self, thinking: Option<Thinking>) -> Constraint {
        self.thinking = thinking;
        self
    }

    /// Leaves an answer free up to `mark`, which may be a control token, and holds to the grammar
    /// behind it; with `again`, each time, else the answer ends there.
    pub(crate) fn begun_by(mut self, mark: Mark, token: Option<u32>) -> Constraint {
        self.mark = Some(mark);
        self.mark_token = token;
        self
    }
}

impl fmt::Debug for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Constraint")
            .field("mark", &self.mark)
            .finish_non_exhaustive()
    }
}

/// A constraint on its way through one answer.
pub(crate) struct Guide {
    constraint: Constraint,
    matcher: Matcher,
    place: Place,
    /// The end of what was said, as far as it may begin the mark.
    said: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// A thought may begin, or what the grammar allows.
    Beginning,
    Thought,
    /// Before a mark.
    Text,
    Bound,
    Over,
}

impl Guide {
    pub(crate) fn new(constraint: &Constraint) -> Guide {
        let matcher = constraint.matcher.lock();
        let mut guide = Guide {
            matcher: matcher.unwrap_or_else(PoisonError::into_inner).deep_clone(),
            constraint: constraint.clone(),
            place: Place::Beginning,
            said: String::new(),
        };
        match guide.constraint.thinking.as_ref().map(Thinking::stage) {
            None | Some(Stage::Answer) => guide.answer(),
            Some(Stage::Beginning) => {}
            Some(Stage::Thought) => guide.place = Place::Thought,
        }
        guide
    }

    /// What follows a thought begins.
    fn answer(&mut self) {
        self.place = match self.constraint.mark {
            Some(_) => Place::Text,
            None => Place::Bound,
        };
    }

    /// Whether nothing can follow.
    pub(crate) fn is_over(&self) -> bool {
        self.place == Place::Over
    }

    /// The tokens that the grammar leaves no choice about.
    pub(crate) fn forced(&mut self) -> Vec<u32> {
        match self.place {
            Place::Bound => self.matcher.compute_ff_tokens(),
            _ => Vec::new(),
        }
    }

    /// What may come next, with `ends` where the grammar may end; none where all may.
    pub(crate) fn allowed(&mut self, ends: &[u32]) -> Result<Option<TokenSet>, Error> {
        if matches!(self.place, Place::Thought | Place::Text | Place::Over) {
            return Ok(None);
        }
        if self.place == Place::Beginning && self.constraint.mark.is_some() {
            return Ok(None);
        }
        let mask = self.matcher.compute_mask();
        let mask = mask.map_err(|error| Error::Constraint(first_line(&error)))?;
        let end = self.constraint.end;
        let mut allowed = TokenSet::of_bits(mask.as_slice().to_vec());
        if allowed.contains(end) {
            allowed.remove(end);
            ends.iter().for_each(|id| allowed.insert(*id));
        }
        if self.place == Place::Beginning
            && let Some(open) = self
                .constraint
                .thinking
                .as_ref()
                .and_then(Thinking::opening)
        {
            allowed.insert(open);
        }
        Ok(Some(allowed))
    }

    /// Takes a token that was chosen, with its text.
    pub(crate) fn accept(&mut self, token: u32, text: &str) -> Result<(), Error> {
        if matches!(self.place, Place::Beginning | Place::Thought)
            && let Some(thinking) = &mut self.constraint.thinking
        {
            let was_beginning = self.place == Place::Beginning;
            let opens = was_beginning && thinking.opening() == Some(token);
            thinking.see(token, text);
            match thinking.stage() {
                _ if opens => self.place = Place::Thought,
                Stage::Thought => self.place = Place::Thought,
                Stage::Answer | Stage::Beginning if was_beginning => self.answer(),
                Stage::Answer => {
                    self.answer();
                    return Ok(());
                }
                Stage::Beginning => {}
            }
            if self.place == Place::Thought {
                return Ok(());
            }
        }
        match self.place {
            Place::Text => {
                self.look_for_mark(token, text);
                Ok(())
            }
            Place::Bound => {
                let taken = self.matcher.consume_token(token);
                taken.map_err(|error| Error::Constraint(first_line(&error)))?;
                if self.matcher.is_stopped() {
                    if !self.matcher.stop_reason().is_ok() {
                        let reason = self.matcher.stop_reason().to_string();
                        return Err(Error::Constraint(reason));
                    }
                    let again = self.constraint.mark.as_ref().is_some_and(|mark| mark.again);
                    self.place = if again { Place::Text } else { Place::Over };
                }
                Ok(())
            }
            Place::Beginning | Place::Thought | Place::Over => Ok(()),
        }
    }

    fn look_for_mark(&mut self, token: u32, text: &str) {
        let Some(mark) = &self.constraint.mark else {
            return;
        };
        self.said.push_str(text);
        let found = self.constraint.mark_token == Some(token) || self.said.ends_with(&mark.text);
        let keep = crate::stop::begun(&self.said, &mark.text);
        self.said.drain(..self.said.len() - keep);
        if found {
            self.said.clear();
            let fresh = self.constraint.matcher.lock();
            self.matcher = fresh.unwrap_or_else(PoisonError::into_inner).deep_clone();
            self.place = Place::Bound;
        }
    }
}

fn first_line(error: &impl fmt::Display) -> String {
    let said = error.to_string();
    said.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use bitnet_chat_templates::Json;

    use super::*;
    use crate::{Device, Engine, LoadOptions};

    fn engine() -> Engine {
        let options = LoadOptions::default().device(Device::Cpu).threads(1);
        Engine::open("../demo/demo.gguf", &options).unwrap()
    }

    const SCHEMA: &str = r#"{"type": "object", "properties": {
        "name": {"type": "string", "maxLength": 12}, "kin": {"type": "boolean"},
        "house": {"enum": ["Montague", "Capulet"]}},
        "required": ["name", "kin", "house"], "additionalProperties": false}"#;

    fn grammars() -> Vec<Grammar> {
        vec![
            Grammar::JsonSchema(Json::parse(SCHEMA).unwrap()),
            Grammar::JsonObject,
            Grammar::Regex("[A-Z][a-z]{2,9}, (is|was) it\\?".to_owned()),
            Grammar::Choice(vec!["yea".to_owned(), "yea, verily".to_owned()]),
            Grammar::of_text("root ::= \"(\" root* \")\" | [a-e]+ \", \"".to_owned()),
            Grammar::of_text("start: NAME (\" and \" NAME)*\nNAME: /[a-z]{1,4}/".to_owned()),
        ]
    }

    #[test]
    fn a_mask_allows_the_tokens_that_the_grammar_takes_one_by_one() {
        let engine = engine();
        let vocabulary = Vocabulary::new(&engine.encoder().tokenizer).unwrap();
        let tokens = engine.tokenizer().vocab_size() as u32;
        let (mut free, mut forced) = (0, 0);
        for grammar in grammars() {
            let constraint = Constraint::new(&vocabulary, &grammar).unwrap();
            let mut guide = Guide::new(&constraint);
            for step in 0..24_u32 {
                let must = guide.forced();
                let allowed = guide.allowed(&[]).unwrap().unwrap();
                let matcher = &mut guide.matcher;
                let takes = |id: &u32| matcher.validate_tokens(&[*id]).unwrap() == 1;
                let taken: Vec<u32> = (0..tokens).filter(takes).collect();
                let masked: Vec<u32> = (0..tokens).filter(|id| allowed.contains(*id)).collect();
                let next = match must.first() {
                    Some(first) => {
                        forced += 1;
                        assert!(masked == [*first] && taken.contains(first), "{grammar:?}");
                        *first
                    }
                    None => {
                        free += 1;
                        assert_eq!(masked, taken, "{grammar:?}, step {step}");
                        let Some(next) = taken.get((step * 7) as usize % taken.len().max(1)) else {
                            break;
                        };
                        *next
                    }
                };
                let text = engine.tokenizer().decode(&[next]);
                guide.accept(next, &text).unwrap();
                if guide.is_over() {
                    break;
                }
            }
        }
        assert!(free > 30 && forced > 5, "{free} {forced}");
    }

    #[test]
    fn what_cannot_be_followed_is_refused_in_its_own_words() {
        let engine = engine();
        for (grammar, said) in [
            (Grammar::Regex("(".to_owned()), "regex"),
            (Grammar::Lark("start: missing".to_owned()), "missing"),
            (
                Grammar::JsonSchema(Json::parse(r#"{"type": "nothing"}"#).unwrap()),
                "nothing",
            ),
            (
                Grammar::JsonSchema(Json::parse(r#"{"if": {}, "then": {}}"#).unwrap()),
                "if",
            ),
            (Grammar::Choice(Vec::new()), "empty"),
            (Grammar::Lark("(".repeat(1000)), "deep"),
            (Grammar::Regex("a".repeat(1 << 20)), "bytes"),
        ] {
            let error = engine
                .encoder()
                .constraint(&grammar)
                .unwrap_err()
                .to_string();
            assert!(error.contains(said), "{error}");
            assert!(!error.contains('\n') || error.len() < 2000, "{error}");
        }
    }
}
