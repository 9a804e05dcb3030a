//! Which kernels there are, and how each fills the holes of its source.

use std::collections::BTreeMap;
use std::fmt;

use super::template::{Source, source};
use crate::format::{Encoding, Format, Storage};
use crate::program::{Activation, CacheType, Pairing};

/// The longest row of weights with a scale per 256 that a matrix-vector product takes.
pub const MAX_BLOCK_COLS: usize = 30_720;

/// Keys that share a softmax maximum, counted from position 0.
pub const SPAN: usize = 256;

/// The most experts that a token is routed among.
pub const MAX_EXPERTS: usize = 1024;

/// The longest head that attention takes.
pub const MAX_HEAD_DIM: usize = 256;

/// The longest head that the delta rule takes: one value element for each thread.
pub const MAX_DELTA_SIZE: usize = 256;

/// What a product does with its results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Store {
    /// Overwrites the output.
    Set,
    /// Adds to the output.
    Add,
    /// Rows of a gate and its factor alternate; the output gets `activation(gate) * factor`.
    Gated(Activation),
}

/// What attention over a span computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Softmax {
    /// Everything at once, relative to the span's maximum.
    Online,
    /// Maximum and sum of weights only.
    Totals,
    /// Values weighted with weights that are rounded to binary16, by the totals of all spans.
    Rounded,
}

/// A kernel, but for the sizes that are pipeline constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kernel {
    /// Rows of the embedding.
    Embed(Format),
    /// Rows stored in an encoding, after an RMS norm or as they are.
    Encode {
        /// Whether the norm comes first.
        norm: bool,
        /// How rows are stored.
        encoding: Encoding,
        /// Vectors of four values that a thread keeps: at least `width / (4 * threads)`.
        vectors: u32,
    },
    /// An RMS norm of each head, in place.
    HeadNorm,
    /// A matrix product, token by token.
    Gemv(Format, Store),
    /// A matrix product over tiles of tokens; ternary formats only.
    Gemm(Format, Store),
    /// The experts of each token, and their shares.
    Route,
    /// A matrix product, routed row by routed row, each with the matrix of its expert; formats with
    /// a scale per 256 only.
    ExpertGemv {
        /// Of the weights.
        format: Format,
        /// Nothing is added to.
        store: Store,
        /// Whether a gate and its factor are bounded.
        clamped: bool,
    },
    /// Results of experts, summed.
    Mix,
    /// Rotation of heads in place.
    Rotate(Pairing),
    /// Rotation, and the write to the cache.
    RopeStore(CacheType, Pairing),
    /// Attention over one span of keys.
    AttentionSpan(CacheType, Softmax),
    /// Spans merged; or added, where their weights were rounded.
    AttentionMerge(Softmax),
    /// Parts of rows to two buffers in turn.
    Deinterleave,
    /// Rows times the activation of a gate, in place.
    Gate(Activation),
    /// A causal convolution and its SiLU.
    Convolve,
    /// The gated delta rule.
    DeltaRule,
    /// Selected rows.
    Select,
    /// The best few of each chunk of logits.
    TopChunk,
    /// The best few of all chunks.
    TopMerge,
}

/// What the device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The size of every subgroup, where the device has subgroups of one size, a power of two.
    pub subgroup: Option<u32>,
    /// Threads of the widest workgroup: 256 or 1024.
    pub threads: u32,
}

impl Target {
    /// What every device has.
    pub const PORTABLE: Target = Target {
        subgroup: None,
        threads: 256,
    };
}

