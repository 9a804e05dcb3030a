//! Runs the programs of a build: everything they print goes to a log, a person sees how far it is
//! and for how long, and Ctrl-C ends the whole group.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, IsTerminal as _, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::SetupError;
use bitnet_process::{Interrupt, note};

/// How often Ctrl-C and the child are looked at.
const TICK: Duration = Duration::from_millis(100);

/// How often a log without a terminal hears that the work goes on.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// How long a finished program's pipes may stay open: a compiler daemon that it started may hold
/// them for ever.
const DRAIN: Duration = Duration::from_secs(2);

/// Lines of a failed program that are shown.
const TAIL: usize = 25;

/// How much to tell, on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Talk {
    /// Steps, how far they are and how long they take.
    Steps,
    /// Also everything that the programs print.
    All,
}

/// Runs programs one after another for one purpose, with one log.
#[derive(Debug)]
pub(super) struct Runner<'a> {
    subject: String,
    log: File,
    log_path: PathBuf,
    talk: Talk,
    interrupt: &'a Interrupt,
    start: Instant,
}

impl<'a> Runner<'a> {
    /// Starts the log at `log_path` anew. `subject` opens every line.
    pub(super) fn new(
        subject: &str,
        log_path: PathBuf,
        talk: Talk,
        interrupt: &'a Interrupt,
    ) -> Result<Self, SetupError> {
        if let Some(folder) = log_path.parent() {
            fs::create_dir_all(folder).map_err(|e| SetupError::io("create", folder, e))?;
        }
        let log =
            File::create(&log_path).map_err(|e| SetupError::io("write", log_path.clone(), e))?;
        Ok(Self {
            subject: subject.to_owned(),
            log,
            log_path,
            talk,
            interrupt,
            start: Instant::now(),
        })
    }

    /// Seconds since the first step.
    pub(super) fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// A line for the reader, with the time that has passed.
    pub(super) fn note(&self, text: &str) {
        note!("[{:6.1} s] {}: {text}", self.seconds(), self.subject);
    }

    /// Runs `command` to its end and returns what it printed, both streams in the order in which
    /// they arrived.
    pub(super) fn run(&mut self, what: &str, command: &mut Command) -> Result<String, SetupError> {
        self.note(what);
        let _ = writeln!(self.log, "== {what}\n{command:?}");
        let mut child = own_group(command)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| SetupError::io("start", command.get_program(), e))?;
        let lines = lines_of(&mut child);
        let mut meter = Meter::new(self, what);
        let mut output = Output::default();
        let mut ended: Option<Instant> = None;
        loop {
            match lines.recv_timeout(TICK) {
                Ok(line) => {
                    let _ = writeln!(self.log, "{line}");
                    meter.saw(&line);
                    output.push(line);
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.interrupt.is_raised() {
                end(&mut child);
                return Err(SetupError::Interrupted);
            }
            if ended.is_none() && matches!(child.try_wait(), Ok(Some(_))) {
                ended = Some(Instant::now());
            }
            if ended.is_some_and(|at| at.elapsed() > DRAIN) {
                break;
            }
            meter.tick();
        }
        let status = child
            .wait()
            .map_err(|e| SetupError::io("wait for", command.get_program(), e))?;
        meter.finish();
        let _ = writeln!(self.log, "== {status}\n");
        if status.success() {
            return Ok(output.all);
        }
        Err(SetupError::Build {
            what: format!("{}: {what}", self.subject),
            status: status.to_string(),
            tail: output.tail(),
            log: self.log_path.clone(),
        })
    }
}

/// A group of its own, so that the compilers below it end with it.
#[cfg(unix)]
fn own_group(command: &mut Command) -> &mut Command {
    use std::os::unix::process::CommandExt as _;
    command.process_group(0)
}

#[cfg(not(unix))]
fn own_group(command: &mut Command) -> &mut Command {
    command
}

fn end(child: &mut Child) {
    #[cfg(unix)]
    {
        use rustix::process::{Pid, Signal, kill_process_group};
        if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::TERM);
        }
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Both streams of a program, line by line; closed when both are.
fn lines_of(child: &mut Child) -> Receiver<String> {
    let (sender, receiver) = channel();
    if let Some(stream) = child.stdout.take() {
        forward(stream, sender.clone());
    }
    if let Some(stream) = child.stderr.take() {
        forward(stream, sender);
    }
    receiver
}

fn forward(stream: impl Read + Send + 'static, sender: Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.send(line).is_err() {
                return;
            }
        }
    });
}

#[derive(Default)]
struct Output {
    all: String,
    last: VecDeque<String>,
}

