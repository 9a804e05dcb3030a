//! [`Tokenizer`]: text to ids and back.

use std::fmt;

use bpe::byte_pair_encoding::BytePairEncoding;

use crate::model::{Bpe, ByteLevel, BytePairs, Model};
use crate::pre_tokenizer::PreTokenizer;
use crate::vocabulary::{Fragment, SpecialIds, SpecialTokens, Vocabulary};
use crate::{Error, Warning};

/// What to make of special tokens that are spelled out in a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Special {
    /// They are text like any other. What users write should be read so.
    #[default]
    AsText,
    /// They are the tokens. For text that a program put together, such as a chat prompt.
    Parse,
}

/// What a token is that is found in text as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// It controls a conversation: a user's text never becomes it.
    Control,
    /// It is found in any text.
    UserDefined,
}

/// How to encode a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Encode {
    /// Whether to begin with the BOS token, if there is one.
    pub bos: bool,
    /// What to make of special tokens in the text.
    pub special: Special,
}

/// How the encodings of OpenAI's models cut texts into words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WordRule {
    /// `cl100k_base`'s.
    Cl100k,
    /// `o200k_base`'s.
    O200k,
    /// GPT-2's, which `r50k_base` and `p50k_base` keep.
    Gpt2,
}

impl WordRule {
    fn rule(self) -> Result<PreTokenizer, Error> {
        match self {
            WordRule::Cl100k => Ok(PreTokenizer::cl100k()),
            WordRule::O200k => Ok(PreTokenizer::o200k()),
            WordRule::Gpt2 => Ok(PreTokenizer::named("gpt-2")?.rule),
        }
    }
}

