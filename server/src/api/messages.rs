//! `POST /v1/messages` and `/v1/messages/count_tokens`, as Anthropic specifies them.

use std::sync::Arc;

use axum::Json;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use bitnet_engine::chat_templates::{Conversation, Json as Field};
use bitnet_engine::tools::{ToolCall, ToolChoice, Tools};
use bitnet_engine::{EncodedPrompt, StopReason, Stretch};
use serde_json::{Value, json};

use super::constraint::{self, Names};
use super::{conversation, models, tools};
use crate::answers::{Answers, Calling, Choice, Reason, Said, Token};
use crate::ask::{Ask, Frame};
use crate::dialect::Dialect;
use crate::error::ApiError;
use crate::fields::{Fields, flag, list, none_of, object, text, whole, wrong};
use crate::settings::Settings;
use crate::state::{Server, Shared};
use crate::stream::{self, Outbox, Translate};
use crate::support;

/// The first version of the API, as a header has it, whose form this is.
const VERSION: &str = "2023-06-01";
/// What this API calls the fields of tools that bound answers.
const NAMES: Names = Names {
    schema: "input_schema",
    strict: "strict",
    parallel: SINGLE,
};
/// The field that says that there is one call at most.
const SINGLE: &str = "tool_choice.disable_parallel_tool_use";
/// What stands between turns of one role, which are one to the model.
const BETWEEN_TURNS: &str = "\n\n";

pub(crate) async fn create(server: Server, request: Request) -> Result<Response, ApiError> {
    version(request.headers())?;
    let body = server.body(request).await?;
    let ask = server.aside(move |server| read(server, &body)).await?;
    let frame = Frame::new(&server, "msg_", ask.settings.seed).await?;
    let mut answers = ask.submit(&server)?;
    if ask.settings.stream {
        let told = Told {
            ask,
            frame,
            open: None,
            blocks: 0,
            reason: None,
        };
        return Ok(stream::response(answers, told));
    }
    let mut message = [Message::default()];
    answers.collect(&server, &mut message).await?;
    let [message] = message;
    let content = message.blocks.iter().filter_map(Block::json);
    let usage = usage(&ask, &answers);
    let response = response(&frame, content.collect(), message.reason.as_ref(), usage);
    Ok(Json(response).into_response())
}

pub(crate) async fn count_tokens(
    server: Server,
    request: Request,
) -> Result<Json<Value>, ApiError> {
    version(request.headers())?;
    let body = server.body(request).await?;
    let count = server.aside(move |server| {
        let fields = Fields::read(&body, &support::COUNT_TOKENS)?;
        models::check(server, &fields)?;
        let tools = read_tools(&fields)?;
        Ok(prompt(server, &fields, None, &tools)?.tokens.len())
    });
    Ok(Json(json!({ "input_tokens": count.await? })))
}

/// Refuses versions of the API whose requests and answers have another form.
fn version(headers: &HeaderMap) -> Result<(), ApiError> {
    match headers.get("anthropic-version") {
        Some(version) if version.as_bytes() < VERSION.as_bytes() => {
            let message =
                format!("This server does not speak versions of the API before {VERSION}.");
            Err(ApiError::unsupported("anthropic-version", message))
        }
        _ => Ok(()),
    }
}

fn read(server: &Shared, body: &[u8]) -> Result<Ask, ApiError> {
    let fields = Fields::read(body, &support::MESSAGES)?;
    models::check(server, &fields)?;
    fields.needed("max_tokens")?;
    let settings = Settings::read(&fields, server)?;
    let tools = read_tools(&fields)?;
    let prompt = prompt(server, &fields, settings.max_tokens, &tools)?;
    let asked = output_format(&fields)?;
    let constraint = constraint::with_tools(server, &prompt, &tools, &NAMES, asked)?;
    Ok(Ask {
        settings,
        prompts: vec![Arc::new(prompt)],
        param: "messages",
        usually: usize::MAX,
        logprobs: None,
        prompt_logprobs: None,
        thoughts: true,
        tools,
        constraint,
    })
}

