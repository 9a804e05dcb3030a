//! Makes the reference lanes: their C++ from pinned sources or from an installation that the user
//! names, or their Python packages, and the programs around it; and says whether what lies in the
//! cache is what this repository wants.
//!
//! ```text
//! <cache>/reference/<lane>-<version>-<key>/   the C++ reference, unpacked, patched and built, or
//!                                             a Python environment
//! <cache>/<lane>[-<installation>]/            the lane: its program and its lane.json
//! <cache>/programs/                           cargo's target folder for the programs
//! <cache>/logs/<lane>.log                     all that the last build printed
//! <cache>/setup.lock                          held while something is built
//! ```
//!
//! Nothing gets its final name before it is whole, so an interrupted or failed build leaves nothing
//! that looks built. The conversation with a lane is `bitnet_crossval::lane`'s; nothing here
//! compares numbers.

mod check;
mod error;
pub mod fetched;
mod fingerprint;
mod folder;
mod installation;
mod package;
mod process;
mod program;
mod provision;
mod python;
mod recipe;
mod reference;
mod repair;
pub mod tools;

pub use check::{Ready, Unready};
pub use error::SetupError;
pub use process::Talk;
pub use provision::Provision;
pub use repair::RepairMode;
pub(crate) use repair::{GUARD_VARIABLE, in_ci};

use bitnet_crossval::lane::Lane;

/// A lane as the command line names it: by its short name, or as the project calls its program.
///
/// # Errors
/// In words, for any other name.
pub(crate) fn lane_by_name(name: &str) -> Result<Lane, String> {
    Lane::ALL
        .into_iter()
        .find(|lane| [lane.backend(), lane.name(), lane.reference()].contains(&name))
        .ok_or_else(|| "expected `bitnet`, `llama` or `transformers`".to_owned())
}
