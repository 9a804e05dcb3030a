//! Scales and minima of groups of 32 weights, as `Q4_K` and `Q5_K` keep them: eight of each, six
//! bits wide, in 12 bytes.
//!
//! ```text
//! byte   0 .. 4               4 .. 8               8 .. 12
//!      +--------------------+--------------------+-------------------------------------+
//!      | scales 0 to 3,     | minima 0 to 3,     | low halves: of scales 4 to 7 below, |
//!      | top 2: of 4 to 7   | top 2: of 4 to 7   | of minima 4 to 7 above              |
//!      +--------------------+--------------------+-------------------------------------+
//! ```

use bytemuck::{Pod, Zeroable};
use half::f16;

use super::rows;

/// Weights of a group.
pub const GROUP: usize = 32;

/// Groups of a block.
pub const GROUPS: usize = 8;

/// Weights of a block.
pub const BLOCK: usize = GROUP * GROUPS;

/// What each group of a block has: a weight is `d * scale * code - dmin * minimum`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Groups {
    /// Below 64.
    pub scales: [u8; GROUPS],
    /// Below 64.
    pub minima: [u8; GROUPS],
}

impl Groups {
    /// Reads the 12 bytes.
    #[inline]
    pub fn unpack(bytes: &[u8; 12]) -> Self {
        // Four bytes at a time.
        let word = |i: usize| u32::from_le_bytes(std::array::from_fn(|j| bytes[4 * i + j]));
        let (first, second, halves) = (word(0), word(1), word(2));
        let six = 0x3f3f_3f3f;
        let four = 0x0f0f_0f0f;
        let top = |word: u32| word >> 2 & 0x3030_3030;
        let eight = |low: u32, high: u32| (u64::from(high) << 32 | u64::from(low)).to_le_bytes();
        Self {
            scales: eight(first & six, halves & four | top(first)),
            minima: eight(second & six, halves >> 4 & four | top(second)),
        }
    }

    /// The 12 bytes.
    pub fn pack(&self) -> [u8; 12] {
        let Self { scales, minima } = self;
        let mut bytes = [0; 12];
        for j in 0..4 {
            bytes[j] = scales[j] | scales[j + 4] >> 4 << 6;
            bytes[j + 4] = minima[j] | minima[j + 4] >> 4 << 6;
            bytes[j + 8] = scales[j + 4] & 15 | minima[j + 4] << 4;
        }
        bytes
    }
}

/// What a block begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Head {
    /// The scale, f16 in little-endian bytes so that a block may lie at any address.
    pub d: [u8; 2],
    /// The scale of the minima, likewise.
    pub dmin: [u8; 2],
    /// Scales and minima of the groups.
    pub groups: [u8; 12],
}

impl Head {
    /// The scale.
    pub fn scale(&self) -> f32 {
        f16::from_le_bytes(self.d).to_f32()
    }

    /// The scale of the minima.
    pub fn minimum_scale(&self) -> f32 {
        f16::from_le_bytes(self.dmin).to_f32()
    }
}

/// A block as it lies in a file: a [`Head`] and codes. The formats differ in how codes lie.
pub trait Block: Pod {
    /// How scales and minima are looked for.
    const SEARCH: Search;

    /// What it begins with.
    fn head(&self) -> &Head;

    /// The codes, from 0 to the last level.
    fn unpack(&self) -> [u8; BLOCK];

    /// A block of these.
    fn of(head: Head, codes: &[u8; BLOCK]) -> Self;
}

/// The blocks of a row.
///
/// # Panics
/// If `bytes` are not whole blocks.
pub fn blocks<B: Block>(bytes: &[u8]) -> &[B] {
    bytemuck::cast_slice(bytes)
}

/// The byte of a weight's low four bits, and their shift.
pub(super) fn nibble(weight: usize) -> (usize, usize) {
    let (pair, rest) = (weight / (2 * GROUP), weight % (2 * GROUP));
    (GROUP * pair + rest % GROUP, rest / GROUP * 4)
}

/// Appends a row, encoded by [`Search`].
///
/// # Panics
/// If `weights` are not whole blocks.
pub(super) fn pack<B: Block>(weights: &[f32], out: &mut Vec<u8>) {
    rows::pack(weights, out, |block| {
        let (head, codes) = B::SEARCH.encode(block);
        B::of(head, &codes)
    });
}

