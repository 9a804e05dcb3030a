//! JSON schemas on their way to llguidance, which passes over keywords that it does not know.

use bitnet_chat_templates::Json;
use serde_json::{Map, Value, json};

use super::error::GrammarError;
use super::limits::{DEEPEST, LONGEST};

/// Keywords whose value holds no schema.
const PLAIN: [&str; 29] = [
    "$ref",
    "const",
    "enum",
    "type",
    "minItems",
    "maxItems",
    "required",
    "minProperties",
    "maxProperties",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "$anchor",
    "$schema",
    "$id",
    "id",
    "$comment",
    "title",
    "description",
    "default",
    "readOnly",
    "writeOnly",
    "examples",
];
/// Keywords whose value is a schema.
const ONE: [&str; 3] = ["items", "additionalItems", "additionalProperties"];
/// Keywords whose value is a list of schemas.
const LISTED: [&str; 4] = ["anyOf", "oneOf", "allOf", "prefixItems"];
/// Keywords whose value has schemas by name.
const NAMED: [&str; 4] = ["properties", "patternProperties", "$defs", "definitions"];
/// What is said about values, and holds them to nothing: of later drafts, and of OpenAPI.
const SAID: [&str; 7] = [
    "contentEncoding",
    "contentMediaType",
    "deprecated",
    "discriminator",
    "example",
    "externalDocs",
    "xml",
];
/// llguidance's own options, which are chosen here.
const OPTIONS: &str = "x-guidance";

/// A schema as llguidance reads it, written without free blanks: they would let an answer go on
/// without saying anything.
///
/// # Errors
/// [`GrammarError::Keyword`] where it has a keyword that would be passed over, and what else is
/// wrong with it at first sight.
pub(crate) fn prepared(schema: &Json) -> Result<Value, GrammarError> {
    let value = serde_json::to_value(schema);
    let value = value.map_err(|error| GrammarError::Refused(error.to_string()))?;
    let mut entries = match checked(value, "#", 0)? {
        Value::Object(entries) => entries,
        Value::Bool(true) => Map::new(),
        _ => return Err(GrammarError::Refused("it allows nothing".to_owned())),
    };
    let options = json!({
        "whitespace_flexible": false,
        "item_separator": ", ",
        "key_separator": ": ",
    });
    entries.insert(OPTIONS.to_owned(), options);
    let value = Value::from(entries);
    let bytes = value.to_string().len();
    match bytes > LONGEST {
        true => Err(GrammarError::Long {
            bytes,
            most: LONGEST,
        }),
        false => Ok(value),
    }
}

/// The same schema, which stands `at` a place, without what is only said about values.
fn checked(schema: Value, at: &str, depth: usize) -> Result<Value, GrammarError> {
    if depth > DEEPEST {
        return Err(GrammarError::Deep { most: DEEPEST });
    }
    let entries = match schema {
        Value::Object(entries) => entries,
        Value::Bool(_) => return Ok(schema),
        other => {
            return Err(GrammarError::Schema {
                at: at.to_owned(),
                found: kind(&other),
            });
        }
    };
    let mut kept = Map::with_capacity(entries.len());
    for (keyword, value) in entries {
        let is = |known: &[&str]| known.contains(&&keyword[..]);
        if is(&SAID) || (keyword.starts_with("x-") && keyword != OPTIONS) {
            continue;
        }
        let place = format!("{at}/{keyword}");
        let value = match value {
            value if is(&PLAIN) => value,
            value if is(&ONE) => checked(value, &place, depth + 1)?,
            Value::Array(schemas) if is(&LISTED) => {
                let schemas = schemas.into_iter().enumerate();
                let each = |(i, schema)| checked(schema, &format!("{place}/{i}"), depth + 1);
                Value::Array(schemas.map(each).collect::<Result<_, _>>()?)
            }
            Value::Object(schemas) if is(&NAMED) => {
                let each = |(name, schema): (String, Value)| {
                    let place = format!("{place}/{}", pointed(&name));
                    Ok((name, checked(schema, &place, depth + 1)?))
                };
                let schemas = schemas.into_iter().map(each);
                Value::Object(schemas.collect::<Result<_, GrammarError>>()?)
            }
            // It is no list or object: llguidance says so.
            value if is(&LISTED) || is(&NAMED) => value,
            _ => {
                return Err(GrammarError::Keyword {
                    at: at.to_owned(),
                    keyword,
                });
            }
        };
        kept.insert(keyword, value);
    }
    Ok(kept.into())
}

/// A name as a JSON pointer has it.
fn pointed(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(schema: &str) -> Result<String, String> {
        let prepared = prepared(&Json::parse(schema).unwrap());
        let prepared = prepared.map_err(|error| error.to_string())?;
        let Value::Object(mut entries) = prepared else {
            return Err("no object".to_owned());
        };
        entries.remove(OPTIONS);
        Ok(Value::from(entries).to_string())
    }

    #[test]
    fn keywords_that_would_be_passed_over_are_refused_where_they_stand() {
        for (schema, said) in [
            (
                r#"{"properties": {"a/b": {"not": {}}}}"#,
                "#/properties/a~1b: the keyword `not`",
            ),
            (
                r#"{"anyOf": [{}, {"minLenght": 2}]}"#,
                "#/anyOf/1: the keyword `minLenght`",
            ),
            (r#"{"x-guidance": {}}"#, "#: the keyword `x-guidance`"),
            (
                r#"{"$defs": {"a": {"uniqueItems": true}}}"#,
                "#/$defs/a: the keyword `uniqueItems`",
            ),
            (r#"{"items": 7}"#, "#/items: a schema is"),
            ("[]", "#: a schema is"),
            ("false", "allows nothing"),
        ] {
            let error = of(schema).unwrap_err();
            assert!(error.contains(said), "{schema}: {error}");
        }
        let deep = format!("{}true{}", r#"{"items": "#.repeat(70), "}".repeat(70));
        assert!(of(&deep).unwrap_err().contains("deep"));
    }

    #[test]
    fn names_and_values_are_no_keywords_and_the_order_of_names_stays() {
        let schema = r#"{"properties":{"not":{"enum":[{"if":1}]},"deprecated":{"const":"x"}}}"#;
        assert_eq!(of(schema).unwrap(), schema);
        let said = r#"{"type":"string","deprecated":true,"x-order":1,"xml":{}}"#;
        assert_eq!(of(said).unwrap(), r#"{"type":"string"}"#);
        assert_eq!(of("true").unwrap(), "{}");
    }
}
