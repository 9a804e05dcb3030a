//! What a forward pass must read and multiply, counted from the program alone.

use std::ops::AddAssign;

/// The size of a forward pass, or of several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Passes: each reads all weights once.
    pub passes: u64,
    /// Tokens of all passes.
    pub tokens: u64,
    /// Tokens whose logits are wanted.
    pub selected: u64,
    /// Passes in which logits are wanted.
    pub selecting: u64,
    /// Where in their sequences the tokens stand.
    pub stretches: Vec<Stretch>,
}

/// Tokens that one pass adds to each of some sequences of the same length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Sequences.
    pub sequences: u64,
    /// Position of the first token.
    pub start: u64,
    /// Tokens, for each sequence.
    pub tokens: u64,
}

impl Work {
    /// Sequences, counted anew in each pass.
    pub fn visits(&self) -> u64 {
        self.stretches.iter().map(|stretch| stretch.sequences).sum()
    }

    /// Positions that each token sees, its own included and at most `window`, summed over tokens.
    pub fn seen(&self, window: Option<usize>) -> u64 {
        let window = window.map_or(u64::MAX, |window| window as u64);
        let of = |stretch: &Stretch| {
            // Tokens that see everything before them, and those that see as much as the window
            // holds.
            let growing = stretch.tokens.min(window.saturating_sub(stretch.start));
            let all = growing * stretch.start + growing * (growing + 1) / 2;
            let rest = match stretch.tokens - growing {
                0 => 0,
                full => full * window,
            };
            (all + rest) * stretch.sequences
        };
        self.stretches.iter().map(of).sum()
    }

    /// Positions of the cache that each pass reads for each of its sequences, summed over both,
    /// where a token sees at most `window` of them.
    pub fn cached(&self, window: Option<usize>) -> u64 {
        let window = window.map_or(u64::MAX, |window| window as u64);
        let of = |stretch: &Stretch| {
            let first = (stretch.start + 1).saturating_sub(window);
            (stretch.start + stretch.tokens - first) * stretch.sequences
        };
        self.stretches.iter().map(of).sum()
    }
}

/// What a pass costs at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Bytes of weights but for the head's. Of the embedding, the rows that are looked up.
    pub weight_bytes: u64,
    /// Bytes of the head.
    pub head_bytes: u64,
    /// Bytes of keys and values, and of states, which are read and written.
    pub cache_bytes: u64,
    /// Multiply-adds of matrix products.
    pub products: u64,
    /// Multiply-adds of attention and of what takes its place.
    pub attention: u64,
}

impl Cost {
    /// Bytes in all.
    pub fn bytes(&self) -> u64 {
        self.weight_bytes + self.head_bytes + self.cache_bytes
    }

    /// Multiply-adds in all.
    pub fn multiply_adds(&self) -> u64 {
        self.products + self.attention
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Cost) {
        self.weight_bytes += other.weight_bytes;
        self.head_bytes += other.head_bytes;
        self.cache_bytes += other.cache_bytes;
        self.products += other.products;
        self.attention += other.attention;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_bounds_what_tokens_see_and_passes_read() {
        for (start, tokens, window) in [(0, 1, 1), (0, 9, 4), (2, 5, 4), (7, 3, 4), (3, 2, 99)] {
            let work = Work {
                stretches: vec![Stretch {
                    sequences: 3,
                    start,
                    tokens,
                }],
                ..Work::default()
            };
            let seen = |position: u64| (position + 1).min(window);
            let all: u64 = (start..start + tokens).map(seen).sum();
            let first = (start + 1).saturating_sub(window);
            assert_eq!(work.seen(Some(window as usize)), 3 * all);
            assert_eq!(
                work.cached(Some(window as usize)),
                3 * (start + tokens - first)
            );
        }
    }

    #[test]
    fn without_a_window_every_earlier_position_counts() {
        let stretch = |start, tokens| Stretch {
            sequences: 2,
            start,
            tokens,
        };
        let work = Work {
            stretches: vec![stretch(10, 3), stretch(13, 1)],
            ..Work::default()
        };
        assert_eq!(work.seen(None), 2 * (11 + 12 + 13 + 14));
        assert_eq!(work.cached(None), 2 * (13 + 14));
    }
}
