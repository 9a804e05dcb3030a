//! How a model wants to be talked to: which template is asked for, and which one it is.

mod choice;
mod resolved;

pub use choice::TemplateChoice;
pub use resolved::Template;
