//! Ctrl-C, SIGTERM and SIGHUP: while something can be cut short, the first one asks for that and
//! the second one is the end; at any other time the first one is.

use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

struct Signals {
    /// The latest signal; 0 for none.
    latest: Arc<AtomicUsize>,
    /// Whether the next one ends the program.
    ends: Arc<AtomicBool>,
}

static SIGNALS: LazyLock<Signals> = LazyLock::new(|| Signals {
    latest: Arc::default(),
    ends: Arc::new(AtomicBool::new(true)),
});

#[cfg(unix)]
const TAKEN: [i32; 3] = [SIGINT, SIGTERM, signal_hook::consts::SIGHUP];
#[cfg(not(unix))]
const TAKEN: [i32; 2] = [SIGINT, SIGTERM];

/// Takes the signals over, but for those that the program was started to ignore. Where a handler
/// cannot be set, the system's default stays, which ends the program too.
pub(crate) fn install() {
    let ignored = ignored();
    for signal in TAKEN {
        if ignored & (1 << (signal - 1)) != 0 {
            continue;
        }
        let ends = &SIGNALS.ends;
        // In this order: the first looks at what the others set for the next signal.
        let _ = flag::register_conditional_shutdown(signal, code_of(signal), Arc::clone(ends))
            .and_then(|_| {
                flag::register_usize(signal, Arc::clone(&SIGNALS.latest), signal as usize)
            })
            .and_then(|_| flag::register(signal, Arc::clone(ends)));
    }
}

/// The signals that are ignored, as a set of bits, where the system tells.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

/// As a shell reports it.
fn code_of(signal: i32) -> i32 {
    128 + signal
}

/// Something that can be cut short, for as long as this lives.
pub(crate) struct Watch(());

impl Watch {
    /// From now on a signal asks for an end.
    pub(crate) fn begin() -> Watch {
        SIGNALS.ends.store(false, Ordering::SeqCst);
        Watch(())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        SIGNALS.ends.store(true, Ordering::SeqCst);
    }
}

/// Whether an end was asked for.
pub(crate) fn asked() -> bool {
    SIGNALS.latest.load(Ordering::SeqCst) != 0
}

/// The code to exit with after a signal.
pub(crate) fn code() -> u8 {
    let signal = SIGNALS.latest.load(Ordering::SeqCst);
    i32::try_from(signal).map_or(u8::MAX, |signal| code_of(signal) as u8)
}

/// Whether Ctrl-C asked for an end; it is forgotten with that.
pub(crate) fn take_ctrl_c() -> bool {
    let latest = &SIGNALS.latest;
    latest
        .compare_exchange(SIGINT as usize, 0, Ordering::SeqCst, Ordering::SeqCst)
        .is_ok()
}
