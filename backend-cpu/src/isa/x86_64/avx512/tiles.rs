//! The tiles of AMX: whether they may be used, their shapes, and what is done with them.

use std::arch::asm;
use std::arch::x86_64::{__cpuid_count, CpuidResult};
use std::sync::OnceLock;

use bitnet_kernels::order::LANES;

use crate::microkernel::gemm::{GROUP, GROUP_STEPS, PackedWord};

/// Tokens of a tile of activations.
pub(super) const TILE_TOKENS: usize = 16;

/// Strips whose codes are multiplied at a time: two tiles.
pub(super) const PAIR: usize = 2;

/// Sums of a token: a line for each strip.
const LINE: usize = size_of::<PackedWord>();

/// Multiply-adds of a round of [`Tiles::multiply_ones`]: of four tiles.
pub(in super::super) const PER_ROUND: u64 = 4 * (TILE_TOKENS * LANES * 64) as u64;

/// Whether the CPU has tiles of bytes and the system lets this process use them, which it is asked
/// once.
pub(super) fn permitted() -> bool {
    static PERMITTED: OnceLock<bool> = OnceLock::new();
    *PERMITTED.get_or_init(|| {
        /// `AMX-TILE` and `AMX-INT8` in EDX of leaf 7.
        const TILES_OF_BYTES: u32 = 1 << 24 | 1 << 25;
        // SAFETY: every CPU with AVX-512 has leaf 7.
        let leaf = unsafe { leaf_7() };
        leaf.edx & TILES_OF_BYTES == TILES_OF_BYTES && ask()
    })
}

/// What the CPU says of its features.
///
/// # Safety
/// - The CPU has this leaf. (Older compilers want that promised, newer ones do not.)
unsafe fn leaf_7() -> CpuidResult {
    __cpuid_count(7, 0)
}

/// Asks Linux for the room that tiles take where it keeps a thread's registers.
#[cfg(target_os = "linux")]
fn ask() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
    const XFEATURE_XTILEDATA: i64 = 18;
    let result: i64;
    // SAFETY: the call has no effect on memory; the kernel changes no registers but these.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    result == 0
}

/// Nobody knows how another system is asked.
#[cfg(not(target_os = "linux"))]
fn ask() -> bool {
    false
}

/// What `ldtilecfg` reads.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Tiles with shapes, which they keep until this is dropped: sums in tiles 0 to 3, activations in 4
/// and 5, codes in 6 and 7.
pub(super) struct Tiles {
    /// The tokens that meet the codes at a time, up to two tiles of them.
    tokens: usize,
}

/// Runs instructions that may change any tile.
macro_rules! tiles {
    ($($arguments:tt)*) => {
        asm!(
            $($arguments)*
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        )
    };
}

impl Tiles {
    /// Tiles for some tokens, at least one.
    ///
    /// # Safety
    /// - [`permitted`].
    #[inline(always)]
    pub(super) unsafe fn new(tokens: usize) -> Tiles {
        let mut tiles = Tiles { tokens: 0 };
        tiles.reshape(tokens);
        tiles
    }

    /// Tiles for another number of tokens.
    #[inline(always)]
    pub(super) fn reshape(&mut self, tokens: usize) {
        if tokens == self.tokens {
            return;
        }
        assert!(0 < tokens && tokens <= 2 * TILE_TOKENS);
        let first = tokens.min(TILE_TOKENS) as u8;
        let second = tokens as u8 - first;
        let mut configuration = Configuration {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            row_bytes: [0; 16],
            rows: [0; 16],
        };
        let rows = [first, first, second, second, first, second, 16, 16];
        for (i, rows) in rows.into_iter().enumerate() {
            // A tile without rows must have no columns.
            configuration.row_bytes[i] = if rows == 0 { 0 } else { LINE as u16 };
            configuration.rows[i] = rows;
        }
        // SAFETY: there are tiles, by the promise that was made to `new`; the configuration is one
        // that the palette allows.
        unsafe { tiles!("ldtilecfg [{}]", in(reg) &raw const configuration,) }
        self.tokens = tokens;
    }

