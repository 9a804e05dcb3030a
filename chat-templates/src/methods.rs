//! The methods of Python's texts, mappings and lists that templates call.

use minijinja::formatting::{FormatStyle, format};
use minijinja::value::{Kwargs, Tuple, Value, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State};

use crate::python;
use crate::unicode::{is_alpha, is_cased, is_decimal, is_digit, is_numeric, is_space};
use crate::work::{pay_bytes, pay_elements};

/// Calls a method of a value.
pub(crate) fn call(
    state: &State,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    match (value.kind(), value.as_str()) {
        (_, Some(text)) => of_text(state, text, method, args),
        (ValueKind::Map, _) => of_mapping(state, value, method, args),
        (ValueKind::Seq | ValueKind::Iterable, _) => of_list(state, value, method, args),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn invalid(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, what.into())
}

fn unsafe_method(method: &str, kind: &str) -> Error {
    invalid(format!(
        "access to attribute '{method}' of '{kind}' object is unsafe: it changes it"
    ))
}

fn of_text(state: &State, text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let none = || from_args::<()>(args);
    let all = |test: fn(char) -> bool| -> Result<Value, Error> {
        none()?;
        Ok(Value::from(!text.is_empty() && text.chars().all(test)))
    };
    Ok(match method {
        "upper" => none().map(|()| Value::from(text.to_uppercase()))?,
        "lower" => none().map(|()| Value::from(text.to_lowercase()))?,
        "casefold" => none().map(|()| Value::from(text.to_lowercase().replace('ß', "ss")))?,
        "title" => none().map(|()| Value::from(title(text)))?,
        "capitalize" => none().map(|()| Value::from(capitalize(text)))?,
        "swapcase" => none().map(|()| Value::from(swapcase(text)))?,
        "isspace" => all(is_space)?,
        "isalpha" => all(is_alpha)?,
        "isdecimal" => all(is_decimal)?,
        "isdigit" => all(is_digit)?,
        "isnumeric" => all(is_numeric)?,
        "isalnum" => all(|c| is_alpha(c) || is_numeric(c))?,
        "isascii" => none().map(|()| Value::from(text.is_ascii()))?,
        "islower" => none().map(|()| Value::from(one_case(text, char::is_lowercase)))?,
        "isupper" => none().map(|()| Value::from(one_case(text, char::is_uppercase)))?,
        "strip" | "lstrip" | "rstrip" => {
            let (chars,): (Option<&str>,) = from_args(args)?;
            Value::from(strip(text, chars, method != "rstrip", method != "lstrip"))
        }
        "startswith" | "endswith" => affixed(text, method, args)?,
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Value::from(text.strip_prefix(prefix).unwrap_or(text))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Value::from(text.strip_suffix(suffix).unwrap_or(text))
        }
        "find" | "rfind" | "index" | "rindex" | "count" => search(text, method, args)?,
        "replace" => {
            let (old, new, count, kwargs): (&str, &str, Option<i64>, Kwargs) = from_args(args)?;
            let count = count.or(kwargs.get("count")?);
            kwargs.assert_all_used()?;
            replace(state, text, old, new, count)?
        }
        "split" | "rsplit" => split(state, text, method == "rsplit", args)?,
        "splitlines" => {
            let (keep, kwargs): (Option<bool>, Kwargs) = from_args(args)?;
            let keep = keep.or(kwargs.get("keepends")?).unwrap_or(false);
            kwargs.assert_all_used()?;
            let lines = lines(text, keep);
            pay_elements(state, lines.len())?;
            lines.into_iter().map(Value::from).collect()
        }
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            if separator.is_empty() {
                return Err(invalid("empty separator"));
            }
            let last = method == "rpartition";
            let cut = if last {
                text.rsplit_once(separator)
            } else {
                text.split_once(separator)
            };
            let (before, middle, behind) = match cut {
                Some((before, behind)) => (before, separator, behind),
                None if last => ("", "", text),
                None => (text, "", ""),
            };
            Value::from(Tuple::from([before, middle, behind].map(Value::from)))
        }
        "join" => {
            let (values,): (&Value,) = from_args(args)?;
            join(state, text, values)?
        }
        "ljust" | "rjust" | "center" | "zfill" => justified(state, text, method, args)?,
        "format" => {
            // minijinja does not charge for widths.
            let digits = text.split(|c: char| !c.is_ascii_digit());
            let widths = digits.filter(|digits| !digits.is_empty());
            for width in widths {
                pay_bytes(state, width.parse().unwrap_or(usize::MAX))?;
            }
            Value::from(format(FormatStyle::StrFormat, text, args)?)
        }
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    })
}

