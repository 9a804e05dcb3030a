//! Sixteen f32 lanes, whatever the width of the machine's registers.
//!
//! [`Simd`] is implemented by each instruction set's token. Kernels written over it (see
//! `generic`) give the same bits on all of them, because the order of every reduction is spelled
//! out in lanes (`bitnet_kernels::order`) and each lane operation is an IEEE operation with one
//! rounding.

use bitnet_kernels::order::LANES;

/// Bytes between what is read and what is prefetched, where memory is read from end to end.
pub(crate) const PREFETCH_DISTANCE: usize = 8192;
/// The same where several places are read side by side.
pub(crate) const STREAM_DISTANCE: usize = 1024;

/// Vector operations of an instruction set. A value of the implementing type is the proof that the
/// CPU has it.
pub(crate) trait Simd: Copy {
    /// Sixteen f32, one per SIMD lane. How many registers they take is the implementation's matter.
    type F: Copy;
    /// Sixteen f64 accumulators, one per SIMD lane.
    type D: Copy;
    /// Accumulators of type [`Simd::F`] that a kernel may have in use at once: enough that none
    /// waits for its last addition, and few enough that all stay in registers.
    const CHAINS: usize = 4;
    /// Whether the registers hold sixteen accumulators of type [`Simd::F`], and what is added to
    /// them.
    const SIXTEEN: bool = false;

    /// Prefetches the cache line of byte `at`, counted from the start of `from`; it may lie behind
    /// the slice's end. A hint without a result: does nothing where there is no such instruction.
    #[inline(always)]
    fn prefetch<T>(self, _from: &[T], _at: usize) {}

    /// `x` in every lane.
    fn splat(self, x: f32) -> Self::F;
    /// Loads element `j` into lane `j`. No alignment is needed.
    fn load(self, x: &[f32; LANES]) -> Self::F;
    /// Stores lane `j` as element `j`. No alignment is needed.
    fn store(self, x: Self::F, out: &mut [f32; LANES]);
    /// Loads and widens sixteen binary16 values, given as their bits. Exact.
    fn load_f16(self, x: &[u16; LANES]) -> Self::F;
    /// Rounds to binary16, to nearest with ties to even, and stores the bits. Magnitudes from 65520
    /// on become infinite.
    fn store_f16(self, x: Self::F, out: &mut [u16; LANES]);
    /// Loads and widens sixteen bfloat16 values, given as their bits. Exact.
    fn load_bf16(self, x: &[u16; LANES]) -> Self::F;
    /// Rounds to the nearest integer, ties to even, saturates to i8 and stores. Lanes must be
    /// within the range of i32.
    fn store_i8(self, x: Self::F, out: &mut [i8; LANES]);

    /// `a + b` in each lane, rounded to nearest with ties to even, as are all operations below that
    /// round.
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a - b` in each lane, rounded.
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b` in each lane, rounded.
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a / b` in each lane, rounded as IEEE 754 asks: no approximate reciprocal.
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c` in each lane, rounded once.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `if a < b { a } else { b }` in each lane: `b` where either is NaN, and where both are zeros.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// `if a > b { a } else { b }` in each lane: `b` where either is NaN, and where both are zeros.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// The larger of two magnitudes in each lane. No lane is negative; NaN is above infinity.
    fn max_magnitude(self, a: Self::F, b: Self::F) -> Self::F;
    /// `|x|` in each lane: the sign bit cleared, of a NaN too.
    fn abs(self, x: Self::F) -> Self::F;
    /// Each lane rounded to the nearest integer, ties to even, as a float.
    fn round(self, x: Self::F) -> Self::F;
    /// `2^n` in each lane, exactly, for an integral `n` in `-126 ..= 127`.
    fn exp2_integral(self, n: Self::F) -> Self::F;

    /// Each lane where it is finite, NaN where it is not; see
    /// [`finite_or_nan`](bitnet_kernels::order::finite_or_nan).
    #[inline(always)]
    fn finite_or_nan(self, x: Self::F) -> Self::F {
        // The product with 0 is NaN for what is not finite, and a zero of the sign of `x` else.
        self.fma(x, self.splat(0.0), x)
    }

    /// 0 in every lane.
    fn zero_f64(self) -> Self::D;
    /// `acc + x` in each lane, the sum rounded to f64.
    fn add_f64(self, acc: Self::D, x: Self::F) -> Self::D;
    /// Lane `j` as element `j`.
    fn store_f64(self, acc: Self::D) -> [f64; LANES];

    /// Lane `j` as element `j`.
    #[inline(always)]
    fn to_array(self, x: Self::F) -> [f32; LANES] {
        let mut out = [0.0; LANES];
        self.store(x, &mut out);
        out
    }

    /// Loads at most sixteen elements into the first lanes, `fill` into the lanes behind them.
    #[inline(always)]
    fn load_tail(self, x: &[f32], fill: f32) -> Self::F {
        let mut padded = [fill; LANES];
        padded[..x.len()].copy_from_slice(x);
        self.load(&padded)
    }
}
