//! Sixteen f32 lanes, whatever the width of the machine's registers.
//!
//! [`Simd`] is implemented by each instruction set's token. Kernels written over it (see
//! `generic`) give the same bits on all of them, because the order of every reduction is spelled
//! out in lanes (`bitnet_kernels::order`) and each lane operation is an IEEE operation with one
//! rounding.

use bitnet_kernels::order::LANES;

/// Bytes between what is read and what is asked for ahead of its turn, where memory is read from
/// end to end.
pub(crate) const PREFETCH_DISTANCE: usize = 8192;

/// Vector operations of an instruction set. A value of the implementing type is the proof that the
/// CPU has it.
pub(crate) trait Simd: Copy {
    /// Sixteen f32.
    type F: Copy;
    /// Values of that type that sums under way at once may take up, so that none waits for its last
    /// addition and all stay in registers.
    const CHAINS: usize = 4;

    /// Asks the memory for byte `at` of `from` or, if it ends before, of what follows, ahead of its
    /// use.
    #[inline(always)]
    fn prefetch<T>(self, _from: &[T], _at: usize) {}

    fn splat(self, x: f32) -> Self::F;
    fn load(self, x: &[f32; LANES]) -> Self::F;
    fn store(self, x: Self::F, out: &mut [f32; LANES]);
    /// Widens sixteen binary16 values.
    fn load_f16(self, x: &[u16; LANES]) -> Self::F;
    /// Narrows to binary16, ties to even.
    fn store_f16(self, x: Self::F, out: &mut [u16; LANES]);
    /// Widens sixteen bfloat16 values.
    fn load_bf16(self, x: &[u16; LANES]) -> Self::F;
    /// Rounds to the nearest integer (ties to even), saturates to i8 and stores. NaN becomes -128
    /// or 0.
    fn store_i8(self, x: Self::F, out: &mut [i8; LANES]);

    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `if a < b { a } else { b }`.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// `if a > b { a } else { b }`.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    fn abs(self, x: Self::F) -> Self::F;
    /// Rounds to the nearest integer, ties to even.
    fn round(self, x: Self::F) -> Self::F;
    /// `2^n` for an integral `n` in `-126 ..= 127`.
    fn exp2_integral(self, n: Self::F) -> Self::F;

    /// Sixteen f64 accumulators.
    type D: Copy;
    fn zero_f64(self) -> Self::D;
    /// `acc + x`, the sum in f64.
    fn add_f64(self, acc: Self::D, x: Self::F) -> Self::D;
    fn store_f64(self, acc: Self::D) -> [f64; LANES];

    #[inline(always)]
    fn to_array(self, x: Self::F) -> [f32; LANES] {
        let mut out = [0.0; LANES];
        self.store(x, &mut out);
        out
    }

    /// Loads a short tail, `fill` in the lanes behind it.
    #[inline(always)]
    fn load_tail(self, x: &[f32], fill: f32) -> Self::F {
        let mut padded = [fill; LANES];
        padded[..x.len()].copy_from_slice(x);
        self.load(&padded)
    }
}
