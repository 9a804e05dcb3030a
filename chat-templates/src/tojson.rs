//! The filter `tojson`: Python's `json.dumps` as transformers sets it up.

use std::fmt::Write;

use minijinja::value::{Kwargs, Rest, ValueKind, ValueOrKwargs, from_args};
use minijinja::{Error, ErrorKind, State, Value};

use crate::python;
use crate::work::pay_bytes;

/// `tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False)`.
pub(crate) fn tojson(
    state: &State,
    value: &Value,
    options: Rest<ValueOrKwargs>,
) -> Result<Value, Error> {
    let options = options.into_values();
    type Options = (
        Option<Value>,
        Option<Value>,
        Option<Value>,
        Option<Value>,
        Kwargs,
    );
    let (ensure_ascii, indent, separators, sort_keys, kwargs): Options = from_args(&options)?;
    let option = |given: Option<Value>, name: &str| -> Result<Option<Value>, Error> {
        let value = match given {
            Some(value) => Some(value),
            None => kwargs.get::<Option<Value>>(name)?,
        };
        Ok(value.filter(|value| !value.is_none() && !value.is_undefined()))
    };
    let ensure_ascii = option(ensure_ascii, "ensure_ascii")?.is_some_and(|value| value.is_true());
    let indent = match option(indent, "indent")? {
        None => None,
        Some(value) => Some(match value.as_str() {
            Some(text) => Indent {
                unit: text.to_owned(),
                times: 1,
            },
            None => {
                let width = i64::try_from(value)?;
                Indent {
                    unit: " ".to_owned(),
                    times: usize::try_from(width).unwrap_or(0),
                }
            }
        }),
    };
    let (between, after_key) = match option(separators, "separators")? {
        Some(pair) => {
            let mut parts = pair.try_iter()?.map(|part| python::to_str(&part));
            match (parts.next(), parts.next(), parts.next()) {
                (Some(between), Some(after_key), None) => (between, after_key),
                _ => return Err(failed("separators are two texts")),
            }
        }
        None if indent.is_some() => (",".to_owned(), ": ".to_owned()),
        None => (", ".to_owned(), ": ".to_owned()),
    };
    let sort_keys = option(sort_keys, "sort_keys")?.is_some_and(|value| value.is_true());
    kwargs.assert_all_used()?;
    let style = Style {
        ensure_ascii,
        indent,
        between,
        after_key,
        sort_keys,
    };
    let mut writer = Writer {
        state,
        style,
        out: String::new(),
    };
    writer.value(value, 0)?;
    Ok(Value::from(writer.out))
}

struct Indent {
    unit: String,
    times: usize,
}

struct Style {
    ensure_ascii: bool,
    indent: Option<Indent>,
    between: String,
    after_key: String,
    sort_keys: bool,
}

struct Writer<'a, 'env, 'state> {
    state: &'a State<'env, 'state>,
    style: Style,
    out: String,
}

impl Writer<'_, '_, '_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if let Some(text) = value.as_str() {
            pay_bytes(self.state, text.len())?;
            self.text(text);
            return Ok(());
        }
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self
                .out
                .push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.number(value),
            ValueKind::Seq | ValueKind::Iterable => self.list(value, depth)?,
            ValueKind::Map => self.map(value, depth)?,
            kind => {
                let name = if kind == ValueKind::Undefined {
                    "Undefined"
                } else {
                    "function"
                };
                return Err(failed(&format!(
                    "Object of type {name} is not JSON serializable"
                )));
            }
        }
        Ok(())
    }

    fn number(&mut self, value: &Value) {
        let before = self.out.len();
        python::write_number(value, &mut self.out);
        let name = match &self.out[before..] {
            "nan" => "NaN",
            "inf" => "Infinity",
            "-inf" => "-Infinity",
            _ => return,
        };
        self.out.replace_range(before.., name);
    }

    fn list(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.out.push('[');
        let mut any = false;
        for item in value.try_iter()? {
            self.before_item(any, depth + 1)?;
            any = true;
            self.value(&item, depth + 1)?;
        }
        self.end(']', any, depth)
    }

    fn map(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.out.push('{');
        let pairs = value.as_object().and_then(|map| map.try_iter_pairs());
        let mut pairs: Vec<_> = pairs.into_iter().flatten().collect();
        if self.style.sort_keys {
            pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
        }
        let any = !pairs.is_empty();
        for (at, (key, item)) in pairs.iter().enumerate() {
            self.before_item(at > 0, depth + 1)?;
            self.key(key)?;
            self.out.push_str(&self.style.after_key);
            self.value(item, depth + 1)?;
        }
        self.end('}', any, depth)
    }

    fn key(&mut self, key: &Value) -> Result<(), Error> {
        if let Some(text) = key.as_str() {
            pay_bytes(self.state, text.len())?;
            self.text(text);
            return Ok(());
        }
        if !matches!(
            key.kind(),
            ValueKind::None | ValueKind::Bool | ValueKind::Number
        ) {
            return Err(failed("keys must be str, int, float, bool or None"));
        }
        self.out.push('"');
        self.value(key, 0)?;
        self.out.push('"');
        Ok(())
    }

    fn before_item(&mut self, any: bool, depth: usize) -> Result<(), Error> {
        if any {
            self.out.push_str(&self.style.between);
        }
        self.line(depth)
    }

    fn end(&mut self, bracket: char, any: bool, depth: usize) -> Result<(), Error> {
        if any {
            self.line(depth)?;
        }
        self.out.push(bracket);
        Ok(())
    }

    /// Begins a line, where there are lines.
    fn line(&mut self, depth: usize) -> Result<(), Error> {
        if let Some(indent) = &self.style.indent {
            let times = indent.times.saturating_mul(depth);
            // A step for the line and one for every 64 bytes of it.
            pay_bytes(
                self.state,
                indent.unit.len().saturating_mul(times).saturating_add(64),
            )?;
            self.out.push('\n');
            self.out.push_str(&indent.unit.repeat(times));
        }
        Ok(())
    }

    fn text(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\x08' => self.out.push_str("\\b"),
                '\x0c' => self.out.push_str("\\f"),
                c if c < ' ' || (self.style.ensure_ascii && c > '~') => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        let _ = write!(self.out, "\\u{unit:04x}");
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }
}

fn failed(what: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, what.to_owned())
}