/// The form that answers are to have.
fn output_format(fields: &Fields) -> Result<Option<constraint::Asked>, ApiError> {
    let mut found = Vec::new();
    for (key, value) in fields.object("output_config")?.into_iter().flatten() {
        let name = format!("output_config.{key}");
        match &key[..] {
            _ if *value == Field::Null => {}
            "format" => found.push(constraint::output_format(&name, value)?),
            // The template is given it.
            "effort" => {}
            _ => {
                let message = format!("`{name}` is not supported by this server.");
                return Err(ApiError::unsupported(name, message));
            }
        }
    }
    if let Some(format) = fields.get("output_format") {
        found.push(constraint::output_format("output_format", format)?);
    }
    constraint::only(found)
}

/// The conversation, as the model reads it; an answer to it has so many tokens at most.
fn prompt(
    server: &Shared,
    fields: &Fields,
    max_tokens: Option<usize>,
    tools: &Tools,
) -> Result<EncodedPrompt, ApiError> {
    let mut turns: Vec<Turn> = Vec::new();
    if let Some(system) = fields.get("system") {
        turns.extend(read_content("system", "system", system)?);
    }
    let messages = list("messages", fields.needed("messages")?)?;
    if messages.is_empty() {
        return Err(ApiError::field("messages", "`messages` is empty."));
    }
    for (i, message) in messages.iter().enumerate() {
        read_message(&format!("messages[{i}]"), message, &mut turns)?;
    }
    let goes_on = turns.last().is_some_and(|turn| turn.role == "assistant");
    let mut conversation = Conversation::new(turns.into_iter().map(Turn::json).collect());
    conversation.continue_final_message = goes_on;
    conversation::set_variables(fields, &mut conversation)?;
    thinking(server, fields, max_tokens, &mut conversation)?;
    let config = fields.object("output_config")?;
    let effort = config.and_then(|config| config.get("effort"));
    if let Some(effort) = effort.filter(|effort| **effort != Field::Null) {
        const NAME: &str = "output_config.effort";
        conversation::set_effort(server, &mut conversation, NAME, text(NAME, effort)?)?;
    }
    conversation::encode(server, conversation, tools)
}

fn thinking(
    server: &Shared,
    fields: &Fields,
    max_tokens: Option<usize>,
    conversation: &mut Conversation,
) -> Result<(), ApiError> {
    let Some(entries) = fields.object("thinking")? else {
        return Ok(());
    };
    if let Some(display) = entries
        .get("display")
        .filter(|value| **value != Field::Null)
        && text("thinking.display", display)? != "summarized"
    {
        let message = "Thoughts are shown whole, which `summarized` asks for.";
        return Err(ApiError::unsupported("thinking.display", message));
    }
    if let Some(budget) = entries.get("budget_tokens") {
        let budget = whole("thinking.budget_tokens", budget, 0..=i128::from(u32::MAX))?;
        if max_tokens.is_some_and(|most| (budget as usize) < most) {
            let message = "A thought has no budget of its own here; bound the whole answer with `max_tokens`, and think with `adaptive`.";
            return Err(ApiError::unsupported("thinking.budget_tokens", message));
        }
    }
    let name = "thinking.type";
    let kind = match entries.get("type") {
        Some(Field::Text(kind)) => kind,
        _ => "",
    };
    match kind {
        "adaptive" => Ok(()),
        "enabled" => conversation::set_thinking(server, conversation, name, true),
        "disabled" => conversation::set_thinking(server, conversation, name, false),
        other => Err(none_of(name, other, &["disabled", "enabled", "adaptive"])),
    }
}

/// What one side says before the other goes on, or what a call gave.
#[derive(Default)]
struct Turn {
    role: &'static str,
    said: String,
    thought: String,
    calls: Vec<Field>,
    /// The id of the call that this is the result of.
    result_of: Option<String>,
}

/// Adds the turns of a message to those before it.
fn read_message(name: &str, message: &Field, turns: &mut Vec<Turn>) -> Result<(), ApiError> {
    let entries = object(name, message)?;
    let part = |key: &str| {
        let name = format!("{name}.{key}");
        let missing = || ApiError::field(&name, format!("`{name}` is missing."));
        entries.get(key).ok_or_else(missing)
    };
    let given = text(&format!("{name}.role"), part("role")?)?;
    let roles = ["user", "assistant", "system"];
    let Some(role) = roles.into_iter().find(|role| *role == given) else {
        return Err(none_of(&format!("{name}.role"), given, &roles));
    };
    let mut own = read_content(role, &format!("{name}.content"), part("content")?)?.into_iter();
    match (turns.last_mut(), own.next()) {
        (Some(last), Some(first)) if last.role == first.role && first.result_of.is_none() => {
            last.add(first);
        }
        (_, first) => turns.extend(first),
    }
    turns.extend(own);
    Ok(())
}

