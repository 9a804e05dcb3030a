//! Constraints: what an answer may be, as a grammar.
//!
//! A [`Grammar`] says it: a JSON schema, a regular expression, a list of texts, a grammar in Lark's
//! syntax or llama.cpp's. [`Encoder::constraint`](crate::Encoder::constraint) prepares it for a
//! vocabulary, and [`GenerateOptions::constraint`](crate::GenerateOptions::constraint) holds
//! answers to it. Which tokens may come next is known before the logits are: only these are chosen
//! from, by the model's own logits. Tokens that the grammar leaves no choice about are not chosen,
//! but read together.
//!
//! ```
//! use bitnet_engine::{Engine, GenerateOptions, Grammar, LoadOptions};
//!
//! let engine = Engine::open("../demo/demo.gguf", &LoadOptions::default())?;
//! let grammar = Grammar::Choice(vec!["yea".to_owned(), "nay".to_owned()]);
//! let constraint = engine.encoder().constraint(&grammar)?;
//! let options = GenerateOptions::default().constraint(constraint);
//! let answer: Result<String, _> = engine
//!     .generate("ROMEO: Is it so?\nJULIET: ", &options)?
//!     .map(|piece| Ok::<_, bitnet_engine::Error>(piece?.text.to_string()))
//!     .collect();
//! assert!(["yea", "nay"].contains(&&answer?[..]));
//! # Ok::<(), bitnet_engine::Error>(())
//! ```

mod error;
mod gbnf;
mod grammar;
mod guide;
mod limits;
mod recipe;
mod schema;
mod vocabulary;

pub use error::GrammarError;
pub use grammar::Grammar;
pub(crate) use grammar::literal;
pub use guide::Constraint;
pub(crate) use guide::Guide;
pub use recipe::{Mark, Recipe, Thought};
pub(crate) use schema::prepared as schema;
pub(crate) use vocabulary::Vocabulary;
