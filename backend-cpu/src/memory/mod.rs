//! Memory that the threads of a pool fill together. `unsafe` code builds on its promises.

pub(crate) mod pages;
pub(crate) mod shared;
