//! Products with many tokens by tables of sums, in 256-bit registers: additions alone.
//!
//! The four codes of a byte of weights meet the same four activations of a token in every row, and
//! there are 81 sums that these can have. So the sums are written down once, for sixteen tokens
//! side by side, and each row looks up that of its byte: one addition of what lies in the first
//! cache does the work of 64 multiply-adds, for which `vpmaddubsw` and `vpaddw` need two of each.
//!
//! ```text
//! find the places of the bytes of all rows in the tables     [chunks][rows][8], 2 bytes each
//! for each 16 tokens
//!     for each 256 weights                                   as many as sums of 16 bits hold
//!         for each chunk of 8 bytes                          32 weights
//!             write the tables of its bytes                  20 KB, in the first cache
//!             for each row
//!                 sums[16 tokens] += table[place]            for each of its 8 places
//!         for each row: widen its sums, or add them to floats by the scale of its block
//!     divide, transpose, write to out
//! ```
//!
//! Writing the tables takes as long as a hundred rows, so few rows or few tokens are left to tiles.
//! So are rows with the one code that no ternary weight has: there is no place for it.

use std::arch::x86_64::*;

use bitnet_kernels::format::tq2_0;
use bitnet_kernels::order::LANES;

use super::token::Avx2;
use crate::generic::gemm::{LINE, block_groups, block_scales, store_rows, strip_rows};
use crate::microkernel::gemm::{
    GROUP, GROUP_BYTES, GemmArgs, Microkernel, PackedWord, TernaryLayout,
};
use crate::microkernel::operands::Encoded;
use crate::microkernel::runs::RUN_BYTES;
use crate::microkernel::simd::Simd;

/// Tokens from which on tables pay.
const LEAST_TOKENS: usize = 12;
/// Rows from which on tables pay.
const LEAST_ROWS: usize = 128;

/// Bytes of a row that meet their tables together.
const CHUNK: usize = 8;

/// Chunks of a group.
const CHUNKS: usize = GROUP_BYTES / CHUNK;

/// Groups that sums of 16 bits hold: encoders give activations of at most 127 in magnitude, and
/// `256 * 127 = 32512`.
const AT_ONCE: usize = 2;

/// Sums of four activations, each with a weight of -1, 0 or 1.
const SUMS: usize = 81;

/// Sixteen numbers of 16 bits, one per token: tokens 4 to 7 and 8 to 11 have changed places.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
struct Words([i16; LANES]);

/// The sums of four activations.
type Table = [Words; SUMS];

/// Where the sums of a chunk of a row are in its tables, in bytes: four places of 16 bits to a
/// number, since loads are what tables wait for.
type Places = [u64; CHUNK / 4];

/// Scratch memory in parts, for some rows: a multiple of sixteen.
struct Parts<'a> {
    /// `[chunks, rows]`.
    places: &'a mut [Places],
    /// `[blocks, rows]`.
    scales: &'a mut [f32],
    /// Of a group.
    activations: &'a mut [Words; GROUP],
    /// Of a chunk.
    tables: &'a mut [Table; CHUNK],
    sums: &'a mut [Words],
    /// Sums as they are, or floats.
    totals: &'a mut [[f32; LANES]],
}

impl Parts<'_> {
    fn of(scratch: &mut Vec<PackedWord>, rows: usize, groups: usize, blocks: usize) -> Parts<'_> {
        let lens = [
            size_of::<Places>() * groups * CHUNKS * rows,
            size_of::<f32>() * blocks * rows,
            size_of::<[Words; GROUP]>(),
            size_of::<[Table; CHUNK]>(),
            size_of::<Words>() * rows,
            size_of::<[f32; LANES]>() * rows,
        ];
        let lens = lens.map(|bytes| bytes.div_ceil(size_of::<PackedWord>()));
        let needed = lens.iter().sum();
        if scratch.len() < needed {
            scratch.resize(needed, PackedWord::ZERO);
        }
        let mut rest = &mut scratch[..needed];
        let [places, scales, activations, tables, sums, totals] = lens.map(|len| {
            let (part, later) = std::mem::take(&mut rest).split_at_mut(len);
            rest = later;
            part
        });
        // SAFETY: any bytes are numbers, and lines of the cache are aligned for them.
        unsafe {
            Parts {
                places: places.align_to_mut().1,
                scales: scales.align_to_mut().1,
                activations: &mut activations.align_to_mut().1[0],
                tables: &mut tables.align_to_mut().1[0],
                sums: sums.align_to_mut().1,
                totals: totals.align_to_mut().1,
            }
        }
    }
}

