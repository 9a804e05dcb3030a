//! Ternary (1.58-bit) language models: GGUF in, text out. The same bits on every CPU, with any
//! number of threads.
//!
//! [`Engine::open`] opens a model file; [`Engine::generate`] continues a prompt, and
//! [`Engine::chat`] holds a conversation. Both are iterators over pieces of text: print them as
//! they come, drop the iterator to stop.
//!
//! A program names a checkout in its `Cargo.toml`:
//!
//! ```toml
//! [dependencies]
//! bitnet-engine = { path = "../bitnet/engine" }
//! ```
//!
//! This is all of its `main.rs`. The demo model is `demo/demo.gguf` in the checkout: copy the
//! folder `demo` beside the program's, or write the path from where the program is run.
//!
//! ```
//! use std::io::Write;
//!
//! use bitnet_engine::{
//!     ChatOptions, Engine, GenerateOptions, LoadOptions, Sampling, TemplateChoice,
//! };
//!
//! fn main() -> Result<(), bitnet_engine::Error> {
//!     let engine = Engine::open("../demo/demo.gguf", &LoadOptions::default())?;
//!
//!     let sampling = Sampling::default().temperature(0.8).seed(7);
//!     let options = GenerateOptions::default().max_tokens(24).sampling(sampling);
//!     for piece in engine.generate("Once upon a time", &options)? {
//!         print!("{}", piece?.text);
//!         std::io::stdout().flush().ok();
//!     }
//!
//!     // The demo model brings no template of its own; others do, and need not be told.
//!     let chat = ChatOptions::default().template(TemplateChoice::Instruct);
//!     let mut chat = engine.chat(chat.answers(options))?;
//!     for question in ["Why is the sky blue?", "And at night?"] {
//!         for piece in chat.say(question)? {
//!             print!("{}", piece?.text);
//!         }
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # What can be set
//!
//! - [`LoadOptions`]: device, threads, instruction set, type of the caches, size of batches, the
//!   tokenizer's file, a folder in which the screen of the output head is kept, and a closure that
//!   is told of progress.
//! - [`GenerateOptions`]: how many tokens, texts at which to stop, and how tokens are chosen: in
//!   numbers ([`Sampling`]), or by a chain with stages of one's own ([`sampler`]).
//! - [`Prompt`]: how a text is put to the model. A plain text is continued as it is; a
//!   [`Conversation`] is written by the model's own template, and nothing in it can become a
//!   control token.
//! - [`ChatOptions`]: the template, what is said before the first turn, the context, and what is
//!   done when it is full.
//!
//! # Below text
//!
//! [`Engine::model`] (or [`Model::load`], for a file without a tokenizer) reads token ids and gives
//! logits. A [`Session`] is one sequence with a cache of its own, given back when it is dropped:
//! [`Session::feed`] reads tokens, [`Session::feed_all`] gives the logits behind each, and
//! [`Model::step`] reads one token for each of several sequences in one pass.
//!
//! ```
//! use bitnet_engine::{Engine, LoadOptions, Output, Want};
//!
//! let engine = Engine::open("../demo/demo.gguf", &LoadOptions::default())?;
//! let mut sessions = [engine.model().session(8)?, engine.model().session(8)?];
//! let mut out = Output::default();
//! engine.model().step(&mut sessions, &[859, 462], Want::Top(1), &mut out)?;
//! assert_eq!(out.top.len(), 2);
//! # Ok::<(), bitnet_engine::Error>(())
//! ```
//!
//! A [`scheduler`] runs many requests at once, whose sequences join and leave between passes.
//!
//! [`tools`] are functions that a model may call; its calls are read back from what it writes.
//!
//! # Errors
//!
//! Every [`Error`] says what happened. Nothing here reads an environment variable, prints, or
//! touches the network.

mod ahead;
pub mod architecture;
mod chat;
mod compare;
pub mod config;
mod constraint;
mod conversation;
mod decoding;
pub mod device;
mod encoder;
mod engine;
mod error;
mod generate_options;
mod generated;
mod generation;
mod history;
mod identity;
mod kept;
mod loaded;
pub mod measure;
pub mod metadata;
mod model;
mod options;
mod pages;
mod placement;
pub mod plan;
mod prompt;
mod rows;
pub mod sampler;
pub mod scheduler;
mod sequence;
mod session;
mod speculation;
mod stop;
mod template;
mod thoughts;
pub mod tools;

pub use bitnet_backend_cpu as cpu;
#[cfg(feature = "gpu")]
pub use bitnet_backend_wgpu as gpu;
pub use bitnet_chat_templates as chat_templates;
pub use bitnet_gguf as gguf;
pub use bitnet_kernels as kernels;
pub use bitnet_tokenizers as tokenizers;

pub use architecture::Architecture;
pub use bitnet_backend_cpu::{Isa, IsaError, Numa};
pub use bitnet_chat_templates::Conversation;
pub use bitnet_kernels::program::CacheType;
pub use bitnet_kernels::{Candidate, KernelRecorder, Output, Want};
pub use bitnet_tokenizers::Tokenizer;
pub use chat::{Answer, Chat, ChatOptions, OnFull};
pub use compare::{Comparison, compare};
pub use config::Config;
pub use constraint::{Constraint, Grammar, GrammarError, Mark, Recipe, Thought};
pub use conversation::{EncodedConversation, ModelTemplate};
pub use device::Device;
pub use encoder::Encoder;
pub use engine::{Engine, check_vocabulary};
pub use error::{Error, Problem};
pub use generate_options::{GenerateOptions, Parameters};
pub use generated::{Generated, Piece, StopReason};
pub use generation::Generation;
pub use identity::Identity;
pub use kept::problem::StoreProblem;
pub use kept::screens::ScreenCache;
pub use model::Model;
pub use options::LoadOptions;
pub use prompt::{EncodedPrompt, Prompt};
pub use sampler::{SampleStage, Sampler, Sampling};
pub use session::Session;
pub use template::{Template, TemplateChoice};
pub use thoughts::{Stretch, Thinking};
