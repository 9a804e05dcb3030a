//! Parity with the reference implementations: lanes, measures, verdicts, receipts.
//!
//! The references run in processes of their own ([`lane`]). [`compare`](mod@compare) puts the same
//! tokens to one of them and to the engine and judges what came of it; a [`suite`] does so for
//! several models and prompts. A [`receipt`] writes it down and is read again, a [`report`] tells
//! it. Nothing here reads the environment or builds a reference: that is `xtask`'s.

pub mod compare;
pub mod digest;
pub mod lane;
pub mod receipt;
pub mod report;
pub mod suite;
