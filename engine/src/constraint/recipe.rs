//! [`Recipe`]: what a constraint is made of, to be written down.

use super::grammar::Grammar;

/// What a constraint is made of: all that is needed to make it again.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// What the answer is held to.
    pub grammar: Grammar,
    /// The thought before it that is left free, if there may be one.
    pub thought: Option<Thought>,
    /// What the grammar waits for, if it is to wait.
    pub mark: Option<Mark>,
}

/// A thought before an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thought {
    /// The mark that opens it.
    pub open: String,
    /// The mark that ends it.
    pub close: String,
    /// Whether the prompt has opened it already.
    pub opened: bool,
}

/// What a grammar waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The text, or the control token that is written so.
    pub text: String,
    /// Whether free text and further marks may follow what the grammar allows.
    pub again: bool,
}
