//! Answers as server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use crate::answers::{Answers, Said};

/// How often a comment shows that the connection is alive, where nothing else comes.
const PING: Duration = Duration::from_secs(15);

/// How an API tells of an answer as it comes.
pub(crate) trait Translate: Send + 'static {
    /// What is sent for a step.
    fn said(&mut self, said: Said) -> Option<Value>;

    /// What is sent last.
    fn usage(&mut self, answers: &Answers) -> Option<Value>;
}

struct Stream<T> {
    answers: Answers,
    translate: T,
    ready: VecDeque<Event>,
    done: bool,
}

impl<T: Translate> Stream<T> {
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Stream<T>)> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some((Ok(event), self));
            }
            if self.done {
                return None;
            }
            match self.answers.next().await {
                Some(Ok(said)) => {
                    let sent = self.translate.said(said);
                    self.ready.extend(sent.as_ref().map(event));
                }
                Some(Err(error)) => {
                    self.ready.push_back(event(&error.json()));
                    self.done = true;
                }
                None => {
                    let usage = self.translate.usage(&self.answers);
                    self.ready.extend(usage.as_ref().map(event));
                    self.ready.push_back(Event::default().data("[DONE]"));
                    self.done = true;
                }
            }
        }
    }
}

fn event(value: &Value) -> Event {
    Event::default().data(value.to_string())
}

/// The answers, told by `translate`, behind what is sent `first`.
pub(crate) fn response(answers: Answers, first: Vec<Value>, translate: impl Translate) -> Response {
    let stream = Stream {
        answers,
        translate,
        ready: first.iter().map(event).collect(),
        done: false,
    };
    let events = futures_util::stream::unfold(stream, Stream::next);
    Sse::new(events)
        .keep_alive(KeepAlive::new().interval(PING))
        .into_response()
}
