//! Tokens as responses show them.

use std::borrow::Cow;

use bitnet_engine::Tokenizer;
use bitnet_engine::scheduler::Logprobs;
use serde_json::{Value, json};

/// The text of a token, with a sign in place of what is no UTF-8 alone.
pub(crate) fn text(tokenizer: &Tokenizer, id: u32) -> Cow<'_, str> {
    match tokenizer.token_bytes(id) {
        [] => tokenizer.token_text(id).unwrap_or_default().into(),
        bytes => String::from_utf8_lossy(bytes),
    }
}

/// A token with its logprobs, as chats show it.
pub(crate) fn logprobs(tokenizer: &Tokenizer, id: u32, logprobs: &Logprobs) -> Value {
    let one = |id: u32, logprob: f64| {
        json!({
            "token": text(tokenizer, id),
            "bytes": tokenizer.token_bytes(id),
            "logprob": logprob,
        })
    };
    let mut value = one(id, logprobs.chosen);
    let best = logprobs.best.iter();
    value["top_logprobs"] = best.map(|(id, logprob)| one(*id, *logprob)).collect();
    value
}
