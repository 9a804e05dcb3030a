//! What becomes of the keys of a file.
//!
//! Metadata is accounted for as tensors are: whoever reads a file honours some keys, and keeps a
//! table with a [`KeyRule`] for each other key that it knows. What has no effect is known to have
//! none, and what is unknown is said.

use std::fmt;

use crate::{Metadata, Shown, Value};

/// What becomes of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// What it says is done.
    Honoured,
    /// It makes no difference here; why.
    NoEffect(String),
    /// The model runs, but perhaps not as the key wants it; in words that name the key.
    Doubtful(String),
    /// What it says cannot be done, and results would be others; in words that name the key.
    Refused(String),
}

impl Fate {
    /// Its name in output: `honoured`, `no effect`, `warning` or `refused`.
    pub fn name(&self) -> &'static str {
        match self {
            Fate::Honoured => "honoured",
            Fate::NoEffect(_) => "no effect",
            Fate::Doubtful(_) => "warning",
            Fate::Refused(_) => "refused",
        }
    }

    /// Why, in words; nothing for what is honoured.
    pub fn why(&self) -> Option<&str> {
        match self {
            Fate::Honoured => None,
            Fate::NoEffect(why) | Fate::Doubtful(why) | Fate::Refused(why) => Some(why),
        }
    }

    /// The fate of a key that no table has.
    pub fn unknown(key: &str) -> Fate {
        Fate::Doubtful(format!(
            "metadata `{}` is not known here; what it says is not done",
            Shown(key)
        ))
    }
}

/// The values of a key that change nothing.
#[derive(Clone, Copy, Debug)]
pub enum Neutral {
    /// None.
    Nothing,
    /// One of these numbers, or an array of nothing else. True is 1, false 0; an empty array has
    /// nothing else.
    Numbers(&'static [f64]),
    /// One of these texts.
    Texts(&'static [&'static str]),
    /// The same number as another key's.
    SameAs(&'static str),
    /// Zero, or a number that is not below another key's.
    AtLeast(&'static str),
}

/// Nothing but zeros, or false.
pub const ZERO: Neutral = Neutral::Numbers(&[0.0]);
/// Nothing but ones, or true.
pub const ONE: Neutral = Neutral::Numbers(&[1.0]);
/// Zero, which turns a factor off, or 1.
pub const FACTOR: Neutral = Neutral::Numbers(&[0.0, 1.0]);

/// What a value must be.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// An integer of any width.
    Integer,
    /// A text.
    Text,
    /// An array.
    Array,
}

#[derive(Clone, Copy, Debug)]
enum Rule {
    Honoured(Option<Kind>),
    NoEffect,
    Doubtful(Neutral),
    Refused(Neutral),
}

/// What a key means where nobody read it: a row of a table.
#[derive(Clone, Copy, Debug)]
pub struct KeyRule {
    /// The key, without the prefix that the table is for.
    pub name: &'static str,
    rule: Rule,
    words: &'static str,
    switch: Option<&'static str>,
}

impl KeyRule {
    const fn new(name: &'static str, rule: Rule, words: &'static str) -> KeyRule {
        KeyRule {
            name,
            rule,
            words,
            switch: None,
        }
    }

    /// A key that is read elsewhere, whatever its value.
    pub const fn honoured(name: &'static str) -> KeyRule {
        KeyRule::new(name, Rule::Honoured(None), "")
    }

    /// A key that is read elsewhere if its value is of this kind, and that is refused if not.
    pub const fn honoured_as(name: &'static str, kind: Kind) -> KeyRule {
        KeyRule::new(name, Rule::Honoured(Some(kind)), "")
    }

    /// A key that makes no difference, whatever its value; `why` is half a sentence.
    pub const fn no_effect(name: &'static str, why: &'static str) -> KeyRule {
        KeyRule::new(name, Rule::NoEffect, why)
    }

    /// A key that is warned about unless its value changes nothing; `words` are a sentence about
    /// what is not done.
    pub const fn doubtful(name: &'static str, unless: Neutral, words: &'static str) -> KeyRule {
        KeyRule::new(name, Rule::Doubtful(unless), words)
    }

    /// A key that is refused unless its value changes nothing; `words` name what it is about.
    pub const fn refused(name: &'static str, unless: Neutral, words: &'static str) -> KeyRule {
        KeyRule::new(name, Rule::Refused(unless), words)
    }

    /// The same, of a key that makes no difference where the key `switch` is not there or zero.
    pub const fn under(self, switch: &'static str) -> KeyRule {
        KeyRule {
            switch: Some(switch),
            ..self
        }
    }

