//! `POST /v1/responses`, as OpenAI specifies it, without anything that would have to be kept.

use std::sync::Arc;

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bitnet_engine::chat_templates::{Conversation, Json as Field};
use bitnet_engine::tools::{ToolCall, Tools};
use bitnet_engine::{StopReason, Stretch};
use serde_json::{Value, json};

use super::constraint::{self, Names};
use super::{conversation, models, tokens, tools};
use crate::answers::{Answers, Calling, Choice, Reason, Said, Token};
use crate::ask::{Ask, Frame};
use crate::error::ApiError;
use crate::fields::{Fields, list, object, text, wrong};
use crate::settings::Settings;
use crate::state::{Server, Shared};
use crate::stream::{self, Outbox, Translate};
use crate::support;

/// What this API calls the fields of tools that bound answers.
const NAMES: Names = Names {
    schema: "parameters",
    strict: "strict",
    parallel: "parallel_tool_calls",
};
/// What `include` has where logprobs are wanted.
const WITH_LOGPROBS: &str = "message.output_text.logprobs";

pub(crate) async fn create(server: Server, request: Request) -> Result<Response, ApiError> {
    let body = server.body(request).await?;
    let (ask, asked) = server.aside(move |server| read(server, &body)).await?;
    let frame = Frame::new(&server, "resp_", ask.settings.seed).await?;
    let mut answers = ask.submit(&server)?;
    let mut told = Told {
        output: Output {
            name: frame.id.trim_start_matches("resp_").to_owned(),
            items: Vec::new(),
            unclaimed: Vec::new(),
            reason: None,
        },
        server,
        ask,
        asked,
        frame,
        sent: 0,
        closed: 0,
    };
    if told.ask.settings.stream {
        return Ok(stream::response(answers, told));
    }
    let output = std::slice::from_mut(&mut told.output);
    answers.collect(&told.server, output).await?;
    let usage = usage(&told.ask, &answers);
    Ok(Json(told.response(usage)).into_response())
}

/// The request, and what its response repeats of it.
fn read(server: &Shared, body: &[u8]) -> Result<(Ask, Value), ApiError> {
    let fields = Fields::read(body, &support::RESPONSES)?;
    models::check(server, &fields)?;
    let settings = Settings::read(&fields, server)?;
    let best = fields.whole("top_logprobs", 0..=tokens::MOST_LOGPROBS)?;
    let included = match fields.get("include") {
        None => false,
        Some(include) => {
            let included = list("include", include)?.iter();
            included.clone().any(|item| *item == WITH_LOGPROBS.into())
        }
    };
    let logprobs = match best {
        None => included.then_some(0),
        best => best.map(|best| best as usize),
    };
    let mut messages = Vec::new();
    if let Some(instructions) = fields.text("instructions")? {
        messages.push(Field::message("system", instructions));
    }
    match fields.needed("input")? {
        Field::Text(text) => messages.push(Field::message("user", text)),
        Field::List(items) => messages.extend(read_items(items)?),
        other => return Err(wrong("input", "a text or a list of items", other)),
    }
    let mut conversation = Conversation::new(messages);
    conversation::set_variables(&fields, &mut conversation)?;
    set_reasoning(server, &fields, &mut conversation)?;
    let asked = read_text(&fields)?;
    let tools = read_tools(&fields)?;
    let prompt = conversation::encode(server, conversation, &tools)?;
    let constraint = constraint::with_tools(server, &prompt, &tools, &NAMES, asked)?;
    let repeated = |name: &str, usually: Value| match fields.get(name) {
        Some(value) => serde_json::to_value(value).unwrap_or_default(),
        None => usually,
    };
    let asked = json!({
        "instructions": repeated("instructions", Value::Null),
        "max_output_tokens": repeated("max_output_tokens", Value::Null),
        "temperature": repeated("temperature", json!(1.0)),
        "top_p": repeated("top_p", json!(1.0)),
        "top_logprobs": repeated("top_logprobs", json!(0)),
        "reasoning": repeated("reasoning", json!({ "effort": null, "summary": null })),
        "text": repeated("text", json!({ "format": { "type": "text" } })),
        "metadata": repeated("metadata", json!({})),
        "tools": repeated("tools", json!([])),
        "tool_choice": repeated("tool_choice", json!("auto")),
        "parallel_tool_calls": repeated("parallel_tool_calls", json!(true)),
    });
    let ask = Ask {
        settings,
        prompts: vec![Arc::new(prompt)],
        param: "input",
        usually: usize::MAX,
        logprobs,
        prompt_logprobs: None,
        thoughts: true,
        tools,
        constraint,
    };
    Ok((ask, asked))
}

