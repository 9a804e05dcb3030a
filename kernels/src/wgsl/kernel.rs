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
    /// The rows of so many matrices follow one another, two to four, each with its own output.
    Stacked(u32),
    /// The rows of queries, keys and values follow one another: queries are rotated, keys too, and
    /// both of the latter are written to the cache. For products of few tokens.
    Rotated(CacheType, Pairing),
}

/// How a row of f32 is stored before it meets a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Encoder {
    /// Whether it is one of the selected rows of its buffer.
    pub selected: bool,
    /// Whether an RMS norm comes first.
    pub norm: bool,
    /// Vectors of four values that a thread keeps.
    pub vectors: u32,
}

impl Encoder {
    /// That of rows of `width` values.
    pub const fn new(selected: bool, norm: bool, width: usize) -> Encoder {
        Encoder {
            selected,
            norm,
            vectors: (width / 4).div_ceil(THREADS) as u32,
        }
    }
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
    /// Rows stored in an encoding.
    Encode(Encoder, Encoding),
    /// An RMS norm of each head, in place.
    HeadNorm,
    /// A matrix product, token by token. Where it has an encoder, each workgroup stores the row of
    /// activations for itself first.
    Gemv(Format, Store, Option<Encoder>),
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
    /// Attention over one span of keys, of so many query heads that share them: 1, 2 or 4.
    AttentionSpan(CacheType, Softmax, u32),
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
}

impl Target {
    /// What every device has.
    pub const PORTABLE: Target = Target { subgroup: None };
}

