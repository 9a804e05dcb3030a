//! From the name of a model to what its tokens are: provider, encoding, and how exact a count is.
//!
//! [`Registry::resolve`] takes any name. What it does not know is counted by an [`estimate`] and
//! says so.

mod catalogue;
mod pricing;

use std::fmt;
use std::path::{Path, PathBuf};

use bitnet_gguf::Gguf;
use serde::Serialize;

use crate::discovery::{DEFAULT_MODEL, ModelCache, TokenizerDiscovery};
use crate::{Encode, Encoding, Error, LLAMA3_TOKENS, Tokenizer};
use catalogue::{CATALOGUE, Counted, Entry, PREFIXES, PROVIDER_ALIASES};

pub use pricing::{
    Cost, Date, Price, PriceList, PricingError, STALE_AFTER_DAYS, Usage, UsageError,
};

/// Who offers a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// OpenAI.
    Openai,
    /// Meta.
    Meta,
    /// Microsoft.
    Microsoft,
    /// Mistral AI.
    Mistral,
    /// Anyone else.
    Generic,
}

impl Provider {
    const NAMED: [Provider; 4] = [
        Provider::Openai,
        Provider::Meta,
        Provider::Microsoft,
        Provider::Mistral,
    ];

    /// Its name before the `/` of a model's.
    pub const fn name(self) -> &'static str {
        match self {
            Provider::Openai => "openai",
            Provider::Meta => "meta",
            Provider::Microsoft => "microsoft",
            Provider::Mistral => "mistral",
            Provider::Generic => "generic",
        }
    }

    fn named(name: &str) -> Option<Provider> {
        let alias = PROVIDER_ALIASES.iter().find(|(alias, _)| *alias == name);
        let by_name = || Provider::NAMED.into_iter().find(|p| p.name() == name);
        alias.map(|(_, provider)| *provider).or_else(by_name)
    }
}

/// Models with the same, or nearly the same, tokenizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// `o200k_base`.
    OpenaiO200k,
    /// `cl100k_base`.
    OpenaiCl100k,
    /// LLaMA-3: the first 100,000 tokens of `cl100k_base`, and 28,000 more.
    Llama3,
    /// A tokenizer given by its file.
    File,
    /// Not known.
    Unknown,
}

/// How far a count can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Accuracy {
    /// The model's own tokens: the encoding is its own, and tests hold it to the reference.
    Exact,
    /// The encoding of a near relative.
    Family,
    /// A guess from the number of characters.
    Heuristic,
}

impl Accuracy {
    /// The label in output.
    pub const fn name(self) -> &'static str {
        match self {
            Accuracy::Exact => "exact",
            Accuracy::Family => "family",
            Accuracy::Heuristic => "heuristic",
        }
    }
}

/// What texts are encoded with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EncodingSpec {
    /// One that is built in.
    Embedded(Encoding),
    /// A `tokenizer.json`, a `tokenizer.model` or a GGUF file.
    File(PathBuf),
}

/// A model, as far as its tokens go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSpec {
    /// Who offers it.
    pub provider: Provider,
    /// The name under which it is priced: `openai/gpt-4o`.
    pub canonical: String,
    /// The name for people: `gpt-4o`.
    pub display: String,
    /// What its texts are encoded with; none where tokens are estimated.
    pub encoding: Option<EncodingSpec>,
    /// Its tokenizer's family.
    pub family: Family,
    /// How far counts can be trusted.
    pub accuracy: Accuracy,
    /// Whether the built-in price list has it.
    pub has_pricing: bool,
}

