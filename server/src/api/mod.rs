//! The APIs, each a translation in a file of its own: from its requests to an [`Ask`], and from
//! what is said to its responses.
//!
//! [`Ask`]: crate::ask::Ask

pub(crate) mod chat;
pub(crate) mod completions;
mod constraint;
mod conversation;
pub(crate) mod messages;
pub(crate) mod models;
pub(crate) mod responses;
pub(crate) mod status;
pub(crate) mod text;
mod tokens;
mod tools;
