//! `POST /v1/messages` and `/v1/messages/count_tokens`, as Anthropic specifies them.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use bitnet_engine::chat_templates::{Conversation, Json as Field};
use bitnet_engine::tools::Tools;
use bitnet_engine::{EncodedPrompt, StopReason, Stretch};
use serde_json::{Value, json};

use super::{conversation, models};
use crate::answers::{Answers, Calling, Choice, Reason, Said, Token};
use crate::ask::{Ask, Frame};
use crate::dialect::Dialect;
use crate::error::ApiError;
use crate::fields::{Fields, list, text, whole, wrong};
use crate::settings::Settings;
use crate::state::{Server, Shared};
use crate::stream::{self, Outbox, Translate};
use crate::support;

/// The version of the API, as a header has it.
const VERSION: &str = "2023-06-01";
/// What stands between turns of one role, which are one to the model.
const BETWEEN_TURNS: &str = "\n\n";

pub(crate) async fn create(
    State(server): State<Server>,
    request: Request,
) -> Result<Response, ApiError> {
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
    let content = message.blocks.into_iter().map(Block::json);
    let usage = usage(&ask, &answers);
    let response = frame_of(&frame, content.collect(), message.reason.as_ref(), usage);
    Ok(Json(response).into_response())
}

pub(crate) async fn count_tokens(
    State(server): State<Server>,
    request: Request,
) -> Result<Json<Value>, ApiError> {
    version(request.headers())?;
    let body = server.body(request).await?;
    let count = server.aside(move |server| {
        let fields = Fields::read(&body, &support::COUNT_TOKENS)?;
        models::check(server, &fields)?;
        Ok(prompt(server, &fields, None)?.tokens.len())
    });
    Ok(Json(json!({ "input_tokens": count.await? })))
}

/// Refuses versions of the API whose requests and answers have another form.
fn version(headers: &HeaderMap) -> Result<(), ApiError> {
    match headers.get("anthropic-version") {
        Some(version) if version != VERSION => {
            let message = format!("This server speaks version {VERSION} of the API alone.");
            Err(ApiError::unsupported("anthropic-version", message))
        }
        _ => Ok(()),
    }
}

fn read(server: &Shared, body: &[u8]) -> Result<Ask, ApiError> {
    let fields = Fields::read(body, &support::MESSAGES)?;
    models::check(server, &fields)?;
    fields.needed("max_tokens")?;
    let settings = Settings::read(&fields, server.vocabulary())?;
    let prompt = prompt(server, &fields, settings.max_tokens)?;
    Ok(Ask {
        settings,
        prompts: vec![Arc::new(prompt)],
        param: "messages",
        usually: usize::MAX,
        logprobs: None,
        thoughts: true,
        tools: Arc::default(),
    })
}

/// The conversation, as the model reads it; an answer to it has so many tokens at most.
fn prompt(
    server: &Shared,
    fields: &Fields,
    max_tokens: Option<usize>,
) -> Result<EncodedPrompt, ApiError> {
    let mut turns: Vec<Turn> = Vec::new();
    if let Some(system) = fields.get("system") {
        turns.push(Turn::read("system", "system", system)?);
    }
    let messages = list("messages", fields.needed("messages")?)?;
    if messages.is_empty() {
        return Err(ApiError::field("messages", "`messages` is empty."));
    }
    for (i, message) in messages.iter().enumerate() {
        let turn = turn(&format!("messages[{i}]"), message)?;
        match turns.last_mut() {
            Some(last) if last.role == turn.role => last.add(&turn),
            _ => turns.push(turn),
        }
    }
    if turns.last().is_some_and(|turn| turn.role == "assistant") {
        let message = "The last of `messages` is the assistant's; an answer that goes on from it is not supported.";
        return Err(ApiError::unsupported("messages", message));
    }
    let mut conversation = Conversation::new(turns.into_iter().map(Turn::json).collect());
    conversation::set_variables(fields, &mut conversation)?;
    thinking(server, fields, max_tokens, &mut conversation)?;
    conversation::encode(server, conversation, &Tools::default())
}

