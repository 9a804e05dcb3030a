//! Encodings that are built into the program: those of OpenAI's models.
//!
//! Vocabulary and byte pairs of today's come from the `bpe-openai` crate, whose time is linear in
//! the length of a word whatever the word is; those of the first models from `tiktoken-rs`. Words
//! are cut by `bitnet-tokenizers`, as tiktoken cuts them.

use std::fmt;
use std::sync::LazyLock;

use bitnet_tokenizers::{Tokenizer, WordRule};
use tiktoken_rs::CoreBPE;

/// An encoding that needs no file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// GPT-3.5 and GPT-4.
    Cl100kBase,
    /// GPT-4o and later.
    O200kBase,
    /// The open models: `o200k_base` with other special tokens.
    O200kHarmony,
    /// Codex and the last of GPT-3: `r50k_base` with tokens for runs of spaces.
    P50kBase,
    /// GPT-2 and GPT-3.
    R50kBase,
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

/// The special tokens of `o200k_harmony` (tiktoken, `openai_public.py`), without those that are
/// reserved.
const HARMONY_SPECIAL: &[(&str, u32)] = &[
    ("<|startoftext|>", 199_998),
    ("<|endoftext|>", 199_999),
    ("<|return|>", 200_002),
    ("<|constrain|>", 200_003),
    ("<|channel|>", 200_005),
    ("<|start|>", 200_006),
    ("<|end|>", 200_007),
    ("<|message|>", 200_008),
    ("<|call|>", 200_012),
    ("<|endofprompt|>", 200_018),
];

/// The special token of `r50k_base` and `p50k_base`.
const R50K_SPECIAL: &[(&str, u32)] = &[("<|endoftext|>", 50_256)];

/// Why none of these can fail.
const TESTED: &str = "a test makes every encoding";

static CL100K: LazyLock<Tokenizer> = LazyLock::new(|| {
    let bpe = &bpe_openai::cl100k_base().bpe;
    Tokenizer::built_in("cl100k_base", bpe, WordRule::Cl100k, CL100K_SPECIAL).expect(TESTED)
});

static O200K: LazyLock<Tokenizer> = LazyLock::new(|| {
    let bpe = &bpe_openai::o200k_base().bpe;
    Tokenizer::built_in("o200k_base", bpe, WordRule::O200k, O200K_SPECIAL).expect(TESTED)
});

static HARMONY: LazyLock<Tokenizer> = LazyLock::new(|| {
    let bpe = &bpe_openai::o200k_base().bpe;
    Tokenizer::built_in("o200k_harmony", bpe, WordRule::O200k, HARMONY_SPECIAL).expect(TESTED)
});

static P50K: LazyLock<Tokenizer> =
    LazyLock::new(|| of_ranks("p50k_base", tiktoken_rs::p50k_base(), 50_281));

static R50K: LazyLock<Tokenizer> =
    LazyLock::new(|| of_ranks("r50k_base", tiktoken_rs::r50k_base(), 50_256));

/// A tokenizer of the tokens that `tiktoken-rs` carries for `name`, with ids below `len`.
fn of_ranks<E: fmt::Debug>(name: &str, carried: Result<CoreBPE, E>, len: u32) -> Tokenizer {
    let carried = carried.expect(TESTED);
    let special = R50K_SPECIAL.iter().map(|(_, id)| *id);
    let tokens = (0..len)
        .filter(|id| !special.clone().any(|special| special == *id))
        .map(|id| (carried.decode_bytes(&[id]).expect(TESTED), id));
    Tokenizer::of_ranks(name, tokens, WordRule::Gpt2, R50K_SPECIAL).expect(TESTED)
}

impl Encoding {
    /// Every one.
    pub const ALL: [Encoding; 5] = [
        Encoding::Cl100kBase,
        Encoding::O200kBase,
        Encoding::O200kHarmony,
        Encoding::P50kBase,
        Encoding::R50kBase,
    ];

    /// tiktoken's name for it.
    pub const fn name(self) -> &'static str {
        match self {
            Encoding::Cl100kBase => "cl100k_base",
            Encoding::O200kBase => "o200k_base",
            Encoding::O200kHarmony => "o200k_harmony",
            Encoding::P50kBase => "p50k_base",
            Encoding::R50kBase => "r50k_base",
        }
    }

    /// The encoding of that name.
    pub fn named(name: &str) -> Option<Encoding> {
        Encoding::ALL
            .into_iter()
            .find(|encoding| encoding.name() == name)
    }

    /// Its tokenizer, made on first use (some 20 to 100 milliseconds).
    pub fn tokenizer(self) -> &'static Tokenizer {
        match self {
            Encoding::Cl100kBase => &CL100K,
            Encoding::O200kBase => &O200K,
            Encoding::O200kHarmony => &HARMONY,
            Encoding::P50kBase => &P50K,
            Encoding::R50kBase => &R50K,
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
