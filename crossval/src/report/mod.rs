//! Receipts for people and programs: a summary in lines or as JSON, and a page with drawings.

mod html;
mod summary;

pub use html::html;
pub use summary::{LaneResult, Metric, Summary};
