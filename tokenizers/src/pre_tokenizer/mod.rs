//! How text is cut into words before byte pairs are merged.
//!
//! `rules` has the table: what each name of `tokenizer.ggml.pre` stands for. A rule is a list of
//! steps (`expression`, `digits`, `spaces`); the rules of the largest vocabularies are also there
//! by hand (`scan`), several times as fast.

mod classes;
mod digits;
mod expression;
mod rules;
mod scan;
mod spaces;
mod split;

pub(crate) use split::PreTokenizer;
