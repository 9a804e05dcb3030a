//! [`Fields`]: the fields of a request's body, read by name.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use bitnet_engine::chat_templates::{Json, Object};

use crate::error::ApiError;
use crate::support::{Api, Status};

/// The fields of a request's body that its API honours. One that is `null` is not there.
#[derive(Debug)]
pub(crate) struct Fields(BTreeMap<String, Json>);

impl Fields {
    /// Reads a body, refuses the fields of which `api` says that they are not honoured and those
    /// that change answers of other APIs alone, and passes over those that none of them knows.
    pub(crate) fn read(body: &[u8], api: &Api) -> Result<Fields, ApiError> {
        let text = std::str::from_utf8(body)
            .map_err(|error| ApiError::body(format!("The body is not UTF-8: {error}.")))?;
        let json = Json::parse(text)
            .map_err(|error| ApiError::body(format!("The body is not JSON: {error}.")))?;
        let Json::Map(entries) = json else {
            let found = json.kind();
            return Err(ApiError::body(format!("The body is {found}, no object.")));
        };
        let mut fields = Fields(entries.into_iter().collect());
        for field in api.fields {
            let Some(value) = fields.get(field.name) else {
                continue;
            };
            if let Status::Refused { but } = field.status
                && !is_one_of(value, but)
            {
                let message = format!(
                    "`{}` is not supported by this server: {}.",
                    field.name, field.meaning
                );
                return Err(ApiError::unsupported(field.name, message));
            }
        }
        for (name, value) in &fields.0 {
            let Some((other, field)) = api.elsewhere(name) else {
                continue;
            };
            let but = match field.status {
                Status::Refused { but } => but,
                _ => ASKS_FOR_NOTHING,
            };
            if *value != Json::Null && !is_one_of(value, but) {
                let message = format!(
                    "`{name}` is no field of `{}`, but of `{}`.",
                    api.path, other.path
                );
                return Err(ApiError::unsupported(name.as_str(), message));
            }
        }
        let honours = |name: &str| {
            let mut honoured = api.fields.iter();
            honoured.any(|field| field.name == name && matches!(field.status, Status::Honoured))
        };
        fields.0.retain(|name, _| honours(name));
        Ok(fields)
    }

    /// A field's value.
    pub(crate) fn get(&self, name: &str) -> Option<&Json> {
        self.0.get(name).filter(|value| **value != Json::Null)
    }

    /// A field that must be there.
    pub(crate) fn needed(&self, name: &str) -> Result<&Json, ApiError> {
        self.get(name)
            .ok_or_else(|| ApiError::field(name, format!("`{name}` is missing.")))
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>, ApiError> {
        self.get(name).map(|value| text(name, value)).transpose()
    }

    pub(crate) fn object(&self, name: &str) -> Result<Option<&Object>, ApiError> {
        self.get(name).map(|value| object(name, value)).transpose()
    }

    pub(crate) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        self.get(name).map_or(Ok(false), |value| flag(name, value))
    }

    pub(crate) fn whole(
        &self,
        name: &str,
        range: RangeInclusive<i128>,
    ) -> Result<Option<i128>, ApiError> {
        self.get(name)
            .map(|value| whole(name, value, range))
            .transpose()
    }

    pub(crate) fn number(
        &self,
        name: &str,
        range: RangeInclusive<f64>,
    ) -> Result<Option<f32>, ApiError> {
        let value = self.get(name);
        let value = value.map(|value| number(name, value, range)).transpose()?;
        Ok(value.map(|value| value as f32))
    }

    /// A text, or a list of at most `most` of them.
    pub(crate) fn texts(&self, name: &str, most: usize) -> Result<Option<Vec<String>>, ApiError> {
        let texts: Result<Vec<String>, ApiError> = match self.get(name) {
            None => return Ok(None),
            Some(Json::List(items)) if items.len() > most => {
                let message = format!("`{name}` has {} texts; {most} are allowed.", items.len());
                Err(ApiError::field(name, message))
            }
            Some(Json::List(items)) => {
                let each = (0..).zip(items);
                each.map(|(i, item)| Ok(text(&format!("{name}[{i}]"), item)?.to_owned()))
                    .collect()
            }
            Some(Json::Text(text)) => Ok(vec![text.clone()]),
            Some(other) => Err(wrong(name, "a text or a list of texts", other)),
        };
        texts.map(Some)
    }

