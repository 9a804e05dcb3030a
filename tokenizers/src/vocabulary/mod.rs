//! What ids stand for: the tokens of a vocabulary, how files spell them, and those with a meaning.

mod byte_alphabet;
mod control;
mod special;
mod tokens;

pub(crate) use byte_alphabet::decode as decode_byte_alphabet;
pub(crate) use control::{end_of_generation, is_control};
pub(crate) use special::{Fragment, SpecialIds, SpecialTokens};
pub(crate) use tokens::Vocabulary;
