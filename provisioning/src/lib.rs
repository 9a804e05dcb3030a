//! Models on this machine: which there are, where they are kept, and how they come here.
//!
//! [`ModelDiscovery`] looks for a model to run, [`ModelCache`] says where verified models are kept.
//! With the feature `download`, [`lockfile`] names the models that validation uses, and
//! [`download`] brings files from the Hugging Face hub, a mirror or a folder, whole or not at all.
//!
//! Nothing here reads environment variables: programs do, and pass what they found.

mod cache;
mod discovery;
#[cfg(feature = "download")]
pub mod download;
mod known_model;
mod lock;
#[cfg(feature = "download")]
pub mod lockfile;

pub use cache::{CACHE_DIR_VARIABLE, ModelCache};
pub use discovery::{ModelDiscovery, ModelNotFound, ModelSource};
pub use known_model::{DEFAULT_MODEL, KnownModel};
pub use lock::{Lock, LockError};
