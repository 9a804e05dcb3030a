//! [`Keys`]: typed questions about a model's metadata. Who asks for a key honours it, or says what
//! is wrong with it; what nobody asked for goes by the tables.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use bitnet_gguf::keys::Fate;
use bitnet_gguf::{Metadata, Shown, Value};

use super::{KeyAccount, file, model};
use crate::conversation::TEMPLATE;
use crate::error::Problem;

/// Largest width, count of heads or vocabulary taken seriously. Guards size computations.
const LIMIT: u64 = 1 << 24;

/// The metadata of a model, and what became of each key so far.
pub(crate) struct Keys<'a> {
    metadata: &'a Metadata,
    /// Of the model's own keys, with its point.
    prefix: String,
    /// Whether there is a graph that they are for.
    has_graph: bool,
    fates: HashMap<String, Fate>,
    missing: Vec<KeyAccount>,
    problems: Vec<Problem>,
}

impl<'a> Keys<'a> {
    /// The keys of a model whose own begin with the name of its architecture.
    pub(crate) fn new(metadata: &'a Metadata, architecture: &str, has_graph: bool) -> Keys<'a> {
        Keys {
            metadata,
            prefix: format!("{architecture}."),
            has_graph,
            fates: HashMap::new(),
            missing: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// The model's key of this name, in full.
    pub(crate) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Whether the file has the model's key of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.metadata.contains(&self.key(name))
    }

    /// Notes a doubt where the file lacks a key that every converter writes.
    pub(crate) fn expect(&mut self, name: &str) {
        if self.has(name) {
            return;
        }
        let key = self.key(name);
        let doubt = format!(
            "metadata `{key}` is missing, which every converter writes: what llama.cpp takes in \
             its place may not be what the model was trained with"
        );
        self.missing.push(KeyAccount {
            key,
            fate: Fate::Doubtful(doubt),
        });
    }

    /// Notes that a key has no effect here, where the file has it; `why` says so.
    pub(crate) fn pass_over(&mut self, name: &str, why: String) {
        self.fates.insert(self.key(name), Fate::NoEffect(why));
    }

    /// Whether nothing is wrong so far.
    pub(crate) fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    /// Notes something that the graph cannot use.
    pub(crate) fn refuse(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Notes that a key's value cannot be used; `what` says what is wrong with it.
    pub(crate) fn refuse_value(&mut self, name: &str, what: &str) {
        let key = self.key(name);
        self.refused(key.clone(), format!("metadata `{}` {what}", Shown(&key)));
    }

    fn refused(&mut self, key: String, text: String) {
        self.fates.insert(key, Fate::Refused(text.clone()));
        self.problems.push(Problem::Metadata(text));
    }

    /// The answer of a question about a key, noted either way.
    fn noted<T>(&mut self, name: &str, answer: Result<T, bitnet_gguf::Error>) -> Option<T> {
        let key = self.key(name);
        match answer {
            Ok(value) => {
                self.fates.insert(key, Fate::Honoured);
                Some(value)
            }
            Err(error) => {
                self.refused(key, error.to_string());
                None
            }
        }
    }

    /// A size that the file must have: from 1 to [`LIMIT`]. 0 where it is wrong.
    pub(crate) fn size(&mut self, name: &str) -> usize {
        let answer = self.metadata.u64(&self.key(name));
        let value = self.noted(name, answer);
        value.map_or(0, |value| self.in_bounds(name, value))
    }

    fn in_bounds(&mut self, name: &str, value: u64) -> usize {
        if value == 0 || value > LIMIT {
            self.refuse_value(name, &format!("is {value}, not in 1 ..= {LIMIT}"));
            return 0;
        }
        value as usize
    }

    /// A size, or what it is where the file does not say.
    pub(crate) fn size_or(&mut self, name: &str, default: usize) -> usize {
        if self.has(name) {
            self.size(name)
        } else {
            default
        }
    }

    /// A size of every layer: one for all, or an array with the same for each of `layers`.
    pub(crate) fn size_of_layers(&mut self, name: &str, layers: usize) -> usize {
        let key = self.key(name);
        if self.metadata.get(&key).and_then(Value::as_array).is_none() {
            return self.size(name);
        }
        let answer = self.metadata.u32_array(&key);
        let Some(sizes) = self.noted(name, answer) else {
            return 0;
        };
        let len = sizes.len();
        if len != layers {
            self.refuse_value(name, &format!("has {len} values for {layers} layers"));
            return 0;
        }
        let (first, other) = (sizes[0], sizes.iter().find(|size| **size != sizes[0]));
        if let Some(other) = other {
            let what = format!("differs from layer to layer ({first}, {other}): not supported");
            self.refuse_value(name, &what);
            return 0;
        }
        self.in_bounds(name, first.into())
    }

    /// A number of this range, or what it is where the file does not say. 1 where it is wrong.
    pub(crate) fn number_within(
        &mut self,
        name: &str,
        default: Option<f32>,
        range: RangeInclusive<f32>,
    ) -> f32 {
        let key = self.key(name);
        if let (None, Some(default)) = (self.metadata.get(&key), default) {
            return default;
        }
        let answer = self.metadata.f32(&key);
        let Some(value) = self.noted(name, answer) else {
            return 1.0;
        };
        if range.contains(&value) {
            return value;
        }
        let (least, most) = range.into_inner();
        self.refuse_value(
            name,
            &format!("is {value:?}, not in {least:?} ..= {most:?}"),
        );
        1.0
    }

    /// How many there are of something, where the file says so, or none.
    pub(crate) fn count(&mut self, name: &str) -> usize {
        let answer = self.metadata.opt_usize(&self.key(name));
        self.noted(name, answer).flatten().unwrap_or(0)
    }

    /// The numbers of an array that the file must have.
    pub(crate) fn numbers(&mut self, name: &str) -> Option<Vec<u32>> {
        let answer = self.metadata.u32_array(&self.key(name));
        self.noted(name, answer)
    }

    /// A truth for each of `layers`: an array of truths or of numbers, or one that holds for all.
    pub(crate) fn flags(&mut self, name: &str, layers: usize) -> Option<Vec<bool>> {
        let (metadata, key) = (self.metadata, self.key(name));
        let is_array = |value: &Value| value.as_array().is_some();
        let answer = if metadata.get(&key).is_some_and(is_array) {
            metadata.bool_array(&key).or_else(|error| {
                let numbers = metadata.u32_array(&key).map_err(|_| error)?;
                Ok(numbers.into_iter().map(|number| number != 0).collect())
            })
        } else {
            let one = metadata.bool(&key).or_else(|error| {
                let number = metadata.u32(&key).map_err(|_| error)?;
                Ok(number != 0)
            });
            one.map(|one| vec![one; layers])
        };
        let flags: Vec<bool> = self.noted(name, answer)?;
        let len = flags.len();
        if len != layers {
            self.refuse_value(name, &format!("has {len} values for {layers} layers"));
            return None;
        }
        Some(flags)
    }

    /// A value for each layer, or one for all of them: of those that `read` takes, which are what
    /// is `wanted`. Nothing where it is wrong.
    pub(crate) fn by_layer<T: Copy>(
        &mut self,
        name: &str,
        layers: usize,
        wanted: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Vec<T> {
        let key = self.key(name);
        let values = match self.metadata.get(&key) {
            None => {
                let missing = bitnet_gguf::Error::MissingKey { key };
                return self.noted(name, Err(missing)).unwrap_or_default();
            }
            Some(Value::Array(array)) => array
                .iter()
                .map(|value| read(&value.ok()?))
                .collect::<Option<Vec<T>>>()
                .filter(|values| values.len() == layers),
            Some(value) => read(value).map(|value| vec![value; layers]),
        };
        match values {
            Some(values) => self.noted(name, Ok(values)).unwrap_or_default(),
            None => {
                self.refuse_value(
                    name,
                    &format!("is not {wanted} for each of {layers} layers"),
                );
                Vec::new()
            }
        }
    }

    /// A text, where the file has it.
    pub(crate) fn text(&mut self, name: &str) -> Option<&'a str> {
        let (metadata, key) = (self.metadata, self.key(name));
        let value = metadata.get(&key)?;
        self.noted(name, metadata.str(&key).map(drop))?;
        value.as_str()
    }

    /// What became of every key of the file, in its order, with those that are missing behind them,
    /// and everything that stops the model.
    pub(crate) fn account(mut self) -> (Vec<KeyAccount>, Vec<Problem>) {
        if let Some(problem) = file::transforms(self.metadata) {
            self.problems.push(Problem::Metadata(problem));
        }
        let mut accounts = Vec::new();
        for (key, value) in self.metadata.iter() {
            let fate = match self.fates.remove(key) {
                Some(fate) => fate,
                None => self.by_tables(key, value),
            };
            accounts.push(KeyAccount {
                key: key.to_owned(),
                fate,
            });
        }
        accounts.append(&mut self.missing);
        (accounts, self.problems)
    }

    /// The fate of a key that was not asked for. What the tokenizer says is its reader's business:
    /// a model may run with another one.
    fn by_tables(&mut self, key: &str, value: &Value) -> Fate {
        if key.starts_with(bitnet_tokenizers::keys::PREFIX) {
            let fate = bitnet_tokenizers::keys::fate(key, value, self.metadata);
            // A template is the model's, whatever tokenizer it has.
            if let Fate::Refused(text) = &fate
                && key.starts_with(TEMPLATE)
            {
                self.problems.push(Problem::Metadata(text.clone()));
            }
            return fate;
        }
        let fate = match key.strip_prefix(&self.prefix) {
            Some(_) if !self.has_graph => {
                Fate::NoEffect("the architecture is not supported".to_owned())
            }
            Some(name) => match model::RULES.iter().find(|rule| rule.name == name) {
                Some(rule) => rule.fate(key, &self.prefix, value, self.metadata),
                None => file::unknown(key),
            },
            None => file::fate(key, value, self.metadata),
        };
        if let Fate::Refused(text) = &fate
            && !file::is_transform(key)
        {
            self.problems.push(Problem::Metadata(text.clone()));
        }
        fate
    }
}
