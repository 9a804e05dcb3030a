//! `Q6_K`: 256 weights of 6 bits in 16 groups of 16. `weight = d * scale[group] * (q - 32)`.
//!
//! ```text
//! byte 0              128          192           208  210
//!      +---------------+------------+-------------+----+
//!      | ql: low 4 bits| qh: high 2 | scales, i8  | d  |
//!      +---------------+------------+-------------+----+
//! ```
//! The block is two halves of 128 weights. In half `h`, weight `32 s + l` (`s < 4`, `l < 32`) has
//! - its low bits in `ql[64 h + 32 (s % 2) + l]`, low nibble for `s < 2`, high nibble for the
//!   others,
//! - its high bits in `qh[32 h + l]`, at bit `2 s`,
//! - its scale in `scales[8 h + 2 s + l / 16]`.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};
use half::f16;

use super::{Descriptor, Encoding, Product, Reduction, Storage, Values, rows};

/// See the module.
pub const DESCRIPTOR: Descriptor = Descriptor {
    name: "Q6_K",
    block_len: BLOCK,
    block_bytes: BLOCK_BYTES,
    trailer: None,
    dequantize: dequantize_row,
    values: Values::Floats { pack },
    find_invalid_code: None,
    storage: Some(Storage::SubScaledBytes),
    product: Some(Product {
        encoding: Encoding::Q8K,
        reduction: Reduction::Blocks {
            unpack,
            minima: None,
        },
        rounds_softmax_weights: false,
    }),
};

/// Weights in a block.
pub const BLOCK: usize = 256;

/// Bytes of a block.
pub const BLOCK_BYTES: usize = size_of::<Q6KBlock>();

/// Where the low 4 bits lie in a block.
pub const QL: Range<usize> = 0..BLOCK / 2;
/// Where the high 2 bits lie in a block.
pub const QH: Range<usize> = QL.end..QL.end + BLOCK / 4;
/// Where the sub-scales lie in a block.
pub const SCALES: Range<usize> = QH.end..QH.end + BLOCK / GROUP;
/// Where the scale lies in a block.
pub const SCALE_AT: usize = SCALES.end;

/// Weights that share a sub-scale.
pub const GROUP: usize = 16;

/// Weights whose codes lie in as many bytes, one after another: a quarter of half a block.
pub const QUARTER: usize = BLOCK / 8;

/// The code of the weight 0.
pub const ZERO: i8 = 32;

/// A block as it lies in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Q6KBlock {
    /// Low 4 bits of each weight.
    pub ql: [u8; BLOCK / 2],
    /// High 2 bits of each weight.
    pub qh: [u8; BLOCK / 4],
    /// The sub-scale of each group.
    pub scales: [i8; BLOCK / GROUP],
    /// The scale, f16 in little-endian bytes so that a block may lie at any address.
    pub d: [u8; 2],
}

const _: () = assert!(
    size_of::<Q6KBlock>() == SCALE_AT + 2 && SCALE_AT == 208 && align_of::<Q6KBlock>() == 1
);

impl Q6KBlock {
    /// The scale.
    pub fn scale(&self) -> f32 {
        f16::from_le_bytes(self.d).to_f32()
    }

    /// The weights over their scales, -32 to 31.
    pub fn unpack(&self) -> [i8; BLOCK] {
        std::array::from_fn(|weight| {
            let (half, rest) = (weight / 128, weight % 128);
            let (s, l) = (rest / 32, rest % 32);
            let low = self.ql[64 * half + 32 * (s % 2) + l] >> (4 * (s / 2)) & 15;
            let high = self.qh[32 * half + l] >> (2 * s) & 3;
            (low | high << 4) as i8 - 32
        })
    }