/// `str.strip` and its halves; without `chars`, of blanks.
pub(crate) fn strip<'t>(text: &'t str, chars: Option<&str>, left: bool, right: bool) -> &'t str {
    let stripped = |c: char| chars.map_or_else(|| is_space(c), |chars| chars.contains(c));
    let text = if left {
        text.trim_start_matches(stripped)
    } else {
        text
    };
    if right {
        text.trim_end_matches(stripped)
    } else {
        text
    }
}

/// `str.title`: a letter behind anything that has no case is a capital.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut behind_cased = false;
    for (at, c) in text.char_indices() {
        if behind_cased {
            // The form of a sigma depends on what follows.
            let last = !text[at + c.len_utf8()..]
                .chars()
                .next()
                .is_some_and(is_cased);
            out.extend(if c == 'Σ' && last {
                'ς'.to_lowercase()
            } else {
                c.to_lowercase()
            });
        } else {
            out.push_str(&titlecase(c));
        }
        behind_cased = is_cased(c);
    }
    out
}

fn capitalize(text: &str) -> String {
    let Some(first) = text.chars().next() else {
        return String::new();
    };
    let mut out = titlecase(first);
    // All of the text, so that a sigma at its end takes its last form.
    out.push_str(&text.to_lowercase()[first.to_lowercase().map(char::len_utf8).sum()..]);
    out
}

/// The form of a letter at the beginning of a title.
fn titlecase(c: char) -> String {
    let point = u32::from(c);
    let own_form = match point {
        // Digraphs have a form between the capital and the small one, Greek vowels with a small
        // iota another, and Georgian letters stay as they are.
        0x1c4..=0x1cc => Some(point - (point - 0x1c4) % 3 + 1),
        0x1f1..=0x1f3 => Some(0x1f2),
        0x10d0..=0x10fa | 0x10fd..=0x10ff => Some(point),
        0x1f80..=0x1faf => Some(point | 8),
        0x1fb3 => Some(0x1fbc),
        0x1fc3 => Some(0x1fcc),
        0x1ff3 => Some(0x1ffc),
        _ => None,
    };
    if let Some(own_form) = own_form.and_then(char::from_u32) {
        return own_form.to_string();
    }
    let mut upper = c.to_uppercase();
    match (c, upper.next()) {
        ('ŉ', _) | (_, None) => c.to_uppercase().collect(),
        // A letter that becomes several: only the first is a capital.
        (_, Some(first)) => std::iter::once(first)
            .chain(upper.flat_map(char::to_lowercase))
            .collect(),
    }
}

fn swapcase(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_uppercase() {
            true => out.extend(c.to_lowercase()),
            false => out.extend(c.to_uppercase()),
        }
    }
    out
}

/// Whether there are letters with a case, and all of them have this one.
fn one_case(text: &str, this: fn(char) -> bool) -> bool {
    let mut cased = text.chars().filter(|&c| is_cased(c)).peekable();
    cased.peek().is_some() && cased.all(this)
}

fn affixed(text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let (affix, start, end): (&Value, Option<i64>, Option<i64>) = from_args(args)?;
    let text = slice(text, start, end).map(|(_, part)| part);
    let matches = |affix: &Value| -> Result<bool, Error> {
        let affix = affix.as_str().ok_or_else(|| {
            invalid(format!(
                "{method} takes a text or a tuple of texts, not {}",
                affix.kind()
            ))
        })?;
        Ok(text.is_some_and(|text| match method {
            "startswith" => text.starts_with(affix),
            _ => text.ends_with(affix),
        }))
    };
    if affix.is_tuple() {
        for affix in affix.try_iter()? {
            if matches(&affix)? {
                return Ok(Value::from(true));
            }
        }
        return Ok(Value::from(false));
    }
    Ok(Value::from(matches(affix)?))
}