impl Kernel {
    /// The kernel's name: that of its source, as the recorder counts it.
    pub const fn name(&self) -> &'static str {
        match self {
            Kernel::Embed(_) => "wgsl_embed",
            Kernel::Encode(Encoder { norm: true, .. }, _) => "wgsl_norm_encode",
            Kernel::Encode(..) => "wgsl_encode",
            Kernel::HeadNorm => "wgsl_head_norm",
            Kernel::Gemv(format, ..) => match stored(*format) {
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
            Kernel::Encode(..) => source!("encode.wgsl"),
            Kernel::HeadNorm => source!("head_norm.wgsl"),
            Kernel::Gemv(format, ..) => match stored(*format) {
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
            Kernel::Gemv(..) | Kernel::ExpertGemv { .. } => {
                let lanes = self.lanes(target);
                Some(THREADS as u32 / lanes * self.rows_of_a_thread(lanes))
            }
            Kernel::Gemm(..) => Some(TILE_ROWS),
            _ => None,
        }
    }

    /// Tokens that a workgroup of this product computes, or `None` if it goes token by token.
    pub const fn tokens_per_workgroup(&self) -> Option<u32> {
        match self {
            Kernel::Gemm(..) => Some(TILE_TOKENS),
            _ => None,
        }
    }

    /// Rows of a matrix that a thread has a part of, where so many threads share one. A workgroup
    /// has 16 rows or more where it makes the activations for them, and where rows of ternary codes
    /// share the loads of activations.
    const fn rows_of_a_thread(&self, lanes: u32) -> u32 {
        match self {
            Kernel::Gemv(_, _, Some(_)) if lanes > 16 => lanes / 16,
            Kernel::Gemv(format, ..) if matches!(stored(*format), Storage::Trits) && lanes > 16 => {
                lanes / 16
            }
            _ => 1,
        }
    }

    /// Threads that share a row of a matrix.
    const fn lanes(&self, target: Target) -> u32 {
        match (self, target.subgroup) {
            // Four rows, whose sums of blocks fit the memory of a workgroup.
            (Kernel::ExpertGemv { .. }, _) => 64,
            (Kernel::Gemv(format, ..), _) if matches!(stored(*format), Storage::ScaledTrits) => 64,
            (_, Some(size)) => size,
            (_, None) => 32,
        }
    }

    /// What fills the holes of the source.
    pub(super) fn holes(&self, target: Target) -> BTreeMap<&'static str, String> {
        let mut holes = BTreeMap::new();
        let mut set = |name, value: &dyn ToString| {
            holes.insert(name, value.to_string());
        };
        let lanes = self.lanes(target);
        set("THREADS", &THREADS);
        set("LANES", &lanes);
        if let Some(size) = target.subgroup {
            set("SUBGROUPS", &"");
            set("SUBGROUP", &size);
        }
        match *self {
            Kernel::Embed(format) => set_format(&mut set, format),
            Kernel::Encode(encoder, encoding) => {
                set_encoding(&mut set, encoding);
                set_encoder(&mut set, encoder);
            }
            Kernel::Route => set("EXPERTS_PER_THREAD", &(MAX_EXPERTS / 256)),
            Kernel::Gemv(format, store, _)
            | Kernel::Gemm(format, store)
            | Kernel::ExpertGemv { format, store, .. } => {
                if let Kernel::ExpertGemv { clamped, .. } = *self {
                    set("EXPERTS", &"");
                    if clamped {
                        set("CLAMPED", &"");
                    }
                }
                set_format(&mut set, format);
                set_encoding(&mut set, format.encoding());
                let trits = stored(format) == Storage::Trits;
                set("TYPE", &if trits { "i32" } else { "f32" });
                if stored(format) == Storage::Bytes {
                    set("WORDS_OF_X", &"");
                }
                set("EACH", &self.rows_of_a_thread(lanes));
                set("TILE_ROWS", &TILE_ROWS);
                set("TILE_TOKENS", &TILE_TOKENS);
                let mut cols = MAX_BLOCK_COLS;
                if let Kernel::Gemv(_, _, Some(encoder)) = *self {
                    set("PROLOGUE", &"");
                    set_encoder(&mut set, encoder);
                    cols = cols.min(encoder.vectors as usize * 4 * THREADS);
                }
                set("MAX_COLS", &cols);
                set("PARTIALS", &(cols / 32 * 4));
                set_store(&mut set, store);
            }
            Kernel::Rotate(pairing) => {
                if pairing == Pairing::Halves {
                    set("HALVES", &"");
                }
            }
            Kernel::RopeStore(cache, pairing) => set_rotation(&mut set, cache, pairing),
            Kernel::AttentionSpan(cache, softmax, together) => {
                set("TOGETHER", &together);
                // A head on its own is bound by waiting, several together by registers.
                let loads = if together == 1 { 8 } else { 4 };
                set("LOADS", &loads);
                set("VALUES", &(2 * loads));
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
            Kernel::Encode(encoder, encoding) => {
                let selected = if encoder.selected { "-selected" } else { "" };
                format!("-{encoding:?}-{}{selected}", encoder.vectors)
            }
            Kernel::Gemv(format, store, encoder) => {
                let encoder = encoder.map_or_else(String::new, |encoder| {
                    let selected = if encoder.selected { "-selected" } else { "" };
                    let norm = if encoder.norm { "norm" } else { "encode" };
                    format!("{selected}-{norm}-{}", encoder.vectors)
                });
                format!("-{format}{encoder}-{store}")
            }
            Kernel::Gemm(format, store) => format!("-{format}-{store}"),
            Kernel::ExpertGemv {
                format,
                store,
                clamped,
            } => {
                format!(
                    "-{format}-{store}{}",
                    if *clamped { "-clamped" } else { "" }
                )
            }
            Kernel::Rotate(pairing) => format!("-{pairing:?}"),
            Kernel::RopeStore(cache, pairing) => format!("-{cache:?}-{pairing:?}"),
            Kernel::AttentionSpan(cache, softmax, together) => {
                format!("-{cache:?}-{softmax:?}-{together}")
            }
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

/// The store in words that make a file name: `gated-silu`.
impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Store::Set => write!(f, "set"),
            Store::Add => write!(f, "add"),
            Store::Gated(activation) => write!(f, "gated-{activation:?}"),
            Store::Stacked(matrices) => write!(f, "stacked-{matrices}"),
            Store::Rotated(cache, pairing) => write!(f, "rotated-{cache:?}-{pairing:?}"),
        }
    }
}

/// The target in words that make a file name: `portable`, `subgroup32`.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.subgroup {
            None => f.write_str("portable"),
            Some(size) => write!(f, "subgroup{size}"),
        }
    }
}

/// Threads of a workgroup.
const THREADS: usize = 256;

/// Rows of the matrix in a tile of a product of many tokens.
const TILE_ROWS: u32 = 64;

/// Rows of activations in one.
const TILE_TOKENS: u32 = 64;

