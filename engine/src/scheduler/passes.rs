//! [`Scheduler`]: which sequences read what, pass after pass.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bitnet_kernels::{Candidate, Output, Want};

use super::cache::{Found, Kept, Place, PrefixCache};
use super::logprobs::Logprobs;
use super::options::SchedulerOptions;
use super::request::{Event, Request, RequestId};
use super::share::shares;
use super::store::PrefixStore;
use crate::decoding::Decoding;
use crate::encoder::Encoder;
use crate::engine::Engine;
use crate::error::Error;
use crate::kept::problem::StoreProblem;
use crate::model::Model;
use crate::rows::{Row, Wanted, choice, joint};
use crate::sampler::Sampler;
use crate::sequence::{REWRITTEN, Sequence};
use crate::session::Session;
use crate::speculation::Earlier;

/// Most tokens of prompts of which all logits are wanted in one pass: they take the memory of a
/// vocabulary each.
const MOST_ROWS: usize = 64;

/// Most sequences that are continued at once of which guesses are made: a pass over many costs more
/// with each further token.
const FEW: usize = 4;

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
    store: Option<PrefixStore>,
    /// Answers that guesses are made from, with those of the engine's other sequences.
    earlier: Arc<Earlier>,
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
    /// Most tokens that are guessed at a time.
    speculate: usize,
    sampler: Sampler,
    decoding: Decoding,
    logprobs: Option<usize>,
    prompt_logprobs: Option<usize>,
}

/// A request with its sequence.
struct Running {
    id: RequestId,
    sequence: Sequence,
    max_tokens: usize,
    decoding: Decoding,
    logprobs: Option<usize>,
    prompt_logprobs: Option<usize>,
    /// Whether it takes no part in passes for now.
    held: bool,
    /// Whether its last event was given.
    done: bool,
    /// Lengths at which its prompt is read up to there and the model's state kept, in any order;
    /// none where there is no state.
    stops: Vec<usize>,
}

/// What one of those that run reads in a pass.
#[derive(Clone, Copy)]
struct Part {
    index: usize,
    len: usize,
    /// What is wanted behind each of its last `rows` tokens.
    want: Want,
    rows: usize,
    /// Behind how many of the last of them a token is chosen: behind each guess as long as all
    /// before it were right, and none where more of the prompt follows.
    choosing: usize,
}

impl Scheduler {
    /// Runs requests on `engine`, which others may use between passes.
    pub fn new(engine: &Engine, options: SchedulerOptions) -> Scheduler {
        let model = engine.model();
        let shares = model.with_backend(|backend| backend.sharing().is_some());
        Scheduler {
            cache: PrefixCache::new(if shares { options.cache } else { 0 }),
            model: model.clone(),
            encoder: engine.encoder().clone(),
            context: engine.context().min(options.context),
            options,
            next: 0,
            waiting: VecDeque::new(),
            running: Vec::new(),
            store: None,
            earlier: engine.earlier(),
            tokens: Vec::new(),
            out: Output::default(),
        }
    }

    /// The same scheduler, with files that what is no longer kept in memory goes to, and from which
    /// requests go on. Nothing comes of it where nothing is kept in memory.
    pub fn with_store(self, store: PrefixStore) -> Scheduler {
        Scheduler {
            store: self.cache.is_on().then_some(store),
            ..self
        }
    }

    /// Writes all that is kept into the store, if there is one, waits for it, and closes the store:
    /// nothing is written afterwards. What runs is not among it.
    pub fn write_store(&mut self) {
        put_away(&mut self.store, self.cache.kept(), true);
        if let Some(store) = &mut self.store {
            store.wait();
        }
    }

    /// What has happened to files of the store since this was asked last.
    pub fn store_problems(&mut self) -> Vec<StoreProblem> {
        let store = self.store.as_mut();
        store.map_or_else(Vec::new, PrefixStore::problems)
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
            speculate: options.speculate.min(self.options.speculate),
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
        let guesses = self.guess();
        let parts = self.parts();
        if parts.is_empty() {
            return false;
        }
        let start = Instant::now();
        let read = self.read(&parts);
        let time = start.elapsed();
        if let Err(error) = read {
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
            if !request.has_begun() {
                each(request.id, Event::Read(part.len));
            }
            let own = (row..row + part.rows).map(|row| Row::of(&self.out, row, rows));
            row += part.rows;
            request.tell_prompt(part, own, &mut each);
            if let Some(guesses) = guesses {
                request.sequence.took(guesses, time);
            }
            if part.choosing == 0 && !request.done {
                request.keep_state(&mut each);
            }
            for row in row - part.choosing..row {
                if request.done {
                    break;
                }
                request.choose(&Row::of(&self.out, row, rows), &mut each);
                if !request.sequence.is_ahead() {
                    break;
                }
            }
        }
        self.leave(|request| request.done);
        true
    }

