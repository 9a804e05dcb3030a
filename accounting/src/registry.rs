//! From the name of a model to what its tokens are: provider, encoding, and how exact a count is.
//!
//! [`Registry::resolve`] takes any name. What it does not know is counted by an
//! [`estimate`](crate::estimate) and says so.

use std::path::PathBuf;

use crate::catalogue::{CATALOGUE, Counted};
use crate::encoding::Encoding;
use crate::model::{Accuracy, EncodingSpec, Family, LLAMA3_RELATIVE, ModelSpec};
use crate::names::{self, Kind, Named};
use crate::price_list::PriceList;

/// Resolves names of models.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    llama3: Option<PathBuf>,
}

impl Registry {
    /// With the LLaMA-3 tokenizer in this file, if there is one.
    pub fn new(llama3: Option<PathBuf>) -> Registry {
        Registry { llama3 }
    }

    /// What is known of a model. Takes `provider/model`, short names and aliases in any case, with
    /// or without a date at the end, names as routers and resellers write them
    /// (`openrouter/openai/gpt-4o:free`, `us.anthropic.claude-3-haiku-20240307-v1:0`), names of
    /// fine-tuned models (`ft:gpt-4o:...`), names of encodings, and paths of tokenizers and GGUF
    /// files. Never fails: what is unknown is [`Provider::Generic`](crate::Provider::Generic) and
    /// [`Accuracy::Heuristic`].
    pub fn resolve(&self, name: &str) -> ModelSpec {
        self.spec(names::resolve(name))
    }

