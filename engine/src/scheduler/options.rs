//! [`SchedulerOptions`]: how much is done at once.

/// How much a scheduler does at once. None of it changes what a request gives.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SchedulerOptions {
    pub(super) parallel: usize,
    pub(super) context: usize,
    pub(super) budget: usize,
    pub(super) chunk: usize,
    pub(super) cache: usize,
    pub(super) speculate: usize,
}

impl Default for SchedulerOptions {
    fn default() -> SchedulerOptions {
        SchedulerOptions {
            parallel: 8,
            context: usize::MAX,
            budget: 512,
            chunk: 64,
            cache: 0,
            speculate: usize::MAX,
        }
    }
}

impl SchedulerOptions {
    /// Most sequences in one pass, at least 1; 8 by default. Further requests wait, and join in the
    /// order in which they came.
    pub fn parallel(mut self, sequences: usize) -> SchedulerOptions {
        self.parallel = sequences.max(1);
        self
    }

    /// Most tokens of a sequence, prompt and answer together; as many as the model has positions by
    /// default, and never more.
    pub fn context(mut self, tokens: usize) -> SchedulerOptions {
        self.context = tokens;
        self
    }

    /// Most tokens of one pass, 512 by default. Every sequence that is being continued takes part
    /// with its token even where they are more, and so does a token of a prompt.
    pub fn budget(mut self, tokens: usize) -> SchedulerOptions {
        self.budget = tokens.max(1);
        self
    }

    /// Most tokens of prompts in a pass that also continues sequences, at least 1; 64 by default.
    /// The fewer they are, the less a long prompt slows down the others.
    pub fn chunk(mut self, tokens: usize) -> SchedulerOptions {
        self.chunk = tokens.max(1);
        self
    }

    /// Most bytes of what is kept of requests that ended, so that others that begin alike need not
    /// read it again. 0, the default, keeps nothing; then requests that run share nothing either,
    /// as on devices where they [cannot](bitnet_kernels::Forward::sharing).
    pub fn cache(mut self, bytes: usize) -> SchedulerOptions {
        self.cache = bytes;
        self
    }

    /// Most tokens that are guessed at a time of each sequence, where few are continued and
    /// requests [ask for it](crate::GenerateOptions::speculate); as many as they do by default.
    pub fn speculate(mut self, most: usize) -> SchedulerOptions {
        self.speculate = most;
        self
    }

    /// Tokens of prompts in a pass that continues so many sequences.
    pub(super) fn for_prompts(&self, continued: usize) -> usize {
        let left = self.budget.saturating_sub(continued).max(1);
        match continued {
            0 => left,
            _ => left.min(self.chunk),
        }
    }
}
