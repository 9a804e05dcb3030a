//! `POST /v1/completions`, as OpenAI specifies it.

use std::mem::take;
use std::sync::Arc;

use axum::Json;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bitnet_engine::chat_templates::Json as Field;
use bitnet_engine::scheduler::Logprobs;
use bitnet_engine::{EncodedPrompt, Prompt, Stretch};
use serde_json::{Map, Value, json};

use super::{constraint, models, tokens};
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

/// Most prompts of a request.
const MOST_PROMPTS: usize = 128;
/// Most tokens of an answer where the request does not say, as in OpenAI's API.
const USUALLY: usize = 16;

pub(crate) async fn complete(server: Server, request: Request) -> Result<Response, ApiError> {
    let body = server.body(request).await?;
    let (ask, form) = server.aside(move |server| read(server, &body)).await?;
    let frame = Frame::new(&server, "cmpl-", ask.settings.seed).await?;
    let mut answers = ask.submit(&server)?;
    let each = |prompt| std::iter::repeat_n(prompt, ask.settings.choices);
    let texts = ask.prompts.iter().flat_map(each);
    let mut texts: Vec<Text> = texts
        .map(|prompt| Text::new(&server, form, prompt))
        .collect();
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
    let texts = texts.iter_mut().enumerate();
    let choices = texts.map(|(index, text)| text.json(&server, index));
    let usage = ask.usage(&answers);
    let response = frame.response("text_completion", choices.collect(), usage);
    Ok(Json(response).into_response())
}

/// What is told of each choice beside its text.
#[derive(Clone, Copy, Debug)]
struct Form {
    /// Whether it begins with the prompt.
    echo: bool,
    logprobs: Option<usize>,
    prompt_logprobs: Option<usize>,
}

