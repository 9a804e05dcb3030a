//! Tokenizer models: how text, cut into words or not, becomes ids. One file for each algorithm;
//! nothing here knows a file format.

mod bpe;
mod byte_level;
mod huggingface;
mod sentencepiece;

pub(crate) use bpe::{Bpe, Map};
pub(crate) use byte_level::{ByteLevel, BytePairs};
pub(crate) use huggingface::HuggingFace;
pub(crate) use sentencepiece::{SPACE, SentencePiece, byte_token};

/// The model of a tokenizer.
pub(crate) enum Model {
    /// Byte pairs within words.
    ByteLevel(ByteLevel),
    /// Pieces of the whole text.
    SentencePiece(SentencePiece),
    /// Whatever a `tokenizer.json` says.
    HuggingFace(Box<HuggingFace>),
}
