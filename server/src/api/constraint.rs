//! What an answer may be, by the fields of OpenAI's APIs, Anthropic's, vLLM's and llama.cpp's, and
//! by the tools that it may call.

use bitnet_engine::chat_templates::Json;
use bitnet_engine::tools::Tools;
use bitnet_engine::{Constraint, EncodedPrompt, Error, Grammar};

use crate::error::ApiError;
use crate::fields::{Fields, flag, list, none_of, object, text, wrong};
use crate::state::Shared;

/// The fields of vLLM and llama.cpp, with the kinds that they ask for.
const NAMED: [(&str, &str); 6] = [
    ("guided_json", "json"),
    ("guided_regex", "regex"),
    ("guided_choice", "choice"),
    ("guided_grammar", "grammar"),
    ("json_schema", "json"),
    ("grammar", "grammar"),
];

/// A grammar, and the field that asked for it.
pub(super) type Asked = (String, Grammar);

/// What an API calls the fields of tools that bound answers.
pub(super) struct Names {
    /// The schema of a tool, within it.
    pub(super) schema: &'static str,
    /// Whether it is held to wherever it is called, within it.
    pub(super) strict: &'static str,
    /// Whether there may be several calls.
    pub(super) parallel: &'static str,
}

/// The grammar that the fields of chats and completions ask for, if one does.
pub(super) fn read(fields: &Fields) -> Result<Option<Asked>, ApiError> {
    let mut found = Vec::new();
    if let Some(format) = fields.get("response_format") {
        found.extend(response_format("response_format", format)?);
    }
    if let Some(value) = fields.get("structured_outputs") {
        found.extend(structured("structured_outputs", value)?);
    }
    for (field, kind) in NAMED {
        match fields.get(field) {
            None => {}
            // llama.cpp's clients send it where there is none.
            Some(Json::Text(text)) if kind == "grammar" && text.is_empty() => {}
            Some(value) => found.push((field.to_owned(), of_kind(field, kind, value)?)),
        }
    }
    only(found)
}

/// The one grammar of a request.
pub(super) fn only(found: Vec<Asked>) -> Result<Option<Asked>, ApiError> {
    if let [(first, _), (second, _), ..] = &found[..] {
        let message = format!("`{first}` and `{second}` both say what the answer may be.");
        return Err(ApiError::field(second, message));
    }
    Ok(found.into_iter().next())
}

/// What an answer is held to that no tool is called in.
pub(super) fn prepared(
    server: &Shared,
    asked: Option<Asked>,
) -> Result<Option<Constraint>, ApiError> {
    let one = asked.map(|(field, grammar)| {
        let constraint = server.encoder().constraint(&grammar);
        constraint.map_err(|error| refused(&error, &field))
    });
    one.transpose()
}

/// What an answer to `prompt` is held to, by its form and the calls that it may be.
pub(super) fn with_tools(
    server: &Shared,
    prompt: &EncodedPrompt,
    tools: &Tools,
    names: &Names,
    asked: Option<Asked>,
) -> Result<Option<Constraint>, ApiError> {
    if !tools.are_offered() {
        return prepared(server, asked);
    }
    let (field, answer) = match asked {
        // All of the answer is calls: a form is of answers without one, other grammars are of all.
        Some((_, Grammar::JsonSchema(_) | Grammar::JsonObject)) if tools.are_required() => {
            (String::new(), None)
        }
        Some((field, _)) if tools.are_required() => {
            let message =
                format!("`{field}` says what the answer is, and `tool_choice` that it is a call.");
            return Err(ApiError::unsupported(field, message));
        }
        Some((field, grammar)) => (field, Some(grammar)),
        None => (String::new(), None),
    };
    let held = server
        .encoder()
        .calls_constraint(prompt, tools, answer.as_ref());
    let held = held.map_err(|error| {
        let of_tool = |number: &usize| format!("tools[{number}].{}", names.schema);
        match &error {
            Error::Tool { number, .. } => refused(&error, &of_tool(number)),
            _ if answer.is_some() => refused(&error, &field),
            _ => refused(&error, "tools"),
        }
    })?;
    if held.is_some() {
        return Ok(held);
    }
    // Calls have no mark: they are seen when they have begun.
    let strict = tools.list.iter().position(|tool| tool.strict);
    let field = match (answer, strict) {
        (Some(_), _) => field,
        (None, Some(number)) => format!("tools[{number}].{}", names.strict),
        (None, None) if !tools.parallel => names.parallel.to_owned(),
        (None, None) => return Ok(None),
    };
    let message = format!(
        "`{field}` cannot be enforced with this model where a tool may be called: its calls have no mark. Ask for a call in any case, or for none."
    );
    Err(ApiError::unsupported(field, message))
}

