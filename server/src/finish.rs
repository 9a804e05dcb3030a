//! Why an answer ended, in OpenAI's words.

use bitnet_engine::StopReason;

use crate::answers::Reason;

/// `stop` where the model ended it or a stop text did, `length` where it had no more room.
pub(crate) fn reason(reason: StopReason) -> &'static str {
    match reason {
        StopReason::MaxTokens | StopReason::ContextFull => "length",
        _ => "stop",
    }
}

/// The same of a chat, where an answer may have ended to call tools.
pub(crate) fn of_chat(ended: &Reason) -> &'static str {
    match (reason(ended.stop), ended.called) {
        ("stop", true) => "tool_calls",
        (reason, _) => reason,
    }
}
