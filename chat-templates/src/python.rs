//! Values written as Python writes them.

use std::fmt::Write;

use minijinja::Value;
use minijinja::value::ValueKind;

use crate::unicode::is_unprintable;

/// `str(value)`.
pub(crate) fn to_str(value: &Value) -> String {
    let mut out = String::new();
    write_str(value, &mut out);
    out
}

/// Writes `str(value)`.
pub(crate) fn write_str(value: &Value, out: &mut String) {
    match (value.kind(), value.as_str()) {
        (ValueKind::Undefined, _) => {}
        (_, Some(text)) => out.push_str(text),
        _ => write_repr(value, out),
    }
}

/// Writes `repr(value)`.
pub(crate) fn write_repr(value: &Value, out: &mut String) {
    if let Some(text) = value.as_str() {
        return write_quoted(text, out);
    }
    match value.kind() {
        ValueKind::Undefined => out.push_str("Undefined"),
        ValueKind::Number => write_number(value, out),
        ValueKind::Seq | ValueKind::Iterable => {
            let tuple = value.is_tuple();
            out.push(if tuple { '(' } else { '[' });
            let mut count = 0;
            for item in value.try_iter().into_iter().flatten() {
                out.push_str(if count > 0 { ", " } else { "" });
                write_repr(&item, out);
                count += 1;
            }
            out.push_str(match (tuple, count) {
                (true, 1) => ",)",
                (true, _) => ")",
                (false, _) => "]",
            });
        }
        ValueKind::Map => {
            out.push('{');
            let pairs = value.as_object().and_then(|map| map.try_iter_pairs());
            for (at, (key, item)) in pairs.into_iter().flatten().enumerate() {
                out.push_str(if at > 0 { ", " } else { "" });
                write_repr(&key, out);
                out.push_str(": ");
                write_repr(&item, out);
            }
            out.push('}');
        }
        _ => {
            let _ = write!(out, "{value}");
        }
    }
}

/// Writes a number; what is whole stays whole.
pub(crate) fn write_number(value: &Value, out: &mut String) {
    match f64::try_from(value.clone()) {
        Ok(number) if !value.is_integer() => out.push_str(&float(number)),
        _ => {
            let _ = write!(out, "{value}");
        }
    }
}

/// `repr` of a float: the shortest digits that give it back, with an exponent below 1e-4 and from
/// 1e16 on.
pub(crate) fn float(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    // Rust changes to an exponent at the same places, but writes it without sign and padding.
    let digits = format!("{value:?}");
    match digits
        .split_once('e')
        .map(|(mantissa, exponent)| (mantissa, exponent.parse::<i32>()))
    {
        Some((mantissa, Ok(exponent))) => {
            format!(
                "{}e{exponent:+03}",
                mantissa.strip_suffix(".0").unwrap_or(mantissa)
            )
        }
        _ => digits,
    }
}

fn write_quoted(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => out.extend(['\\', c]),
            c if is_unprintable(c) => {
                let point = u32::from(c);
                let _ = match point {
                    0..=0xff => write!(out, "\\x{point:02x}"),
                    0x100..=0xffff => write!(out, "\\u{point:04x}"),
                    _ => write!(out, "\\U{point:08x}"),
                };
            }
            c => out.push(c),
        }
    }
    out.push(quote);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_pythons() {
        for (value, text) in [
            (1.0, "1.0"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e300, "1.5e+300"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (-0.0, "-0.0"),
            (5e-324, "5e-324"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(float(value), text);
        }
    }

    #[test]
    fn texts_are_quoted_as_repr_quotes_them() {
        for (text, quoted) in [
            ("a", "'a'"),
            ("it's", "\"it's\""),
            ("both ' and \"", "'both \\' and \"'"),
            (
                "\n\\\u{7f}\u{a0}\u{200b}é🤖",
                "'\\n\\\\\\x7f\\xa0\\u200bé🤖'",
            ),
        ] {
            let mut out = String::new();
            write_repr(&Value::from(text), &mut out);
            assert_eq!(out, quoted);
        }
    }
}
