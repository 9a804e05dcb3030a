//! Parity with the C++ references: lanes, measures, verdicts, receipts.
//!
//! The references run in processes of their own ([`lane`]); what they and the
//! engine answer to the same tokens is a [`trajectory`]; [`metrics`] says how
//! far two are apart, [`layers`] where they part, [`verdict`] whether that is
//! parity, [`receipt`] and [`suite`] write it down, and [`verify`] reads it again. A [`baseline`]
//! is a receipt of speed. [`transcode`] gives a reference the
//! same weights in an encoding that it reads. Nothing here builds C++ code:
//! that is `xtask`'s.

pub mod baseline;
pub mod comparison;
pub mod digest;
pub mod lane;
pub mod layers;
pub mod metrics;
pub mod ours;
pub mod prompt;
pub mod receipt;
pub mod report;
pub mod suite;
pub mod summary;
pub mod trajectory;
pub mod transcode;
pub mod verdict;
pub mod verify;