/// What the model may call.
fn read_tools(fields: &Fields) -> Result<Arc<Tools>, ApiError> {
    let each = |name: &str, tool: &Field| {
        tools::is_function(name, tool)?;
        tools::described(name, tool, "parameters")
    };
    let name_of = |named: &Field| named.text_at("name").map(str::to_owned);
    tools::read_as(fields, each, name_of, "name")
}

/// What `text` says that the answer may be.
fn read_text(fields: &Fields) -> Result<Option<constraint::Asked>, ApiError> {
    let Some(entries) = fields.object("text")? else {
        return Ok(None);
    };
    let format = entries.get("format");
    let format = format.filter(|format| **format != Field::Null);
    let asked = format.map(|format| constraint::text_format("text.format", format));
    match entries.get("verbosity") {
        Some(Field::Text(verbosity)) if verbosity != "medium" => {
            let message = "`text.verbosity` is not supported by this server: no template knows it.";
            Err(ApiError::unsupported("text.verbosity", message))
        }
        _ => Ok(asked.transpose()?.flatten()),
    }
}

fn set_reasoning(
    server: &Shared,
    fields: &Fields,
    conversation: &mut Conversation,
) -> Result<(), ApiError> {
    let Some(entries) = fields.object("reasoning")? else {
        return Ok(());
    };
    let part = |key: &str| {
        let value = entries.get(key).filter(|value| **value != Field::Null);
        value
            .map(|value| text(&format!("reasoning.{key}"), value))
            .transpose()
    };
    for key in ["summary", "generate_summary"] {
        if part(key)?.is_some_and(|summary| summary != "auto") {
            let name = format!("reasoning.{key}");
            let message = format!("`{name}` is not supported: thoughts are given as they are.");
            return Err(ApiError::unsupported(name, message));
        }
    }
    match part("effort")? {
        Some(effort) => conversation::set_effort(server, conversation, "reasoning.effort", effort),
        None => Ok(()),
    }
}

/// The items of an input, as templates see messages.
fn read_items(items: &[Field]) -> Result<Vec<Field>, ApiError> {
    if items.is_empty() {
        return Err(ApiError::field("input", "`input` is empty."));
    }
    let mut messages: Vec<Field> = Vec::new();
    // A thought stands before what it led to.
    let mut thought = String::new();
    for (i, item) in items.iter().enumerate() {
        let name = format!("input[{i}]");
        let entries = object(&name, item)?;
        match item.text_at("type").unwrap_or("message") {
            "message" => {
                let mut message = conversation::message(&name, item)?;
                add_thought(&mut message, &mut thought);
                messages.push(message);
            }
            "function_call" => {
                let part = |key: &str| {
                    let value = entries.get(key).unwrap_or(&Field::Null);
                    text(&format!("{name}.{key}"), value).map(str::to_owned)
                };
                let call = ToolCall {
                    id: part("call_id")?,
                    name: part("name")?,
                    arguments: part("arguments")?,
                };
                let call = tools::for_template(&call, format!("{name}.arguments"))?;
                // Calls stand in the message that they are made in.
                if messages.last().and_then(|last| last.text_at("role")) != Some("assistant") {
                    let mut message = Field::message("assistant", "");
                    add_thought(&mut message, &mut thought);
                    messages.push(message);
                }
                if let Some(Field::Map(last)) = messages.last_mut() {
                    let calls = last.entry("tool_calls".to_owned());
                    if let Field::List(calls) = calls.or_insert(Field::List(Vec::new())) {
                        calls.push(call);
                    }
                }
            }
            "function_call_output" => {
                let output = entries.get("output").unwrap_or(&Field::Null);
                let of_output = format!("{name}.output");
                let output = match output {
                    Field::List(parts) => conversation::joined(&of_output, parts)?,
                    other => text(&of_output, other)?.to_owned(),
                };
                let id = entries.get("call_id").unwrap_or(&Field::Null);
                let id = text(&format!("{name}.call_id"), id)?;
                messages.push(Field::map([
                    ("role", Field::from("tool")),
                    ("content", output.into()),
                    ("tool_call_id", id.into()),
                ]));
            }
            "reasoning" => {
                let name = format!("{name}.content");
                let missing = || {
                    let message =
                        format!("`{name}` is missing; a thought is taken as it was given.");
                    ApiError::unsupported(&name, message)
                };
                let content = entries.get("content").ok_or_else(missing)?;
                thought.push_str(&conversation::joined(&name, list(&name, content)?)?);
            }
            other => {
                let name = format!("{name}.type");
                let message = format!(
                    "`{name}` is `{}`; this server takes `message`, `reasoning`, `function_call` and `function_call_output`.",
                    other.escape_debug()
                );
                return Err(ApiError::unsupported(name, message));
            }
        }
    }
    Ok(messages)
}

