//! [`Answers`]: what the choices of a request say, as they say it.

use std::collections::VecDeque;

use bitnet_engine::scheduler::{Event, Logprobs};
use bitnet_engine::{StopReason, Stretch, Thinking};

use crate::error::ApiError;
use crate::state::Shared;
use crate::worker::{Events, Told};

/// A step of one choice.
#[derive(Debug)]
pub(crate) enum Said {
    /// What is sure now.
    Text {
        choice: usize,
        stretches: Vec<Stretch>,
        token: Option<Token>,
    },
    /// It is done.
    End { choice: usize, reason: StopReason },
}

impl Said {
    /// Hands it to the choice that it is of; which of `choices` that is.
    pub(crate) fn tell(self, server: &Shared, choices: &mut [impl Choice]) -> usize {
        match self {
            Said::Text {
                choice,
                stretches,
                token,
            } => {
                choices[choice].take(server, stretches, token);
                choice
            }
            Said::End { choice, reason } => {
                choices[choice].end(reason);
                choice
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
    /// Takes what is sure now.
    fn take(&mut self, server: &Shared, stretches: Vec<Stretch>, token: Option<Token>);

    /// Takes why it is done.
    fn end(&mut self, reason: StopReason);
}

/// The choices of a request. Dropping it cancels those that are not done.
pub(crate) struct Answers {
    events: Events,
    thinking: Vec<Option<Thinking>>,
    ready: VecDeque<Said>,
    left: usize,
    /// Tokens that were generated so far.
    pub(crate) generated: usize,
    /// Tokens of prompts that were read before. Each prompt counts once.
    pub(crate) cached: usize,
    choices: usize,
}

impl Answers {
    /// Of as many answers as there are in `thinking`, which divides their thoughts: `choices` for
    /// each prompt.
    pub(crate) fn new(events: Events, thinking: Vec<Option<Thinking>>, choices: usize) -> Answers {
        Answers {
            events,
            left: thinking.len(),
            thinking,
            ready: VecDeque::new(),
            generated: 0,
            cached: 0,
            choices,
        }
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
                Event::Joined { cached } if choice % self.choices == 0 => self.cached += cached,
                Event::Piece { piece, logprobs } => {
                    self.generated += usize::from(piece.token.is_some());
                    let stretches = match &mut self.thinking[choice] {
                        Some(thinking) => thinking.push(&piece),
                        None => said(&piece.text),
                    };
                    let token = piece.token;
                    let token = token.map(|token| Token {
                        id: token.id,
                        logprobs,
                    });
                    self.ready.push_back(Said::Text {
                        choice,
                        stretches,
                        token,
                    });
                }
                Event::Ended(generated) => {
                    self.left -= 1;
                    let thinking = self.thinking[choice].as_mut();
                    let stretches = thinking.map(Thinking::finish).unwrap_or_default();
                    if !stretches.is_empty() {
                        self.ready.push_back(Said::Text {
                            choice,
                            stretches,
                            token: None,
                        });
                    }
                    let reason = generated.stop.unwrap_or(StopReason::EndOfGeneration);
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
