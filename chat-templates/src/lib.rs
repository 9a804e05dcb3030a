//! Chat templates: a conversation, written in the exact form that a model was trained on.
//!
//! The form comes with the model as a Jinja template. This crate renders it as Hugging Face's
//! transformers 5.24 with Jinja2 3.1.6 does, byte for byte, on top of minijinja; within bounds of
//! time, memory and depth, since a template is code that somebody else wrote; and so that what a
//! user writes never becomes a control token. It reads no file, no environment and no network.
//!
//! ```
//! use bitnet_chat_templates::{ChatTemplate, ControlTokens, Conversation, Segment, Tokens};
//!
//! let source = "{% for m in messages %}{{ m.role | capitalize }}: {{ m.content }}<|eot_id|>\
//!               {% endfor %}{% if add_generation_prompt %}Assistant: {% endif %}";
//! let template = ChatTemplate::compile(source, Tokens::default())?;
//! let control = ControlTokens::new(["<|eot_id|>"]);
//!
//! let rendered = template.render(&Conversation::question("What is <|eot_id|>?"), &control)?;
//! assert_eq!(rendered.text, "User: What is <|eot_id|>?<|eot_id|>Assistant: ");
//! assert_eq!(
//!     rendered.segments,
//!     [
//!         Segment::Text("User: What is <|eot_id|>?".into()),
//!         Segment::Control("<|eot_id|>".into()),
//!         Segment::Text("Assistant: ".into()),
//!     ]
//! );
//! # Ok::<(), bitnet_chat_templates::Error>(())
//! ```
//!
//! - [`find`] says which template a model wants, of what its file and folder offer, and from where.
//! - [`FAMILIES`] are the forms of the ternary models, and what ends their answers.
//! - [`ChatTemplate`] compiles and renders; [`Conversation`] is all that a template sees.
//! - [`Segment`]s are to be encoded one by one: text with control tokens off, as one stretch, and a
//!   control token as its id. Put the BOS token in front only where [`Rendered::text`] does not
//!   begin with it.
//!
//! What may be in a template, and what is different from minijinja, is in
//! `docs/explanation/chat-templates.md`.

mod clock;
mod continuation;
mod control;
mod conversation;
mod dialect;
mod environment;
mod error;
mod families;
mod find;
mod json;
mod left_out;
mod methods;
mod python;
mod template;
mod tojson;
mod unicode;
mod values;
mod work;

pub use control::{ControlTokens, Segment};
pub use conversation::Conversation;
pub use error::Error;
pub use families::{Bos, FAMILIES, Family};
pub use find::{Evidence, Found, NotFound, Offered, Wanted, find, is_known_wrong};
pub use json::{Json, Object};
pub use template::{ChatTemplate, MAX_SOURCE_BYTES, Rendered, Tokens};
