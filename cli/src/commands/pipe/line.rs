//! One line of NDJSON: the texts in it, and the line with what was counted.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

/// The keys that are written. What a line has under them is replaced, so that a line may come
/// through again; they are few and particular, so that nothing else is lost.
pub(super) const WRITTEN: [&str; 4] = ["tokens_input", "tokens_output", "cost_usd", "accuracy"];

/// A string that is borrowed where it has no escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Take;
        impl<'de> Visitor<'de> for Take {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Take)
    }
}

impl<'a> From<Text<'a>> for Cow<'a, str> {
    fn from(Text(text): Text<'a>) -> Self {
        text
    }
}

/// A string in which half of a surrogate pair, which an escape may spell and no text can hold, is
/// U+FFFD. Takes control characters, which [`Text`] refuses.
struct LossyText<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for LossyText<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Take;
        impl Visitor<'_> for Take {
            type Value = Cow<'static, str>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Self::Value, E> {
                Ok(Cow::Owned(without_surrogates(bytes)))
            }
        }
        // As bytes, because serde_json refuses a lone surrogate in a string.
        deserializer.deserialize_bytes(Take).map(LossyText)
    }
}

impl<'a> From<LossyText<'a>> for Cow<'a, str> {
    fn from(LossyText(text): LossyText<'a>) -> Self {
        text
    }
}

/// The text of bytes in which surrogates may be coded as other characters are (WTF-8), with U+FFFD
/// for each of these.
fn without_surrogates(bytes: &[u8]) -> String {
    const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();
    let mut text = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(at) = memchr::memchr(0xed, rest) {
        let (before, from) = rest.split_at(at);
        text.extend_from_slice(before);
        rest = match from {
            [0xed, 0xa0..=0xbf, _, after @ ..] => {
                text.extend_from_slice(REPLACEMENT);
                after
            }
            [first, after @ ..] => {
                text.push(*first);
                after
            }
            [] => from,
        };
    }
    text.extend_from_slice(rest);
    String::from_utf8(text)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// The fields to look for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    /// The text that is the input.
    pub(super) input: &'a str,
    /// The text that is the output, if there is to be one.
    pub(super) output: Option<&'a str>,
}

/// What was found in a line.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) input: Cow<'a, str>,
    pub(super) output: Option<Cow<'a, str>>,
    /// Whether a key of [`WRITTEN`] is there already.
    taken: bool,
}

/// What a line has of the fields, its strings read as `T`.
struct Search<'a, T>(Fields<'a>, PhantomData<T>);

impl<'de, T: Deserialize<'de> + Into<Cow<'de, str>>> Visitor<'de> for Search<'_, T> {
    type Value = (Option<Cow<'de, str>>, Option<Cow<'de, str>>, bool);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut input, mut output, mut taken) = (None, None, false);
        while let Some(key) = map.next_key::<T>()? {
            let key = key.into();
            taken |= WRITTEN.contains(&key.as_ref());
            if key == self.0.input {
                input = Some(map.next_value::<T>()?.into());
            } else if self.0.output.is_some_and(|name| key == name) {
                output = Some(map.next_value::<T>()?.into());
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok((input, output, taken))
    }
}

fn search<'a, T: Deserialize<'a> + Into<Cow<'a, str>>>(
    line: &'a str,
    fields: Fields<'_>,
) -> serde_json::Result<<Search<'a, T> as Visitor<'a>>::Value> {
    let mut json = serde_json::Deserializer::from_str(line);
    let found = json.deserialize_map(Search::<T>(fields, PhantomData))?;
    json.end().map(|()| found)
}

/// A line without the white space around it, and without the mark that some programs begin a file
/// with (BOM).
pub(super) fn trimmed(line: &[u8]) -> &[u8] {
    line.strip_prefix("\u{feff}".as_bytes())
        .unwrap_or(line)
        .trim_ascii()
}

/// Reads a line, [`trimmed`], all of it.
///
/// # Errors
/// In words: it is no UTF-8 or no JSON object, or a field is missing or no string.
pub(super) fn read<'a>(line: &'a [u8], fields: Fields<'_>) -> Result<Found<'a>, String> {
    let line = std::str::from_utf8(line)
        .map_err(|error| format!("column {}: no UTF-8", error.valid_up_to() + 1))?;
    let (input, output, taken) = search::<Text<'_>>(line, fields)
        .or_else(|refused| match has_control_in_string(line.as_bytes()) {
            // Half a surrogate pair may be what was refused, and no reason to lose a line.
            false => search::<LossyText<'_>>(line, fields),
            true => Err(refused),
        })
        .map_err(|error| described(&error))?;
    let missing = |name: &str| format!("there is no field `{name}`");
    if let (Some(name), None) = (fields.output, &output)
        && name != fields.input
    {
        return Err(missing(name));
    }
    Ok(Found {
        input: input.ok_or_else(|| missing(fields.input))?,
        output,
        taken,
    })
}

/// serde_json's words, with the column alone: the line is this one.
fn described(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let words = text.split(" at line ").next().unwrap_or(&text);
    format!("column {}: {words}", error.column())
}

/// Writes the line, which was [`read`], with `members` (`"a":1,"b":2`) at its end.
pub(super) fn write(line: &[u8], found: &Found<'_>, members: &str, out: &mut Vec<u8>) {
    match found.taken {
        false => out.extend_from_slice(&line[..line.len() - 1]),
        true => without_written(line, out),
    }
    // There is a member already: the text.
    out.push(b',');
    out.extend_from_slice(members.as_bytes());
    out.extend_from_slice(b"}\n");
}