    /// Puts together a block from weights over their scales, -32 to 31.
    pub fn from_parts(q: &[i8; BLOCK], scales: [i8; 16], d: f16) -> Self {
        let mut block = Self {
            scales,
            d: d.to_le_bytes(),
            ..Self::zeroed()
        };
        for (weight, q) in q.iter().enumerate() {
            let (half, rest) = (weight / 128, weight % 128);
            let (s, l) = (rest / 32, rest % 32);
            let bits = (q + 32) as u8;
            block.ql[64 * half + 32 * (s % 2) + l] |= (bits & 15) << (4 * (s / 2));
            block.qh[32 * half + l] |= (bits >> 4) << (2 * s);
        }
        block
    }

    /// Encodes 256 weights as ggml's `quantize_row_q6_K_ref` does.
    pub fn quantize(weights: &[f32; BLOCK]) -> Self {
        let (groups, _) = weights.as_chunks::<GROUP>();
        let fits: Vec<Fit> = groups.iter().map(Fit::best).collect();
        let largest = fits.iter().fold(0.0f32, |max, fit| {
            if fit.scale().abs() > max.abs() {
                fit.scale()
            } else {
                max
            }
        });
        if largest.abs() < NOTHING {
            return Self::zeroed();
        }
        let inverse = -128.0 / largest;
        let d = f16::from_f32(1.0 / inverse);
        let mut scales = [0; 16];
        let mut q = [0; BLOCK];
        for (group, fit) in fits.iter().enumerate() {
            scales[group] = round(inverse * fit.scale()).min(127) as i8;
            let step = d.to_f32() * f32::from(scales[group]);
            for i in 0..GROUP {
                q[group * GROUP + i] = if step == 0.0 {
                    fit.q[i]
                } else {
                    level(groups[group][i] / step)
                };
            }
        }
        Self::from_parts(&q, scales, d)
    }
}

/// Below this a group counts as zero (ggml's `GROUP_MAX_EPS`).
const NOTHING: f32 = 1e-15;

fn round(x: f32) -> i32 {
    x.round_ties_even() as i32
}

/// The nearest of the 64 levels.
fn level(x: f32) -> i8 {
    round(x).clamp(-32, 31) as i8
}

/// A group's levels for one scale that was tried, and how well they fit. Errors are weighted by the
/// squares of the weights.
struct Fit {
    q: [i8; GROUP],
    /// Weighted sum of weight times level.
    cross: f32,
    /// Weighted sum of level times level.
    squares: f32,
}

impl Fit {
    /// Tries 19 scales around the obvious one and keeps the best (ggml's `make_qx_quants`).
    fn best(group: &[f32; GROUP]) -> Self {
        let largest = group
            .iter()
            .fold(0.0f32, |max, w| if w.abs() > max.abs() { *w } else { max });
        if largest.abs() < NOTHING {
            return Self {
                q: [-32; GROUP],
                cross: 0.0,
                squares: 0.0,
            };
        }
        let mut best = Self::with(group, -32.0 / largest);
        for step in (-9..=9i8).filter(|step| *step != 0) {
            let fit = Self::with(group, -(32.0 + 0.1 * f32::from(step)) / largest);
            if fit.squares > 0.0 && fit.cross * fit.cross > best.scale() * best.cross * fit.squares
            {
                best = fit;
            }
        }
        best
    }

    fn with(group: &[f32; GROUP], inverse: f32) -> Self {
        let q = group.map(|w| level(inverse * w));
        let (mut cross, mut squares) = (0.0, 0.0);
        for (w, q) in group.iter().zip(q) {
            let q = f32::from(q);
            cross += w * w * w * q;
            squares += w * w * q * q;
        }
        Self { q, cross, squares }
    }

    /// The scale with the least error for these levels.
    fn scale(&self) -> f32 {
        if self.squares == 0.0 {
            0.0
        } else {
            self.cross / self.squares
        }
    }
}

/// The blocks of a row.
///
/// # Panics
/// If `bytes` are not whole blocks.
pub fn blocks(bytes: &[u8]) -> &[Q6KBlock] {
    bytemuck::cast_slice(bytes)
}

/// Appends a row, encoded by [`Q6KBlock::quantize`].
///
/// # Panics
/// If `weights` are not whole blocks.
pub fn pack(weights: &[f32], out: &mut Vec<u8>) {
    rows::pack(weights, out, Q6KBlock::quantize);
}

