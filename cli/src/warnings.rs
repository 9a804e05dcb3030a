//! What is doubtful, on standard error; an error where `BITNET_STRICT_MODE` asks for that.

use std::fmt::Display;

use anyhow::{Result, bail};
use bitnet_engine::gguf::Printed;
use bitnet_process::note;

use crate::environment;

/// Says a warning.
///
/// # Errors
/// The warning itself, in strict mode; a value of the variable that says neither.
pub fn warn(warning: impl Display) -> Result<()> {
    if environment::strict()? {
        bail!("{warning} (BITNET_STRICT_MODE makes this warning an error)");
    }
    note!("warning: {}", Printed(&warning.to_string()));
    Ok(())
}

/// Says that a template took note of control tokens in a text, if it did.
///
/// # Errors
/// As [`warn`].
pub(crate) fn of_marks(altered: bool) -> Result<()> {
    if altered {
        warn(
            "the template looks into a text with control tokens in it; what is sent keeps them \
             apart from its own and differs from the plain rendering",
        )?;
    }
    Ok(())
}

/// Says that a model has fewer positions than were asked for, if it has.
///
/// # Errors
/// As [`warn`].
pub(crate) fn of_context(asked: Option<u32>, positions: usize) -> Result<()> {
    match asked {
        Some(asked) if asked as usize > positions => warn(format_args!(
            "--context {asked} is more than the {positions} positions of the model, which are taken"
        )),
        _ => Ok(()),
    }
}
