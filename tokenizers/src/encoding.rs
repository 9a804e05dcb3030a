//! Encodings that are built into the program: those of OpenAI's models.
//!
//! Vocabulary and byte pairs come from the `bpe-openai` crate, whose time is linear in the length
//! of a word whatever the word is; words are cut by this crate, as tiktoken cuts them.

use std::fmt;
use std::sync::LazyLock;

use crate::Tokenizer;
use crate::pre_tokenizer::PreTokenizer;

/// An encoding that needs no file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// GPT-3.5 and GPT-4.
    Cl100kBase,
    /// GPT-4o and later.
    O200kBase,
}

/// The special tokens of `cl100k_base` (tiktoken, `openai_public.py`).
const CL100K_SPECIAL: &[(&str, u32)] = &[
    ("<|endoftext|>", 100_257),
    ("<|fim_prefix|>", 100_258),
    ("<|fim_middle|>", 100_259),
    ("<|fim_suffix|>", 100_260),
    ("<|endofprompt|>", 100_276),
];

/// The special tokens of `o200k_base` (tiktoken, `openai_public.py`).
const O200K_SPECIAL: &[(&str, u32)] = &[("<|endoftext|>", 199_999), ("<|endofprompt|>", 200_018)];

static CL100K: LazyLock<Tokenizer> = LazyLock::new(|| {
    let bpe = &bpe_openai::cl100k_base().bpe;
    Tokenizer::embedded("cl100k_base", bpe, PreTokenizer::cl100k(), CL100K_SPECIAL)
});

static O200K: LazyLock<Tokenizer> = LazyLock::new(|| {
    let bpe = &bpe_openai::o200k_base().bpe;
    Tokenizer::embedded("o200k_base", bpe, PreTokenizer::o200k(), O200K_SPECIAL)
});

impl Encoding {
    /// Every one.
    pub const ALL: [Encoding; 2] = [Encoding::Cl100kBase, Encoding::O200kBase];

    /// tiktoken's name for it.
    pub const fn name(self) -> &'static str {
        match self {
            Encoding::Cl100kBase => "cl100k_base",
            Encoding::O200kBase => "o200k_base",
        }
    }

    /// The encoding of that name.
    pub fn named(name: &str) -> Option<Encoding> {
        Encoding::ALL
            .into_iter()
            .find(|encoding| encoding.name() == name)
    }

    /// Its tokenizer, made on first use (some 20 to 40 milliseconds).
    pub fn tokenizer(self) -> &'static Tokenizer {
        match self {
            Encoding::Cl100kBase => &CL100K,
            Encoding::O200kBase => &O200K,
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
