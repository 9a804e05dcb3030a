//! Subcommands, one file each: an `Args` and a function that runs it and returns the exit code.

pub(crate) mod bench;
pub(crate) mod chat;
pub(crate) mod compare;
pub(crate) mod compat_check;
pub(crate) mod devices;
pub(crate) mod inspect;
pub(crate) mod logits;
pub(crate) mod models;
pub(crate) mod pipe;
pub(crate) mod price;
pub(crate) mod run;
pub(crate) mod template;
pub(crate) mod tokens;