/// The number of the sum that the codes of half a byte have, of nine.
const fn of_half(codes: i8) -> i8 {
    (codes & 3) + 3 * (codes >> 2)
}

/// Writes the places of a group of each row of a strip to `[chunks, rows]`. Returns whether there
/// is one for each: none of the codes is 3.
#[target_feature(enable = "avx2")]
fn write_places(
    rows: &[&[u8; GROUP_BYTES]; LANES],
    strip: usize,
    count: usize,
    places: &mut [Places],
) -> bool {
    let nine = const {
        let mut nine = [0; 16];
        let mut codes = 0;
        while codes < 16 {
            nine[codes] = of_half(codes as i8);
            codes += 1;
        }
        nine
    };
    let tables = const {
        let mut tables = [0; CHUNK];
        let mut table = 0;
        while table < CHUNK {
            tables[table] = (table * size_of::<Table>()) as u16;
            table += 1;
        }
        tables
    };
    // SAFETY: the loads cover their arrays.
    let (nine, tables) = unsafe {
        (
            _mm256_broadcastsi128_si256(_mm_loadu_si128((&raw const nine).cast())),
            _mm256_broadcastsi128_si256(_mm_loadu_si128((&raw const tables).cast())),
        )
    };
    let low = _mm256_set1_epi8(15);
    let mut all_threes = _mm256_setzero_si256();
    for (r, bytes) in rows.iter().enumerate() {
        // SAFETY: the load covers the array.
        let bytes = unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) };
        let threes = _mm256_and_si256(bytes, _mm256_srli_epi16::<1>(bytes));
        all_threes = _mm256_or_si256(all_threes, threes);
        let first = _mm256_shuffle_epi8(nine, _mm256_and_si256(bytes, low));
        let second = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), low);
        let second = _mm256_shuffle_epi8(nine, second);
        let mut halves = [
            _mm256_unpacklo_epi8(first, second),
            _mm256_unpackhi_epi8(first, second),
        ];
        for half in &mut halves {
            let number = _mm256_maddubs_epi16(*half, _mm256_set1_epi16(9 << 8 | 1));
            // A sum has 32 bytes.
            *half = _mm256_add_epi16(_mm256_slli_epi16::<5>(number), tables);
        }
        let [even, odd] = halves;
        let chunks = [
            _mm256_castsi256_si128(even),
            _mm256_castsi256_si128(odd),
            _mm256_extracti128_si256::<1>(even),
            _mm256_extracti128_si256::<1>(odd),
        ];
        for (chunk, of_chunk) in chunks.into_iter().enumerate() {
            let to = &mut places[chunk * count + strip * LANES + r];
            // SAFETY: the store covers the array.
            unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), of_chunk) };
        }
    }
    _mm256_testz_si256(all_threes, _mm256_set1_epi8(0x55)) == 1
}

/// The four activations of each lane of 32 bits, one after another.
#[inline]
#[target_feature(enable = "avx2")]
fn one_by_one([low, high]: [__m256i; 2]) -> [__m256i; 4] {
    let both =
        |low, high| _mm256_packs_epi32(_mm256_srai_epi32::<24>(low), _mm256_srai_epi32::<24>(high));
    [
        both(_mm256_slli_epi32::<24>(low), _mm256_slli_epi32::<24>(high)),
        both(_mm256_slli_epi32::<16>(low), _mm256_slli_epi32::<16>(high)),
        both(_mm256_slli_epi32::<8>(low), _mm256_slli_epi32::<8>(high)),
        both(low, high),
    ]
}

/// Sums of 32 bits, tokens in their order.
#[inline]
#[target_feature(enable = "avx2")]
fn widened(sums: __m256i) -> [__m256i; 2] {
    [
        _mm256_srai_epi32::<16>(_mm256_unpacklo_epi16(sums, sums)),
        _mm256_srai_epi32::<16>(_mm256_unpackhi_epi16(sums, sums)),
    ]
}

