//! What a file's metadata says about its model.

mod delta_net;
mod experts;
mod ranges;
mod rope;
mod scales;
mod sections;

use std::collections::HashSet;
use std::ops::RangeInclusive;

use bitnet_gguf::{Gguf, Shown};
use bitnet_kernels::program::{Activation, Rope};

use crate::architecture::{Architecture, Layer, Mixer};
use crate::error::Problem;
use crate::metadata::{KeyAccount, Keys};
pub use delta_net::DeltaNet;
pub use experts::Mixture;
use ranges::BASES;
pub use scales::Scales;

/// The shape of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Its graph.
    pub architecture: &'static Architecture,
    /// `general.name`, where there is one.
    pub name: Option<String>,
    /// Tokens of the vocabulary.
    pub vocabulary: usize,
    /// Positions it was trained for.
    pub context: usize,
    /// Width of the residual stream.
    pub embedding: usize,
    /// Layers.
    pub layers: usize,
    /// Width of the feed-forward network, where it is none of experts.
    pub feed_forward: usize,
    /// The experts, where the graph has any.
    pub mixture: Option<Mixture>,
    /// The gate's activation function: the file's, or that of the architecture.
    pub activation: Activation,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Added to the mean square in norms.
    pub eps: f32,
    /// The most positions that a token sees in windowed layers, where the graph has any.
    pub window: Option<usize>,
    /// Rotation of queries and keys, in layers that rotate; the factors are a tensor's and still
    /// empty here.
    pub rope: Rope,
    /// What the file says each block is, where the architecture leaves it to the file.
    pub pattern: Vec<bool>,
    /// Blocks behind the last layer that are a draft head (`nextn_predict_layers`) and no part of a
    /// forward pass.
    pub draft_blocks: usize,
    /// The gated delta net, where the graph has any.
    pub delta_net: Option<DeltaNet>,
    /// The base of the rotation in windowed layers.
    pub windowed_base: f32,
    /// The largest capacity of a sequence that is rotated by short factors, where the file has long
    /// ones too (`rope.scaling.type` is `longrope`).
    pub short_until: Option<usize>,
    /// Factors on the embedding, what layers add and the logits.
    pub scales: Scales,
}

/// Values of the epsilon under norms that are taken seriously; models have 1e-6 and 1e-5.
const EPSILONS: RangeInclusive<f32> = 1e-30..=0.1;

impl Config {
    /// Reads the metadata of a file.
    ///
    /// # Errors
    /// Everything in it that no graph here can be built from.
    pub fn read(gguf: &Gguf) -> Result<Config, Vec<Problem>> {
        Config::accounted(gguf).1
    }

    /// What becomes of each key of a file, and what its metadata says or is wrong with it.
    pub(crate) fn accounted(gguf: &Gguf) -> (Vec<KeyAccount>, Result<Config, Vec<Problem>>) {
        let metadata = gguf.metadata();
        let name = metadata.str("general.architecture");
        let architecture = name.as_ref().ok().copied().and_then(Architecture::named);
        let prefix = name.as_ref().map_or("", |name| *name);
        let mut keys = Keys::new(metadata, prefix, architecture.is_some());
        let config = match (architecture, &name) {
            (Some(architecture), _) => Some(Config::of(architecture, gguf, &mut keys)),
            (None, Ok(name)) => {
                keys.refuse(Problem::Architecture((*name).to_owned()));
                None
            }
            (None, Err(error)) => {
                keys.refuse(Problem::Metadata(error.to_string()));
                None
            }
        };
        let (accounts, problems) = keys.account();
        let config = config.filter(|_| problems.is_empty()).ok_or(problems);
        (accounts, config)
    }

    /// The shape of a model of this architecture. What is wrong is noted with the keys.
    fn of(architecture: &'static Architecture, gguf: &Gguf, keys: &mut Keys<'_>) -> Config {
        architecture
            .expected
            .iter()
            .for_each(|name| keys.expect(name));
        let blocks = keys.size("block_count");
        let draft_blocks = draft_blocks(architecture, blocks, keys);
        let layers = blocks - draft_blocks;
        let embedding = keys.size("embedding_length");
        let heads = keys.size_of_layers("attention.head_count", layers);
        let kv_heads = match keys.has("attention.head_count_kv") {
            true => keys.size_of_layers("attention.head_count_kv", layers),
            false => heads,
        };
        let even = embedding.checked_div(heads).unwrap_or(0);
        let head_dim = keys.size_or("attention.key_length", even);
        let table = gguf
            .tensor("token_embd.weight")
            .and_then(|table| table.shape.get(1).copied());
        let table = usize::try_from(table.unwrap_or(0)).unwrap_or(0);
        let eps = keys.number_within("attention.layer_norm_rms_epsilon", None, EPSILONS);
        let is_delta_net = |layer: &Layer| layer.mixer == Mixer::DeltaNet;
        let delta_net = architecture.layers.iter().any(is_delta_net);
        let windowed = architecture.layers.iter().any(|layer| layer.windowed);
        let mixed = architecture.layers.iter().any(|layer| layer.experts);
        let dense = architecture.layers.iter().any(|layer| !layer.experts);
        let rope = rope::read(keys, architecture, head_dim);
        let config = Config {
            architecture,
            name: gguf
                .metadata()
                .get("general.name")
                .and_then(|name| name.as_str())
                .map(str::to_owned),
            vocabulary: keys.size_or("vocab_size", table),
            context: keys.size("context_length"),
            embedding,
            layers,
            feed_forward: match dense {
                true => keys.size_of_layers("feed_forward_length", layers),
                false => 0,
            },
            mixture: mixed.then(|| experts::read(keys, layers)),
            activation: activation(keys).unwrap_or(architecture.activation),
            heads,
            kv_heads,
            head_dim,
            window: windowed.then(|| keys.size("attention.sliding_window")),
            eps,
            windowed_base: match windowed {
                true => keys.number_within("rope.freq_base_swa", Some(rope.base), BASES),
                false => rope.base,
            },
            short_until: rope::short_until(keys),
            rope,
            scales: scales::read(keys, architecture, embedding, layers),
            pattern: pattern(architecture, blocks, keys),
            draft_blocks,
            delta_net: delta_net.then(|| DeltaNet::read(eps, keys)),
        };
        check(&config, gguf, keys);
        config
    }

