//! [`Answers`]: what the choices of a request say and call, as they do.

use std::collections::VecDeque;

use bitnet_answer_receipts::Begun;
use bitnet_engine::scheduler::{Event, Logprobs};
use bitnet_engine::tools::{CallPart, Calls, Part};
use bitnet_engine::{Piece, StopReason, Stretch, Thinking};
use serde_json::Value;

use crate::call_ids::CallIds;
use crate::error::ApiError;
use crate::state::Shared;
use crate::worker::{Events, Told};

/// A step of one choice.
#[derive(Debug)]
pub(crate) enum Said {
    /// It is its turn now: how much of its prompt was read before is known.
    Begun,
    /// The next tokens of its prompt, from the second on.
    Prompt {
        choice: usize,
        logprobs: Vec<Logprobs>,
    },
    /// What is sure now.
    Text {
        choice: usize,
        stretches: Vec<Stretch>,
        token: Option<Token>,
    },
    /// The token that ends it, which is no part of it.
    Closing { choice: usize, token: Token },
    /// More of a call of a tool.
    Call { choice: usize, call: Calling },
    /// It is done.
    End { choice: usize, reason: Reason },
}

/// What is new of a call of a tool.
#[derive(Debug)]
pub(crate) enum Calling {
    /// It begins.
    Begun {
        /// Its number in the answer.
        index: usize,
        id: String,
        name: String,
    },
    /// More of its arguments, which are a JSON object together.
    Arguments { index: usize, text: String },
    /// It is whole.
    Ended,
}

/// Why an answer ended, and whether it called a tool.
#[derive(Clone, Debug)]
pub(crate) struct Reason {
    pub(crate) stop: StopReason,
    pub(crate) called: bool,
    /// The stop text that ended it, where one did.
    pub(crate) stop_text: Option<String>,
    /// What `bitnet verify` makes it again from, where that was asked for.
    pub(crate) receipt: Option<Value>,
}

impl Said {
    /// Hands it to the choice that it is of; which of `choices` that is, where there is something
    /// to be told.
    pub(crate) fn tell(self, server: &Shared, choices: &mut [impl Choice]) -> Option<usize> {
        match self {
            Said::Begun => None,
            Said::Prompt { choice, logprobs } => {
                // They are told with what follows: how a prompt is cut depends on what else runs.
                choices[choice].prompt(server, logprobs);
                None
            }
            Said::Closing { choice, token } => {
                choices[choice].closing(server, token);
                Some(choice)
            }
            Said::Text {
                choice,
                stretches,
                token,
            } => {
                choices[choice].take(server, stretches, token);
                Some(choice)
            }
            Said::Call { choice, call } => {
                choices[choice].call(call);
                Some(choice)
            }
            Said::End { choice, reason } => {
                choices[choice].end(reason);
                Some(choice)
            }
        }
    }
}

/// A token that was chosen.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) id: u32,
    pub(crate) logprobs: Option<Logprobs>,
}

/// One choice, as an API collects what it says.
pub(crate) trait Choice {
    /// Takes the logprobs of the next tokens of its prompt, from the second on.
    fn prompt(&mut self, _server: &Shared, _logprobs: Vec<Logprobs>) {}

    /// Takes the token that ends it, which no text shows.
    fn closing(&mut self, _server: &Shared, _token: Token) {}

    /// Takes what is sure now.
    fn take(&mut self, server: &Shared, stretches: Vec<Stretch>, token: Option<Token>);

    /// Takes more of a call of a tool.
    fn call(&mut self, call: Calling);

    /// Takes why it is done.
    fn end(&mut self, reason: Reason);
}

/// What divides one answer into what it says, its thoughts and its calls.
pub(crate) struct Writing {
    pub(crate) thinking: Option<Thinking>,
    pub(crate) calls: Option<Calls>,
    pub(crate) ids: CallIds,
}

impl Writing {
    fn is_thinking(&self) -> bool {
        self.thinking.as_ref().is_some_and(Thinking::is_open)
    }

    /// What is sure with one more piece.
    fn push(&mut self, piece: &Piece) -> Vec<Part> {
        let stretches = match &mut self.thinking {
            Some(thinking) => thinking.push(piece),
            None => said(&piece.text),
        };
        match &mut self.calls {
            Some(calls) => calls.push(stretches, piece),
            None => stretches.into_iter().map(Part::Text).collect(),
        }
    }

    /// What was held back, once no more comes.
    fn finish(&mut self) -> Vec<Part> {
        let thinking = self.thinking.as_mut();
        let stretches = thinking.map(Thinking::finish).unwrap_or_default();
        match &mut self.calls {
            Some(calls) => calls.finish(stretches),
            None => stretches.into_iter().map(Part::Text).collect(),
        }
    }

    fn call(&mut self, part: CallPart) -> Option<Calling> {
        Some(match part {
            CallPart::Begun { name } => {
                let id = self.ids.next();
                let index = self.ids.made() - 1;
                Calling::Begun { index, id, name }
            }
            CallPart::Arguments(text) => Calling::Arguments {
                index: self.ids.made() - 1,
                text,
            },
            CallPart::Ended => Calling::Ended,
            _ => return None,
        })
    }
}

