//! The prompt forms of the families of ternary models, as templates of this project.

use crate::Tokens;

/// Who writes the BOS token in front of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bos {
    /// The template does.
    Template,
    /// The template does not; the tokenizer puts it in front.
    Tokenizer,
    /// Nobody: the family has none.
    None,
    /// As the model's file says.
    Model,
}

/// A family of models that want one form.
#[derive(Debug, PartialEq, Eq)]
pub struct Family {
    /// Its name on command lines.
    pub name: &'static str,
    /// The template.
    pub source: &'static str,
    /// Who writes the BOS token.
    pub bos: Bos,
    /// `bos_token` and `eos_token` of the family, where the template needs them.
    tokens: (Option<&'static str>, Option<&'static str>),
    /// Tokens that end an answer, whatever else the model's file names.
    pub stop: &'static [&'static str],
}

macro_rules! family {
    ($name:literal, $bos:ident, $tokens:expr, $stop:expr) => {
        Family {
            name: $name,
            source: include_str!(concat!("../families/", $name, ".jinja")),
            bos: Bos::$bos,
            tokens: $tokens,
            stop: $stop,
        }
    };
}

/// Every family.
pub static FAMILIES: [Family; 8] = [
    // Not LLaMA-3's form, though the vocabulary is. The file names `<|end_of_text|>` as the end,
    // and the model ends a turn with `<|eot_id|>`.
    family!(
        "bitnet-2b-4t",
        Tokenizer,
        (Some("<|begin_of_text|>"), Some("<|end_of_text|>")),
        &["<|eot_id|>", "<|end_of_text|>"]
    ),
    family!(
        "llama3-instruct",
        Template,
        (Some("<|begin_of_text|>"), Some("<|eot_id|>")),
        &["<|eot_id|>", "<|end_of_text|>"]
    ),
    family!(
        "falcon3-instruct",
        None,
        (None, Some("<|endoftext|>")),
        &["<|endoftext|>"]
    ),
    family!("falcon-e-instruct", Model, (None, None), &["<|im_end|>"]),
    family!(
        "qwen3",
        None,
        (None, Some("<|im_end|>")),
        &["<|im_end|>", "<|endoftext|>"]
    ),
    family!(
        "bitcpm4",
        Tokenizer,
        (Some("<s>"), Some("</s>")),
        &["<|im_end|>", "</s>"]
    ),
    family!("zephyr", Model, (Some("<s>"), Some("</s>")), &["</s>"]),
    family!("chatml", Model, (None, None), &["<|im_end|>"]),
];

impl Family {
    /// The family of this name.
    pub fn named(name: &str) -> Option<&'static Family> {
        FAMILIES.iter().find(|family| family.name == name)
    }

    /// The special tokens of the family, for a vocabulary that does not name its own.
    pub fn tokens(&self) -> Tokens {
        Tokens {
            bos: self.tokens.0.map(str::to_owned),
            eos: self.tokens.1.map(str::to_owned),
            ..Tokens::default()
        }
    }
}