    /// What layer `index` is.
    pub fn layer(&self, index: usize) -> &'static Layer {
        let layers = self.architecture.layers;
        match self.pattern.get(index) {
            Some(first) => &layers[usize::from(!first)],
            None => &layers[index % layers.len()],
        }
    }
}

/// What the file says each block is; nothing where the architecture says it.
fn pattern(architecture: &Architecture, blocks: usize, keys: &mut Keys<'_>) -> Vec<bool> {
    let Some(name) = architecture.pattern else {
        return Vec::new();
    };
    if let Some((interval, default)) = architecture.interval.filter(|_| !keys.has(name)) {
        let interval = keys.size_or(interval, default).max(1);
        let is_first = |block: usize| !(block + 1).is_multiple_of(interval);
        return (0..blocks).map(is_first).collect();
    }
    if let Some((interval, _)) = architecture.interval {
        keys.pass_over(interval, format!("`{name}` says what layers are"));
    }
    keys.flags(name, blocks).unwrap_or_default()
}

/// Blocks of a draft head, the last of `blocks`.
fn draft_blocks(architecture: &Architecture, blocks: usize, keys: &mut Keys<'_>) -> usize {
    const NAME: &str = "nextn_predict_layers";
    if !architecture.draft_head {
        return 0;
    }
    let count = keys.count(NAME);
    if count > 0 && count >= blocks {
        let what = format!("is {count}, which leaves no layer of {blocks} blocks");
        keys.refuse_value(NAME, &what);
        return 0;
    }
    count
}

/// The activation that the file asks for, by the names of transformers.
fn activation(keys: &mut Keys<'_>) -> Option<Activation> {
    // The second is what converters wrote before llama.cpp had the first.
    let mut found = None;
    for name in ["hidden_activation", "hidden_act"] {
        let Some(text) = keys.text(name) else {
            continue;
        };
        let activation = match text {
            "silu" | "swish" => Activation::Silu,
            "relu2" | "relu_squared" | "squared_relu" => Activation::Relu2,
            _ => {
                let what = format!("is \"{}\"; supported are silu and relu2", Shown(text));
                keys.refuse_value(name, &what);
                continue;
            }
        };
        if *found.get_or_insert(activation) != activation {
            keys.refuse_value(name, "says something else than `hidden_activation`");
        }
    }
    found
}

/// What must hold between the values.
fn check(config: &Config, gguf: &Gguf, keys: &mut Keys<'_>) {
    let Config {
        heads,
        kv_heads,
        head_dim,
        embedding,
        layers,
        ..
    } = *config;
    let dims = config.rope.dims;
    let value_length = keys.size_or("attention.value_length", head_dim);
    let scale = keys.number_within("attention.scale", Some(0.0), f32::MIN..=f32::MAX);
    if !keys.is_sound() {
        return;
    }
    if heads % kv_heads != 0 {
        keys.refuse(Problem::Shape(format!(
            "{heads} heads cannot share {kv_heads} key-value heads evenly"
        )));
    }
    if head_dim == 0 {
        keys.refuse(Problem::Shape(format!(
            "{heads} heads do not fit an embedding of {embedding}"
        )));
    }
    if !dims.is_multiple_of(2) || dims > head_dim {
        let what = format!("is {dims}; it must be even and at most {head_dim}");
        keys.refuse_value("rope.dimension_count", &what);
    }
    if value_length != head_dim {
        let what = format!("is {value_length} beside keys of {head_dim}: not supported");
        keys.refuse_value("attention.value_length", &what);
    }
    // 0 stands for the usual one.
    if scale != 0.0 && (scale * (head_dim as f32).sqrt() - 1.0).abs() > 1e-6 {
        let what = format!("is {scale}: scores are scaled by 1 / sqrt({head_dim}) alone");
        keys.refuse_value("attention.scale", &what);
    }
    let found = layers_with_tensors(gguf);
    if layers > found {
        let what = format!("is {layers}, but the file has tensors of {found} blocks");
        keys.refuse_value("block_count", &what);
    }
}

/// How many layers (`blk.N.`) the tensors belong to.
fn layers_with_tensors(gguf: &Gguf) -> usize {
    let layer = |name: &str| {
        let (number, _) = name.strip_prefix("blk.")?.split_once('.')?;
        number.parse::<u64>().ok()
    };
    let names = gguf.tensors().iter().map(|tensor| &tensor.name);
    names
        .filter_map(|name| layer(name))
        .collect::<HashSet<_>>()
        .len()
}
