//! Many requests at once: continuous batching.
//!
//! A [`Scheduler`] is given [`Request`]s and makes one forward pass after another. Each pass takes
//! the next token of every sequence that is being continued, and a chunk of the prompts that are
//! still to be read. Requests join and leave between passes; one that is cancelled is gone by the
//! next.
//!
//! What a request gives is a function of the model, its prompt, its options and its seed alone. On
//! the CPU it is the same to the bit whatever runs beside it, however prompts are cut into chunks,
//! and as [`Engine::generate`](crate::Engine::generate) gives it.
//!
//! ```
//! use bitnet_engine::scheduler::{Event, Request, Scheduler, SchedulerOptions};
//! use bitnet_engine::{Engine, GenerateOptions, LoadOptions};
//!
//! let engine = Engine::open("../demo/demo.gguf", &LoadOptions::default())?;
//! let mut scheduler = Scheduler::new(&engine, SchedulerOptions::default());
//! let options = GenerateOptions::default().max_tokens(8);
//! for text in ["ROMEO:\nWhat light", "JULIET:\n"] {
//!     let prompt = engine.encode(text)?;
//!     scheduler.add(Request::new(&prompt, options.clone()))?;
//! }
//! let mut texts = Vec::new();
//! while !scheduler.is_idle() {
//!     scheduler.pass(|_, event| {
//!         if let Event::Ended(generated) = event {
//!             texts.push(generated.text);
//!         }
//!     });
//! }
//! assert!(texts.contains(&"s are this, that is not so".to_owned()));
//! # Ok::<(), bitnet_engine::Error>(())
//! ```

mod cache;
mod logprobs;
mod options;
mod passes;
mod request;
mod share;
mod store;

pub use crate::kept::problem::StoreProblem;
pub use logprobs::Logprobs;
pub use options::SchedulerOptions;
pub use passes::{Load, Scheduler};
pub use request::{Event, Request, RequestId};
pub use store::PrefixStore;
