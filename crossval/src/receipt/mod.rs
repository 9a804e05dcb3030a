//! What is written down: receipts of parity, of one lane and of a suite, and of speed; and whether
//! one that is read holds.

mod baseline;
mod bench;
mod file;
mod parity;
mod suite;
mod verify;

pub use baseline::{Baseline, BaselineError, Baselines, Change, Key};
pub use bench::BenchReceipt;
pub use file::{timestamp, write_json};
pub use parity::{Choice, ParityReceipt, PositionMetrics, Summary};
pub use suite::{Status, SuiteMetrics, SuiteReceipt, SuiteRun};
pub use verify::{ReadError, Receipt};
