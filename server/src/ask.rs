//! [`Ask`]: the one form that every API's request for text is brought into.

use std::sync::Arc;

use bitnet_answer_receipts::{BeginError, Begun};
use bitnet_engine::tools::Tools;
use bitnet_engine::{Constraint, EncodedPrompt, GenerateOptions};
use serde_json::{Value, json};

use crate::answers::{Answers, Writing};
use crate::call_ids::CallIds;
use crate::error::ApiError;
use crate::settings::Settings;
use crate::state::{Server, Shared, now};
use crate::worker::Task;

/// A request for text.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) settings: Settings,
    /// Each is answered as often as there are choices.
    pub(crate) prompts: Vec<Arc<EncodedPrompt>>,
    /// The field that they came in.
    pub(crate) param: &'static str,
    /// Most tokens of an answer where the request does not say.
    pub(crate) usually: usize,
    pub(crate) logprobs: Option<usize>,
    /// With how many of the most probable tokens at each place of the prompt, where its logprobs
    /// are told.
    pub(crate) prompt_logprobs: Option<usize>,
    /// Whether a thought is told apart from what is said.
    pub(crate) thoughts: bool,
    /// What the model may call. Its calls are told apart from what is said.
    pub(crate) tools: Arc<Tools>,
    /// What the answer is held to, behind its thoughts.
    pub(crate) constraint: Option<Constraint>,
}

impl Ask {
    /// Hands it to the scheduler.
    pub(crate) fn submit(&self, server: &Shared) -> Result<Answers, ApiError> {
        let have = server.worker.context();
        for prompt in &self.prompts {
            let need = prompt.tokens.len();
            if need > have {
                return Err(ApiError::too_long(need, have, self.param));
            }
        }
        let max_tokens = self.settings.max_tokens.unwrap_or(self.usually);
        if self.settings.min_tokens > max_tokens {
            let message = format!("`min_tokens` is more than the {max_tokens} of an answer.");
            return Err(ApiError::field("min_tokens", message));
        }
        let max_tokens = max_tokens.min(have);
        let each = |prompt| std::iter::repeat_n(prompt, self.settings.choices);
        let choices = || (0_u64..).zip(self.prompts.iter().flat_map(each));
        let mut receipts = Vec::new();
        let thinking = |prompt| {
            let thinking = || server.encoder().thinking(prompt);
            self.thoughts.then(thinking).flatten()
        };
        let tasks: Result<Vec<Task>, ApiError> = choices()
            .map(|(choice, prompt)| {
                let options = self.settings.options(choice, max_tokens);
                let options = options.map_err(|error| ApiError::of_engine(&error, self.param))?;
                let options = match &self.constraint {
                    None => options,
                    Some(constraint) => {
                        options.constraint(constraint.clone().behind(thinking(prompt)))
                    }
                };
                let receipt = || self.receipt(server, prompt, &options);
                receipts.push(self.settings.receipt.then(receipt).transpose()?);
                Ok(Task {
                    prompt: Arc::clone(prompt),
                    options,
                    logprobs: self.logprobs,
                    prompt_logprobs: self.prompt_logprobs,
                })
            })
            .collect();
        let writing = choices().map(|(choice, prompt)| {
            let calls = || server.encoder().calls(prompt, &self.tools);
            Writing {
                thinking: thinking(prompt),
                calls: self.tools.are_offered().then(calls).flatten(),
                ids: CallIds::new(prompt, self.settings.seed.wrapping_add(choice)),
            }
        });
        let writing = writing.collect();
        let events = server.worker.submit(tasks?)?;
        let answers = Answers::new(events, writing, self.settings.choices);
        Ok(answers.with_receipts(receipts))
    }

    fn receipt(
        &self,
        server: &Shared,
        prompt: &EncodedPrompt,
        options: &GenerateOptions,
    ) -> Result<Begun, ApiError> {
        let context = server.worker.context();
        let begun = Begun::new(&server.engine, server.name(), prompt, options, context);
        begun.map_err(|error| match error {
            BeginError::Engine(error) => ApiError::of_engine(&error, self.param),
            error => ApiError::unsupported("receipt", format!("{error}.")),
        })
    }

    /// Tokens of its prompts.
    pub(crate) fn prompt_tokens(&self) -> usize {
        self.prompts.iter().map(|prompt| prompt.tokens.len()).sum()
    }

    /// What it took, as far as its answers came.
    pub(crate) fn usage(&self, answers: &Answers) -> Value {
        let Answers {
            generated,
            thought,
            cached,
            ..
        } = answers;
        let read = self.prompt_tokens();
        json!({
            "prompt_tokens": read,
            "completion_tokens": generated,
            "total_tokens": read + generated,
            "prompt_tokens_details": { "cached_tokens": cached },
            "completion_tokens_details": { "reasoning_tokens": thought },
        })
    }
}

/// What every part of a response has.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) id: String,
    pub(crate) created: u64,
    pub(crate) model: String,
    pub(crate) fingerprint: String,
    pub(crate) seed: u64,
}

impl Frame {
    /// For a response whose id begins with `kind`.
    pub(crate) async fn new(server: &Server, kind: &str, seed: u64) -> Result<Frame, ApiError> {
        let number = getrandom::u64().map_err(|error| ApiError::internal(error.to_string()))?;
        Ok(Frame {
            id: format!("{kind}{number:016x}"),
            created: now(),
            model: server.name().to_owned(),
            fingerprint: server.fingerprint().await?,
            seed,
        })
    }

    /// A response, or a part of one, of OpenAI's chats and completions.
    pub(crate) fn response(&self, object: &str, choices: Vec<Value>, usage: Value) -> Value {
        json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "seed": self.seed,
            "choices": choices,
            "usage": usage,
        })
    }
}