/// The turns in a content: one, and one for each result of a call.
fn read_content(role: &'static str, name: &str, content: &Field) -> Result<Vec<Turn>, ApiError> {
    let new = || Turn {
        role,
        ..Turn::default()
    };
    let mut turns = Vec::new();
    match content {
        Field::Text(text) => turns.push(Turn {
            said: text.clone(),
            ..new()
        }),
        Field::List(blocks) => {
            for (i, block) in blocks.iter().enumerate() {
                let name = format!("{name}[{i}]");
                let kind = block.text_at("type").unwrap_or_default();
                if kind == "tool_result" && role == "user" {
                    turns.push(result(&name, block)?);
                    continue;
                }
                if turns
                    .last()
                    .is_none_or(|turn: &Turn| turn.result_of.is_some())
                {
                    turns.push(new());
                }
                if let Some(turn) = turns.last_mut() {
                    turn.block(&name, kind, block)?;
                }
            }
        }
        other => return Err(wrong(name, "a text or a list of blocks", other)),
    }
    Ok(turns)
}

/// A text of a block.
fn part<'b>(name: &str, block: &'b Field, key: &str) -> Result<&'b str, ApiError> {
    block.text_at(key).ok_or_else(|| {
        let name = format!("{name}.{key}");
        let message = format!("`{name}` is missing, or no text.");
        ApiError::field(name, message)
    })
}

/// What a call gave. Templates know no errors of calls: what is said of one is in its content.
fn result(name: &str, block: &Field) -> Result<Turn, ApiError> {
    let id = part(name, block, "tool_use_id")?.to_owned();
    let content = match block {
        Field::Map(entries) => entries
            .get("content")
            .filter(|value| **value != Field::Null),
        _ => None,
    };
    let said = match content {
        None => String::new(),
        Some(content) => {
            let turns = read_content("tool", &format!("{name}.content"), content)?;
            turns.into_iter().map(|turn| turn.said).collect()
        }
    };
    Ok(Turn {
        role: "tool",
        said,
        result_of: Some(id),
        ..Turn::default()
    })
}

impl Turn {
    fn block(&mut self, name: &str, kind: &str, block: &Field) -> Result<(), ApiError> {
        let entries = object(name, block)?;
        match kind {
            "text" => {
                match entries.get("citations") {
                    None | Some(Field::Null) => {}
                    Some(Field::List(citations)) if citations.is_empty() => {}
                    Some(_) => {
                        let name = format!("{name}.citations");
                        let message = format!("`{name}` would not reach the model.");
                        return Err(ApiError::unsupported(name, message));
                    }
                }
                self.said.push_str(part(name, block, "text")?);
            }
            "thinking" if self.role == "assistant" => {
                self.thought.push_str(part(name, block, "thinking")?);
            }
            "tool_use" if self.role == "assistant" => {
                let input = entries.get("input").unwrap_or(&Field::Null);
                let arguments = serde_json::to_string(input)
                    .map_err(|error| ApiError::internal(error.to_string()))?;
                let call = ToolCall {
                    id: part(name, block, "id")?.to_owned(),
                    name: part(name, block, "name")?.to_owned(),
                    arguments,
                };
                let call = tools::for_template(&call, format!("{name}.input"))?;
                self.calls.push(call);
            }
            other => {
                let message = format!(
                    "`{name}.type` is `{}`, which this server does not take from the {}.",
                    other.escape_debug(),
                    self.role
                );
                return Err(ApiError::unsupported(format!("{name}.type"), message));
            }
        }
        Ok(())
    }

    /// Goes on with what the same side says next.
    fn add(&mut self, next: Turn) {
        for (text, more) in [
            (&mut self.said, next.said),
            (&mut self.thought, next.thought),
        ] {
            if !text.is_empty() && !more.is_empty() {
                text.push_str(BETWEEN_TURNS);
            }
            text.push_str(&more);
        }
        self.calls.extend(next.calls);
    }