fn add_thought(message: &mut Field, thought: &mut String) {
    if let Field::Map(entries) = message
        && !thought.is_empty()
        && entries.get("role") == Some(&"assistant".into())
    {
        let thought = std::mem::take(thought);
        entries.insert("reasoning_content".to_owned(), thought.into());
    }
}

/// A part of an answer.
struct Item {
    id: String,
    kind: Kind,
    /// The text; the arguments of a call.
    text: String,
    logprobs: Vec<Value>,
}

#[derive(Clone, PartialEq)]
enum Kind {
    Thought,
    Message,
    Call { id: String, name: String },
}

impl Kind {
    fn of(thought: bool) -> Kind {
        match thought {
            true => Kind::Thought,
            false => Kind::Message,
        }
    }
}

impl Item {
    fn part(&self, text: &str, logprobs: &[Value]) -> Value {
        match self.kind {
            Kind::Thought => json!({ "type": "reasoning_text", "text": text }),
            _ => json!({
                "type": "output_text",
                "text": text,
                "annotations": [],
                "logprobs": logprobs,
            }),
        }
    }

    /// With a text, or with what it contains.
    fn json(&self, text: &str, content: Vec<Value>, status: &str) -> Value {
        match &self.kind {
            Kind::Call { id, name } => json!({
                "type": "function_call",
                "id": self.id,
                "call_id": id,
                "name": name,
                "arguments": text,
                "status": status,
            }),
            Kind::Thought => json!({
                "type": "reasoning",
                "id": self.id,
                "summary": [],
                "content": content,
                "status": status,
            }),
            Kind::Message => json!({
                "type": "message",
                "id": self.id,
                "role": "assistant",
                "content": content,
                "status": status,
            }),
        }
    }

    fn whole(&self, status: &str) -> Value {
        let content = vec![self.part(&self.text, &self.logprobs)];
        self.json(&self.text, content, status)
    }
}

/// An answer, as far as it came.
struct Output {
    /// What the ids of items have in common.
    name: String,
    items: Vec<Item>,
    /// Logprobs of tokens whose text was held back.
    unclaimed: Vec<Value>,
    reason: Option<Reason>,
}

impl Output {
    fn claim(&mut self, server: &Shared, token: Option<&Token>) {
        self.unclaimed.extend(tokens::logprobs(server, token));
    }

    /// Whether an item of this kind is open.
    fn goes_on(&self, kind: &Kind) -> bool {
        let last = self.items.last();
        last.is_some_and(|item| item.kind == *kind)
    }

    fn begin(&mut self, kind: Kind) {
        let prefix = match kind {
            Kind::Thought => "rs",
            Kind::Message => "msg",
            Kind::Call { .. } => "fc",
        };
        self.items.push(Item {
            id: format!("{prefix}_{}{}", self.name, self.items.len()),
            kind,
            text: String::new(),
            logprobs: Vec::new(),
        });
    }