/// Reads a block as its weights over its scale, sub-scales applied.
fn unpack(block: &[u8], out: &mut [i16]) -> f32 {
    let block: &Q6KBlock = bytemuck::from_bytes(block);
    for (weight, (out, q)) in out.iter_mut().zip(block.unpack()).enumerate() {
        *out = i16::from(block.scales[weight / GROUP]) * i16::from(q);
    }
    block.scale()
}

/// Reads a row as f32.
///
/// # Panics
/// If `bytes` do not hold `out.len()` weights.
pub fn dequantize_row(bytes: &[u8], out: &mut [f32]) {
    assert_eq!(blocks(bytes).len() * BLOCK, out.len());
    for (block, out) in blocks(bytes).iter().zip(out.chunks_exact_mut(BLOCK)) {
        for (weight, (out, q)) in out.iter_mut().zip(block.unpack()).enumerate() {
            *out = block.scale() * f32::from(block.scales[weight / GROUP]) * f32::from(q);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(i: usize) -> f32 {
        (i as f32 * 0.731).sin() * (0.2 + (i / GROUP) as f32 * 0.1)
    }

    #[test]
    fn parts_survive_packing() {
        let q: [i8; BLOCK] = std::array::from_fn(|i| (i * 37 % 64) as i8 - 32);
        let scales = std::array::from_fn(|i| (i as i32 * 16 - 120) as i8);
        let block = Q6KBlock::from_parts(&q, scales, f16::from_f32(0.5));
        assert_eq!(block.unpack(), q);
        assert_eq!(block.scales, scales);
        assert_eq!(block.scale(), 0.5);
    }

    #[test]
    fn bits_lie_where_ggml_reads_them() {
        // The loop of ggml's dequantize_row_q6_K, which walks bytes rather than weights.
        let q: [i8; BLOCK] = std::array::from_fn(|i| (i * 29 % 64) as i8 - 32);
        let block = Q6KBlock::from_parts(&q, [1; 16], f16::ONE);
        for half in 0..2 {
            let (ql, qh) = (&block.ql[64 * half..], &block.qh[32 * half..]);
            for l in 0..32 {
                let expected = [
                    (ql[l] & 15) | (qh[l] & 3) << 4,
                    (ql[l + 32] & 15) | (qh[l] >> 2 & 3) << 4,
                    (ql[l] >> 4) | (qh[l] >> 4 & 3) << 4,
                    (ql[l + 32] >> 4) | (qh[l] >> 6 & 3) << 4,
                ];
                for (s, bits) in expected.into_iter().enumerate() {
                    assert_eq!(q[128 * half + 32 * s + l], bits as i8 - 32);
                }
            }
        }
    }

    #[test]
    fn decoding_is_within_a_step() {
        let weights: Vec<f32> = (0..2 * BLOCK).map(|i| wave(i % BLOCK)).collect();
        let (mut bytes, mut out) = (Vec::new(), vec![f32::NAN; 2 * BLOCK]);
        pack(&weights, &mut bytes);
        assert_eq!(bytes.len(), 420);
        dequantize_row(&bytes, &mut out);
        for (group, (out, weights)) in out.chunks(GROUP).zip(weights.chunks(GROUP)).enumerate() {
            let largest = weights.iter().fold(0.0f32, |max, w| max.max(w.abs()));
            for (out, weight) in out.iter().zip(weights) {
                // A step is a 32nd of the group's largest; sub-scales add 1/256 of the block's
                // largest.
                let tolerance = largest / 32.0 + 0.02;
                assert!(
                    (out - weight).abs() <= tolerance,
                    "group {group}: {out} for {weight}"
                );
            }
        }
    }

    #[test]
    fn zeros_stay_zero() {
        let (mut bytes, mut out) = (Vec::new(), [f32::NAN; BLOCK]);
        pack(&[0.0; BLOCK], &mut bytes);
        dequantize_row(&bytes, &mut out);
        assert_eq!(out, [0.0; BLOCK]);
    }
}