/// `text[start:end]`, and the number of characters in front of it; nothing where `start` lies
/// behind the end.
fn slice(text: &str, start: Option<i64>, end: Option<i64>) -> Option<(usize, &str)> {
    if start.is_none() && end.is_none() {
        return Some((0, text));
    }
    let length = text.chars().count();
    let place = |index: i64| -> usize {
        let from_end = usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX);
        if index < 0 {
            length.saturating_sub(from_end)
        } else {
            from_end
        }
    };
    let start = start.map_or(0, place);
    let end = end.map_or(length, place).min(length);
    if start > end {
        return None;
    }
    let byte = |index: usize| {
        text.char_indices()
            .nth(index)
            .map_or(text.len(), |(at, _)| at)
    };
    Some((start, &text[byte(start)..byte(end)]))
}

fn search(text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let (what, start, end): (&str, Option<i64>, Option<i64>) = from_args(args)?;
    let Some((skipped, part)) = slice(text, start, end) else {
        return match method {
            "count" => Ok(Value::from(0)),
            "find" | "rfind" => Ok(Value::from(-1)),
            _ => Err(invalid("substring not found")),
        };
    };
    if method == "count" {
        let count = if what.is_empty() {
            part.chars().count() + 1
        } else {
            part.matches(what).count()
        };
        return Ok(Value::from(count));
    }
    let found = if method.starts_with('r') {
        part.rfind(what)
    } else {
        part.find(what)
    };
    match found {
        Some(at) => Ok(Value::from(skipped + part[..at].chars().count())),
        None if method.ends_with("find") => Ok(Value::from(-1)),
        None => Err(invalid("substring not found")),
    }
}

fn replace(
    state: &State,
    text: &str,
    old: &str,
    new: &str,
    count: Option<i64>,
) -> Result<Value, Error> {
    let most = count
        .and_then(|count| usize::try_from(count).ok())
        .unwrap_or(usize::MAX);
    if new.len() > old.len() {
        let matches = text.matches(old).take(most).count();
        pay_bytes(state, matches.saturating_mul(new.len() - old.len()))?;
    }
    Ok(Value::from(text.replacen(old, new, most)))
}

fn split(state: &State, text: &str, from_right: bool, args: &[Value]) -> Result<Value, Error> {
    let (separator, most, kwargs): (Option<&str>, Option<i64>, Kwargs) = from_args(args)?;
    let separator = separator.or(kwargs.get("sep")?);
    let most = most.or(kwargs.get("maxsplit")?);
    kwargs.assert_all_used()?;
    let most = most
        .and_then(|most| usize::try_from(most).ok())
        .unwrap_or(usize::MAX - 1);
    if separator == Some("") {
        return Err(invalid("empty separator"));
    }
    let pieces = match separator {
        Some(separator) => text.matches(separator).take(most).count(),
        None => text.split(is_space).take(most).count(),
    };
    pay_elements(state, pieces)?;
    let mut parts: Vec<&str> = match (separator, from_right) {
        (Some(separator), false) => text.splitn(most + 1, separator).collect(),
        (Some(separator), true) => text.rsplitn(most + 1, separator).collect(),
        (None, _) => words(text, from_right, most),
    };
    if from_right {
        parts.reverse();
    }
    Ok(parts.into_iter().map(Value::from).collect())
}

/// What stands between blanks, cut at most so many times; from the right, the last comes first.
fn words(text: &str, from_right: bool, most: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = strip(text, None, !from_right, from_right);
    while !rest.is_empty() {
        let blank = if from_right {
            rest.rfind(is_space)
        } else {
            rest.find(is_space)
        };
        let (Some(at), true) = (blank, parts.len() < most) else {
            parts.push(rest);
            break;
        };
        let (before, behind) = rest.split_at(at);
        let (word, other) = match from_right {
            true => (
                strip(behind, None, true, false),
                strip(before, None, false, true),
            ),
            false => (before, strip(behind, None, true, false)),
        };
        parts.push(word);
        rest = other;
    }
    parts
}

/// `str.splitlines`.
fn lines(text: &str, keep_ends: bool) -> Vec<&str> {
    let ends = |c: char| {
        matches!(
            c,
            '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let Some(at) = rest.find(ends) else {
            lines.push(rest);
            break;
        };
        let behind = &rest[at..];
        let length = match behind.chars().next() {
            Some('\r') if behind[1..].starts_with('\n') => 2,
            Some(c) => c.len_utf8(),
            None => 0,
        };
        lines.push(&rest[..if keep_ends { at + length } else { at }]);
        rest = &rest[at + length..];
    }
    lines
}

