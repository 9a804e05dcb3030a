//! The table of kernels of an instruction set.

use std::ops::Range;

use bitnet_kernels::Format;
use bitnet_kernels::program::{Activation, Pairing};

use crate::generic::attention::Visible;
use crate::generic::gemm::Panel;
use crate::generic::screen::{Query, Rows, RowsMut};
use crate::microkernel::dot::BlockDot;
use crate::microkernel::operands::{Encoded, Matrix};
use crate::microkernel::peak::Peak;

/// Everything the executor calls, for one instruction set. An instruction set's module holds one
/// and hands it out only against its token, so the functions are safe to call: whoever has the
/// table has the proof.
pub(crate) struct Kernels {
    /// The name of the instruction set.
    pub(crate) name: &'static str,
    /// `(x, gain, eps, out)`.
    pub(crate) norm: fn(&[f32], &[f32], f32, &mut [f32]),
    /// `(x, q) -> scale`.
    pub(crate) encode_i8: fn(&[f32], &mut [i8]) -> f32,
    /// `(x, q, scales)`.
    pub(crate) encode_q8k: fn(&[f32], &mut [i8], &mut [f32]),
    /// `(x, q, scales)`.
    pub(crate) encode_q8_0: fn(&[f32], &mut [i8], &mut [f32]),
    /// `(activation, gate, up, out)`.
    pub(crate) gate: fn(Activation, &[f32], &[f32], &mut [f32]),
    /// `(pairing, rotations, head)`; see `generic::rope::rotate`.
    pub(crate) rotate: fn(Pairing, &[f32], &mut [f32]),
    /// `(x, out)`, rounded to binary16.
    pub(crate) narrow: fn(&[f32], &mut [u16]),
    /// The same in place.
    pub(crate) round_f16: fn(&mut [f32]),
    pub(crate) attend_f16: AttendFn<u16>,
    pub(crate) attend_f32: AttendFn<f32>,
    /// What the recorder notes for the two that follow.
    pub(crate) screen_name: &'static str,
    /// `(matrix, rows, cols, out)`; see `generic::screen::encode`.
    pub(crate) screen_encode: fn(&Matrix<'_>, Range<usize>, usize, RowsMut<'_>),
    /// `(rows, queries, out)`; see `generic::screen::uppers`.
    pub(crate) screen_uppers: fn(Rows<'_>, &[Query], &mut [f32]),
    /// Reads bytes through; see `generic::probe::read`.
    pub(crate) read: fn(&[u8]) -> f32,
    pub(crate) peak: Multiply,
    /// The kernel for a format and a number of tokens.
    pub(crate) tile: fn(Format, usize) -> TileKernel,
}

/// Computes `weights[rows] . x[t]` for all tokens `t` of `tokens` into `out`, `[tokens, rows]`. The
/// panel is room to work in; its contents do not matter.
pub(crate) type TileFn =
    fn(&Matrix<'_>, Range<usize>, &Encoded<'_>, Range<usize>, &mut Panel, &mut [f32]);

/// A kernel with the name that the recorder notes.
#[derive(Clone, Copy)]
pub(crate) struct TileKernel {
    pub(crate) name: &'static str,
    pub(crate) run: TileFn,
}

/// See [`Peak`](crate::microkernel::peak::Peak).
pub(crate) struct Multiply {
    pub(crate) per_round: u64,
    pub(crate) run: fn(u64) -> i32,
}

/// `(q, heads, scale, round_weights, visible, weights, out)`; see `generic::attention::attend`.
pub(crate) type AttendFn<E> = fn(&[f32], usize, f32, bool, Visible<'_, E>, &mut [f32], &mut [f32]);

/// The multiply-adds of a round of the instruction set that a token stands for.
pub(crate) const fn per_round<P: Peak>(_token: &P) -> u64 {
    P::PER_ROUND
}

/// [`BlockDot::FEW_TOKENS`] of the instruction set that a token stands for.
pub(crate) const fn few_tokens<B: BlockDot>(_token: &B) -> usize {
    B::FEW_TOKENS
}

/// Makes the `Kernels` of an instruction set: each kernel of `generic`, compiled with the set's
/// features.
macro_rules! kernels {
    ($name:literal, $token:expr, $(#[$features:meta])?) => {
        $crate::isa::table::Kernels {
            name: $name,
            norm: $crate::isa::table::wrap!($token, $(#[$features])? math::norm(x: &[f32], gain: &[f32], eps: f32, out: &mut [f32])),
            encode_i8: $crate::isa::table::wrap!($token, $(#[$features])? encode::encode_i8(x: &[f32], q: &mut [i8]) -> f32),
            encode_q8k: $crate::isa::table::wrap!($token, $(#[$features])? encode::encode_q8k(x: &[f32], q: &mut [i8], d: &mut [f32])),
            encode_q8_0: $crate::isa::table::wrap!($token, $(#[$features])? encode::encode_q8_0(x: &[f32], q: &mut [i8], d: &mut [f32])),
            gate: $crate::isa::table::wrap!($token, $(#[$features])? math::gate(
                activation: bitnet_kernels::program::Activation, gate: &[f32], up: &[f32], out: &mut [f32])),
            rotate: $crate::isa::table::wrap!($token, $(#[$features])? rope::rotate(
                pairing: bitnet_kernels::program::Pairing, rotations: &[f32], head: &mut [f32])),
            narrow: $crate::isa::table::wrap!($token, $(#[$features])? rope::narrow(x: &[f32], out: &mut [u16])),
            round_f16: $crate::isa::table::wrap!($token, $(#[$features])? rope::round_f16(x: &mut [f32])),
            attend_f16: $crate::isa::table::wrap!($token, $(#[$features])? attention::attend(
                q: &[f32], heads: usize, scale: f32, round_weights: bool,
                visible: $crate::generic::attention::Visible<'_, u16>, weights: &mut [f32], out: &mut [f32])),
            attend_f32: $crate::isa::table::wrap!($token, $(#[$features])? attention::attend(
                q: &[f32], heads: usize, scale: f32, round_weights: bool,
                visible: $crate::generic::attention::Visible<'_, f32>, weights: &mut [f32], out: &mut [f32])),
            screen_name: concat!($name, "_screen_6bit_i16"),
            screen_encode: $crate::isa::table::wrap!($token, $(#[$features])? screen::encode(
                m: &$crate::microkernel::operands::Matrix<'_>, rows: std::ops::Range<usize>, cols: usize,
                out: $crate::generic::screen::RowsMut<'_>)),
            screen_uppers: $crate::isa::table::wrap!($token, $(#[$features])? screen::uppers(
                rows: $crate::generic::screen::Rows<'_>, queries: &[$crate::generic::screen::Query], out: &mut [f32])),
            read: $crate::isa::table::wrap!($token, $(#[$features])? probe::read(bytes: &[u8]) -> f32),
            peak: $crate::isa::table::Multiply {
                per_round: $crate::isa::table::per_round(&$token),
                run: |rounds| $crate::microkernel::peak::Peak::multiply($token, rounds),
            },
            tile: |format, tokens| {
                use bitnet_kernels::Format;
                use $crate::generic::{product, ternary};
                match (format, tokens) {
                    (Format::I2S, 0..=1) => $crate::isa::table::tile!($name, "gemv_i2s_i8", $token, $(#[$features])? i2s::few),
                    (Format::TQ2_0, 0..=1) => $crate::isa::table::tile!($name, "gemv_tq2_0_q8k", $token, $(#[$features])? gemv::tq2_0),
                    (Format::TQ1_0, 0..=1) => $crate::isa::table::tile!($name, "gemv_tq1_0_q8k", $token, $(#[$features])? gemv::tq1_0),
                    (Format::I2S, tokens) if tokens <= $crate::isa::table::few_tokens(&$token) => {
                        $crate::isa::table::tile!($name, "batch_i2s_i8", $token, $(#[$features])? i2s::few)
                    }
                    (Format::I2S, _) => $crate::isa::table::gemm!($name, "gemm_i2s_i8", $token, $(#[$features])? ternary::I2S),
                    (Format::TQ2_0, _) => $crate::isa::table::gemm!($name, "gemm_tq2_0_q8k", $token, $(#[$features])? ternary::TQ2_0),
                    (Format::TQ1_0, _) => $crate::isa::table::gemm!($name, "gemm_tq1_0_q8k", $token, $(#[$features])? ternary::TQ1_0),
                    (Format::Q6K, _) => $crate::isa::table::tile!($name, "q6_k_q8k", $token, $(#[$features])? tile::q6_k),
                    (Format::Q8_0, _) => $crate::isa::table::tile!($name, "q8_0_q8_0", $token, $(#[$features])? tile::q8_0),
                    (Format::F16, _) => $crate::isa::table::tile!($name, "f16_f32", $token, $(#[$features])? tile::float::<_, product::F16>),
                    (Format::BF16, _) => $crate::isa::table::tile!($name, "bf16_f32", $token, $(#[$features])? tile::float::<_, product::BF16>),
                    (Format::F32, _) => $crate::isa::table::tile!($name, "f32_f32", $token, $(#[$features])? tile::float::<_, product::F32>),
                }
            },
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

/// A [`TileKernel`] of `generic::tile`.
macro_rules! tile {
    ($isa:literal, $name:literal, $token:expr, $(#[$features:meta])? $module:ident::$function:ident $(::<$($generic:ty),+>)?) => {{
        $(#[$features])?
        unsafe fn with_features(
            m: &$crate::microkernel::operands::Matrix<'_>, rows: std::ops::Range<usize>, x: &$crate::microkernel::operands::Encoded<'_>,
            tokens: std::ops::Range<usize>, out: &mut [f32],
        ) {
            $crate::generic::$module::$function $(::<$($generic),+>)? ($token, m, rows, x, tokens, out)
        }
        $crate::isa::table::TileKernel {
            name: concat!($isa, "_", $name),
            run: |m, rows, x, tokens, _panel, out| {
                // SAFETY: the table is handed out against the token alone, which checked the CPU.
                unsafe { with_features(m, rows, x, tokens, out) }
            },
        }
    }};
}

/// A [`TileKernel`] of `generic::gemm`.
macro_rules! gemm {
    ($isa:literal, $name:literal, $token:expr, $(#[$features:meta])? $format:ty) => {
        $crate::isa::table::TileKernel {
            name: concat!($isa, "_", $name),
            run: $crate::isa::table::wrap!($token, $(#[$features])? gemm::gemm::<_, $format>(
                m: &$crate::microkernel::operands::Matrix<'_>, rows: std::ops::Range<usize>, x: &$crate::microkernel::operands::Encoded<'_>,
                tokens: std::ops::Range<usize>, panel: &mut $crate::generic::gemm::Panel, out: &mut [f32])),
        }
    };
}

pub(crate) use {gemm, kernels, tile, wrap};
