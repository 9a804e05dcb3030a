//! The best few of a row of logits.

use bitnet_kernels::Candidate;

/// Appends the `k` best of `logits` to `out`: largest first, the lower id first among equals, NaN never.
pub(crate) fn top(logits: &[f32], k: usize, out: &mut Vec<Candidate>) {
    let start = out.len();
    let k = k.min(logits.len());
    for (id, logit) in logits.iter().enumerate() {
        // -0 and +0 are equal logits; a NaN loses against everything.
        let logit = if logit.is_nan() {
            f32::NEG_INFINITY
        } else {
            logit + 0.0
        };
        let full = out.len() - start == k;
        if full && out.last().is_none_or(|worst| logit <= worst.logit) {
            continue;
        }
        if full {
            out.pop();
        }
        let place = start + out[start..].partition_point(|other| other.logit >= logit);
        out.insert(
            place,
            Candidate {
                id: id as u32,
                logit,
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use bitnet_kernels::oracle;

    #[test]
    fn the_best_are_those_of_the_oracle() {
        let logits: Vec<f32> = (0..1000_u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 22) as f32)
            .collect();
        for k in [0, 1, 2, 40, 1000, 2000] {
            let mut out = Vec::new();
            super::top(&logits, k, &mut out);
            assert_eq!(out, oracle::top(&logits, k));
        }
    }
}
