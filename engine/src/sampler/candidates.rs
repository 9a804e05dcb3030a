//! The tokens that may come next, and what a stage can do with them.

use bitnet_kernels::{Candidate, Output, TokenSet};

use crate::error::Error;

/// The tokens that may come next, with their logits. Stages remove some and change logits; what is
/// left is chosen from, with probabilities that follow `exp(logit / temperature)`.
///
/// There is no candidate whose logit is NaN or minus infinity.
#[derive(Clone, Debug)]
pub struct Candidates {
    list: Vec<Candidate>,
    /// How many of the first are in order, best first, before all others.
    ordered: usize,
    temperature: f64,
}

impl Default for Candidates {
    fn default() -> Candidates {
        Candidates {
            list: Vec::new(),
            ordered: 0,
            temperature: 1.0,
        }
    }
}

impl Candidates {
    /// Takes in what a forward pass gave of the tokens in `among`, of all where there is none, at a
    /// temperature of 1.
    ///
    /// # Errors
    /// [`Error::DamagedLogits`] where a logit of them is not finite.
    pub(crate) fn fill(&mut self, output: &Output, among: Option<&TokenSet>) -> Result<(), Error> {
        self.list.clear();
        self.temperature = 1.0;
        if output.top.is_empty() {
            let all = (0..).zip(&output.logits);
            let all = all.map(|(id, logit)| Candidate::new(id, *logit));
            match among {
                None => self.list.extend(all),
                Some(among) => self.list.extend(all.filter(|it| among.contains(it.id))),
            }
        } else {
            let known = output.top.iter().filter(|it| **it != Candidate::NONE);
            self.list.extend(known);
        }
        self.ordered = 0;
        match self.iter().find(|candidate| !candidate.logit.is_finite()) {
            Some(damaged) => Err(Error::DamagedLogits { id: damaged.id }),
            None => Ok(()),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// All of them, in no order that means anything but for those that [`Candidates::order`] put
    /// first.
    pub fn iter(&self) -> impl Iterator<Item = Candidate> + '_ {
        self.list.iter().copied()
    }

    /// The first by [`Candidate::best_first`].
    pub fn best(&self) -> Option<Candidate> {
        match self.ordered {
            0 => self.iter().min_by(Candidate::best_first),
            _ => self.list.first().copied(),
        }
    }

    /// How probable each is beside the best; nothing where there is no candidate.
    pub fn weights(&self) -> Option<Weights> {
        Some(Weights {
            best: f64::from(self.best()?.logit),
            temperature: self.temperature,
        })
    }

    /// What logits are divided by before the choice.
    pub fn temperature(&self) -> f64 {
        self.temperature
    }

    /// Divides all logits by `temperature` from now on, in place of what was set before.
    pub fn set_temperature(&mut self, temperature: f64) {
        self.temperature = temperature;
    }

    /// Gives each candidate the logit that `change` makes of it. NaN and minus infinity remove it.
    pub fn change(&mut self, mut change: impl FnMut(Candidate) -> f32) {
        for candidate in &mut self.list {
            candidate.logit = change(*candidate);
        }
        self.changed();
    }

    /// Keeps those of which `keep` holds.
    pub fn retain(&mut self, keep: impl FnMut(&Candidate) -> bool) {
        if self.ordered == self.list.len() {
            self.list.retain(keep);
            self.ordered = self.list.len();
        } else {
            self.list.retain(keep);
            self.ordered = 0;
        }
    }

    /// Keeps the best `count`, in no order.
    pub fn keep_best(&mut self, count: usize) {
        if count > 0 && count < self.list.len() && self.ordered < count {
            self.list
                .select_nth_unstable_by(count - 1, Candidate::best_first);
            self.ordered = 0;
        }
        self.list.truncate(count);
        self.ordered = self.ordered.min(count);
    }

    /// Puts the best `count` in order, best first, before all others, and returns those that are in
    /// order: at least as many, where there are.
    pub fn order(&mut self, count: usize) -> &[Candidate] {
        let count = count.min(self.list.len());
        if self.ordered < count {
            let rest = &mut self.list[self.ordered..];
            let more = count - self.ordered;
            if more < rest.len() {
                rest.select_nth_unstable_by(more - 1, Candidate::best_first);
            }
            rest[..more].sort_unstable_by(Candidate::best_first);
            self.ordered = count;
        }
        &self.list[..self.ordered]
    }

    fn changed(&mut self) {
        self.list
            .retain(|candidate| candidate.logit > f32::NEG_INFINITY);
        self.ordered = 0;
    }
}

/// How probable candidates are beside the best of them.
#[derive(Clone, Copy, Debug)]
pub struct Weights {
    pub(crate) best: f64,
    pub(crate) temperature: f64,
}

impl Weights {
    /// The probability of a candidate by that of the best: `exp((logit - best) / temperature)`,
    /// in 0 ..= 1.
    pub fn of(self, candidate: Candidate) -> f64 {
        let logit = f64::from(candidate.logit);
        // The difference of two infinite logits is no number.
        if logit == self.best {
            1.0
        } else {
            libm::exp((logit - self.best) / self.temperature)
        }
    }
}
