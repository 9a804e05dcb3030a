//! Rotary position embedding.

use crate::program::{Pairing, Rope};

/// The frequency of each pair: `base^(-2i / dims) / factor[i]`, rounded to f32.
pub fn rope_frequencies(rope: &Rope) -> Vec<f32> {
    (0..rope.dims / 2)
        .map(|i| {
            let power = libm::pow(f64::from(rope.base), (2 * i) as f64 / rope.dims as f64);
            1.0 / power as f32 / rope.factors.get(i).copied().unwrap_or(1.0)
        })
        .collect()
}

/// Rotates one head at `position`.
pub fn rope_rotate(rope: &Rope, head: &mut [f32], position: usize) {
    for (i, frequency) in rope_frequencies(rope).into_iter().enumerate() {
        let angle = f64::from(position as f32 * frequency);
        let (sin, cos) = (libm::sin(angle) as f32, libm::cos(angle) as f32);
        let (a, b) = match rope.pairing {
            Pairing::Adjacent => (2 * i, 2 * i + 1),
            Pairing::Halves => (i, i + rope.dims / 2),
        };
        let (x, y) = (head[a], head[b]);
        head[a] = x * cos - y * sin;
        head[b] = y * cos + x * sin;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotation_keeps_lengths_and_leaves_position_zero_alone() {
        for pairing in [Pairing::Adjacent, Pairing::Halves] {
            let rope = Rope {
                dims: 8,
                base: 10000.0,
                pairing,
                factors: vec![],
            };
            let start: Vec<f32> = (0..10).map(|i| i as f32 - 3.0).collect();
            let mut head = start.clone();
            rope_rotate(&rope, &mut head, 0);
            assert_eq!(head, start);
            rope_rotate(&rope, &mut head, 1234);
            assert_ne!(head[..8], start[..8]);
            assert_eq!(head[8..], start[8..]);
            let length = |x: &[f32]| x.iter().map(|x| x * x).sum::<f32>();
            assert!((length(&head) - length(&start)).abs() < 1e-3);
        }
    }
}