    /// Adds the products of some groups of a pair of strips with all tokens to `sums`, or, where
    /// `ANEW`, writes them there. `words` are `[groups, strips, steps]`, a byte to a code; the
    /// activations of a token are `stride` bytes from those of the one before, as are its sums
    /// `pitch` bytes.
    ///
    /// # Safety
    /// - There are as many groups in `words` and, from `x` on, in the activations of every token.
    /// - From `sums` on, there is a line for both strips of every token.
    #[inline(always)]
    pub(super) unsafe fn multiply<const ANEW: bool>(
        &self,
        words: &[[[PackedWord; GROUP_STEPS]; PAIR]],
        (x, stride): (*const i8, usize),
        (sums, pitch): (*mut PackedWord, usize),
    ) {
        /// 64 activations of every token with sixteen steps of both strips.
        macro_rules! products {
            ($activations:literal, $first:literal, $second:literal, $both:literal) => {
                concat!(
                    "tileloadd tmm6, [{words} + {line} + ",
                    $first,
                    "]\n",
                    "tileloadd tmm4, [{x} + {stride} + ",
                    $activations,
                    "]\n",
                    "tdpbsud tmm0, tmm4, tmm6\n",
                    "tileloadd tmm7, [{words} + {line} + ",
                    $second,
                    "]\n",
                    "tdpbsud tmm1, tmm4, tmm7\n",
                    ".if ",
                    $both,
                    "\n",
                    "tileloadd tmm5, [{second_x} + {stride} + ",
                    $activations,
                    "]\n",
                    "tdpbsud tmm2, tmm5, tmm6\n",
                    "tdpbsud tmm3, tmm5, tmm7\n",
                    ".endif\n",
                )
            };
        }
        /// All groups, with one tile of tokens or with both.
        macro_rules! all_groups {
            ($both:literal) => {
                tiles!(
                    ".if {anew}",
                    "tilezero tmm0",
                    "tilezero tmm1",
                    concat!(".if ", $both),
                    "tilezero tmm2",
                    "tilezero tmm3",
                    ".endif",
                    ".else",
                    "tileloadd tmm0, [{sums} + {pitch}]",
                    "tileloadd tmm1, [{sums} + {pitch} + 64]",
                    concat!(".if ", $both),
                    "tileloadd tmm2, [{second_sums} + {pitch}]",
                    "tileloadd tmm3, [{second_sums} + {pitch} + 64]",
                    ".endif",
                    ".endif",
                    "2:",
                    products!("0", "0", "2048", $both),
                    products!("64", "1024", "3072", $both),
                    "add {words}, 4096",
                    "add {x}, 128",
                    "add {second_x}, 128",
                    "dec {groups}",
                    "jnz 2b",
                    "tilestored [{sums} + {pitch}], tmm0",
                    "tilestored [{sums} + {pitch} + 64], tmm1",
                    concat!(".if ", $both),
                    "tilestored [{second_sums} + {pitch}], tmm2",
                    "tilestored [{second_sums} + {pitch} + 64], tmm3",
                    ".endif",
                    anew = const ANEW as u8,
                    groups = inout(reg) words.len() => _,
                    words = inout(reg) words.as_ptr() => _,
                    x = inout(reg) x => _,
                    second_x = inout(reg) x.wrapping_add(TILE_TOKENS * stride) => _,
                    stride = in(reg) stride,
                    line = in(reg) LINE,
                    sums = in(reg) sums,
                    second_sums = in(reg) sums.wrapping_byte_add(TILE_TOKENS * pitch),
                    pitch = in(reg) pitch,
                )
            };
        }
        const {
            assert!(size_of::<[[PackedWord; GROUP_STEPS]; PAIR]>() == 4096 && GROUP == 128);
        }
        if words.is_empty() {
            return;
        }
        // SAFETY: the tiles have shapes for as many tokens, as `self` shows; by the caller's
        // promise, what is read and written for these is there.
        unsafe {
            if self.tokens > TILE_TOKENS {
                all_groups!("1");
            } else {
                all_groups!("0");
            }
        }
    }

    /// Multiplies tiles of ones for some rounds; the result is one of the sums.
    #[inline(always)]
    pub(super) fn multiply_ones(&mut self, rounds: u64) -> i32 {
        self.reshape(2 * TILE_TOKENS);
        let ones = PackedWord([[1; 4]; LANES]);
        let mut sums = [PackedWord::ZERO; TILE_TOKENS];
        // SAFETY: there are tiles, as `self` shows. Every row of a tile of ones is the same line,
        // and one tile of sums is written.
        unsafe {
            tiles!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "tileloadd tmm4, [{ones} + {nothing}]",
                "tileloadd tmm5, [{ones} + {nothing}]",
                "tileloadd tmm6, [{ones} + {nothing}]",
                "tileloadd tmm7, [{ones} + {nothing}]",
                "2:",
                "tdpbsud tmm0, tmm4, tmm6",
                "tdpbsud tmm1, tmm4, tmm7",
                "tdpbsud tmm2, tmm5, tmm6",
                "tdpbsud tmm3, tmm5, tmm7",
                "dec {rounds}",
                "jnz 2b",
                "tilestored [{sums} + {line}], tmm0",
                rounds = inout(reg) rounds.max(1) => _,
                ones = in(reg) &raw const ones,
                nothing = in(reg) 0_usize,
                sums = in(reg) sums.as_mut_ptr(),
                line = in(reg) LINE,
            );
        }
        i32::from_ne_bytes(sums[0].0[0])
    }
}

impl Drop for Tiles {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: there are tiles, as `self` shows.
        unsafe { tiles!("tilerelease",) }
    }
}
