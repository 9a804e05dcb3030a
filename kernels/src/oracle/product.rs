//! One element of a matrix product: a row of weights against a row of encoded activations.

use super::encode::{I8Row, Q8_0Row, Q8KRow};
use crate::order::{LANES, fold};

fn integer_dot(a: impl IntoIterator<Item = i32>, b: &[i8]) -> i32 {
    a.into_iter().zip(b).map(|(a, b)| a * i32::from(*b)).sum()
}

/// F32, F16 and BF16 weights, decoded, against f32 activations.
pub fn float_product(weights: &[f32], x: &[f32]) -> f32 {
    super::dot(weights, x)
}

/// Ternary weights (-1, 0, 1) with one scale against [`I8Row`]: `sum / x.scale * scale`.
pub fn i8_product(trits: &[i8], scale: f32, x: &I8Row) -> f32 {
    let sum = integer_dot(trits.iter().map(|w| i32::from(*w)), &x.q);
    sum as f32 / x.scale * scale
}

/// Ternary weights with a scale `d` per 256 against [`Q8KRow`].
pub fn ternary_q8k_product(trits: &[i8], d: &[f32], x: &Q8KRow) -> f32 {
    let mut sum = 0.0_f32;
    for (block, d) in d.iter().enumerate() {
        let at = block * 256..(block + 1) * 256;
        let integer = integer_dot(trits[at.clone()].iter().map(|w| i32::from(*w)), &x.q[at]);
        sum = (d * x.d[block]).mul_add(integer as f32, sum);
    }
    sum
}

/// `Q6_K` weights against [`Q8KRow`]. `q` are the 6-bit values less 32, `scales` the sixteen 8-bit
/// sub-scales and `d` the scale of each block.
pub fn q6k_product(q: &[i8], scales: &[i8], d: &[f32], x: &Q8KRow) -> f32 {
    let mut sum = 0.0_f32;
    for (block, d) in d.iter().enumerate() {
        let mut integer = 0;
        for sub in 0..16 {
            let at = block * 256 + sub * 16..block * 256 + (sub + 1) * 16;
            let part = integer_dot(q[at.clone()].iter().map(|w| i32::from(*w)), &x.q[at]);
            integer += i32::from(scales[block * 16 + sub]) * part;
        }
        sum = (d * x.d[block]).mul_add(integer as f32, sum);
    }
    sum
}

/// `Q8_0` weights with a scale `d` per 32 against [`Q8_0Row`].
pub fn q8_0_product(q: &[i8], d: &[f32], x: &Q8_0Row) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    for (block, d) in d.iter().enumerate() {
        for j in 0..8 {
            let at = block * 32 + 4 * j..block * 32 + 4 * j + 4;
            let integer = integer_dot(q[at.clone()].iter().map(|w| i32::from(*w)), &x.q[at]);
            let lane = &mut lanes[(block % 2) * 8 + j];
            *lane = (d * x.d[block]).mul_add(integer as f32, *lane);
        }
    }
    fold(lanes)
}
