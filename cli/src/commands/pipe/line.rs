//! One line of NDJSON: the texts in it, and the line with what was counted.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

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

/// The fields to look for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    /// The text that is the input.
    pub(super) input: &'a str,
    /// The text that is the output, if there is to be one.
    pub(super) output: Option<&'a str>,
}

/// What was found in a line.
pub(super) struct Found<'a> {
    pub(super) input: Cow<'a, str>,
    pub(super) output: Option<Cow<'a, str>>,
    /// Whether a key of [`WRITTEN`] is there already.
    taken: bool,
}

struct Search<'a>(Fields<'a>);

impl<'de> Visitor<'de> for Search<'_> {
    type Value = (Option<Cow<'de, str>>, Option<Cow<'de, str>>, bool);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut input, mut output, mut taken) = (None, None, false);
        while let Some(Text(key)) = map.next_key()? {
            taken |= WRITTEN.contains(&key.as_ref());
            if key == self.0.input {
                input = Some(map.next_value::<Text<'de>>()?.0);
            } else if self.0.output.is_some_and(|name| key == name) {
                output = Some(map.next_value::<Text<'de>>()?.0);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok((input, output, taken))
    }
}

/// Reads a line, all of it.
///
/// # Errors
/// In words: it is no JSON object, or a field is missing or no string.
pub(super) fn read<'a>(line: &'a [u8], fields: Fields<'_>) -> Result<Found<'a>, String> {
    let mut json = serde_json::Deserializer::from_slice(line);
    let (input, output, taken) = json
        .deserialize_map(Search(fields))
        .and_then(|found| json.end().map(|()| found))
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

/// Writes the line with `members` (`"a":1,"b":2`) at its end.
pub(super) fn write(line: &[u8], found: &Found<'_>, members: &str, out: &mut Vec<u8>) {
    let line = line.trim_ascii();
    match found.taken {
        false => out.extend_from_slice(&line[..line.len() - 1]),
        true => without_written(line, out),
    }
    // There is a member already: the text.
    out.push(b',');
    out.extend_from_slice(members.as_bytes());
    out.extend_from_slice(b"}\n");
}

/// The object without its closing brace and without the keys that will be written.
fn without_written(line: &[u8], out: &mut Vec<u8>) {
    struct Members<'a>(Vec<(String, &'a RawValue)>);
    impl<'de> Deserialize<'de> for Members<'de> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Take;
            impl<'de> Visitor<'de> for Take {
                type Value = Members<'de>;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("an object")
                }

                fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                    let mut members = Vec::new();
                    while let Some(member) = map.next_entry()? {
                        members.push(member);
                    }
                    Ok(Members(members))
                }
            }
            deserializer.deserialize_map(Take)
        }
    }
    // It was read before.
    let Members(members) = serde_json::from_slice(line).expect("an object");
    let kept = members
        .iter()
        .filter(|(key, _)| !WRITTEN.contains(&key.as_str()));
    for (i, (key, value)) in kept.enumerate() {
        out.push(if i == 0 { b'{' } else { b',' });
        out.extend_from_slice(serde_json::Value::from(key.as_str()).to_string().as_bytes());
        out.push(b':');
        out.extend_from_slice(value.get().as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: Fields<'_> = Fields {
        input: "text",
        output: None,
    };

    fn spliced(line: &str) -> String {
        let found = read(line.as_bytes(), FIELDS).expect("a line");
        let mut out = Vec::new();
        write(line.as_bytes(), &found, r#""tokens_input":3"#, &mut out);
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
            "{\"text\":\"x\",\"model\":[1, 2],\"tokens_input\":3}\n"
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
            (b"{\"other\":\"a\"}", "there is no field `text`"),
            (b"{\"text\":\"\xff\"}", "invalid unicode"),
            (b"{\"text\":\"a\",\"b\":tru}", "expected ident"),
        ] {
            let problem = read(line, FIELDS).err().expect(said);
            assert!(problem.contains(said), "{problem}");
        }
    }
}