fn set_encoding(set: &mut dyn FnMut(&'static str, &dyn ToString), encoding: Encoding) {
    let (flag, block) = match encoding {
        Encoding::F32 => ("FLOAT_ROWS", None),
        Encoding::I8 => ("I8", None),
        Encoding::Q8K => ("Q8K_ROWS", Some((64, "vec2<u32>"))),
        Encoding::Q8_0 => ("Q8_0_ROWS", Some((8, "f32"))),
    };
    set("ENCODING", &format!("{encoding:?}"));
    set(flag, &"");
    if matches!(encoding, Encoding::I8 | Encoding::Q8K) {
        set("PERMUTED", &"");
    }
    set("SCALE_TYPE", &"vec2<u32>");
    if let Some((threads, scale)) = block {
        set("BLOCKS", &"");
        set("BLOCK_THREADS", &threads);
        set("SCALE_TYPE", &scale);
    }
}

fn set_encoder(set: &mut dyn FnMut(&'static str, &dyn ToString), encoder: Encoder) {
    let Encoder {
        selected,
        norm,
        vectors,
    } = encoder;
    set("VECTORS", &vectors);
    set("NORMED", &if norm { "after an" } else { "without" });
    if norm {
        set("NORM", &"");
    }
    if selected {
        set("SELECTED", &"");
    }
}

fn set_store(set: &mut dyn FnMut(&'static str, &dyn ToString), store: Store) {
    match store {
        Store::Set => set("ONE_BY_ONE", &""),
        Store::Add => {
            set("ONE_BY_ONE", &"");
            set("ACCUMULATE", &"");
        }
        Store::Gated(activation) => {
            set("GATED", &"");
            set_activation(set, activation);
        }
        Store::Stacked(matrices) => {
            set("ONE_BY_ONE", &"");
            set("STACKED", &"");
            if matrices > 2 {
                set("THREE", &"");
            }
            if matrices > 3 {
                set("FOUR", &"");
            }
        }
        Store::Rotated(cache, pairing) => {
            set("STACKED", &"");
            set("ROTATED", &"");
            set_rotation(set, cache, pairing);
        }
    }
}

fn set_rotation(
    set: &mut dyn FnMut(&'static str, &dyn ToString),
    cache: CacheType,
    pairing: Pairing,
) {
    set_cache(set, cache);
    if pairing == Pairing::Halves {
        set("HALVES", &"");
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
            set("HALF_CACHE", &"");
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
        Store::Stacked(3),
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
            kernels.push(Kernel::Gemv(format, store, None));
            if storage.has_gemm() {
                kernels.push(Kernel::Gemm(format, store));
            }
        }
        // With an encoder, those of a layer and the head's.
        for (norm, selected, store) in [
            (true, false, Store::Rotated(CacheType::F16, Pairing::Halves)),
            (true, false, Store::Gated(Activation::Relu2)),
            (false, false, Store::Add),
            (true, true, Store::Set),
        ] {
            let encoder = Encoder {
                selected,
                norm,
                vectors: 2,
            };
            kernels.push(Kernel::Gemv(format, store, Some(encoder)));
        }
    }
    // What does not depend on the format.
    for cache in [CacheType::F16, CacheType::F32] {
        for pairing in [Pairing::Adjacent, Pairing::Halves] {
            kernels.push(Kernel::Gemv(
                Format::F32,
                Store::Rotated(cache, pairing),
                None,
            ));
        }
    }
    for matrices in [2, 4] {
        kernels.push(Kernel::Gemv(Format::I2S, Store::Stacked(matrices), None));
        kernels.push(Kernel::Gemm(Format::I2S, Store::Stacked(matrices)));
    }
    for encoding in [Encoding::F32, Encoding::I8, Encoding::Q8K, Encoding::Q8_0] {
        for (selected, norm, vectors) in [(false, false, 1), (false, true, 7), (true, true, 3)] {
            let encoder = Encoder {
                selected,
                norm,
                vectors,
            };
            kernels.push(Kernel::Encode(encoder, encoding));
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
            for together in [1, 4] {
                kernels.push(Kernel::AttentionSpan(cache, softmax, together));
            }
        }
        for pairing in [Pairing::Adjacent, Pairing::Halves] {
            kernels.push(Kernel::RopeStore(cache, pairing));
        }
    }
    let subgroups = [None, Some(8), Some(32), Some(64)];
    let targets = subgroups.map(|subgroup| Target { subgroup });
    targets
        .into_iter()
        .flat_map(|target| kernels.iter().map(move |kernel| (*kernel, target)))
        .collect()
}
