//! [`TokenizerAuthority`]: which tokenizer made the tokens of a run, told so that
//! another run can be held against it.

use std::io::{self, BufWriter};
use std::path::Path;

use bitnet_files::{Hasher, hash_file};
use serde::ser::{SerializeSeq, Serializer};
use serde::{Deserialize, Serialize};

use crate::Tokenizer;
use crate::discovery::TokenizerSource;

/// Which tokenizer made the tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenizerAuthority {
    /// `gguf_embedded`, `external`, `auto_discovered`, or `token_ids` when ids were given by hand.
    pub source: String,
    /// The file that holds the tokenizer.
    pub path: String,
    /// SHA-256 of that file, when it is a file of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_hash: Option<String>,
    /// SHA-256 of what the tokenizer does: see [`Tokenizer::config_hash`].
    pub config_hash: String,
    /// Tokens of the prompt.
    pub token_count: usize,
}

/// Two runs did not read their prompt alike.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityMismatch {
    /// Other vocabularies.
    #[error("tokenizer config mismatch: lane A hash={a}, lane B hash={b}")]
    Config {
        /// The hash of the one.
        a: String,
        /// The hash of the other.
        b: String,
    },
    /// The same vocabulary, but another number of tokens.
    #[error("token count mismatch: lane A={a}, lane B={b}")]
    Count {
        /// The tokens of the one.
        a: usize,
        /// The tokens of the other.
        b: usize,
    },
}

impl TokenizerAuthority {
    /// For a tokenizer that discovery found for `model`, and a prompt of `token_count` tokens.
    ///
    /// # Errors
    /// The tokenizer's file cannot be read.
    pub fn of(
        tokenizer: &Tokenizer,
        source: &TokenizerSource,
        model: &Path,
        token_count: usize,
    ) -> io::Result<Self> {
        Ok(Self {
            source: source.name().to_owned(),
            path: source.path().unwrap_or(model).display().to_string(),
            file_hash: source.path().map(file_hash).transpose()?,
            config_hash: tokenizer.config_hash(),
            token_count,
        })
    }

    /// Whether the tokenizers of two runs are the same in effect.
    ///
    /// # Errors
    /// What differs, with both values.
    pub fn agrees_with(&self, other: &Self) -> Result<(), AuthorityMismatch> {
        if self.config_hash != other.config_hash {
            return Err(AuthorityMismatch::Config {
                a: self.config_hash.clone(),
                b: other.config_hash.clone(),
            });
        }
        if self.token_count != other.token_count {
            return Err(AuthorityMismatch::Count {
                a: self.token_count,
                b: other.token_count,
            });
        }
        Ok(())
    }
}

impl Tokenizer {
    /// SHA-256, in lower-case hex, of the vocabulary as canonical JSON: an array with an entry for
    /// every id, which is the hex of the bytes that the token adds to a text, or `{"special":
    /// TEXT}`. The same for a GGUF file and the `tokenizer.json` it was made of, whatever their
    /// layout.
    pub fn config_hash(&self) -> String {
        let mut out = BufWriter::new(Hasher::default());
        let mut json = serde_json::Serializer::new(&mut out);
        let written = (|| {
            let mut vocabulary = json.serialize_seq(Some(self.vocab_size()))?;
            for id in 0..self.vocab_size() as u32 {
                match self.token_bytes(id) {
                    [] => vocabulary.serialize_element(&Special {
                        special: self.token_text(id).unwrap_or_default(),
                    })?,
                    bytes => vocabulary.serialize_element(&hex(bytes))?,
                }
            }
            SerializeSeq::end(vocabulary)
        })();
        written.expect("strings are JSON and a hash takes all bytes");
        let hashing = out.into_inner().map_err(|error| error.into_error());
        hashing
            .expect("a hash takes all bytes")
            .digest()
            .to_string()
    }
}

/// A token that adds nothing to a text.
#[derive(Serialize)]
struct Special<'a> {
    special: &'a str,
}

fn file_hash(path: &Path) -> io::Result<String> {
    Ok(hash_file(path, || false)?.to_string())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a string takes all text");
            text
        })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{AuthorityMismatch, TokenizerAuthority};
    use crate::Tokenizer;
    use crate::discovery::TokenizerSource;

    fn file(folder: &Path, name: &str, vocabulary: &str, space: &str) -> std::path::PathBuf {
        let path = folder.join(name);
        let json = format!(
            r#"{{"version":"1.0",{space}"truncation":null,"padding":null,"normalizer":null,"pre_tokenizer":null,
            "post_processor":null,"decoder":{{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":false,
            "use_regex":false}},"added_tokens":[{{"id":2,"content":"<|e|>","single_word":false,"lstrip":false,
            "rstrip":false,"normalized":false,"special":true}}],
            "model":{{"type":"BPE","vocab":{vocabulary},"merges":[]}}}}"#
        );
        std::fs::write(&path, json).expect("written");
        path
    }

    fn authority(path: &Path) -> TokenizerAuthority {
        let tokenizer = Tokenizer::from_file(path).expect("a tokenizer");
        let source = TokenizerSource::Sibling(path.to_owned());
        TokenizerAuthority::of(&tokenizer, &source, Path::new("model.gguf"), 5).expect("readable")
    }

    #[test]
    fn the_layout_of_a_file_changes_its_hash_but_not_what_the_tokenizer_does() {
        let folder = tempfile::tempdir().expect("a folder");
        let one = authority(&file(folder.path(), "a", r#"{"a":0,"b":1,"<|e|>":2}"#, ""));
        let same = authority(&file(
            folder.path(),
            "b",
            r#"{"b":1,"a":0,"<|e|>":2}"#,
            "\n",
        ));
        assert_eq!(one.source, "auto_discovered");
        assert_eq!(one.config_hash.len(), 64);
        assert_ne!(one.file_hash, same.file_hash);
        assert_eq!(one.config_hash, same.config_hash);
        assert_eq!(one.agrees_with(&same), Ok(()));

        let other = authority(&file(folder.path(), "c", r#"{"b":0,"a":1,"<|e|>":2}"#, ""));
        assert!(matches!(
            one.agrees_with(&other),
            Err(AuthorityMismatch::Config { .. })
        ));
        let longer = TokenizerAuthority {
            token_count: 6,
            ..one.clone()
        };
        assert_eq!(
            one.agrees_with(&longer),
            Err(AuthorityMismatch::Count { a: 5, b: 6 })
        );
    }

    #[test]
    fn a_tokenizer_inside_the_model_has_the_path_of_the_model_and_no_file_hash() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = file(folder.path(), "a", r#"{"a":0,"b":1,"<|e|>":2}"#, "");
        let tokenizer = Tokenizer::from_file(&path).expect("a tokenizer");
        let embedded = TokenizerAuthority::of(
            &tokenizer,
            &TokenizerSource::Embedded,
            Path::new("model.gguf"),
            1,
        )
        .expect("nothing to read");
        assert_eq!(
            (
                embedded.source.as_str(),
                embedded.path.as_str(),
                embedded.file_hash
            ),
            ("gguf_embedded", "model.gguf", None)
        );
    }
}