/// The choices of a request. Dropping it cancels those that are not done.
pub(crate) struct Answers {
    events: Events,
    writing: Vec<Writing>,
    receipts: Vec<Option<Begun>>,
    ready: VecDeque<Said>,
    left: usize,
    /// Tokens that were generated so far.
    pub(crate) generated: usize,
    /// How many of these were of thoughts, with the marks around them.
    pub(crate) thought: usize,
    /// Tokens of prompts that were read before. Each prompt counts once.
    pub(crate) cached: usize,
    choices: usize,
}

impl Answers {
    /// Of as many answers as there are in `writing`, which divides them: `choices` for each prompt.
    pub(crate) fn new(events: Events, writing: Vec<Writing>, choices: usize) -> Answers {
        Answers {
            events,
            left: writing.len(),
            writing,
            receipts: Vec::new(),
            ready: VecDeque::new(),
            generated: 0,
            thought: 0,
            cached: 0,
            choices,
        }
    }

    /// With a receipt to each answer for which one was begun.
    pub(crate) fn with_receipts(mut self, receipts: Vec<Option<Begun>>) -> Answers {
        self.receipts = receipts;
        self
    }

    /// Collects all that is said into `choices`, one for each answer.
    pub(crate) async fn collect(
        &mut self,
        server: &Shared,
        choices: &mut [impl Choice],
    ) -> Result<(), ApiError> {
        while let Some(said) = self.next().await {
            said?.tell(server, choices);
        }
        Ok(())
    }

    /// The next step of any choice; nothing once all are done.
    pub(crate) async fn next(&mut self) -> Option<Result<Said, ApiError>> {
        loop {
            if let Some(said) = self.ready.pop_front() {
                return Some(Ok(said));
            }
            if self.left == 0 {
                return None;
            }
            let Some((choice, told)) = self.events.recv().await else {
                self.left = 0;
                return Some(Err(ApiError::internal(
                    "The engine has stopped.".to_owned(),
                )));
            };
            let event = match told {
                Told::Event(event) => event,
                Told::GivenUp => {
                    self.left = 0;
                    return Some(Err(ApiError::unread()));
                }
            };
            match event {
                Event::Joined { cached } => {
                    if choice % self.choices == 0 {
                        self.cached += cached;
                    }
                    self.ready.push_back(Said::Begun);
                }
                Event::Piece { piece, logprobs } => {
                    let tokens = usize::from(piece.token.is_some());
                    self.generated += tokens;
                    let writing = &mut self.writing[choice];
                    let was_thinking = writing.is_thinking();
                    let parts = writing.push(&piece);
                    if was_thinking || writing.is_thinking() {
                        self.thought += tokens;
                    }
                    let token = piece.token;
                    let token = token.map(|token| Token {
                        id: token.id,
                        logprobs,
                    });
                    self.tell(choice, parts, token);
                }
                Event::Prompt(logprobs) => {
                    self.ready.push_back(Said::Prompt { choice, logprobs });
                }
                Event::End { token, logprobs } => {
                    let token = Token {
                        id: token,
                        logprobs: Some(logprobs),
                    };
                    self.ready.push_back(Said::Closing { choice, token });
                }
                Event::Ended(generated) => {
                    self.left -= 1;
                    let parts = self.writing[choice].finish();
                    self.tell(choice, parts, None);
                    let receipt = self.receipts.get_mut(choice).and_then(Option::take);
                    let receipt = receipt.map(|begun| begun.end(&generated).json());
                    let reason = Reason {
                        receipt,
                        stop: generated.stop.unwrap_or(StopReason::EndOfGeneration),
                        stop_text: generated.stop_text,
                        called: self.writing[choice].ids.made() > 0,
                    };
                    self.ready.push_back(Said::End { choice, reason });
                }
                Event::Failed(error) => {
                    self.left = 0;
                    return Some(Err(ApiError::of_engine(&error, "messages")));
                }
                _ => {}
            }
        }
    }

    /// Has what a choice says ready, in its order; the token goes with the first of it.
    fn tell(&mut self, choice: usize, parts: Vec<Part>, mut token: Option<Token>) {
        let mut stretches = Vec::new();
        for part in parts {
            match part {
                Part::Text(stretch) => stretches.push(stretch),
                Part::Call(part) => {
                    self.tell_text(choice, &mut stretches, &mut token);
                    let call = self.writing[choice].call(part);
                    let call = call.map(|call| Said::Call { choice, call });
                    self.ready.extend(call);
                }
                _ => {}
            }
        }
        self.tell_text(choice, &mut stretches, &mut token);
    }

    fn tell_text(
        &mut self,
        choice: usize,
        stretches: &mut Vec<Stretch>,
        token: &mut Option<Token>,
    ) {
        if !stretches.is_empty() || token.is_some() {
            self.ready.push_back(Said::Text {
                choice,
                stretches: std::mem::take(stretches),
                token: token.take(),
            });
        }
    }
}

fn said(text: &str) -> Vec<Stretch> {
    match text.is_empty() {
        true => Vec::new(),
        false => vec![Stretch {
            text: text.to_owned(),
            thought: false,
        }],
    }
}
