//! The models that are known by name. Only data; [`super`] says what it means.

use super::{Family, Provider};
use crate::Encoding;

/// A model, and the names it goes by.
pub(super) struct Entry {
    pub(super) provider: Provider,
    /// Its name at the provider, in lower case.
    pub(super) model: &'static str,
    pub(super) aliases: &'static [&'static str],
    pub(super) counted: Counted,
}

/// How tokens are counted.
#[derive(Clone, Copy)]
pub(super) enum Counted {
    /// By an encoding that is proven to be the model's.
    Exactly(Encoding),
    /// By LLaMA-3's tokenizer if its file is there, else by the nearest encoding.
    ByLlama3,
    /// By an estimate.
    Roughly,
}

impl Counted {
    pub(super) const fn family(self) -> Family {
        match self {
            Counted::Exactly(Encoding::Cl100kBase) => Family::OpenaiCl100k,
            Counted::Exactly(Encoding::O200kBase) => Family::OpenaiO200k,
            Counted::ByLlama3 => Family::Llama3,
            Counted::Roughly => Family::Unknown,
        }
    }
}

const fn openai(
    model: &'static str,
    encoding: Encoding,
    aliases: &'static [&'static str],
) -> Entry {
    Entry {
        provider: Provider::Openai,
        model,
        aliases,
        counted: Counted::Exactly(encoding),
    }
}

const fn llama3(
    provider: Provider,
    model: &'static str,
    aliases: &'static [&'static str],
) -> Entry {
    Entry {
        provider,
        model,
        aliases,
        counted: Counted::ByLlama3,
    }
}

const fn roughly(
    provider: Provider,
    model: &'static str,
    aliases: &'static [&'static str],
) -> Entry {
    Entry {
        provider,
        model,
        aliases,
        counted: Counted::Roughly,
    }
}

use Encoding::{Cl100kBase, O200kBase};
use Provider::{Meta, Microsoft, Mistral};

/// Encodings of OpenAI's models as `tiktoken/model.py` lists them.
pub(super) const CATALOGUE: &[Entry] = &[
    openai("gpt-5", O200kBase, &[]),
    openai("gpt-5-mini", O200kBase, &[]),
    openai("gpt-5-nano", O200kBase, &[]),
    openai("gpt-4.1", O200kBase, &[]),
    openai("gpt-4.1-mini", O200kBase, &[]),
    openai("gpt-4.1-nano", O200kBase, &[]),
    openai("gpt-4o", O200kBase, &[]),
    // These two are priced apart from what gpt-4o names today.
    openai("gpt-4o-2024-05-13", O200kBase, &[]),
    openai("chatgpt-4o", O200kBase, &[]),
    openai("gpt-4o-mini", O200kBase, &[]),
    openai("o1", O200kBase, &[]),
    openai("o1-mini", O200kBase, &[]),
    openai("o3", O200kBase, &[]),
    openai("o3-mini", O200kBase, &[]),
    openai("o4-mini", O200kBase, &[]),
    openai("gpt-4-turbo", Cl100kBase, &["gpt-4-1106", "gpt-4-0125"]),
    openai("gpt-4", Cl100kBase, &[]),
    openai("gpt-4-32k", Cl100kBase, &[]),
    openai("gpt-3.5-turbo", Cl100kBase, &["gpt-3.5", "gpt-35-turbo"]),
    // So are these.
    openai("gpt-3.5-turbo-1106", Cl100kBase, &[]),
    openai("gpt-3.5-turbo-0613", Cl100kBase, &["gpt-3.5-turbo-0301"]),
    openai("gpt-3.5-turbo-16k", Cl100kBase, &[]),
    openai("gpt-3.5-turbo-instruct", Cl100kBase, &[]),
    openai("davinci-002", Cl100kBase, &[]),
    openai("babbage-002", Cl100kBase, &[]),
    openai("text-embedding-3-small", Cl100kBase, &[]),
    openai("text-embedding-3-large", Cl100kBase, &[]),
    openai("text-embedding-ada-002", Cl100kBase, &[]),
    llama3(
        Microsoft,
        "bitnet-b1.58-2b-4t",
        &["bitnet-b1.58-2b-4t-gguf", "bitnet-2b", "bitnet-b1.58"],
    ),
    llama3(
        Meta,
        "llama-3-8b",
        &[
            "meta-llama-3-8b",
            "llama-3-8b-instruct",
            "meta-llama-3-8b-instruct",
        ],
    ),
    llama3(
        Meta,
        "llama-3-70b",
        &[
            "meta-llama-3-70b",
            "llama-3-70b-instruct",
            "meta-llama-3-70b-instruct",
        ],
    ),
    llama3(
        Meta,
        "llama-3.1-8b",
        &[
            "llama-3.1-8b-instruct",
            "meta-llama-3.1-8b",
            "meta-llama-3.1-8b-instruct",
        ],
    ),
    llama3(
        Meta,
        "llama-3.1-70b",
        &[
            "llama-3.1-70b-instruct",
            "meta-llama-3.1-70b",
            "meta-llama-3.1-70b-instruct",
        ],
    ),
    llama3(
        Meta,
        "llama-3.1-405b",
        &[
            "llama-3.1-405b-instruct",
            "meta-llama-3.1-405b",
            "meta-llama-3.1-405b-instruct",
        ],
    ),
    llama3(Meta, "llama-3.2-1b", &["llama-3.2-1b-instruct"]),
    llama3(Meta, "llama-3.2-3b", &["llama-3.2-3b-instruct"]),
    llama3(Meta, "llama-3.3-70b", &["llama-3.3-70b-instruct"]),
    roughly(Mistral, "mistral-7b", &["mistral-7b-instruct"]),
    roughly(Mistral, "mistral-small", &[]),
    roughly(Mistral, "mistral-large", &[]),
    roughly(Mistral, "mistral-nemo", &[]),
];

/// Beginnings of names that share an encoding without being listed: another size, a preview, a
/// fine-tuned model.
pub(super) const PREFIXES: &[(&str, Provider, Counted)] = &[
    ("gpt-5", Provider::Openai, Counted::Exactly(O200kBase)),
    ("gpt-4.1", Provider::Openai, Counted::Exactly(O200kBase)),
    ("gpt-4.5", Provider::Openai, Counted::Exactly(O200kBase)),
    ("gpt-4o", Provider::Openai, Counted::Exactly(O200kBase)),
    ("chatgpt-4o", Provider::Openai, Counted::Exactly(O200kBase)),
    ("o1", Provider::Openai, Counted::Exactly(O200kBase)),
    ("o3", Provider::Openai, Counted::Exactly(O200kBase)),
    ("o4-mini", Provider::Openai, Counted::Exactly(O200kBase)),
    ("gpt-4", Provider::Openai, Counted::Exactly(Cl100kBase)),
    (
        "gpt-3.5-turbo",
        Provider::Openai,
        Counted::Exactly(Cl100kBase),
    ),
    ("llama-3", Provider::Meta, Counted::ByLlama3),
    ("llama3", Provider::Meta, Counted::ByLlama3),
    ("meta-llama-3", Provider::Meta, Counted::ByLlama3),
];

/// Names of providers in front of a `/`, where they are not [`Provider::name`].
pub(super) const PROVIDER_ALIASES: &[(&str, Provider)] = &[
    ("meta-llama", Provider::Meta),
    ("mistralai", Provider::Mistral),
    ("azure", Provider::Openai),
];