    /// As templates see it.
    fn json(self) -> Field {
        let mut message = Field::message(self.role, &self.said);
        if let Field::Map(entries) = &mut message {
            if !self.thought.is_empty() {
                entries.insert("reasoning_content".to_owned(), self.thought.into());
            }
            if !self.calls.is_empty() {
                entries.insert("tool_calls".to_owned(), Field::List(self.calls));
            }
            if let Some(id) = self.result_of {
                entries.insert("tool_call_id".to_owned(), id.into());
            }
        }
        message
    }
}

/// What the model may call.
fn read_tools(fields: &Fields) -> Result<Arc<Tools>, ApiError> {
    let list = tools::tools(fields, |name, tool| match tool.text_at("type") {
        None | Some("custom") => tools::described(name, tool, "input_schema"),
        Some(other) => {
            let name = format!("{name}.type");
            let other = other.escape_debug();
            let message = format!("`{name}` is `{other}`; this server has no tools of its own.");
            Err(ApiError::unsupported(name, message))
        }
    })?;
    const CHOICE: &str = "tool_choice";
    let mut parallel = true;
    let choice = match fields.get(CHOICE) {
        None => ToolChoice::default(),
        Some(choice @ Field::Map(entries)) => {
            if let Some(single) = entries.get("disable_parallel_tool_use") {
                parallel = !flag(SINGLE, single)?;
            }
            match part(CHOICE, choice, "type")? {
                "auto" => ToolChoice::Auto,
                "any" => ToolChoice::Required,
                "none" => ToolChoice::None,
                "tool" => ToolChoice::Named(part(CHOICE, choice, "name")?.to_owned()),
                other => {
                    let known = ["auto", "any", "tool", "none"];
                    return Err(none_of(&format!("{CHOICE}.type"), other, &known));
                }
            }
        }
        Some(other) => return Err(wrong(CHOICE, "an object", other)),
    };
    tools::checked(list, choice, parallel, CHOICE)
}

/// A part of an answer.
enum Block {
    Thought(String),
    Text(String),
    Call {
        id: String,
        name: String,
        arguments: String,
    },
}

impl Block {
    fn of(thought: bool) -> Block {
        match thought {
            true => Block::Thought(String::new()),
            false => Block::Text(String::new()),
        }
    }

    /// None where it is a call that was cut off.
    fn json(&self) -> Option<Value> {
        Some(match self {
            // Nobody could verify a signature.
            Block::Thought(text) => {
                json!({ "type": "thinking", "thinking": text, "signature": "" })
            }
            Block::Text(text) => json!({ "type": "text", "text": text, "citations": null }),
            Block::Call {
                id,
                name,
                arguments,
            } => {
                let input: Value = serde_json::from_str(arguments).ok()?;
                json!({ "type": "tool_use", "id": id, "name": name, "input": input })
            }
        })
    }
}

/// An answer, whole.
#[derive(Default)]
struct Message {
    blocks: Vec<Block>,
    reason: Option<Reason>,
}

impl Choice for Message {
    fn take(&mut self, _server: &Shared, stretches: Vec<Stretch>, _token: Option<Token>) {
        for Stretch { text, thought } in stretches {
            match (self.blocks.last_mut(), thought) {
                (Some(Block::Thought(said)), true) | (Some(Block::Text(said)), false) => {
                    said.push_str(&text);
                }
                (_, true) => self.blocks.push(Block::Thought(text)),
                (_, false) => self.blocks.push(Block::Text(text)),
            }
        }
    }

    fn call(&mut self, call: Calling) {
        match (call, self.blocks.last_mut()) {
            (Calling::Begun { id, name, .. }, _) => {
                let arguments = String::new();
                self.blocks.push(Block::Call {
                    id,
                    name,
                    arguments,
                });
            }
            (Calling::Arguments { text, .. }, Some(Block::Call { arguments, .. })) => {
                arguments.push_str(&text);
            }
            _ => {}
        }
    }

    fn end(&mut self, reason: Reason) {
        self.reason = Some(reason);
    }
}

fn stop_reason(reason: &Reason) -> &'static str {
    match reason.stop {
        StopReason::MaxTokens => "max_tokens",
        StopReason::ContextFull => "model_context_window_exceeded",
        _ if reason.called => "tool_use",
        StopReason::StopString => "stop_sequence",
        _ => "end_turn",
    }
}