/// A tokenizer: text to ids and back.
pub struct Tokenizer {
    pub(crate) model: Model,
    pub(crate) special: SpecialTokens,
    pub(crate) vocabulary: Vocabulary,
    pub(crate) ids: SpecialIds,
    pub(crate) kind: String,
    pub(crate) warnings: Vec<Warning>,
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("kind", &self.kind)
            .field("ids", &self.ids)
            .finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// A tokenizer whose vocabulary is built into the program: the byte pairs of `bpe`, within
    /// words cut by `words`, and the `special` tokens with their ids. Its end of text is
    /// `<|endoftext|>`, where there is one.
    ///
    /// # Errors
    /// The rule for words cannot be made; a test makes each.
    pub fn built_in(
        name: &str,
        bpe: &'static BytePairEncoding,
        words: WordRule,
        special: &'static [(&'static str, u32)],
    ) -> Result<Tokenizer, Error> {
        let vocabulary = Vocabulary::Embedded { bpe, special };
        Self::in_words(name, BytePairs::Embedded(bpe), vocabulary, words, special)
    }

    /// A tokenizer of `tokens`, whose ids are the ranks by which byte pairs merge within words cut
    /// by `words`, and of the `special` tokens with their ids. Its end of text is `<|endoftext|>`,
    /// where there is one.
    ///
    /// # Errors
    /// As [`Self::built_in`].
    pub fn of_ranks(
        name: &str,
        tokens: impl IntoIterator<Item = (Vec<u8>, u32)>,
        words: WordRule,
        special: &[(&str, u32)],
    ) -> Result<Tokenizer, Error> {
        let mut pieces: Vec<Vec<u8>> = Vec::new();
        let mut texts: Vec<String> = Vec::new();
        let mut put = |id: u32, piece: Vec<u8>, text: String| {
            let len = pieces.len().max(id as usize + 1);
            pieces.resize(len, Vec::new());
            texts.resize(len, String::new());
            (pieces[id as usize], texts[id as usize]) = (piece, text);
        };
        let mut ranked: Vec<(Box<[u8]>, u32)> = Vec::new();
        for (bytes, id) in tokens {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            ranked.push((bytes.clone().into_boxed_slice(), id));
            put(id, bytes, text);
        }
        for (text, id) in special {
            put(*id, Vec::new(), (*text).to_owned());
        }
        let bpe = BytePairs::Read(Bpe::ranked(ranked.into_iter(), true));
        let vocabulary = Vocabulary::Owned { pieces, texts };
        Self::in_words(name, bpe, vocabulary, words, special)
    }

    /// A tokenizer of `bpe` within words cut by `words`, that begins no text by a token of its own.
    fn in_words(
        name: &str,
        bpe: BytePairs,
        vocabulary: Vocabulary,
        words: WordRule,
        special: &[(&str, u32)],
    ) -> Result<Tokenizer, Error> {
        let end = special.iter().find(|(text, _)| *text == "<|endoftext|>");
        let eos = end.map(|(_, id)| *id);
        let listed = special
            .iter()
            .map(|(text, id)| ((*text).to_owned(), *id, false));
        Ok(Tokenizer {
            model: Model::ByteLevel(ByteLevel {
                bpe,
                pre: words.rule()?,
            }),
            special: SpecialTokens::new(listed.collect()),
            ids: SpecialIds {
                bos: None,
                eos,
                end_of_generation: eos.into_iter().collect(),
                add_bos: false,
            },
            kind: format!("{name}, {} tokens", vocabulary.len()),
            vocabulary,
            warnings: Vec::new(),
        })
    }

    /// The ids of a text.
    ///
    /// # Errors
    /// The text defeats the tokenizer's rules; for well-formed vocabularies this does not happen.
    pub fn encode(&self, text: &str, options: Encode) -> Result<Vec<u32>, Error> {
        let mut out = Vec::new();
        if options.bos {
            out.extend(self.ids.bos);
        }
        let parse = options.special == Special::Parse;
        if let Model::HuggingFace(inner) = &self.model {
            out.extend(inner.encode(text, parse)?);
            return Ok(out);
        }
        self.encode_fragments(self.special.split(text, parse), &mut out)?;
        Ok(out)
    }

    /// The ids of a text in which no control token is one, and of the user-defined tokens none that
    /// `as_text` names: they are text like any other. For what people write into a conversation
    /// whose template gives these tokens a meaning.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_content(
        &self,
        text: &str,
        as_text: impl Fn(&str) -> bool,
    ) -> Result<Vec<u32>, Error> {
        let mut out = Vec::new();
        let Model::HuggingFace(inner) = &self.model else {
            let found = |token: &str, always: bool| always && !as_text(token);
            self.encode_fragments(self.special.split_at(text, found), &mut out)?;
            return Ok(out);
        };
        // The crate finds user-defined tokens in any text; cut in two, they are none.
        let cut = |token: &str, always: bool| always && as_text(token);
        for fragment in self.special.split_at(text, cut) {
            let text = match fragment {
                Fragment::Text(text) => text,
                Fragment::Token(id) => {
                    let token = self.vocabulary.text(id).unwrap_or_default();
                    let first = token.chars().next().map_or(0, char::len_utf8);
                    out.extend(inner.encode(&token[..first], false)?);
                    out.extend(inner.encode(&token[first..], false)?);
                    continue;
                }
            };
            out.extend(inner.encode(text, false)?);
        }
        Ok(out)
    }

    fn encode_fragments(&self, fragments: Vec<Fragment>, out: &mut Vec<u32>) -> Result<(), Error> {
        let mut first = true;
        for fragment in fragments {
            match fragment {
                Fragment::Token(id) => {
                    out.push(id);
                    first = true;
                }
                Fragment::Text(text) => {
                    self.encode_text(text, first, out)?;
                    first = false;
                }
            }
        }
        Ok(())
    }

    fn encode_text(&self, text: &str, first: bool, out: &mut Vec<u32>) -> Result<(), Error> {
        match &self.model {
            Model::ByteLevel(words) => words.encode(text, out)?,
            Model::SentencePiece(pieces) => pieces.encode(text, first, out),
            Model::HuggingFace(inner) => out.extend(inner.encode(text, false)?),
        }
        Ok(())
    }

    /// The bytes that a token adds to a text: none for special tokens and ids outside the
    /// vocabulary.
    pub fn token_bytes(&self, id: u32) -> &[u8] {
        self.vocabulary.bytes(id)
    }

    /// The bytes of a text.
    pub fn decode_bytes(&self, ids: &[u32]) -> Vec<u8> {
        let bytes: Vec<u8> = ids
            .iter()
            .flat_map(|id| self.token_bytes(*id))
            .copied()
            .collect();
        match &self.model {
            // The space that encoding put before the text.
            Model::SentencePiece(pieces) if pieces.add_space_prefix => bytes
                .strip_prefix(b" ")
                .map_or_else(|| bytes.clone(), <[u8]>::to_vec),
            _ => bytes,
        }
    }

    /// The text of ids; bytes that are no characters become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        String::from_utf8_lossy(&self.decode_bytes(ids)).into_owned()
    }

    /// The tokens that are found in text as a whole: id, text and kind.
    pub fn special_tokens(&self) -> impl Iterator<Item = (u32, &str, TokenKind)> {
        self.special.iter().map(|(text, id, always)| {
            let kind = if always {
                TokenKind::UserDefined
            } else {
                TokenKind::Control
            };
            (id, text, kind)
        })
    }

    /// Ids that the vocabulary has.
    pub fn vocab_size(&self) -> usize {
        self.vocabulary.len()
    }

    /// The token that begins a text.
    pub fn bos(&self) -> Option<u32> {
        self.ids.bos
    }

    /// The token that ends a text.
    pub fn eos(&self) -> Option<u32> {
        self.ids.eos
    }

    /// Every token at which generation ends, ascending.
    pub fn eog_ids(&self) -> &[u32] {
        &self.ids.end_of_generation
    }

    /// Whether texts begin with [`Tokenizer::bos`] by default.
    pub fn add_bos(&self) -> bool {
        self.ids.add_bos
    }

    /// A token as the vocabulary spells it; none for ids that are not there, and in the built-in
    /// encodings for tokens that are no text by themselves.
    pub fn token_text(&self, id: u32) -> Option<&str> {
        self.vocabulary.text(id)
    }

    /// What it is, for people: `gpt2 byte-level BPE (llama-bpe), 128256 tokens`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// What is doubtful about it: programs print these, and may refuse to go on.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// What is doubtful about a chat template beside this vocabulary: markers like `<|im_start|>`
    /// that the template writes and that are no tokens here, so that the model would read them as
    /// text.
    pub fn template_warnings(&self, template: &str) -> Vec<Warning> {
        let mut foreign: Vec<String> = Vec::new();
        for marker in markers(template) {
            let known =
                || (0..self.vocab_size()).any(|id| self.token_text(id as u32) == Some(marker));
            if !foreign.iter().any(|other| other == marker) && !known() {
                foreign.push(marker.to_owned());
            }
        }
        let warning = |marker| Warning::ForeignMarker { marker };
        foreign.into_iter().map(warning).collect()
    }
}

/// Words between `<|` and `|>` (or their wide forms, `<｜` and `｜>`), without spaces: no template
/// writes such text for any other end.
fn markers(template: &str) -> impl Iterator<Item = &str> {
    let opened = template.match_indices('<');
    opened.filter_map(|(at, _)| {
        let rest = &template[at..];
        let inner = rest.get(1..)?;
        let bar = inner.chars().next().filter(|c| matches!(c, '|' | '｜'))?;
        let close = inner.find('>')?;
        let body = inner[..close].strip_prefix(bar)?.strip_suffix(bar)?;
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | ':' | '▁' | '.');
        (!body.is_empty() && body.chars().all(plain)).then(|| &rest[..close + 2])
    })
}
