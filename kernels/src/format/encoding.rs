//! Encodings of activations: what a row becomes before it meets a matrix.

use half::f16;

/// How a row of activations is encoded. It belongs to the matrix's format
/// ([`Product::encoding`](super::Product)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Plain f32.
    F32,
    /// i8 with one scale per token: `q = round(x * 127 / max|x|)`.
    I8,
    /// i8 with one f32 scale per [`Q8K_BLOCK`] values.
    Q8K,
    /// i8 with one f16-rounded scale per [`Q8_0_BLOCK`] values.
    Q8_0,
}

/// Values that share a scale in [`Encoding::Q8K`].
pub const Q8K_BLOCK: usize = 256;

/// Values that share a scale in [`Encoding::Q8_0`].
pub const Q8_0_BLOCK: usize = 32;

/// A row of activations in one of the integer encodings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EncodedRow {
    /// The integers, one per activation.
    pub q: Vec<i8>,
    /// The scales: as many as [`Encoding::scales_per_row`].
    pub scales: Vec<f32>,
}

impl Encoding {
    /// Every encoding.
    pub const ALL: [Encoding; 4] = [Encoding::F32, Encoding::I8, Encoding::Q8K, Encoding::Q8_0];

    /// Values that share a scale in a row of `width`; `None` where there are no scales.
    pub const fn block_len(self, width: usize) -> Option<usize> {
        match self {
            Encoding::F32 => None,
            Encoding::I8 => Some(width),
            Encoding::Q8K => Some(Q8K_BLOCK),
            Encoding::Q8_0 => Some(Q8_0_BLOCK),
        }
    }

    /// Scales of a row of `width` values, which must be whole blocks.
    pub const fn scales_per_row(self, width: usize) -> usize {
        match self.block_len(width) {
            None | Some(0) => 0,
            Some(len) => width / len,
        }
    }

    /// Encodes a row: the definition that every backend's encoder must meet to the bit. `F32` has
    /// no integers, and gives none. Values that share a scale, of which one is not finite, become
    /// zeros with the scale NaN.
    pub fn encode(self, x: &[f32]) -> EncodedRow {
        let encode_block = match self {
            Encoding::F32 => return EncodedRow::default(),
            Encoding::I8 => encode_i8,
            Encoding::Q8K => encode_q8k,
            Encoding::Q8_0 => encode_q8_0,
        };
        let mut row = EncodedRow::default();
        for block in x.chunks(self.block_len(x.len()).unwrap_or(1).max(1)) {
            let scale = if block.iter().all(|x| x.is_finite()) {
                encode_block(block, &mut row.q)
            } else {
                encode_zeros(block, &mut row.q);
                f32::NAN
            };
            row.scales.push(scale);
        }
        row
    }

    /// An activation back from its integer and its scale. The scale of [`Encoding::I8`] multiplies
    /// what it encodes, those of the others multiply what they decode.
    pub fn decode(self, q: i8, scale: f32) -> f32 {
        match self {
            Encoding::I8 => f32::from(q) / scale,
            Encoding::F32 | Encoding::Q8K | Encoding::Q8_0 => f32::from(q) * scale,
        }
    }
}

/// The element of largest magnitude, the first among equals.
fn largest(x: &[f32]) -> f32 {
    x.iter()
        .fold(0.0_f32, |max, x| if x.abs() > max.abs() { *x } else { max })
}

fn encode_zeros(x: &[f32], q: &mut Vec<i8>) {
    q.extend(x.iter().map(|_| 0));
}

/// The scale is `127 / max|x|`.
fn encode_i8(x: &[f32], q: &mut Vec<i8>) -> f32 {
    let scale = (127.0 / f64::from(largest(x).abs()).max(1e-5)) as f32;
    q.extend(
        x.iter()
            .map(|x| (x * scale).round_ties_even().clamp(-128.0, 127.0) as i8),
    );
    scale
}