impl Kernel {
    /// The kernel's name: that of its source, as the recorder counts it.
    pub const fn name(&self) -> &'static str {
        match self {
            Kernel::Embed(_) => "wgsl_embed",
            Kernel::Encode { norm: true, .. } => "wgsl_norm_encode",
            Kernel::Encode { .. } => "wgsl_encode",
            Kernel::HeadNorm => "wgsl_head_norm",
            Kernel::Gemv(format, _) => match stored(*format) {
                Storage::Floats => "wgsl_float_gemv",
                Storage::Trits => "wgsl_ternary_gemv",
                Storage::ScaledTrits => "wgsl_ternary_block_gemv",
                Storage::Codes => "wgsl_codes_gemv",
                Storage::Bytes => "wgsl_q8_0_gemv",
                Storage::SubScaledBytes => "wgsl_q6_k_gemv",
                Storage::BytesWithMinima => "wgsl_minima_gemv",
            },
            Kernel::Gemm(..) => "wgsl_ternary_gemm",
            Kernel::Route => "wgsl_route",
            Kernel::ExpertGemv { .. } => "wgsl_expert_gemv",
            Kernel::Mix => "wgsl_mix",
            Kernel::Rotate(_) => "wgsl_rotate",
            Kernel::RopeStore(..) => "wgsl_rope_store",
            Kernel::AttentionSpan(..) => "wgsl_attention_span",
            Kernel::AttentionMerge(_) => "wgsl_attention_merge",
            Kernel::Deinterleave => "wgsl_deinterleave",
            Kernel::Gate(_) => "wgsl_gate",
            Kernel::Convolve => "wgsl_convolve",
            Kernel::DeltaRule => "wgsl_delta_rule",
            Kernel::Select => "wgsl_select",
            Kernel::TopChunk => "wgsl_top_chunk",
            Kernel::TopMerge => "wgsl_top_merge",
        }
    }

    /// The source below `shaders/`.
    pub(super) const fn source(&self) -> Source {
        match self {
            Kernel::Embed(_) => source!("embed.wgsl"),
            Kernel::Encode { .. } => source!("encode.wgsl"),
            Kernel::HeadNorm => source!("head_norm.wgsl"),
            Kernel::Gemv(format, _) => match stored(*format) {
                Storage::Floats => source!("float_gemv.wgsl"),
                Storage::Trits => source!("ternary_gemv.wgsl"),
                Storage::ScaledTrits => source!("ternary_block_gemv.wgsl"),
                Storage::Codes => source!("codes_gemv.wgsl"),
                Storage::Bytes => source!("q8_0_gemv.wgsl"),
                Storage::SubScaledBytes => source!("q6_k_gemv.wgsl"),
                Storage::BytesWithMinima => source!("minima_gemv.wgsl"),
            },
            Kernel::Gemm(..) => source!("ternary_gemm.wgsl"),
            Kernel::Route => source!("route.wgsl"),
            Kernel::ExpertGemv { .. } => source!("ternary_block_gemv.wgsl"),
            Kernel::Mix => source!("mix.wgsl"),
            Kernel::Rotate(_) => source!("rotate.wgsl"),
            Kernel::RopeStore(..) => source!("rope_store.wgsl"),
            Kernel::AttentionSpan(..) => source!("attention_span.wgsl"),
            Kernel::AttentionMerge(_) => source!("attention_merge.wgsl"),
            Kernel::Deinterleave => source!("deinterleave.wgsl"),
            Kernel::Gate(_) => source!("gate.wgsl"),
            Kernel::Convolve => source!("convolve.wgsl"),
            Kernel::DeltaRule => source!("delta_rule.wgsl"),
            Kernel::Select => source!("select.wgsl"),
            Kernel::TopChunk => source!("top_chunk.wgsl"),
            Kernel::TopMerge => source!("top_merge.wgsl"),
        }
    }

    /// Rows of a matrix that a workgroup of this product computes, or `None` if it is no product.
    pub const fn rows_per_workgroup(&self, target: Target) -> Option<u32> {
        match self {
            Kernel::Gemv(format, _) if matches!(stored(*format), Storage::ScaledTrits) => Some(4),
            Kernel::ExpertGemv { .. } => Some(4),
            Kernel::Gemv(..) => Some(256 / lanes(target)),
            Kernel::Gemm(..) => Some(64),
            _ => None,
        }
    }

    /// What fills the holes of the source.
    pub(super) fn holes(&self, target: Target) -> BTreeMap<&'static str, String> {
        let mut holes = BTreeMap::new();
        let mut set = |name, value: &dyn ToString| {
            holes.insert(name, value.to_string());
        };
        let threads = match self {
            Kernel::Encode { .. } => target.threads,
            _ => 256,
        };
        set("THREADS", &threads);
        set("LANES", &lanes(target));
        if target.subgroup.is_some() {
            set("SUBGROUPS", &"");
        }
        match *self {
            Kernel::Embed(format) => set_format(&mut set, format),
            Kernel::Encode {
                norm,
                encoding,
                vectors,
            } => {
                set("VECTORS", &vectors);
                set("NORMED", &if norm { "after an" } else { "without" });
                if norm {
                    set("NORM", &"");
                }
                let (name, block) = match encoding {
                    Encoding::F32 => ("F32", None),
                    Encoding::I8 => ("I8", None),
                    Encoding::Q8K => ("Q8K", Some(64)),
                    Encoding::Q8_0 => ("Q8_0", Some(8)),
                };
                set("ENCODING", &name);
                set(name, &"");
                if matches!(encoding, Encoding::I8 | Encoding::Q8K) {
                    set("PERMUTED", &"");
                }
                if let Some(threads) = block {
                    set("BLOCKS", &"");
                    set("BLOCK_THREADS", &threads);
                }
            }
            Kernel::Route => set("EXPERTS_PER_THREAD", &(MAX_EXPERTS / 256)),
            Kernel::Gemv(format, store)
            | Kernel::Gemm(format, store)
            | Kernel::ExpertGemv { format, store, .. } => {
                if let Kernel::ExpertGemv { clamped, .. } = *self {
                    set("EXPERTS", &"");
                    if clamped {
                        set("CLAMPED", &"");
                    }
                }
                set_format(&mut set, format);
                let trits = stored(format) == Storage::Trits;
                set("TYPE", &if trits { "i32" } else { "f32" });
                set("MAX_COLS", &MAX_BLOCK_COLS);
                set("PARTIALS", &(MAX_BLOCK_COLS / 32 * 4));
                match store {
                    Store::Set => {}
                    Store::Add => set("ACCUMULATE", &""),
                    Store::Gated(activation) => {
                        set("GATED", &"");
                        set_activation(&mut set, activation);
                    }
                }
            }
            Kernel::Rotate(pairing) => {
                if pairing == Pairing::Halves {
                    set("HALVES", &"");
                }
            }
            Kernel::RopeStore(cache, pairing) => {
                set_cache(&mut set, cache);
                if pairing == Pairing::Halves {
                    set("HALVES", &"");
                }
            }
            Kernel::AttentionSpan(cache, softmax) => {
                set_cache(&mut set, cache);
                set_softmax(&mut set, softmax);
            }
            Kernel::AttentionMerge(softmax) => set_softmax(&mut set, softmax),
            Kernel::Gate(activation) => set_activation(&mut set, activation),
            Kernel::Convolve => set_activation(&mut set, Activation::Silu),
            Kernel::DeltaRule => set("MAX_SIZE", &MAX_DELTA_SIZE),
            Kernel::HeadNorm
            | Kernel::Mix
            | Kernel::Deinterleave
            | Kernel::Select
            | Kernel::TopChunk
            | Kernel::TopMerge => {}
        }
        holes
    }
}

