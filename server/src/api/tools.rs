//! Tools, as OpenAI's chats have them (`tools`, `tool_choice`, `parallel_tool_calls`, the calls in
//! messages), and what other APIs' tools have in common with these.

use std::sync::Arc;

use bitnet_engine::chat_templates::Json;
use bitnet_engine::tools::{Tool, ToolCall, ToolChoice, Tools};

use super::constraint::Names;
use crate::error::ApiError;
use crate::fields::{Fields, flag, list, object, text, wrong};

/// Most tools of a request, as in OpenAI's API.
const MOST_TOOLS: usize = 128;
/// Most letters of the name of one.
const LONGEST_NAME: usize = 128;

/// What chats call the fields of tools that bound answers.
pub(super) const NAMES: Names = Names {
    schema: "function.parameters",
    strict: "function.strict",
    parallel: "parallel_tool_calls",
};

/// What a request lets the model call.
pub(crate) fn read(fields: &Fields) -> Result<Arc<Tools>, ApiError> {
    let name_of = |named: &Json| match named {
        Json::Map(entries) => entries.get("function")?.text_at("name").map(str::to_owned),
        _ => None,
    };
    read_as(fields, tool, name_of, "function.name")
}

/// The same where `each` reads a tool by its name and value, and the function that is chosen is
/// named `within` an object.
pub(super) fn read_as(
    fields: &Fields,
    each: impl Fn(&str, &Json) -> Result<Tool, ApiError>,
    name_of: impl Fn(&Json) -> Option<String>,
    within: &str,
) -> Result<Arc<Tools>, ApiError> {
    let list = tools(fields, each)?;
    let choice = chosen(fields, name_of, within)?;
    let parallel = match fields.get("parallel_tool_calls") {
        None => true,
        Some(value) => flag("parallel_tool_calls", value)?,
    };
    checked(list, choice, parallel, "tool_choice")
}

/// What a request lets the model call, where the field `of_choice` chooses among it.
pub(super) fn checked(
    list: Vec<Tool>,
    choice: ToolChoice,
    parallel: bool,
    of_choice: &str,
) -> Result<Arc<Tools>, ApiError> {
    if list.is_empty() && matches!(choice, ToolChoice::Required | ToolChoice::Named(_)) {
        let message = format!("`{of_choice}` asks for a call, and there are no `tools`.");
        return Err(ApiError::field(of_choice, message));
    }
    if let ToolChoice::Named(name) = &choice
        && !list.iter().any(|tool| tool.name == *name)
    {
        let message = format!(
            "`{of_choice}` names `{}`, which is none of `tools`.",
            name.escape_debug()
        );
        return Err(ApiError::field(of_choice, message));
    }
    Ok(Arc::new(Tools {
        list,
        choice,
        parallel,
    }))
}

/// The tools of a request, `each` of which is read by its name and value.
pub(super) fn tools(
    fields: &Fields,
    each: impl Fn(&str, &Json) -> Result<Tool, ApiError>,
) -> Result<Vec<Tool>, ApiError> {
    let Some(items) = fields.get("tools") else {
        return Ok(Vec::new());
    };
    let items = list("tools", items)?;
    if items.len() > MOST_TOOLS {
        let message = format!("`tools` has {}; {MOST_TOOLS} are allowed.", items.len());
        return Err(ApiError::field("tools", message));
    }
    let mut tools: Vec<Tool> = Vec::with_capacity(items.len());
    for (i, item) in items.iter().enumerate() {
        let name = format!("tools[{i}]");
        let tool = each(&name, item)?;
        if tools.iter().any(|other| other.name == tool.name) {
            let message = format!("Two tools are called `{}`.", tool.name);
            return Err(ApiError::field(name, message));
        }
        tools.push(tool);
    }
    Ok(tools)
}

fn tool(name: &str, item: &Json) -> Result<Tool, ApiError> {
    let entries = object(name, item)?;
    is_function(name, item)?;
    let function = entries.get("function").unwrap_or(&Json::Null);
    Ok(Tool {
        definition: item.clone(),
        ..described(&format!("{name}.function"), function, "parameters")?
    })
}

