//! The grammar of calls, in the form that a template teaches.

use std::fmt::Write as _;

use bitnet_chat_templates::Json;
use bitnet_tokenizers::{TokenKind, Tokenizer};

use super::definition::{Tool, Tools};
use super::form::{Body, CallForm};
use crate::constraint::{Grammar, GrammarError, literal, schema as prepared};

/// What may be said of a text in the form of tags, which holds it to nothing.
const SAID_OF_TEXTS: [&str; 6] = [
    "type",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
];

/// The control token that a mark is, if it is one.
pub(crate) fn control(mark: &str, tokenizer: &Tokenizer) -> Option<u32> {
    let mut tokens = tokenizer.special_tokens();
    let found = tokens.find(|(_, text, kind)| *text == mark && *kind == TokenKind::Control);
    found.map(|(id, ..)| id)
}

/// The rules of a call of one tool, in Lark's syntax.
pub(crate) struct Call {
    /// The rule of all of it.
    name: String,
    rules: String,
}

impl Call {
    /// Held to the schema of what the `number`-th tool takes: an object.
    pub(crate) fn new(form: &CallForm, number: usize, tool: &Tool) -> Result<Call, GrammarError> {
        let mut schema = match &tool.parameters {
            Some(Json::Map(entries)) => entries.clone(),
            Some(other) => {
                return Err(GrammarError::Schema {
                    at: "#".to_owned(),
                    found: other.kind(),
                });
            }
            // A tool that says nothing of parameters takes none.
            None => {
                let nothing = [
                    ("properties".to_owned(), Json::Map(Default::default())),
                    ("additionalProperties".to_owned(), false.into()),
                ];
                nothing.into_iter().collect()
            }
        };
        let object = || "object".into();
        schema.entry("type".to_owned()).or_insert_with(object);
        Call::of_schema(form, number, tool, &Json::Map(schema))
    }

    /// Held to the form alone.
    pub(crate) fn free(form: &CallForm, number: usize, tool: &Tool) -> Result<Call, GrammarError> {
        let object = Json::map([("type", Json::from("object"))]);
        Call::of_schema(form, number, tool, &object)
    }

    fn of_schema(
        form: &CallForm,
        number: usize,
        tool: &Tool,
        schema: &Json,
    ) -> Result<Call, GrammarError> {
        let name = format!("call_{number}");
        let mut rules = String::new();
        // Writing to a text does not fail.
        match form.body {
            Body::Json { arguments, .. } => {
                let called = literal(&tool.name);
                let before = literal(&format!("{{\"name\": {called}, \"{arguments}\": "));
                let schema = prepared(schema)?;
                let _ = writeln!(rules, "{name}: {before} arguments_{number} \"}}\"");
                let _ = writeln!(rules, "arguments_{number}: %json {schema}");
            }
            Body::Python => {
                let problem = "calls in Python's syntax cannot be held to a schema";
                return Err(GrammarError::Refused(problem.to_owned()));
            }
            Body::Tags => {
                let parameters = tags(&mut rules, number, schema)?;
                let before = literal(&format!("<function={}>\n", tool.name));
                let _ = writeln!(rules, "{name}: {before} {parameters} \"</function>\"");
            }
        }
        Ok(Call { name, rules })
    }

    /// The grammar of this call alone.
    pub(crate) fn alone(&self) -> String {
        format!("start: {}\n{}", self.name, self.rules)
    }
}