/// The permutation in words that make a file name: `ternary_gemv-i2_s-add`.
impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name().trim_start_matches("wgsl_");
        let words = match self {
            Kernel::Embed(format) => format!("-{format}"),
            Kernel::Encode {
                encoding, vectors, ..
            } => format!("-{encoding:?}-{vectors}"),
            Kernel::Gemv(format, store) | Kernel::Gemm(format, store) => match store {
                Store::Gated(activation) => format!("-{format}-gated-{activation:?}"),
                store => format!("-{format}-{store:?}"),
            },
            Kernel::ExpertGemv {
                format,
                store,
                clamped,
            } => {
                let gated = match store {
                    Store::Gated(activation) => format!("-gated-{activation:?}"),
                    store => format!("-{store:?}"),
                };
                format!("-{format}{gated}{}", if *clamped { "-clamped" } else { "" })
            }
            Kernel::Rotate(pairing) => format!("-{pairing:?}"),
            Kernel::RopeStore(cache, pairing) => format!("-{cache:?}-{pairing:?}"),
            Kernel::AttentionSpan(cache, softmax) => format!("-{cache:?}-{softmax:?}"),
            Kernel::AttentionMerge(softmax) => format!("-{softmax:?}"),
            Kernel::Gate(activation) => format!("-{activation:?}"),
            Kernel::HeadNorm
            | Kernel::Route
            | Kernel::Mix
            | Kernel::Deinterleave
            | Kernel::Convolve
            | Kernel::DeltaRule
            | Kernel::Select
            | Kernel::TopChunk
            | Kernel::TopMerge => String::new(),
        };
        write!(f, "{name}{}", words.to_lowercase())
    }
}

/// The target in words that make a file name: `portable`, `subgroup32-1024`.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.subgroup {
            None => f.write_str("portable"),
            Some(size) => write!(f, "subgroup{size}-{}", self.threads),
        }
    }
}

/// Threads that share a row of a matrix.
const fn lanes(target: Target) -> u32 {
    match target.subgroup {
        Some(size) => size,
        None => 32,
    }
}

