//! Answers as server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use crate::answers::{Answers, Said};
use crate::error::ApiError;

/// How often something shows that the connection is alive, where nothing else comes.
const PING: Duration = Duration::from_secs(15);

/// Events on their way to a client.
#[derive(Default)]
pub(crate) struct Outbox(VecDeque<Event>);

impl Outbox {
    /// An event without a name.
    pub(crate) fn data(&mut self, value: &Value) {
        self.0.push_back(Event::default().data(value.to_string()));
    }

    /// An event that is named after its `type`.
    pub(crate) fn typed(&mut self, value: &Value) {
        self.0.push_back(typed(value));
    }

    /// What OpenAI's first two APIs send last.
    pub(crate) fn done(&mut self) {
        self.0.push_back(Event::default().data("[DONE]"));
    }
}

fn typed(value: &Value) -> Event {
    let name = value["type"].as_str().unwrap_or_default();
    Event::default().event(name).data(value.to_string())
}

/// How an API tells of an answer as it comes.
pub(crate) trait Translate: Send + 'static {
    /// What is sent before anything is said.
    fn begin(&mut self, _out: &mut Outbox) {}

    /// What is sent for a step.
    fn said(&mut self, said: Said, answers: &Answers, out: &mut Outbox);

    /// What is sent once all is said.
    fn end(&mut self, answers: &Answers, out: &mut Outbox);

    /// What is sent where no more can come.
    fn failed(&mut self, error: &ApiError, out: &mut Outbox);

    /// What shows that the connection is alive, if it is no comment.
    fn ping(&self) -> Option<Value> {
        None
    }
}

struct Stream<T> {
    answers: Answers,
    translate: T,
    out: Outbox,
    done: bool,
}

impl<T: Translate> Stream<T> {
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Stream<T>)> {
        loop {
            if let Some(event) = self.out.0.pop_front() {
                return Some((Ok(event), self));
            }
            if self.done {
                return None;
            }
            match self.answers.next().await {
                Some(Ok(said)) => self.translate.said(said, &self.answers, &mut self.out),
                Some(Err(error)) => {
                    self.translate.failed(&error, &mut self.out);
                    self.done = true;
                }
                None => {
                    self.translate.end(&self.answers, &mut self.out);
                    self.done = true;
                }
            }
        }
    }
}

/// The answers, told by `translate`.
pub(crate) fn response(answers: Answers, mut translate: impl Translate) -> Response {
    let mut out = Outbox::default();
    translate.begin(&mut out);
    let mut alive = KeepAlive::new().interval(PING);
    if let Some(ping) = translate.ping() {
        alive = alive.event(typed(&ping));
    }
    let stream = Stream {
        answers,
        translate,
        out,
        done: false,
    };
    let events = futures_util::stream::unfold(stream, Stream::next);
    Sse::new(events).keep_alive(alive).into_response()
}