impl ModelSpec {
    /// The encoding's name in output; `heuristic` where there is none.
    pub fn encoding_name(&self) -> &str {
        match &self.encoding {
            Some(EncodingSpec::Embedded(encoding)) => encoding.name(),
            Some(EncodingSpec::File(_)) if self.family == Family::Llama3 => "llama3",
            Some(EncodingSpec::File(path)) => path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or("file"),
            None => "heuristic",
        }
    }
}

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

    /// With the LLaMA-3 tokenizer that is in `models/` or in the cache of this user.
    pub fn from_environment() -> Registry {
        Registry::new(find_llama3(
            Path::new("models"),
            ModelCache::from_environment().as_ref(),
        ))
    }

    /// What is known of a model. Takes `provider/model`, short names and aliases in any case, with
    /// or without a date at the end, names of fine-tuned models (`ft:gpt-4o:...`), names of
    /// encodings, and paths of tokenizers and GGUF files. Never fails: what is unknown is
    /// [`Provider::Generic`] and [`Accuracy::Heuristic`].
    pub fn resolve(&self, name: &str) -> ModelSpec {
        let name = name.trim();
        if let Some(spec) = file(name).or_else(|| encoding(name)) {
            return spec;
        }
        let lower = name.to_lowercase();
        let (provider, named) = match lower.split_once('/') {
            Some((provider, model)) => match Provider::named(provider) {
                Some(provider) => (Some(provider), model),
                None => return unknown(Provider::Generic, name),
            },
            None => (None, lower.as_str()),
        };
        let tuned = named
            .strip_prefix("ft:")
            .map(|rest| rest.split(':').next().unwrap_or(rest));
        let model = tuned.unwrap_or(named).trim();
        let offered = |by: Provider| provider.is_none_or(|provider| provider == by);
        let entry = |model: &str| {
            CATALOGUE.iter().find(|entry| {
                offered(entry.provider) && (entry.model == model || entry.aliases.contains(&model))
            })
        };
        // A fine-tuned model is not the one that the list prices.
        if tuned.is_none()
            && let Some(entry) = [
                model,
                without_label(model),
                without_date(without_label(model)),
            ]
            .into_iter()
            .find_map(entry)
        {
            return self.known(entry);
        }
        let prefix = PREFIXES.iter().find(|(prefix, by, _)| {
            let rest = model.strip_prefix(prefix);
            offered(*by)
                && rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()))
        });
        match prefix {
            Some((_, by, counted)) => {
                let display = match tuned {
                    Some(_) => format!("ft:{model}"),
                    None => model.to_owned(),
                };
                ModelSpec {
                    canonical: format!("{}/{display}", by.name()),
                    display,
                    has_pricing: false,
                    ..self.spec(*by, *counted, Accuracy::Family)
                }
            }
            _ => unknown(provider.unwrap_or(Provider::Generic), name),
        }
    }

    /// Every model that is known by name.
    pub fn models(&self) -> impl Iterator<Item = ModelSpec> + '_ {
        CATALOGUE.iter().map(|entry| self.known(entry))
    }

    fn known(&self, entry: &Entry) -> ModelSpec {
        let canonical = format!("{}/{}", entry.provider.name(), entry.model);
        ModelSpec {
            display: entry.model.to_owned(),
            has_pricing: PriceList::built_in().price(&canonical).is_some(),
            canonical,
            ..self.spec(entry.provider, entry.counted, Accuracy::Exact)
        }
    }

    /// Everything but the names; `best` is the label of a count by an encoding that is built in.
    fn spec(&self, provider: Provider, counted: Counted, best: Accuracy) -> ModelSpec {
        let (encoding, accuracy) = match (counted, &self.llama3) {
            (Counted::Exactly(encoding), _) => (Some(EncodingSpec::Embedded(encoding)), best),
            (Counted::ByLlama3, Some(path)) => (Some(EncodingSpec::File(path.clone())), best),
            (Counted::ByLlama3, None) => (Some(LLAMA3_RELATIVE), Accuracy::Family),
            (Counted::Roughly, _) => (None, Accuracy::Heuristic),
        };
        ModelSpec {
            provider,
            canonical: String::new(),
            display: String::new(),
            encoding,
            family: counted.family(),
            accuracy,
            has_pricing: false,
        }
    }
}

/// What LLaMA-3 is counted by where its own file is missing.
const LLAMA3_RELATIVE: EncodingSpec = EncodingSpec::Embedded(Encoding::Cl100kBase);

