//! An HTTP server that speaks OpenAI's API for one model, and whose answers do not depend on its
//! load.
//!
//! [`listen`] begins, and [`Listening`] runs it once the model is loaded: many requests side by
//! side on one [`Scheduler`], each with the bits that it has alone. What it understands of each API
//! is one table, [`APIS`].
//!
//! [`Scheduler`]: bitnet_engine::scheduler::Scheduler

mod answers;
mod api;
mod ask;
mod call_ids;
mod connections;
mod dialect;
mod error;
mod fields;
mod fingerprint;
mod finish;
mod gate;
mod guard;
mod keys;
mod metrics;
mod options;
mod page;
mod serve;
mod settings;
mod state;
mod stream;
mod support;
mod worker;

pub use error::ServerError;
pub use keys::Keys;
pub use options::ServerOptions;
pub use serve::{Listening, listen};
pub use support::{APIS, Api, Field, Status};
