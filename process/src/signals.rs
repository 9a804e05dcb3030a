//! What signals do to this process.

use std::io;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError, mpsc};
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::Interrupt;

#[cfg(unix)]
const ENDING: [i32; 3] = [SIGINT, SIGTERM, signal_hook::consts::SIGHUP];
#[cfg(not(unix))]
const ENDING: [i32; 2] = [SIGINT, SIGTERM];

/// What to do when a signal comes.
#[derive(Default)]
struct State {
    /// The work that the next signal interrupts, the latest last.
    watched: Vec<Watched>,
    before_end: Vec<(u64, Box<dyn FnOnce() + Send>)>,
    /// Numbers given out, which tell entries from one another.
    given: u64,
}

#[derive(Clone)]
struct Watched {
    number: u64,
    interrupt: Interrupt,
    /// The signal that raised it; 0 for none.
    signal: Arc<AtomicI32>,
    /// Whether Ctrl-C never ends the program, however often it comes.
    patient: bool,
}

static STATE: Mutex<State> = Mutex::new(State {
    watched: Vec::new(),
    before_end: Vec::new(),
    given: 0,
});

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn number(&mut self) -> u64 {
        self.given += 1;
        self.given
    }
}

/// Takes over the signals that end a program, but for those that it was started to ignore. Where
/// that cannot be done, the system's default stays, which ends the program too.
///
/// On Unix, a mapped file that was shortened ends the program with code 1 and a message: reading
/// it raises `SIGBUS`.
pub fn take_over() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let (ready, is_ready) = mpsc::sync_channel(1);
        // Handlers are set on the thread that waits: without it they would swallow signals.
        let waiting = thread::Builder::new().name("signals".to_owned());
        let started = waiting.spawn(move || {
            let _ = wait(|| ready.send(()).unwrap_or_default(), received);
        });
        if started.is_ok() {
            let _ = is_ready.recv();
        }
    });
}

fn received(signal: i32) {
    let mut state = state();
    let watched = state.watched.last().cloned();
    let ends =
        |watched: &Watched| watched.interrupt.is_raised() && !(watched.patient && signal == SIGINT);
    match watched.filter(|watched| !ends(watched)) {
        Some(watched) => {
            drop(state);
            watched.signal.store(signal, Ordering::SeqCst);
            watched.interrupt.raise();
        }
        None => {
            for (_, act) in state.before_end.drain(..) {
                act();
            }
            end(code_of(signal).into());
        }
    }
}

/// Ends the program without waiting for its threads.
fn end(code: i32) -> ! {
    signal_hook::low_level::exit(code)
}

/// As a shell reports it.
fn code_of(signal: i32) -> u8 {
    128 + signal as u8
}

/// Work that a signal interrupts, for as long as this lives.
pub struct Watch(Watched);

impl Watch {
    /// From now on the first signal raises an interrupt, and the second one ends the program.
    pub fn begin() -> Watch {
        Watch::new(false)
    }

    /// As [`Watch::begin`], but Ctrl-C does not end the program however often it comes: for a
    /// conversation, which would be lost.
    pub fn begin_patiently() -> Watch {
        Watch::new(true)
    }

    fn new(patient: bool) -> Watch {
        take_over();
        let mut state = state();
        let watched = Watched {
            number: state.number(),
            interrupt: Interrupt::default(),
            signal: Arc::default(),
            patient,
        };
        state.watched.push(watched.clone());
        Watch(watched)
    }

    /// The interrupt, which can be handed on.
    pub fn interrupt(&self) -> &Interrupt {
        &self.0.interrupt
    }

    /// Whether it was Ctrl-C that came.
    pub fn is_ctrl_c(&self) -> bool {
        self.0.signal.load(Ordering::SeqCst) == SIGINT
    }

    /// The code to exit with, where a signal came.
    pub fn code(&self) -> Option<u8> {
        let raised = self.0.interrupt.is_raised();
        raised.then(|| code_of(self.0.signal.load(Ordering::SeqCst)))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let number = self.0.number;
        state().watched.retain(|watched| watched.number != number);
    }
}

/// Something that is done before a signal ends the program, for as long as this lives.
pub struct BeforeEnd(u64);

/// Has `act` done if a signal ends the program.
pub fn before_end(act: impl FnOnce() + Send + 'static) -> BeforeEnd {
    let mut state = state();
    let number = state.number();
    state.before_end.push((number, Box::new(act)));
    BeforeEnd(number)
}

impl Drop for BeforeEnd {
    fn drop(&mut self) {
        state().before_end.retain(|(number, _)| *number != self.0);
    }
}

/// Calls `each` with every signal that comes, once `ready` was told that they are taken over.
#[cfg(unix)]
fn wait(ready: impl FnOnce(), each: impl Fn(i32)) -> io::Result<()> {
    let ignored = ignored();
    let bit = |signal: i32| 1_u64 << (signal - 1);
    let ending = ENDING.into_iter();
    let taken = ending.filter(|signal| ignored & bit(*signal) == 0);
    let mut signals = signal_hook::iterator::Signals::new(taken)?;
    let _ = end_where_bytes_are_lost();
    ready();
    signals.forever().for_each(each);
    Ok(())
}

/// Has the program end with code 1 and a message where it reads what a mapped file has lost.
#[cfg(unix)]
fn end_where_bytes_are_lost() -> io::Result<()> {
    const SAID: &[u8] =
        b"error: a file was shortened while it was read; run it again with the whole file\n";
    let act = || {
        let _ = rustix::io::write(rustix::stdio::stderr(), SAID);
        signal_hook::low_level::exit(1);
    };
    // The handler that the standard library has put there looks for stack overflows. It would run
    // first and set the default, which kills without a word whichever thread reads lost bytes
    // before ours has ended the program. Linux reports overflows as `SIGSEGV`, which is left alone.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    // SAFETY: it is the default that is set, so no code is named that would run.
    unsafe {
        libc::signal(libc::SIGBUS, libc::SIG_DFL);
    }
    // SAFETY: the handler makes two system calls. It allocates nothing, takes no lock and does not
    // panic, so it may interrupt anything.
    let set = unsafe { signal_hook::low_level::register(signal_hook::consts::SIGBUS, act) };
    set.map(|_| ())
}

/// The signals that are ignored, as a set of bits, where the system tells.
#[cfg(unix)]
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

/// Calls `each` with every signal that comes, once `ready` was told that they are taken over. Only
/// Unix can wait for them, so they are looked for in turn.
#[cfg(not(unix))]
fn wait(ready: impl FnOnce(), each: impl Fn(i32)) -> io::Result<()> {
    let latest = Arc::<std::sync::atomic::AtomicUsize>::default();
    for signal in ENDING {
        signal_hook::flag::register_usize(signal, Arc::clone(&latest), signal as usize)?;
    }
    ready();
    loop {
        match latest.swap(0, Ordering::SeqCst) {
            0 => thread::sleep(std::time::Duration::from_millis(20)),
            signal => each(signal as i32),
        }
    }
}
