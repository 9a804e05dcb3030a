//! The pool of threads that runs a program, and who of them computes what.

pub(crate) mod pool;
pub(crate) mod tickets;
