//! How a model wants to be talked to: which template is asked for, and which one it is.

mod choice;
mod left_out;
mod resolved;

pub use choice::TemplateChoice;
pub(crate) use left_out::left_out;
pub use resolved::Template;
