//! What an answer may be, by flags.

use std::io::ErrorKind;

use anyhow::{Context, Result};
use bitnet_engine::chat_templates::Json;
use bitnet_engine::{Constraint, Encoder, Grammar};

/// What an answer may be.
#[derive(clap::Args)]
#[group(multiple = false)]
pub(crate) struct ConstraintArgs {
    /// Generate JSON that follows this schema: the file of one, or its text
    #[arg(long, value_name = "FILE|TEXT")]
    json_schema: Option<String>,
    /// Generate what this grammar allows: the file of one, or its text
    ///
    /// As llama.cpp writes them (GBNF), or in llguidance's variant of Lark's syntax.
    #[arg(long, value_name = "FILE|TEXT")]
    grammar: Option<String>,
    /// Generate what this regular expression matches as a whole
    #[arg(long, value_name = "REGEX", allow_hyphen_values = true)]
    regex: Option<String>,
}

/// A grammar, and the flag that asked for it.
pub(crate) struct Asked {
    flag: &'static str,
    grammar: Grammar,
}

impl ConstraintArgs {
    /// What was asked for, if anything was.
    pub(crate) fn read(&self) -> Result<Option<Asked>> {
        let (flag, grammar) = if let Some(given) = &self.json_schema {
            const FLAG: &str = "--json-schema";
            let text = file_or_text(FLAG, given)?;
            let schema = Json::parse(&text).with_context(|| format!("{FLAG} is no JSON"))?;
            (FLAG, Grammar::JsonSchema(schema))
        } else if let Some(given) = &self.grammar {
            const FLAG: &str = "--grammar";
            (FLAG, Grammar::of_text(file_or_text(FLAG, given)?))
        } else if let Some(regex) = &self.regex {
            ("--regex", Grammar::Regex(regex.clone()))
        } else {
            return Ok(None);
        };
        Ok(Some(Asked { flag, grammar }))
    }
}

impl Asked {
    /// For the vocabulary of a model.
    pub(crate) fn constraint(&self, encoder: &Encoder) -> Result<Constraint> {
        encoder.constraint(&self.grammar).context(self.flag)
    }
}

/// The text of the file of this name, or the name where there is none and it is one.
fn file_or_text(flag: &str, given: &str) -> Result<String> {
    match bitnet_files::read_to_string(given) {
        Ok(text) => Ok(text),
        Err(error) => {
            let may_be_text = given.contains(['{', '\n', ':', '"']);
            let no_file = matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::InvalidFilename | ErrorKind::InvalidInput
            );
            match no_file && may_be_text {
                true => Ok(given.to_owned()),
                false => Err(error).with_context(|| format!("{flag} {given}")),
            }
        }
    }
}