    /// What becomes of `key` with this value. Other keys that it depends on are under `prefix` in
    /// `metadata`.
    pub fn fate(&self, key: &str, prefix: &str, value: &Value, metadata: &Metadata) -> Fate {
        let sibling = |name: &str| metadata.get(&format!("{prefix}{name}"));
        if let Some(switch) = self.switch
            && sibling(switch).is_none_or(|value| all_numbers(value, |number| number == 0.0))
        {
            return Fate::NoEffect(format!("there is no `{prefix}{switch}`"));
        }
        let is_neutral = |neutral: &Neutral| match neutral {
            Neutral::Nothing => false,
            Neutral::Numbers(numbers) => all_numbers(value, |number| numbers.contains(&number)),
            Neutral::Texts(texts) => value.as_str().is_some_and(|text| texts.contains(&text)),
            Neutral::SameAs(other) => sibling(other)
                .and_then(as_number)
                .is_some_and(|other| as_number(value) == Some(other)),
            Neutral::AtLeast(other) => as_number(value).is_some_and(|number| {
                let other = sibling(other).and_then(as_number);
                number == 0.0 || other.is_some_and(|other| number >= other)
            }),
        };
        let key = format!("metadata `{}` is {}", Shown(key), Brief(value));
        let nothing = || Fate::NoEffect("this value changes nothing".to_owned());
        match &self.rule {
            Rule::Honoured(None) => Fate::Honoured,
            Rule::Honoured(Some(kind)) => match kind.problem(value) {
                None => Fate::Honoured,
                Some(wanted) => Fate::Refused(format!("{key}, which is not {wanted}")),
            },
            Rule::NoEffect => Fate::NoEffect(self.words.to_owned()),
            Rule::Doubtful(unless) if is_neutral(unless) => nothing(),
            Rule::Refused(unless) if is_neutral(unless) => nothing(),
            Rule::Doubtful(_) => Fate::Doubtful(format!("{key}: {}", self.words)),
            Rule::Refused(_) => Fate::Refused(format!("{key}: {} not supported", self.words)),
        }
    }
}

impl Kind {
    /// What the value should have been, if it is something else.
    fn problem(self, value: &Value) -> Option<&'static str> {
        let (fits, wanted) = match self {
            Kind::Integer => (value.as_integer().is_some(), "an integer"),
            Kind::Text => (value.as_str().is_some(), "a text"),
            Kind::Array => (value.as_array().is_some(), "an array"),
        };
        (!fits).then_some(wanted)
    }
}

/// A number, true as 1 and false as 0.
fn as_number(value: &Value) -> Option<f64> {
    let flag = || value.as_bool().map(|flag| f64::from(u8::from(flag)));
    let integer = || value.as_integer().map(|integer| integer as f64);
    value.as_float().or_else(integer).or_else(flag)
}

/// Whether `holds` of a number, or of every element of an array.
fn all_numbers(value: &Value, holds: impl Fn(f64) -> bool + Copy) -> bool {
    match value.as_array() {
        Some(array) => array
            .iter()
            .all(|item| item.is_ok_and(|item| as_number(&item).is_some_and(holds))),
        None => as_number(value).is_some_and(holds),
    }
}

/// A value in a few words.
struct Brief<'a>(&'a Value);

impl fmt::Display for Brief<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::String(text) => write!(f, "\"{}\"", Shown(text)),
            Value::Array(array) => write!(f, "an array of {} {}", array.len(), array.element()),
            other => other.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Gguf, Writer};

    fn fate(rule: &KeyRule, keys: &[(&str, Value)]) -> Fate {
        let mut writer = Writer::new();
        for (key, value) in keys {
            writer.set(*key, value.clone());
        }
        let file = writer.begin(Vec::new()).unwrap().finish().unwrap();
        let gguf = Gguf::from_bytes(file).unwrap();
        rule.fate(keys[0].0, "m.", &keys[0].1, gguf.metadata())
    }

    #[test]
    fn a_value_that_changes_nothing_is_let_through_and_any_other_is_named() {
        let rule = KeyRule::refused("cap", ZERO, "a cap is");
        let neutral = Fate::NoEffect("this value changes nothing".to_owned());
        for value in [Value::U32(0), Value::F64(0.0), Value::Bool(false)] {
            assert_eq!(fate(&rule, &[("m.cap", value)]), neutral);
        }
        let refused = Fate::Refused("metadata `m.cap` is 30: a cap is not supported".to_owned());
        assert_eq!(fate(&rule, &[("m.cap", Value::F32(30.0))]), refused);
        for value in [Value::F32(f32::NAN), Value::String("0".to_owned())] {
            let fate = fate(&rule, &[("m.cap", value)]);
            assert!(matches!(fate, Fate::Refused(_)), "{fate:?}");
        }
    }

    #[test]
    fn a_key_may_depend_on_another() {
        let rule = KeyRule::refused("shared", ZERO, "shared experts are").under("experts");
        let shared = ("m.shared", Value::U32(2));
        let off = Fate::NoEffect("there is no `m.experts`".to_owned());
        assert_eq!(fate(&rule, std::slice::from_ref(&shared)), off);
        let with = |count| [shared.clone(), ("m.experts", Value::U32(count))];
        assert_eq!(fate(&rule, &with(0)), off);
        assert!(matches!(fate(&rule, &with(8)), Fate::Refused(_)));

        let rule = KeyRule::refused("window", Neutral::AtLeast("context"), "a window is");
        let window = |window| {
            [
                ("m.window", Value::U32(window)),
                ("m.context", Value::U64(4096)),
            ]
        };
        assert!(matches!(fate(&rule, &window(4096)), Fate::NoEffect(_)));
        assert!(matches!(fate(&rule, &window(4095)), Fate::Refused(_)));
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_refused() {
        let rule = KeyRule::honoured_as("template", Kind::Text);
        let text = ("m.template", Value::String(String::new()));
        assert_eq!(fate(&rule, &[text]), Fate::Honoured);
        let refused = "metadata `m.template` is 7, which is not a text";
        let fate = fate(&rule, &[("m.template", Value::I32(7))]);
        assert_eq!(fate, Fate::Refused(refused.to_owned()));
    }
}
