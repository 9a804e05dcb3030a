//! The most multiply-adds of bytes that AArch64 does.

use std::arch::asm;

use super::byte_dot::Aarch64;
use super::dotprod::Dotprod;
use super::i8mm::I8mm;
use super::neon::Neon;
use crate::microkernel::peak::{CHAINS, Peak, chains};

macro_rules! clear {
    ($chain:literal) => {
        concat!("movi v", $chain, ".16b, #0\n")
    };
}
macro_rules! smlal {
    ($chain:literal) => {
        concat!("smlal v", $chain, ".8h, v16.8b, v16.8b\n")
    };
}
macro_rules! sdot {
    ($chain:literal) => {
        concat!("sdot v", $chain, ".4s, v16.16b, v16.16b\n")
    };
}
macro_rules! smmla {
    ($chain:literal) => {
        concat!("smmla v", $chain, ".4s, v16.16b, v16.16b\n")
    };
}

/// Rounds of `$step` with ones in register 16.
macro_rules! rounds {
    ($rounds:ident, $step:ident) => {{
        let sum: i32;
        asm!(
            "movi v16.16b, #1",
            chains!(clear),
            "2:",
            chains!($step),
            "subs {rounds}, {rounds}, #1",
            "b.ne 2b",
            "fmov {sum:w}, s0",
            rounds = inout(reg) $rounds => _,
            sum = out(reg) sum,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _,
            out("v6") _, out("v7") _, out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v16") _,
            options(nomem, nostack),
        );
        sum
    }};
}

#[target_feature(enable = "neon")]
fn multiply_smlal(rounds: u64) -> i32 {
    // SAFETY: the block names all registers that it changes and touches no memory.
    unsafe { rounds!(rounds, smlal) }
}

#[target_feature(enable = "neon,dotprod")]
fn multiply_sdot(rounds: u64) -> i32 {
    // SAFETY: as above.
    unsafe { rounds!(rounds, sdot) }
}

#[target_feature(enable = "neon,i8mm")]
fn multiply_smmla(rounds: u64) -> i32 {
    // SAFETY: as above.
    unsafe { rounds!(rounds, smmla) }
}

impl Peak for Aarch64<Neon> {
    const PER_ROUND: u64 = CHAINS * 8;

    #[inline(always)]
    fn multiply(self, rounds: u64) -> i32 {
        // SAFETY: `self` proves NEON. Sums are of 16 bits.
        unsafe { multiply_smlal(rounds.max(1)) & 0xffff }
    }
}

impl Peak for Aarch64<Dotprod> {
    const PER_ROUND: u64 = CHAINS * 16;

    #[inline(always)]
    fn multiply(self, rounds: u64) -> i32 {
        // SAFETY: `self` proves `sdot`.
        unsafe { multiply_sdot(rounds.max(1)) }
    }
}

impl Peak for Aarch64<I8mm> {
    const PER_ROUND: u64 = CHAINS * 32;

    #[inline(always)]
    fn multiply(self, rounds: u64) -> i32 {
        // SAFETY: `self` proves `smmla`.
        unsafe { multiply_smmla(rounds.max(1)) }
    }
}
