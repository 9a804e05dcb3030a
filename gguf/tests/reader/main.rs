//! The reader against files built by hand: what it reads, and what it refuses.

mod hostile;
mod metadata;
mod q2_0;
mod specimen;
mod touch;
