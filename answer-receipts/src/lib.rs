//! Answer receipts: what an answer was made of, written down, and whether it can be made again.
//!
//! [`Begun`] is a receipt whose answer is still to come, [`AnswerReceipt`] one that is whole, and
//! [`repeat`] makes the answer again and says where it differs. What one holds is in
//! `docs/explanation/answer-receipts.md`.
//!
//! ```
//! use bitnet_answer_receipts::{Begun, repeat};
//! use bitnet_engine::{Device, Engine, GenerateOptions, LoadOptions};
//!
//! let options = LoadOptions::default().device(Device::Cpu);
//! let engine = Engine::open("../demo/demo.gguf", &options)?;
//! let prompt = engine.encode("ROMEO:\nWhat light")?;
//! let options = GenerateOptions::default().max_tokens(8).digests(true);
//! let begun = Begun::new(&engine, "demo", &prompt, &options, engine.context())?;
//! let mut generation = engine.generate(&prompt, &options)?;
//! while let Some(piece) = generation.next() {
//!     piece?;
//! }
//! let receipt = begun.end(generation.generated());
//! assert!(repeat(&receipt, &engine, None, || false)?.holds());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod begun;
mod read;
mod receipt;
mod repeat;

pub use begun::{BeginError, Begun};
pub use read::ReadError;
pub use receipt::{
    Answer, AnswerReceipt, CacheKind, ConstraintRecord, MarkRecord, ModelRecord, Parameters,
    Program, TemplateRecord, ThoughtRecord,
};
pub use repeat::{Difference, RepeatError, Repeated, repeat};
