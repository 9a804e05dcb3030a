//! Text from tokens as they come.

use crate::Tokenizer;

/// Turns tokens into text one by one, and never gives out half a character.
#[derive(Debug)]
pub struct StreamDecoder<'a> {
    tokenizer: &'a Tokenizer,
    held: Vec<u8>,
    text: String,
}

impl Tokenizer {
    /// A decoder for tokens that come one by one and continue a text.
    pub fn stream(&self) -> StreamDecoder<'_> {
        StreamDecoder {
            tokenizer: self,
            held: Vec::new(),
            text: String::new(),
        }
    }
}

impl StreamDecoder<'_> {
    /// Takes a token and returns the text that is complete now. Bytes that can never become a
    /// character are replaced by U+FFFD.
    pub fn push(&mut self, id: u32) -> &str {
        self.held.extend_from_slice(self.tokenizer.token_bytes(id));
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
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.held).into_owned()
    }
}
