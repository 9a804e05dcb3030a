//! Activations as the weight formats want them.

/// A row of [`crate::format::Encoding::I8`].
#[derive(Clone, Debug, PartialEq)]
pub struct I8Row {
    /// `round(x * scale)`.
    pub q: Vec<i8>,
    /// `127 / max|x|`.
    pub scale: f32,
}

/// A row of [`crate::format::Encoding::Q8K`].
#[derive(Clone, Debug, PartialEq)]
pub struct Q8KRow {
    /// Values over their block's scale.
    pub q: Vec<i8>,
    /// One scale per 256 values.
    pub d: Vec<f32>,
}

/// A row of [`crate::format::Encoding::Q8_0`].
#[derive(Clone, Debug, PartialEq)]
pub struct Q8_0Row {
    /// Values over their block's scale.
    pub q: Vec<i8>,
    /// One scale per 32 values, representable in f16.
    pub d: Vec<f32>,
}

/// Encodes a row with one scale for all of it.
pub fn encode_i8(x: &[f32]) -> I8Row {
    let largest = x
        .iter()
        .fold(0.0_f32, |max, x| if x.abs() > max { x.abs() } else { max });
    let scale = (127.0 / f64::from(largest).max(1e-5)) as f32;
    let q = x
        .iter()
        .map(|x| (x * scale).round_ties_even().clamp(-128.0, 127.0) as i8)
        .collect();
    I8Row { q, scale }
}

/// Encodes a row with one scale per 256 values: the element of largest magnitude becomes -127.
pub fn encode_q8k(x: &[f32]) -> Q8KRow {
    let mut row = Q8KRow {
        q: Vec::with_capacity(x.len()),
        d: Vec::new(),
    };
    for block in x.chunks(256) {
        let largest = block
            .iter()
            .fold(0.0_f32, |max, x| if x.abs() > max.abs() { *x } else { max });
        if largest == 0.0 {
            row.q.extend(block.iter().map(|_| 0));
            row.d.push(0.0);
            continue;
        }
        let inverse = -127.0 / largest;
        row.q.extend(
            block
                .iter()
                .map(|x| (inverse * x).round_ties_even().min(127.0) as i8),
        );
        row.d.push(1.0 / inverse);
    }
    row
}

/// Encodes a row with one scale per 32 values, kept in f16.
pub fn encode_q8_0(x: &[f32]) -> Q8_0Row {
    let mut row = Q8_0Row {
        q: Vec::with_capacity(x.len()),
        d: Vec::new(),
    };
    for block in x.chunks(32) {
        let largest = block
            .iter()
            .fold(0.0_f32, |max, x| if x.abs() > max { x.abs() } else { max });
        let d = largest / 127.0;
        let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
        row.q.extend(
            block
                .iter()
                .map(|x| (x * inverse).round_ties_even().clamp(-128.0, 127.0) as i8),
        );
        row.d.push(super::round_f16(d));
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_value_uses_the_whole_range() {
        let x: Vec<f32> = (0..256).map(|i| (i as f32 - 100.0) * 0.01).collect();
        assert_eq!(encode_i8(&x).q[255], 127);
        assert_eq!(encode_q8k(&x).q[255], -127);
        assert_eq!(encode_q8_0(&x).q[255], 127);
    }

    #[test]
    fn a_row_of_zeros_stays_zero() {
        let x = [0.0; 256];
        assert!(
            encode_i8(&x)
                .q
                .iter()
                .chain(&encode_q8k(&x).q)
                .chain(&encode_q8_0(&x).q)
                .all(|q| *q == 0)
        );
    }

    #[test]
    fn ties_round_to_even() {
        // scale = 127 / 127 = 1
        let row = encode_i8(&[127.0, 0.5, 1.5, 2.5, -0.5, -1.5]);
        assert_eq!(row.q, [127, 0, 2, 2, 0, -2]);
    }
}