    /// Puts more into the last item; the logprobs that are its.
    fn add(&mut self, text: &str) -> Vec<Value> {
        let logprobs = std::mem::take(&mut self.unclaimed);
        let Some(item) = self.items.last_mut() else {
            return Vec::new();
        };
        item.text.push_str(text);
        if item.kind != Kind::Message {
            return Vec::new();
        }
        item.logprobs.extend_from_slice(&logprobs);
        logprobs
    }

    fn status(&self) -> &'static str {
        match self.reason.as_ref().map(|reason| reason.stop) {
            None => "in_progress",
            Some(StopReason::MaxTokens | StopReason::ContextFull) => "incomplete",
            Some(_) => "completed",
        }
    }

    /// All items: the last may be cut off.
    fn json(&self) -> Vec<Value> {
        let last = self.items.len().wrapping_sub(1);
        let each = self.items.iter().enumerate();
        let each = each.map(|(i, item)| {
            let status = if i == last {
                self.status()
            } else {
                "completed"
            };
            item.whole(status)
        });
        each.collect()
    }
}

impl Choice for Output {
    fn take(&mut self, server: &Shared, stretches: Vec<Stretch>, token: Option<Token>) {
        self.claim(server, token.as_ref());
        for stretch in stretches {
            let kind = Kind::of(stretch.thought);
            if !self.goes_on(&kind) {
                self.begin(kind);
            }
            self.add(&stretch.text);
        }
    }

    fn call(&mut self, call: Calling) {
        match call {
            Calling::Begun { id, name, .. } => self.begin(Kind::Call { id, name }),
            Calling::Arguments { text, .. } => drop(self.add(&text)),
            Calling::Ended => {}
        }
    }

    fn end(&mut self, reason: Reason) {
        // Tokens that end in a stop text may have said nothing.
        self.add("");
        self.reason = Some(reason);
    }
}

fn usage(ask: &Ask, answers: &Answers) -> Value {
    let (read, generated) = (ask.prompt_tokens(), answers.generated);
    json!({
        "input_tokens": read,
        "input_tokens_details": { "cached_tokens": answers.cached, "cache_write_tokens": 0 },
        "output_tokens": generated,
        "output_tokens_details": { "reasoning_tokens": answers.thought },
        "total_tokens": read + generated,
    })
}

/// A response, as it comes or whole.
struct Told {
    server: Server,
    ask: Ask,
    asked: Value,
    frame: Frame,
    output: Output,
    /// Events that were sent.
    sent: u64,
    /// Items that no more is added to.
    closed: usize,
}

impl Told {
    fn response(&self, usage: Value) -> Value {
        let status = self.output.status();
        let incomplete = match status {
            "incomplete" => json!({ "reason": "max_output_tokens" }),
            _ => Value::Null,
        };
        let mut response = self.asked.clone();
        for (key, value) in [
            ("id", json!(self.frame.id)),
            ("object", json!("response")),
            ("created_at", json!(self.frame.created)),
            ("status", json!(status)),
            ("model", json!(self.frame.model)),
            ("output", self.output.json().into()),
            ("usage", usage),
            ("error", Value::Null),
            ("incomplete_details", incomplete),
            ("background", json!(false)),
            ("previous_response_id", Value::Null),
            ("store", json!(false)),
            ("service_tier", json!("default")),
            ("truncation", json!("disabled")),
            ("system_fingerprint", json!(self.frame.fingerprint)),
            ("seed", json!(self.frame.seed)),
        ] {
            response[key] = value;
        }
        response
    }

    fn send(&mut self, kind: &str, mut event: Value, out: &mut Outbox) {
        event["type"] = kind.into();
        event["sequence_number"] = self.sent.into();
        self.sent += 1;
        out.typed(&event);
    }

    fn send_response(&mut self, kind: &str, response: Value, out: &mut Outbox) {
        self.send(kind, json!({ "response": response }), out);
    }

