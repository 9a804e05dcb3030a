//! The models that are known by name. Only data; [`Registry`](crate::Registry) says what it means.

use crate::encoding::Encoding;
use crate::model::{Family, Provider};

/// A model, and the names it goes by.
pub(crate) struct Entry {
    pub(crate) provider: Provider,
    /// Its name at the provider, in lower case.
    pub(crate) model: &'static str,
    pub(crate) aliases: &'static [&'static str],
    pub(crate) counted: Counted,
}

/// How tokens are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    /// By an encoding that is proven to be the model's.
    Exactly(Encoding),
    /// By LLaMA-3's tokenizer if its file is there, else by the nearest encoding.
    ByLlama3,
    /// By an estimate.
    Roughly,
}

impl Counted {
    pub(crate) const fn family(self) -> Family {
        match self {
            Counted::Exactly(Encoding::Cl100kBase) => Family::OpenaiCl100k,
            Counted::Exactly(Encoding::O200kBase | Encoding::O200kHarmony) => Family::OpenaiO200k,
            Counted::Exactly(Encoding::P50kBase) => Family::OpenaiP50k,
            Counted::Exactly(Encoding::R50kBase) => Family::OpenaiR50k,
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

use Encoding::{Cl100kBase, O200kBase, O200kHarmony, P50kBase, R50kBase};
use Provider::{Anthropic, Deepseek, Google, Meta, Microsoft, Mistral, Openai, Qwen};

/// Encodings of OpenAI's models as `tiktoken/model.py` lists them (tiktoken 0.14).
pub(crate) const CATALOGUE: &[Entry] = &[
    openai("gpt-5.5", O200kBase, &[]),
    openai("gpt-5.5-pro", O200kBase, &[]),
    openai("gpt-5.4", O200kBase, &[]),
    openai("gpt-5.4-pro", O200kBase, &[]),
    openai("gpt-5.4-mini", O200kBase, &[]),
    openai("gpt-5.4-nano", O200kBase, &[]),
    openai("gpt-5.3-codex", O200kBase, &[]),
    openai("gpt-5.2", O200kBase, &[]),
    openai("gpt-5.2-pro", O200kBase, &[]),
    openai("gpt-5.2-codex", O200kBase, &[]),
    openai("gpt-5.1", O200kBase, &[]),
    openai("gpt-5.1-codex", O200kBase, &[]),
    openai("gpt-5.1-codex-mini", O200kBase, &[]),
    openai("gpt-5.1-codex-max", O200kBase, &[]),
    openai("gpt-5", O200kBase, &[]),
    openai("gpt-5-pro", O200kBase, &[]),
    openai("gpt-5-mini", O200kBase, &[]),
    openai("gpt-5-nano", O200kBase, &[]),
    openai("gpt-5-codex", O200kBase, &[]),
    openai("gpt-5-chat", O200kBase, &[]),
    openai("gpt-4.1", O200kBase, &[]),
    openai("gpt-4.1-mini", O200kBase, &[]),
    openai("gpt-4.1-nano", O200kBase, &[]),
    openai("gpt-4o", O200kBase, &[]),
    // These two are priced apart from what gpt-4o names today.
    openai("gpt-4o-2024-05-13", O200kBase, &[]),
    openai("chatgpt-4o", O200kBase, &[]),
    openai("gpt-4o-mini", O200kBase, &[]),
    openai("o1", O200kBase, &[]),
    openai("o1-pro", O200kBase, &[]),
    openai("o1-mini", O200kBase, &[]),
    openai("o3", O200kBase, &[]),
    openai("o3-pro", O200kBase, &[]),
    openai("o3-mini", O200kBase, &[]),
    openai("o4-mini", O200kBase, &[]),
    openai("gpt-oss-20b", O200kHarmony, &["gpt-oss:20b"]),
    openai("gpt-oss-120b", O200kHarmony, &["gpt-oss:120b"]),
    openai("gpt-oss-safeguard-20b", O200kHarmony, &[]),
    openai("gpt-4-turbo", Cl100kBase, &["gpt-4-1106", "gpt-4-0125"]),
    openai("gpt-4", Cl100kBase, &[]),
    openai("gpt-4-32k", Cl100kBase, &[]),
    openai("gpt-3.5-turbo", Cl100kBase, &["gpt-3.5", "gpt-35-turbo"]),
    // So are these.
    openai("gpt-3.5-turbo-1106", Cl100kBase, &["gpt-35-turbo-1106"]),
    openai(
        "gpt-3.5-turbo-0613",
        Cl100kBase,
        &[
            "gpt-3.5-turbo-0301",
            "gpt-35-turbo-0613",
            "gpt-35-turbo-0301",
        ],
    ),
    openai("gpt-3.5-turbo-16k", Cl100kBase, &["gpt-35-turbo-16k"]),
    openai(
        "gpt-3.5-turbo-instruct",
        Cl100kBase,
        &["gpt-35-turbo-instruct"],
    ),
    openai("davinci-002", Cl100kBase, &[]),
    openai("babbage-002", Cl100kBase, &[]),
    openai("text-embedding-3-small", Cl100kBase, &[]),
    openai("text-embedding-3-large", Cl100kBase, &[]),
    openai("text-embedding-ada-002", Cl100kBase, &[]),
    openai("text-davinci-003", P50kBase, &[]),
    openai("text-davinci-002", P50kBase, &[]),
    openai("code-davinci-002", P50kBase, &[]),
    openai("code-davinci-001", P50kBase, &[]),
    openai("code-cushman-002", P50kBase, &[]),
    openai("code-cushman-001", P50kBase, &[]),
    openai("davinci-codex", P50kBase, &[]),
    openai("cushman-codex", P50kBase, &[]),
    openai("text-davinci-001", R50kBase, &[]),
    openai("text-curie-001", R50kBase, &[]),
    openai("text-babbage-001", R50kBase, &[]),
    openai("text-ada-001", R50kBase, &[]),
    openai("davinci", R50kBase, &[]),
    openai("curie", R50kBase, &[]),
    openai("babbage", R50kBase, &[]),
    openai("ada", R50kBase, &[]),
    openai("text-similarity-davinci-001", R50kBase, &[]),
    openai("text-similarity-curie-001", R50kBase, &[]),
    openai("text-similarity-babbage-001", R50kBase, &[]),
    openai("text-similarity-ada-001", R50kBase, &[]),
    openai("text-search-davinci-doc-001", R50kBase, &[]),
    openai("text-search-curie-doc-001", R50kBase, &[]),
    openai("text-search-babbage-doc-001", R50kBase, &[]),
    openai("text-search-ada-doc-001", R50kBase, &[]),
    openai("code-search-babbage-code-001", R50kBase, &[]),
    openai("code-search-ada-code-001", R50kBase, &[]),
    openai("gpt-2", R50kBase, &["gpt2"]),
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
    roughly(Anthropic, "claude-opus-5-5", &["claude-opus-5.5"]),
    roughly(Anthropic, "claude-opus-5", &[]),
    roughly(Anthropic, "claude-opus-4-8", &["claude-opus-4.8"]),
    roughly(Anthropic, "claude-opus-4-7", &["claude-opus-4.7"]),
    roughly(Anthropic, "claude-opus-4-6", &["claude-opus-4.6"]),
    roughly(Anthropic, "claude-opus-4-5", &["claude-opus-4.5"]),
    roughly(Anthropic, "claude-opus-4-1", &["claude-opus-4.1"]),
    roughly(Anthropic, "claude-opus-4", &["claude-opus-4-0"]),
    roughly(Anthropic, "claude-sonnet-5-5", &["claude-sonnet-5.5"]),
    roughly(Anthropic, "claude-sonnet-5", &[]),
    roughly(Anthropic, "claude-sonnet-4-6", &["claude-sonnet-4.6"]),
    roughly(Anthropic, "claude-sonnet-4-5", &["claude-sonnet-4.5"]),
    roughly(Anthropic, "claude-sonnet-4", &["claude-sonnet-4-0"]),
    roughly(Anthropic, "claude-haiku-5-5", &["claude-haiku-5.5"]),
    roughly(Anthropic, "claude-haiku-4-5", &["claude-haiku-4.5"]),
    roughly(Anthropic, "claude-3-7-sonnet", &["claude-3.7-sonnet"]),
    roughly(Anthropic, "claude-3-5-sonnet", &["claude-3.5-sonnet"]),
    roughly(Anthropic, "claude-3-5-haiku", &["claude-3.5-haiku"]),
    roughly(Anthropic, "claude-3-opus", &[]),
    roughly(Anthropic, "claude-3-sonnet", &[]),
    roughly(Anthropic, "claude-3-haiku", &[]),
    roughly(Google, "gemini-4-hydrogen", &[]),
    roughly(Google, "gemini-4-argon", &[]),
    roughly(Google, "gemini-3.8-flash", &[]),
    roughly(Google, "gemini-3.7-flash", &[]),
    roughly(Google, "gemini-3.6-flash", &[]),
    roughly(Google, "gemini-3.5-flash", &[]),
    roughly(Google, "gemini-3.5-flash-lite", &[]),
    roughly(Google, "gemini-3.1-pro", &[]),
    roughly(Google, "gemini-3.1-flash-lite", &[]),
    roughly(Google, "gemini-3-flash", &[]),
    roughly(Google, "gemini-2.5-pro", &[]),
    roughly(Google, "gemini-2.5-flash", &[]),
    roughly(Google, "gemini-2.5-flash-lite", &[]),
    roughly(Google, "gemini-2.0-flash", &[]),
    roughly(Google, "gemini-1.5-pro", &[]),
    roughly(Google, "gemini-1.5-flash", &[]),
    roughly(Google, "gemini-embedding-001", &[]),
    roughly(Google, "gemini-embedding-2", &[]),
    roughly(Mistral, "mistral-7b", &["mistral-7b-instruct"]),
    roughly(Mistral, "mixtral-8x7b", &["mixtral-8x7b-instruct"]),
    roughly(Mistral, "mistral-small", &[]),
    roughly(Mistral, "mistral-medium", &[]),
    roughly(Mistral, "mistral-large", &[]),
    roughly(Mistral, "mistral-nemo", &["open-mistral-nemo"]),
    roughly(Mistral, "ministral-3b", &[]),
    roughly(Mistral, "ministral-8b", &[]),
    roughly(Mistral, "ministral-14b", &[]),
    roughly(Mistral, "codestral", &[]),
    roughly(Mistral, "devstral", &[]),
    roughly(Mistral, "devstral-small", &[]),
    roughly(Mistral, "devstral-medium", &[]),
    roughly(Mistral, "magistral-small", &[]),
    roughly(Mistral, "magistral-medium", &[]),
    roughly(Mistral, "pixtral-large", &[]),
    roughly(Mistral, "mistral-embed", &[]),
    roughly(Mistral, "codestral-embed", &[]),
    roughly(Deepseek, "deepseek-flash", &[]),
    roughly(Deepseek, "deepseek-v4-pro", &[]),
    roughly(Deepseek, "deepseek-v4-flash", &[]),
    roughly(Deepseek, "deepseek-v3.2", &[]),
    roughly(Deepseek, "deepseek-chat", &[]),
    roughly(Deepseek, "deepseek-reasoner", &[]),
    roughly(Deepseek, "deepseek-v3", &[]),
    roughly(Deepseek, "deepseek-r1", &[]),
    roughly(Deepseek, "deepseek-coder", &[]),
    roughly(Qwen, "qwen3.8-max", &[]),
    roughly(Qwen, "qwen3.8-flash", &[]),
    roughly(Qwen, "qwen3.7-max", &[]),
    roughly(Qwen, "qwen3.7-plus", &[]),
    roughly(Qwen, "qwen3.5-plus", &[]),
    roughly(Qwen, "qwen3-max", &[]),
    roughly(Qwen, "qwen3-coder-plus", &[]),
    roughly(Qwen, "qwen3-coder-flash", &[]),
    roughly(Qwen, "qwen3-vl-plus", &[]),
    roughly(Qwen, "qwen-max", &[]),
    roughly(Qwen, "qwen-plus", &[]),
    roughly(Qwen, "qwen-flash", &[]),
    roughly(Qwen, "qwen-turbo", &[]),
    roughly(Qwen, "qwq-plus", &[]),
    roughly(Qwen, "qwen2.5-7b", &["qwen2.5-7b-instruct"]),
    roughly(Qwen, "qwen2.5-72b", &["qwen2.5-72b-instruct"]),
];

/// Beginnings of names that share an encoding without being listed: another size, a preview, a
/// fine-tuned model. The first that fits counts. `gpt-6` is in no list of encodings yet.
pub(crate) const PREFIXES: &[(&str, Provider, Counted)] = &[
    ("gpt-6", Openai, Counted::Exactly(O200kBase)),
    ("gpt-5", Openai, Counted::Exactly(O200kBase)),
    ("gpt-4.1", Openai, Counted::Exactly(O200kBase)),
    ("gpt-4.5", Openai, Counted::Exactly(O200kBase)),
    ("gpt-4o", Openai, Counted::Exactly(O200kBase)),
    ("chatgpt-4o", Openai, Counted::Exactly(O200kBase)),
    ("o1", Openai, Counted::Exactly(O200kBase)),
    ("o3", Openai, Counted::Exactly(O200kBase)),
    ("o4-mini", Openai, Counted::Exactly(O200kBase)),
    ("gpt-oss", Openai, Counted::Exactly(O200kHarmony)),
    ("gpt-4", Openai, Counted::Exactly(Cl100kBase)),
    ("gpt-3.5-turbo", Openai, Counted::Exactly(Cl100kBase)),
    ("gpt-35-turbo", Openai, Counted::Exactly(Cl100kBase)),
    ("text-embedding-3", Openai, Counted::Exactly(Cl100kBase)),
    ("code-davinci", Openai, Counted::Exactly(P50kBase)),
    ("code-cushman", Openai, Counted::Exactly(P50kBase)),
    ("text-similarity", Openai, Counted::Exactly(R50kBase)),
    ("text-search", Openai, Counted::Exactly(R50kBase)),
    ("code-search", Openai, Counted::Exactly(R50kBase)),
    ("gpt2", Openai, Counted::Exactly(R50kBase)),
    ("gpt-2", Openai, Counted::Exactly(R50kBase)),
    ("llama-3", Meta, Counted::ByLlama3),
    ("llama3", Meta, Counted::ByLlama3),
    ("meta-llama-3", Meta, Counted::ByLlama3),
    ("llama-v3p1", Meta, Counted::ByLlama3),
    ("llama-v3p2", Meta, Counted::ByLlama3),
    ("llama-v3p3", Meta, Counted::ByLlama3),
    ("deepseek-r1-distill-llama", Deepseek, Counted::ByLlama3),
    ("claude", Anthropic, Counted::Roughly),
    ("gemini", Google, Counted::Roughly),
    ("gemma", Google, Counted::Roughly),
    ("mistral", Mistral, Counted::Roughly),
    ("open-mistral", Mistral, Counted::Roughly),
    ("mixtral", Mistral, Counted::Roughly),
    ("open-mixtral", Mistral, Counted::Roughly),
    ("ministral", Mistral, Counted::Roughly),
    ("codestral", Mistral, Counted::Roughly),
    ("devstral", Mistral, Counted::Roughly),
    ("magistral", Mistral, Counted::Roughly),
    ("pixtral", Mistral, Counted::Roughly),
    ("voxtral", Mistral, Counted::Roughly),
    ("deepseek", Deepseek, Counted::Roughly),
    ("qwen", Qwen, Counted::Roughly),
    ("qwen1", Qwen, Counted::Roughly),
    ("qwen1.5", Qwen, Counted::Roughly),
    ("qwen2", Qwen, Counted::Roughly),
    ("qwen3", Qwen, Counted::Roughly),
    ("qwq", Qwen, Counted::Roughly),
    ("qvq", Qwen, Counted::Roughly),
];

/// Names of providers in front of a `/`, where they are not [`Provider::name`].
const PROVIDER_ALIASES: &[(&str, Provider)] = &[
    ("meta-llama", Meta),
    ("mistralai", Mistral),
    ("gemini", Google),
    ("deepseek-ai", Deepseek),
    ("dashscope", Qwen),
];

/// Names in front of a `/` that only pass requests on, or that a model's path begins with at one
/// who does.
const ROUTERS: &[&str] = &[
    "accounts",
    "anyscale",
    "azure",
    "azure_ai",
    "bedrock",
    "bedrock_converse",
    "cerebras",
    "cloudflare",
    "converse",
    "databricks",
    "deepinfra",
    "fireworks",
    "fireworks_ai",
    "github",
    "github_copilot",
    "groq",
    "hf",
    "huggingface",
    "hyperbolic",
    "litellm",
    "litellm_proxy",
    "models",
    "nebius",
    "novita",
    "nvidia_nim",
    "oci",
    "ollama",
    "ollama_chat",
    "openai_compatible",
    "openrouter",
    "perplexity",
    "publishers",
    "replicate",
    "sambanova",
    "together",
    "together_ai",
    "togethercomputer",
    "vercel_ai_gateway",
    "vertex_ai",
    "watsonx",
];

/// The provider of a name in front of a `/`.
pub(crate) fn provider(name: &str) -> Option<Provider> {
    let alias = PROVIDER_ALIASES.iter().find(|(alias, _)| *alias == name);
    let by_name = || Provider::NAMED.into_iter().find(|p| p.name() == name);
    alias.map(|(_, provider)| *provider).or_else(by_name)
}

/// Whether a name in front of a `/` is that of one who passes requests on.
pub(crate) fn is_router(name: &str) -> bool {
    ROUTERS.contains(&name)
}
