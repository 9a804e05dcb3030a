//! Runs of codes: bytes that are transposed together.

/// Bytes of codes that are transposed together.
pub(crate) const RUN_BYTES: usize = 16;

/// Room for the runs of a block that are not stored as such.
pub(crate) type Runs = [[u8; RUN_BYTES]; 2];
