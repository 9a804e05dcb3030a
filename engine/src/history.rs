//! [`History`]: the way back of a sequence whose model keeps a state.

use std::sync::Arc;

use bitnet_kernels::Checkpoint;

/// Most checkpoints of a sequence. Each takes as much memory as the states of a sequence do.
pub(crate) const CHECKPOINTS: usize = 4;

/// What a sequence needs to go back, where what the device keeps stands for all its tokens: the
/// tokens, and what the device kept after some of them.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) tokens: Vec<u32>,
    /// In the order of their tokens, at most [`CHECKPOINTS`].
    checkpoints: Vec<Arc<Checkpoint>>,
    /// Tokens that the device's states stand for; none where a pass has failed on the way.
    pub(crate) stands: Option<usize>,
}

impl History {
    /// That of a sequence with room for so many tokens.
    pub(crate) fn new(capacity: usize) -> History {
        History {
            tokens: Vec::with_capacity(capacity),
            checkpoints: Vec::new(),
            stands: Some(0),
        }
    }

    /// That of a sequence with room for `capacity` tokens that has read `tokens`, and kept these on
    /// the way. Its device is to be taken there.
    pub(crate) fn restored(
        tokens: &[u32],
        checkpoints: Vec<Checkpoint>,
        capacity: usize,
    ) -> History {
        let mut history = History::new(capacity);
        history.tokens.extend_from_slice(tokens);
        history.checkpoints = checkpoints.into_iter().map(Arc::new).collect();
        history.stands = None;
        history
    }

    /// Notes tokens that the device has read.
    pub(crate) fn push(&mut self, tokens: &[u32]) {
        self.tokens.extend_from_slice(tokens);
        self.stands = Some(self.tokens.len());
    }

    /// Forgets all tokens from position `len` on. The device stands where it stood.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.tokens.truncate(len);
        self.checkpoints.retain(|kept| kept.tokens <= len);
    }

    /// The latest checkpoint.
    pub(crate) fn latest(&self) -> Option<&Checkpoint> {
        self.checkpoints.last().map(Arc::as_ref)
    }

    /// All of them.
    pub(crate) fn checkpoints(&self) -> &[Arc<Checkpoint>] {
        &self.checkpoints
    }

    /// Tokens up to the latest checkpoint that has no more than `len` of them.
    pub(crate) fn way_back(&self, len: usize) -> usize {
        let places = self.checkpoints.iter().map(|kept| kept.tokens);
        places.filter(|tokens| *tokens <= len).max().unwrap_or(0)
    }

    /// That of another sequence, with room for `capacity` tokens, that has read as many as lead to
    /// a checkpoint of this one. Its device is to be taken there.
    pub(crate) fn fork(&self, tokens: usize, capacity: usize) -> History {
        let mut fork = History::new(capacity);
        fork.tokens.extend_from_slice(&self.tokens[..tokens]);
        let checkpoints = self.checkpoints.iter();
        fork.checkpoints = checkpoints
            .filter(|kept| kept.tokens <= tokens)
            .cloned()
            .collect();
        fork.stands = None;
        fork
    }

    /// Adds the latest checkpoint. Where there are too many, one goes whose place the others can
    /// best take: that with the fewest tokens between its neighbours.
    pub(crate) fn keep(&mut self, checkpoint: Checkpoint) {
        self.checkpoints.push(Arc::new(checkpoint));
        if self.checkpoints.len() <= CHECKPOINTS {
            return;
        }
        let gap = |i: usize| {
            let before = i.checked_sub(1).map_or(0, |i| self.checkpoints[i].tokens);
            self.checkpoints[i + 1].tokens - before
        };
        // Not the latest.
        if let Some(least) = (0..CHECKPOINTS).min_by_key(|i| gap(*i)) {
            self.checkpoints.remove(least);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(history: &History) -> Vec<usize> {
        let checkpoints = history.checkpoints.iter();
        checkpoints.map(|kept| kept.tokens).collect()
    }

    #[test]
    fn checkpoints_are_few_spread_out_and_no_later_than_the_tokens() {
        let mut history = History::new(8);
        for tokens in [10, 20, 200, 210, 400, 410, 900] {
            history.tokens.resize(tokens, 0);
            history.keep(Checkpoint {
                tokens,
                states: Vec::new(),
            });
            assert_eq!(history.latest().map(|kept| kept.tokens), Some(tokens));
            assert!(history.checkpoints.len() <= CHECKPOINTS);
        }
        assert_eq!(places(&history), [20, 210, 410, 900]);
        assert_eq!((history.way_back(409), history.way_back(19)), (210, 0));
        let fork = history.fork(410, 1000);
        assert_eq!((fork.tokens.len(), fork.stands), (410, None));
        assert_eq!(places(&fork), [20, 210, 410]);
        history.truncate(410);
        assert_eq!(places(&history), [20, 210, 410]);
        history.truncate(199);
        assert_eq!(places(&history), [20]);
        assert_eq!(history.tokens.len(), 199);
    }
}
