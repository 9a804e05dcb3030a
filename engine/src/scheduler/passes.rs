//! [`Scheduler`]: which sequences read what, pass after pass.

use std::collections::VecDeque;
use std::sync::Arc;

use bitnet_kernels::{Candidate, Output, Want};

use super::cache::PrefixCache;
use super::logprobs::Logprobs;
use super::options::SchedulerOptions;
use super::request::{Event, Request, RequestId};
use super::share::shares;
use crate::decoding::Decoding;
use crate::encoder::Encoder;
use crate::engine::Engine;
use crate::error::Error;
use crate::model::Model;
use crate::rows::{Row, joint};
use crate::sampler::Sampler;
use crate::sequence::Sequence;
use crate::session::Session;

/// Most tokens of prompts of which all logits are wanted in one pass: they take the memory of a
/// vocabulary each.
const MOST_ROWS: usize = 64;

/// Runs requests side by side, a forward pass at a time. It does nothing between calls of
/// [`Scheduler::pass`], has no thread of its own, and gives caches back as requests end.
pub struct Scheduler {
    model: Model,
    encoder: Encoder,
    options: SchedulerOptions,
    context: usize,
    next: u64,
    waiting: VecDeque<Waiting>,
    running: Vec<Running>,
    cache: PrefixCache,
    tokens: Vec<u32>,
    out: Output,
}

/// How much there is to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Load {
    /// Requests that take part in passes.
    pub running: usize,
    /// Requests that wait for one of them to end.
    pub waiting: usize,
    /// Positions of the caches of those that run.
    pub positions: usize,
    /// How many of these hold a token.
    pub used: usize,
    /// Bytes of what is kept of requests that ended.
    pub cached: usize,
}

/// A request that has no sequence yet.
struct Waiting {
    id: RequestId,
    tokens: Vec<u32>,
    max_tokens: usize,
    sampler: Sampler,
    decoding: Decoding,
    logprobs: Option<usize>,
    prompt_logprobs: Option<usize>,
}

/// A request with its sequence.
struct Running {
    id: RequestId,
    sequence: Sequence,
    decoding: Decoding,
    logprobs: Option<usize>,
    prompt_logprobs: Option<usize>,
    /// Whether it takes no part in passes for now.
    held: bool,
    /// Whether its last event was given.
    done: bool,
}

/// What one of those that run reads in a pass.
#[derive(Clone, Copy)]
struct Part {
    index: usize,
    len: usize,
    /// What is wanted behind each of its last `rows` tokens.
    want: Want,
    rows: usize,
    /// Whether a token is chosen behind the last; not where more of the prompt follows.
    chooses: bool,
}

impl Scheduler {
    /// Runs requests on `engine`, which others may use between passes.
    pub fn new(engine: &Engine, options: SchedulerOptions) -> Scheduler {
        let model = engine.model();
        let keeps = !model.plan().program.has_state() && model.is_on_cpu();
        Scheduler {
            cache: PrefixCache::new(if keeps { options.cache } else { 0 }),
            model: model.clone(),
            encoder: engine.encoder().clone(),
            context: engine.context().min(options.context),
            options,
            next: 0,
            waiting: VecDeque::new(),
            running: Vec::new(),
            tokens: Vec::new(),
            out: Output::default(),
        }
    }

    /// Most tokens of a sequence.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Adds a request behind those that wait. It takes part from the next pass on where there is
    /// room.
    ///
    /// # Errors
    /// [`Error::EmptyPrompt`], [`Error::ContextFull`] where the prompt alone is longer than the
    /// context, [`Error::Token`] where a token is outside the vocabulary, and [`Error::Sampling`]
    /// where a setting is out of its range.
    pub fn add(&mut self, request: Request<'_>) -> Result<RequestId, Error> {
        let tokens = request.tokens;
        if tokens.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        let (need, have) = (tokens.len(), self.context);
        if need > have {
            return Err(Error::ContextFull { need, have });
        }
        let vocabulary = self.model.config().vocabulary;
        if let Some(&id) = tokens.iter().find(|id| **id as usize >= vocabulary) {
            return Err(Error::Token { id, vocabulary });
        }
        let ends = request.ends.to_vec();
        let options = &request.options;
        let id = RequestId(self.next);
        self.next += 1;
        self.waiting.push_back(Waiting {
            id,
            tokens: tokens.to_vec(),
            max_tokens: options.max_tokens,
            sampler: options.new_sampler()?,
            decoding: Decoding::new(&self.encoder.tokenizer, ends, options, have - need),
            logprobs: request.logprobs,
            prompt_logprobs: request.prompt_logprobs,
        });
        Ok(id)
    }

    /// Ends a request, running or waiting, without another event. Whether there was such a request.
    pub fn cancel(&mut self, id: RequestId) -> bool {
        let before = self.waiting.len() + self.running.len();
        self.waiting.retain(|request| request.id != id);
        self.leave(|request| request.id == id);
        self.waiting.len() + self.running.len() < before
    }