/// `separator.join(values)`; other than Python's, it writes values that are no texts.
pub(crate) fn join(state: &State, separator: &str, values: &Value) -> Result<Value, Error> {
    let mut out = String::new();
    for (at, value) in values.try_iter()?.enumerate() {
        let before = out.len();
        if at > 0 {
            pay_bytes(state, separator.len())?;
            out.push_str(separator);
        }
        python::write_str(&value, &mut out);
        pay_bytes(state, out.len() - before)?;
    }
    Ok(Value::from(out))
}

fn justified(state: &State, text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let (width, fill): (i64, Option<char>) = from_args(args)?;
    let fill = fill.unwrap_or(if method == "zfill" { '0' } else { ' ' });
    let width = usize::try_from(width).unwrap_or(0);
    let missing = width.saturating_sub(text.chars().count());
    pay_bytes(state, missing.saturating_mul(fill.len_utf8()))?;
    let blanks = |count: usize| fill.to_string().repeat(count);
    Ok(Value::from(match method {
        "ljust" => format!("{text}{}", blanks(missing)),
        "rjust" => format!("{}{text}", blanks(missing)),
        "center" => {
            // CPython puts the odd one to the left where the width is odd, too.
            let left = missing / 2 + (missing & width & 1);
            format!("{}{text}{}", blanks(left), blanks(missing - left))
        }
        _ => {
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['+', '-'])));
            format!("{sign}{}{digits}", blanks(missing))
        }
    }))
}

fn of_mapping(state: &State, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let Some(map) = value.as_object() else {
        return Err(Error::from(ErrorKind::UnknownMethod));
    };
    let pairs = || map.try_iter_pairs().into_iter().flatten();
    match method {
        "get" => {
            let (key, default): (&Value, Option<Value>) = from_args(args)?;
            Ok(map
                .get_value(key)
                .or(default)
                .unwrap_or_else(|| Value::from(())))
        }
        "keys" | "items" | "values" => {
            from_args::<()>(args)?;
            pay_elements(state, map.enumerator_len().unwrap_or(0))?;
            Ok(match method {
                "keys" => pairs().map(|(key, _)| key).collect(),
                "values" => pairs().map(|(_, item)| item).collect(),
                _ => pairs()
                    .map(|(key, item)| Value::from(Tuple::from([key, item])))
                    .collect(),
            })
        }
        "copy" => from_args::<()>(args).map(|()| value.clone()),
        "clear" | "pop" | "popitem" | "setdefault" | "update" => Err(unsafe_method(method, "dict")),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn of_list(state: &State, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    match method {
        "count" | "index" => {
            let (what,): (&Value,) = from_args(args)?;
            pay_elements(state, value.len().unwrap_or(0))?;
            if method == "count" {
                return Ok(Value::from(
                    value.try_iter()?.filter(|item| item == what).count(),
                ));
            }
            match value.try_iter()?.position(|item| item == *what) {
                Some(at) => Ok(Value::from(at)),
                None => Err(invalid(format!("{what} is not in list"))),
            }
        }
        "copy" => from_args::<()>(args).map(|()| value.clone()),
        "append" | "clear" | "extend" | "insert" | "pop" | "remove" | "reverse" | "sort" => {
            Err(unsafe_method(method, "list"))
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_begin_behind_everything_without_a_case() {
        assert_eq!(title("it's 3d x-ray ǆ straße"), "It'S 3D X-Ray ǅ Straße");
        assert_eq!(title("ΟΔΟΣ ΣΑΣ"), "Οδος Σας");
        assert_eq!(capitalize("ÉCOLE ß"), "École ß");
    }

    #[test]
    fn words_are_cut_from_either_side() {
        assert_eq!(words("  a  b c ", false, usize::MAX), ["a", "b", "c"]);
        assert_eq!(words(" a  b c ", false, 1), ["a", "b c "]);
        assert_eq!(words(" a b  c ", true, 1), ["c", " a b"]);
        assert_eq!(words(" \u{1f}", false, 5), [""; 0]);
    }

    #[test]
    fn lines_end_where_pythons_do() {
        assert_eq!(lines("a\r\nb\u{2028}c\n\n", false), ["a", "b", "c", ""]);
        assert_eq!(lines("a\r\nb\r", true), ["a\r\n", "b\r"]);
    }

    #[test]
    fn slices_count_characters() {
        assert_eq!(slice("héllo", Some(1), Some(-1)), Some((1, "éll")));
        assert_eq!(slice("abc", Some(4), None), None);
        assert_eq!(slice("abc", Some(-9), Some(99)), Some((0, "abc")));
    }
}
