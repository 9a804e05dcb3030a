//! What a file's metadata says about its model.

use bitnet_gguf::{Gguf, Metadata};
use bitnet_kernels::program::Rope;

use crate::architecture::Architecture;
use crate::error::Problem;

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
    /// Width of the feed-forward network.
    pub feed_forward: usize,
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
}

/// Largest width, count of heads or vocabulary taken seriously. Guards size computations.
const LIMIT: u64 = 1 << 24;

impl Config {
    /// Reads the metadata of a file.
    ///
    /// # Errors
    /// Everything in it that no graph here can be built from.
    pub fn read(gguf: &Gguf) -> Result<Config, Vec<Problem>> {
        let metadata = gguf.metadata();
        let name = match metadata.str("general.architecture") {
            Ok(name) => name,
            Err(error) => return Err(vec![Problem::Metadata(error.to_string())]),
        };
        let Some(architecture) = Architecture::named(name) else {
            return Err(vec![Problem::Architecture(name.to_owned())]);
        };
        let mut keys = Keys {
            metadata,
            prefix: name,
            problems: Vec::new(),
        };
        let embedding = keys.size("embedding_length");
        let heads = keys.size("attention.head_count");
        let kv_heads = keys.size_or("attention.head_count_kv", heads);
        let even = embedding.checked_div(heads).unwrap_or(0);
        let head_dim = keys.size_or("attention.key_length", even);
        let table = gguf
            .tensor("token_embd.weight")
            .and_then(|table| table.shape.get(1).copied());
        let table = usize::try_from(table.unwrap_or(0)).unwrap_or(0);
        let windowed = architecture.layers.iter().any(|layer| layer.windowed);
        let config = Config {
            architecture,
            name: metadata
                .get("general.name")
                .and_then(|name| name.as_str())
                .map(str::to_owned),
            vocabulary: keys.size_or("vocab_size", table),
            context: keys.size("context_length"),
            embedding,
            layers: keys.size("block_count"),
            feed_forward: keys.size("feed_forward_length"),
            heads,
            kv_heads,
            head_dim,
            window: windowed.then(|| keys.size("attention.sliding_window")),
            eps: keys.number("attention.layer_norm_rms_epsilon", None),
            rope: Rope {
                dims: keys.size_or("rope.dimension_count", head_dim),
                base: keys.number("rope.freq_base", Some(10000.0)),
                pairing: architecture.pairing,
                factors: Vec::new(),
            },
        };
        keys.check(&config);
        if keys.problems.is_empty() {
            Ok(config)
        } else {
            Err(keys.problems)
        }
    }
}

struct Keys<'a> {
    metadata: &'a Metadata,
    prefix: &'a str,
    problems: Vec<Problem>,
}

impl Keys<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    fn size(&mut self, name: &str) -> usize {
        let key = self.key(name);
        let value = match self.metadata.u64(&key) {
            Ok(value) => value,
            Err(error) => {
                self.problems.push(Problem::Metadata(error.to_string()));
                return 0;
            }
        };
        if value == 0 || value > LIMIT {
            self.problems.push(Problem::Metadata(format!(
                "metadata `{key}` is {value}, not in 1 ..= {LIMIT}"
            )));
            return 0;
        }
        value as usize
    }

    fn size_or(&mut self, name: &str, default: usize) -> usize {
        if self.metadata.get(&self.key(name)).is_some() {
            self.size(name)
        } else {
            default
        }
    }

    fn number(&mut self, name: &str, default: Option<f32>) -> f32 {
        let key = self.key(name);
        if let (None, Some(default)) = (self.metadata.get(&key), default) {
            return default;
        }
        match self.metadata.f32(&key) {
            Ok(value) if value.is_finite() && value > 0.0 => value,
            Ok(value) => {
                let text = format!("metadata `{key}` is {value}, not a positive number");
                self.problems.push(Problem::Metadata(text));
                1.0
            }
            Err(error) => {
                self.problems.push(Problem::Metadata(error.to_string()));
                1.0
            }
        }
    }

    /// What must hold between the values, and what the graphs leave out.
    fn check(&mut self, config: &Config) {
        if !self.problems.is_empty() {
            return;
        }
        let mut refuse = |text: String| self.problems.push(Problem::Shape(text));
        let Config {
            heads,
            kv_heads,
            head_dim,
            embedding,
            ..
        } = *config;
        if heads % kv_heads != 0 {
            refuse(format!(
                "{heads} heads cannot share {kv_heads} key-value heads evenly"
            ));
        }
        if config.head_dim == 0 {
            refuse(format!(
                "{heads} heads do not fit an embedding of {embedding}"
            ));
        }
        let dims = config.rope.dims;
        if !dims.is_multiple_of(2) || dims > head_dim {
            refuse(format!(
                "rope.dimension_count is {dims}; it must be even and at most {head_dim}"
            ));
        }
        let key = self.key("rope.scaling.type");
        let scaling = self.metadata.get(&key).and_then(|value| value.as_str());
        if let Some(found) = scaling.filter(|found| *found != "none") {
            let text = format!("metadata `{key}` is `{found}`; scaled rotation is not supported");
            self.problems.push(Problem::Metadata(text));
        }
        let value_length = self.size_or("attention.value_length", head_dim);
        if value_length != head_dim {
            self.problems.push(Problem::Shape(format!(
                "values of {value_length} elements beside keys of {head_dim} are not supported"
            )));
        }
        if self.size_or_zero("expert_count") > 0 {
            let text = "mixtures of experts are not supported".to_owned();
            self.problems.push(Problem::Shape(text));
        }
    }

    fn size_or_zero(&self, name: &str) -> u64 {
        self.metadata.u64(&self.key(name)).unwrap_or(0)
    }
}
