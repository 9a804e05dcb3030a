//! The table of keys about the tokenizer in a GGUF file.
//!
//! Names and meanings are llama.cpp's (`LLM_KV_NAMES` in its `llama-arch.cpp`). A key that another
//! kind of tokenizer reads has no effect on this one.

use bitnet_gguf::keys::{Fate, KeyRule, Kind, Neutral, ZERO};
use bitnet_gguf::{Metadata, Value};

/// What all keys about tokenizers begin with.
pub const PREFIX: &str = "tokenizer.";
/// What those about the vocabulary begin with.
const VOCABULARY: &str = "tokenizer.ggml.";
const MODEL: &str = "tokenizer.ggml.model";

const FILL_IN: &str = "what a model fills in is put to it by the user";
const BYTE_LEVEL: &str = "only byte-level BPE has it";
const SENTENCEPIECE: &str = "only SentencePiece has it";

const fn id(name: &'static str) -> KeyRule {
    KeyRule::honoured_as(name, Kind::Integer)
}

/// A row for each key that every tokenizer has.
static RULES: &[KeyRule] = &[
    KeyRule::honoured_as(MODEL, Kind::Text),
    KeyRule::honoured_as("tokenizer.ggml.tokens", Kind::Array),
    KeyRule::honoured_as("tokenizer.ggml.token_type", Kind::Array),
    KeyRule::no_effect(
        "tokenizer.ggml.token_type_count",
        "no model here has types of tokens",
    ),
    id("tokenizer.ggml.bos_token_id"),
    id("tokenizer.ggml.eos_token_id"),
    id("tokenizer.ggml.eot_token_id"),
    id("tokenizer.ggml.eom_token_id"),
    id("tokenizer.ggml.unknown_token_id"),
    id("tokenizer.ggml.seperator_token_id"),
    id("tokenizer.ggml.padding_token_id"),
    id("tokenizer.ggml.cls_token_id"),
    id("tokenizer.ggml.mask_token_id"),
    KeyRule::honoured("tokenizer.ggml.add_bos_token"),
    KeyRule::doubtful(
        "tokenizer.ggml.add_eos_token",
        ZERO,
        "no token that ends a text is put behind one, so that it can be continued",
    ),
    KeyRule::doubtful(
        "tokenizer.ggml.add_sep_token",
        ZERO,
        "no token that separates texts is put between them",
    ),
    KeyRule::no_effect(
        "tokenizer.ggml.remove_extra_whitespaces",
        "no tokenizer here has it",
    ),
    KeyRule::refused(
        "tokenizer.ggml.precompiled_charsmap",
        ZERO,
        "a map of characters is",
    ),
    KeyRule::no_effect(
        "tokenizer.huggingface.json",
        "the keys of `tokenizer.ggml` say it",
    ),
    KeyRule::no_effect(
        "tokenizer.rwkv.world",
        "the keys of `tokenizer.ggml` say it",
    ),
    KeyRule::honoured_as("tokenizer.chat_template", Kind::Text),
    KeyRule::honoured_as("tokenizer.chat_templates", Kind::Array),
    KeyRule::refused(
        "tokenizer.ggml.normalizer.lowercase",
        ZERO,
        "text in lower case is",
    ),
    KeyRule::refused(
        "tokenizer.ggml.normalizer.strip_accents",
        ZERO,
        "text without accents is",
    ),
    KeyRule::no_effect("tokenizer.ggml.fim_pre_token_id", FILL_IN),
    KeyRule::no_effect("tokenizer.ggml.fim_suf_token_id", FILL_IN),
    KeyRule::no_effect("tokenizer.ggml.fim_mid_token_id", FILL_IN),
    id("tokenizer.ggml.fim_pad_token_id"),
    id("tokenizer.ggml.fim_rep_token_id"),
    id("tokenizer.ggml.fim_sep_token_id"),
    KeyRule::no_effect("tokenizer.ggml.prefix_token_id", FILL_IN),
    KeyRule::no_effect("tokenizer.ggml.suffix_token_id", FILL_IN),
    KeyRule::no_effect("tokenizer.ggml.middle_token_id", FILL_IN),
    KeyRule::doubtful(
        "tokenizer.ggml.suppress_tokens",
        ZERO_OF_THEM,
        "these tokens are not kept from being generated",
    ),
];

/// No array of ids but an empty one.
const ZERO_OF_THEM: Neutral = Neutral::Numbers(&[]);

/// Templates by name: the name follows.
const NAMED_TEMPLATE: KeyRule = KeyRule::honoured_as("tokenizer.chat_template.", Kind::Text);

/// A row for each key that one kind of tokenizer has, with its kind: the value of
/// `tokenizer.ggml.model`.
static OF_KIND: &[(&str, KeyRule)] = &[
    (
        "gpt2",
        KeyRule::honoured_as("tokenizer.ggml.pre", Kind::Text),
    ),
    (
        "llama",
        KeyRule::no_effect("tokenizer.ggml.pre", BYTE_LEVEL),
    ),
    (
        "gpt2",
        KeyRule::honoured_as("tokenizer.ggml.merges", Kind::Array),
    ),
    (
        "llama",
        KeyRule::no_effect("tokenizer.ggml.merges", BYTE_LEVEL),
    ),
    (
        "gpt2",
        KeyRule::no_effect("tokenizer.ggml.scores", SENTENCEPIECE),
    ),
    (
        "llama",
        KeyRule::honoured_as("tokenizer.ggml.scores", Kind::Array),
    ),
    (
        "gpt2",
        KeyRule::no_effect("tokenizer.ggml.add_space_prefix", SENTENCEPIECE),
    ),
    (
        "llama",
        KeyRule::honoured("tokenizer.ggml.add_space_prefix"),
    ),
];

/// What becomes of a key about the tokenizer.
pub fn fate(key: &str, value: &Value, metadata: &Metadata) -> Fate {
    let kind = metadata.get(MODEL).and_then(Value::as_str);
    let of_vocabulary = key.starts_with(VOCABULARY) && key != MODEL;
    if of_vocabulary && matches!(kind, Some("no_vocab" | "none")) {
        return Fate::NoEffect("there is no tokenizer inside".to_owned());
    }
    let of_kind = OF_KIND.iter().filter(|(_, rule)| rule.name == key);
    let of_kind = of_kind.map(|(of, rule)| (Some(*of) == kind, rule));
    // Where the kind is not known, any row will do: the tokenizer is refused as a whole.
    let of_kind = of_kind.max_by_key(|(is_its_kind, _)| *is_its_kind);
    let rule = RULES.iter().find(|rule| rule.name == key);
    let rule = rule.or_else(|| of_kind.map(|(_, rule)| rule));
    let named = || {
        key.starts_with(NAMED_TEMPLATE.name)
            .then_some(&NAMED_TEMPLATE)
    };
    match rule.or_else(named) {
        Some(rule) => rule.fate(key, "", value, metadata),
        None => Fate::unknown(key),
    }
}