/// What is wrong with a grammar that came as `field`.
fn refused(error: &Error, field: &str) -> ApiError {
    ApiError::field(field, format!("`{field}`: {error}."))
}

/// OpenAI's `response_format`.
fn response_format(field: &str, format: &Json) -> Result<Option<Asked>, ApiError> {
    let entries = object(field, format)?;
    let kind = entries.get("type").unwrap_or(&Json::Null);
    let of_kind_field = format!("{field}.type");
    match text(&of_kind_field, kind)? {
        "text" => Ok(None),
        "json_object" => match entries.get("schema") {
            None | Some(Json::Null) => Ok(Some((field.to_owned(), Grammar::JsonObject))),
            // As llama.cpp has it.
            Some(schema) => {
                let field = format!("{field}.schema");
                let grammar = of_kind(&field, "json", schema)?;
                Ok(Some((field, grammar)))
            }
        },
        "json_schema" => {
            let field = format!("{field}.json_schema");
            let given = entries.get("json_schema").unwrap_or(&Json::Null);
            named_schema(&field, given).map(Some)
        }
        other => Err(none_of(
            &of_kind_field,
            other,
            &["text", "json_object", "json_schema"],
        )),
    }
}

/// A schema with its name, as OpenAI's APIs have it. It is held to whether it is `strict` or not.
fn named_schema(field: &str, value: &Json) -> Result<Asked, ApiError> {
    let given = object(field, value)?;
    let value = |key: &str| given.get(key).unwrap_or(&Json::Null);
    text(&format!("{field}.name"), value("name"))?;
    flag(&format!("{field}.strict"), value("strict"))?;
    schema_of(field, value("schema"))
}

/// The schema of an object that came as `field`; any object where it is not there.
fn schema_of(field: &str, schema: &Json) -> Result<Asked, ApiError> {
    match schema {
        Json::Null => Ok((field.to_owned(), Grammar::JsonObject)),
        schema => {
            let field = format!("{field}.schema");
            let grammar = of_kind(&field, "json", schema)?;
            Ok((field, grammar))
        }
    }
}

/// `text.format` of OpenAI's responses, in which the schema stands beside its name.
pub(super) fn text_format(field: &str, format: &Json) -> Result<Option<Asked>, ApiError> {
    match format.text_at("type") {
        Some("json_schema") => named_schema(field, format).map(Some),
        _ => response_format(field, format),
    }
}

/// The `format` of Anthropic's `output_config`, and its older name.
pub(super) fn output_format(field: &str, format: &Json) -> Result<Asked, ApiError> {
    let entries = object(field, format)?;
    let of_kind_field = format!("{field}.type");
    let kind = entries.get("type").unwrap_or(&Json::Null);
    match text(&of_kind_field, kind)? {
        "json_schema" => match entries.get("schema") {
            Some(schema @ Json::Map(_)) => schema_of(field, schema),
            other => {
                let other = other.unwrap_or(&Json::Null);
                Err(wrong(&format!("{field}.schema"), "a JSON schema", other))
            }
        },
        other => Err(none_of(&of_kind_field, other, &["json_schema"])),
    }
}

/// vLLM's `structured_outputs`.
fn structured(field: &str, value: &Json) -> Result<Vec<Asked>, ApiError> {
    let mut found = Vec::new();
    let entries = object(field, value)?.iter();
    for (key, value) in entries.filter(|(_, value)| **value != Json::Null) {
        let field = format!("{field}.{key}");
        match &key[..] {
            "json" | "regex" | "choice" | "grammar" => {
                let grammar = of_kind(&field, key, value)?;
                found.push((field, grammar));
            }
            "json_object" => {
                if flag(&field, value)? {
                    found.push((field, Grammar::JsonObject));
                }
            }
            _ => {
                let message = format!("`{field}` is not supported by this server.");
                return Err(ApiError::unsupported(field, message));
            }
        }
    }
    Ok(found)
}

fn of_kind(field: &str, kind: &str, value: &Json) -> Result<Grammar, ApiError> {
    Ok(match kind {
        "json" => Grammar::JsonSchema(match value {
            // A text that holds one.
            Json::Text(text) => Json::parse(text).map_err(|error| {
                ApiError::field(field, format!("`{field}` is not JSON: {error}."))
            })?,
            Json::Map(_) | Json::Bool(_) => value.clone(),
            other => return Err(wrong(field, "a JSON schema", other)),
        }),
        "regex" => Grammar::Regex(text(field, value)?.to_owned()),
        "choice" => {
            let texts = list(field, value)?.iter().enumerate();
            let each =
                |(i, one): (usize, &Json)| Ok(text(&format!("{field}[{i}]"), one)?.to_owned());
            Grammar::Choice(texts.map(each).collect::<Result<_, ApiError>>()?)
        }
        _ => Grammar::of_text(text(field, value)?.to_owned()),
    })
}
