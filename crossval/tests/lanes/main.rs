//! The lanes as processes: what a client makes of one that fails, and what the built ones compute
//! and hold on to.
//!
//! What needs a built lane is behind the feature `crossval-cpp`, and fails with the command to run
//! where it is missing.

#[cfg(feature = "crossval-cpp")]
mod golden;
#[cfg(all(feature = "crossval-cpp", target_os = "linux"))]
mod memory;
#[cfg(unix)]
mod misbehaving;