    /// Takes out those of which `leaves` holds, and keeps what was read for them.
    fn leave(&mut self, leaves: impl Fn(&Running) -> bool) {
        let program = &self.model.plan().program;
        for request in self.running.extract_if(.., |request| leaves(request)) {
            if self.cache.is_on() {
                let (session, tokens) = request.sequence.into_read();
                // What cannot be kept is read again.
                let gone = self
                    .cache
                    .keep(program, session, tokens)
                    .unwrap_or_default();
                put_away(&mut self.store, &gone, false);
            }
        }
    }

    /// Keeps a request's beginning from a file, where there is one with more of it than is `found`.
    fn read_from_store(&mut self, at: usize, found: Option<Found>) -> Option<Found> {
        let next = &self.waiting[at];
        if next.prompt_logprobs.is_some() {
            return found;
        }
        let known = match self.leader(next, found) {
            Some((_, common)) => common,
            None => found.map_or(0, |found| found.read),
        };
        let (tokens, capacity) = (next.beginning(), next.capacity(self.context));
        let store = self.store.as_mut()?;
        let Some((session, tokens)) = store.read(tokens, capacity, known, self.cache.share())
        else {
            return found;
        };
        let program = &self.model.plan().program;
        let gone = self
            .cache
            .keep(program, session, tokens)
            .unwrap_or_default();
        put_away(&mut self.store, &gone, false);
        self.found(&self.waiting[at])
    }

    /// Gives those that wait a sequence, in their order, as long as there is room. Who would read
    /// what is being read for another one waits for that, and has its place meanwhile.
    fn join(&mut self, each: &mut impl FnMut(RequestId, Event)) {
        let mut at = 0;
        while self.running.len() + at < self.options.parallel && at < self.waiting.len() {
            let mut found = self.found(&self.waiting[at]);
            if self.store.is_some() {
                found = self.read_from_store(at, found);
            }
            if let Some((leader, common)) = self.leader(&self.waiting[at], found) {
                self.running[leader].stop_at(common);
                at += 1;
                continue;
            }
            let Some(next) = self.waiting.remove(at) else {
                return;
            };
            let id = next.id;
            match self.start(next, found) {
                Ok(running) => {
                    let cached = running.sequence.read_so_far();
                    each(id, Event::Joined { cached });
                    self.running.push(running);
                }
                Err(error) => each(id, Event::Failed(error)),
            }
        }
    }

    /// The sequence, running or kept, of which most can be used for a request; and with which the
    /// request has most in common, used or not.
    fn found(&self, next: &Waiting) -> Option<Found> {
        // What another one has read gives no logits.
        if !self.cache.is_on() || next.prompt_logprobs.is_some() {
            return None;
        }
        let program = &self.model.plan().program;
        let (tokens, capacity) = (next.beginning(), next.capacity(self.context));
        let running = self.beside(next).map(|(index, common)| Found {
            at: Place::Running(index),
            common,
            read: self.running[index].sequence.read_with().fork_point(common),
        });
        let kept = self.cache.find(program, tokens, capacity);
        let found = || running.clone().chain(kept);
        let best = found().max_by_key(|found| found.read)?;
        let common = found().map(|found| found.common).max()?;
        Some(Found { common, ..best })
    }

    /// How much those that run, by their index, have in common with a request.
    fn beside(&self, next: &Waiting) -> impl Iterator<Item = (usize, usize)> + Clone {
        let program = &self.model.plan().program;
        let capacity = next.capacity(self.context);
        let running = self.running.iter().enumerate();
        running.filter_map(move |(index, other)| {
            let alike = program.rotates_alike(other.sequence.capacity(), capacity);
            alike.then(|| (index, other.sequence.begins_with(next.beginning())))
        })
    }

