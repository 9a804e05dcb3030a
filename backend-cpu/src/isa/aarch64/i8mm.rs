//! NEON with `sdot` and `smmla`, which multiplies two rows of eight bytes with two others.

use std::arch::aarch64::*;
use std::arch::asm;

use super::byte_dot::{Aarch64, ByteDot};
use super::dotprod::sdot;
use crate::generic::{coded, gemm};
use crate::isa::table::{Kernels, kernels};
use crate::microkernel::coded::CodeLayout;
use crate::microkernel::gemm::{GROUP_STEPS, PackedGroup, PackedWord, TernaryLayout, TileArgs};

/// Proof that the CPU has `smmla` and `sdot`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct I8mm(());

impl I8mm {
    /// The token, if the CPU has what it stands for.
    pub(crate) fn new() -> Option<I8mm> {
        let found = std::arch::is_aarch64_feature_detected!("i8mm")
            && std::arch::is_aarch64_feature_detected!("dotprod");
        found.then_some(I8mm(()))
    }

    /// The kernels of this instruction set.
    pub(crate) fn kernels(self) -> &'static Kernels {
        static KERNELS: Kernels = kernels!(
            "i8mm",
            Aarch64(I8mm(())),
            #[target_feature(enable = "neon,dotprod,i8mm")]
        );
        &KERNELS
    }
}

/// Eight activations of one token and the same eight of the next.
type Pair = int8x16_t;

/// Most pairs of tokens of a tile.
const PAIRS: usize = 4;

/// The product of two rows with two tokens, added to `[row 0 token 0, row 0 token 1, row 1 token 0,
/// row 1 token 1]`.
#[inline]
#[target_feature(enable = "i8mm")]
fn smmla(mut sums: int32x4_t, rows: int8x16_t, tokens: Pair) -> int32x4_t {
    // SAFETY: the function's target feature has the instruction, which touches registers only.
    unsafe {
        asm!("smmla {sums:v}.4s, {rows:v}.16b, {tokens:v}.16b",
            sums = inout(vreg) sums, rows = in(vreg) rows, tokens = in(vreg) tokens,
            options(pure, nomem, nostack, preserves_flags));
    }
    sums
}

/// The activations of a group by pairs of tokens. Without a partner, a token is its own.
#[inline]
#[target_feature(enable = "neon")]
fn paired<const T: usize>(q: [&[[i8; 4]; GROUP_STEPS]; T]) -> [[Pair; 16]; PAIRS] {
    let eight = |token: usize, i: usize| {
        let q = q[token.min(T - 1)].as_flattened();
        let (eights, _) = q.as_chunks::<8>();
        // SAFETY: the load covers the eight bytes.
        unsafe { vld1_s8(eights[i].as_ptr()) }
    };
    let mut pairs = [[vdupq_n_s8(0); 16]; PAIRS];
    for (pair, registers) in pairs.iter_mut().enumerate().take(T.div_ceil(2)) {
        for (i, register) in registers.iter_mut().enumerate() {
            *register = vcombine_s8(eight(2 * pair, i), eight(2 * pair + 1, i));
        }
    }
    pairs
}

/// Rows `4 i .. 4 i + 4` of a strip, two to a register, eight bytes of each.
#[inline]
#[target_feature(enable = "neon")]
fn four_rows(low: &PackedWord, high: &PackedWord, i: usize) -> [uint8x16_t; 2] {
    let load = |word: &PackedWord| {
        let (quarters, _) = word.0.as_flattened().as_chunks::<16>();
        // SAFETY: the load covers the 16 bytes.
        unsafe { vreinterpretq_u32_u8(vld1q_u8(quarters[i].as_ptr())) }
    };
    let (low, high) = (load(low), load(high));
    [
        vreinterpretq_u8_u32(vzip1q_u32(low, high)),
        vreinterpretq_u8_u32(vzip2q_u32(low, high)),
    ]
}

/// The two lowest bits of each byte.
#[inline]
#[target_feature(enable = "neon")]
fn codes(bytes: uint8x16_t) -> int8x16_t {
    vreinterpretq_s8_u8(vandq_u8(bytes, vdupq_n_u8(3)))
}

impl ByteDot for I8mm {
    #[inline(always)]
    fn dot(self, sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
        // SAFETY: `self` proves `sdot`.
        unsafe { sdot(sums, a, b) }
    }

    type GroupAcc = int32x4_t;
    const NR: usize = 2 * PAIRS;

    #[inline(always)]
    fn tile<F: TernaryLayout>(self, args: TileArgs<'_>) {
        gemm::tile::<Aarch64<Self>, F, 1, { 2 * PAIRS }>(Aarch64(self), args);
    }

    const CODED_TOKENS: usize = 4;

    #[inline(always)]
    fn coded_tile<F: CodeLayout<BITS>, const BITS: usize>(self, args: TileArgs<'_>) {
        coded::tile::<Aarch64<Self>, F, BITS, 1, 4>(Aarch64(self), args);
    }

    #[inline(always)]
    fn begin_group(self, sums: int32x4_t) -> int32x4_t {
        sums
    }

    #[inline(always)]
    fn add(self, run: int32x4_t, codes: int8x16_t, q: int8x16_t) -> int32x4_t {
        self.dot(run, codes, q)
    }

    #[inline(always)]
    fn end_group(self, _sums: int32x4_t, run: int32x4_t) -> int32x4_t {
        run
    }

    /// Eight rows at a time: four registers of codes meet each pair of tokens.
    #[inline(always)]
    fn add_group<F: TernaryLayout, const S: usize, const T: usize>(
        self,
        words: &[PackedGroup; S],
        q: [&[[i8; 4]; GROUP_STEPS]; T],
        sums: &mut [[[int32x4_t; 4]; S]; T],
    ) {
        // SAFETY: `self` proves NEON and `smmla`.
        unsafe {
            let pairs = paired(q);
            for (v, words) in words.iter().enumerate() {
                for half in 0..2 {
                    let mut products = [[vdupq_n_s32(0); 4]; PAIRS];
                    for (eight, words) in words.as_chunks::<2>().0.iter().enumerate() {
                        let [low, high] = words;
                        let [a, b] = four_rows(low, high, 2 * half);
                        let [c, d] = four_rows(low, high, 2 * half + 1);
                        let mut bytes = [a, b, c, d];
                        for shift in 0..4 {
                            let place = if F::HIGHEST_FIRST { 3 - shift } else { shift };
                            for pair in 0..T.div_ceil(2) {
                                let tokens = pairs[pair][4 * place + eight];
                                for (products, bytes) in products[pair].iter_mut().zip(bytes) {
                                    *products = smmla(*products, codes(bytes), tokens);
                                }
                            }
                            for bytes in &mut bytes {
                                *bytes = vshrq_n_u8::<2>(*bytes);
                            }
                        }
                    }
                    for (t, sums) in sums.iter_mut().enumerate() {
                        for quarter in 0..2 {
                            let two = 2 * quarter;
                            let [a, b] = [products[t / 2][two], products[t / 2][two + 1]];
                            let token = if t % 2 == 0 {
                                vuzp1q_s32(a, b)
                            } else {
                                vuzp2q_s32(a, b)
                            };
                            let sums = &mut sums[v][2 * half + quarter];
                            *sums = vaddq_s32(*sums, token);
                        }
                    }
                }
            }
        }
    }
}
