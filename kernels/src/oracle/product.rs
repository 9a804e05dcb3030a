//! Matrix products, one element at a time.

use crate::format::{EncodedRow, Encoding, Format, Reduction, Unpack};
use crate::order::{LANES, finite_or_nan, fold};

/// One row of weights in `format` against a row of activations: what every kernel of the format
/// must give, to the bit. `scale` is the tensor's, 1 where the format keeps none. A result that is
/// not finite is NaN.
///
/// # Panics
/// If the format is only read by row, or the rows differ in length.
pub fn product(format: Format, row: &[u8], scale: f32, x: &[f32]) -> f32 {
    let Some(product) = &format.descriptor().product else {
        panic!("{format} is only read by row");
    };
    let encoded = product.encoding.encode(x);
    let sum = match product.reduction {
        Reduction::Floats => {
            let mut weights = vec![0.0; x.len()];
            format.dequantize_row(row, &mut weights);
            super::dot(&weights, x)
        }
        Reduction::Tensor => {
            let mut trits = vec![0; x.len()];
            format.unpack_row(row, &mut trits);
            let sum = integer_dot(trits.into_iter().map(i32::from), &encoded.q);
            sum as f32 / encoded.scales[0] * scale
        }
        Reduction::Blocks { unpack, minima } => {
            let weights = Weights::unpack(format, row, unpack);
            let minima = minima.map(|unpack| Weights::unpack(format, row, unpack));
            block_product(&weights, minima.as_ref(), product.encoding, &encoded)
        }
        Reduction::BlockLanes { unpack } => {
            let weights = Weights::unpack(format, row, unpack);
            block_lane_product(&weights, &encoded)
        }
    };
    finite_or_nan(sum)
}

/// A row of weights as integers, and a scale for each block of them.
struct Weights {
    q: Vec<i16>,
    scales: Vec<f32>,
    block_len: usize,
}

impl Weights {
    fn unpack(format: Format, row: &[u8], unpack: Unpack) -> Weights {
        let block_len = format.block_len();
        let mut weights = Weights {
            q: Vec::new(),
            scales: Vec::new(),
            block_len,
        };
        for block in row.chunks(format.block_bytes()) {
            let mut q = vec![0; block_len];
            weights.scales.push(unpack(block, &mut q));
            weights.q.extend(q);
        }
        weights
    }
}

fn integer_dot(a: impl IntoIterator<Item = i32>, b: &[i8]) -> i32 {
    a.into_iter().zip(b).map(|(a, b)| a * i32::from(*b)).sum()
}

/// Piece after piece, each with one scale on either side; and off each what `minima` come to. The
/// pieces of a block of weights that meets several scales are added up before its own is applied.
fn block_product(
    weights: &Weights,
    minima: Option<&Weights>,
    encoding: Encoding,
    x: &EncodedRow,
) -> f32 {
    let activation_block = encoding.block_len(x.q.len()).unwrap_or(1);
    let piece = weights.block_len.min(activation_block);
    let mut sum = 0.0_f32;
    if piece < weights.block_len {
        for (block, scale) in weights.scales.iter().enumerate() {
            let mut inner = 0.0_f32;
            for at in (block * weights.block_len..(block + 1) * weights.block_len).step_by(piece) {
                let integers = weights.q[at..at + piece].iter().map(|w| i32::from(*w));
                let integer = integer_dot(integers, &x.q[at..at + piece]);
                inner = x.scales[at / piece].mul_add(integer as f32, inner);
            }
            sum = scale.mul_add(inner, sum);
        }
        return sum;
    }
    for at in (0..x.q.len()).step_by(piece) {
        let term = |weights: &Weights| {
            let integers = weights.q[at..at + piece].iter().map(|w| i32::from(*w));
            let integer = integer_dot(integers, &x.q[at..at + piece]);
            let scale = weights.scales[at / weights.block_len] * x.scales[at / activation_block];
            (scale, integer as f32)
        };
        let (scale, integer) = term(weights);
        sum = scale.mul_add(integer, sum);
        if let Some(minima) = minima {
            let (scale, integer) = term(minima);
            sum = (-scale).mul_add(integer, sum);
        }
    }
    sum
}

/// Sums of four adjacent products in the virtual SIMD lanes, those of even blocks in the lower
/// eight.
fn block_lane_product(weights: &Weights, x: &EncodedRow) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let blocks = weights.scales.iter().zip(&x.scales);
    for (block, (weight_scale, activation_scale)) in blocks.enumerate() {
        let half = block % 2 * (LANES / 2);
        for (j, lane) in lanes[half..half + LANES / 2].iter_mut().enumerate() {
            let at = block * weights.block_len + 4 * j;
            let integers = weights.q[at..at + 4].iter().map(|w| i32::from(*w));
            let integer = integer_dot(integers, &x.q[at..at + 4]);
            *lane = (weight_scale * activation_scale).mul_add(integer as f32, *lane);
        }
    }
    fold(lanes)
}