/// A name that is the path of a tokenizer or of a model with one.
fn file(name: &str) -> Option<ModelSpec> {
    let path = Path::new(name);
    let ending = path.extension()?.to_str()?.to_ascii_lowercase();
    if !matches!(ending.as_str(), "gguf" | "json") && !name.ends_with("tokenizer.model") {
        return None;
    }
    Some(ModelSpec {
        provider: Provider::Generic,
        canonical: name.to_owned(),
        display: path.file_name()?.to_str()?.to_owned(),
        encoding: Some(EncodingSpec::File(path.to_owned())),
        family: Family::File,
        accuracy: Accuracy::Exact,
        has_pricing: false,
    })
}

/// A name that is an encoding's.
fn encoding(name: &str) -> Option<ModelSpec> {
    let encoding = Encoding::named(name)?;
    Some(ModelSpec {
        encoding: Some(EncodingSpec::Embedded(encoding)),
        family: Counted::Exactly(encoding).family(),
        accuracy: Accuracy::Exact,
        ..unknown(Provider::Generic, name)
    })
}

fn unknown(provider: Provider, name: &str) -> ModelSpec {
    ModelSpec {
        provider,
        canonical: match name.contains('/') {
            true => name.to_owned(),
            false => format!("{}/{name}", provider.name()),
        },
        display: name.rsplit('/').next().unwrap_or(name).to_owned(),
        encoding: None,
        family: Family::Unknown,
        accuracy: Accuracy::Heuristic,
        has_pricing: false,
    }
}

/// A name without `-latest` or `-preview` at its end.
fn without_label(model: &str) -> &str {
    let ends = ["-latest", "-preview"];
    ends.iter()
        .find_map(|end| model.strip_suffix(end))
        .unwrap_or(model)
}

/// A name without `-2024-08-06`, `-20240806` or `-0613` at its end.
fn without_date(model: &str) -> &str {
    let digits = |text: &str, lengths: &[usize]| {
        lengths.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    let mut parts = model.rsplitn(4, '-');
    if let (Some(day), Some(month), Some(year), Some(rest)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
        && digits(day, &[2])
        && digits(month, &[2])
        && digits(year, &[4])
    {
        return rest;
    }
    match model.rsplit_once('-') {
        Some((rest, date)) if digits(date, &[4, 8]) => rest,
        _ => model,
    }
}

/// The file with LLaMA-3's tokenizer: on its own, or inside the 2B model.
fn find_llama3(models: &Path, cache: Option<&ModelCache>) -> Option<PathBuf> {
    let folder = models.join(DEFAULT_MODEL.repository.replace('/', "-"));
    let cached = cache.map(|cache| cache.model(DEFAULT_MODEL.sha256));
    let beside = cached
        .as_ref()
        .map(|model| model.with_file_name("tokenizer.json"));
    [
        Some(models.join("tokenizer.json")),
        Some(models.join("tokenizer.model")),
        Some(folder.join("tokenizer.json")),
        Some(folder.join(DEFAULT_MODEL.file)),
        beside,
        cached,
    ]
    .into_iter()
    .flatten()
    .find(|path| path.is_file())
}

/// Tokens of a text in no known encoding: one for every four ASCII characters, one for every other
/// character.
pub fn estimate(text: &str) -> usize {
    let ascii = text.bytes().filter(u8::is_ascii).count();
    let others = text.chars().count() - ascii;
    ascii.div_ceil(4) + others
}

/// A model with its tokenizer loaded: counts texts.
pub struct Meter {
    spec: ModelSpec,
    tokenizer: Option<Loaded>,
}

enum Loaded {
    Embedded(&'static Tokenizer),
    Read(Box<Tokenizer>),
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter")
            .field("spec", &self.spec)
            .finish_non_exhaustive()
    }
}

impl Meter {
    /// Loads what the model is counted with. Where a file found for LLaMA-3 turns out to hold
    /// another vocabulary, the model is counted by its family.
    ///
    /// # Errors
    /// A file that was named is no tokenizer and holds none.
    pub fn load(mut spec: ModelSpec) -> Result<Meter, Error> {
        let tokenizer = match &spec.encoding {
            None => None,
            Some(EncodingSpec::Embedded(encoding)) => Some(Loaded::Embedded(encoding.tokenizer())),
            Some(EncodingSpec::File(path)) => {
                let read = read(path);
                if spec.family != Family::Llama3 {
                    Some(Loaded::Read(Box::new(read?)))
                } else {
                    match read {
                        Ok(read) if read.vocab_size() == LLAMA3_TOKENS => {
                            Some(Loaded::Read(Box::new(read)))
                        }
                        other => {
                            let problem = match other {
                                Ok(read) => format!("{} tokens", read.vocab_size()),
                                Err(error) => error.to_string(),
                            };
                            log::warn!("{} is not LLaMA-3's tokenizer: {problem}", path.display());
                            spec.encoding = Some(LLAMA3_RELATIVE);
                            spec.accuracy = Accuracy::Family;
                            Some(Loaded::Embedded(Encoding::Cl100kBase.tokenizer()))
                        }
                    }
                }
            }
        };
        Ok(Meter { spec, tokenizer })
    }

    /// The model.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// Its tokenizer; none where tokens are estimated.
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        self.tokenizer.as_ref().map(|loaded| match loaded {
            Loaded::Embedded(tokenizer) => *tokenizer,
            Loaded::Read(tokenizer) => &**tokenizer,
        })
    }

    /// A counter for many texts.
    pub fn counter(&self) -> TextCounter<'_> {
        TextCounter(self.tokenizer().map(Tokenizer::counter))
    }
}

