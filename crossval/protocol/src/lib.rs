//! The protocol between the parity harness and a reference lane.
//!
//! A lane is a program that wraps one C++ reference. The harness writes one
//! JSON [`Request`] per line to its standard input; the lane answers each with
//! one JSON [`Response`] line on its standard output. A response whose
//! `floats` field is not zero is followed by exactly that many little-endian
//! `f32` values, so logits travel to the bit.
//!
//! This crate holds the messages ([`message`]), their framing ([`frame`]) and
//! the loop that a lane runs ([`serve()`]). It knows no reference and computes
//! nothing but the argmax of a greedy continuation.

pub mod frame;
pub mod message;
pub mod serve;

pub use message::{
    Attention, ErrorKind, EvaluateRequest, Evaluation, Feed, Hello, KvType, LaneError, LoadRequest,
    ModelInfo, Reply, Request, Response, TokenizeRequest,
};
pub use serve::{Reference, ReferenceModel, Step, serve};

/// The version of the protocol that this crate speaks. Both sides must agree.
pub const PROTOCOL_VERSION: u32 = 1;
