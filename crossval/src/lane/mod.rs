//! The reference lanes: which there are, where they lie, how to talk to one.
//!
//! A lane runs in a process of its own. Whatever happens in there, a crash, a
//! hang, a wrong version, is an error of that lane only.

mod client;
mod home;
mod reference;

pub use client::{Client, LaneFailure, Limits};
pub use home::{CACHE_VARIABLE, Home, Installed, Manifest};
pub use reference::Lane;
