//! Why an answer ended, in OpenAI's words.

use bitnet_engine::StopReason;

/// `stop` where the model ended it or a stop text did, `length` where it had no more room.
pub(crate) fn reason(reason: StopReason) -> &'static str {
    match reason {
        StopReason::MaxTokens | StopReason::ContextFull => "length",
        _ => "stop",
    }
}
