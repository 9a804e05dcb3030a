//! The keys of a file with what becomes of each, and the doubts that are said.

use bitnet_gguf::keys::Fate;
use bitnet_gguf::{Gguf, Shown};

use super::KeyAccount;
use crate::config::Config;

/// Doubts that are said in full.
const DOUBTS: usize = 20;

/// What becomes of every key of a file, in the order of the file; behind them, keys that it should
/// have and lacks. The tokenizer's are those of the
/// tokenizer inside.
pub fn account(gguf: &Gguf) -> Vec<KeyAccount> {
    Config::accounted(gguf).0
}

/// What is doubtful about a model that runs: keys that are not known, or not done in full. The
/// tokenizer has [warnings](bitnet_tokenizers::Tokenizer::warnings) of its own.
pub fn doubts(gguf: &Gguf) -> Vec<String> {
    let mut accounts = account(gguf);
    accounts.retain(|account| !account.key.starts_with(bitnet_tokenizers::keys::PREFIX));
    let mut doubts = accounts
        .into_iter()
        .filter_map(|account| match account.fate {
            Fate::Doubtful(doubt) => Some((account.key, doubt)),
            _ => None,
        });
    let mut said: Vec<String> = doubts
        .by_ref()
        .take(DOUBTS)
        .map(|(_, doubt)| doubt)
        .collect();
    if let Some((key, _)) = doubts.next() {
        let more = doubts.count();
        said.push(format!(
            "metadata `{}` and {more} more are doubtful too",
            Shown(&key)
        ));
    }
    said
}