/// Reads a block as its codes, scales of groups applied.
pub(super) fn unpack<B: Block>(block: &[u8], out: &mut [i16]) -> f32 {
    let block: &B = bytemuck::from_bytes(block);
    let scales = Groups::unpack(&block.head().groups).scales;
    for (weight, (out, code)) in out.iter_mut().zip(block.unpack()).enumerate() {
        *out = i16::from(scales[weight / GROUP]) * i16::from(code);
    }
    block.head().scale()
}

/// Reads what is taken off each weight of a block.
pub(super) fn unpack_minima<B: Block>(block: &[u8], out: &mut [i16]) -> f32 {
    let block: &B = bytemuck::from_bytes(block);
    let minima = Groups::unpack(&block.head().groups).minima;
    for (out, minimum) in out.chunks_exact_mut(GROUP).zip(minima) {
        out.fill(i16::from(minimum));
    }
    block.head().minimum_scale()
}

/// Reads a row as f32.
///
/// # Panics
/// If `bytes` do not hold `out.len()` weights.
pub(super) fn dequantize_row<B: Block>(bytes: &[u8], out: &mut [f32]) {
    let blocks = blocks::<B>(bytes);
    assert_eq!(blocks.len() * BLOCK, out.len());
    for (block, out) in blocks.iter().zip(out.chunks_exact_mut(BLOCK)) {
        let head = block.head();
        let Groups { scales, minima } = Groups::unpack(&head.groups);
        for (weight, (out, code)) in out.iter_mut().zip(block.unpack()).enumerate() {
            let (scale, minimum) = (scales[weight / GROUP], minima[weight / GROUP]);
            *out = head.scale() * f32::from(scale) * f32::from(code)
                - head.minimum_scale() * f32::from(minimum);
        }
    }
}

/// How a group's scale and minimum are looked for.
pub struct Search {
    /// The largest code.
    pub last: u8,
    /// The first of the scales that are tried, in steps of a tenth from the obvious one.
    pub first: i8,
    /// How many are tried.
    pub count: i8,
}

impl Search {
    /// Encodes 256 weights as ggml's `quantize_row_q4_K_ref` and `quantize_row_q5_K_ref` do.
    fn encode(&self, weights: &[f32; BLOCK]) -> (Head, [u8; BLOCK]) {
        let (parts, _) = weights.as_chunks::<GROUP>();
        let fits: [Fit; GROUPS] = std::array::from_fn(|group| self.best(&parts[group]));
        let largest = |of: fn(&Fit) -> f32| fits.iter().map(of).fold(0.0, f32::max);
        let (scale, minimum) = (largest(|fit| fit.scale), largest(|fit| fit.minimum));
        let six_bits = |value: f32, largest: f32| {
            let inverse = if largest > 0.0 { 63.0 / largest } else { 0.0 };
            (inverse * value).round_ties_even().clamp(0.0, 63.0) as u8
        };
        let groups = Groups {
            scales: fits.each_ref().map(|fit| six_bits(fit.scale, scale)),
            minima: fits.each_ref().map(|fit| six_bits(fit.minimum, minimum)),
        };
        let d = f16::from_f32(scale / 63.0);
        let dmin = f16::from_f32(minimum / 63.0);
        let codes = std::array::from_fn(|i| {
            let group = i / GROUP;
            let step = d.to_f32() * f32::from(groups.scales[group]);
            if step == 0.0 {
                return fits[group].codes[i % GROUP];
            }
            let taken_off = dmin.to_f32() * f32::from(groups.minima[group]);
            self.code((weights[i] + taken_off) / step)
        });
        let head = Head {
            d: d.to_le_bytes(),
            dmin: dmin.to_le_bytes(),
            groups: groups.pack(),
        };
        (head, codes)
    }

    fn code(&self, x: f32) -> u8 {
        x.round_ties_even().clamp(0.0, f32::from(self.last)) as u8
    }