    /// Has a request that runs take no part in passes, or take part again. It keeps its place, and
    /// what it gives is the same. One that waits, or is unknown, does so still.
    pub fn hold(&mut self, id: RequestId, held: bool) {
        if let Some(request) = self.running.iter_mut().find(|request| request.id == id) {
            request.held = held;
        }
    }

    /// Whether there is nothing to do.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// How much there is to do.
    pub fn load(&self) -> Load {
        let sequences = || self.running.iter().map(|request| &request.sequence);
        Load {
            running: self.running.len(),
            waiting: self.waiting.len(),
            positions: sequences().map(Sequence::capacity).sum(),
            used: sequences().map(Sequence::len).sum(),
            cached: self.cache.bytes(),
        }
    }

    /// Lets requests join, makes one forward pass, and calls `each` with what became of them.
    /// Whether there was anything to read.
    pub fn pass(&mut self, mut each: impl FnMut(RequestId, Event)) -> bool {
        self.join(&mut each);
        let parts = self.parts();
        if parts.is_empty() {
            return false;
        }
        if let Err(error) = self.read(&parts) {
            // Nobody can tell whose fault it was, and the state of each is unknown.
            let error = Arc::new(error);
            for request in self.running.drain(..) {
                each(request.id, Event::Failed(Error::Pass(Arc::clone(&error))));
            }
            return true;
        }
        let rows = parts.iter().map(|part| part.rows).sum();
        let mut row = 0;
        for part in &parts {
            let request = &mut self.running[part.index];
            if request.decoding.generated.tokens.is_empty() {
                each(request.id, Event::Read(part.len));
            }
            let own = (row..row + part.rows).map(|row| Row::of(&self.out, row, rows));
            row += part.rows;
            request.tell_prompt(part, own, &mut each);
            if part.chooses && !request.done {
                request.choose(&Row::of(&self.out, row - 1, rows), &mut each);
            }
        }
        self.leave(|request| request.done);
        true
    }

    /// Takes out those of which `leaves` holds, and keeps what was read for them.
    fn leave(&mut self, leaves: impl Fn(&Running) -> bool) {
        for request in self.running.extract_if(.., |request| leaves(request)) {
            if self.cache.is_on() {
                let (session, tokens) = request.sequence.into_read();
                self.cache.keep(session, tokens);
            }
        }
    }

    /// Gives those that wait a sequence, in their order, as long as there is room.
    fn join(&mut self, each: &mut impl FnMut(RequestId, Event)) {
        while self.running.len() < self.options.parallel {
            let Some(next) = self.waiting.pop_front() else {
                return;
            };
            let id = next.id;
            match next.start(&self.model, self.context, &mut self.cache) {
                Ok(running) => {
                    let cached = running.sequence.read_so_far();
                    each(id, Event::Joined { cached });
                    self.running.push(running);
                }
                Err(error) => each(id, Event::Failed(error)),
            }
        }
    }

    /// What is read in the next pass: a token of each sequence that is being continued, and shares
    /// of the prompts.
    fn parts(&self) -> Vec<Part> {
        let left = |request: &Running| match request.held {
            true => 0,
            false => request.sequence.unread().len(),
        };
        let started = |request: &Running| !request.decoding.generated.tokens.is_empty();
        let continued = self.running.iter();
        let continued = continued.filter(|request| started(request) && !request.held);
        let budget = self.options.for_prompts(continued.count());
        let prompts = self.running.iter().filter(|request| !started(request));
        let telling = prompts.clone().filter(|request| request.tells_prompt());
        let most = (MOST_ROWS / telling.count().max(1)).max(1);
        let most = |request: &Running| match request.tells_prompt() {
            true => left(request).min(most),
            false => left(request),
        };
        let prompts = shares(&prompts.map(most).collect::<Vec<_>>(), budget);
        let mut prompts = prompts.into_iter();
        let part = |(index, request): (usize, &Running)| {
            let len = match started(request) {
                true => left(request).min(1),
                false => prompts.next().unwrap_or(0),
            };
            let chooses = len == left(request);
            let (want, rows) = match chooses {
                _ if request.tells_prompt() => (Want::Logits, len),
                true => (request.wants(), 1),
                false => (Want::Nothing, 0),
            };
            Part {
                index,
                len,
                want,
                rows,
                chooses,
            }
        };
        let parts = self.running.iter().enumerate().map(part);
        parts.filter(|part| part.len > 0).collect()
    }

    fn read(&mut self, parts: &[Part]) -> Result<(), Error> {
        self.tokens.clear();
        let mut selected = Vec::new();
        let mut want = Want::Nothing;
        let mut reading: Vec<&mut Session> = Vec::with_capacity(parts.len());
        let mut wanted = parts.iter().peekable();
        for (index, request) in self.running.iter_mut().enumerate() {
            let Some(part) = wanted.next_if(|part| part.index == index) else {
                continue;
            };
            let unread = &request.sequence.unread()[..part.len];
            self.tokens.extend_from_slice(unread);
            selected.resize(self.tokens.len() - part.rows, false);
            selected.resize(self.tokens.len(), true);
            want = joint(want, part.want);
            reading.push(request.sequence.session());
        }
        self.model.pass(
            &mut reading,
            |index| parts[index].len,
            &self.tokens,
            |at| selected[at],
            want,
            &mut self.out,
        )
    }
}