/// The sums of two activations, the weight of the first running from -1 to 1 for each of the
/// second.
#[inline]
#[target_feature(enable = "avx2")]
fn sums_of_two(a: __m256i, b: __m256i) -> [__m256i; 9] {
    let zero = _mm256_setzero_si256();
    let minus = _mm256_sub_epi16(zero, a);
    [
        _mm256_sub_epi16(minus, b),
        _mm256_sub_epi16(zero, b),
        _mm256_sub_epi16(a, b),
        minus,
        zero,
        a,
        _mm256_add_epi16(minus, b),
        b,
        _mm256_add_epi16(a, b),
    ]
}

/// Writes the table of four activations: the first belongs to the lowest code of a byte.
#[inline]
#[target_feature(enable = "avx2")]
fn write_table(activations: [&Words; 4], table: &mut Table) {
    let mut four = [_mm256_setzero_si256(); 4];
    for (words, activations) in four.iter_mut().zip(activations) {
        // SAFETY: the load covers the array.
        *words = unsafe { _mm256_load_si256(activations.0.as_ptr().cast()) };
    }
    let [a, b, c, d] = four;
    let low = sums_of_two(a, b);
    for (high, sums) in sums_of_two(c, d)
        .into_iter()
        .zip(table.as_chunks_mut::<9>().0)
    {
        for (low, sum) in low.into_iter().zip(sums) {
            let all = _mm256_add_epi16(low, high);
            // SAFETY: the store covers the array.
            unsafe { _mm256_store_si256(sum.0.as_mut_ptr().cast(), all) };
        }
    }
}

/// Adds what tables have at the places of each row to its sums: with `FIRST`, these begin there,
/// and with `LAST`, they go to the totals instead.
///
/// # Safety
/// - The places are those of codes other than 3.
#[target_feature(enable = "avx2")]
unsafe fn add_chunk<const FIRST: bool, const LAST: bool>(
    tables: &[Table; CHUNK],
    places: &[Places],
    sums: &mut [Words],
    totals: &mut [[f32; LANES]],
) {
    let tables = tables.as_ptr().cast::<u8>();
    for ((places, sums), total) in places.iter().zip(sums).zip(totals) {
        let at = sums.0.as_mut_ptr().cast::<__m256i>();
        let mut sum = _mm256_setzero_si256();
        if !FIRST {
            // SAFETY: the load covers the array.
            sum = unsafe { _mm256_load_si256(at) };
        }
        for four in places {
            for i in 0..4 {
                let place = usize::from((four >> (16 * i)) as u16);
                // SAFETY: the caller's promise: there are `Words` at every place.
                let words = unsafe { _mm256_load_si256(tables.add(place).cast()) };
                sum = _mm256_add_epi16(sum, words);
            }
        }
        if LAST {
            let [low, high] = widened(sum);
            let at = total.as_mut_ptr().cast::<__m256i>();
            // SAFETY: the loads and stores cover the array.
            unsafe {
                let first = _mm256_add_epi32(_mm256_loadu_si256(at), low);
                let second = _mm256_add_epi32(_mm256_loadu_si256(at.add(1)), high);
                _mm256_storeu_si256(at, first);
                _mm256_storeu_si256(at.add(1), second);
            }
        } else {
            // SAFETY: the store covers the array.
            unsafe { _mm256_store_si256(at, sum) };
        }
    }
}

/// Adds the products of a group to the sums of all rows, which begin there with `first`, and go to
/// the totals with `last`.
///
/// # Safety
/// - The places are those of codes other than 3.
#[target_feature(enable = "avx2")]
unsafe fn add_group(
    parts: &mut Parts<'_>,
    group: usize,
    highest_first: bool,
    (first, last): (bool, bool),
) {
    let rows = parts.sums.len();
    let places = &parts.places[group * CHUNKS * rows..][..CHUNKS * rows];
    for (chunk, places) in places.chunks_exact(rows).enumerate() {
        for (i, table) in parts.tables.iter_mut().enumerate() {
            let byte = chunk * CHUNK + i;
            let mut four = [byte, 32 + byte, 64 + byte, 96 + byte];
            if highest_first {
                four.reverse();
            }
            write_table(four.map(|at| &parts.activations[at]), table);
        }
        let add = match (first && chunk == 0, last && chunk == CHUNKS - 1) {
            (true, _) => add_chunk::<true, false>,
            (_, true) => add_chunk::<false, true>,
            _ => add_chunk::<false, false>,
        };
        // SAFETY: the caller's promise.
        unsafe { add(parts.tables, places, parts.sums, parts.totals) };
    }
}

