//! The metadata of a file: keys and values in the order of the file, and typed questions about
//! them.
//!
//! Writers disagree about the width of integers, so an integer is accepted from any width that
//! holds it. Everything else must be of the type that is asked for.

use std::collections::HashMap;

use crate::{Array, Error, Strings, Value, ValueType};

/// Keys and values, in the order of the file.
#[derive(Debug, Clone, Default)]
pub struct Metadata {
    entries: Vec<(String, Value)>,
    index: HashMap<String, usize>,
}

impl Metadata {
    /// Sets a value: in place where the key is known, at the end where it is new.
    pub(crate) fn set(&mut self, key: String, value: Value) {
        match self.index.get(&key) {
            Some(index) => self.entries[*index].1 = value,
            None => {
                self.index.insert(key.clone(), self.entries.len());
                self.entries.push((key, value));
            }
        }
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Every key with its value, in the order of the file.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.entries
            .iter()
            .map(|(key, value)| (key.as_str(), value))
    }

    /// Whether there is such a key.
    pub fn contains(&self, key: &str) -> bool {
        self.index.contains_key(key)
    }

    /// The value under `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.index.get(key).map(|index| &self.entries[*index].1)
    }

    fn find<'a, T>(
        &'a self,
        key: &'a str,
        read: impl FnOnce(&'a str, &'a Value) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        self.get(key).map(|value| read(key, value)).transpose()
    }
}

/// For each type a question that needs an answer, and one that allows the key to be absent.
macro_rules! getters {
    ($($required:ident, $optional:ident -> $answer:ty, $read:path, $what:literal;)+) => {
        impl Metadata {$(
            #[doc = concat!("The ", $what, " under `key`.")]
            ///
            /// # Errors
            /// [`Error::MissingKey`], or those of the question that allows absence.
            pub fn $required<'a>(&'a self, key: &'a str) -> Result<$answer, Error> {
                self.$optional(key)?.ok_or_else(|| Error::MissingKey { key: key.to_owned() })
            }

            #[doc = concat!("The ", $what, " under `key`, or `None` where there is no such key.")]
            ///
            /// # Errors
            /// [`Error::WrongType`] and [`Error::OutOfRange`], which name the key, what was wanted
            /// and what was found.
            pub fn $optional<'a>(&'a self, key: &'a str) -> Result<Option<$answer>, Error> {
                self.find(key, $read)
            }
        )+}
    };
}

getters! {
    u32, opt_u32 -> u32, integer, "integer";
    i32, opt_i32 -> i32, integer, "integer";
    u64, opt_u64 -> u64, integer, "integer";
    usize, opt_usize -> usize, integer, "integer";
    f32, opt_f32 -> f32, float, "float, rounded to f32";
    bool, opt_bool -> bool, boolean, "boolean";
    str, opt_str -> &'a str, string, "string";
    array, opt_array -> &'a Array, array, "array";
    str_array, opt_str_array -> Strings<'a>, strings, "array of strings, each checked to be UTF-8 as it is read,";
    u32_array, opt_u32_array -> Vec<u32>, integers, "array of integers";
    i32_array, opt_i32_array -> Vec<i32>, integers, "array of integers";
    f32_array, opt_f32_array -> Vec<f32>, floats, "array of floats";
    bool_array, opt_bool_array -> Vec<bool>, booleans, "array of booleans";
}

fn wrong_type(key: &str, wanted: &'static str, found: &Value) -> Error {
    Error::WrongType {
        key: key.to_owned(),
        wanted,
        found: found.type_name(),
    }
}

fn fit<T: TryFrom<i128>>(key: &str, value: i128) -> Result<T, Error> {
    T::try_from(value).map_err(|_| Error::OutOfRange {
        key: key.to_owned(),
        wanted: std::any::type_name::<T>(),
        value: value.to_string(),
    })
}

fn integer<T: TryFrom<i128>>(key: &str, value: &Value) -> Result<T, Error> {
    match value.as_integer() {
        Some(integer) => fit(key, integer),
        None => Err(wrong_type(key, "an integer", value)),
    }
}

fn float(key: &str, value: &Value) -> Result<f32, Error> {
    match value.as_float() {
        Some(float) => Ok(float as f32),
        None => Err(wrong_type(key, "a float", value)),
    }
}

fn boolean(key: &str, value: &Value) -> Result<bool, Error> {
    value
        .as_bool()
        .ok_or_else(|| wrong_type(key, "a boolean", value))
}

fn string<'a>(key: &str, value: &'a Value) -> Result<&'a str, Error> {
    value
        .as_str()
        .ok_or_else(|| wrong_type(key, "a string", value))
}

fn array<'a>(key: &str, value: &'a Value) -> Result<&'a Array, Error> {
    value
        .as_array()
        .ok_or_else(|| wrong_type(key, "an array", value))
}

fn strings<'a>(key: &'a str, value: &'a Value) -> Result<Strings<'a>, Error> {
    value
        .as_array()
        .and_then(|array| array.strings_of(key))
        .ok_or_else(|| wrong_type(key, "an array of strings", value))
}

fn integers<T: TryFrom<i128>>(key: &str, value: &Value) -> Result<Vec<T>, Error> {
    let wanted = "an array of integers";
    elements(key, value, wanted, |element| {
        element.as_integer().map(|integer| fit(key, integer))
    })
}

fn floats(key: &str, value: &Value) -> Result<Vec<f32>, Error> {
    elements(key, value, "an array of floats", |element| {
        element.as_float().map(|float| Ok(float as f32))
    })
}

fn booleans(key: &str, value: &Value) -> Result<Vec<bool>, Error> {
    elements(key, value, "an array of booleans", |element| {
        element.as_bool().map(Ok)
    })
}

/// Reads every element of an array of numbers or booleans. `read` gives `None` for a type it does
/// not take.
fn elements<T>(
    key: &str,
    value: &Value,
    wanted: &'static str,
    read: impl Fn(&Value) -> Option<Result<T, Error>>,
) -> Result<Vec<T>, Error> {
    let array = match value {
        Value::Array(array) if !matches!(array.element(), ValueType::Array | ValueType::String) => {
            array
        }
        other => return Err(wrong_type(key, wanted, other)),
    };
    array
        .iter()
        .map(|element| read(&element?).unwrap_or_else(|| Err(wrong_type(key, wanted, value))))
        .collect()
}
