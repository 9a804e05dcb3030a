//! A conversation with one lane's process.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bitnet_lane_protocol::message::{
    EvaluateRequest, Evaluation, Hello, LaneError, LoadRequest, ModelInfo, Reply, Request,
    Response, TokenizeRequest,
};
use bitnet_lane_protocol::{PROTOCOL_VERSION, frame};

use super::reference::Lane;

/// How many of its last words are shown when a lane dies.
const LAST_WORDS: usize = 12;

/// The most bytes of one of them that are kept.
const LAST_WORD_BYTES: u64 = 1024;

/// How long a lane that has closed its output may take to end.
const LAST_BREATH: Duration = Duration::from_secs(2);

/// How long a dead lane's standard error may take to arrive in full. A process that it started may
/// keep it open.
const LAST_WORDS_WAIT: Duration = Duration::from_secs(1);

/// How long a lane may take to answer.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For the greeting.
    pub hello: Duration,
    /// For everything else.
    pub call: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Python imports half a minute on a busy machine.
            hello: Duration::from_secs(120),
            call: Duration::from_secs(600),
        }
    }
}

/// What can go wrong with a lane. Every case names the lane and leaves the other alone.
#[derive(Debug, thiserror::Error)]
pub enum LaneFailure {
    /// The program could not be started.
    #[error("{lane} lane: cannot start {}: {source}. Run: cargo xtask setup-cpp-auto", program.display())]
    Start {
        /// The lane's name.
        lane: &'static str,
        /// What was started.
        program: PathBuf,
        /// Why it did not start.
        source: std::io::Error,
    },
    /// The process ended in the middle of the conversation.
    #[error(
        "{lane} lane: the process ended ({status}) while it answered `{call}`. Its last words:\n{last_words}"
    )]
    Crash {
        /// The lane's name.
        lane: &'static str,
        /// How it ended.
        status: String,
        /// What it was asked.
        call: &'static str,
        /// The end of its standard error.
        last_words: String,
    },
    /// No answer in time; the process was ended.
    #[error(
        "{lane} lane: no answer to `{call}` within {seconds} s, so it was ended. Its last words:\n{last_words}"
    )]
    Hang {
        /// The lane's name.
        lane: &'static str,
        /// What it was asked.
        call: &'static str,
        /// How long it was waited for.
        seconds: u64,
        /// The end of its standard error.
        last_words: String,
    },
    /// It speaks, but not as expected.
    #[error("{lane} lane: {problem}. Run: cargo xtask setup-cpp-auto")]
    Version {
        /// The lane's name.
        lane: &'static str,
        /// What was expected and what was found.
        problem: String,
    },
    /// What came over the wire made no sense.
    #[error("{lane} lane: unreadable answer to `{call}`: {problem}")]
    Garbled {
        /// The lane's name.
        lane: &'static str,
        /// What it was asked.
        call: &'static str,
        /// What was wrong with the answer.
        problem: String,
    },
    /// The reference itself refused.
    #[error("{lane} lane: {source}")]
    Refused {
        /// The lane's name.
        lane: &'static str,
        /// Its reason.
        source: LaneError,
    },
}

impl LaneFailure {
    /// Whether the reference refused and the lane goes on.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }
}

type Incoming = std::io::Result<Option<(Response, Vec<f32>)>>;

/// A running lane that has said hello. Dropping it ends the process.
#[derive(Debug)]
pub struct Client {
    lane: Lane,
    child: Child,
    /// To the thread that writes: a lane that does not read stops that one only.
    requests: Option<Sender<Vec<u8>>>,
    responses: Receiver<Incoming>,
    stderr: LastWords,
    limits: Limits,
    hello: Hello,
    /// The shape of the open model.
    model: Option<ModelInfo>,
}

/// The end of a lane's standard error, kept by a thread.
#[derive(Debug)]
struct LastWords {
    lines: Arc<Mutex<VecDeque<String>>>,
    /// Disconnected when standard error is closed.
    open: Receiver<()>,
}