/// What the request took, as far as its answer came.
fn usage(ask: &Ask, answers: &Answers) -> Value {
    json!({
        "input_tokens": ask.prompt_tokens() - answers.cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": answers.cached,
        "output_tokens": answers.generated,
        "output_tokens_details": { "thinking_tokens": answers.thought },
    })
}

fn response(frame: &Frame, content: Vec<Value>, reason: Option<&Reason>, usage: Value) -> Value {
    json!({
        "id": frame.id,
        "type": "message",
        "role": "assistant",
        "model": frame.model,
        "content": content,
        "stop_reason": reason.map(stop_reason),
        "stop_sequence": reason.and_then(|reason| reason.stop_text.as_deref()),
        "usage": usage,
        "system_fingerprint": frame.fingerprint,
        "seed": frame.seed,
    })
}

/// An answer as it comes.
struct Told {
    ask: Ask,
    frame: Frame,
    /// What kind of block is open.
    open: Option<Open>,
    /// Blocks that are done.
    blocks: usize,
    reason: Option<Reason>,
}

/// Kinds of blocks.
#[derive(Clone, Copy, PartialEq)]
enum Open {
    Thought,
    Text,
    Call,
}

impl Told {
    fn open(&mut self, kind: Open, block: Value, out: &mut Outbox) {
        self.close(out);
        self.open = Some(kind);
        let index = self.blocks;
        out.typed(
            &json!({ "type": "content_block_start", "index": index, "content_block": block }),
        );
    }

    fn delta(&self, delta: Value, out: &mut Outbox) {
        let index = self.blocks;
        out.typed(&json!({ "type": "content_block_delta", "index": index, "delta": delta }));
    }

    fn close(&mut self, out: &mut Outbox) {
        if self.open.take().is_some() {
            out.typed(&json!({ "type": "content_block_stop", "index": self.blocks }));
            self.blocks += 1;
        }
    }

    fn stretch(&mut self, stretch: &Stretch, out: &mut Outbox) {
        let Stretch { text, thought } = stretch;
        let kind = if *thought { Open::Thought } else { Open::Text };
        if self.open != Some(kind) {
            let block = Block::of(*thought).json().unwrap_or_default();
            self.open(kind, block, out);
        }
        let delta = match thought {
            true => json!({ "type": "thinking_delta", "thinking": text }),
            false => json!({ "type": "text_delta", "text": text }),
        };
        self.delta(delta, out);
    }

    fn call(&mut self, call: Calling, out: &mut Outbox) {
        match call {
            Calling::Begun { id, name, .. } => {
                let block = json!({ "type": "tool_use", "id": id, "name": name, "input": {} });
                self.open(Open::Call, block, out);
            }
            Calling::Arguments { text, .. } => {
                let delta = json!({ "type": "input_json_delta", "partial_json": text });
                self.delta(delta, out);
            }
            Calling::Ended => self.close(out),
        }
    }
}

impl Translate for Told {
    fn said(&mut self, said: Said, answers: &Answers, out: &mut Outbox) {
        match said {
            Said::Prompt { .. } | Said::Closing { .. } => {}
            Said::Begun => {
                let usage = usage(&self.ask, answers);
                let message = response(&self.frame, Vec::new(), None, usage);
                out.typed(&json!({ "type": "message_start", "message": message }));
            }
            Said::Text { stretches, .. } => {
                for stretch in &stretches {
                    self.stretch(stretch, out);
                }
            }
            Said::Call { call, .. } => self.call(call, out),
            Said::End { reason, .. } => self.reason = Some(reason),
        }
    }

    fn end(&mut self, answers: &Answers, out: &mut Outbox) {
        self.close(out);
        let reason = self.reason.as_ref();
        out.typed(&json!({
            "type": "message_delta",
            "delta": {
                "stop_reason": reason.map(stop_reason),
                "stop_sequence": reason.and_then(|reason| reason.stop_text.as_deref()),
            },
            "usage": usage(&self.ask, answers),
        }));
        out.typed(&json!({ "type": "message_stop" }));
    }

    fn failed(&mut self, error: &ApiError, out: &mut Outbox) {
        out.typed(&Dialect::Anthropic.error(error));
    }

    fn ping(&self) -> Option<Value> {
        Some(json!({ "type": "ping" }))
    }
}