/// The element of largest magnitude becomes -127. Values too small for that become zeros: their
/// scale would be below the range of f32.
fn encode_q8k(x: &[f32], q: &mut Vec<i8>) -> f32 {
    let inverse = -127.0 / largest(x);
    if inverse.is_infinite() {
        encode_zeros(x, q);
        return 0.0;
    }
    q.extend(
        x.iter()
            .map(|x| (inverse * x).round_ties_even().min(127.0) as i8),
    );
    1.0 / inverse
}

/// The scale is `max|x| / 127`, rounded to f16. Its inverse is `127 / max|x|`, as in the x86 code
/// of ggml. Values too small for that become zeros.
fn encode_q8_0(x: &[f32], q: &mut Vec<i8>) -> f32 {
    let largest = largest(x).abs();
    let d = largest / 127.0;
    let inverse = 127.0 / largest;
    if inverse.is_infinite() {
        encode_zeros(x, q);
        return 0.0;
    }
    q.extend(
        x.iter()
            .map(|x| (x * inverse).round_ties_even().clamp(-128.0, 127.0) as i8),
    );
    f16::from_f32(d).to_f32()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_value_uses_the_whole_range() {
        let x: Vec<f32> = (0..256).map(|i| (i as f32 - 100.0) * 0.01).collect();
        for (encoding, largest) in [
            (Encoding::I8, 127),
            (Encoding::Q8K, -127),
            (Encoding::Q8_0, 127),
        ] {
            assert_eq!(encoding.encode(&x).q[255], largest, "{encoding:?}");
        }
    }

    #[test]
    fn a_row_has_its_scales_and_zeros_stay_zero() {
        let x = [0.0; 256];
        for encoding in Encoding::ALL {
            let row = encoding.encode(&x);
            assert_eq!(row.scales.len(), encoding.scales_per_row(x.len()));
            assert!(row.q.iter().all(|q| *q == 0), "{encoding:?}");
        }
    }

    #[test]
    fn decoding_is_within_half_a_step() {
        let x: Vec<f32> = (0..512).map(|i| (i as f32 * 0.37).sin()).collect();
        for encoding in [Encoding::I8, Encoding::Q8K, Encoding::Q8_0] {
            let row = encoding.encode(&x);
            let block = encoding.block_len(x.len()).unwrap();
            for (i, x) in x.iter().enumerate() {
                let decoded = encoding.decode(row.q[i], row.scales[i / block]);
                // Half a step of 1/127, and the error of an f16 scale (2^-11) on top.
                let tolerance = 0.5 / 127.0 + 1.0 / 2048.0;
                assert!(
                    (decoded - x).abs() <= tolerance,
                    "{encoding:?}: {decoded} for {x}"
                );
            }
        }
    }

    #[test]
    fn what_shares_a_scale_with_a_value_that_is_not_finite_is_nan() {
        for damage in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for encoding in [Encoding::I8, Encoding::Q8K, Encoding::Q8_0] {
                let mut x = vec![0.5; 512];
                x[300] = damage;
                let row = encoding.encode(&x);
                let block = encoding.block_len(x.len()).unwrap();
                for (i, q) in row.q.iter().enumerate() {
                    let decoded = encoding.decode(*q, row.scales[i / block]);
                    assert_eq!(decoded.is_nan(), i / block == 300 / block, "{encoding:?}");
                }
            }
        }
    }

    #[test]
    fn values_too_small_for_a_scale_are_zeros() {
        for tiny in [1e-45, f32::MIN_POSITIVE, -1e-39] {
            for encoding in [Encoding::Q8K, Encoding::Q8_0] {
                let row = encoding.encode(&[tiny; 256]);
                let block = encoding.block_len(256).unwrap();
                for (i, q) in row.q.iter().enumerate() {
                    let decoded = encoding.decode(*q, row.scales[i / block]);
                    assert!(decoded.abs() < 1e-36, "{encoding:?} of {tiny}: {decoded}");
                }
            }
        }
    }

    #[test]
    fn ties_round_to_even() {
        // scale = 127 / 127 = 1
        let row = Encoding::I8.encode(&[127.0, 0.5, 1.5, 2.5, -0.5, -1.5]);
        assert_eq!(row.q, [127, 0, 2, 2, 0, -2]);
    }
}