    /// Tries scales around the obvious one and keeps the best (ggml's `make_qkx2_quants`). Errors
    /// are weighted by the magnitudes.
    fn best(&self, x: &[f32; GROUP]) -> Fit {
        let squares: f32 = x.iter().map(|x| x * x).sum();
        let mean = (squares / GROUP as f32).sqrt();
        let weights = x.map(|x| mean + x.abs());
        let least = x.iter().copied().fold(0.0, f32::min);
        let most = x.iter().copied().fold(x[0], f32::max);
        if most == least {
            return Fit {
                scale: 0.0,
                minimum: -least,
                codes: [0; GROUP],
            };
        }
        let last = f32::from(self.last);
        let codes = |levels: f32| x.map(|x| self.code(levels / (most - least) * (x - least)));
        let error = |scale: f32, minimum: f32, codes: &[u8; GROUP]| -> f32 {
            let errors = codes
                .iter()
                .zip(x)
                .map(|(code, x)| scale * f32::from(*code) - minimum - x);
            errors.zip(weights).map(|(e, w)| w * (e * e)).sum()
        };
        let mut best = Fit {
            scale: (most - least) / last,
            minimum: -least,
            codes: codes(last),
        };
        let mut best_error = error(best.scale, best.minimum, &best.codes);
        let sum_w: f32 = weights.iter().sum();
        let sum_x: f32 = weights.iter().zip(x).map(|(w, x)| w * x).sum();
        for step in 0..=self.count {
            let codes = codes(0.1 * f32::from(self.first + step) + last);
            let (mut sum_l, mut sum_l2, mut sum_xl) = (0.0, 0.0, 0.0);
            for ((code, x), w) in codes.iter().zip(x).zip(weights) {
                let l = f32::from(*code);
                sum_l += w * l;
                sum_l2 += w * l * l;
                sum_xl += w * l * x;
            }
            let determinant = sum_w * sum_l2 - sum_l * sum_l;
            if determinant <= 0.0 {
                continue;
            }
            let mut scale = (sum_w * sum_xl - sum_x * sum_l) / determinant;
            let mut minimum = (sum_l * sum_xl - sum_l2 * sum_x) / determinant;
            if minimum < 0.0 {
                minimum = 0.0;
                scale = sum_xl / sum_l2;
            }
            let now = error(scale, minimum, &codes);
            if now < best_error {
                best_error = now;
                best = Fit {
                    scale,
                    minimum,
                    codes,
                };
            }
        }
        best
    }
}

/// A group's codes, and the scale and minimum that they are of.
struct Fit {
    scale: f32,
    minimum: f32,
    codes: [u8; GROUP],
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Two blocks of `bytes` that are encoded and decoded.
    pub(in crate::format) fn decoding_is_within_a_step<B: Block>(bytes: usize, last: f32) {
        let weights: Vec<f32> = (0..2 * BLOCK)
            .map(|i| (i as f32 * 0.731).sin() * (0.2 + (i / GROUP % 8) as f32 * 0.1) + 0.1)
            .collect();
        let (mut packed, mut out) = (Vec::new(), vec![f32::NAN; 2 * BLOCK]);
        pack::<B>(&weights, &mut packed);
        assert_eq!(packed.len(), bytes);
        dequantize_row::<B>(&packed, &mut out);
        for (out, weights) in out.chunks(GROUP).zip(weights.chunks(GROUP)) {
            let least = weights.iter().copied().fold(0.0, f32::min);
            let most = weights.iter().copied().fold(0.0, f32::max);
            // A step is the group's range over the last code. Scales and minima of six bits add a
            // 63rd of the block's largest.
            let tolerance = (most - least) / last + 0.03;
            for (out, weight) in out.iter().zip(weights) {
                assert!((out - weight).abs() <= tolerance, "{out} for {weight}");
            }
        }
    }

    pub(in crate::format) fn zeros_stay_zero<B: Block>() {
        let (mut bytes, mut out) = (Vec::new(), [f32::NAN; BLOCK]);
        pack::<B>(&[0.0; BLOCK], &mut bytes);
        dequantize_row::<B>(&bytes, &mut out);
        assert_eq!(out, [0.0; BLOCK]);
    }

    #[test]
    fn bytes_lie_where_ggml_reads_them() {
        // ggml's get_scale_min_k4, group by group.
        let bytes: [u8; 12] = std::array::from_fn(|i| (i * 83 + 29) as u8);
        let groups = Groups::unpack(&bytes);
        for j in 0..GROUPS {
            let (scale, minimum) = if j < 4 {
                (bytes[j] & 63, bytes[j + 4] & 63)
            } else {
                (
                    (bytes[j + 4] & 15) | (bytes[j - 4] >> 6) << 4,
                    (bytes[j + 4] >> 4) | (bytes[j] >> 6) << 4,
                )
            };
            assert_eq!((groups.scales[j], groups.minima[j]), (scale, minimum));
        }
        assert_eq!(groups.pack(), bytes);
    }
}
