//! The codes with which the program ends.

use std::io;
use std::process::ExitCode;

use bitnet_engine::gguf::Printed;
use bitnet_process::note;

use crate::advice;

/// Something went wrong, or `compat-check` found a reason not to run.
pub(crate) const FAILURE: u8 = 1;
/// `pipe` ended at its quota.
pub(crate) const QUOTA: u8 = 3;
/// `verify` found that a receipt does not hold.
pub(crate) const DIFFERS: u8 = 4;
/// Nobody reads the output any more, as a shell reports it.
const BROKEN_PIPE: u8 = 141;

/// Every code with its meaning, in ascending order. 2 is clap's.
pub const EXIT_CODES: &[(u8, &str)] = &[
    (0, "Done"),
    (
        FAILURE,
        "It could not be done (the message says why, and what to do), or `compat-check` or `compare` found a fault",
    ),
    (2, "The command line was not understood"),
    (
        QUOTA,
        "`pipe` ended at its quota; everything before it is written",
    ),
    (
        DIFFERS,
        "`verify` found that a receipt does not hold; standard output says where",
    ),
    (129, "As 130, by SIGHUP"),
    (
        130,
        "Ended by Ctrl-C; what was generated so far stands on standard output",
    ),
    (
        BROKEN_PIPE,
        "Nobody reads standard output any more (a closed pipe)",
    ),
    (143, "As 130, by SIGTERM"),
];

/// Prints an error and turns a result into the code to exit with.
pub(crate) fn code(result: anyhow::Result<u8>) -> ExitCode {
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) if is_broken_pipe(&error) => ExitCode::from(BROKEN_PIPE),
        Err(error) => {
            tell(&error);
            ExitCode::from(FAILURE)
        }
    }
}

/// Prints an error, with what to do about it.
pub(crate) fn tell(error: &anyhow::Error) {
    let what = format!("{error:#}");
    let what = Printed(&what);
    match advice::on(error) {
        Some(advice) => note!("error: {what}; {advice}"),
        None => note!("error: {what}"),
    }
}

/// Whether it is that nobody reads the output any more.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}