/// Counts the tokens of texts for a [`Meter`].
pub struct TextCounter<'a>(Option<crate::Counter<'a>>);

impl TextCounter<'_> {
    /// The tokens of a text by itself: nothing is put before it. Exact or estimated, as the model's
    /// label says.
    ///
    /// # Errors
    /// The tokenizer's rules fail on the text.
    pub fn count(&mut self, text: &str, special: crate::Special) -> Result<usize, Error> {
        match &mut self.0 {
            Some(counter) => counter.count(
                text,
                Encode {
                    bos: false,
                    special,
                },
            ),
            None => Ok(estimate(text)),
        }
    }
}

/// The tokenizer in a file, or the one that belongs to a GGUF file.
fn read(path: &Path) -> Result<Tokenizer, Error> {
    if path.extension().is_none_or(|ending| ending != "gguf") {
        return Tokenizer::from_file(path);
    }
    let gguf = Gguf::open(path)?;
    TokenizerDiscovery::new(path)
        .discover(None, &gguf)?
        .load(&gguf)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        const PARTS: [&str; 24] = [
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
                assert_eq!(registry.resolve(name), registry.known(entry));
                let full = format!("{}/{name}", entry.provider.name());
                assert_eq!(registry.resolve(&full), registry.known(entry));
            }
        }
        assert_eq!(registry.models().count(), CATALOGUE.len());
    }

    #[test]
    fn llama3_is_exact_with_its_file_and_family_without() {
        let folder = tempfile::tempdir().expect("a folder");
        let models = folder.path().join("models");
        assert_eq!(find_llama3(&models, None), None);
        std::fs::create_dir(&models).expect("created");
        let path = models.join("tokenizer.json");
        let other = r#"{"version":"1.0","truncation":null,"padding":null,"normalizer":null,"pre_tokenizer":null,
            "post_processor":null,"decoder":null,"added_tokens":[],
            "model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":[]}}"#;
        std::fs::write(&path, other).expect("written");
        assert_eq!(find_llama3(&models, None), Some(path.clone()));
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

    #[test]
    fn estimates_grow_with_the_text() {
        assert_eq!(estimate(""), 0);
        assert_eq!(estimate("abc"), 1);
        assert_eq!(estimate("abcde"), 2);
        assert_eq!(estimate("日本"), 2);
        assert_eq!(estimate("aé"), 2);
    }
}