/// The grammar of answers that are `calls`, one of them or several, or `answer`; `opened` where the
/// opening mark stands already.
pub(crate) fn of_calls(
    form: &CallForm,
    tools: &Tools,
    calls: &[Call],
    tokenizer: &Tokenizer,
    answer: Option<&Grammar>,
    opened: bool,
) -> Result<String, GrammarError> {
    let mark = |mark: &str| match control(mark, tokenizer) {
        Some(id) => format!("<[{id}]>"),
        None => literal(mark),
    };
    let (open, close) = (mark(form.open), mark(form.close));
    let many = |between: &str| match tools.parallel {
        true => format!("call ({between} call)*"),
        false => "call".to_owned(),
    };
    // What stands behind the opening mark.
    let list = matches!(form.body, Body::Json { list: true, .. });
    let inside = match (form.close, list) {
        ("", true) => format!("\"[\" {} \"]\"", many("\", \"")),
        (_, true) => format!("\"\\n[\" {} \"]\\n\" {close}", many("\", \"")),
        (_, false) => format!("\"\\n\" call \"\\n\" {close}"),
    };
    let start = match (form.open, opened) {
        ("", _) => many("\"; \""),
        (_, true) => inside,
        (_, false) => {
            let one = format!("{open} {inside}");
            match tools.parallel && !list {
                true => format!("{one} (\"\\n\" {one})*"),
                false => one,
            }
        }
    };
    let names: Vec<&str> = calls.iter().map(|call| &call.name[..]).collect();
    let mut rules: String = calls.iter().map(|call| &call.rules[..]).collect();
    let start = match answer {
        None => start,
        Some(grammar) => {
            let schema = match grammar {
                Grammar::JsonSchema(schema) => prepared(schema)?,
                Grammar::JsonObject => prepared(&Json::map([("type", Json::from("object"))]))?,
                _ => {
                    let problem = "answers beside calls of tools are held to JSON alone";
                    return Err(GrammarError::Refused(problem.to_owned()));
                }
            };
            let _ = writeln!(rules, "answer: %json {schema}");
            format!("({start}) | answer")
        }
    };
    Ok(format!(
        "start: {start}\ncall: {}\n{rules}",
        names.join(" | ")
    ))
}

/// Adds rules for the parameters of a function to `rules`; what stands for all of them.
fn tags(rules: &mut String, number: usize, schema: &Json) -> Result<String, GrammarError> {
    let Json::Map(entries) = schema else {
        return Ok(String::new());
    };
    let Some(Json::Map(properties)) = entries.get("properties") else {
        return Ok(String::new());
    };
    let required = match entries.get("required") {
        Some(Json::List(names)) => &names[..],
        _ => &[],
    };
    let mut all = Vec::new();
    for (at, (key, property)) in properties.iter().enumerate() {
        let before = literal(&format!("<parameter={key}>\n"));
        let rule = format!("parameter_{number}_{at}");
        let is_text = property.text_at("type") == Some("string");
        let value = match property {
            Json::Map(property) if is_text => listed(property, key)?,
            _ => {
                let mut property = property.clone();
                for shared in ["$defs", "definitions"] {
                    if let (Json::Map(own), Some(definitions)) =
                        (&mut property, entries.get(shared))
                    {
                        own.insert(shared.to_owned(), definitions.clone());
                    }
                }
                Some(format!("%json {}", prepared(&property)?))
            }
        };
        // Writing to a text does not fail.
        let _ = match value {
            Some(value) => writeln!(
                rules,
                "{rule}: {before} value_{number}_{at} \"\\n</parameter>\\n\"\n\
                 value_{number}_{at}: {value}"
            ),
            None => writeln!(
                rules,
                "{rule}: {before} text_{number}_{at}\n\
                 text_{number}_{at}[lazy]: /(.|\\n)*\\n<\\/parameter>\\n/"
            ),
        };
        all.push(match required.contains(&Json::from(&key[..])) {
            true => rule,
            false => format!("({rule})?"),
        });
    }
    Ok(all.join(" "))
}

/// The texts that a parameter of texts may be, which are written without quotes; none where it may
/// be any.
fn listed(
    property: &bitnet_chat_templates::Object,
    key: &str,
) -> Result<Option<String>, GrammarError> {
    let values = match (property.get("const"), property.get("enum")) {
        (Some(value), _) => std::slice::from_ref(value),
        (None, Some(Json::List(values))) => &values[..],
        _ => {
            let mut keywords = property.keys();
            return match keywords.find(|keyword| !SAID_OF_TEXTS.contains(&&keyword[..])) {
                None => Ok(None),
                // A text that ends at a mark is told by nothing else.
                Some(keyword) => Err(GrammarError::Keyword {
                    at: format!("#/properties/{key}"),
                    keyword: keyword.clone(),
                }),
            };
        }
    };
    let texts = values.iter().filter_map(|value| match value {
        Json::Text(text) => Some(literal(text)),
        _ => None,
    });
    Ok(Some(texts.collect::<Vec<_>>().join(" | ")))
}
