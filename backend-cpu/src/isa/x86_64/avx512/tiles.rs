//! The tiles of AMX: whether they may be used, their shapes, and what is done with them.

use std::arch::asm;
use std::arch::x86_64::{
    __cpuid_count, _mm512_mask_set1_epi16, _mm512_set1_epi8, _mm512_set1_epi16, CpuidResult,
};
use std::mem::MaybeUninit;
use std::sync::OnceLock;

use bitnet_kernels::order::LANES;

use crate::microkernel::gemm::{GROUP, GROUP_STEPS, PackedWord};

/// Tokens of a tile of activations.
pub(super) const TILE_TOKENS: usize = 16;

/// Codes of a row of a tile, and activations that they meet.
const CODES: usize = 64;

/// Groups of each row whose codes [`FewTiles`] takes out in a turn: a line of the cache.
pub(super) const TURN_GROUPS: usize = 2;

/// Tiles of sums of [`FewTiles`], each for every fourth tile of codes, so that none waits for the
/// one before.
const PHASES: usize = 4;

/// Sums of sixteen rows with up to sixteen tokens, in as many parts as there are tiles of them.
pub(super) type Sums = [[PackedWord; LANES]; PHASES];

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

/// Gives the tiles shapes: `(rows, bytes of a row)`.
///
/// # Safety
/// - [`permitted`].
#[inline(always)]
unsafe fn shape(shapes: [(usize, usize); 8]) {
    let mut configuration = Configuration {
        palette: 1,
        start_row: 0,
        reserved: [0; 14],
        row_bytes: [0; 16],
        rows: [0; 16],
    };
    for (i, (rows, bytes)) in shapes.into_iter().enumerate() {
        assert!(rows <= 16 && bytes <= LINE);
        // A tile without rows must have no columns.
        configuration.row_bytes[i] = if rows == 0 { 0 } else { bytes as u16 };
        configuration.rows[i] = rows as u8;
    }
    // SAFETY: there are tiles, by the caller's promise; the configuration is one that the palette
    // allows.
    unsafe { tiles!("ldtilecfg [{}]", in(reg) &raw const configuration,) }
}

/// Gives the tiles back, so that the system need not keep them.
///
/// # Safety
/// - [`permitted`].
#[inline(always)]
unsafe fn release() {
    // SAFETY: there are tiles, by the caller's promise.
    unsafe { tiles!("tilerelease",) }
}

/// Tiles with shapes, which they keep until this is dropped: sums in tiles 0 to 3, activations in 4
/// and 5, codes in 6 and 7.
pub(super) struct Tiles {
    /// The tokens that meet the codes at a time, up to two tiles of them.
    tokens: usize,
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
        let first = tokens.min(TILE_TOKENS);
        let second = tokens - first;
        let rows = [first, first, second, second, first, second, 16, 16];
        // SAFETY: there are tiles, by the promise that was made to `new`.
        unsafe { shape(rows.map(|rows| (rows, LINE))) };
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
        unsafe { release() }
    }
}

/// Tiles for a few tokens, with shapes that they keep until this is dropped: sums in tiles 0 to 3,
/// rows' codes in 4 and 5, activations in 6 and 7.
pub(super) struct FewTiles(());

impl FewTiles {
    /// Tiles for some tokens, 1 to 16.
    ///
    /// # Safety
    /// - [`permitted`].
    #[inline(always)]
    pub(super) unsafe fn new(tokens: usize) -> FewTiles {
        assert!(0 < tokens && tokens <= TILE_TOKENS);
        let side_by_side = (16, tokens * 4);
        let sums = (LANES, tokens * 4);
        let codes = (LANES, CODES);
        // SAFETY: the caller's promise.
        unsafe {
            shape([
                sums,
                sums,
                sums,
                sums,
                codes,
                codes,
                side_by_side,
                side_by_side,
            ])
        };
        FewTiles(())
    }

