//! `POST /v1/chat/completions`, as OpenAI specifies it.

use std::sync::Arc;

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bitnet_engine::Stretch;
use bitnet_engine::scheduler::Logprobs;
use serde_json::{Map, Value, json};

use super::{constraint, conversation, models, tokens, tools};
use crate::answers::{Answers, Calling, Choice, Reason, Said, Token};
use crate::ask::{Ask, Frame};
use crate::dialect::Dialect;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::finish;
use crate::settings::Settings;
use crate::state::{Server, Shared};
use crate::stream::{self, Outbox, Translate};
use crate::support;

pub(crate) async fn complete(server: Server, request: Request) -> Result<Response, ApiError> {
    let body = server.body(request).await?;
    let ask = server.aside(move |server| read(server, &body)).await?;
    let frame = Frame::new(&server, "chatcmpl-", ask.settings.seed).await?;
    let mut answers = ask.submit(&server)?;
    if ask.settings.stream {
        return Ok(stream::response(answers, Told { server, ask, frame }));
    }
    let mut choices: Vec<Message> = Vec::new();
    choices.resize_with(ask.settings.choices, Message::default);
    answers.collect(&server, &mut choices).await?;
    let wants_logprobs = ask.logprobs.is_some();
    let prompt_logprobs = ask.prompt_logprobs.map(|_| {
        let of_prompt = &choices[0].prompt;
        tokens::of_prompt(&server, &ask.prompts[0].tokens, of_prompt)
    });
    let choices = choices.into_iter().enumerate();
    let choices = choices.map(|(index, message)| message.json(index, wants_logprobs));
    let usage = ask.usage(&answers);
    let mut response = frame.response("chat.completion", choices.collect(), usage);
    if let Some(found) = prompt_logprobs {
        response["prompt_logprobs"] = found;
    }
    Ok(Json(response).into_response())
}

fn read(server: &Shared, body: &[u8]) -> Result<Ask, ApiError> {
    let fields = Fields::read(body, &support::CHAT)?;
    models::check(server, &fields)?;
    let settings = Settings::read(&fields, server)?;
    let best = fields.whole("top_logprobs", 0..=tokens::MOST_LOGPROBS)?;
    let logprobs = match (fields.flag("logprobs")?, best) {
        (true, best) => Some(best.unwrap_or(0) as usize),
        (false, None | Some(0)) => None,
        (false, Some(_)) => {
            let message = "`top_logprobs` needs `logprobs` to be true.";
            return Err(ApiError::field("top_logprobs", message));
        }
    };
    let tools = tools::read(&fields)?;
    let asked = constraint::read(&fields)?;
    let prompt = conversation::read(server, &fields, &tools)?;
    let constraint = constraint::with_tools(server, &prompt, &tools, &tools::NAMES, asked)?;
    Ok(Ask {
        prompts: vec![Arc::new(prompt)],
        param: "messages",
        usually: usize::MAX,
        logprobs,
        prompt_logprobs: tokens::prompt_logprobs(&fields, settings.stream)?,
        settings,
        thoughts: true,
        tools,
        constraint,
    })
}

/// Why an answer ended, which may be to call tools.
fn finish_reason(ended: &Reason) -> &'static str {
    match (finish::reason(ended.stop), ended.called) {
        ("stop", true) => "tool_calls",
        (reason, _) => reason,
    }
}

/// One choice, whole.
#[derive(Default)]
struct Message {
    prompt: Vec<Logprobs>,
    said: String,
    thought: String,
    calls: Vec<Value>,
    logprobs: Vec<Value>,
    reason: Option<Reason>,
}

impl Choice for Message {
    fn prompt(&mut self, _: &Shared, logprobs: Vec<Logprobs>) {
        self.prompt.extend(logprobs);
    }

    fn take(&mut self, server: &Shared, stretches: Vec<Stretch>, token: Option<Token>) {
        for stretch in stretches {
            match stretch.thought {
                true => self.thought.push_str(&stretch.text),
                false => self.said.push_str(&stretch.text),
            }
        }
        self.logprobs
            .extend(tokens::logprobs(server, token.as_ref()));
    }

