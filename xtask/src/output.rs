//! Files that commands write: none of them takes the place of a file that the command reads.

use std::path::Path;

use crate::UsageError;

/// Refuses to write to `place` where that is one of `inputs`.
pub(crate) fn apart_from<'p>(
    place: &Path,
    inputs: impl IntoIterator<Item = &'p Path>,
) -> Result<(), UsageError> {
    match bitnet_files::same_place(place, inputs) {
        Some(input) => Err(UsageError(format!(
            "{} is read by this command; write to another file",
            input.display()
        ))),
        None => Ok(()),
    }
}
