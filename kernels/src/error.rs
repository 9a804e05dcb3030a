//! [`BackendError`]: what can go wrong on a device.

/// Why a program cannot be loaded or run on a device.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// A tensor of the program is not in the source, or has other bytes than its shape and format
    /// ask for.
    #[error("tensor {name}: {problem}")]
    Weight {
        /// The tensor.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Memory could not be had.
    #[error("out of memory on {device}: {what} needs {need} bytes{}", have.map(|have| format!(", {have} are available")).unwrap_or_default())]
    OutOfMemory {
        /// The device.
        device: String,
        /// What the memory was for.
        what: String,
        /// Bytes asked for.
        need: u64,
        /// Bytes to be had, where known.
        have: Option<u64>,
    },
    /// A program whose operations do not fit what they name.
    #[error("invalid program: {0}")]
    Program(String),
    /// A batch that does not fit the program, the caches or itself.
    #[error("invalid batch: {0}")]
    Batch(String),
    /// A sequence with a state was to be continued elsewhere than at its end.
    #[error(
        "the state of cache {cache} stands {}, so it cannot be continued from position {start}; rewind \
         the sequence first",
        stands.map_or_else(|| "nowhere since a pass failed".to_owned(), |at| format!("after {at} tokens"))
    )]
    NoWayBack {
        /// The cache's number.
        cache: u32,
        /// Tokens that its state stands for; none where a pass has failed on the way.
        stands: Option<usize>,
        /// The position that was asked for.
        start: usize,
    },
    /// No kernel of this device runs an operation of the program.
    #[error("{device} cannot run {what}")]
    Unsupported {
        /// The device.
        device: String,
        /// The operation and format.
        what: String,
    },
    /// Threads cannot be on the CPUs on which they were asked to be.
    #[error("{0}")]
    Affinity(String),
    /// The device failed.
    #[error("{device} failed: {problem}")]
    Device {
        /// The device.
        device: String,
        /// What it said, and what to do.
        problem: String,
    },
}
