//! [`Allowed`]: the tokens that may come next.

/// The tokens that may come next; all others may not.
#[derive(Clone, Debug)]
pub(crate) struct Allowed(Vec<u32>);

impl Allowed {
    /// Those whose bit is set: bit `id % 32` of word `id / 32`.
    pub(crate) fn new(bits: Vec<u32>) -> Allowed {
        Allowed(bits)
    }

    pub(crate) fn contains(&self, id: u32) -> bool {
        let word = self.0.get(id as usize / 32);
        word.is_some_and(|word| word >> (id % 32) & 1 == 1)
    }

    /// Allows a token of the vocabulary.
    pub(crate) fn allow(&mut self, id: u32) {
        let word = id as usize / 32;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (id % 32);
    }

    pub(crate) fn forbid(&mut self, id: u32) {
        if let Some(word) = self.0.get_mut(id as usize / 32) {
            *word &= !(1 << (id % 32));
        }
    }
}
