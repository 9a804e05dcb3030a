//! The table of kernels of an instruction set.

use std::ops::Range;

use bitnet_kernels::Format;
use bitnet_kernels::format::Encoding;
use bitnet_kernels::program::{Activation, Pairing};

use crate::generic::attention::Visible;
use crate::generic::delta::DeltaToken;
use crate::generic::gemm::Panel;
use crate::generic::screen::{Precision, Query, Rows, RowsMut};
use crate::microkernel::columns::{Column, LINE_ROWS, Lines};
use crate::microkernel::dot::BlockDot;
use crate::microkernel::gemm::Microkernel;
use crate::microkernel::operands::{Encoded, MatrixRef};
use crate::microkernel::peak::Peak;

/// Everything the executor calls, for one instruction set. An instruction set's module holds one
/// and hands it out only against its token, so the functions are safe to call: whoever has the
/// table has the proof.
pub(crate) struct Kernels {
    /// The name of the instruction set.
    pub(crate) name: &'static str,
    /// `(x, gain, eps, out)`.
    pub(crate) norm: fn(&[f32], &[f32], f32, &mut [f32]),
    pub(crate) encode: EncodeFn,
    /// `(activation, gate, up, out)`.
    pub(crate) gate: fn(Activation, &[f32], &[f32], &mut [f32]),
    /// `(pairing, rotations, head)`; see `generic::rope::rotate`.
    pub(crate) rotate: fn(Pairing, &[f32], &mut [f32]),
    /// `(x, out)`, rounded to binary16.
    pub(crate) narrow: fn(&[f32], &mut [u16]),
    /// The same in place.
    pub(crate) round_f16: fn(&mut [f32]),
    /// `(weights, x, sums)`; see `generic::delta::multiply_add`.
    pub(crate) multiply_add: fn(&[f32], &[f32], &mut [f32]),
    /// In place.
    pub(crate) silu: fn(&mut [f32]),
    /// `(token, state, units, out)`; see `generic::delta::delta_rule`.
    pub(crate) delta_rule: fn(DeltaToken<'_>, &mut [f32], &mut [f32], &mut [f32]),
    pub(crate) attention_f16: Attention<u16>,
    pub(crate) attention_f32: Attention<f32>,
    pub(crate) softmax: SoftmaxFn,
    /// What the recorder notes for the three that follow.
    pub(crate) screen_name: &'static str,
    /// `(matrix, rows, cols, out)`; see `generic::screen::encode`.
    pub(crate) screen_encode: fn(&MatrixRef<'_>, Range<usize>, usize, RowsMut<'_>),
    /// `(rows, queries, out)`; see `generic::screen::uppers`.
    pub(crate) screen_uppers: fn(Rows<'_>, &[Query], &mut [f32]),
    /// `(rows, list, queries, precision, out)`; see `generic::screen::refine`.
    pub(crate) screen_refine: fn(Rows<'_>, &[u32], &[Query], Precision, &mut [f32]),
    /// Reads bytes through; see `generic::probe::read`.
    pub(crate) read: fn(&[u8]) -> f32,
    pub(crate) peak: Multiply,
    /// See [`Microkernel::PIECE_PANELS`].
    pub(crate) piece_panels: usize,
    /// Kernels of matrix products for one format, in the order in which they are looked for.
    pub(crate) products: &'static [Specialised],
    /// The kernel of matrix products for any other format of integer blocks.
    pub(crate) blocks: ProductKernel,
    /// Kernels of products with some of the rows of a matrix, for one format.
    pub(crate) listed: &'static [Listed],
    /// Kernels of products with some of the columns of a matrix, for one format.
    pub(crate) columns: &'static [ByColumns],
}

impl Kernels {
    /// The kernel for matrices of a format that meet some tokens.
    pub(crate) fn product(&self, format: Format, tokens: usize) -> ProductKernel {
        let special = self
            .products
            .iter()
            .find(|special| special.format == format && tokens <= special.most_tokens);
        special.map_or(self.blocks, |special| special.kernel)
    }

    /// The kernel for some of the rows of matrices of a format, if there is one.
    pub(crate) fn listed(&self, format: Format) -> Option<&'static Listed> {
        self.listed.iter().find(|listed| listed.format == format)
    }

    /// The kernels for some of the columns of matrices of a format, if there are any.
    pub(crate) fn columns(&self, format: Format) -> Option<&'static ByColumns> {
        self.columns.iter().find(|columns| columns.format == format)
    }
}

/// A kernel for one format.
pub(crate) struct Specialised {
    pub(crate) format: Format,
    /// The most tokens that it is meant for; it takes any number.
    pub(crate) most_tokens: usize,
    pub(crate) kernel: ProductKernel,
}

/// A kernel for some of the rows of a matrix of one format.
pub(crate) struct Listed {
    pub(crate) format: Format,
    /// What the recorder notes.
    pub(crate) name: &'static str,
    /// `(weights, list, x, token, out)`: `weights[list[i]] . x[token]` into `out[i]`.
    pub(crate) run: fn(&MatrixRef<'_>, &[u32], &Encoded<'_>, usize, &mut [f32]),
}

/// Kernels for some of the columns of a matrix of one format.
pub(crate) struct ByColumns {
    pub(crate) format: Format,
    /// What the recorder notes.
    pub(crate) name: &'static str,
    /// `(columns, list, sums)`; see `generic::columns::add`.
    pub(crate) add: fn(Lines<'_>, &[Column], &mut [[i32; LINE_ROWS]]),
    pub(crate) finish: FinishFn,
}

/// `(weights, sums, x, token, out)`; see `generic::columns::finish`.
pub(crate) type FinishFn = fn(&MatrixRef<'_>, &[[i32; LINE_ROWS]], &Encoded<'_>, usize, &mut [f32]);

/// Computes `weights[rows] . x[t]` for all tokens `t` of `tokens` into `out`, `[tokens, rows]`. The
/// panel is scratch memory; its contents do not matter.
pub(crate) type ProductFn =
    fn(&MatrixRef<'_>, Range<usize>, &Encoded<'_>, Range<usize>, &mut Panel, &mut [f32]);

/// A kernel with the name that the recorder notes.
#[derive(Clone, Copy)]
pub(crate) struct ProductKernel {
    pub(crate) name: &'static str,
    pub(crate) run: ProductFn,
}

/// See [`Peak`](crate::microkernel::peak::Peak).
pub(crate) struct Multiply {
    pub(crate) per_round: u64,
    pub(crate) run: fn(u64) -> i32,
}

/// `(encoding, x, q, scales, sums)`; see `generic::encode::encode`.
pub(crate) type EncodeFn = fn(Encoding, &[f32], &mut [i8], &mut [f32], &mut [i32]);

/// The kernels of attention that read the cache.
#[derive(Clone, Copy)]
pub(crate) struct Attention<E> {
    /// `(q, heads, scale, visible, out)`; see `generic::attention::scores`.
    pub(crate) scores: fn(&[f32], usize, f32, Visible<'_, E>, &mut [f32]),
    pub(crate) values: ValuesFn<E>,
}

/// `(weights, sums, visible, blocks, out)`; see `generic::attention::values`.
pub(crate) type ValuesFn<E> = fn(&[f32], &[f32], Visible<'_, E>, Range<usize>, &mut [f32]);

/// `(scores, visible, round_weights)`; see `generic::attention::softmax`.
pub(crate) type SoftmaxFn = fn(&mut [f32], Range<usize>, bool) -> f32;

/// The multiply-adds of a round of the instruction set that a token stands for.
pub(crate) const fn per_round<P: Peak>(_token: &P) -> u64 {
    P::PER_ROUND
}

/// [`Microkernel::PIECE_PANELS`] of the instruction set that a token stands for.
pub(crate) const fn piece_panels<M: Microkernel>(_token: &M) -> usize {
    M::PIECE_PANELS
}

/// [`BlockDot::BATCH_TOKENS`] of the instruction set that a token stands for.
pub(crate) const fn batch_tokens<B: BlockDot>(_token: &B) -> usize {
    B::BATCH_TOKENS
}

/// Makes the `Kernels` of an instruction set: each kernel of `generic`, compiled with the set's
/// features.
macro_rules! kernels {
    ($name:literal, $token:expr, $(#[$features:meta])?) => {
        $crate::isa::table::Kernels {
            name: $name,
            norm: $crate::isa::table::wrap!($token, $(#[$features])? math::norm(x: &[f32], gain: &[f32], eps: f32, out: &mut [f32])),
            encode: $crate::isa::table::wrap!($token, $(#[$features])? encode::encode(
                encoding: bitnet_kernels::format::Encoding, x: &[f32], q: &mut [i8], scales: &mut [f32],
                sums: &mut [i32])),
            gate: $crate::isa::table::wrap!($token, $(#[$features])? math::gate(
                activation: bitnet_kernels::program::Activation, gate: &[f32], up: &[f32], out: &mut [f32])),
            rotate: $crate::isa::table::wrap!($token, $(#[$features])? rope::rotate(
                pairing: bitnet_kernels::program::Pairing, rotations: &[f32], head: &mut [f32])),
            narrow: $crate::isa::table::wrap!($token, $(#[$features])? rope::narrow(x: &[f32], out: &mut [u16])),
            round_f16: $crate::isa::table::wrap!($token, $(#[$features])? rope::round_f16(x: &mut [f32])),
            multiply_add: $crate::isa::table::wrap!($token, $(#[$features])? delta::multiply_add(
                weights: &[f32], x: &[f32], sums: &mut [f32])),
            silu: $crate::isa::table::wrap!($token, $(#[$features])? delta::silu(x: &mut [f32])),
            delta_rule: $crate::isa::table::wrap!($token, $(#[$features])? delta::delta_rule(
                token: $crate::generic::delta::DeltaToken<'_>, state: &mut [f32], units: &mut [f32], out: &mut [f32])),
            attention_f16: $crate::isa::table::attention!($token, $(#[$features])? u16),
            attention_f32: $crate::isa::table::attention!($token, $(#[$features])? f32),
            softmax: $crate::isa::table::wrap!($token, $(#[$features])? attention::softmax(
                scores: &mut [f32], visible: std::ops::Range<usize>, round_weights: bool) -> f32),
            screen_name: concat!($name, "_screen_6bit_i16"),
            screen_encode: $crate::isa::table::wrap!($token, $(#[$features])? screen::encode(
                m: &$crate::microkernel::operands::MatrixRef<'_>, rows: std::ops::Range<usize>, cols: usize,
                out: $crate::generic::screen::RowsMut<'_>)),
            screen_uppers: $crate::isa::table::wrap!($token, $(#[$features])? screen::uppers(
                rows: $crate::generic::screen::Rows<'_>, queries: &[$crate::generic::screen::Query], out: &mut [f32])),
            screen_refine: $crate::isa::table::wrap!($token, $(#[$features])? screen::refine(
                rows: $crate::generic::screen::Rows<'_>, list: &[u32], queries: &[$crate::generic::screen::Query],
                precision: $crate::generic::screen::Precision, out: &mut [f32])),
            read: $crate::isa::table::wrap!($token, $(#[$features])? probe::read(bytes: &[u8]) -> f32),
            peak: $crate::isa::table::Multiply {
                per_round: $crate::isa::table::per_round(&$token),
                run: |rounds| $crate::microkernel::peak::Peak::multiply($token, rounds),
            },
            piece_panels: $crate::isa::table::piece_panels(&$token),
            products: &[
                $crate::isa::table::product!($name, "gemv_i2s_i8", Format::I2S, 1, $token, $(#[$features])? batch::i2s_one),
                $crate::isa::table::with_panel!($name, "batch_i2s_i8", Format::I2S, $crate::isa::table::batch_tokens(&$token),
                    $token, $(#[$features])? batch::i2s::<_>),
                $crate::isa::table::with_panel!($name, "gemm_i2s_i8", Format::I2S, usize::MAX, $token, $(#[$features])?
                    gemm::gemm::<_, $crate::generic::ternary::I2S>),
                $crate::isa::table::product!($name, "gemv_tq2_0_q8k", Format::TQ2_0, 1, $token, $(#[$features])? gemv::tq2_0),
                $crate::isa::table::with_panel!($name, "gemm_tq2_0_q8k", Format::TQ2_0, usize::MAX, $token, $(#[$features])?
                    gemm::gemm::<_, $crate::generic::ternary::TQ2_0>),
                $crate::isa::table::product!($name, "gemv_tq1_0_q8k", Format::TQ1_0, 1, $token, $(#[$features])? gemv::tq1_0),
                $crate::isa::table::with_panel!($name, "gemm_tq1_0_q8k", Format::TQ1_0, usize::MAX, $token, $(#[$features])?
                    gemm::gemm::<_, $crate::generic::ternary::TQ1_0>),
                $crate::isa::table::with_panel!($name, "gemv_q4_0_q8_0", Format::Q4_0, 1, $token, $(#[$features])?
                    coded::gemv::<_, $crate::generic::codes::Q4_0, _>),
                $crate::isa::table::with_panel!($name, "gemm_q4_0_q8_0", Format::Q4_0, usize::MAX, $token, $(#[$features])?
                    coded::gemm::<_, $crate::generic::codes::Q4_0, _>),
                $crate::isa::table::with_panel!($name, "gemv_q1_0_q8_0", Format::Q1_0, 1, $token, $(#[$features])?
                    coded::gemv::<_, $crate::generic::codes::Q1_0, _>),
                $crate::isa::table::with_panel!($name, "gemm_q1_0_q8_0", Format::Q1_0, usize::MAX, $token, $(#[$features])?
                    coded::gemm::<_, $crate::generic::codes::Q1_0, _>),
                $crate::isa::table::with_panel!($name, "gemv_q2_0_q8_0", Format::Q2_0, 1, $token, $(#[$features])?
                    coded::gemv::<_, $crate::generic::codes::Q2_0, _>),
                $crate::isa::table::with_panel!($name, "gemm_q2_0_q8_0", Format::Q2_0, usize::MAX, $token, $(#[$features])?
                    coded::gemm::<_, $crate::generic::codes::Q2_0, _>),
                $crate::isa::table::with_panel!($name, "gemv_pq2_0_q8_0", Format::PQ2_0, 1, $token, $(#[$features])?
                    coded::gemv::<_, $crate::generic::codes::PQ2_0, _>),
                $crate::isa::table::with_panel!($name, "gemm_pq2_0_q8_0", Format::PQ2_0, usize::MAX, $token, $(#[$features])?
                    coded::gemm::<_, $crate::generic::codes::PQ2_0, _>),
                $crate::isa::table::with_panel!($name, "gemv_ptq1_0_q8_0", Format::PTQ1_0, 1, $token, $(#[$features])?
                    coded::gemv::<_, $crate::generic::codes::PTQ1_0, _>),
                $crate::isa::table::with_panel!($name, "gemm_ptq1_0_q8_0", Format::PTQ1_0, usize::MAX, $token, $(#[$features])?
                    coded::gemm::<_, $crate::generic::codes::PTQ1_0, _>),
                $crate::isa::table::product!($name, "q4_k_q8k", Format::Q4K, usize::MAX, $token, $(#[$features])? blocks::q4_k),
                $crate::isa::table::product!($name, "q5_k_q8k", Format::Q5K, usize::MAX, $token, $(#[$features])? blocks::q5_k),
                $crate::isa::table::product!($name, "q6_k_q8k", Format::Q6K, usize::MAX, $token, $(#[$features])? blocks::q6_k),
                $crate::isa::table::product!($name, "q8_0_q8_0", Format::Q8_0, usize::MAX, $token, $(#[$features])? blocks::q8_0),
                $crate::isa::table::product!($name, "f16_f32", Format::F16, usize::MAX, $token,
                    $(#[$features])? float::product::<_, $crate::generic::float::F16>),
                $crate::isa::table::product!($name, "bf16_f32", Format::BF16, usize::MAX, $token,
                    $(#[$features])? float::product::<_, $crate::generic::float::BF16>),
                $crate::isa::table::product!($name, "f32_f32", Format::F32, usize::MAX, $token,
                    $(#[$features])? float::product::<_, $crate::generic::float::F32>),
            ],
            blocks: $crate::isa::table::product_kernel!($name, "blocks", $token, $(#[$features])? blocks::any),
            listed: &[
                $crate::isa::table::Listed {
                    format: bitnet_kernels::Format::I2S,
                    name: concat!($name, "_listed_i2s_i8"),
                    run: $crate::isa::table::wrap!($token, $(#[$features])? batch::i2s_listed(
                        m: &$crate::microkernel::operands::MatrixRef<'_>, list: &[u32],
                        x: &$crate::microkernel::operands::Encoded<'_>, token: usize, out: &mut [f32])),
                },
            ],
            columns: &[
                $crate::isa::table::ByColumns {
                    format: bitnet_kernels::Format::I2S,
                    name: concat!($name, "_columns_i2s_i8"),
                    add: $crate::isa::table::wrap!($token, $(#[$features])? columns::add(
                        m: $crate::microkernel::columns::Lines<'_>, list: &[$crate::microkernel::columns::Column],
                        sums: &mut [[i32; $crate::microkernel::columns::LINE_ROWS]])),
                    finish: $crate::isa::table::wrap!($token, $(#[$features])? columns::finish(
                        m: &$crate::microkernel::operands::MatrixRef<'_>,
                        sums: &[[i32; $crate::microkernel::columns::LINE_ROWS]],
                        x: &$crate::microkernel::operands::Encoded<'_>, token: usize, out: &mut [f32])),
                },
            ],
        }
    };
}

/// A function of `generic` compiled with features.
macro_rules! wrap {
    ($token:expr, $(#[$features:meta])? $module:ident::$function:ident $(::<$($generic:ty),+>)? ($($arg:ident: $type:ty),+) $(-> $result:ty)?) => {{
        $(#[$features])?
        unsafe fn with_features($($arg: $type),+) $(-> $result)? {
            $crate::generic::$module::$function $(::<$($generic),+>)? ($token, $($arg),+)
        }
        |$($arg),+| {
            // SAFETY: the table is handed out against the token alone, which checked the CPU.
            unsafe { with_features($($arg),+) }
        }
    }};
}

/// The [`Attention`] of `generic` over a cache of such elements.
macro_rules! attention {
    ($token:expr, $(#[$features:meta])? $element:ty) => {
        $crate::isa::table::Attention {
            scores: $crate::isa::table::wrap!($token, $(#[$features])? attention::scores(
                q: &[f32], heads: usize, scale: f32,
                visible: $crate::generic::attention::Visible<'_, $element>, out: &mut [f32])),
            values: $crate::isa::table::wrap!($token, $(#[$features])? attention::values(
                weights: &[f32], sums: &[f32], visible: $crate::generic::attention::Visible<'_, $element>,
                blocks: std::ops::Range<usize>, out: &mut [f32])),
        }
    };
}

/// A [`ProductKernel`] of `generic`.
macro_rules! product_kernel {
    ($isa:literal, $name:literal, $token:expr, $(#[$features:meta])? $module:ident::$function:ident $(::<$($generic:ty),+>)?) => {{
        $(#[$features])?
        unsafe fn with_features(
            m: &$crate::microkernel::operands::MatrixRef<'_>, rows: std::ops::Range<usize>,
            x: &$crate::microkernel::operands::Encoded<'_>, tokens: std::ops::Range<usize>, out: &mut [f32],
        ) {
            $crate::generic::$module::$function $(::<$($generic),+>)? ($token, m, rows, x, tokens, out)
        }
        $crate::isa::table::ProductKernel {
            name: concat!($isa, "_", $name),
            run: |m, rows, x, tokens, _panel, out| {
                // SAFETY: the table is handed out against the token alone, which checked the CPU.
                unsafe { with_features(m, rows, x, tokens, out) }
            },
        }
    }};
}

/// A [`Specialised`] kernel of `generic` for up to some tokens.
macro_rules! product {
    ($isa:literal, $name:literal, Format::$format:ident, $tokens:expr, $token:expr, $($kernel:tt)+) => {
        $crate::isa::table::Specialised {
            format: bitnet_kernels::Format::$format,
            most_tokens: $tokens,
            kernel: $crate::isa::table::product_kernel!($isa, $name, $token, $($kernel)+),
        }
    };
}

/// A [`Specialised`] kernel of `generic` for up to some tokens that packs rows or activations
/// first.
macro_rules! with_panel {
    ($isa:literal, $name:literal, Format::$format:ident, $tokens:expr, $token:expr,
        $(#[$features:meta])? $module:ident::$function:ident ::<$($generic:ty),+>) => {
        $crate::isa::table::Specialised {
            format: bitnet_kernels::Format::$format,
            most_tokens: $tokens,
            kernel: $crate::isa::table::ProductKernel {
                name: concat!($isa, "_", $name),
                run: $crate::isa::table::wrap!($token, $(#[$features])? $module::$function ::<$($generic),+>(
                    m: &$crate::microkernel::operands::MatrixRef<'_>, rows: std::ops::Range<usize>,
                    x: &$crate::microkernel::operands::Encoded<'_>, tokens: std::ops::Range<usize>,
                    panel: &mut $crate::generic::gemm::Panel, out: &mut [f32])),
            },
        }
    };
}

pub(crate) use {attention, kernels, product, product_kernel, with_panel, wrap};
