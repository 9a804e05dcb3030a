//! A model with its tokenizer loaded: counts texts.

use std::fmt;
use std::path::Path;

use bitnet_gguf::Gguf;
use bitnet_tokenizers::discovery::TokenizerDiscovery;
use bitnet_tokenizers::{Counter, Encode, Error, LLAMA3_TOKENS, Special, Tokenizer, Warning};

use crate::encoding::Encoding;
use crate::model::{Accuracy, EncodingSpec, Family, LLAMA3_RELATIVE, ModelSpec};

/// Tokens of a text in no known encoding: one for every four ASCII characters, one for every other
/// character.
pub fn estimate(text: &str) -> usize {
    let ascii = text.bytes().filter(u8::is_ascii).count();
    let others = text.chars().count() - ascii;
    ascii.div_ceil(4) + others
}

/// A model with its tokenizer loaded: counts texts.
pub struct Meter {
    spec: ModelSpec,
    tokenizer: Option<Loaded>,
}

enum Loaded {
    Embedded(&'static Tokenizer),
    Read(Box<Tokenizer>),
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter")
            .field("spec", &self.spec)
            .finish_non_exhaustive()
    }
}

impl Meter {
    /// Loads what the model is counted with. Where a file found for LLaMA-3 turns out to hold
    /// another vocabulary, the model is counted by its family. Counts by a file that leaves
    /// [`Meter::doubts`] are those of a relative.
    ///
    /// # Errors
    /// A file that was named is no tokenizer and holds none.
    pub fn load(mut spec: ModelSpec) -> Result<Meter, Error> {
        let tokenizer = match &spec.encoding {
            None => None,
            Some(EncodingSpec::Embedded(encoding)) => Some(Loaded::Embedded(encoding.tokenizer())),
            Some(EncodingSpec::File(path)) => {
                let read = read(path);
                if spec.family != Family::Llama3 {
                    Some(Loaded::Read(Box::new(read?)))
                } else {
                    match read {
                        Ok(read) if read.vocab_size() == LLAMA3_TOKENS => {
                            Some(Loaded::Read(Box::new(read)))
                        }
                        other => {
                            let problem = match other {
                                Ok(read) => format!("{} tokens", read.vocab_size()),
                                Err(error) => error.to_string(),
                            };
                            log::warn!("{} is not LLaMA-3's tokenizer: {problem}", path.display());
                            spec.encoding = Some(LLAMA3_RELATIVE);
                            spec.accuracy = Accuracy::Family;
                            Some(Loaded::Embedded(Encoding::Cl100kBase.tokenizer()))
                        }
                    }
                }
            }
        };
        let mut meter = Meter { spec, tokenizer };
        if meter.doubts().next().is_some() {
            meter.spec.accuracy = Accuracy::Family;
        }
        Ok(meter)
    }

    /// The model.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// Its tokenizer; none where tokens are estimated.
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        self.tokenizer.as_ref().map(|loaded| match loaded {
            Loaded::Embedded(tokenizer) => *tokenizer,
            Loaded::Read(tokenizer) => &**tokenizer,
        })
    }

    /// What makes it doubtful that the tokens are the model's own.
    pub fn doubts(&self) -> impl Iterator<Item = &Warning> {
        let warnings = self.tokenizer().map_or(&[][..], Tokenizer::warnings);
        warnings.iter().filter(|warning| warning.is_of_counts())
    }

    /// A counter for many texts.
    pub fn counter(&self) -> TextCounter<'_> {
        TextCounter(self.tokenizer().map(Tokenizer::counter))
    }
}

/// Counts the tokens of texts for a [`Meter`].
pub struct TextCounter<'a>(Option<Counter<'a>>);

impl TextCounter<'_> {
    /// The tokens of a text by itself: nothing is put before it. Exact or estimated, as the model's
    /// label says.
    ///
    /// # Errors
    /// The tokenizer's rules fail on the text.
    pub fn count(&mut self, text: &str, special: Special) -> Result<usize, Error> {
        match &mut self.0 {
            Some(counter) => counter.count(
                text,
                Encode {
                    bos: false,
                    special,
                },
            ),
            None => Ok(estimate(text)),
        }
    }
}

/// The tokenizer in a file, or the one that belongs to a GGUF file.
fn read(path: &Path) -> Result<Tokenizer, Error> {
    if path.extension().is_none_or(|ending| ending != "gguf") {
        return Tokenizer::from_file(path);
    }
    let gguf = Gguf::open(path)?;
    TokenizerDiscovery::new(path)
        .discover(None, &gguf)?
        .load(&gguf)
}

#[cfg(test)]
mod tests {
    use super::estimate;

    #[test]
    fn estimates_grow_with_the_text() {
        assert_eq!(estimate(""), 0);
        assert_eq!(estimate("abc"), 1);
        assert_eq!(estimate("abcde"), 2);
        assert_eq!(estimate("日本"), 2);
        assert_eq!(estimate("aé"), 2);
    }
}
