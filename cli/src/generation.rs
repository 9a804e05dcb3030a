//! What `run` and `chat` share: a model with its tokenizer, and text that appears as it is made.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bitnet_engine::tokenizers::{PromptTemplate, TemplateChoice, Tokenizer};
use bitnet_engine::{GenerateOptions, Generation, Model, Session, generate};
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::interrupt;
use crate::sampling::SamplingArgs;
use crate::source::{ModelArgs, Opened, check_vocabulary};

/// What generates, and how.
#[derive(clap::Args)]
pub(crate) struct GenerationArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
    /// Tokenizer file; without it: inside the model, beside it, in the folder above
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Stop at this text, which is not printed; may be given several times
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
}

impl GenerationArgs {
    /// The settings for `max_tokens` of text, checked.
    pub(crate) fn options(&self, max_tokens: usize) -> Result<GenerateOptions> {
        Ok(GenerateOptions {
            max_tokens,
            sampling: self.sampling.sampling()?,
            stop: self.stop.clone(),
        })
    }

    /// Loads the model and a tokenizer that fits it.
    pub(crate) fn load(&self) -> Result<Generator> {
        let opened = self.model.open()?;
        let tokenizer = opened.tokenizer(self.tokenizer.as_deref())?;
        let model = opened.load(&self.model)?;
        check_vocabulary(&tokenizer, model.config())?;
        Ok(Generator {
            opened,
            tokenizer,
            model,
        })
    }
}

/// A parser of the prompt templates' names.
pub(crate) fn template() -> impl TypedValueParser<Value = TemplateChoice> {
    PossibleValuesParser::new(TemplateChoice::NAMES).try_map(|name| name.parse::<TemplateChoice>())
}

/// A model with its tokenizer.
pub(crate) struct Generator {
    pub(crate) opened: Opened,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) model: Model,
}

impl Generator {
    /// The template that was chosen; of one that had to be looked for, standard error tells how it
    /// is known.
    pub(crate) fn template(&self, choice: TemplateChoice, quiet: bool) -> PromptTemplate {
        let name = self.opened.name();
        let (template, evidence) =
            choice.resolve(&self.opened.gguf, &self.tokenizer, Path::new(&name));
        if let (Some(evidence), false) = (evidence, quiet) {
            eprintln!("template: {template} ({evidence})");
        }
        template
    }

    /// Generates after `ids` and writes each piece of text as it comes, until Ctrl-C at the latest.
    pub(crate) fn generate(
        &mut self,
        session: &mut Session,
        ids: &[u32],
        options: &GenerateOptions,
        to: &mut impl Write,
    ) -> Result<Generation> {
        let mut failed = None;
        let result = generate(
            &mut self.model,
            &self.tokenizer,
            session,
            ids,
            options,
            |piece| {
                if let Err(error) = to.write_all(piece.as_bytes()).and_then(|()| to.flush()) {
                    failed = Some(error);
                }
                match failed.is_some() || interrupt::asked() {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            },
        )?;
        match failed {
            Some(error) => Err(error).context("standard output"),
            None => Ok(result),
        }
    }
}
