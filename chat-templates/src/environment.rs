//! What a template can call: minijinja's own functions, filters and tests, and in place of those
//! that differ from Python's Jinja2, this crate's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Object, ObjectRepr, Rest, Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State};

use crate::dialect::{ASSIGNED, ITERATED, STORED};
use crate::tojson::tojson;
use crate::work::{check_kept, pay_elements};
use crate::{methods, python};

/// How deep macros and loops may call themselves; a macro counts several times.
const RECURSION_LIMIT: usize = 500;

/// What `raise_exception` was called with.
#[derive(Debug)]
pub(crate) struct Raised(pub(crate) String);

impl std::fmt::Display for Raised {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

fn invalid(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, what.into())
}

/// An environment without templates.
pub(crate) fn environment() -> Result<Environment<'static>, Error> {
    let mut env = Environment::new();
    let mut syntax = SyntaxConfig::builder();
    env.set_syntax(syntax.trim_blocks(true).lstrip_blocks(true).build()?);
    env.set_auto_escape_callback(|_| AutoEscape::None);
    env.set_recursion_limit(RECURSION_LIMIT);
    env.set_debug(true);
    env.set_unknown_method_callback(|state, value, method, args| {
        methods::call(state, value, method, args)
    });
    env.set_formatter(|out, _state, value| {
        match value.as_str() {
            Some(text) => out.write_str(text),
            None => out.write_str(&python::to_str(value)),
        }
        .map_err(Error::from)
    });
    env.remove_global("debug");

    env.add_filter(ITERATED, iterated);
    env.add_filter(ASSIGNED, |state: &State, value: Value| {
        kept(state, value, false)
    });
    env.add_filter(STORED, |state: &State, value: Value| {
        kept(state, value, true)
    });

    env.add_filter("tojson", tojson);
    env.add_filter("int", int);
    env.add_filter("float", float);
    env.add_filter("string", |value: &Value| python::to_str(value));
    env.add_filter("trim", |value: &Value, chars: Option<&str>| {
        methods::strip(&python::to_str(value), chars, true, true).to_owned()
    });
    env.add_filter(
        "list",
        |state: &State, value: Value| -> Result<Value, Error> {
            let items = iterated(state, value)?;
            pay_elements(state, items.len().unwrap_or(0))?;
            Ok(items.try_iter()?.collect())
        },
    );

    env.add_test("sequence", |value: &Value| {
        use ValueKind::{Iterable, Map, Seq, String, Undefined};
        matches!(value.kind(), Undefined | String | Map | Seq | Iterable)
    });
    env.add_test("iterable", is_iterable);
    env.add_test("callable", is_callable);

    env.add_function(
        "raise_exception",
        |message: &Value| -> Result<Value, Error> {
            let words = python::to_str(message);
            Err(invalid(words.clone()).with_source(Raised(words)))
        },
    );
    env.add_function("cycler", |items: Rest<Value>| -> Result<Value, Error> {
        match items.is_empty() {
            true => Err(invalid("no items for cycling given")),
            false => Ok(Value::from_object(Cycler {
                items: items.0,
                at: AtomicUsize::new(0),
            })),
        }
    });
    env.add_function("joiner", |separator: Option<String>| {
        let separator = separator.unwrap_or_else(|| ", ".to_owned());
        Value::from_object(Joiner {
            separator,
            used: AtomicBool::new(false),
        })
    });
    Ok(env)
}

/// Names of Python's types in its messages.
fn type_name(value: &Value) -> &'static str {
    match value.kind() {
        ValueKind::None => "NoneType",
        ValueKind::Bool => "bool",
        ValueKind::Number if value.is_integer() => "int",
        ValueKind::Number => "float",
        ValueKind::Map => "dict",
        ValueKind::Seq | ValueKind::Iterable => "list",
        ValueKind::String => "str",
        _ => "function",
    }
}

fn is_iterable(value: &Value) -> bool {
    !value.is_none() && value.try_iter().is_ok()
}

fn is_callable(value: &Value) -> bool {
    let Some(object) = value.as_object() else {
        return false;
    };
    object.repr() == ObjectRepr::Plain || object.type_name().contains("Function")
}

