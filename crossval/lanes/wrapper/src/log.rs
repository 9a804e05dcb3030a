//! Keeps the reference's complaints, so that a refusal can carry its reason.

use std::ffi::{CStr, c_char, c_void};
use std::sync::Mutex;

use crate::bindings;

/// Lines that say what went wrong hold one of these.
const COMPLAINTS: [&str; 5] = ["error", "unknown", "invalid", "fail", "missing"];

/// How many lines are kept.
const KEPT: usize = 200;

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

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

/// What the library complained about since the last [`clear`], most specific words kept.
pub(crate) fn complaints() -> String {
    let lines = LINES.lock().unwrap_or_else(|poison| poison.into_inner());
    let text = lines.concat();
    let complaints: Vec<_> = text
        .lines()
        .map(str::trim)
        .filter(|line| {
            COMPLAINTS
                .iter()
                .any(|word| line.to_lowercase().contains(word))
        })
        .collect();
    if complaints.is_empty() {
        "it gave no reason".to_owned()
    } else {
        complaints.join("; ")
    }
}

unsafe extern "C" fn line(_: bindings::ggml_log_level, text: *const c_char, _: *mut c_void) {
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
    lines.push(text.into_owned());
}
