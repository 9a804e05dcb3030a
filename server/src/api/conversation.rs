//! The messages of a conversation.

use bitnet_engine::chat_templates::{Conversation, Json};
use bitnet_engine::{EncodedPrompt, Prompt};

use crate::error::ApiError;
use crate::fields::{Fields, list, text, wrong};
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

/// The conversation of a request, as the model reads it.
pub(crate) fn encode(server: &Shared, fields: &Fields) -> Result<EncodedPrompt, ApiError> {
    let messages = list("messages", fields.needed("messages")?)?;
    if messages.is_empty() {
        return Err(ApiError::field("messages", "`messages` is empty."));
    }
    let each = (0..).zip(messages);
    let messages: Result<_, ApiError> = each.map(|(i, one)| message(i, one)).collect();
    let mut conversation = Conversation::new(messages?);
    match fields.get("chat_template_kwargs") {
        None => {}
        Some(Json::Map(entries)) => conversation.variables = entries.clone(),
        Some(other) => return Err(wrong("chat_template_kwargs", "an object", other)),
    }
    let prompt = Prompt::from(conversation).template(server.options.template.clone());
    let encoded = server.encoder().encode(prompt);
    encoded.map_err(|error| ApiError::of_engine(&error, "messages"))
}

fn message(index: usize, message: &Json) -> Result<Json, ApiError> {
    let name = format!("messages[{index}]");
    let Json::Map(entries) = message else {
        return Err(wrong(&name, "an object", message));
    };
    let mut entries = entries.clone();
    let Some(role) = entries.get("role") else {
        let message = format!("`{name}.role` is missing.");
        return Err(ApiError::field(format!("{name}.role"), message));
    };
    let role = text(&format!("{name}.role"), role)?;
    if !ROLES.contains(&role) {
        let message = format!(
            "`{name}.role` is `{}`; it is one of {}.",
            role.escape_debug(),
            ROLES.map(|role| format!("`{role}`")).join(", ")
        );
        return Err(ApiError::field(format!("{name}.role"), message));
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
    // A message that calls a tool may have none.
    if content == Json::Null && !entries.contains_key("tool_calls") {
        let message = format!("`{name}.content` is missing.");
        return Err(ApiError::field(format!("{name}.content"), message));
    }
    entries.insert("content".to_owned(), content);
    Ok(Json::Map(entries))
}

/// The text of the parts of a content.
fn joined(name: &str, parts: &[Json]) -> Result<String, ApiError> {
    let mut text = String::new();
    for (i, part) in parts.iter().enumerate() {
        let kind = part.text_at("type").unwrap_or_default();
        if kind != "text" {
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
