//! The model graphs that this engine builds: a table with a row for each.
//!
//! A row says in which parts an architecture departs from the others; [`crate::plan`] reads it and
//! writes the graph. Sizes are not here: they are the file's ([`crate::config`]).

mod row;
mod table;

pub use row::{Architecture, HeadNorms, Layer, Mixer};

impl Architecture {
    /// The architecture that files call by this name in `general.architecture`.
    pub fn named(name: &str) -> Option<&'static Architecture> {
        let mut rows = table::TABLE.iter();
        rows.find(|row| row.names.contains(&name))
    }

    /// All names that have a graph.
    pub fn names() -> impl Iterator<Item = &'static str> {
        table::TABLE.iter().flat_map(|row| row.names).copied()
    }
}
