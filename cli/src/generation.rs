//! What `run` and `chat` share: how text is generated, and how it appears as it is made.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use bitnet_engine::gguf::Shown;
use bitnet_engine::{Engine, GenerateOptions, Piece, Template};
use bitnet_process::{Watch, note};

use crate::constraint::ConstraintArgs;
use crate::sampling::SamplingArgs;
use crate::source::{ModelArgs, ScreenArgs};
use crate::warnings::warn;

/// What generates, and how.
#[derive(clap::Args)]
pub(crate) struct GenerationArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
    #[command(flatten)]
    pub(crate) constraint: ConstraintArgs,
    /// Tokenizer file; without it: inside the model, beside it, in the folder above
    ///
    /// Beside the model and in the folder above, it is called tokenizer.json. A tokenizer whose
    /// vocabulary does not fit the model's is refused.
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Stop at this text, which is not printed; may be given several times
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    stop: Vec<String>,
    /// Guess up to N tokens at a time from the text itself, and check them in one pass; `off`
    /// guesses nothing
    ///
    /// The text is the same either way. Text that repeats itself comes faster. Nothing is guessed
    /// on a GPU, and for models that keep a state.
    #[arg(long, value_name = "N|off", default_value_t = Guesses(GenerateOptions::SPECULATE))]
    speculate: Guesses,
    #[command(flatten)]
    screens: ScreenArgs,
}

/// A number of tokens, or `off` for none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guesses(pub(crate) usize);

impl std::fmt::Display for Guesses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            0 => f.write_str("off"),
            most => write!(f, "{most}"),
        }
    }
}

impl std::str::FromStr for Guesses {
    type Err = String;

    fn from_str(text: &str) -> Result<Guesses, String> {
        match text {
            "off" => Ok(Guesses(0)),
            _ => match text.parse() {
                Ok(most @ 1..=GenerateOptions::MOST_SPECULATED) => Ok(Guesses(most)),
                _ => Err(format!(
                    "neither `off` nor a number from 1 to {}",
                    GenerateOptions::MOST_SPECULATED
                )),
            },
        }
    }
}

impl GenerationArgs {
    /// The settings for `max_tokens` of text, checked.
    pub(crate) fn options(&self, max_tokens: usize) -> Result<GenerateOptions> {
        let options = GenerateOptions::default()
            .max_tokens(max_tokens)
            .speculate(self.speculate.0)
            .sampling(self.sampling.sampling()?);
        Ok(self.stop.iter().fold(options, GenerateOptions::stop))
    }

    /// Loads the model and a tokenizer that fits it. Returns the model's name in output too.
    pub(crate) fn load(&self) -> Result<(Engine, String)> {
        let screens = self.screens.cache();
        self.model.engine(self.tokenizer.as_deref(), screens)
    }
}

/// Tells on standard error how a template is known that had to be looked for, unless `quiet`, and
/// what is doubtful about it.
pub(crate) fn tell(engine: &Engine, template: &Template, quiet: bool) -> Result<()> {
    if let Some(evidence) = template.evidence().filter(|_| !quiet) {
        note!("template: {template} ({})", Shown(evidence));
    }
    let source = template.source().unwrap_or_default();
    for doubt in engine.tokenizer().template_warnings(source) {
        warn(doubt)?;
    }
    Ok(())
}

/// Writes each piece of text as it comes, until a signal at the latest: the code to exit with then.
pub(crate) fn write(
    pieces: impl Iterator<Item = Result<Piece, bitnet_engine::Error>>,
    to: &mut impl Write,
) -> Result<Option<u8>> {
    let watch = Watch::begin();
    for piece in pieces {
        let text = piece?.text;
        if !text.is_empty() {
            to.write_all(text.as_bytes())
                .and_then(|()| to.flush())
                .context("standard output")?;
        }
        if watch.code().is_some() {
            break;
        }
    }
    Ok(watch.code())
}