fn set_activation(set: &mut dyn FnMut(&'static str, &dyn ToString), activation: Activation) {
    match activation {
        Activation::Silu => set("SILU", &""),
        Activation::Sigmoid => set("SIGMOID", &""),
        Activation::Relu2 => set("RELU2", &""),
    }
}

/// How weights of a format that has shaders lie.
const fn stored(format: Format) -> Storage {
    match format.storage() {
        Some(storage) => storage,
        None => panic!("a kernel for a format that no shader reads"),
    }
}

fn set_format(set: &mut dyn FnMut(&'static str, &dyn ToString), format: Format) {
    let storage = stored(format);
    set("FORMAT", &format);
    set(format.name(), &"");
    set(storage.flag(), &"");
    if matches!(format, Format::F16 | Format::BF16) {
        set("HALF", &"");
    }
    if storage == Storage::Codes {
        set("BLOCK", &format.block_len());
        set("BLOCK_WORDS", &(format.block_len() / 16));
    }
}

fn set_softmax(set: &mut dyn FnMut(&'static str, &dyn ToString), softmax: Softmax) {
    match softmax {
        Softmax::Online => {}
        Softmax::Totals => set("TOTALS", &""),
        Softmax::Rounded => set("ROUNDED", &""),
    }
}

fn set_cache(set: &mut dyn FnMut(&'static str, &dyn ToString), cache: CacheType) {
    match cache {
        CacheType::F16 => {
            set("F16", &"");
            set("CACHE", &"two of binary16");
        }
        CacheType::F32 => set("CACHE", &"one of binary32"),
    }
}

/// Every kernel for every kind of target: what tests validate and snapshots show.
pub fn permutations() -> Vec<(Kernel, Target)> {
    let stores = [
        Store::Set,
        Store::Add,
        Store::Gated(Activation::Silu),
        Store::Gated(Activation::Relu2),
    ];
    let mut kernels = vec![
        Kernel::HeadNorm,
        Kernel::Route,
        Kernel::Mix,
        Kernel::AttentionMerge(Softmax::Online),
        Kernel::AttentionMerge(Softmax::Rounded),
        Kernel::Deinterleave,
        Kernel::Gate(Activation::Silu),
        Kernel::Gate(Activation::Sigmoid),
        Kernel::Convolve,
        Kernel::DeltaRule,
        Kernel::Select,
        Kernel::TopChunk,
        Kernel::TopMerge,
    ];
    for format in Format::ALL {
        let Some(storage) = format.storage() else {
            continue;
        };
        if storage.embeds() {
            kernels.push(Kernel::Embed(format));
        }
        for store in stores {
            kernels.push(Kernel::Gemv(format, store));
            if storage.has_gemm() {
                kernels.push(Kernel::Gemm(format, store));
            }
        }
    }
    for encoding in [Encoding::F32, Encoding::I8, Encoding::Q8K, Encoding::Q8_0] {
        for (norm, vectors) in [(false, 1), (false, 7), (true, 1), (true, 7)] {
            kernels.push(Kernel::Encode {
                norm,
                encoding,
                vectors,
            });
        }
    }
    for pairing in [Pairing::Adjacent, Pairing::Halves] {
        kernels.push(Kernel::Rotate(pairing));
    }
    for format in [Format::TQ1_0, Format::TQ2_0] {
        for (store, clamped) in [
            (Store::Set, false),
            (Store::Gated(Activation::Silu), false),
            (Store::Gated(Activation::Silu), true),
        ] {
            kernels.push(Kernel::ExpertGemv {
                format,
                store,
                clamped,
            });
        }
    }
    for cache in [CacheType::F16, CacheType::F32] {
        for softmax in [Softmax::Online, Softmax::Totals, Softmax::Rounded] {
            kernels.push(Kernel::AttentionSpan(cache, softmax));
        }
        for pairing in [Pairing::Adjacent, Pairing::Halves] {
            kernels.push(Kernel::RopeStore(cache, pairing));
        }
    }
    let targets = [
        Target::PORTABLE,
        Target {
            subgroup: Some(8),
            threads: 256,
        },
        Target {
            subgroup: Some(32),
            threads: 1024,
        },
        Target {
            subgroup: Some(64),
            threads: 1024,
        },
    ];
    targets
        .into_iter()
        .flat_map(|target| kernels.iter().map(move |kernel| (*kernel, target)))
        .collect()
}
