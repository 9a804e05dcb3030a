//! The table of keys that are not under a model's prefix, and of whole groups of them.

use bitnet_gguf::keys::{Fate, KeyRule, Kind, Neutral, ZERO};
use bitnet_gguf::{Metadata, Shown, Value};

const fn describes(name: &'static str) -> KeyRule {
    KeyRule::no_effect(name, "it describes the file")
}

const fn sampling(name: &'static str) -> KeyRule {
    KeyRule::no_effect(name, "how tokens are chosen is the user's to say")
}

const fn adapter(name: &'static str) -> KeyRule {
    KeyRule::refused(
        name,
        Neutral::Nothing,
        "this file is an adapter, no model: adapters are",
    )
}

const XIELU: &str = "the activation xIELU is";

/// A row for each key, as llama.cpp reads them (`LLM_KV_NAMES` in its `llama-arch.cpp`).
static RULES: &[KeyRule] = &[
    KeyRule::refused(
        "general.type",
        Neutral::Texts(&["model"]),
        "what is no model (a projector of images, an adapter, an importance matrix) is",
    ),
    KeyRule::honoured("general.architecture"),
    KeyRule::doubtful(
        "general.quantization_version",
        Neutral::Numbers(&[2.0]),
        "tensors are read as version 2 lays them out",
    ),
    KeyRule::honoured("general.alignment"),
    KeyRule::no_effect("general.file_type", "each tensor has a type of its own"),
    sampling("general.sampling.sequence"),
    sampling("general.sampling.top_k"),
    sampling("general.sampling.top_p"),
    sampling("general.sampling.min_p"),
    sampling("general.sampling.xtc_probability"),
    sampling("general.sampling.xtc_threshold"),
    sampling("general.sampling.temp"),
    sampling("general.sampling.penalty_last_n"),
    sampling("general.sampling.penalty_repeat"),
    sampling("general.sampling.mirostat"),
    sampling("general.sampling.mirostat_tau"),
    sampling("general.sampling.mirostat_eta"),
    describes("general.name"),
    describes("general.author"),
    describes("general.version"),
    describes("general.url"),
    describes("general.description"),
    describes("general.license"),
    describes("general.source.url"),
    describes("general.source.huggingface.repository"),
    KeyRule::no_effect(
        "general.tensor_extra.name",
        "no activation has four bits here",
    ),
    KeyRule::no_effect(
        "general.tensor_extra.prec_a4",
        "no activation has four bits here",
    ),
    KeyRule::honoured_as("split.no", Kind::Integer),
    KeyRule::honoured_as("split.count", Kind::Integer),
    KeyRule::honoured_as("split.tensors.count", Kind::Integer),
    adapter("adapter.type"),
    adapter("adapter.lora.alpha"),
    adapter("adapter.lora.task_name"),
    adapter("adapter.lora.prompt_prefix"),
    adapter("adapter.alora.invocation_tokens"),
    KeyRule::refused("xielu.alpha_n", ZERO, XIELU),
    KeyRule::refused("xielu.alpha_p", ZERO, XIELU),
    KeyRule::refused("xielu.beta", ZERO, XIELU),
    KeyRule::refused("xielu.eps", ZERO, XIELU),
];

/// Keys that begin alike and mean the same, whatever follows.
static GROUPS: &[KeyRule] = &[
    describes("general."),
    KeyRule::no_effect("quantize.", "it says how the file was made"),
    KeyRule::no_effect("imatrix.", "it says how the file was made"),
    KeyRule::no_effect("mradermacher.", "it says how the file was made"),
    KeyRule::refused("clip.", Neutral::Nothing, "an encoder of images is"),
];

/// The word by which a transform of activations is known, wherever a key has it
/// (`prism.hadamard.*`):
/// without the transform, every product is noise.
const HADAMARD: &str = "hadamard";

/// What becomes of a key that is neither the model's nor the tokenizer's.
pub(super) fn fate(key: &str, value: &Value, metadata: &Metadata) -> Fate {
    let rule = RULES.iter().find(|rule| rule.name == key);
    let group = || GROUPS.iter().find(|rule| key.starts_with(rule.name));
    match rule.or_else(group).filter(|_| !is_transform(key)) {
        Some(rule) => rule.fate(key, "", value, metadata),
        None => unknown(key),
    }
}

/// What becomes of a key that no table has: a doubt, unless its name says that it matters.
pub(super) fn unknown(key: &str) -> Fate {
    match is_transform(key) {
        true => Fate::Refused(transform(key, 0)),
        false => Fate::unknown(key),
    }
}

/// Whether the key is about a transform of activations.
pub(super) fn is_transform(key: &str) -> bool {
    key.to_ascii_lowercase().contains(HADAMARD)
}

/// All keys about a transform of activations in one sentence, if there are any.
pub(super) fn transforms(metadata: &Metadata) -> Option<String> {
    let mut keys = metadata.iter().map(|(key, _)| key);
    let first = keys.by_ref().find(|key| is_transform(key))?;
    let more = keys.filter(|key| is_transform(key)).count();
    Some(transform(first, more))
}

fn transform(key: &str, more: usize) -> String {
    let more = match more {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "metadata `{}`{more}: the activations of this model go through a Hadamard transform, which \
         is not supported",
        Shown(key)
    )
}