/// A tool as `in_function` describes it, with what it takes under the name `schema`.
pub(super) fn described(in_function: &str, item: &Json, schema: &str) -> Result<Tool, ApiError> {
    let function = object(in_function, item)?;
    let given = |key: &str| function.get(key).filter(|value| **value != Json::Null);
    let called = text(
        &format!("{in_function}.name"),
        given("name").unwrap_or(&Json::Null),
    )?;
    let is_sound = |sign: char| sign.is_ascii_alphanumeric() || "_-.".contains(sign);
    if called.is_empty() || called.len() > LONGEST_NAME || !called.chars().all(is_sound) {
        let message = format!(
            "`{in_function}.name` must have 1 to {LONGEST_NAME} of a-z, A-Z, 0-9, `_`, `-` and `.`."
        );
        return Err(ApiError::field(format!("{in_function}.name"), message));
    }
    let description = given("description");
    let description = description.map(|value| text(&format!("{in_function}.description"), value));
    let parameters = given(schema).cloned();
    if let Some(other) = parameters.as_ref()
        && !matches!(other, Json::Map(_))
    {
        return Err(wrong(
            &format!("{in_function}.{schema}"),
            "an object",
            other,
        ));
    }
    Ok(Tool {
        strict: flag(
            &format!("{in_function}.strict"),
            given("strict").unwrap_or(&Json::Null),
        )?,
        ..Tool::new(called, description.transpose()?, parameters)
    })
}

/// Refuses what is of another type than `function`.
pub(super) fn is_function(name: &str, item: &Json) -> Result<(), ApiError> {
    match item.text_at("type") {
        Some("function") => Ok(()),
        found => {
            let found = found.unwrap_or("missing").escape_debug();
            let message = format!("`{name}.type` is `{found}`; only `function` is supported.");
            Err(ApiError::unsupported(format!("{name}.type"), message))
        }
    }
}

/// The choice of OpenAI's APIs, in which a function is named `within` an object.
fn chosen(
    fields: &Fields,
    name_of: impl Fn(&Json) -> Option<String>,
    within: &str,
) -> Result<ToolChoice, ApiError> {
    const FIELD: &str = "tool_choice";
    match fields.get(FIELD) {
        None => Ok(ToolChoice::default()),
        Some(Json::Text(text)) => match &text[..] {
            "none" => Ok(ToolChoice::None),
            "auto" => Ok(ToolChoice::Auto),
            "required" => Ok(ToolChoice::Required),
            other => {
                let message = format!(
                    "`{FIELD}` is `{}`; it is `none`, `auto`, `required` or an object that names a function.",
                    other.escape_debug()
                );
                Err(ApiError::field(FIELD, message))
            }
        },
        Some(named @ Json::Map(_)) => {
            is_function(FIELD, named)?;
            let name = name_of(named).ok_or_else(|| {
                let message = format!("`{FIELD}.{within}` is missing.");
                ApiError::field(format!("{FIELD}.{within}"), message)
            })?;
            Ok(ToolChoice::Named(name))
        }
        Some(other) => Err(wrong(FIELD, "a text or an object", other)),
    }
}

/// A call as templates see it; its arguments came in the field `of_arguments`.
pub(super) fn for_template(call: &ToolCall, of_arguments: String) -> Result<Json, ApiError> {
    call.for_template().map_err(|problem| {
        let message = format!("`{of_arguments}` is {problem}.");
        ApiError::field(of_arguments, message)
    })
}

/// The calls in a message, as templates see them.
pub(super) fn calls(name: &str, value: &Json) -> Result<Vec<Json>, ApiError> {
    let calls = list(name, value)?.iter().enumerate();
    calls
        .map(|(i, call)| {
            let name = format!("{name}[{i}]");
            let entries = object(&name, call)?;
            is_function(&name, call)?;
            let in_function = format!("{name}.function");
            let function = entries.get("function").unwrap_or(&Json::Null);
            let function = object(&in_function, function)?;
            let given = |key: &str| function.get(key).unwrap_or(&Json::Null);
            let arguments = match given("arguments") {
                object @ Json::Map(_) => serde_json::to_string(object)
                    .map_err(|error| ApiError::internal(error.to_string()))?,
                other => text(&format!("{in_function}.arguments"), other)?.to_owned(),
            };
            let call = ToolCall {
                id: text(
                    &format!("{name}.id"),
                    entries.get("id").unwrap_or(&Json::Null),
                )?
                .to_owned(),
                name: text(&format!("{in_function}.name"), given("name"))?.to_owned(),
                arguments,
            };
            for_template(&call, format!("{in_function}.arguments"))
        })
        .collect()
}