/// What a loop goes over: the letters of a text one by one; nothing that has no elements.
fn iterated(state: &State, value: Value) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        pay_elements(state, text.chars().count())?;
        return Ok(text.chars().map(Value::from).collect());
    }
    if !is_iterable(&value) {
        return Err(invalid(format!(
            "'{}' object is not iterable",
            type_name(&value)
        )));
    }
    Ok(value)
}

fn kept(state: &State, value: Value, stored: bool) -> Result<Value, Error> {
    check_kept(state, &value, stored)?;
    Ok(value)
}

/// `int(value, default=0, base=10)`: the default for what is no number.
fn int(
    value: &Value,
    default: Option<Value>,
    base: Option<u32>,
    kwargs: Kwargs,
) -> Result<Value, Error> {
    let default = default
        .or(kwargs.get("default")?)
        .unwrap_or_else(|| Value::from(0));
    let base = base.or(kwargs.get("base")?).unwrap_or(10);
    kwargs.assert_all_used()?;
    if let Some(text) = value.as_str() {
        let digits = text.trim();
        let whole = match (base, digits.get(..2)) {
            (16, Some("0x" | "0X")) | (2, Some("0b" | "0B")) | (8, Some("0o" | "0O")) => {
                i128::from_str_radix(&digits[2..], base).ok()
            }
            (2..=36, _) => i128::from_str_radix(&digits.replace('_', ""), base).ok(),
            _ => None,
        };
        // Jinja2 tries `int(float(text))` where `int(text)` fails.
        let number = || {
            digits
                .parse::<f64>()
                .ok()
                .filter(|number| number.is_finite())
        };
        return Ok(match whole {
            Some(whole) => whole_number(whole),
            None => number().map_or(default, |number| whole_number(number as i128)),
        });
    }
    Ok(match value.kind() {
        ValueKind::Bool => Value::from(i64::from(value.is_true())),
        ValueKind::Number if value.is_integer() => value.clone(),
        ValueKind::Number => match f64::try_from(value.clone()) {
            Ok(number) if number.is_finite() => whole_number(number as i128),
            _ => default,
        },
        _ => default,
    })
}

fn whole_number(value: i128) -> Value {
    i64::try_from(value).map_or_else(|_| Value::from(value), Value::from)
}

/// `float(value, default=0.0)`: the default for what is no number.
fn float(value: &Value, default: Option<Value>, kwargs: Kwargs) -> Result<Value, Error> {
    let default = default
        .or(kwargs.get("default")?)
        .unwrap_or_else(|| Value::from(0.0));
    kwargs.assert_all_used()?;
    let number = match value.as_str() {
        Some(text) => text.trim().replace('_', "").parse::<f64>().ok(),
        None => match value.kind() {
            ValueKind::Bool => Some(f64::from(u8::from(value.is_true()))),
            ValueKind::Number => f64::try_from(value.clone()).ok(),
            _ => None,
        },
    };
    Ok(number.map_or(default, Value::from))
}

/// `cycler(a, b, ...)`.
#[derive(Debug)]
struct Cycler {
    items: Vec<Value>,
    at: AtomicUsize,
}

impl Object for Cycler {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        let current = self.at.load(Ordering::Relaxed) % self.items.len();
        (key == "current").then(|| self.items[current].clone())
    }

    fn call_method(
        self: &Arc<Self>,
        _state: &mut State<'_, '_>,
        method: &str,
        _args: &[Value],
    ) -> Result<Value, Error> {
        match method {
            "next" => {
                let at = self.at.fetch_add(1, Ordering::Relaxed) % self.items.len();
                Ok(self.items[at].clone())
            }
            "reset" => {
                self.at.store(0, Ordering::Relaxed);
                Ok(Value::from(()))
            }
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }
}

/// `joiner(separator)`: empty the first time, then the separator.
#[derive(Debug)]
struct Joiner {
    separator: String,
    used: AtomicBool,
}

impl Object for Joiner {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, _state: &mut State<'_, '_>, _args: &[Value]) -> Result<Value, Error> {
        let used = self.used.swap(true, Ordering::Relaxed);
        Ok(Value::from(if used { self.separator.as_str() } else { "" }))
    }
}
