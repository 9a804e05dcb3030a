//! Whether a file is the LLaMA-3 tokenizer.

use std::collections::HashMap;
use std::path::Path;

/// Tokens of the LLaMA-3 vocabulary, special ones included.
pub const LLAMA3_TOKENS: usize = 128_256;

#[derive(serde::Deserialize)]
struct File {
    model: Model,
    #[serde(default)]
    added_tokens: Vec<Added>,
}
#[derive(serde::Deserialize)]
struct Model {
    vocab: HashMap<String, u32>,
    #[expect(dead_code, reason = "must be there")]
    merges: Vec<serde::de::IgnoredAny>,
}
#[derive(serde::Deserialize)]
struct Added {
    id: u32,
}

/// The number of tokens.
///
/// # Errors
/// What is wrong.
pub fn check(path: &Path) -> Result<usize, String> {
    let text =
        std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let file: File =
        serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut ids: Vec<u32> = file
        .model
        .vocab
        .into_values()
        .chain(file.added_tokens.iter().map(|t| t.id))
        .collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.len() == LLAMA3_TOKENS {
        Ok(ids.len())
    } else {
        Err(format!(
            "{}: expected {LLAMA3_TOKENS} tokens, found {}",
            path.display(),
            ids.len()
        ))
    }
}
