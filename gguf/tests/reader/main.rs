//! The reader against files built by hand: what it reads, and what it refuses.

mod hostile;
mod metadata;
mod specimen;
mod touch;