impl Output {
    fn push(&mut self, line: String) {
        self.all.push_str(&line);
        self.all.push('\n');
        if self.last.len() == TAIL {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    fn tail(&self) -> String {
        if self.last.is_empty() {
            return "  (nothing)".to_owned();
        }
        let lines: Vec<_> = self.last.iter().map(|line| format!("  {line}")).collect();
        lines.join("\n")
    }
}

/// Tells how far one step is: a spinner on a terminal, a line now and then elsewhere.
struct Meter {
    talk: Talk,
    bar: Option<ProgressBar>,
    head: String,
    what: String,
    start: Instant,
    told: Instant,
    percent: Option<u8>,
}

impl Meter {
    fn new(runner: &Runner<'_>, what: &str) -> Self {
        let shown = runner.talk == Talk::Steps && std::io::stderr().is_terminal();
        let style = ProgressStyle::with_template("           {spinner} {msg} ({elapsed})");
        let bar = shown.then(|| {
            ProgressBar::new_spinner()
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
                .with_message(what.to_owned())
        });
        Self {
            talk: runner.talk,
            bar,
            head: runner.subject.clone(),
            what: what.to_owned(),
            start: Instant::now(),
            told: Instant::now(),
            percent: None,
        }
    }

    fn saw(&mut self, line: &str) {
        if self.talk == Talk::All {
            note!("  {line}");
        }
        self.percent = percent(line).or(self.percent);
    }

    fn tick(&mut self) {
        let text = match self.percent {
            Some(percent) => format!("{}, {percent} %", self.what),
            None => self.what.clone(),
        };
        if let Some(bar) = &self.bar {
            bar.set_message(text);
            bar.tick();
        } else if self.told.elapsed() >= SIGN_OF_LIFE {
            self.told = Instant::now();
            note!(
                "           {}: {text}, {} s",
                self.head,
                self.start.elapsed().as_secs()
            );
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// How far CMake says it is: `[ 63%] Building ...`.
fn percent(line: &str) -> Option<u8> {
    let (number, _) = line.trim_start().strip_prefix('[')?.split_once("%]")?;
    number.trim().parse().ok().filter(|percent| *percent <= 100)
}

/// Whether what a program printed is about the network rather than about its work.
pub(super) fn is_network_trouble(output: &str) -> bool {
    const SIGNS: [&str; 18] = [
        "could not resolve host",
        "couldn't resolve host",
        "could not connect",
        "couldn't connect to server",
        "failed to connect",
        "connection refused",
        "connection reset",
        "connection timed out",
        "operation timed out",
        "network failure",
        "network is unreachable",
        "spurious network error",
        "failed to download",
        "unable to access",
        "attempting to make an http request, but --offline was specified",
        "early eof",
        "max retries exceeded",
        "temporary failure in name resolution",
    ];
    let output = output.to_lowercase();
    SIGNS.iter().any(|sign| output.contains(sign))
}

/// The same, for an error of [`Runner::run`]: a build that failed for want of a network is a
/// network error.
pub(super) fn network_or_build(error: SetupError) -> SetupError {
    match error {
        SetupError::Build { what, tail, .. } if is_network_trouble(&tail) => {
            SetupError::Network { what, tail }
        }
        other => other,
    }
}

/// Removes a folder that may not be there.
pub(super) fn remove(folder: &Path) -> Result<(), SetupError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(SetupError::io("remove", folder, error))
        }
        _ => Ok(()),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn with_runner<T>(interrupt: &Interrupt, body: impl FnOnce(&mut Runner<'_>, &Path) -> T) -> T {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("logs/x.log");
        let mut runner = Runner::new("x", log.clone(), Talk::Steps, interrupt).expect("a runner");
        body(&mut runner, &log)
    }

    #[test]
    fn both_streams_are_returned_and_logged() {
        with_runner(&Interrupt::default(), |runner, log| {
            let said = runner
                .run("speak", &mut shell("echo one; echo two >&2"))
                .expect("it runs");
            let log = fs::read_to_string(log).expect("a log");
            for word in ["one\n", "two\n"] {
                assert!(said.contains(word) && log.contains(word), "{said} {log}");
            }
        });
    }

    #[test]
    fn a_failure_says_what_how_and_the_last_lines() {
        with_runner(&Interrupt::default(), |runner, log| {
            let script = "i=0; while [ $i -lt 40 ]; do echo line $i; i=$((i+1)); done; exit 3";
            let error = runner
                .run("count", &mut shell(script))
                .expect_err("it fails");
            let text = error.to_string();
            for part in ["x: count", "3", "line 39", &log.display().to_string()] {
                assert!(text.contains(part), "{part} is not in {text}");
            }
            assert!(!text.contains("line 3\n"), "{text}");
        });
    }

    #[test]
    fn an_interrupt_ends_the_whole_group() {
        let interrupt = Interrupt::default();
        with_runner(&interrupt, |runner, log| {
            let pid = log.with_extension("pid");
            // A child of the child that would outlive a kill of the shell alone.
            let script = format!("sleep 600 & echo $! > {}; echo up; wait", pid.display());
            let raise = interrupt.clone();
            let watched = pid.clone();
            let raiser = thread::spawn(move || {
                while fs::read_to_string(&watched).map_or(true, |text| text.is_empty()) {
                    thread::sleep(Duration::from_millis(5));
                }
                raise.raise();
            });
            let error = runner
                .run("sleep", &mut shell(&script))
                .expect_err("interrupted");
            assert!(matches!(error, SetupError::Interrupted), "{error}");
            raiser.join().expect("raised");
            let sleeper = fs::read_to_string(&pid).expect("a pid");
            let alive = || {
                let state = fs::read_to_string(format!("/proc/{}/stat", sleeper.trim()));
                state.is_ok_and(|text| !text.contains(") Z "))
            };
            while alive() {
                thread::sleep(Duration::from_millis(5));
            }
        });
    }

    #[test]
    fn progress_and_network_trouble_are_recognised() {
        assert_eq!(percent("[ 63%] Building CXX object x.o"), Some(63));
        assert_eq!(percent("[100%] Built target llama"), Some(100));
        assert_eq!(percent("-- [x] done"), None);
        assert!(is_network_trouble(
            "fatal: unable to access 'https://x/': Could not resolve host: x"
        ));
        assert!(!is_network_trouble("x.cpp:3: error: expected ';'"));
    }
}
