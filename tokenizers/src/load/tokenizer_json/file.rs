//! The content of a `tokenizer.json`, borrowed from its text.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// The parts that decide how text becomes ids. Truncation and padding are not among them.
#[derive(Deserialize)]
pub(super) struct File<'a> {
    #[serde(default)]
    pub(super) normalizer: Value,
    #[serde(default)]
    pub(super) pre_tokenizer: Value,
    #[serde(default)]
    pub(super) post_processor: Value,
    #[serde(default)]
    pub(super) decoder: Value,
    #[serde(borrow)]
    pub(super) model: Option<Model<'a>>,
    #[serde(default)]
    pub(super) added_tokens: Vec<Added>,
}

#[derive(Deserialize)]
pub(super) struct Model<'a> {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    #[serde(default)]
    pub(super) dropout: Value,
    #[serde(default)]
    pub(super) continuing_subword_prefix: Value,
    #[serde(default)]
    pub(super) end_of_word_suffix: Value,
    #[serde(default)]
    pub(super) ignore_merges: Value,
    #[serde(default, borrow)]
    pub(super) vocab: Vocab<'a>,
    #[serde(default, borrow)]
    pub(super) merges: Merges<'a>,
}

/// A token that was added to the vocabulary.
#[derive(Deserialize)]
pub(super) struct Added {
    pub(super) id: u64,
    #[serde(default)]
    pub(super) content: String,
    #[serde(default)]
    pub(super) special: bool,
    #[serde(default)]
    pub(super) single_word: bool,
    #[serde(default)]
    pub(super) lstrip: bool,
    #[serde(default)]
    pub(super) rstrip: bool,
}

/// A vocabulary.
#[derive(Default)]
pub(super) struct Vocab<'a> {
    /// Tokens with their ids; none where the file lists tokens in the order of their ids.
    pub(super) entries: Vec<(Cow<'a, str>, u64)>,
    /// Tokens, whichever way they are given.
    count: u64,
    largest: u64,
}

/// Pairs that merge, in their order. None where the file gives them in an unknown way.
#[derive(Default)]
pub(super) struct Merges<'a>(pub(super) Option<Vec<(Cow<'a, str>, Cow<'a, str>)>>);

/// Ids without a token that a vocabulary may have, for each that has one, and besides.
const GAPS: (u64, u64) = (4, 65_536);

impl File<'_> {
    /// Checks that a text becomes the same ids each time.
    pub(super) fn is_repeatable(&self) -> Result<(), String> {
        let dropout = self
            .model
            .as_ref()
            .map_or(&Value::Null, |model| &model.dropout);
        match dropout.is_null() || dropout.as_f64() == Some(0.0) {
            true => Ok(()),
            false => Err(format!(
                "`model.dropout` is {dropout}, so that texts would be cut otherwise each time, as is done in training; write null in its place"
            )),
        }
    }

    /// The largest id.
    ///
    /// # Errors
    /// It is out of proportion. Ids are places in tables: the largest decides how much memory they
    /// take.
    pub(super) fn largest_id(&self) -> Result<u64, String> {
        let vocab = self.model.as_ref().map(|model| &model.vocab);
        let (count, largest) = vocab.map_or((0, 0), |vocab| (vocab.count, vocab.largest));
        let count = count + self.added_tokens.len() as u64;
        let added = self.added_tokens.iter().map(|token| token.id).max();
        let largest = largest.max(added.unwrap_or(0));
        if largest > count * (1 + GAPS.0) + GAPS.1 {
            return Err(format!(
                "a token has the id {largest}, but there are only {count} tokens"
            ));
        }
        Ok(largest)
    }
}

/// A string that stays in the text of the file where nothing in it is escaped.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text<'a>, D::Error> {
        struct Strings;
        impl<'de> Visitor<'de> for Strings {
            type Value = Cow<'de, str>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(text))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text.to_owned()))
            }
        }
        deserializer.deserialize_str(Strings).map(Text)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Vocab<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Vocab<'a>, D::Error> {
        struct MapOrList<'a>(PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for MapOrList<'a> {
            type Value = Vocab<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map from tokens to ids, or a list of tokens")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vocab<'a>, A::Error> {
                let mut vocab = Vocab::default();
                while let Some((Text(text), id)) = map.next_entry::<Text<'a>, u64>()? {
                    vocab.largest = vocab.largest.max(id);
                    vocab.entries.push((text, id));
                }
                vocab.count = vocab.entries.len() as u64;
                Ok(vocab)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vocab<'a>, A::Error> {
                let mut vocab = Vocab::default();
                while list.next_element::<IgnoredAny>()?.is_some() {
                    vocab.largest = vocab.count;
                    vocab.count += 1;
                }
                Ok(vocab)
            }
        }
        deserializer.deserialize_any(MapOrList(PhantomData))
    }
}

/// `"a b"`, as older files have it, or `["a", "b"]`; none for anything else in one string.
struct Pair<'a>(Option<(Cow<'a, str>, Cow<'a, str>)>);

impl<'de: 'a, 'a> Deserialize<'de> for Pair<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pair<'a>, D::Error> {
        struct StringOrList<'a>(PhantomData<&'a ()>);

        fn cut(text: &str) -> Option<(&str, &str)> {
            text.split_once(' ')
                .filter(|(_, right)| !right.contains(' '))
        }

        impl<'de: 'a, 'a> Visitor<'de> for StringOrList<'a> {
            type Value = Pair<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("two tokens")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Pair<'a>, E> {
                let pair = cut(text).map(|(left, right)| (left.into(), right.into()));
                Ok(Pair(pair))
            }

            fn visit_str<E>(self, text: &str) -> Result<Pair<'a>, E> {
                let owned = |part: &str| Cow::Owned(part.to_owned());
                Ok(Pair(
                    cut(text).map(|(left, right)| (owned(left), owned(right))),
                ))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Pair<'a>, A::Error> {
                let mut next = || list.next_element::<Text<'a>>();
                match (next()?, next()?, next()?) {
                    (Some(left), Some(right), None) => Ok(Pair(Some((left.0, right.0)))),
                    _ => Err(A::Error::custom("a merge that is not of two tokens")),
                }
            }
        }
        deserializer.deserialize_any(StringOrList(PhantomData))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Merges<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Merges<'a>, D::Error> {
        struct Pairs<'a>(PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for Pairs<'a> {
            type Value = Merges<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of merges")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Merges<'a>, A::Error> {
                let mut pairs = Some(Vec::new());
                while let Some(Pair(pair)) = list.next_element::<Pair<'a>>()? {
                    match (&mut pairs, pair) {
                        (Some(pairs), Some(pair)) => pairs.push(pair),
                        _ => pairs = None,
                    }
                }
                Ok(Merges(pairs))
            }
        }
        deserializer.deserialize_seq(Pairs(PhantomData))
    }
}
