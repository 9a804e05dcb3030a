//! `POST /v1/completions`, as OpenAI specifies it.

use std::sync::Arc;

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bitnet_engine::chat_templates::Json as Field;
use bitnet_engine::{EncodedPrompt, Prompt, Stretch};
use serde_json::{Map, Value, json};

use super::{models, tokens};
use crate::answers::{Answers, Calling, Choice, Reason, Said, Token};
use crate::ask::{Ask, Frame};
use crate::dialect::Dialect;
use crate::error::ApiError;
use crate::fields::{Fields, ids, text, wrong};
use crate::finish;
use crate::settings::Settings;
use crate::state::{Server, Shared};
use crate::stream::{self, Outbox, Translate};
use crate::support;

/// Most tokens of `logprobs`.
const MOST_LOGPROBS: i128 = 20;
/// Most prompts of a request.
const MOST_PROMPTS: usize = 128;
/// Most tokens of an answer where the request does not say, as in OpenAI's API.
const USUALLY: usize = 16;

pub(crate) async fn complete(server: Server, request: Request) -> Result<Response, ApiError> {
    let body = server.body(request).await?;
    let ask = server.aside(move |server| read(server, &body)).await?;
    let frame = Frame::new(&server, "cmpl-", ask.settings.seed).await?;
    let mut answers = ask.submit(&server)?;
    let mut texts: Vec<Text> = Vec::new();
    texts.resize_with(ask.prompts.len() * ask.settings.choices, Text::default);
    if ask.settings.stream {
        let told = Told {
            server,
            ask,
            frame,
            texts,
        };
        return Ok(stream::response(answers, told));
    }
    answers.collect(&server, &mut texts).await?;
    let wants_logprobs = ask.logprobs.is_some();
    let texts = texts.iter_mut().enumerate();
    let choices = texts.map(|(index, text)| text.json(index, wants_logprobs));
    let usage = ask.usage(&answers);
    let response = frame.response("text_completion", choices.collect(), usage);
    Ok(Json(response).into_response())
}

fn read(server: &Shared, body: &[u8]) -> Result<Ask, ApiError> {
    let fields = Fields::read(body, &support::COMPLETIONS)?;
    models::check(server, &fields)?;
    let settings = Settings::read(&fields, server)?;
    let logprobs = fields.whole("logprobs", 0..=MOST_LOGPROBS)?;
    Ok(Ask {
        settings,
        prompts: prompts(server, fields.needed("prompt")?)?,
        param: "prompt",
        usually: USUALLY,
        logprobs: logprobs.map(|best| best as usize),
        thoughts: false,
        tools: Arc::default(),
    })
}

fn prompts(server: &Shared, field: &Field) -> Result<Vec<Arc<EncodedPrompt>>, ApiError> {
    let encode = |prompt: Prompt| {
        let encoded = server.encoder().encode(prompt);
        let encoded = encoded.map_err(|error| ApiError::of_engine(&error, "prompt"));
        encoded.map(Arc::new)
    };
    let ids =
        |name: &str, items: &[Field]| encode(Prompt::from(ids(name, items, server.vocabulary())?));
    match field {
        Field::Text(text) => Ok(vec![encode(Prompt::from(&text[..]))?]),
        Field::List(items) if matches!(items.first(), Some(Field::Int(_))) => {
            Ok(vec![ids("prompt", items)?])
        }
        Field::List(items) if (1..=MOST_PROMPTS).contains(&items.len()) => {
            let one = |(i, item): (usize, &Field)| match item {
                Field::List(items) => ids(&format!("prompt[{i}]"), items),
                item => encode(Prompt::from(text(&format!("prompt[{i}]"), item)?)),
            };
            items.iter().enumerate().map(one).collect()
        }
        Field::List(items) => {
            let message = format!(
                "`prompt` has {} prompts; it must have 1 ..= {MOST_PROMPTS}.",
                items.len()
            );
            Err(ApiError::field("prompt", message))
        }
        other => Err(wrong(
            "prompt",
            "a text, a list of texts, or token ids",
            other,
        )),
    }
}

/// One choice: what was said since it was told last.
#[derive(Default)]
struct Text {
    said: String,
    tokens: Vec<String>,
    logprobs: Vec<f64>,
    best: Vec<Value>,
    offsets: Vec<usize>,
    /// Characters of all tokens so far.
    offset: usize,
    reason: Option<Reason>,
}

impl Choice for Text {
    fn take(&mut self, server: &Shared, stretches: Vec<Stretch>, token: Option<Token>) {
        for stretch in stretches {
            self.said.push_str(&stretch.text);
        }
        let Some(token) = token else {
            return;
        };
        let tokenizer = server.engine.tokenizer();
        let spelled = tokens::text(tokenizer, token.id).into_owned();
        self.offsets.push(self.offset);
        self.offset += spelled.chars().count();
        self.tokens.push(spelled);
        if let Some(found) = token.logprobs {
            self.logprobs.push(found.chosen);
            let mut best = Map::new();
            for (id, logprob) in found.best {
                // Two tokens may look alike; the more probable one stays.
                let spelled = tokens::text(tokenizer, id).into_owned();
                best.entry(spelled).or_insert(logprob.into());
            }
            self.best.push(best.into());
        }
    }

    /// None is read back here.
    fn call(&mut self, _: Calling) {}

    fn end(&mut self, reason: Reason) {
        self.reason = Some(reason);
    }
}

impl Text {
    /// What was said, and forgets it.
    fn json(&mut self, index: usize, wants_logprobs: bool) -> Value {
        let logprobs = match wants_logprobs {
            true => json!({
                "tokens": self.tokens,
                "token_logprobs": self.logprobs,
                "top_logprobs": self.best,
                "text_offset": self.offsets,
            }),
            false => Value::Null,
        };
        let mut choice = json!({
            "index": index,
            "text": self.said,
            "logprobs": logprobs,
            "finish_reason": self.reason.as_ref().map(|reason| finish::reason(reason.stop)),
        });
        if let Some(receipt) = self.reason.take().and_then(|reason| reason.receipt) {
            choice["receipt"] = receipt;
        }
        *self = Text {
            offset: self.offset,
            ..Text::default()
        };
        choice
    }
}

/// The choices as they come.
struct Told {
    server: Server,
    ask: Ask,
    frame: Frame,
    texts: Vec<Text>,
}

impl Translate for Told {
    fn said(&mut self, said: Said, _answers: &Answers, out: &mut Outbox) {
        let wants_logprobs = self.ask.logprobs.is_some();
        let Some(choice) = said.tell(&self.server, &mut self.texts) else {
            return;
        };
        let text = &mut self.texts[choice];
        if text.said.is_empty() && text.reason.is_none() && !wants_logprobs {
            return;
        }
        let told = text.json(choice, wants_logprobs);
        let object = "text_completion";
        out.data(&self.frame.response(object, vec![told], Value::Null));
    }

    fn end(&mut self, answers: &Answers, out: &mut Outbox) {
        if self.ask.settings.include_usage {
            let usage = self.ask.usage(answers);
            let object = "text_completion";
            out.data(&self.frame.response(object, Vec::new(), usage));
        }
        out.done();
    }

    fn failed(&mut self, error: &ApiError, out: &mut Outbox) {
        out.data(&Dialect::OpenAi.error(error));
    }
}
