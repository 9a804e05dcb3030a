//! The most multiply-adds of bytes that AArch64 does.

use std::arch::asm;

use super::dot::{Dot, Simd};
use crate::peak::{CHAINS, Peak, chains};

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

/// The instruction that an implementation of [`Dot`] lives by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Multiply {
    Smlal,
    Sdot,
    Smmla,
}

impl<D: Dot> Peak for Simd<D> {
    const PER_ROUND: u64 = CHAINS
        * match D::MULTIPLY {
            Multiply::Smlal => 8,
            Multiply::Sdot => 16,
            Multiply::Smmla => 32,
        };

    #[inline(always)]
    fn multiply(self, rounds: u64) -> i32 {
        let rounds = rounds.max(1);
        // SAFETY: `self` proves the instruction.
        unsafe {
            match D::MULTIPLY {
                // Sums are of 16 bits.
                Multiply::Smlal => multiply_smlal(rounds) & 0xffff,
                Multiply::Sdot => multiply_sdot(rounds),
                Multiply::Smmla => multiply_smmla(rounds),
            }
        }
    }
}