    /// Where the last item is, and what its events are called.
    fn place(&self, item: &Item) -> (Value, &'static str) {
        let index = self.output.items.len() - 1;
        let mut place = json!({ "item_id": item.id, "output_index": index });
        let name = match item.kind {
            Kind::Call { .. } => return (place, "response.function_call_arguments"),
            Kind::Thought => "response.reasoning_text",
            Kind::Message => "response.output_text",
        };
        place["content_index"] = json!(0);
        (place, name)
    }

    fn open(&mut self, kind: Kind, out: &mut Outbox) {
        self.close("completed", out);
        self.output.begin(kind);
        let Some(item) = self.output.items.last() else {
            return;
        };
        let (mut place, _) = self.place(item);
        let begun = item.json("", Vec::new(), "in_progress");
        let part = item.part("", &[]);
        let added = json!({ "output_index": place["output_index"], "item": begun });
        self.send("response.output_item.added", added, out);
        if place.get("content_index").is_some() {
            place["part"] = part;
            self.send("response.content_part.added", place, out);
        }
    }

    fn delta(&mut self, text: &str, out: &mut Outbox) {
        let logprobs = self.output.add(text);
        let Some(item) = self.output.items.last() else {
            return;
        };
        let (mut place, name) = self.place(item);
        place["delta"] = text.into();
        if item.kind == Kind::Message {
            place["logprobs"] = logprobs.into();
        }
        self.send(&format!("{name}.delta"), place, out);
    }

    /// Tells that no more is added to the last item, if there is one that is not told of.
    fn close(&mut self, status: &str, out: &mut Outbox) {
        if self.closed == self.output.items.len() {
            return;
        }
        self.closed = self.output.items.len();
        let Some(item) = self.output.items.last() else {
            return;
        };
        let (place, name) = self.place(item);
        let (mut said, mut part) = (place.clone(), None);
        if let Kind::Call { name, .. } = &item.kind {
            said["name"] = name.as_str().into();
            said["arguments"] = item.text.as_str().into();
        } else {
            said["text"] = item.text.as_str().into();
            if item.kind == Kind::Message {
                said["logprobs"] = item.logprobs.clone().into();
            }
            let mut whole = place.clone();
            whole["part"] = item.part(&item.text, &item.logprobs);
            part = Some(whole);
        }
        let done = json!({ "output_index": place["output_index"], "item": item.whole(status) });
        self.send(&format!("{name}.done"), said, out);
        if let Some(part) = part {
            self.send("response.content_part.done", part, out);
        }
        self.send("response.output_item.done", done, out);
    }
}

impl Translate for Told {
    fn begin(&mut self, out: &mut Outbox) {
        for kind in ["response.created", "response.in_progress"] {
            self.send_response(kind, self.response(Value::Null), out);
        }
    }

    fn said(&mut self, said: Said, _answers: &Answers, out: &mut Outbox) {
        match said {
            Said::Begun | Said::Prompt { .. } | Said::Closing { .. } => {}
            Said::Text {
                stretches, token, ..
            } => {
                self.output.claim(&self.server, token.as_ref());
                for stretch in &stretches {
                    let kind = Kind::of(stretch.thought);
                    if !self.output.goes_on(&kind) {
                        self.open(kind, out);
                    }
                    self.delta(&stretch.text, out);
                }
            }
            Said::Call { call, .. } => match call {
                Calling::Begun { id, name, .. } => self.open(Kind::Call { id, name }, out),
                Calling::Arguments { text, .. } => self.delta(&text, out),
                Calling::Ended => {}
            },
            Said::End { reason, .. } => self.output.end(reason),
        }
    }

    fn end(&mut self, answers: &Answers, out: &mut Outbox) {
        let status = self.output.status();
        self.close(status, out);
        let response = self.response(usage(&self.ask, answers));
        self.send_response(&format!("response.{status}"), response, out);
    }

    fn failed(&mut self, error: &ApiError, out: &mut Outbox) {
        let mut response = self.response(Value::Null);
        response["status"] = "failed".into();
        response["error"] = json!({ "code": error.kind, "message": error.message });
        self.send_response("response.failed", response, out);
    }
}