    /// One that runs and is about to read at least half of what a request would have to without it,
    /// by its index, and what both begin with.
    fn leader(&self, next: &Waiting, found: Option<Found>) -> Option<(usize, usize)> {
        let found = found?;
        self.beside(next).find(|(index, common)| {
            let other = &self.running[*index];
            let reads = !other.held && !other.has_begun();
            let more = *common > other.sequence.read_so_far().max(found.read);
            let without = match found.at == Place::Running(*index) {
                true => 0,
                false => found.read,
            };
            reads && more && 2 * (common - without) >= next.beginning().len() - without
        })
    }

    /// Gives a request a sequence: one that goes on where what was found ends, if anything was.
    fn start(&mut self, next: Waiting, found: Option<Found>) -> Result<Running, Error> {
        let capacity = next.capacity(self.context);
        let Found { at, read, common } = found.unwrap_or(Found::NOTHING);
        let fork = match at {
            _ if read == 0 => None,
            Place::Running(index) => {
                let other = self.running[index].sequence.read_with();
                Some(other.fork(read, capacity)?)
            }
            Place::Kept(number) => self.cache.fork(number, read, capacity)?,
        };
        let session = match fork {
            Some(session) => session,
            None => self.model.session(capacity)?,
        };
        let mut stops = Vec::new();
        if self.cache.is_on() && session.keeps_state() {
            // Where others that begin alike go on, and the next turn of a conversation.
            let before_end = next.tokens.len().saturating_sub(REWRITTEN);
            stops.extend([common, before_end].into_iter().filter(|stop| *stop > read));
        }
        let begun = next.tokens[..session.len()].to_vec();
        // On a GPU, bits depend on how many tokens a pass reads; a state cannot be taken back.
        let exact = self.model.is_on_cpu() && !session.keeps_state();
        // What a grammar allows behind a guess is not known before the guess is.
        let exact = exact && !next.decoding.is_held();
        let guesses = if exact { next.speculate } else { 0 };
        let sequence = Sequence::continuing(session, begun, next.sampler);
        let mut sequence = sequence.speculating(guesses, &self.earlier);
        sequence.rewrite(&next.tokens, next.max_tokens)?;
        let mut decoding = next.decoding;
        decoding.begin(&mut sequence)?;
        Ok(Running {
            id: next.id,
            sequence,
            max_tokens: next.max_tokens,
            decoding,
            logprobs: next.logprobs,
            prompt_logprobs: next.prompt_logprobs,
            held: false,
            done: false,
            stops,
        })
    }

    /// Guesses what follows the sequences that are being continued, where they are few and no
    /// prompt is read: how many guesses there are then.
    fn guess(&mut self) -> Option<usize> {
        let taking_part = self.running.iter_mut().filter(|request| !request.held);
        let mut taking_part: Vec<&mut Running> = taking_part.collect();
        let count = taking_part.len();
        let pays = count <= FEW && taking_part.iter().all(|request| request.has_one());
        for request in &mut taking_part {
            let more = request.max_tokens - request.decoding.generated.tokens.len();
            match pays {
                true => request.sequence.guess(more, count - 1),
                false => request.sequence.guess_nothing(),
            }
        }
        let guesses = taking_part
            .iter()
            .map(|request| request.sequence.guesses().len());
        pays.then(|| guesses.sum())
    }

    /// What is read in the next pass: a token of each sequence that is being continued with what is
    /// guessed to follow it, and shares of the prompts, and of what grammars have put behind
    /// answers.
    fn parts(&self) -> Vec<Part> {
        let left = |request: &Running| match request.held {
            true => 0,
            false => request.until_stop(),
        };
        let has_one = Running::has_one;
        let continued = self.running.iter();
        let continued = continued.filter(|request| has_one(request) && !request.held);
        let budget = self.options.for_prompts(continued.count());
        let prompts = self.running.iter().filter(|request| !has_one(request));
        let telling = prompts.clone().filter(|request| request.tells_prompt());
        let most = (MOST_ROWS / telling.count().max(1)).max(1);
        let most = |request: &Running| match request.tells_prompt() {
            true => left(request).min(most),
            false => left(request),
        };
        let prompts = shares(&prompts.map(most).collect::<Vec<_>>(), budget);
        let mut prompts = prompts.into_iter();
        let part = |(index, request): (usize, &Running)| {
            let len = match has_one(request) {
                true => left(request).min(1) * (1 + request.sequence.guesses().len()),
                false => prompts.next().unwrap_or(0),
            };
            let choosing = match has_one(request) {
                true => len,
                false => usize::from(len == request.sequence.unread().len()),
            };
            let (want, rows) = match choosing {
                _ if request.tells_prompt() => (Want::Logits, len),
                0 => (Want::Nothing, 0),
                _ => (request.wants(), choosing),
            };
            Part {
                index,
                len,
                want,
                rows,
                choosing,
            }
        };
        let parts = self.running.iter().enumerate().map(part);
        parts.filter(|part| part.len > 0).collect()
    }

