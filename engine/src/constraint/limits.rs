//! How much a grammar may be.

/// Most bytes of a grammar.
pub(super) const LONGEST: usize = 256 << 10;
/// How deep schemas may stand within each other.
pub(super) const DEEPEST: usize = 64;
/// How deep brackets may, those of schemas among them.
pub(super) const DEEPEST_BRACKETS: usize = 256;
