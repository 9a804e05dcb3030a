//! The loop that a lane runs, over whatever reference it wraps.

use std::io::{self, BufRead, Write};
use std::time::Instant;

use crate::frame;
use crate::message::{
    EvaluateRequest, Evaluation, Feed, Hello, LaneError, LoadRequest, ModelInfo, Reply, Request,
    Response, TokenizeRequest,
};

/// A reference implementation that can open models.
pub trait Reference {
    /// An open model. Dropping it frees all that it holds.
    type Model: ReferenceModel;

    /// Who this is.
    fn hello(&self) -> Hello;

    /// Opens a model.
    ///
    /// # Errors
    /// When the reference refuses the file, with its own reason.
    fn load(&self, request: &LoadRequest) -> Result<Self::Model, LaneError>;
}

/// What one step through the model gave.
#[derive(Debug, Default)]
pub struct Step {
    /// `tokens * vocabulary` logits.
    pub logits: Vec<f32>,
    /// Per layer, `tokens * hidden` values of the residual stream; empty when not asked for.
    pub layers: Vec<Vec<f32>>,
}

/// A model that a reference has opened.
pub trait ReferenceModel {
    /// What was opened. `load_ms` is filled in by the loop.
    fn info(&self) -> ModelInfo;

    /// The most tokens that one [`step`](Self::step) takes.
    fn batch_limit(&self) -> usize;

    /// Tokenizes as the reference does.
    ///
    /// # Errors
    /// When the file has no tokenizer.
    fn tokenize(&self, request: &TokenizeRequest) -> Result<Vec<i32>, LaneError>;

    /// Forgets the sequence so far.
    fn reset(&mut self);

    /// Feeds `tokens` at `position` and returns the logits after each.
    ///
    /// # Errors
    /// When the reference fails.
    fn step(&mut self, tokens: &[i32], position: usize, layers: bool) -> Result<Step, LaneError>;
}

/// Answers requests until the input ends.
///
/// # Errors
/// Only when the wire itself breaks: a refusal of the reference is an answer.
pub fn serve<R: Reference>(
    reference: &R,
    input: &mut impl BufRead,
    output: &mut impl Write,
) -> io::Result<()> {
    let mut model: Option<R::Model> = None;
    loop {
        let answer = match frame::read_line::<Request>(input) {
            Ok(None) => return Ok(()),
            Ok(Some(request)) => answer(reference, &mut model, request),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(LaneError::bad_request(error.to_string()))
            }
            Err(error) => return Err(error),
        };
        let (result, floats) = match answer {
            Ok((reply, floats)) => (Ok(reply), floats),
            Err(error) => (Err(error), Vec::new()),
        };
        frame::write_response(output, Response { result, floats: 0 }, &floats)?;
    }
}

/// Keeps standard output for the protocol alone: whatever a C++ library prints
/// there from now on goes to standard error.
///
/// # Errors
/// When the descriptors cannot be duplicated.
#[cfg(unix)]
pub fn claim_stdout() -> io::Result<std::fs::File> {
    use std::os::fd::AsFd;
    let wire = io::stdout().as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdout(io::stderr().as_fd())?;
    Ok(std::fs::File::from(wire))
}

/// The standard output: where descriptors cannot be redirected, the library must be silent.
///
/// # Errors
/// Never here.
#[cfg(not(unix))]
pub fn claim_stdout() -> io::Result<io::Stdout> {
    Ok(io::stdout())
}

type Answer = Result<(Reply, Vec<f32>), LaneError>;

fn answer<R: Reference>(reference: &R, open: &mut Option<R::Model>, request: Request) -> Answer {
    match request {
        Request::Hello => Ok((Reply::Hello(reference.hello()), Vec::new())),
        Request::Load(request) => {
            *open = None;
            let start = Instant::now();
            let model = reference.load(&request)?;
            let info = ModelInfo {
                load_ms: milliseconds(start),
                ..model.info()
            };
            *open = Some(model);
            Ok((Reply::Loaded(info), Vec::new()))
        }
        Request::Tokenize(request) => {
            let tokens = opened(open)?.tokenize(&request)?;
            Ok((Reply::Tokens { tokens }, Vec::new()))
        }
        Request::Evaluate(request) => evaluate(opened(open)?, &request),
        Request::Unload => {
            *open = None;
            Ok((Reply::Unloaded, Vec::new()))
        }
    }
}

fn opened<M>(open: &mut Option<M>) -> Result<&mut M, LaneError> {
    open.as_mut()
        .ok_or_else(|| LaneError::bad_request("no model is open: send `load` first"))
}

fn evaluate<M: ReferenceModel>(model: &mut M, request: &EvaluateRequest) -> Answer {
    let info = model.info();
    if request.tokens.is_empty() {
        return Err(LaneError::bad_request("no tokens to evaluate"));
    }
    if let Some(bad) = request
        .tokens
        .iter()
        .find(|t| !in_vocabulary(**t, info.vocabulary))
    {
        return Err(LaneError::bad_request(format!(
            "token {bad} is outside the vocabulary of {} tokens",
            info.vocabulary
        )));
    }
    let mut record = Record::new(if request.layers { info.layers } else { 0 });
    let chunk = match request.feed {
        Feed::Batch => model.batch_limit().max(1),
        Feed::Single => 1,
    };
    model.reset();
    let start = Instant::now();
    for tokens in request.tokens.chunks(chunk) {
        record.push(
            model.step(tokens, record.rows, request.layers)?,
            tokens.len(),
        )?;
    }
    let prefill_ms = milliseconds(start);
    let start = Instant::now();
    let mut greedy = Vec::new();
    for _ in 0..request.greedy {
        let last = &record.logits[record.logits.len() - info.vocabulary..];
        let token = argmax(last);
        greedy.push(token);
        record.push(model.step(&[token], record.rows, request.layers)?, 1)?;
    }
    let evaluation = Evaluation {
        rows: record.rows,
        vocabulary: info.vocabulary,
        layers: record.layers.len(),
        hidden: info.hidden,
        greedy,
        prefill_ms,
        decode_ms: milliseconds(start),
    };
    let mut floats = record.logits;
    floats.extend(record.layers.into_iter().flatten());
    Ok((Reply::Evaluated(evaluation), floats))
}

/// Everything seen so far, in the order in which it is sent.
struct Record {
    rows: usize,
    logits: Vec<f32>,
    layers: Vec<Vec<f32>>,
}

impl Record {
    fn new(layers: usize) -> Self {
        Self {
            rows: 0,
            logits: Vec::new(),
            layers: vec![Vec::new(); layers],
        }
    }

    fn push(&mut self, step: Step, tokens: usize) -> Result<(), LaneError> {
        if step.layers.len() != self.layers.len() {
            return Err(LaneError::failed(format!(
                "the reference showed {} of {} layers",
                step.layers.len(),
                self.layers.len()
            )));
        }
        self.rows += tokens;
        self.logits.extend(step.logits);
        for (layer, values) in self.layers.iter_mut().zip(step.layers) {
            layer.extend(values);
        }
        Ok(())
    }
}

fn in_vocabulary(token: i32, vocabulary: usize) -> bool {
    usize::try_from(token).is_ok_and(|token| token < vocabulary)
}

/// The first of the largest values, as both references choose.
fn argmax(row: &[f32]) -> i32 {
    let mut best = 0;
    for (i, value) in row.iter().enumerate() {
        if *value > row[best] {
            best = i;
        }
    }
    i32::try_from(best).unwrap_or(i32::MAX)
}

fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}
