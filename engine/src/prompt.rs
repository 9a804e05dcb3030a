//! What a model is to continue, and how it becomes tokens.

use bitnet_chat_templates::{Conversation, Rendered};

use crate::template::{Template, TemplateChoice};

/// What a model is to continue: a text, put to it as it is or by a template; a conversation; or
/// tokens.
///
/// Whatever becomes a `Prompt` can be given to [`Engine::generate`]: a text, a [`Conversation`],
/// tokens, an [`EncodedPrompt`].
///
/// ```
/// use bitnet_engine::Prompt;
///
/// let prompt = Prompt::from("Why is the sky blue?")
///     .template("instruct".parse()?)
///     .system("Be brief.");
/// # Ok::<(), String>(())
/// ```
///
/// [`Engine::generate`]: crate::Engine::generate
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    pub(crate) content: Content,
    pub(crate) template: TemplateChoice,
    pub(crate) system: Option<String>,
    pub(crate) special: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Content {
    Text(String),
    Conversation(Box<Conversation>),
    /// Where nothing is said about tokens at which an answer ends, they are the tokenizer's.
    Tokens {
        tokens: Vec<u32>,
        ends: Option<Vec<u32>>,
    },
}

impl Prompt {
    fn of(content: Content) -> Prompt {
        Prompt {
            content,
            template: TemplateChoice::Raw,
            system: None,
            special: false,
        }
    }

    /// How a text is put to the model; as it is, by default.
    pub fn template(mut self, template: TemplateChoice) -> Prompt {
        self.template = template;
        self
    }

    /// What a template says before the text.
    pub fn system(mut self, text: impl Into<String>) -> Prompt {
        self.system = Some(text.into());
        self
    }

    /// Whether special tokens that are spelled out in the text are read as such. They are text by
    /// default, as they must be in what a user writes.
    pub fn special(mut self, special: bool) -> Prompt {
        self.special = special;
        self
    }
}

impl From<&str> for Prompt {
    fn from(text: &str) -> Prompt {
        Prompt::of(Content::Text(text.to_owned()))
    }
}

impl From<String> for Prompt {
    fn from(text: String) -> Prompt {
        Prompt::of(Content::Text(text))
    }
}

impl From<Conversation> for Prompt {
    /// Put in the model's own template, unless another one is named.
    fn from(conversation: Conversation) -> Prompt {
        Prompt::of(Content::Conversation(Box::new(conversation))).template(TemplateChoice::Auto)
    }
}

impl From<&[u32]> for Prompt {
    fn from(tokens: &[u32]) -> Prompt {
        Prompt::from(tokens.to_vec())
    }
}

impl From<Vec<u32>> for Prompt {
    fn from(tokens: Vec<u32>) -> Prompt {
        Prompt::of(Content::Tokens { tokens, ends: None })
    }
}

impl From<&EncodedPrompt> for Prompt {
    /// Its tokens, and where an answer to them ends.
    fn from(prompt: &EncodedPrompt) -> Prompt {
        Prompt::of(Content::Tokens {
            tokens: prompt.tokens.clone(),
            ends: Some(prompt.ends.clone()),
        })
    }
}

/// A prompt as the model reads it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EncodedPrompt {
    /// The text and its parts; nothing where the prompt was tokens.
    pub rendered: Option<Rendered>,
    /// Its tokens, the one that begins a text included where the model wants it.
    pub tokens: Vec<u32>,
    /// The template that the text was put in.
    pub template: Template,
    /// Tokens at which an answer to it ends, ascending.
    pub ends: Vec<u32>,
    /// What stands of the answer already: the text of the message that is continued.
    pub begun: String,
}

impl EncodedPrompt {
    /// The text, as the template wrote it; nothing where the prompt was tokens.
    pub fn text(&self) -> Option<&str> {
        Some(&self.rendered.as_ref()?.text)
    }
}
