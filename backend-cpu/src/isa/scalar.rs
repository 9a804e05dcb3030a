//! The lanes in plain Rust: runs everywhere, and is what the others are compared with.

use std::hint::black_box;

use bitnet_kernels::order::LANES;

use crate::generic::{coded, gemm};
use crate::isa::table::{Kernels, kernels};
use crate::microkernel::coded::{CodeLayout, RUN_WORDS};
use crate::microkernel::columns::ColumnDot;
use crate::microkernel::dot::BlockDot;
use crate::microkernel::gemm::{Microkernel, PackedWord, TernaryLayout, TileArgs};
use crate::microkernel::peak::Peak;
use crate::microkernel::runs::RUN_BYTES;
use crate::microkernel::screen::ScreenDot;
use crate::microkernel::simd::Simd;

/// Needs nothing of the CPU.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scalar;

#[inline(always)]
fn map(f: impl Fn(usize) -> f32) -> [f32; LANES] {
    std::array::from_fn(f)
}

impl Simd for Scalar {
    type F = [f32; LANES];
    type D = [f64; LANES];

    fn splat(self, x: f32) -> Self::F {
        [x; LANES]
    }
    fn load(self, x: &[f32; LANES]) -> Self::F {
        *x
    }
    fn store(self, x: Self::F, out: &mut [f32; LANES]) {
        *out = x;
    }
    fn load_f16(self, x: &[u16; LANES]) -> Self::F {
        map(|i| half::f16::from_bits(x[i]).to_f32())
    }
    fn store_f16(self, x: Self::F, out: &mut [u16; LANES]) {
        *out = x.map(|x| half::f16::from_f32(x).to_bits());
    }
    fn load_bf16(self, x: &[u16; LANES]) -> Self::F {
        map(|i| half::bf16::from_bits(x[i]).to_f32())
    }
    fn store_i8(self, x: Self::F, out: &mut [i8; LANES]) {
        *out = x.map(|x| x.round_ties_even() as i8);
    }
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        map(|i| a[i] + b[i])
    }
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        map(|i| a[i] - b[i])
    }
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        map(|i| a[i] * b[i])
    }
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        map(|i| a[i] / b[i])
    }
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        map(|i| a[i].mul_add(b[i], c[i]))
    }
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        map(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        map(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }
    fn max_magnitude(self, a: Self::F, b: Self::F) -> Self::F {
        map(|i| f32::from_bits(a[i].to_bits().max(b[i].to_bits())))
    }
    fn abs(self, x: Self::F) -> Self::F {
        x.map(f32::abs)
    }
    fn round(self, x: Self::F) -> Self::F {
        x.map(f32::round_ties_even)
    }
    fn exp2_integral(self, n: Self::F) -> Self::F {
        n.map(|n| f32::from_bits(((n as i32 + 127) as u32) << 23))
    }
    fn zero_f64(self) -> Self::D {
        [0.0; LANES]
    }
    fn add_f64(self, acc: Self::D, x: Self::F) -> Self::D {
        std::array::from_fn(|i| acc[i] + f64::from(x[i]))
    }
    fn store_f64(self, acc: Self::D) -> [f64; LANES] {
        acc
    }
}

impl BlockDot for Scalar {}

impl ScreenDot for Scalar {}

impl ColumnDot for Scalar {}

impl Microkernel for Scalar {
    type Bytes = [[u8; 4]; LANES];
    type Broadcast = [i8; 4];
    type Acc = [i32; LANES];
    type GroupAcc = [i32; LANES];

    const STRIPS: usize = 1;
    const NR: usize = 4;

    fn tile<F: TernaryLayout>(self, args: TileArgs<'_>) {
        gemm::tile::<Scalar, F, 1, 4>(self, args);
    }

    const CODED_STRIPS: usize = 1;
    const CODED_TOKENS: usize = 4;

    fn coded_tile<F: CodeLayout<BITS>, const BITS: usize>(self, args: TileArgs<'_>) {
        coded::tile::<Scalar, F, BITS, 1, 4>(self, args);
    }
    fn transpose(self, rows: [&[u8; RUN_BYTES]; LANES]) -> [Self::Bytes; RUN_WORDS] {
        std::array::from_fn(|i| rows.map(|row| row.as_chunks().0[i]))
    }
    fn store_bytes(self, bytes: Self::Bytes, word: &mut PackedWord) {
        word.0 = bytes;
    }
    fn load_bytes(self, word: &PackedWord) -> Self::Bytes {
        word.0
    }
    fn low_codes<const BITS: usize>(self, bytes: Self::Bytes) -> Self::Bytes {
        bytes.map(|row| row.map(|byte| byte & ((1 << BITS) - 1)))
    }
    fn shift_codes<const BITS: usize>(self, bytes: Self::Bytes) -> Self::Bytes {
        bytes.map(|row| row.map(|byte| byte >> BITS))
    }
    fn broadcast(self, q: &[i8; 4]) -> Self::Broadcast {
        *q
    }
    fn splat_i32(self, x: i32) -> Self::Acc {
        [x; LANES]
    }
    fn begin_group(self, acc: Self::Acc) -> Self::GroupAcc {
        acc
    }
    fn multiply_add(
        self,
        acc: Self::GroupAcc,
        codes: Self::Bytes,
        q: Self::Broadcast,
    ) -> Self::GroupAcc {
        let product = |code: u8, q: i8| i32::from(code) * i32::from(q);
        std::array::from_fn(|row| {
            let [a, b, c, d] = codes[row];
            acc[row] + product(a, q[0]) + product(b, q[1]) + product(c, q[2]) + product(d, q[3])
        })
    }
    fn end_group(self, _acc: Self::Acc, group: Self::GroupAcc) -> Self::Acc {
        group
    }
    fn to_f32(self, acc: Self::Acc) -> Self::F {
        acc.map(|acc| acc as f32)
    }
}

impl Peak for Scalar {
    const PER_ROUND: u64 = 256;

    fn multiply(self, rounds: u64) -> i32 {
        let (a, b) = ([1_u8; 256], [1_i8; 256]);
        let mut sum = 0;
        for _ in 0..rounds {
            let products = black_box(&a).iter().zip(black_box(&b));
            sum += products
                .map(|(a, b)| i32::from(*a) * i32::from(*b))
                .sum::<i32>();
        }
        sum
    }
}

impl Scalar {
    /// The kernels in plain Rust.
    pub(crate) fn kernels(self) -> &'static Kernels {
        static KERNELS: Kernels = kernels!("scalar", Scalar,);
        &KERNELS
    }
}
