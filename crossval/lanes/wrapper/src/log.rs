//! Keeps the reference's complaints, so that a refusal can carry its reason.

use std::ffi::{CStr, c_char, c_void};
use std::sync::Mutex;

use crate::bindings;

/// Lines that say what went wrong hold one of these, where none is marked as an error.
const COMPLAINTS: [&str; 5] = ["error", "unknown", "invalid", "fail", "missing"];

/// How many lines are kept.
const KEPT: usize = 200;

/// What was logged, with whether it was marked as an error.
static LINES: Mutex<Vec<(bool, String)>> = Mutex::new(Vec::new());

/// Sends the library's log here from now on.
pub(crate) fn capture() {
    // SAFETY: the callback keeps no pointer and may be called from any thread.
    unsafe { bindings::llama_log_set(Some(line), std::ptr::null_mut()) };
}

/// Forgets what was logged so far.
pub(crate) fn clear() {
    LINES
        .lock()
        .unwrap_or_else(|poison| poison.into_inner())
        .clear();
}

/// What the library complained about since the last [`clear`]: its errors, else what reads like
/// one.
pub(crate) fn complaints() -> String {
    let lines = LINES.lock().unwrap_or_else(|poison| poison.into_inner());
    let text = |only_errors: bool| -> String {
        let lines = lines.iter().filter(|(error, _)| *error || !only_errors);
        lines.map(|(_, text)| text.as_str()).collect()
    };
    let (errors, all) = (text(true), text(false));
    let reads_like_one = |line: &&str| {
        let line = line.to_lowercase();
        COMPLAINTS.iter().any(|word| line.contains(word))
    };
    let complaints: Vec<_> = if errors.trim().is_empty() {
        all.lines().map(str::trim).filter(reads_like_one).collect()
    } else {
        errors.lines().map(str::trim).collect()
    };
    if complaints.is_empty() {
        "it gave no reason".to_owned()
    } else {
        complaints.join("; ")
    }
}

unsafe extern "C" fn line(level: bindings::ggml_log_level, text: *const c_char, _: *mut c_void) {
    if text.is_null() {
        return;
    }
    // SAFETY: the library passes a NUL-terminated string that lives for the call.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    eprint!("{text}");
    let mut lines = LINES.lock().unwrap_or_else(|poison| poison.into_inner());
    if lines.len() == KEPT {
        lines.remove(0);
    }
    // What goes on in pieces is marked once.
    let goes_on = level == bindings::GGML_LOG_LEVEL_CONT;
    let marked = level == bindings::GGML_LOG_LEVEL_ERROR;
    let error = marked || goes_on && lines.last().is_some_and(|(error, _)| *error);
    lines.push((error, text.into_owned()));
}
