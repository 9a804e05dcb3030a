//! The reference lanes through the real `xtask` program: what is built, what is refused, and each
//! exit code from 0 to 6.
//!
//! What needs a built lane, CMake or a compiler is behind the feature `crossval-cpp`, and fails
//! with the command to run where they are missing.

#[cfg(all(feature = "crossval-cpp", unix))]
mod built;
#[cfg(all(feature = "crossval-cpp", unix))]
mod fetch_cpp;
#[cfg(all(feature = "crossval-cpp", unix))]
mod parity;
mod parity_refusals;
mod refusals;
mod workbench;