    /// Every model that is known by name.
    pub fn models(&self) -> impl Iterator<Item = ModelSpec> + '_ {
        CATALOGUE
            .iter()
            .map(|entry| self.spec(names::listed(entry)))
    }

    fn spec(&self, named: Named) -> ModelSpec {
        let exactly = |encoding: Encoding| Some(EncodingSpec::Embedded(encoding));
        let (encoding, family, accuracy) = match named.kind {
            Kind::Listed(counted) => self.counted(counted, Accuracy::Exact),
            Kind::Relative(counted) => self.counted(counted, Accuracy::Family),
            Kind::File(path) => {
                let encoding = Some(EncodingSpec::File(path));
                (encoding, Family::File, Accuracy::Exact)
            }
            Kind::Encoding(encoding) => {
                let family = Counted::Exactly(encoding).family();
                (exactly(encoding), family, Accuracy::Exact)
            }
            Kind::Unknown => (None, Family::Unknown, Accuracy::Heuristic),
        };
        ModelSpec {
            provider: named.provider,
            has_pricing: PriceList::built_in().price(&named.canonical).is_some(),
            canonical: named.canonical,
            display: named.display,
            encoding,
            family,
            accuracy,
        }
    }

    /// How a model is counted; `best` is the label of a count by an encoding that is there.
    fn counted(
        &self,
        counted: Counted,
        best: Accuracy,
    ) -> (Option<EncodingSpec>, Family, Accuracy) {
        let (encoding, accuracy) = match (counted, &self.llama3) {
            (Counted::Exactly(encoding), _) => (Some(EncodingSpec::Embedded(encoding)), best),
            (Counted::ByLlama3, Some(path)) => (Some(EncodingSpec::File(path.clone())), best),
            (Counted::ByLlama3, None) => (Some(LLAMA3_RELATIVE), Accuracy::Family),
            (Counted::Roughly, _) => (None, Accuracy::Heuristic),
        };
        (encoding, counted.family(), accuracy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::Meter;
    use crate::model::Provider;

    fn label(spec: &ModelSpec) -> (&str, &str, &str) {
        (&spec.canonical, spec.encoding_name(), spec.accuracy.name())
    }

    #[test]
    fn names_resolve_to_models() {
        let registry = Registry::default();
        for (name, canonical, encoding, accuracy) in [
            ("openai/gpt-4o", "openai/gpt-4o", "o200k_base", "exact"),
            ("gpt-4o", "openai/gpt-4o", "o200k_base", "exact"),
            (" GPT-4o ", "openai/gpt-4o", "o200k_base", "exact"),
            ("gpt-4o-2024-08-06", "openai/gpt-4o", "o200k_base", "exact"),
            (
                "gpt-4o-mini-2024-07-18",
                "openai/gpt-4o-mini",
                "o200k_base",
                "exact",
            ),
            (
                "chatgpt-4o-latest",
                "openai/chatgpt-4o",
                "o200k_base",
                "exact",
            ),
            (
                "gpt-4o-2024-05-13",
                "openai/gpt-4o-2024-05-13",
                "o200k_base",
                "exact",
            ),
            ("llama3:8b", "meta/llama3:8b", "cl100k_base", "family"),
            ("cl100k_base", "generic/cl100k_base", "cl100k_base", "exact"),
            (
                "azure/gpt-35-turbo",
                "openai/gpt-3.5-turbo",
                "cl100k_base",
                "exact",
            ),
            ("gpt-4-0613", "openai/gpt-4", "cl100k_base", "exact"),
            (
                "gpt-4-1106-preview",
                "openai/gpt-4-turbo",
                "cl100k_base",
                "exact",
            ),
            (
                "gpt-4o-audio-preview",
                "openai/gpt-4o-audio-preview",
                "o200k_base",
                "family",
            ),
            (
                "ft:gpt-4o-mini:acme::x1",
                "openai/ft:gpt-4o-mini",
                "o200k_base",
                "family",
            ),
            (
                "openai/ft:gpt-4o-mini",
                "openai/ft:gpt-4o-mini",
                "o200k_base",
                "family",
            ),
            (
                "ft:meta-llama-3-8b",
                "meta/ft:meta-llama-3-8b",
                "cl100k_base",
                "family",
            ),
            (
                "gpt-oss-20b",
                "openai/gpt-oss-20b",
                "o200k_harmony",
                "exact",
            ),
            (
                "openai/gpt-oss:120b",
                "openai/gpt-oss-120b",
                "o200k_harmony",
                "exact",
            ),
            (
                "gpt-35-turbo-16k",
                "openai/gpt-3.5-turbo-16k",
                "cl100k_base",
                "exact",
            ),
            (
                "text-davinci-003",
                "openai/text-davinci-003",
                "p50k_base",
                "exact",
            ),
            ("davinci", "openai/davinci", "r50k_base", "exact"),
            (
                "davinci:ft-acme-2023-01-01",
                "openai/ft:davinci",
                "r50k_base",
                "family",
            ),
            (
                "gpt-4o.ft-0123abcd",
                "openai/ft:gpt-4o",
                "o200k_base",
                "family",
            ),
            (
                "gpt-5.5-2026-04-23",
                "openai/gpt-5.5",
                "o200k_base",
                "exact",
            ),
            ("gpt-6-sol", "openai/gpt-6-sol", "o200k_base", "family"),
            (
                "openrouter/openai/gpt-4o:free",
                "openai/gpt-4o",
                "o200k_base",
                "exact",
            ),
            ("azure_ai/gpt-4o", "openai/gpt-4o", "o200k_base", "exact"),
            (
                "groq/llama-3.3-70b-versatile",
                "meta/llama-3.3-70b-versatile",
                "cl100k_base",
                "family",
            ),
            (
                "fireworks_ai/accounts/fireworks/models/llama-v3p1-8b-instruct",
                "meta/llama-v3p1-8b-instruct",
                "cl100k_base",
                "family",
            ),
            (
                "bedrock/us.anthropic.claude-3-haiku-20240307-v1:0",
                "anthropic/claude-3-haiku",
                "heuristic",
                "heuristic",
            ),
            (
                "vertex_ai/claude-opus-4-5@20251101",
                "anthropic/claude-opus-4-5",
                "heuristic",
                "heuristic",
            ),
            (
                "anthropic/claude-3.5-sonnet-20241022",
                "anthropic/claude-3-5-sonnet",
                "heuristic",
                "heuristic",
            ),
            (
                "models/gemini-2.5-pro",
                "google/gemini-2.5-pro",
                "heuristic",
                "heuristic",
            ),
            (
                "dashscope/qwen3-max-2026-01-23",
                "qwen/qwen3-max",
                "heuristic",
                "heuristic",
            ),
            (
                "deepseek-ai/DeepSeek-V3",
                "deepseek/deepseek-v3",
                "heuristic",
                "heuristic",
            ),
            // What is behind the provider's dot is no relative of its models.
            ("us.qwen.4[Tx-v1:0", "qwen/4[tx", "heuristic", "heuristic"),
            ("qwen/4[tx", "qwen/4[tx", "heuristic", "heuristic"),
            ("gpt-4xyz", "generic/gpt-4xyz", "heuristic", "heuristic"),
            (
                "meta/llama-3-8b",
                "meta/llama-3-8b",
                "cl100k_base",
                "family",
            ),
            (
                "meta-llama/Llama-3.1-8B-Instruct",
                "meta/llama-3.1-8b",
                "cl100k_base",
                "family",
            ),
            (
                "microsoft/bitnet-b1.58-2B-4T",
                "microsoft/bitnet-b1.58-2b-4t",
                "cl100k_base",
                "family",
            ),
            (
                "mistral/mistral-7b",
                "mistral/mistral-7b",
                "heuristic",
                "heuristic",
            ),
            (
                "mistralai/anything",
                "mistralai/anything",
                "heuristic",
                "heuristic",
            ),
            ("meta/gpt-4o", "meta/gpt-4o", "heuristic", "heuristic"),
            ("unknown/model", "unknown/model", "heuristic", "heuristic"),
            ("generic/foo", "generic/foo", "heuristic", "heuristic"),
            ("foo", "generic/foo", "heuristic", "heuristic"),
            ("", "generic/", "heuristic", "heuristic"),
            ("/", "/", "heuristic", "heuristic"),
            ("openai/", "openai/", "heuristic", "heuristic"),
            ("ft:", "generic/ft:", "heuristic", "heuristic"),
            ("a/b.gguf", "a/b.gguf", "b.gguf", "exact"),
        ] {
            let spec = registry.resolve(name);
            assert_eq!(label(&spec), (canonical, encoding, accuracy), "{name:?}");
        }
        assert_eq!(
            registry.resolve("unknown/model").provider,
            Provider::Generic
        );
        assert_eq!(registry.resolve("unknown/model").encoding, None);
        assert!(registry.resolve("gpt-4o").has_pricing);
        assert!(!registry.resolve("ft:gpt-4o:acme::x1").has_pricing);
    }

    #[test]
    fn a_canonical_name_stands_for_itself_whatever_was_asked_for() {
        const PARTS: [&str; 36] = [
            "openrouter/",
            "azure/",
            "us.",
            "anthropic.",
            "claude-3-haiku",
            "-v1:0",
            ":free",
            "@20240307",
            ":ft-x",
            ".ft-y",
            "gpt-oss-20b",
            "qwen3",
            "gpt-4o",
            "gpt-4",
            "o1",
            "llama-3",
            "llama-3-8b",
            "meta-llama-3",
            "-2024-08-06",
            "-0613",
            "-latest",
            "-preview",
            "-mini",
            "ft:",
            ":acme",
            "/",
            "openai",
            "meta",
            "meta-llama",
            "azure",
            ".gguf",
            "tokenizer.json",
            " ",
            "É",
            "\u{0}",
            "x",
        ];
        let registry = Registry::default();
        let mut state = 5_u64;
        for _ in 0..200_000 {
            let mut name = String::new();
            for _ in 0..=state >> 61 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                name.push_str(PARTS[(state >> 33) as usize % PARTS.len()]);
            }
            let spec = registry.resolve(&name);
            let again = registry.resolve(&spec.canonical);
            assert_eq!(again.canonical, spec.canonical, "{name:?}");
            assert_eq!(
                spec.encoding.is_none(),
                spec.accuracy == Accuracy::Heuristic
            );
        }
    }

    #[test]
    fn every_name_of_the_catalogue_means_one_model() {
        let registry = Registry::default();
        let mut seen = std::collections::HashSet::new();
        for entry in CATALOGUE {
            for name in entry.aliases.iter().chain([&entry.model]) {
                assert!(seen.insert(*name), "{name} is there twice");
                assert_eq!(*name, name.to_lowercase());
                assert_eq!(registry.resolve(name), registry.spec(names::listed(entry)));
                let full = format!("{}/{name}", entry.provider.name());
                assert_eq!(registry.resolve(&full), registry.spec(names::listed(entry)));
            }
        }
        assert_eq!(registry.models().count(), CATALOGUE.len());
    }

    #[test]
    fn llama3_is_exact_with_its_file_and_family_without() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tokenizer.json");
        let other = r#"{"version":"1.0","truncation":null,"padding":null,"normalizer":null,"pre_tokenizer":null,
            "post_processor":null,"decoder":null,"added_tokens":[],
            "model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":[]}}"#;
        std::fs::write(&path, other).expect("written");
        let registry = Registry::new(Some(path.clone()));
        let spec = registry.resolve("meta/llama-3-8b");
        assert_eq!(label(&spec), ("meta/llama-3-8b", "llama3", "exact"));
        // It is the tokenizer of another model.
        let meter = Meter::load(spec).expect("counted by its family");
        assert_eq!(meter.spec().accuracy, Accuracy::Family);
        assert_eq!(meter.spec().encoding_name(), "cl100k_base");
        // Given by its path, it is what was asked for.
        let meter = Meter::load(registry.resolve(path.to_str().expect("text"))).expect("loads");
        assert_eq!(meter.spec().accuracy, Accuracy::Exact);
        assert_eq!(meter.tokenizer().expect("a tokenizer").vocab_size(), 2);
    }
}
