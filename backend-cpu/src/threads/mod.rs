//! The pool of threads that runs a program, how many of them, where they run, and who of them
//! computes what.

pub(crate) mod affinity;
pub(crate) mod pool;
pub(crate) mod team;
pub(crate) mod tickets;
mod topology;
