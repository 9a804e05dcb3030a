//! [`Tokenizer`]: text to ids and back.

use std::fmt;
use std::path::Path;

use bitnet_gguf::Gguf;
use bpe_openai::byte_pair_encoding::BytePairEncoding;

use crate::bpe::Bpe;
use crate::huggingface::HuggingFace;
use crate::pre_tokenizer::PreTokenizer;
use crate::sentencepiece::SentencePiece;
use crate::special::{Fragment, SpecialTokens};
use crate::vocabulary::Vocabulary;
use crate::{Counter, Error, StreamDecoder, gguf, huggingface, tiktoken};

/// What to make of special tokens that are spelled out in a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Special {
    /// They are text like any other. What users write should be read so.
    #[default]
    AsText,
    /// They are the tokens. For text that a program put together, such as a chat prompt.
    Parse,
}

/// How to encode a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Encode {
    /// Whether to begin with the BOS token, if there is one.
    pub bos: bool,
    /// What to make of special tokens in the text.
    pub special: Special,
}

/// How text becomes ids.
pub(crate) enum Model {
    /// Byte pairs within words.
    ByteLevel {
        bpe: BytePairs,
        pre: PreTokenizer,
    },
    SentencePiece(SentencePiece),
    HuggingFace(Box<HuggingFace>),
}

/// Who merges byte pairs.
pub(crate) enum BytePairs {
    /// Ours, by a vocabulary that was read.
    Read(Bpe),
    /// A vocabulary built into the program.
    Embedded(&'static BytePairEncoding),
}

impl BytePairs {
    /// Appends the ids of a word.
    fn encode(&self, word: &[u8], out: &mut Vec<u32>) {
        match self {
            BytePairs::Read(bpe) => bpe.encode(word, out),
            BytePairs::Embedded(bpe) => out.extend(bpe.encode_via_backtracking(word)),
        }
    }
}

/// Ids with a meaning.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ids {
    pub(crate) bos: Option<u32>,
    pub(crate) eos: Option<u32>,
    pub(crate) end_of_generation: Vec<u32>,
    pub(crate) add_bos: bool,
}

/// A tokenizer: text to ids and back.
pub struct Tokenizer {
    pub(crate) model: Model,
    pub(crate) special: SpecialTokens,
    vocabulary: Vocabulary,
    ids: Ids,
    kind: String,
    chat_template: Option<String>,
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
    pub(crate) fn new(
        model: Model,
        special: SpecialTokens,
        pieces: Vec<Vec<u8>>,
        texts: Vec<String>,
        ids: Ids,
        kind: String,
        chat_template: Option<String>,
    ) -> Tokenizer {
        Tokenizer {
            model,
            special,
            vocabulary: Vocabulary::Owned { pieces, texts },
            ids,
            kind,
            chat_template,
        }
    }

    /// A tokenizer whose vocabulary is built in.
    pub(crate) fn embedded(
        name: &str,
        bpe: &'static BytePairEncoding,
        pre: PreTokenizer,
        special: &'static [(&'static str, u32)],
    ) -> Tokenizer {
        let vocabulary = Vocabulary::Embedded { bpe, special };
        let end = special.iter().find(|(text, _)| *text == "<|endoftext|>");
        let eos = end.map(|(_, id)| *id);
        let listed = special
            .iter()
            .map(|(text, id)| ((*text).to_owned(), *id, false));
        Tokenizer {
            model: Model::ByteLevel {
                bpe: BytePairs::Embedded(bpe),
                pre,
            },
            special: SpecialTokens::new(listed.collect()),
            ids: Ids {
                bos: None,
                eos,
                end_of_generation: eos.into_iter().collect(),
                add_bos: false,
            },
            kind: format!("{name}, {} tokens", vocabulary.len()),
            vocabulary,
            chat_template: None,
        }
    }

    /// The tokenizer inside a GGUF file.
    ///
    /// # Errors
    /// [`Error::Absent`] where there is none; else what is wrong with it.
    pub fn from_gguf(file: &Gguf) -> Result<Tokenizer, Error> {
        gguf::read(file)
    }

    /// The tokenizer in a file: a `tokenizer.json`, a LLaMA-3 `tokenizer.model` or a GGUF file,
    /// told by content.
    ///
    /// # Errors
    /// The file cannot be read, or holds none of these.
    pub fn from_file(path: &Path) -> Result<Tokenizer, Error> {
        let content = std::fs::read(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        let wrong = |problem: String| Error::Format {
            path: path.to_owned(),
            problem,
        };
        if content.starts_with(&bitnet_gguf::MAGIC) {
            return Tokenizer::from_gguf(&Gguf::open(path)?);
        }
        if content.trim_ascii_start().starts_with(b"{") {
            return huggingface::read(&content).map_err(wrong);
        }
        if tiktoken::recognises(&content) {
            return Tokenizer::from_tiktoken(&content).map_err(wrong);
        }
        Err(wrong("it begins like neither".to_owned()))
    }

    fn from_tiktoken(content: &[u8]) -> Result<Tokenizer, String> {
        let (bpe, special) = tiktoken::read(content)?;
        let base = bpe.ids.len();
        let mut pieces = vec![Vec::new(); base + special.len()];
        for (bytes, id) in &bpe.ids {
            pieces[*id as usize] = bytes.to_vec();
        }
        let mut texts: Vec<String> = pieces
            .iter()
            .map(|piece| String::from_utf8_lossy(piece).into_owned())
            .collect();
        for (text, id) in &special {
            texts[*id as usize].clone_from(text);
        }
        let id = |name: &str| {
            special
                .iter()
                .find(|(text, _)| text == name)
                .map(|(_, id)| *id)
        };
        let special_texts: Vec<String> = special.iter().map(|(text, _)| text.clone()).collect();
        let end = gguf::end_of_generation(&[], &special_texts)
            .into_iter()
            .map(|id| id + base as u32)
            .collect();
        let ids = Ids {
            bos: id("<|begin_of_text|>"),
            eos: id("<|end_of_text|>"),
            end_of_generation: end,
            add_bos: true,
        };
        let special = SpecialTokens::new(
            special
                .into_iter()
                .map(|(text, id)| (text, id, false))
                .collect(),
        );
        let kind = format!("LLaMA-3 tokenizer.model, {} tokens", pieces.len());
        let model = Model::ByteLevel {
            bpe: BytePairs::Read(bpe),
            pre: PreTokenizer::llama3(),
        };
        Ok(Tokenizer::new(
            model, special, pieces, texts, ids, kind, None,
        ))
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
        let mut first = true;
        for fragment in self.special.split(text, parse) {
            match fragment {
                Fragment::Token(id) => {
                    out.push(id);
                    first = true;
                }
                Fragment::Text(text) => {
                    self.encode_text(text, first, &mut out)?;
                    first = false;
                }
            }
        }
        Ok(out)
    }

    /// Counts tokens without making them.
    pub fn counter(&self) -> Counter<'_> {
        Counter::new(self)
    }

    fn encode_text(&self, text: &str, first: bool, out: &mut Vec<u32>) -> Result<(), Error> {
        match &self.model {
            Model::ByteLevel { bpe, pre } => {
                for word in pre.split(text)? {
                    bpe.encode(&text.as_bytes()[word], out);
                }
            }
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

    /// A decoder for tokens that come one by one and continue a text.
    pub fn stream(&self) -> StreamDecoder<'_> {
        StreamDecoder::new(self)
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

    /// The chat template that came with it (`tokenizer.chat_template`), as Jinja.
    pub fn chat_template(&self) -> Option<&str> {
        self.chat_template.as_deref()
    }
}
