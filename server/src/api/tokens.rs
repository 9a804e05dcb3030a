//! Tokens as responses show them.

use std::borrow::Cow;

use bitnet_engine::Tokenizer;
use serde_json::{Value, json};

use crate::answers::Token;
use crate::state::Shared;

/// Most tokens of `top_logprobs`.
pub(crate) const MOST_LOGPROBS: i128 = 20;

/// The text of a token, with a sign in place of what is no UTF-8 alone.
pub(crate) fn text(tokenizer: &Tokenizer, id: u32) -> Cow<'_, str> {
    match tokenizer.token_bytes(id) {
        [] => tokenizer.token_text(id).unwrap_or_default().into(),
        bytes => String::from_utf8_lossy(bytes),
    }
}

/// A token with its logprobs, where there are any, as chats and responses show it.
pub(crate) fn logprobs(server: &Shared, token: Option<&Token>) -> Option<Value> {
    let token = token?;
    let logprobs = token.logprobs.as_ref()?;
    let tokenizer = server.engine.tokenizer();
    let one = |id: u32, logprob: f64| {
        json!({
            "token": text(tokenizer, id),
            "bytes": tokenizer.token_bytes(id),
            "logprob": logprob,
        })
    };
    let mut value = one(token.id, logprobs.chosen);
    let best = logprobs.best.iter();
    value["top_logprobs"] = best.map(|(id, logprob)| one(*id, *logprob)).collect();
    Some(value)
}
