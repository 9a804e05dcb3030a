//! Whatever the `tokenizers` crate runs: the model of a `tokenizer.json`.

use std::sync::OnceLock;

use tokenizers::Tokenizer as Inner;

use crate::Error;
use crate::guard::guarded;

/// A tokenizer of the `tokenizers` crate, once for each way of reading special tokens.
pub(crate) struct HuggingFace {
    as_text: Inner,
    parsed: OnceLock<Inner>,
}

impl HuggingFace {
    pub(crate) fn new(mut inner: Inner) -> HuggingFace {
        inner.set_encode_special_tokens(true);
        HuggingFace {
            as_text: inner,
            parsed: OnceLock::new(),
        }
    }

    /// The ids of a text; with `parse`, special tokens in it are the tokens.
    pub(crate) fn encode(&self, text: &str, parse: bool) -> Result<Vec<u32>, Error> {
        let inner = if parse {
            self.parsed.get_or_init(|| {
                let mut inner = self.as_text.clone();
                inner.set_encode_special_tokens(false);
                inner
            })
        } else {
            &self.as_text
        };
        // Encoding changes nothing in `inner` but a cache, which a panic leaves whole.
        let encoding = guarded(|| inner.encode_fast(text, false)).map_err(Error::Encode)?;
        let encoding = encoding.map_err(|error| Error::Encode(error.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }
}
