//! The messages of a conversation.

use std::sync::Arc;

use bitnet_engine::chat_templates::{Conversation, Error as TemplateError, Json};
use bitnet_engine::tools::{CallForm, Calls, Tools};
use bitnet_engine::{EncodedPrompt, Error, Prompt};

use super::tools;
use crate::error::ApiError;
use crate::fields::{Fields, flag, list, none_of, object, text, wrong};
use crate::state::Shared;

/// The roles of OpenAI's API. No other is taken: templates write a role between marks, as in
/// `'<|' + role + '|>'`, so that a role of any other word could become a control token.
const ROLES: [&str; 6] = [
    "system",
    "developer",
    "user",
    "assistant",
    "tool",
    "function",
];

/// Types of parts that are text.
const TEXTS: [&str; 4] = ["text", "input_text", "output_text", "reasoning_text"];

/// The conversation of a request in OpenAI's form, as the model reads it.
pub(crate) fn read(
    server: &Shared,
    fields: &Fields,
    tools: &Tools,
) -> Result<EncodedPrompt, ApiError> {
    let messages = list("messages", fields.needed("messages")?)?;
    if messages.is_empty() {
        return Err(ApiError::field("messages", "`messages` is empty."));
    }
    let each = (0..).zip(messages);
    let messages: Result<_, ApiError> = each
        .map(|(i, one)| message(&format!("messages[{i}]"), one))
        .collect();
    let mut conversation = Conversation::new(messages?);
    set_variables(fields, &mut conversation)?;
    set_end(fields, &mut conversation)?;
    if let Some(effort) = fields.text("reasoning_effort")? {
        set_effort(server, &mut conversation, "reasoning_effort", effort)?;
    }
    encode(server, conversation, tools)
}

/// Says to the template how its text is to end.
fn set_end(fields: &Fields, conversation: &mut Conversation) -> Result<(), ApiError> {
    const BEGINS: &str = "add_generation_prompt";
    const GOES_ON: &str = "continue_final_message";
    let goes_on = fields.flag(GOES_ON)?;
    let begins = match fields.get(BEGINS) {
        None => !goes_on,
        Some(value) => flag(BEGINS, value)?,
    };
    if begins && goes_on {
        let message = format!("`{BEGINS}` and `{GOES_ON}` contradict each other.");
        return Err(ApiError::field(GOES_ON, message));
    }
    conversation.add_generation_prompt = begins;
    conversation.continue_final_message = goes_on;
    Ok(())
}

/// Adds the names that the request has the template see.
pub(super) fn set_variables(
    fields: &Fields,
    conversation: &mut Conversation,
) -> Result<(), ApiError> {
    if let Some(entries) = fields.object("chat_template_kwargs")? {
        conversation.variables = entries.clone();
    }
    Ok(())
}

/// A conversation, whose messages are as templates see them, as the model reads it with these
/// tools. What the template leaves out of tools, calls and results is refused.
pub(crate) fn encode(
    server: &Shared,
    mut conversation: Conversation,
    tools: &Tools,
) -> Result<EncodedPrompt, ApiError> {
    conversation.tools = tools.for_template();
    if conversation.continue_final_message
        && let Some(Json::Map(last)) = conversation.messages.last()
        && last.contains_key("tool_calls")
    {
        let message = "The last message ends with a call, which nothing can continue.";
        return Err(ApiError::unsupported("messages", message));
    }
    let encode = |conversation: &Conversation| {
        let prompt = Prompt::from(conversation.clone()).template(server.options.template.clone());
        server.encoder().encode(prompt)
    };
    let mut encoded = encode(&conversation);
    if let Err(Error::Template(TemplateError::Failed(_))) = &encoded {
        // Some templates add the arguments of calls to a text.
        let mut spelled = conversation.clone();
        if with_arguments_as_text(&mut spelled.messages) {
            let again = encode(&spelled);
            if !matches!(again, Err(Error::Template(_))) {
                encoded = again;
            }
        }
    }
    let encoded = encoded.map_err(|error| ApiError::of_engine(&error, "messages"))?;
    let calls = server.encoder().calls(&encoded, &Arc::default());
    if tools.are_offered() && calls.as_ref().is_some_and(Calls::is_in_call) {
        let message = "The last message ends within a call, which cannot be continued.";
        return Err(ApiError::unsupported("messages", message));
    }
    if tools.are_offered() && calls.is_none() {
        let message = format!(
            "The model's chat template (`{}`) has the model write calls in a form that is not known; known are {}.",
            encoded.template.name(),
            CallForm::names().collect::<Vec<_>>().join(", ")
        );
        return Err(ApiError::unsupported("tools", message));
    }
    Ok(encoded)
}

