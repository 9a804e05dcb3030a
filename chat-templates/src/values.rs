//! Values of a conversation as a template sees them.

use std::sync::Arc;

use indexmap::IndexMap;
use minijinja::value::{Enumerator, Object, ObjectRepr, Value};
use minijinja::{Error, State};

use crate::{Json, methods};

/// The value for templates.
pub(crate) fn from_json(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(value) => Value::from(*value),
        Json::Int(value) => match i64::try_from(*value) {
            Ok(small) => Value::from(small),
            Err(_) => Value::from(*value),
        },
        Json::Float(value) => Value::from(*value),
        Json::Text(text) => Value::from(text.as_str()),
        Json::List(items) => Value::from(items.iter().map(from_json).collect::<Vec<_>>()),
        Json::Map(map) => {
            let entries = map.iter().map(|(key, item)| (key.clone(), from_json(item)));
            Value::from_object(Dict(entries.collect()))
        }
    }
}

/// A mapping of the conversation. Like a Python dict, and unlike minijinja's own mappings, it gives
/// its method for `map.items` and its element for `map['items']`.
#[derive(Debug)]
struct Dict(IndexMap<String, Value>);

impl Object for Dict {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.0.get(key.as_str()?).cloned()
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        match key {
            "copy" | "fromkeys" | "get" | "items" | "keys" | "values" => {
                let of = Value::from_dyn_object(self.clone());
                Some(Value::from_object(BoundMethod {
                    of,
                    name: key.to_owned(),
                }))
            }
            // Methods that change a mapping are kept from templates.
            "clear" | "pop" | "popitem" | "setdefault" | "update" => None,
            _ => self.0.get(key).cloned(),
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.keys().map(|key| Value::from(key.as_str())).collect())
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.0.len())
    }
}

/// A method that was asked for and not called.
#[derive(Debug)]
struct BoundMethod {
    of: Value,
    name: String,
}

impl Object for BoundMethod {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, state: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        methods::call(state, &self.of, &self.name, args)
    }

    fn render(self: &Arc<Self>, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "<built-in method {} of dict object>", self.name)
    }
}
