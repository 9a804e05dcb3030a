//! Errors as people read them.

use bitnet_provisioning::download::DownloadError;

/// An error as a person reads it: what went wrong, its causes, and what to do. A message of several
/// lines is kept whole, with its cause after it; one-line messages are joined.
pub fn describe(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for said in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = said;
        } else if text.contains(&said) {
            // The message above already quotes this one.
        } else if text.contains('\n') {
            text = format!("{text}\n\nCause: {said}");
        } else {
            text = format!("{text}: {said}");
        }
    }
    let advice = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<DownloadError>()?.advice());
    match advice {
        Some(advice) if !text.contains('\n') => format!("{text}\n\n{advice}"),
        _ => text,
    }
}