impl Client {
    /// Starts a lane's program and checks who answers.
    ///
    /// # Errors
    /// When it does not start, does not answer, or is not this lane in this version.
    pub fn start(lane: Lane, program: &Path, limits: Limits) -> Result<Self, LaneFailure> {
        let mut child = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| LaneFailure::Start {
                lane: lane.name(),
                program: program.to_owned(),
                source,
            })?;
        let requests = write_requests(&mut child);
        let responses = read_responses(&mut child);
        let stderr = read_last_words(&mut child);
        let hello = Hello {
            protocol: 0,
            lane: String::new(),
            reference: String::new(),
            fingerprint: String::new(),
            system: String::new(),
            flash_attention: false,
        };
        let mut client = Self {
            lane,
            child,
            requests,
            responses,
            stderr,
            limits,
            hello,
            model: None,
        };
        client.greet()?;
        Ok(client)
    }

    /// Which lane it is.
    pub fn lane(&self) -> Lane {
        self.lane
    }

    /// What the lane said about itself.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Opens a model in place of the one that is open.
    ///
    /// # Errors
    /// When the reference cannot read the file, or the lane fails.
    pub fn load(&mut self, request: LoadRequest) -> Result<ModelInfo, LaneFailure> {
        self.model = None;
        match self.call(Request::Load(request), "load", self.limits.call)? {
            (Reply::Loaded(info), _) => {
                self.model = Some(info.clone());
                Ok(info)
            }
            (other, _) => Err(self.unexpected("load", &other)),
        }
    }

    /// Tokenizes as the reference does.
    ///
    /// # Errors
    /// When the model has no tokenizer, or the lane fails.
    pub fn tokenize(&mut self, request: TokenizeRequest) -> Result<Vec<i32>, LaneFailure> {
        match self.call(Request::Tokenize(request), "tokenize", self.limits.call)? {
            (Reply::Tokens { tokens }, _) => Ok(tokens),
            (other, _) => Err(self.unexpected("tokenize", &other)),
        }
    }

    /// Runs tokens through the model; the floats are as [`Evaluation`] says.
    ///
    /// # Errors
    /// When the reference or the lane fails, or the floats do not have the announced shape.
    pub fn evaluate(
        &mut self,
        request: EvaluateRequest,
    ) -> Result<(Evaluation, Vec<f32>), LaneFailure> {
        let wanted = self.shape_of_answer(&request);
        match self.call(Request::Evaluate(request), "evaluate", self.limits.call)? {
            (Reply::Evaluated(found), floats) => match mismatch(&found, &floats, wanted) {
                None => Ok((found, floats)),
                Some(problem) => Err(LaneFailure::Garbled {
                    lane: self.lane.name(),
                    call: "evaluate",
                    problem,
                }),
            },
            (other, _) => Err(self.unexpected("evaluate", &other)),
        }
    }

    /// Closes the open model.
    ///
    /// # Errors
    /// When the lane fails.
    pub fn unload(&mut self) -> Result<(), LaneFailure> {
        self.call(Request::Unload, "unload", self.limits.call)
            .map(|_| ())
    }

    /// The shape that an answer to `request` must have.
    fn shape_of_answer(&self, request: &EvaluateRequest) -> Shape {
        let model = self.model.as_ref();
        let of_model = |size: fn(&ModelInfo) -> usize| model.map_or(0, size);
        Shape {
            rows: request.tokens.len() + request.greedy as usize,
            greedy: request.greedy as usize,
            vocabulary: of_model(|info| info.vocabulary),
            layers: if request.layers {
                of_model(|info| info.layers)
            } else {
                0
            },
            hidden: of_model(|info| info.hidden),
        }
    }

    fn greet(&mut self) -> Result<(), LaneFailure> {
        let hello = match self.call(Request::Hello, "hello", self.limits.hello)? {
            (Reply::Hello(hello), _) => hello,
            (other, _) => return Err(self.unexpected("hello", &other)),
        };
        let problem = if hello.protocol != PROTOCOL_VERSION {
            format!(
                "speaks protocol {}, wanted {PROTOCOL_VERSION}",
                hello.protocol
            )
        } else if hello.lane != self.lane.name() {
            format!("the program calls itself `{}`", hello.lane)
        } else {
            self.hello = hello;
            return Ok(());
        };
        Err(LaneFailure::Version {
            lane: self.lane.name(),
            problem,
        })
    }

    fn call(
        &mut self,
        request: Request,
        call: &'static str,
        limit: Duration,
    ) -> Result<(Reply, Vec<f32>), LaneFailure> {
        // A process that is gone is noticed below, with its exit status.
        if let Some(requests) = &self.requests {
            let mut line = Vec::new();
            let _ = frame::write_line(&mut line, &request);
            let _ = requests.send(line);
        }
        match self.responses.recv_timeout(limit) {
            Ok(Ok(Some((response, floats)))) => match response.result {
                Ok(reply) => Ok((reply, floats)),
                Err(source) => Err(LaneFailure::Refused {
                    lane: self.lane.name(),
                    source,
                }),
            },
            Ok(Ok(None)) | Err(RecvTimeoutError::Disconnected) => Err(self.crashed(call)),
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                Err(self.crashed(call))
            }
            Ok(Err(error)) => Err(LaneFailure::Garbled {
                lane: self.lane.name(),
                call,
                problem: error.to_string(),
            }),
            Err(RecvTimeoutError::Timeout) => {
                let _ = self.child.kill();
                let _ = self.child.wait();
                Err(LaneFailure::Hang {
                    lane: self.lane.name(),
                    call,
                    seconds: limit.as_secs(),
                    last_words: self.last_words(),
                })
            }
        }
    }

    fn crashed(&mut self, call: &'static str) -> LaneFailure {
        self.requests = None;
        let start = Instant::now();
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break describe(status),
                Ok(None) if start.elapsed() < LAST_BREATH => {
                    thread::sleep(Duration::from_millis(5));
                }
                Ok(None) => {
                    let _ = self.child.kill();
                    let _ = self.child.wait();
                    break "it closed its output and lived on, so it was killed".to_owned();
                }
                Err(error) => break error.to_string(),
            }
        };
        LaneFailure::Crash {
            lane: self.lane.name(),
            status,
            call,
            last_words: self.last_words(),
        }
    }

    fn unexpected(&self, call: &'static str, reply: &Reply) -> LaneFailure {
        LaneFailure::Garbled {
            lane: self.lane.name(),
            call,
            problem: format!("it answered {reply:?}"),
        }
    }

    /// For a process that has ended.
    fn last_words(&self) -> String {
        let _ = self.stderr.open.recv_timeout(LAST_WORDS_WAIT);
        let lines = self
            .stderr
            .lines
            .lock()
            .unwrap_or_else(|poison| poison.into_inner());
        if lines.is_empty() {
            return "  (none)".to_owned();
        }
        lines
            .iter()
            .map(|line| format!("  {line}"))
            .collect::<Vec<_>>()
            .join("\n")
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // The end of its input ends a healthy lane; a sick one is ended.
        self.requests = None;
        for _ in 0..50 {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What an answer to `evaluate` must have.
#[derive(Debug, Clone, Copy)]
struct Shape {
    rows: usize,
    greedy: usize,
    vocabulary: usize,
    layers: usize,
    hidden: usize,
}

/// What keeps an answer from being one of the `wanted` shape.
fn mismatch(found: &Evaluation, floats: &[f32], wanted: Shape) -> Option<String> {
    let pairs = [
        ("rows", found.rows, wanted.rows),
        ("greedy tokens", found.greedy.len(), wanted.greedy),
        ("logits a row", found.vocabulary, wanted.vocabulary),
        ("layers", found.layers, wanted.layers),
        ("values a layer", found.hidden, wanted.hidden),
    ];
    if let Some((what, found, wanted)) = pairs.into_iter().find(|(_, a, b)| a != b) {
        return Some(format!("it speaks of {found} {what}, not of {wanted}"));
    }
    let row = wanted.layers.checked_mul(wanted.hidden);
    let row = row.and_then(|layers| layers.checked_add(wanted.vocabulary));
    let count = row.and_then(|row| row.checked_mul(wanted.rows));
    if count != Some(floats.len()) {
        let wanted = count.map_or("more than there can be".to_owned(), |n| n.to_string());
        return Some(format!(
            "{} floats came, {wanted} were announced",
            floats.len()
        ));
    }
    let known = |token: i32| usize::try_from(token).is_ok_and(|t| t < wanted.vocabulary);
    let stranger = found.greedy.iter().find(|token| !known(**token));
    stranger.map(|token| format!("its greedy token {token} is none of the vocabulary"))
}

/// A thread that writes requests, so that a lane that does not read them can be given up on. It
/// ends when the sender is dropped, and closes the lane's input with that.
fn write_requests(child: &mut Child) -> Option<Sender<Vec<u8>>> {
    let mut stdin = child.stdin.take()?;
    let (sender, requests) = channel::<Vec<u8>>();
    thread::spawn(move || {
        for line in requests {
            if stdin.write_all(&line).and_then(|()| stdin.flush()).is_err() {
                return;
            }
        }
    });
    Some(sender)
}

/// A thread that reads answers, so that waiting for one can have a limit. It reads one ahead, no
/// more, whatever a lane says unasked.
fn read_responses(child: &mut Child) -> Receiver<Incoming> {
    let (sender, receiver) = sync_channel(1);
    if let Some(stdout) = child.stdout.take() {
        thread::spawn(move || {
            let mut stdout = BufReader::new(stdout);
            loop {
                let incoming = frame::read_response(&mut stdout);
                let over = !matches!(incoming, Ok(Some(_)));
                if sender.send(incoming).is_err() || over {
                    return;
                }
            }
        });
    }
    receiver
}

/// A thread that keeps the end of the lane's standard error.
fn read_last_words(child: &mut Child) -> LastWords {
    let lines = Arc::new(Mutex::new(VecDeque::new()));
    let (closes_at_end, open) = channel();
    if let Some(stderr) = child.stderr.take() {
        let kept = Arc::clone(&lines);
        thread::spawn(move || {
            let _closes_at_end = closes_at_end;
            let mut stderr = BufReader::new(stderr);
            loop {
                // A line may never end: a long one is kept in parts.
                let mut line = Vec::new();
                let mut part = stderr.by_ref().take(LAST_WORD_BYTES);
                if !matches!(part.read_until(b'\n', &mut line), Ok(1..)) {
                    return;
                }
                let line = line.strip_suffix(b"\n").unwrap_or(&line);
                let mut kept = kept.lock().unwrap_or_else(|poison| poison.into_inner());
                if kept.len() == LAST_WORDS {
                    kept.pop_front();
                }
                let readable = |c: char| {
                    if c.is_control() && c != '\t' {
                        '\u{fffd}'
                    } else {
                        c
                    }
                };
                kept.push_back(
                    String::from_utf8_lossy(line)
                        .chars()
                        .map(readable)
                        .collect(),
                );
            }
        });
    }
    LastWords { lines, open }
}

#[cfg(unix)]
fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match status.signal() {
        Some(4) => "signal 4, illegal instruction: it was built for another CPU".to_owned(),
        Some(signal) => format!("signal {signal}"),
        None => status.to_string(),
    }
}

#[cfg(not(unix))]
fn describe(status: ExitStatus) -> String {
    status.to_string()
}
