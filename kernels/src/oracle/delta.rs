//! The gated delta net: a causal convolution, and a state that each token decays and corrects.

use super::math::{activate, exp, norm};
use crate::program::Activation;

/// One channel of a causal convolution and its SiLU. `inputs` are the channel's last values, the
/// newest last, one for each column of the kernel.
pub fn convolve(kernel: &[f32], inputs: &[f32]) -> f32 {
    let taps = kernel.iter().zip(inputs);
    let sum = taps.fold(0.0_f32, |sum, (w, x)| w.mul_add(*x, sum));
    activate(Activation::Silu, sum)
}

/// `x / sqrt(sum(x^2) + eps)`: the RMS norm of `n` values with `eps / n`, and `1 / sqrt(n)` for
/// every gain.
pub fn unit(x: &[f32], eps: f32) -> Vec<f32> {
    let n = x.len() as f32;
    norm(x, &vec![1.0 / n.sqrt(); x.len()], eps / n)
}

/// `ln(1 + e^x)`, within 3 ULP: `max(x, 0) + ln(1 + t)` for `t = e^-|x|`, where `ln(1 + t)` is
/// `2 atanh(z)` for `z = t / (2 + t)`, its series taken up to `z^15`.
pub fn softplus(x: f32) -> f32 {
    let t = exp(-x.abs());
    let z = t / (2.0 + t);
    let w = z * z;
    let mut p = 1.0_f32 / 15.0;
    for n in [13.0, 11.0, 9.0, 7.0, 5.0, 3.0] {
        p = p.mul_add(w, 1.0 / n);
    }
    let z = 2.0 * z;
    let log = z.mul_add(w * p, z);
    // Written so that NaN stays one.
    let positive = if 0.0 > x { 0.0 } else { x };
    positive + log
}

/// What a token leaves of a state: `exp(rate * softplus(alpha + bias))`. `bias` and `rate`, which
/// is below 0, are the head's.
pub fn decay(alpha: f32, bias: f32, rate: f32) -> f32 {
    exp(rate * softplus(alpha + bias))
}

/// The share of its error that a token corrects: `sigmoid(beta)`.
pub fn share(beta: f32) -> f32 {
    activate(Activation::Sigmoid, beta)
}

/// The gated delta rule for one token of one head. `state` is `[key element][value element]`; it is
/// decayed, corrected by what `v` is off from what it holds for `k`, and asked for `q`.
pub fn delta_rule(
    state: &mut [f32],
    [q, k, v]: [&[f32]; 3],
    eps: f32,
    decay: f32,
    share: f32,
) -> Vec<f32> {
    let size = v.len();
    let (q, k) = (unit(q, eps), unit(k, eps));
    for m in state.iter_mut() {
        *m *= decay;
    }
    let mut held = vec![0.0_f32; size];
    for (k, row) in k.iter().zip(state.chunks(size)) {
        for (held, m) in held.iter_mut().zip(row) {
            *held = k.mul_add(*m, *held);
        }
    }
    let errors = v.iter().zip(&held);
    let corrections: Vec<f32> = errors.map(|(v, held)| share * (v - held)).collect();
    let mut out = vec![0.0_f32; size];
    for ((q, k), row) in q.iter().zip(&k).zip(state.chunks_mut(size)) {
        for ((m, correction), out) in row.iter_mut().zip(&corrections).zip(&mut out) {
            *m = k.mul_add(*correction, *m);
            *out = q.mul_add(*m, *out);
        }
    }
    let scale = 1.0 / (size as f32).sqrt();
    out.iter().map(|out| out * scale).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softplus_is_within_three_ulp() {
        let mut x = -80.0_f32;
        while x < 80.0 {
            let exact = libm::log1p(libm::exp(f64::from(x)));
            let ulp = f64::from((exact as f32).next_up()) - f64::from(exact as f32);
            let error = (f64::from(softplus(x)) - exact).abs();
            assert!(error <= 3.0 * ulp, "softplus({x}): {} ULP", error / ulp);
            x += 0.003_717;
        }
        assert!(softplus(f32::INFINITY) == f32::INFINITY && softplus(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn a_state_gives_back_what_was_written_under_a_key() {
        let size = 4;
        let mut state = vec![0.0; size * size];
        let key = [3.0, 0.0, 0.0, 0.0];
        let other = [0.0, 5.0, 0.0, 0.0];
        let value = [1.0, -2.0, 3.0, -4.0];
        let ask = |state: &mut [f32], q, k, v: &[f32]| delta_rule(state, [q, k, v], 0.0, 1.0, 1.0);
        let first = ask(&mut state, &key, &key, &value);
        // The root of four divides.
        assert_eq!(first, value.map(|v| v / 2.0));
        // A second time there is nothing to correct, and another key takes nothing away.
        assert_eq!(ask(&mut state, &key, &key, &value), first);
        ask(&mut state, &other, &other, &[7.0; 4]);
        assert_eq!(ask(&mut state, &key, &key, &value), first);
        // A new value takes the old one's place.
        let newer = ask(&mut state, &key, &key, &[2.0; 4]);
        assert_eq!(newer, [1.0; 4]);
    }

    #[test]
    fn a_state_that_decays_to_nothing_forgets() {
        let (decay, share) = (decay(40.0, 1.0, -16.0), share(90.0));
        assert!(decay < 2e-38 && share == 1.0);
        let mut state = vec![9.0; 4];
        let rows: [&[f32]; 3] = [&[1.0, 0.0], &[0.0, 1.0], &[5.0, 6.0]];
        let out = delta_rule(&mut state, rows, 0.0, decay, share);
        assert!(out.iter().all(|x| x.abs() < 1e-36), "{out:?}");
        let near = |(m, v): (&f32, f32)| (m - v).abs() < 1e-5;
        assert!(state[2..].iter().zip([5.0, 6.0]).all(near), "{state:?}");
    }

    #[test]
    fn a_convolution_sees_its_inputs_in_order() {
        let kernel = [0.5, -1.0, 2.0];
        let sum = 0.5 * 3.0 - 4.0 + 2.0 * 5.0;
        let wanted = activate(Activation::Silu, sum);
        assert_eq!(convolve(&kernel, &[3.0, 4.0, 5.0]), wanted);
    }
}