    fn read(&mut self, parts: &[Part]) -> Result<(), Error> {
        self.tokens.clear();
        let mut selected = Vec::new();
        let mut want = Want::Nothing;
        let mut choices = Vec::with_capacity(parts.len());
        let mut reading: Vec<&mut Session> = Vec::with_capacity(parts.len());
        let mut wanted = parts.iter().peekable();
        for (index, request) in self.running.iter_mut().enumerate() {
            let Some(part) = wanted.next_if(|part| part.index == index) else {
                continue;
            };
            let next = request.sequence.unread().iter();
            let next = next.chain(request.sequence.guesses());
            self.tokens.extend(next.take(part.len));
            selected.resize(self.tokens.len() - part.rows, false);
            selected.resize(self.tokens.len(), true);
            want = joint(want, part.want);
            let (session, allowed) = request.sequence.session();
            choices.extend(std::iter::repeat_n(choice(part.want, allowed), part.rows));
            reading.push(session);
        }
        self.model.pass(
            &mut reading,
            |index| parts[index].len,
            &self.tokens,
            |at| selected[at],
            Wanted::of(want, &choices),
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

/// Has sequences written.
fn put_away(store: &mut Option<PrefixStore>, kept: &[Kept], waits: bool) {
    if let Some(store) = store {
        for Kept {
            session, tokens, ..
        } in kept
        {
            store.write(session, tokens, waits);
        }
    }
}

impl Waiting {
    /// Positions of its sequence.
    fn capacity(&self, context: usize) -> usize {
        context.min(self.tokens.len().saturating_add(self.max_tokens))
    }

    /// Its tokens but for the last, which is read in any case: its logits are what comes next.
    fn beginning(&self) -> &[u32] {
        &self.tokens[..self.tokens.len() - 1]
    }
}

impl Running {
    /// Whether what is read of its prompt is told.
    fn tells_prompt(&self) -> bool {
        self.prompt_logprobs.is_some() && !self.has_begun()
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

    /// Whether its prompt is read, and a token chosen.
    fn has_begun(&self) -> bool {
        !self.decoding.generated.tokens.is_empty()
    }

    /// Whether a token of its answer is all that it has to read.
    fn has_one(&self) -> bool {
        self.has_begun() && self.sequence.unread().len() < 2
    }

    /// Has its model's state kept, if it has one, once this many tokens of the prompt are read.
    fn stop_at(&mut self, tokens: usize) {
        if self.sequence.read_with().keeps_state() && !self.stops.contains(&tokens) {
            self.stops.push(tokens);
        }
    }

    /// How many tokens are to be read before the state is kept or a token chosen.
    fn until_stop(&self) -> usize {
        let read = self.sequence.read_so_far();
        let stops = self.stops.iter().filter_map(|stop| stop.checked_sub(read));
        let next = stops.filter(|left| *left > 0).min();
        let unread = self.sequence.unread().len();
        next.map_or(unread, |next| next.min(unread))
    }

    /// Keeps the state where that is to be done.
    fn keep_state(&mut self, each: &mut impl FnMut(RequestId, Event)) {
        if !self.stops.contains(&self.sequence.read_so_far()) {
            return;
        }
        if let Err(error) = self.sequence.session().0.checkpoint() {
            self.fail(error, each);
        }
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
        let Sequence { sampler, out, .. } = &mut self.sequence;
        row.give(want, sampler.allowed(), out);
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
        // What a grammar forces is read together, unless the logits behind each token are wanted.
        while self.logprobs.is_none()
            && let Some(piece) = self.decoding.next_forced(&mut self.sequence)
        {
            let (piece, logprobs) = (piece?, None);
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
