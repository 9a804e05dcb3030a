//! Rotary position embedding.

use crate::program::{Pairing, Rope, RopeScaling};

/// The frequency of each pair, rounded to f32, in a sequence of this capacity:
/// `base^(-2i / dims) / factor[i]`, scaled.
pub fn rope_frequencies(rope: &Rope, capacity: usize) -> Vec<f32> {
    let long = rope.long.as_ref().filter(|long| capacity > long.beyond);
    let factors = long.map_or(&rope.factors, |long| &long.factors);
    (0..rope.dims / 2)
        .map(|i| {
            let power = libm::pow(f64::from(rope.base), (2 * i) as f64 / rope.dims as f64);
            let frequency = 1.0 / power as f32 / factors.get(i).copied().unwrap_or(1.0);
            match rope.scaling {
                RopeScaling::Linear { factor } => frequency / factor,
                RopeScaling::Yarn { factor, context } => {
                    let keep = yarn_keeps(rope, context, i);
                    frequency / factor * (1.0 - keep) + frequency * keep
                }
            }
        })
        .collect()
}

/// How much of its frequency pair `i` keeps under YaRN: 1 before the pair that turns 32 times
/// within `context` positions, 0 behind the one that turns once.
fn yarn_keeps(rope: &Rope, context: usize, i: usize) -> f32 {
    let dims = rope.dims as f64;
    // The pair, as a real number, that turns so often.
    let turning = |turns: f64| {
        let positions = context as f64 / (turns * std::f64::consts::TAU);
        dims * libm::log(positions) / (2.0 * libm::log(f64::from(rope.base)))
    };
    let first = turning(32.0).floor().max(0.0);
    let last = turning(1.0).ceil().min(dims - 1.0);
    let ramp = (i as f64 - first) / (last - first).max(0.001);
    (1.0 - ramp.clamp(0.0, 1.0)) as f32
}

/// Cosine and sine of a pair at `position`, times the rotation's magnitude.
pub fn rope_cos_sin(frequency: f32, magnitude: f32, position: usize) -> (f32, f32) {
    let angle = f64::from(position as f32 * frequency);
    let (sin, cos) = (libm::sin(angle) as f32, libm::cos(angle) as f32);
    (cos * magnitude, sin * magnitude)
}

/// Rotates one head at `position` of a sequence of this capacity.
pub fn rope_rotate(rope: &Rope, capacity: usize, head: &mut [f32], position: usize) {
    for (i, frequency) in rope_frequencies(rope, capacity).into_iter().enumerate() {
        let (cos, sin) = rope_cos_sin(frequency, rope.magnitude, position);
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
    use crate::program::LongFactors;

    #[test]
    fn a_rotation_keeps_lengths_and_leaves_position_zero_alone() {
        for pairing in [Pairing::Adjacent, Pairing::Halves] {
            let rope = Rope::plain(8, 10000.0, pairing);
            let start: Vec<f32> = (0..10).map(|i| i as f32 - 3.0).collect();
            let mut head = start.clone();
            rope_rotate(&rope, 2000, &mut head, 0);
            assert_eq!(head, start);
            rope_rotate(&rope, 2000, &mut head, 1234);
            assert_ne!(head[..8], start[..8]);
            assert_eq!(head[8..], start[8..]);
            let length = |x: &[f32]| x.iter().map(|x| x * x).sum::<f32>();
            assert!((length(&head) - length(&start)).abs() < 1e-3);
        }
    }

    #[test]
    fn a_linear_factor_puts_positions_nearer_to_one_another() {
        let plain = Rope::plain(8, 10000.0, Pairing::Halves);
        let scaled = Rope {
            scaling: RopeScaling::Linear { factor: 4.0 },
            ..plain.clone()
        };
        let (mut a, mut b) = ([1.0; 8], [1.0; 8]);
        rope_rotate(&plain, 99, &mut a, 6);
        rope_rotate(&scaled, 99, &mut b, 24);
        assert_eq!(a, b);
    }

    #[test]
    fn yarn_keeps_fast_pairs_and_slows_slow_ones() {
        let plain = Rope::plain(128, 50_000.0, Pairing::Halves);
        let yarn = Rope {
            scaling: RopeScaling::Yarn {
                factor: 8.0,
                context: 512,
            },
            ..plain.clone()
        };
        let ratio: Vec<f32> = rope_frequencies(&plain, 1)
            .iter()
            .zip(rope_frequencies(&yarn, 1))
            .map(|(plain, yarn)| plain / yarn)
            .collect();
        // 128 * ln(512 / (2 pi 32)) / (2 ln 50000) is 5.5, and 26.03 with 1 in place of 32.
        assert!(ratio[..=5].iter().all(|ratio| *ratio == 1.0));
        assert!(ratio[6..27].is_sorted() && ratio[6] > 1.0 && ratio[26] < 8.0);
        assert!(ratio[27..].iter().all(|ratio| *ratio == 8.0));
    }

    #[test]
    fn a_capacity_beyond_the_positions_of_training_takes_the_long_factors() {
        let rope = Rope {
            factors: vec![1.0, 2.0],
            long: Some(LongFactors {
                beyond: 24,
                factors: vec![4.0, 8.0],
            }),
            ..Rope::plain(4, 10000.0, Pairing::Adjacent)
        };
        let [short, edge, long] = [1, 24, 25].map(|capacity| rope_frequencies(&rope, capacity));
        assert_eq!(short, edge);
        assert_eq!(long, [short[0] / 4.0, short[1] / 4.0]);
    }

    #[test]
    fn a_magnitude_stretches_what_it_turns() {
        let rope = Rope {
            magnitude: 1.5,
            ..Rope::plain(2, 10000.0, Pairing::Adjacent)
        };
        let mut head = [2.0, -4.0, 7.0];
        rope_rotate(&rope, 1, &mut head, 0);
        assert_eq!(head, [3.0, -6.0, 7.0]);
    }
}