impl std::fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scheduler")
            .field("options", &self.options)
            .field("load", &self.load())
            .finish_non_exhaustive()
    }
}

impl Waiting {
    fn start(
        self,
        model: &Model,
        context: usize,
        cache: &mut PrefixCache,
    ) -> Result<Running, Error> {
        let wanted = self.tokens.len().saturating_add(self.max_tokens);
        let capacity = match cache.is_on() {
            true => roomy(model, wanted, context),
            false => context.min(wanted),
        };
        // What another request has read gives no logits.
        let kept = match self.prompt_logprobs {
            None => cache.take(&self.tokens, capacity),
            Some(_) => None,
        };
        let mut sequence = match kept {
            Some((session, tokens)) => Sequence::continuing(session, tokens, self.sampler),
            None => Sequence::new(model.session(capacity)?, self.sampler),
        };
        sequence.rewrite(&self.tokens, self.max_tokens)?;
        Ok(Running {
            id: self.id,
            sequence,
            decoding: self.decoding,
            logprobs: self.logprobs,
            prompt_logprobs: self.prompt_logprobs,
            held: false,
            done: false,
        })
    }
}

/// The capacity of a sequence of `wanted` tokens that will be kept: room for any other, since pages
/// that are not written to take no memory, but none where positions are rotated in another way.
fn roomy(model: &Model, wanted: usize, context: usize) -> usize {
    let rotations = model.plan().program.rotations.iter();
    let ends = rotations.filter_map(|rotation| Some(rotation.long.as_ref()?.beyond));
    let end = ends.filter(|end| *end >= wanted).min();
    end.map_or(context, |end| end.min(context))
}

impl Running {
    /// Whether what is read of its prompt is told.
    fn tells_prompt(&self) -> bool {
        self.prompt_logprobs.is_some() && self.decoding.generated.tokens.is_empty()
    }

    /// Tells of the tokens of the prompt that stand behind those that were read, by their rows.
    fn tell_prompt<'o>(
        &mut self,
        part: &Part,
        rows: impl Iterator<Item = Row<'o>>,
        each: &mut impl FnMut(RequestId, Event),
    ) {
        let Some(best) = self.prompt_logprobs.filter(|_| self.tells_prompt()) else {
            return;
        };
        let next = self.sequence.read_so_far() - part.len + 1;
        let told = self.sequence.tokens()[next..].iter().zip(rows);
        let told = told.map(|(token, row)| Logprobs::of(*token, &row, best));
        match told.collect::<Result<Vec<Logprobs>, Error>>() {
            Ok(told) if told.is_empty() => {}
            Ok(told) => each(self.id, Event::Prompt(told)),
            Err(error) => self.fail(error, each),
        }
    }

    fn fail(&mut self, error: Error, each: &mut impl FnMut(RequestId, Event)) {
        self.done = true;
        each(self.id, Event::Failed(error));
    }

    /// What a pass is asked for on its behalf.
    fn wants(&self) -> Want {
        match self.logprobs {
            Some(_) => Want::Logits,
            None => self.decoding.wants(&self.sequence.sampler),
        }
    }

    /// Chooses a token from what a pass gave, and tells of it.
    fn choose(&mut self, row: &Row<'_>, each: &mut impl FnMut(RequestId, Event)) {
        if let Err(error) = self.try_to_choose(row, each) {
            return self.fail(error, each);
        }
        if self.decoding.has_ended() {
            let generated = std::mem::take(&mut self.decoding.generated);
            each(self.id, Event::Ended(generated));
            self.done = true;
        }
    }

    fn try_to_choose(
        &mut self,
        row: &Row<'_>,
        each: &mut impl FnMut(RequestId, Event),
    ) -> Result<(), Error> {
        let want = self.decoding.wants(&self.sequence.sampler);
        row.give(want, &mut self.sequence.out);
        let piece = self.decoding.choose(&mut self.sequence)?;
        let logprobs = |token: Option<Candidate>| {
            let asked = self.logprobs.zip(token);
            let told = asked.map(|(best, token)| Logprobs::of(token.id, row, best));
            told.transpose()
        };
        if let Some(piece) = piece {
            let logprobs = logprobs(piece.token)?;
            each(self.id, Event::Piece { piece, logprobs });
        }
        if let Some(token) = self.decoding.generated.end
            && let Some(logprobs) = logprobs(Some(token))?
        {
            let token = token.id;
            each(self.id, Event::End { token, logprobs });
        }
        Ok(())
    }
}