impl<const VNNI: bool> Avx2<VNNI> {
    /// [`Microkernel::whole_gemm`] by tables.
    #[inline(always)]
    pub(super) fn gemm_by_tables<'a, F: TernaryLayout>(
        self,
        args: GemmArgs<'a>,
        scratch: &mut Vec<PackedWord>,
    ) -> Option<GemmArgs<'a>> {
        let count = args.rows.len();
        if args.tokens.len() < LEAST_TOKENS || count < LEAST_ROWS {
            return Some(args);
        }
        let groups = args.x.width / GROUP;
        let at_once = F::GROUPS_PER_SCALE.unwrap_or(AT_ONCE);
        let blocks = groups.div_ceil(at_once);
        let mut parts = Parts::of(scratch, count.next_multiple_of(LANES), groups, blocks);
        if !self.find_places::<F>(&args, &mut parts) {
            return Some(args);
        }
        let GemmArgs {
            m, x, tokens, out, ..
        } = args;
        let firsts = tokens.clone().step_by(LANES);
        for (first, out) in firsts.zip(out.chunks_mut(LANES * count)) {
            // The lanes that are left at the end repeat the last token.
            let mut of_lanes = [first; LANES];
            for (lane, token) in of_lanes.iter_mut().enumerate() {
                *token = (first + lane).min(tokens.end - 1);
            }
            parts.totals.fill([0.0; LANES]);
            for (block, first) in (0..groups).step_by(at_once).enumerate() {
                let end = groups.min(first + at_once);
                for group in first..end {
                    self.take_activations(x, &of_lanes, group, parts.activations);
                    let last = group == end - 1 && F::GROUPS_PER_SCALE.is_none();
                    let ends = (group == first, last);
                    // SAFETY: `self` proves AVX2; there is a place for every code, as was found.
                    unsafe { add_group(&mut parts, group, F::HIGHEST_FIRST, ends) };
                }
                if F::GROUPS_PER_SCALE.is_some() {
                    self.end_block(x, &of_lanes, block, &mut parts);
                }
            }
            if F::GROUPS_PER_SCALE.is_none() {
                self.divide(x, &of_lanes, m.scale, parts.totals);
            }
            self.write_results(parts.totals, count, out);
        }
        None
    }

    /// Finds the places and the scales of all rows. Returns whether there is a place for each code.
    #[inline(always)]
    fn find_places<F: TernaryLayout>(self, args: &GemmArgs<'_>, parts: &mut Parts<'_>) -> bool {
        let rows = parts.sums.len();
        let per_block = F::GROUPS_PER_SCALE.unwrap_or(1);
        let mut found = true;
        for strip in 0..rows / LANES {
            let strip_rows = strip_rows(args.m, &args.rows, strip);
            for i in 0..args.x.width / GROUP / per_block {
                let mut unpacked = [[0; tq2_0::CODE_BYTES]; LANES];
                let bytes = block_groups::<Self, F>(self, strip_rows, i, &mut unpacked);
                for part in 0..per_block {
                    let mut groups = [&[0; GROUP_BYTES]; LANES];
                    for (group, bytes) in groups.iter_mut().zip(bytes) {
                        *group = &bytes[part];
                    }
                    let at = (i * per_block + part) * CHUNKS * rows;
                    let places = &mut parts.places[at..at + CHUNKS * rows];
                    // SAFETY: `self` proves AVX2.
                    found &= unsafe { write_places(&groups, strip, rows, places) };
                }
                if F::GROUPS_PER_SCALE.is_some() {
                    let scales = self.load_f16(&block_scales::<F>(strip_rows, i));
                    let strips = parts.scales[i * rows..].as_chunks_mut().0;
                    self.store(scales, &mut strips[strip]);
                }
            }
        }
        found
    }

    /// Brings the activations that some tokens have in a group side by side.
    #[inline(always)]
    fn take_activations(
        self,
        x: &Encoded<'_>,
        tokens: &[usize; LANES],
        group: usize,
        activations: &mut [Words; GROUP],
    ) {
        let runs = activations.as_chunks_mut::<RUN_BYTES>().0;
        for (run, activations) in runs.iter_mut().enumerate() {
            let at = group * GROUP + run * RUN_BYTES;
            let mut bytes = [&[0; RUN_BYTES]; LANES];
            for (bytes, token) in bytes.iter_mut().zip(tokens) {
                let q = x.q(*token);
                // The next group's.
                if at.is_multiple_of(LINE) {
                    self.prefetch(q, at + GROUP);
                }
                let q = &q[at..at + RUN_BYTES];
                // SAFETY: as many bytes, which have a sign or not.
                *bytes = unsafe { &*q.as_ptr().cast() };
            }
            let words = activations.as_chunks_mut::<4>().0;
            for (four, words) in self.transpose(bytes).into_iter().zip(words) {
                // SAFETY: `self` proves AVX2.
                let four = unsafe { one_by_one(four) };
                for (one, word) in four.into_iter().zip(words) {
                    // SAFETY: `self` proves AVX2; the store covers the array.
                    unsafe { _mm256_store_si256(word.0.as_mut_ptr().cast(), one) };
                }
            }
        }
    }

    /// The scales that a block has with some tokens.
    #[inline(always)]
    fn scales(self, x: &Encoded<'_>, tokens: &[usize; LANES], block: usize) -> [__m256; 2] {
        let mut scales = [0.0; LANES];
        for (scale, token) in scales.iter_mut().zip(tokens) {
            *scale = x.scales(*token)[block];
        }
        self.load(&scales)
    }

    /// Adds the sums of a block of all rows to their totals, as floats.
    #[inline(always)]
    fn end_block(
        self,
        x: &Encoded<'_>,
        tokens: &[usize; LANES],
        block: usize,
        parts: &mut Parts<'_>,
    ) {
        let scale = self.scales(x, tokens, block);
        let of_rows = &parts.scales[block * parts.sums.len()..];
        let sums = parts.sums.iter().zip(&mut *parts.totals);
        for ((sums, total), of_row) in sums.zip(of_rows) {
            // SAFETY: `self` proves AVX2; the load covers the array.
            let sums = unsafe { widened(_mm256_load_si256(sums.0.as_ptr().cast())) };
            let scale = self.mul(self.splat(*of_row), scale);
            let floats = self.fma(scale, self.to_f32(sums), self.load(total));
            self.store(floats, total);
        }
    }

    /// Makes results of sums.
    #[inline(always)]
    fn divide(
        self,
        x: &Encoded<'_>,
        tokens: &[usize; LANES],
        scale: f32,
        totals: &mut [[f32; LANES]],
    ) {
        let (of_tokens, scale) = (self.scales(x, tokens, 0), self.splat(scale));
        for total in totals {
            let [low, high] = self.load(total);
            // SAFETY: `self` proves AVX2.
            let sums = unsafe { [_mm256_castps_si256(low), _mm256_castps_si256(high)] };
            let y = self.mul(self.div(self.to_f32(sums), of_tokens), scale);
            self.store(y, total);
        }
    }

    /// Writes the results of as many rows to `[tokens, rows]`.
    #[inline(always)]
    fn write_results(self, totals: &[[f32; LANES]], rows: usize, out: &mut [f32]) {
        for (strip, totals) in totals.as_chunks::<LANES>().0.iter().enumerate() {
            let of_strip = strip * LANES..rows.min((strip + 1) * LANES);
            let mut tokens = out.chunks_exact_mut(rows);
            for four in 0..LANES / 4 {
                let mut bytes = [&[0; RUN_BYTES]; LANES];
                for (bytes, total) in bytes.iter_mut().zip(totals) {
                    let total = &total[4 * four..4 * four + 4];
                    // SAFETY: four floats have sixteen bytes.
                    *bytes = unsafe { &*total.as_ptr().cast() };
                }
                for ([low, high], out) in self.transpose(bytes).into_iter().zip(&mut tokens) {
                    // SAFETY: `self` proves AVX2.
                    let y = unsafe { [_mm256_castsi256_ps(low), _mm256_castsi256_ps(high)] };
                    store_rows(self, [y], &mut out[of_strip.clone()]);
                }
            }
        }
    }
}
