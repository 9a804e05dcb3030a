//! [`TemplateChoice`]: which template is asked for.

use std::fmt;
use std::io::ErrorKind;
use std::str::FromStr;

use bitnet_chat_templates::{FAMILIES, Family};

/// Which template is asked for: the model's own, none, or a certain one.
///
/// ```
/// use bitnet_engine::TemplateChoice;
///
/// let family: TemplateChoice = "bitnet-2b-4t".parse()?;
/// let own = TemplateChoice::source("mine", "{% for m in messages %}{{ m.content }}{% endfor %}");
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TemplateChoice {
    /// The one that the model's file has, or that lies beside it.
    #[default]
    Auto,
    /// None: the model continues the text as it is.
    Raw,
    /// `[INST] PROMPT [/INST]`.
    Instruct,
    /// That of a family of models.
    Family(&'static Family),
    /// This one.
    Source {
        /// What it is called in output.
        name: String,
        /// The template, as Jinja.
        text: String,
    },
}

/// The name of LLaMA-3's form, which it had before the families.
const LLAMA3_CHAT: &str = "llama3-chat";

impl TemplateChoice {
    /// A template as Jinja; `name` is what it is called in output.
    pub fn source(name: impl Into<String>, text: impl Into<String>) -> TemplateChoice {
        TemplateChoice::Source {
            name: name.into(),
            text: text.into(),
        }
    }

    /// The one that an argument of a program means: a name, else the file of one.
    ///
    /// # Errors
    /// Where it is no name that is known, and no file that can be read.
    pub fn of_argument(text: &str) -> Result<TemplateChoice, String> {
        text.parse()
            .or_else(|unknown| match bitnet_files::read_to_string(text) {
                Ok(source) => Ok(TemplateChoice::source(text, source)),
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    Err(format!("{unknown}, or the file of one"))
                }
                Err(error) => Err(format!("the template cannot be read: {error}")),
            })
    }

    /// Every name that can be parsed.
    pub fn names() -> impl Iterator<Item = &'static str> {
        ["auto", "raw", "instruct", LLAMA3_CHAT]
            .into_iter()
            .chain(FAMILIES.iter().map(|family| family.name))
    }
}

impl FromStr for TemplateChoice {
    type Err = String;

    fn from_str(name: &str) -> Result<TemplateChoice, String> {
        Ok(match name {
            "auto" => TemplateChoice::Auto,
            "raw" => TemplateChoice::Raw,
            "instruct" => TemplateChoice::Instruct,
            _ => {
                let family = match name {
                    LLAMA3_CHAT => "llama3-instruct",
                    name => name,
                };
                TemplateChoice::Family(Family::named(family).ok_or_else(|| {
                    let known: Vec<&str> = TemplateChoice::names().collect();
                    format!("unknown template `{name}`; known are {}", known.join(", "))
                })?)
            }
        })
    }
}

impl fmt::Display for TemplateChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TemplateChoice::Auto => "auto",
            TemplateChoice::Raw => "raw",
            TemplateChoice::Instruct => "instruct",
            TemplateChoice::Family(family) => family.name,
            TemplateChoice::Source { name, .. } => name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_understood_and_no_other() {
        for name in TemplateChoice::names() {
            let choice: TemplateChoice = name.parse().unwrap();
            assert!(name == LLAMA3_CHAT || choice.to_string() == name, "{name}");
        }
        let error = "llama3".parse::<TemplateChoice>().unwrap_err();
        assert!(error.contains("llama3-chat, bitnet-2b-4t"), "{error}");
    }
}
