//! The vocabulary of compute.
//!
//! What a model computes is written down here once: the weight [formats](mod@format), the fused
//! operations of a forward pass ([`program`]), the traits of a [`backend`] that runs them, the
//! order of every float reduction ([`order`]) and a plain scalar implementation of each operation,
//! the [`oracle`] that judges all others. What a pass must read and multiply is counted here too
//! ([`Cost`]). No instruction set, no shader and no model is named in this crate.

pub mod backend;
pub mod batch;
pub mod candidate;
pub mod compare;
pub mod contents;
pub mod error;
pub mod format;
pub mod oracle;
pub mod order;
pub mod program;
pub mod recorder;
pub mod report;
pub mod screen;
pub mod source;
pub mod split;
pub mod token_set;
#[cfg(feature = "wgsl")]
pub mod wgsl;

pub use backend::{Backend, CachePart, Forward, Inspect, SharedCaches, Telemetry};
pub use batch::{Batch, CacheId, Choice, Output, Segment, Want};
pub use candidate::Candidate;
pub use contents::{Checkpoint, LayerContents};
pub use error::BackendError;
pub use format::Format;
pub use program::{BufferId, Cost, Op, Program, WeightId, Work};
pub use recorder::KernelRecorder;
pub use report::{Coordination, Limits, Profile, Screening};
pub use screen::{KeepsScreen, ScreenForm, ScreenParts};
pub use source::{SharedWeights, WeightSource};
pub use token_set::TokenSet;