    fn call(&mut self, call: Calling) {
        match call {
            Calling::Begun { id, name, .. } => {
                let function = json!({ "name": name, "arguments": "" });
                let call = json!({ "id": id, "type": "function", "function": function });
                self.calls.push(call);
            }
            Calling::Arguments { index, text } => {
                let arguments = &mut self.calls[index]["function"]["arguments"];
                *arguments = format!("{}{text}", arguments.as_str().unwrap_or_default()).into();
            }
            Calling::Ended => {}
        }
    }

    fn end(&mut self, reason: Reason) {
        self.reason = Some(reason);
    }
}

impl Message {
    fn json(self, index: usize, wants_logprobs: bool) -> Value {
        let mut message = json!({ "role": "assistant", "content": &self.said, "refusal": null });
        if !self.calls.is_empty() {
            message["tool_calls"] = self.calls.into();
            if self.said.is_empty() {
                message["content"] = Value::Null;
            }
        }
        if !self.thought.is_empty() {
            message["reasoning_content"] = self.thought.into();
        }
        let logprobs = match wants_logprobs {
            true => json!({ "content": self.logprobs, "refusal": null }),
            false => Value::Null,
        };
        let mut choice = json!({
            "index": index,
            "message": message,
            "logprobs": logprobs,
            "finish_reason": self.reason.as_ref().map(finish_reason),
        });
        if let Some(receipt) = self.reason.and_then(|reason| reason.receipt) {
            choice["receipt"] = receipt;
        }
        choice
    }
}

/// A choice as it comes.
struct Told {
    server: Server,
    ask: Ask,
    frame: Frame,
}

impl Told {
    fn chunk(&self, choice: usize, delta: Value, logprobs: Value, reason: Value) -> Value {
        let choice = json!({
            "index": choice,
            "delta": delta,
            "logprobs": logprobs,
            "finish_reason": reason,
        });
        self.frame
            .response("chat.completion.chunk", vec![choice], Value::Null)
    }
}

impl Translate for Told {
    fn begin(&mut self, out: &mut Outbox) {
        for choice in 0..self.ask.settings.choices {
            let delta = json!({ "role": "assistant", "content": "" });
            out.data(&self.chunk(choice, delta, Value::Null, Value::Null));
        }
    }

    fn said(&mut self, said: Said, _answers: &Answers, out: &mut Outbox) {
        match said {
            Said::Begun | Said::Prompt { .. } | Said::Closing { .. } => {}
            Said::Text {
                choice,
                stretches,
                token,
            } => {
                let mut delta = Map::new();
                for stretch in stretches {
                    let name = match stretch.thought {
                        true => "reasoning_content",
                        false => "content",
                    };
                    let text = delta.entry(name).or_insert_with(|| "".into());
                    *text = format!("{}{}", text.as_str().unwrap_or_default(), stretch.text).into();
                }
                let logprobs = tokens::logprobs(&self.server, token.as_ref());
                if delta.is_empty() && logprobs.is_none() {
                    return;
                }
                let logprobs = logprobs.map(|one| json!({ "content": [one], "refusal": null }));
                let logprobs = logprobs.unwrap_or_default();
                out.data(&self.chunk(choice, delta.into(), logprobs, Value::Null));
            }
            Said::Call { choice, call } => {
                let call = match call {
                    Calling::Begun { index, id, name } => json!({
                        "index": index,
                        "id": id,
                        "type": "function",
                        "function": { "name": name, "arguments": "" },
                    }),
                    Calling::Arguments { index, text } => json!({
                        "index": index,
                        "function": { "arguments": text },
                    }),
                    Calling::Ended => return,
                };
                let delta = json!({ "tool_calls": [call] });
                out.data(&self.chunk(choice, delta, Value::Null, Value::Null));
            }
            Said::End { choice, reason } => {
                let finish = finish_reason(&reason).into();
                let mut chunk = self.chunk(choice, json!({}), Value::Null, finish);
                if let Some(receipt) = reason.receipt {
                    chunk["choices"][0]["receipt"] = receipt;
                }
                out.data(&chunk);
            }
        }
    }

    fn end(&mut self, answers: &Answers, out: &mut Outbox) {
        if self.ask.settings.include_usage {
            let usage = self.ask.usage(answers);
            let object = "chat.completion.chunk";
            out.data(&self.frame.response(object, Vec::new(), usage));
        }
        out.done();
    }

    fn failed(&mut self, error: &ApiError, out: &mut Outbox) {
        out.data(&Dialect::OpenAi.error(error));
    }
}