fn thinking(
    server: &Shared,
    fields: &Fields,
    max_tokens: Option<usize>,
    conversation: &mut Conversation,
) -> Result<(), ApiError> {
    let Some(thinking) = fields.get("thinking") else {
        return Ok(());
    };
    let Field::Map(entries) = thinking else {
        return Err(wrong("thinking", "an object", thinking));
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
    match thinking.text_at("type").unwrap_or_default() {
        "adaptive" => Ok(()),
        "enabled" => conversation::set_thinking(server, conversation, name, true),
        "disabled" => conversation::set_thinking(server, conversation, name, false),
        other => {
            let message = format!(
                "`{name}` is `{}`; it is one of `disabled`, `enabled`, `adaptive`.",
                other.escape_debug()
            );
            Err(ApiError::field(name, message))
        }
    }
}

/// What one side says before the other goes on.
struct Turn {
    role: &'static str,
    said: String,
    thought: String,
}

fn turn(name: &str, message: &Field) -> Result<Turn, ApiError> {
    let Field::Map(entries) = message else {
        return Err(wrong(name, "an object", message));
    };
    let part = |key: &str| {
        let name = format!("{name}.{key}");
        let missing = || ApiError::field(&name, format!("`{name}` is missing."));
        entries.get(key).ok_or_else(missing)
    };
    let given = text(&format!("{name}.role"), part("role")?)?;
    let roles = ["user", "assistant", "system"];
    let Some(role) = roles.into_iter().find(|role| *role == given) else {
        let message = format!(
            "`{name}.role` is `{}`; it is one of {}.",
            given.escape_debug(),
            roles.map(|role| format!("`{role}`")).join(", ")
        );
        return Err(ApiError::field(format!("{name}.role"), message));
    };
    Turn::read(role, &format!("{name}.content"), part("content")?)
}

impl Turn {
    /// The content `name` of a turn.
    fn read(role: &'static str, name: &str, content: &Field) -> Result<Turn, ApiError> {
        let mut turn = Turn {
            role,
            said: String::new(),
            thought: String::new(),
        };
        match content {
            Field::Text(text) => turn.said.push_str(text),
            Field::List(blocks) => {
                for (i, block) in blocks.iter().enumerate() {
                    turn.block(&format!("{name}[{i}]"), block)?;
                }
            }
            other => return Err(wrong(name, "a text or a list of blocks", other)),
        }
        Ok(turn)
    }

    fn block(&mut self, name: &str, block: &Field) -> Result<(), ApiError> {
        let Field::Map(entries) = block else {
            return Err(wrong(name, "an object", block));
        };
        let part = |key: &str| {
            block.text_at(key).ok_or_else(|| {
                let name = format!("{name}.{key}");
                let message = format!("`{name}` is missing, or no text.");
                ApiError::field(name, message)
            })
        };
        match part("type")? {
            "text" => {
                match entries.get("citations") {
                    None | Some(Field::Null) => {}
                    Some(Field::List(citations)) if citations.is_empty() => {}
                    Some(_) => {
                        let message = format!("`{name}.citations` would not reach the model.");
                        return Err(ApiError::unsupported(format!("{name}.citations"), message));
                    }
                }
                self.said.push_str(part("text")?);
            }
            "thinking" if self.role == "assistant" => self.thought.push_str(part("thinking")?),
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
    fn add(&mut self, next: &Turn) {
        for (text, more) in [
            (&mut self.said, &next.said),
            (&mut self.thought, &next.thought),
        ] {
            if !text.is_empty() && !more.is_empty() {
                text.push_str(BETWEEN_TURNS);
            }
            text.push_str(more);
        }
    }

    /// As templates see it.
    fn json(self) -> Field {
        let mut message = Field::message(self.role, &self.said);
        if let Field::Map(entries) = &mut message
            && !self.thought.is_empty()
        {
            entries.insert("reasoning_content".to_owned(), self.thought.into());
        }
        message
    }
}

/// What an answer has said without a change between thinking and speaking.
struct Block {
    thought: bool,
    text: String,
}

impl Block {
    fn json(self) -> Value {
        block(self.thought, &self.text)
    }
}

fn block(thought: bool, text: &str) -> Value {
    match thought {
        // Nobody could verify a signature.
        true => json!({ "type": "thinking", "thinking": text, "signature": "" }),
        false => json!({ "type": "text", "text": text, "citations": null }),
    }
}

/// An answer, whole.
#[derive(Default)]
struct Message {
    blocks: Vec<Block>,
    reason: Option<Reason>,
}

impl Choice for Message {
    /// None is read back here.
    fn call(&mut self, _: Calling) {}

    fn take(&mut self, _server: &Shared, stretches: Vec<Stretch>, _token: Option<Token>) {
        for Stretch { text, thought } in stretches {
            match self.blocks.last_mut() {
                Some(last) if last.thought == thought => last.text.push_str(&text),
                _ => self.blocks.push(Block { thought, text }),
            }
        }
    }

    fn end(&mut self, reason: Reason) {
        self.reason = Some(reason);
    }
}

fn stop_reason(reason: StopReason) -> &'static str {
    match reason {
        StopReason::MaxTokens => "max_tokens",
        StopReason::ContextFull => "model_context_window_exceeded",
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

fn frame_of(frame: &Frame, content: Vec<Value>, reason: Option<&Reason>, usage: Value) -> Value {
    json!({
        "id": frame.id,
        "type": "message",
        "role": "assistant",
        "model": frame.model,
        "content": content,
        "stop_reason": reason.map(|reason| stop_reason(reason.stop)),
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
    /// Whether the block that is open is a thought.
    open: Option<bool>,
    /// Blocks that are done.
    blocks: usize,
    reason: Option<Reason>,
}

impl Told {
    fn stretch(&mut self, stretch: &Stretch, out: &mut Outbox) {
        let Stretch { text, thought } = stretch;
        if self.open != Some(*thought) {
            self.close(out);
            self.open = Some(*thought);
            let block = block(*thought, "");
            out.typed(&json!({
                "type": "content_block_start",
                "index": self.blocks,
                "content_block": block,
            }));
        }
        let delta = match thought {
            true => json!({ "type": "thinking_delta", "thinking": text }),
            false => json!({ "type": "text_delta", "text": text }),
        };
        let index = self.blocks;
        out.typed(&json!({ "type": "content_block_delta", "index": index, "delta": delta }));
    }

    fn close(&mut self, out: &mut Outbox) {
        if self.open.take().is_some() {
            out.typed(&json!({ "type": "content_block_stop", "index": self.blocks }));
            self.blocks += 1;
        }
    }
}

impl Translate for Told {
    fn said(&mut self, said: Said, answers: &Answers, out: &mut Outbox) {
        match said {
            Said::Begun => {
                let usage = usage(&self.ask, answers);
                let message = frame_of(&self.frame, Vec::new(), None, usage);
                out.typed(&json!({ "type": "message_start", "message": message }));
            }
            Said::Text { stretches, .. } => {
                for stretch in &stretches {
                    self.stretch(stretch, out);
                }
            }
            Said::Call { .. } => {}
            Said::End { reason, .. } => self.reason = Some(reason),
        }
    }

    fn end(&mut self, answers: &Answers, out: &mut Outbox) {
        self.close(out);
        let reason = self.reason.as_ref();
        out.typed(&json!({
            "type": "message_delta",
            "delta": {
                "stop_reason": reason.map(|reason| stop_reason(reason.stop)),
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
