//! What a model is to continue, and how it becomes tokens.

use bitnet_tokenizers::{Evidence, PromptTemplate, TemplateChoice};

/// What a model is to continue: a text, put to it as it is or by a template; or tokens.
///
/// Whatever becomes a `Prompt` can be given to [`Engine::generate`]: a text, tokens, an
/// [`EncodedPrompt`].
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    pub(crate) content: Content,
    pub(crate) template: TemplateChoice,
    pub(crate) system: Option<String>,
    pub(crate) special: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Text(String),
    Tokens(Vec<u32>),
}

impl Prompt {
    fn of(content: Content) -> Prompt {
        Prompt {
            content,
            template: TemplateChoice::Fixed(PromptTemplate::Raw),
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
    /// default, as they should be in what a user writes.
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

impl From<&[u32]> for Prompt {
    fn from(tokens: &[u32]) -> Prompt {
        Prompt::of(Content::Tokens(tokens.to_vec()))
    }
}

impl From<Vec<u32>> for Prompt {
    fn from(tokens: Vec<u32>) -> Prompt {
        Prompt::of(Content::Tokens(tokens))
    }
}

impl From<&EncodedPrompt> for Prompt {
    fn from(prompt: &EncodedPrompt) -> Prompt {
        Prompt::from(&prompt.tokens[..])
    }
}

/// A prompt as the model reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EncodedPrompt {
    /// The text, as the template wrote it; none where the prompt was tokens.
    pub text: Option<String>,
    /// Its tokens, the one that begins a text included where the model wants it.
    pub tokens: Vec<u32>,
    /// The template that the text was put in.
    pub template: Template,
}

/// The template that a text is put to a model in, and how it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Template {
    /// Which one.
    pub kind: PromptTemplate,
    /// What gave it away; nothing where it was named.
    pub evidence: Option<Evidence>,
}
