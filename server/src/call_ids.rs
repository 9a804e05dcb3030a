//! [`CallIds`]: the ids of an answer's calls.

use bitnet_engine::EncodedPrompt;
use bitnet_files::Sha256Hex;

/// Ids for the calls of one answer, which its results refer to. They follow from the prompt, the
/// seed and the number of the call, as the answer does: a request that is repeated has the same,
/// and another turn of a conversation has others.
pub(crate) struct CallIds {
    of: String,
    made: usize,
}

impl CallIds {
    /// For the answer to `prompt` that is drawn with `seed`.
    pub(crate) fn new(prompt: &EncodedPrompt, seed: u64) -> CallIds {
        let tokens = prompt.tokens.iter().flat_map(|id| id.to_le_bytes());
        let bytes: Vec<u8> = tokens.chain(seed.to_le_bytes()).collect();
        CallIds {
            of: Sha256Hex::of(&bytes).to_string(),
            made: 0,
        }
    }

    /// How many there were.
    pub(crate) fn made(&self) -> usize {
        self.made
    }

    /// The next.
    pub(crate) fn next(&mut self) -> String {
        let id = Sha256Hex::of(format!("{} {}", self.of, self.made).as_bytes()).to_string();
        self.made += 1;
        format!("call_{}", &id[..24])
    }
}
