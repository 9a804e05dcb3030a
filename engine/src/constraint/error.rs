//! [`GrammarError`]: what is wrong with a grammar.

/// What is wrong with a grammar.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrammarError {
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// It is too long.
    #[error("it has {bytes} bytes; {most} are allowed")]
    Long {
        /// Its bytes.
        bytes: usize,
        /// Most bytes.
        most: usize,
    },
    /// Its parts stand too deep within each other.
    #[error("its parts stand more than {most} deep within each other")]
    Deep {
        /// Most.
        most: usize,
    },
    /// What should be a JSON schema is something else.
    #[error("{at}: a schema is an object, true or false, and this is {found}")]
    Schema {
        /// Where, as a JSON pointer behind `#`.
        at: String,
        /// What it is.
        found: &'static str,
    },
    /// A keyword of a JSON schema that no answer can be held to.
    #[error("{at}: the keyword `{keyword}` is not supported")]
    Keyword {
        /// In which schema, as a JSON pointer behind `#`.
        at: String,
        /// The keyword.
        keyword: String,
    },
    /// A grammar in llama.cpp's syntax is not written as one.
    #[error("{0}")]
    Gbnf(String),
    /// It is wrong, or beyond what llguidance does: in its words.
    #[error("{0}")]
    Refused(String),
}
