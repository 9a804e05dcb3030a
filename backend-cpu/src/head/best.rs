//! The best few logits among those that come by.

use std::cmp::Ordering;

use bitnet_kernels::Candidate;

/// The `k` best of the logits pushed so far.
#[derive(Debug, Default)]
pub(crate) struct Best {
    k: usize,
    /// In the order of [`Candidate::best_first`] once there are `k`; before, as they came.
    list: Vec<Candidate>,
}

/// Whether `a` is better than `b`.
fn before(a: &Candidate, b: &Candidate) -> bool {
    Candidate::best_first(a, b) == Ordering::Less
}

impl Best {
    /// Forgets all, and makes room for `k`.
    pub(crate) fn start(&mut self, k: usize) {
        self.k = k;
        self.list.clear();
        self.list.reserve(k);
    }

    /// The least that a logit must be to come among the best; infinity where only a NaN would.
    pub(crate) fn least(&self) -> f32 {
        match self.list.last() {
            Some(worst) if self.list.len() == self.k => match worst.logit.is_nan() {
                true => f32::INFINITY,
                false => worst.logit,
            },
            _ => f32::NEG_INFINITY,
        }
    }

    /// Takes a logit, each id at most once.
    pub(crate) fn push(&mut self, id: u32, logit: f32) {
        let new = Candidate::new(id, logit);
        if self.list.len() < self.k {
            self.list.push(new);
            if self.list.len() == self.k {
                self.list.sort_unstable_by(Candidate::best_first);
            }
            return;
        }
        match self.list.last() {
            Some(worst) if before(&new, worst) => self.list.pop(),
            _ => return,
        };
        let place = self.list.partition_point(|other| before(other, &new));
        self.list.insert(place, new);
    }

    /// Takes the logits of ids from `first` on, which are finite or NaN as results of products are,
    /// or bounds of logits, of which some may be infinity.
    pub(crate) fn extend(&mut self, first: usize, logits: &[f32]) {
        self.extend_where(first, logits, |_| true);
    }

    /// The same, but only those whose id `keeps` holds.
    pub(crate) fn extend_where(
        &mut self,
        first: usize,
        logits: &[f32],
        keeps: impl Fn(u32) -> bool,
    ) {
        const AT_ONCE: usize = 16;
        for (i, logits) in logits.chunks(AT_ONCE).enumerate() {
            // Most logits are not among the best: that is seen for several at once.
            let least = self.least();
            if self.list.len() == self.k && logits.iter().all(|logit| *logit < least) {
                continue;
            }
            for (id, logit) in ((first + i * AT_ONCE) as u32..).zip(logits) {
                if keeps(id) {
                    self.push(id, *logit);
                }
            }
        }
    }

    /// The best, in whatever order.
    pub(crate) fn list(&self) -> &[Candidate] {
        &self.list
    }

    /// The best, in order.
    pub(crate) fn ordered(&mut self) -> &[Candidate] {
        if self.list.len() < self.k {
            self.list.sort_unstable_by(Candidate::best_first);
        }
        &self.list
    }
}

#[cfg(test)]
mod tests {
    use bitnet_kernels::oracle;

    use super::{Best, Candidate};

    #[test]
    fn the_best_are_those_of_the_oracle_in_whatever_order_they_come() {
        let mut logits: Vec<f32> = (0..1000_u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 22) as f32)
            .collect();
        logits[7] = -0.0;
        let bits = |list: &[Candidate]| -> Vec<(u32, u32)> {
            list.iter().map(|c| (c.id, c.logit.to_bits())).collect()
        };
        for damaged in [&[][..], &[600], &[5, 600, 601]] {
            for id in damaged {
                logits[*id] = f32::NAN;
            }
            for k in [0, 1, 2, 3, 40, 1000, 2000] {
                let mut best = Best::default();
                best.start(k);
                best.extend(500, &logits[500..]);
                best.extend(0, &logits[..500]);
                assert_eq!(bits(best.ordered()), bits(&oracle::top(&logits, k)), "{k}");
            }
        }
    }
}