/// Writes the arguments of calls as the text that they came as. Whether there were any.
fn with_arguments_as_text(messages: &mut [Json]) -> bool {
    let mut any = false;
    for message in messages {
        let Json::Map(entries) = message else {
            continue;
        };
        let Some(Json::List(calls)) = entries.get_mut("tool_calls") else {
            continue;
        };
        for call in calls {
            let Json::Map(call) = call else { continue };
            let Some(Json::Map(function)) = call.get_mut("function") else {
                continue;
            };
            if let Some(arguments) = function.get_mut("arguments")
                && let Ok(text) = serde_json::to_string(arguments)
            {
                *arguments = text.into();
                any = true;
            }
        }
    }
    any
}

/// Says to the template how much the model is to think, as the field `name` wants it.
pub(super) fn set_effort(
    server: &Shared,
    conversation: &mut Conversation,
    name: &str,
    effort: &str,
) -> Result<(), ApiError> {
    const EFFORT: &str = "reasoning_effort";
    let template = server.engine.template(&server.options.template);
    let template = template.map_err(|error| ApiError::of_engine(&error, name))?;
    if template
        .source()
        .is_some_and(|source| source.contains(EFFORT))
    {
        let variables = &mut conversation.variables;
        variables.insert(EFFORT.to_owned(), effort.into());
        return Ok(());
    }
    match effort {
        "none" => set_thinking(server, conversation, name, false),
        _ => {
            let message = format!(
                "The template of this model knows no efforts such as `{}`; `none` keeps it from thinking where that can be done.",
                effort.escape_debug()
            );
            Err(ApiError::unsupported(name, message))
        }
    }
}

/// Says to the template whether the model is to think, as the field `name` wants it.
pub(super) fn set_thinking(
    server: &Shared,
    conversation: &mut Conversation,
    name: &str,
    wanted: bool,
) -> Result<(), ApiError> {
    const SWITCH: &str = "enable_thinking";
    let template = server.engine.template(&server.options.template);
    let template = template.map_err(|error| ApiError::of_engine(&error, name))?;
    if template
        .source()
        .is_some_and(|source| source.contains(SWITCH))
    {
        let variables = &mut conversation.variables;
        variables.insert(SWITCH.to_owned(), Json::Bool(wanted));
        return Ok(());
    }
    match (server.encoder().thinks(&template), wanted) {
        (true, true) | (false, false) => Ok(()),
        (false, true) => {
            let message = "This model does not think before it answers.";
            Err(ApiError::unsupported(name, message))
        }
        (true, false) => {
            let message = "The template of this model cannot keep it from thinking.";
            Err(ApiError::unsupported(name, message))
        }
    }
}

/// A message `name` of OpenAI's APIs, as templates see it.
pub(super) fn message(name: &str, message: &Json) -> Result<Json, ApiError> {
    let mut entries = object(name, message)?.clone();
    let Some(role) = entries.get("role") else {
        let message = format!("`{name}.role` is missing.");
        return Err(ApiError::field(format!("{name}.role"), message));
    };
    let role = text(&format!("{name}.role"), role)?;
    if !ROLES.contains(&role) {
        return Err(none_of(&format!("{name}.role"), role, &ROLES));
    }
    if role == "developer" {
        entries.insert("role".to_owned(), "system".into());
    }
    let content = entries.get("content").unwrap_or(&Json::Null);
    let content = match content {
        Json::Null | Json::Text(_) => content.clone(),
        Json::List(parts) => Json::Text(joined(&format!("{name}.content"), parts)?),
        other => return Err(wrong(&format!("{name}.content"), "a text or a list", other)),
    };
    match entries.get("tool_calls") {
        None => {}
        Some(Json::Null) => drop(entries.shift_remove("tool_calls")),
        Some(calls) => {
            let calls = tools::calls(&format!("{name}.tool_calls"), calls)?;
            match calls.is_empty() {
                true => drop(entries.shift_remove("tool_calls")),
                false => drop(entries.insert("tool_calls".to_owned(), Json::List(calls))),
            }
        }
    }
    if entries
        .get("function_call")
        .is_some_and(|call| *call != Json::Null)
    {
        let field = format!("{name}.function_call");
        let message = format!("`{field}` is not supported; give calls as `tool_calls`.");
        return Err(ApiError::unsupported(field, message));
    }
    // A message that calls a tool may have none.
    if content == Json::Null && !entries.contains_key("tool_calls") {
        let message = format!("`{name}.content` is missing.");
        return Err(ApiError::field(format!("{name}.content"), message));
    }
    entries.insert("content".to_owned(), content);
    Ok(Json::Map(entries))
}

/// The text of the parts of a content.
pub(super) fn joined(name: &str, parts: &[Json]) -> Result<String, ApiError> {
    let mut text = String::new();
    for (i, part) in parts.iter().enumerate() {
        let kind = part.text_at("type").unwrap_or_default();
        if !TEXTS.contains(&kind) {
            let message = format!("`{name}[{i}].type` is `{kind}`; this model reads `text` alone.");
            return Err(ApiError::unsupported(format!("{name}[{i}].type"), message));
        }
        text.push_str(part.text_at("text").ok_or_else(|| {
            let message = format!("`{name}[{i}].text` is missing, or no text.");
            ApiError::field(format!("{name}[{i}].text"), message)
        })?);
    }
    Ok(text)
}
