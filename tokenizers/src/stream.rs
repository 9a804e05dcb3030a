//! Text from tokens as they come.

use std::borrow::Borrow;

use crate::Tokenizer;

/// Turns tokens into text one by one, and never gives out half a character.
#[derive(Debug)]
pub struct StreamDecoder<T> {
    tokenizer: T,
    held: Vec<u8>,
    text: String,
}

impl Tokenizer {
    /// A decoder for tokens that come one by one and continue a text.
    pub fn stream(&self) -> StreamDecoder<&Tokenizer> {
        StreamDecoder::new(self)
    }
}

impl<T: Borrow<Tokenizer>> StreamDecoder<T> {
    /// A decoder at the start of a text. It keeps the tokenizer: a reference, or an `Arc` where it
    /// is to live on its own.
    pub fn new(tokenizer: T) -> StreamDecoder<T> {
        StreamDecoder {
            tokenizer,
            held: Vec::new(),
            text: String::new(),
        }
    }

    /// Takes a token and returns the text that is complete now. Bytes that can never become a
    /// character are replaced by U+FFFD.
    pub fn push(&mut self, id: u32) -> &str {
        let bytes = self.tokenizer.borrow().token_bytes(id);
        self.held.extend_from_slice(bytes);
        self.text.clear();
        loop {
            match std::str::from_utf8(&self.held) {
                Ok(rest) => {
                    self.text.push_str(rest);
                    self.held.clear();
                    return &self.text;
                }
                Err(error) => {
                    let good = error.valid_up_to();
                    self.text
                        .push_str(&String::from_utf8_lossy(&self.held[..good]));
                    let Some(bad) = error.error_len() else {
                        self.held.drain(..good);
                        return &self.text;
                    };
                    self.text.push(char::REPLACEMENT_CHARACTER);
                    self.held.drain(..good + bad);
                }
            }
        }
    }

    /// What is left when no more tokens come; half a character becomes U+FFFD.
    pub fn finish(&mut self) -> String {
        let held = std::mem::take(&mut self.held);
        String::from_utf8_lossy(&held).into_owned()
    }
}
