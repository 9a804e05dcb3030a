//! What is kept in files for other processes, beside the model: how their folders are looked
//! through, what can be wrong with them, and screens of output heads. What sequences have read is
//! kept by `scheduler::store`.

pub(crate) mod folder;
pub(crate) mod problem;
mod screen_file;
pub(crate) mod screens;