fn read(server: &Shared, body: &[u8]) -> Result<(Ask, Form), ApiError> {
    let fields = Fields::read(body, &support::COMPLETIONS)?;
    models::check(server, &fields)?;
    let settings = Settings::read(&fields, server)?;
    let constraint = constraint::prepared(server, constraint::read(&fields)?)?;
    let logprobs = fields.whole("logprobs", 0..=tokens::MOST_LOGPROBS)?;
    let form = Form {
        echo: fields.flag("echo")?,
        logprobs: logprobs.map(|best| best as usize),
        prompt_logprobs: tokens::prompt_logprobs(&fields, settings.stream)?,
    };
    let ask = Ask {
        settings,
        prompts: prompts(server, fields.needed("prompt")?)?,
        param: "prompt",
        usually: USUALLY,
        logprobs: form.logprobs,
        prompt_logprobs: form
            .prompt_logprobs
            .max(form.logprobs.filter(|_| form.echo)),
        thoughts: false,
        tools: Arc::default(),
        constraint,
    };
    Ok((ask, form))
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
struct Text {
    form: Form,
    prompt: Arc<EncodedPrompt>,
    said: String,
    tokens: Vec<String>,
    logprobs: Vec<Option<f64>>,
    best: Vec<Value>,
    offsets: Vec<usize>,
    /// Characters of all tokens so far.
    offset: usize,
    /// How many of these are in no text: a blank before the first word.
    unseen: usize,
    /// Of the prompt's tokens from the second on, as far as they came.
    of_prompt: Vec<Logprobs>,
    reason: Option<Reason>,
}

impl Choice for Text {
    fn prompt(&mut self, server: &Shared, logprobs: Vec<Logprobs>) {
        if self.is_echoed() {
            let prompt = Arc::clone(&self.prompt);
            let ids = &prompt.tokens[1 + self.of_prompt.len()..];
            for (id, logprobs) in ids.iter().zip(&logprobs) {
                self.add(server, *id, Some(logprobs));
            }
        }
        self.of_prompt.extend(logprobs);
    }

    fn closing(&mut self, server: &Shared, token: Token) {
        self.add(server, token.id, token.logprobs.as_ref());
    }

    fn take(&mut self, server: &Shared, stretches: Vec<Stretch>, token: Option<Token>) {
        for stretch in stretches {
            self.said.push_str(&stretch.text);
        }
        if let Some(token) = token {
            self.add(server, token.id, token.logprobs.as_ref());
        }
    }

    /// None is read back here.
    fn call(&mut self, _: Calling) {}

    fn end(&mut self, reason: Reason) {
        self.reason = Some(reason);
    }
}

impl Text {
    fn new(server: &Shared, form: Form, prompt: &Arc<EncodedPrompt>) -> Text {
        let mut text = Text {
            form,
            prompt: Arc::clone(prompt),
            said: String::new(),
            tokens: Vec::new(),
            logprobs: Vec::new(),
            best: Vec::new(),
            offsets: Vec::new(),
            offset: 0,
            unseen: 0,
            of_prompt: Vec::new(),
            reason: None,
        };
        if form.echo {
            let tokenizer = server.engine.tokenizer();
            text.said = match prompt.text() {
                Some(text) => text.to_owned(),
                None => tokenizer.decode(&prompt.tokens),
            };
            let each = prompt.tokens.iter();
            let spelled: usize = each.map(|id| tokens::characters(tokenizer, *id)).sum();
            text.unseen = spelled.saturating_sub(text.said.chars().count());
        }
        if text.is_echoed() {
            // Nothing tells how probable a text is to begin so.
            text.add(server, prompt.tokens[0], None);
        }
        text
    }

    /// Whether the prompt's tokens are told with those of the answer.
    fn is_echoed(&self) -> bool {
        self.form.echo && self.form.logprobs.is_some()
    }

    /// Adds a token to those that are told with logprobs.
    fn add(&mut self, server: &Shared, id: u32, logprobs: Option<&Logprobs>) {
        let tokenizer = server.engine.tokenizer();
        let spelled = |id: u32| tokens::text(tokenizer, id).into_owned();
        self.offsets.push(self.offset.saturating_sub(self.unseen));
        self.offset += tokens::characters(tokenizer, id);
        self.tokens.push(spelled(id));
        self.logprobs.push(logprobs.map(|found| found.chosen));
        let Some(found) = logprobs else {
            return self.best.push(Value::Null);
        };
        let mut best = Map::new();
        let listed = found.best.iter().take(self.form.logprobs.unwrap_or(0));
        for (id, logprob) in listed.copied().chain([(id, found.chosen)]) {
            // Two tokens may look alike; the more probable one stays.
            best.entry(spelled(id)).or_insert(logprob.into());
        }
        self.best.push(best.into());
    }

    /// What was said, and forgets it.
    fn json(&mut self, server: &Shared, index: usize) -> Value {
        let (tokens, logprobs) = (take(&mut self.tokens), take(&mut self.logprobs));
        let (best, offsets) = (take(&mut self.best), take(&mut self.offsets));
        let logprobs = self.form.logprobs.map(|_| {
            json!({
                "tokens": tokens,
                "token_logprobs": logprobs,
                "top_logprobs": best,
                "text_offset": offsets,
            })
        });
        let reason = self.reason.take();
        let mut choice = json!({
            "index": index,
            "text": take(&mut self.said),
            "logprobs": logprobs,
            "finish_reason": reason.as_ref().map(|reason| finish::reason(reason.stop)),
        });
        if let Some(best) = self.form.prompt_logprobs {
            for found in &mut self.of_prompt {
                found.best.truncate(best);
            }
            choice["prompt_logprobs"] =
                tokens::of_prompt(server, &self.prompt.tokens, &self.of_prompt);
        }
        if let Some(receipt) = reason.and_then(|reason| reason.receipt) {
            choice["receipt"] = receipt;
        }
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
        let Some(choice) = said.tell(&self.server, &mut self.texts) else {
            return;
        };
        let text = &mut self.texts[choice];
        if text.said.is_empty() && text.reason.is_none() && self.ask.logprobs.is_none() {
            return;
        }
        let told = text.json(&self.server, choice);
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