/// The object without its closing brace and without the keys that will be written. Every other
/// member keeps its bytes.
fn without_written(line: &[u8], out: &mut Vec<u8>) {
    let mut begun = false;
    let mut rest = &line[1..];
    loop {
        let member = rest.trim_ascii_start();
        let Some(key) = string_len(member) else {
            break;
        };
        let value = key + value_len(&member[key..]);
        let name = serde_json::from_slice::<LossyText<'_>>(&member[..key]);
        if !name.is_ok_and(|LossyText(name)| WRITTEN.contains(&name.as_ref())) {
            out.push(if begun { b',' } else { b'{' });
            out.extend_from_slice(member[..value].trim_ascii_end());
            begun = true;
        }
        rest = &member[value..];
        rest = rest.strip_prefix(b",").unwrap_or(rest);
    }
}

/// The length of the string at the beginning; none where there is no string.
fn string_len(json: &[u8]) -> Option<usize> {
    let mut from = 1;
    json.first().filter(|byte| **byte == b'"')?;
    loop {
        let at = from + memchr::memchr2(b'"', b'\\', json.get(from..)?)?;
        match json[at] {
            b'"' => return Some(at + 1),
            _ => from = at + 2,
        }
    }
}

/// Whether a string holds a control character as it is, which JSON does not allow.
fn has_control_in_string(json: &[u8]) -> bool {
    let mut rest = json;
    while let Some(at) = memchr::memchr(b'"', rest) {
        let string = &rest[at..];
        let len = string_len(string).unwrap_or(string.len());
        if string[..len].iter().any(|byte| *byte < b' ') {
            return true;
        }
        rest = &string[len..];
    }
    false
}

/// The length of what follows a key, colon and value, up to the comma or brace behind it. The line
/// was read before, so it is well-formed.
fn value_len(json: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0_usize);
    while at < json.len() {
        match json[at] {
            b'"' => at += string_len(&json[at..]).unwrap_or(1) - 1,
            b'{' | b'[' => depth += 1,
            b',' | b'}' | b']' if depth == 0 => return at,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    json.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: Fields<'_> = Fields {
        input: "text",
        output: None,
    };

    fn spliced(line: &str) -> String {
        let line = trimmed(line.as_bytes());
        let found = read(line, FIELDS).expect("a line");
        let mut out = Vec::new();
        write(line, &found, r#""tokens_input":3"#, &mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn a_line_keeps_its_bytes_and_gets_members() {
        assert_eq!(
            spliced(" {\"id\": 1.0, \"text\":\"a\\u00e9\"} \r"),
            "{\"id\": 1.0, \"text\":\"a\\u00e9\",\"tokens_input\":3}\n"
        );
        let line = r#"{"text":"x","nested":{"text":5}}"#;
        assert_eq!(
            spliced(line),
            "{\"text\":\"x\",\"nested\":{\"text\":5},\"tokens_input\":3}\n"
        );
        let escaped = read(br#"{"text":"a\nb"}"#, FIELDS).expect("a line");
        assert_eq!(escaped.input, "a\nb");
    }

    #[test]
    fn what_stands_under_a_written_key_is_replaced() {
        assert_eq!(
            spliced(
                r#"{"accuracy": {"a" : 1}, "te\u0078t":"x", "model": [1, 2],"tokens_input":9}"#
            ),
            "{\"te\\u0078t\":\"x\",\"model\": [1, 2],\"tokens_input\":3}\n"
        );
        assert_eq!(
            spliced(r#"{ "a\\" : "}\",{" , "accuracy":[{"x":"]"}],"text" : "y" ,"b":{"c":[]} }"#),
            "{\"a\\\\\" : \"}\\\",{\",\"text\" : \"y\",\"b\":{\"c\":[]},\"tokens_input\":3}\n"
        );
    }

    #[test]
    fn half_a_surrogate_pair_is_counted_as_a_replacement_and_kept_as_it_was() {
        let line = r#"{"text":"bad \ud83d x\udc00é \ud83d\ude00","\ud800":1,"accuracy":"x"}"#;
        let found = read(line.as_bytes(), FIELDS).expect("a line");
        assert_eq!(found.input, "bad \u{fffd} x\u{fffd}é \u{1f600}");
        assert_eq!(
            spliced(line),
            line.replace(r#""accuracy":"x""#, r#""tokens_input":3"#) + "\n"
        );
    }

    #[test]
    fn the_mark_at_the_beginning_of_a_file_is_passed_over() {
        assert_eq!(
            spliced("\u{feff}{\"text\":\"x\"}\r\n"),
            "{\"text\":\"x\",\"tokens_input\":3}\n"
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (line, said) in [
            (
                &b"{\"text\":5}"[..],
                "column 9: invalid type: integer `5`, expected a string",
            ),
            (b"[1]", "expected an object"),
            (b"{\"text\":\"a\"", "EOF while parsing an object"),
            (b"{\"text\":\"a\"} x", "trailing characters"),
            (b"{\"text\":\"a\tb\"}", "control character"),
            (b"{\"text\":\"\\ud800\tb\"}", "hex escape"),
            (b"{\"other\":\"a\"}", "there is no field `text`"),
            (b"{\"text\":\"\xff\"}", "column 10: no UTF-8"),
            (
                b"{\"text\":\"x\",\"name\":\"Andr\xe9\"}",
                "column 25: no UTF-8",
            ),
            (b"{\"text\":\"a\",\"b\":tru}", "expected ident"),
        ] {
            let Err(problem) = read(line, FIELDS) else {
                panic!("{said}");
            };
            assert!(problem.contains(said), "{problem}");
        }
    }
}