    /// Several names for one thing, which may not contradict each other.
    pub(crate) fn either<T: PartialEq, const N: usize>(
        names: [&str; N],
        values: [Option<T>; N],
    ) -> Result<Option<T>, ApiError> {
        let given = names.into_iter().zip(values);
        let mut given = given.filter_map(|(name, value)| Some((name, value?)));
        let Some((first, value)) = given.next() else {
            return Ok(None);
        };
        match given.find(|(_, other)| *other != value) {
            Some((second, _)) => {
                let message = format!("`{first}` and `{second}` contradict each other.");
                Err(ApiError::field(second, message))
            }
            None => Ok(Some(value)),
        }
    }
}

/// Values that ask for nothing, whatever the field.
const ASKS_FOR_NOTHING: &[&str] = &["false", "\"\"", "[]", "{}"];

/// Whether `value` is one of these, as JSON.
fn is_one_of(value: &Json, texts: &[&str]) -> bool {
    let mut values = texts.iter().filter_map(|text| Json::parse(text).ok());
    values.any(|json| json == *value)
}

pub(crate) fn text<'j>(name: &str, value: &'j Json) -> Result<&'j str, ApiError> {
    match value {
        Json::Text(text) => Ok(text),
        other => Err(wrong(name, "a text", other)),
    }
}

/// False where it is `null`.
pub(crate) fn flag(name: &str, value: &Json) -> Result<bool, ApiError> {
    match value {
        Json::Null => Ok(false),
        Json::Bool(value) => Ok(*value),
        other => Err(wrong(name, "true or false", other)),
    }
}

pub(crate) fn list<'j>(name: &str, value: &'j Json) -> Result<&'j [Json], ApiError> {
    match value {
        Json::List(items) => Ok(items),
        other => Err(wrong(name, "a list", other)),
    }
}

pub(crate) fn whole(
    name: &str,
    value: &Json,
    range: RangeInclusive<i128>,
) -> Result<i128, ApiError> {
    match value {
        Json::Int(value) if range.contains(value) => Ok(*value),
        Json::Int(value) => {
            let (from, to) = range.into_inner();
            let message = format!("`{name}` is {value}; it must be in {from} ..= {to}.");
            Err(ApiError::field(name, message))
        }
        other => Err(wrong(name, "a whole number", other)),
    }
}

pub(crate) fn object<'j>(name: &str, value: &'j Json) -> Result<&'j Object, ApiError> {
    match value {
        Json::Map(entries) => Ok(entries),
        other => Err(wrong(name, "an object", other)),
    }
}

/// Ids of tokens of a vocabulary of so many.
pub(crate) fn ids(name: &str, items: &[Json], vocabulary: usize) -> Result<Vec<u32>, ApiError> {
    let most = vocabulary as i128 - 1;
    let each = items.iter().enumerate();
    each.map(|(i, id)| Ok(whole(&format!("{name}[{i}]"), id, 0..=most)? as u32))
        .collect()
}

pub(crate) fn number(
    name: &str,
    value: &Json,
    range: RangeInclusive<f64>,
) -> Result<f64, ApiError> {
    let found = match value {
        Json::Int(value) => *value as f64,
        Json::Float(value) => *value,
        other => return Err(wrong(name, "a number", other)),
    };
    if range.contains(&found) {
        return Ok(found);
    }
    let (from, to) = range.into_inner();
    let message = format!("`{name}` is {found}; it must be in {from} ..= {to}.");
    Err(ApiError::field(name, message))
}

/// The field has a value that is none of `known`.
pub(crate) fn none_of(name: &str, found: &str, known: &[&str]) -> ApiError {
    let known: Vec<String> = known.iter().map(|known| format!("`{known}`")).collect();
    let message = format!(
        "`{name}` is `{}`; it is one of {}.",
        found.escape_debug(),
        known.join(", ")
    );
    ApiError::field(name, message)
}

pub(crate) fn wrong(name: &str, wanted: &str, found: &Json) -> ApiError {
    let found = found.kind();
    ApiError::field(name, format!("`{name}` must be {wanted}; it is {found}."))
}
