//! [`ChatOptions`]: how a conversation is held.

use crate::generate_options::GenerateOptions;
use crate::template::TemplateChoice;

/// How to hold a conversation. By default the model's own template is looked for, an answer has 512
/// tokens at most, and a conversation has all the model's context, of which it leaves the oldest
/// turns when it is full.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ChatOptions {
    pub(crate) template: TemplateChoice,
    pub(crate) system: Option<String>,
    pub(crate) answers: GenerateOptions,
    pub(crate) context: Option<usize>,
    pub(crate) on_full: OnFull,
}

/// What is done when a conversation does not fit its context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFull {
    /// The model is no longer sent the oldest turns: questions with their answers, until there is
    /// room for the next answer, or for a quarter of the context where answers may be longer. What
    /// the system says and the latest question stay.
    #[default]
    Drop,
    /// The answer ends with [`StopReason::ContextFull`], and what is said then is refused with
    /// [`Error::ContextFull`].
    ///
    /// [`StopReason::ContextFull`]: crate::StopReason::ContextFull
    /// [`Error::ContextFull`]: crate::Error::ContextFull
    Stop,
}

impl Default for ChatOptions {
    fn default() -> ChatOptions {
        ChatOptions {
            template: TemplateChoice::Auto,
            system: None,
            answers: GenerateOptions::default().max_tokens(512),
            context: None,
            on_full: OnFull::default(),
        }
    }
}

impl ChatOptions {
    /// How turns are put to the model.
    pub fn template(mut self, template: TemplateChoice) -> ChatOptions {
        self.template = template;
        self
    }

    /// What is said before the first turn.
    pub fn system(mut self, text: impl Into<String>) -> ChatOptions {
        self.system = Some(text.into());
        self
    }

    /// How each answer is generated. Its sampler goes on from answer to answer: random numbers do
    /// not begin anew, and a penalty looks back over the whole conversation that is sent.
    pub fn answers(mut self, options: GenerateOptions) -> ChatOptions {
        self.answers = options;
        self
    }

    /// Most tokens of the whole conversation; the model's context by default, and never more.
    pub fn context(mut self, tokens: usize) -> ChatOptions {
        self.context = Some(tokens);
        self
    }

    /// What is done when a conversation does not fit its context.
    pub fn on_full(mut self, on_full: OnFull) -> ChatOptions {
        self.on_full = on_full;
        self
    }
}
