//! Tools: functions that a model may call, and its calls, read back from what it writes.
//!
//! [`Tools`] is what a request allows. A model is told of them by its template
//! ([`Conversation::tools`](crate::Conversation)), and writes its calls in a [`CallForm`] of its
//! own, which its template tells. [`Calls`] divides what it writes into text and calls, as it
//! comes.

mod body;
mod calls;
mod definition;
mod form;
pub(crate) mod grammar;
mod python;

pub use calls::{Calls, Part};
pub use definition::{CallPart, Tool, ToolCall, ToolChoice, Tools};
pub use form::CallForm;
