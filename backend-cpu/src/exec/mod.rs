//! The executor: a program with its weights, buffers and caches, walked by a team of threads.

#[cfg(test)]
mod alone;
pub(crate) mod attention;
pub(crate) mod buffers;
mod by_columns;
mod by_keys;
pub(crate) mod cache;
pub(crate) mod clock;
pub(crate) mod columns;
mod delta;
mod experts;
pub(crate) mod gated;
mod groups;
pub(crate) mod heads;
pub(crate) mod pass;
mod pieces;
mod product;
pub(crate) mod rotation;
mod run;
pub(crate) mod scratch;
pub(crate) mod weights;
