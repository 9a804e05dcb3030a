//! The most multiply-adds of bytes that x86-64 does.

use std::arch::asm;

use super::avx2::token::Avx2;
use super::avx512::tiles;
use super::avx512::token::Avx512;
use crate::microkernel::peak::{CHAINS, Peak, chains};

/// Clears a chain's sums.
macro_rules! clear {
    ($chain:literal) => {
        concat!("vpxor xmm", $chain, ", xmm", $chain, ", xmm", $chain, "\n")
    };
}
macro_rules! vnni_512 {
    ($chain:literal) => {
        concat!("vpdpbusd zmm", $chain, ", zmm14, zmm14\n")
    };
}
macro_rules! vnni_256 {
    ($chain:literal) => {
        concat!("{{vex}} vpdpbusd ymm", $chain, ", ymm14, ymm14\n")
    };
}
macro_rules! avx2 {
    ($chain:literal) => {
        concat!(
            "vpmaddubsw ymm12, ymm14, ymm14\nvpaddw ymm",
            $chain,
            ", ymm",
            $chain,
            ", ymm12\n"
        )
    };
}

/// Rounds of `$step` with ones in the first register of bytes, register 14.
macro_rules! rounds {
    ($rounds:ident, $step:ident, $ones:literal) => {{
        let sum: i32;
        asm!(
            "mov {sum:e}, 0x01010101",
            "vmovd xmm14, {sum:e}",
            $ones,
            chains!(clear),
            "2:",
            chains!($step),
            "dec {rounds}",
            "jnz 2b",
            "vmovd {sum:e}, xmm0",
            rounds = inout(reg) $rounds => _,
            sum = out(reg) sum,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _,
            out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
            out("xmm12") _, out("xmm14") _,
            options(nomem, nostack),
        );
        sum
    }};
}

impl<const VBMI: bool, const AMX: bool> Peak for Avx512<VBMI, AMX> {
    const PER_ROUND: u64 = if AMX { tiles::PER_ROUND } else { CHAINS * 64 };

    #[inline(always)]
    fn multiply(self, rounds: u64) -> i32 {
        let rounds = rounds.max(1);
        if AMX {
            return self.multiply_tiles(rounds);
        }
        // SAFETY: `self` proves AVX-512 with VNNI; the block names all registers that it changes
        // and touches no memory.
        unsafe { rounds!(rounds, vnni_512, "vpbroadcastd zmm14, xmm14") }
    }
}

impl<const VNNI: bool> Peak for Avx2<VNNI> {
    const PER_ROUND: u64 = CHAINS * 32;

    #[inline(always)]
    fn multiply(self, rounds: u64) -> i32 {
        let rounds = rounds.max(1);
        // SAFETY: `self` proves AVX2, and AVX-VNNI where `VNNI` is set; the block names all
        // registers that it changes and touches no memory.
        let sum = unsafe {
            if VNNI {
                rounds!(rounds, vnni_256, "vpbroadcastd ymm14, xmm14")
            } else {
                rounds!(rounds, avx2, "vpbroadcastd ymm14, xmm14")
            }
        };
        // Without VNNI, sums are of 16 bits.
        if VNNI { sum } else { sum & 0xffff }
    }
}
