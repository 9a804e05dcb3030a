//! From what is said to the tokens that a model reads: tokenizer and template.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bitnet_gguf::Gguf;
use bitnet_tokenizers::{Encode, PromptTemplate, Special, TemplateChoice, Tokenizer};

use crate::error::Error;
use crate::prompt::{Content, EncodedPrompt, Prompt, Template};

/// A model's tokenizer, and what tells its template.
#[derive(Clone, Debug)]
pub(crate) struct Encoder {
    pub(crate) tokenizer: Arc<Tokenizer>,
    pub(crate) file: Arc<Gguf>,
    /// Where the file is; none where it is held in memory.
    pub(crate) path: Option<PathBuf>,
}

impl Encoder {
    /// The template that `choice` means for this model, and how it is known.
    pub(crate) fn template(&self, choice: TemplateChoice) -> Template {
        let path = self.path.as_deref().unwrap_or(Path::new(""));
        let (kind, evidence) = choice.resolve(&self.file, &self.tokenizer, path);
        Template { kind, evidence }
    }

    /// A prompt as the model reads it.
    pub(crate) fn prompt(&self, prompt: Prompt) -> Result<EncodedPrompt, Error> {
        let template = self.template(prompt.template);
        let (text, tokens) = match prompt.content {
            Content::Tokens(tokens) => (None, tokens),
            Content::Text(text) => {
                let text = template.kind.apply(&text, prompt.system.as_deref());
                let special = match prompt.special {
                    true => Special::Parse,
                    false => template.kind.special(),
                };
                let tokens = self.tokens(&text, true, special)?;
                (Some(text), tokens)
            }
        };
        if tokens.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        Ok(EncodedPrompt {
            text,
            tokens,
            template,
        })
    }

    /// The tokens of a turn of a conversation: of its first one, or of one behind an answer.
    pub(crate) fn turn(
        &self,
        template: PromptTemplate,
        text: &str,
        system: Option<&str>,
        first: bool,
    ) -> Result<Vec<u32>, Error> {
        let text = match first {
            true => template.apply(text, system),
            false => template.follow(text),
        };
        self.tokens(&text, first, template.special())
    }

    /// The tokens of a text; with `begin`, the one that begins a text before them, where the model
    /// wants it.
    fn tokens(&self, text: &str, begin: bool, special: Special) -> Result<Vec<u32>, Error> {
        let bos = begin && self.tokenizer.add_bos();
        let encoded = self.tokenizer.encode(text, Encode { bos, special });
        encoded.map_err(|source| Error::Encode(Box::new(source)))
    }
}