    /// The products of sixteen rows of `I2_S` with all tokens. The activations are, of four after
    /// four, those of all tokens, `pitch` bytes apart. Meanwhile what lies `further`
    /// bytes behind the first four rows is prefetched: of each, as many bytes as four rows have.
    ///
    /// # Safety
    /// - The CPU has AVX-512.
    /// - There are activations for as many codes as rows have.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) unsafe fn multiply(
        &self,
        rows: &[&[u8]; LANES],
        further: usize,
        (activations, pitch): (&[PackedWord], usize),
    ) -> Sums {
        /// Takes a turn's codes of a row out.
        macro_rules! take {
            ($row:literal) => {
                concat!(
                    "mov {at}, [{rows} + 8*",
                    $row,
                    "]\n",
                    "vbroadcasti64x4 zmm0, [{at} + {done}]\n",
                    "vbroadcasti64x4 zmm2, [{at} + {done} + 32]\n",
                    "vpsrlvw zmm1, zmm0, {first}\n",
                    "vpsrlvw zmm0, zmm0, {second}\n",
                    "vpsrlvw zmm3, zmm2, {first}\n",
                    "vpsrlvw zmm2, zmm2, {second}\n",
                    "vpandq zmm1, zmm1, {mask}\n",
                    "vpandq zmm0, zmm0, {mask}\n",
                    "vpandq zmm3, zmm3, {mask}\n",
                    "vpandq zmm2, zmm2, {mask}\n",
                    "vmovdqa64 [{next} + 256*",
                    $row,
                    "], zmm1\n",
                    "vmovdqa64 [{next} + 256*",
                    $row,
                    " + 64], zmm0\n",
                    "vmovdqa64 [{next} + 256*",
                    $row,
                    " + 128], zmm3\n",
                    "vmovdqa64 [{next} + 256*",
                    $row,
                    " + 192], zmm2\n",
                )
            };
        }
        /// Prefetches four lines of a stream, and takes the codes of four rows out.
        macro_rules! take_four {
            ($stream:literal, $first:literal, $second:literal, $third:literal, $fourth:literal) => {
                concat!(
                    "mov {at}, [{rows} + 8*",
                    $stream,
                    "]\n",
                    "add {at}, {further}\n",
                    "prefetcht0 [{at} + 4*{done}]\n",
                    "prefetcht0 [{at} + 4*{done} + 64]\n",
                    "prefetcht0 [{at} + 4*{done} + 128]\n",
                    "prefetcht0 [{at} + 4*{done} + 192]\n",
                    take!($first),
                    take!($second),
                    take!($third),
                    take!($fourth),
                )
            };
        }
        /// Adds the products of 64 codes of each row, those `$from` bytes behind the first.
        macro_rules! add {
            ($from:literal, $sums:literal, $codes:literal, $activations:literal) => {
                concat!(
                    "tileloadd tmm",
                    $activations,
                    ", [{x} + {pitch}]\n",
                    "tileloadd tmm",
                    $codes,
                    ", [{codes} + {stride} + ",
                    $from,
                    "]\n",
                    "add {x}, {tile}\n",
                    "tdpbusd tmm",
                    $sums,
                    ", tmm",
                    $codes,
                    ", tmm",
                    $activations,
                    "\n",
                )
            };
        }
        const {
            assert!(TURN_GROUPS * GROUP == 256 && PHASES == 4 && size_of::<PackedWord>() == 64);
        }
        let width = rows[0].len();
        assert!(rows.iter().all(|row| row.len() == width));
        assert!(width > 0 && width.is_multiple_of(64));
        let starts = rows.map(<[u8]>::as_ptr);
        // A turn's codes, and those of the next.
        let mut codes = MaybeUninit::<[[PackedWord; 4 * LANES]; 2]>::uninit();
        let mut sums = MaybeUninit::<Sums>::uninit();
        // Of the 32 bytes that both halves of a register hold, the lower half takes the codes that
        // come first.
        let halves =
            |lower, upper| _mm512_mask_set1_epi16(_mm512_set1_epi16(upper), 0x0000_ffff, lower);
        // SAFETY: there are tiles, as `self` shows, and AVX-512, by the caller's promise. Rows are
        // as long as was just seen, a turn's codes have room for all of them, all lines of the sums
        // are written, and activations are there by the caller's promise. Prefetches touch nothing.
        unsafe {
            tiles!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                take_four!("0", "0", "1", "2", "3"),
                take_four!("1", "4", "5", "6", "7"),
                take_four!("2", "8", "9", "10", "11"),
                take_four!("3", "12", "13", "14", "15"),
                "jmp 3f",
                "2:",
                add!("0", "0", "4", "6"),
                take_four!("0", "0", "1", "2", "3"),
                add!("64", "1", "5", "7"),
                take_four!("1", "4", "5", "6", "7"),
                add!("128", "2", "4", "6"),
                take_four!("2", "8", "9", "10", "11"),
                add!("192", "3", "5", "7"),
                take_four!("3", "12", "13", "14", "15"),
                "3:",
                "xchg {codes}, {next}",
                "add {done}, 64",
                "dec {turns}",
                "jnz 2b",
                add!("0", "0", "4", "6"),
                add!("64", "1", "5", "7"),
                add!("128", "2", "4", "6"),
                add!("192", "3", "5", "7"),
                "mov {at:e}, 64",
                "tilestored [{sums} + {at}], tmm0",
                "tilestored [{sums} + {at} + 1024], tmm1",
                "tilestored [{sums} + {at} + 2048], tmm2",
                "tilestored [{sums} + {at} + 3072], tmm3",
                turns = inout(reg) width / 64 => _,
                next = inout(reg) codes.as_mut_ptr() => _,
                codes = inout(reg) codes.as_mut_ptr().byte_add(size_of_val(&codes) / 2) => _,
                stride = in(reg) 256_usize,
                x = inout(reg) activations.as_ptr() => _,
                pitch = in(reg) pitch,
                tile = in(reg) pitch * (CODES / 4),
                sums = in(reg) sums.as_mut_ptr(),
                rows = in(reg) starts.as_ptr(),
                further = in(reg) further,
                done = inout(reg) 0_usize => _,
                at = out(reg) _,
                first = in(zmm_reg) halves(6, 4),
                second = in(zmm_reg) halves(2, 0),
                mask = in(zmm_reg) _mm512_set1_epi8(3),
                out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _,
            );
            sums.assume_init()
        }
    }
}

impl Drop for FewTiles {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: there are tiles, as `self` shows.
        unsafe { release() }
    }
}
