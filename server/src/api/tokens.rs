//! Tokens as responses show them.

use std::borrow::Cow;

use bitnet_engine::Tokenizer;
use bitnet_engine::scheduler::Logprobs;
use serde_json::{Value, json};

use crate::answers::Token;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::state::Shared;

/// Most tokens of `top_logprobs`, `logprobs` and `prompt_logprobs`.
pub(crate) const MOST_LOGPROBS: i128 = 20;

/// How many of the most probable tokens `prompt_logprobs` asks for, of an answer that is not
/// streamed.
pub(crate) fn prompt_logprobs(fields: &Fields, stream: bool) -> Result<Option<usize>, ApiError> {
    const FIELD: &str = "prompt_logprobs";
    let best = fields.whole(FIELD, 0..=MOST_LOGPROBS)?;
    if best.is_some() && stream {
        let message = format!("`{FIELD}` cannot be streamed; `echo` with `logprobs` can.");
        return Err(ApiError::field(FIELD, message));
    }
    Ok(best.map(|best| best as usize))
}

/// Logprobs of a prompt as vLLM shows them: nothing of its first token, and of each other one an
/// object by ids, with the tokens that would have been more probable.
pub(crate) fn of_prompt(server: &Shared, prompt: &[u32], logprobs: &[Logprobs]) -> Value {
    let tokenizer = server.engine.tokenizer();
    let one = |id: u32, logprob: f64, rank: usize| {
        let told = json!({
            "logprob": logprob,
            "rank": rank,
            "decoded_token": text(tokenizer, id),
        });
        (id.to_string(), told)
    };
    let of_token = |(id, found): (&u32, &Logprobs)| {
        let best = found.best.iter().zip(1..);
        let best = best.map(|((id, logprob), rank)| one(*id, *logprob, rank));
        let own = one(*id, found.chosen, found.rank);
        Value::Object(std::iter::once(own).chain(best).collect())
    };
    let rest = prompt.iter().skip(1).zip(logprobs);
    std::iter::once(Value::Null)
        .chain(rest.map(of_token))
        .collect()
}

/// The text of a token, with a sign in place of what is no UTF-8 alone.
pub(crate) fn text(tokenizer: &Tokenizer, id: u32) -> Cow<'_, str> {
    match tokenizer.token_bytes(id) {
        [] => tokenizer.token_text(id).unwrap_or_default().into(),
        bytes => String::from_utf8_lossy(bytes),
    }
}

/// Characters that begin in a token.
pub(crate) fn characters(tokenizer: &Tokenizer, id: u32) -> usize {
    let bytes = tokenizer.token_bytes(id).iter();
    bytes.filter(|byte| **byte & 0xc0 != 0x80).count()
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
