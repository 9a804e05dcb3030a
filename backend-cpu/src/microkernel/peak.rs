//! The instruction that multiplies the most bytes, on its own: what a product can reach at best.
//!
//! Twelve chains of it run side by side, so that none waits for its last addition. Inline assembly,
//! since a compiler would see that every round is the same.

/// The multiply-add of bytes of an instruction set.
pub(crate) trait Peak: Copy {
    /// Multiply-adds of one round.
    const PER_ROUND: u64;

    /// Multiplies ones for some rounds, in registers. The result is one of the sums, which grows by
    /// as much with every round.
    fn multiply(self, rounds: u64) -> i32;
}

/// Chains that run side by side.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) const CHAINS: u64 = 12;

/// The text that `$step` makes for each of the twelve chains.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! chains {
    ($step:ident) => {
        concat!(
            $step!("0"),
            $step!("1"),
            $step!("2"),
            $step!("3"),
            $step!("4"),
            $step!("5"),
            $step!("6"),
            $step!("7"),
            $step!("8"),
            $step!("9"),
            $step!("10"),
            $step!("11")
        )
    };
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) use chains;
