//! Reading a receipt, whatever it is.

use std::io::{self, Read};
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::receipt::{AnswerReceipt, KIND, SCHEMA_VERSION};

/// Most bytes of a receipt: many times what a model's whole context takes.
const MOST: u64 = 64 << 20;

/// Why something is no answer receipt.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be read.
    #[error("it cannot be read")]
    Io(#[from] io::Error),
    /// It is larger than any.
    #[error("it has more than {MOST} bytes, as no answer receipt has")]
    Large,
    /// It is of another kind.
    #[error(
        "it is no answer receipt: its `kind` is {0}, not \"answer\"; `cargo xtask verify-receipt` reads those of parity"
    )]
    Kind(Value),
    /// It is from another time.
    #[error(
        "its `schema_version` is {0}; this program reads {SCHEMA_VERSION}, another version of it may read that one"
    )]
    Version(Value),
    /// It is no JSON, or has other fields than an answer receipt.
    #[error("it is no answer receipt: {0}")]
    Form(serde_json::Error),
}

/// What tells of what kind something is.
#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    kind: Value,
    #[serde(default)]
    schema_version: Value,
}

impl AnswerReceipt {
    /// Reads a file.
    ///
    /// # Errors
    /// As [`ReadError`] says.
    pub fn read(path: &Path) -> Result<AnswerReceipt, ReadError> {
        let mut bytes = Vec::new();
        let file = bitnet_files::open(path)?;
        file.take(MOST + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MOST {
            return Err(ReadError::Large);
        }
        AnswerReceipt::parse(&bytes)
    }

    /// Reads JSON.
    ///
    /// # Errors
    /// As [`ReadError`] says.
    pub fn parse(json: &[u8]) -> Result<AnswerReceipt, ReadError> {
        let head: Head = serde_json::from_slice(json).map_err(ReadError::Form)?;
        if head.kind != KIND {
            return Err(ReadError::Kind(head.kind));
        }
        if head.schema_version != SCHEMA_VERSION {
            return Err(ReadError::Version(head.schema_version));
        }
        serde_json::from_slice(json).map_err(ReadError::Form)
    }
}
