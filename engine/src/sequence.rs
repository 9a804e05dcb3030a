//! A sequence that is being generated: what the model has read of it, and what it is to read next.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bitnet_kernels::{Output, TokenSet, Want};

use crate::ahead::Ahead;
use crate::error::Error;
use crate::generate_options::GenerateOptions;
use crate::rows::{Wanted, choice};
use crate::sampler::Sampler;
use crate::session::Session;
use crate::speculation::{Earlier, Speculation};

/// Tokens at the end of a prompt that a template may write otherwise once an answer stands behind
/// them: the mark of an answer, and of thoughts that later turns leave out.
pub(crate) const REWRITTEN: usize = 16;

/// Most tokens of a pass over guesses.
const MOST_OF_A_PASS: usize = 1 + GenerateOptions::MOST_SPECULATED;

/// A session with its tokens, and the sampler that continues it. The model has read the first
/// `session.len()` of the tokens; perhaps all of them, and guesses or what was best behind them.
pub(crate) struct Sequence {
    session: Session,
    tokens: Vec<u32>,
    /// Whether its end will be rewritten, turn after turn.
    in_turns: bool,
    speculation: Option<Speculation>,
    ahead: Ahead,
    pub(crate) sampler: Sampler,
    pub(crate) out: Output,
}

impl Sequence {
    pub(crate) fn new(session: Session, sampler: Sampler) -> Sequence {
        Sequence {
            session,
            tokens: Vec::new(),
            in_turns: false,
            speculation: None,
            ahead: Ahead::new(),
            sampler,
            out: Output::default(),
        }
    }

    /// A session that has read `tokens`, to be rewritten.
    pub(crate) fn continuing(session: Session, tokens: Vec<u32>, sampler: Sampler) -> Sequence {
        Sequence {
            tokens,
            ..Sequence::new(session, sampler)
        }
    }

    /// The same sequence, of which up to `most` tokens at a time are guessed, from itself and from
    /// `earlier` answers, and read ahead.
    pub(crate) fn speculating(self, most: usize, earlier: &Arc<Earlier>) -> Sequence {
        Sequence {
            speculation: (most > 0).then(|| Speculation::new(most, earlier)),
            ..self
        }
    }

    /// The session, and the tokens that the model has read.
    pub(crate) fn into_read(mut self) -> (Session, Vec<u32>) {
        self.session.truncate(self.tokens.len());
        self.tokens.truncate(self.session.len());
        (self.session, self.tokens)
    }

    /// The sequence of a conversation: each turn rewrites what the one before ended with.
    pub(crate) fn in_turns(self) -> Sequence {
        Sequence {
            in_turns: true,
            ..self
        }
    }

    /// Makes these its tokens, and keeps what the model has read of the beginning that they share
    /// with those there were. There will be room for `more` without an allocation. Where the model
    /// has no room for them, nothing changes.
    pub(crate) fn rewrite(&mut self, tokens: &[u32], more: usize) -> Result<(), Error> {
        let (need, have) = (tokens.len(), self.session.capacity());
        if need > have {
            return Err(Error::ContextFull { need, have });
        }
        let shared = shared(&self.tokens, tokens);
        // The last token is read in any case: its logits are what comes next.
        self.session.truncate(shared.min(need.saturating_sub(1)));
        self.tokens.truncate(shared);
        // What was chosen may be no part of them: the token that ended an answer, turns taken back.
        self.sampler.forget();
        for token in tokens {
            self.sampler.accept(*token);
        }
        let more = more.min(have - need);
        self.tokens.reserve(need - shared + more);
        self.tokens.extend_from_slice(&tokens[shared..]);
        self.ahead.forget();
        if let Some(speculation) = &mut self.speculation {
            speculation.begin(need + more, shared);
        }
        Ok(())
    }

    /// Puts a token that the sampler chose behind what there is. Whether it was guessed, and the
    /// model has read it already.
    pub(crate) fn push(&mut self, token: u32) -> bool {
        let guessed = match &mut self.speculation {
            Some(speculation) => speculation.chosen(token),
            None => false,
        };
        if !self.ahead.chosen(token) && !guessed {
            self.session.truncate(self.tokens.len());
        }
        self.tokens.push(token);
        guessed
    }

    /// Has the model read what it has not read yet, one batch of it at most. Whether that was all:
    /// `out` has what is wanted then. Up to `more` tokens will be chosen. Where it fails,
    /// everything is as before.
    pub(crate) fn read(&mut self, want: Want, more: usize) -> Result<bool, Error> {
        // What was read ahead is of all tokens.
        let of_all = self.sampler.allowed().is_none();
        if of_all && want == Want::Top(1) && self.ahead.next(&mut self.out) {
            return Ok(true);
        }
        if let Some(speculation) = &mut self.speculation {
            let told = want == Want::Logits || of_all;
            if told && speculation.next(want, &mut self.out) {
                return Ok(true);
            }
            speculation.forget();
        }
        if self.session.len() >= self.tokens.len() {
            // What was read ahead tells something else than is wanted.
            self.ahead.forget();
            self.session.truncate(self.tokens.len().saturating_sub(1));
        }
        let before = self.session.len();
        let read = match self.unread() {
            [token] => self.read_one(*token, want, more).map(|()| true),
            _ => self.read_from(before, want),
        };
        if read.is_err() {
            self.session.truncate(before);
        }
        read
    }

    /// Has the model read the last token, and guesses of what follows it.
    fn read_one(&mut self, token: u32, want: Want, more: usize) -> Result<(), Error> {
        let choices = [choice(want, self.sampler.allowed())];
        let wanted = Wanted::of(want, &choices);
        let run = match want {
            Want::Top(1) if wanted.choices.is_empty() => self.ahead.run(),
            _ => 0,
        };
        let run = run
            .min(more)
            .min(self.session.capacity() - self.session.len());
        let Some(speculation) = &mut self.speculation else {
            return match run {
                0 => self.session.feed_wanted(&[token], wanted, &mut self.out),
                _ => self.read_ahead(token, run).map(|_| ()),
            };
        };
        let most = match self.sampler.allowed().is_some() {
            // What a grammar allows behind a guess is not known before the guess is.
            true => 0,
            false => room_for_guesses(&self.session, &self.tokens, more),
        };
        let start = Instant::now();
        let mut pass = [token; MOST_OF_A_PASS];
        let guesses = speculation.guess(&self.tokens, most, 0);
        let count = 1 + guesses.len();
        pass[1..count].copy_from_slice(guesses);
        if count == 1 && run > 0 {
            let read = self.read_ahead(token, run)?;
            self.took(0, start.elapsed() / read as u32);
            return Ok(());
        }
        self.ahead.forget();
        if count == 1 {
            let out = &mut self.out;
            self.session.feed_wanted(&pass[..1], wanted, out)?;
        } else {
            self.session
                .feed_rows(&pass[..count], want, speculation.rows(want))?;
        }
        speculation.took(count - 1, start.elapsed());
        speculation.next(want, &mut self.out);
        Ok(())
    }

    /// Has the model read the last token, and up to `run` with those that are best behind it. How
    /// many it has read.
    fn read_ahead(&mut self, token: u32, run: usize) -> Result<usize, Error> {
        self.session.feed_greedy(token, run, &mut self.out)?;
        let read = self.out.top.len();
        self.ahead.ran(&mut self.out);
        Ok(read)
    }

    /// Guesses what follows the last token, for a pass that whoever reads for several sequences at
    /// once makes, and that continues so many sequences `beside` this one. Up to `more` tokens will
    /// be chosen.
    pub(crate) fn guess(&mut self, more: usize, beside: usize) {
        if let Some(speculation) = &mut self.speculation {
            let most = room_for_guesses(&self.session, &self.tokens, more);
            speculation.guess(&self.tokens, most, beside);
        }
    }

    /// Makes no guess for the next pass.
    pub(crate) fn guess_nothing(&mut self) {
        if let Some(speculation) = &mut self.speculation {
            speculation.forget();
        }
    }

    /// What was guessed for the next pass.
    pub(crate) fn guesses(&self) -> &[u32] {
        let speculation = self.speculation.as_ref();
        speculation.map_or(&[], |speculation| speculation.drafted())
    }

    /// Notes how long a pass with so many guesses, those for other sequences among them, took.
    pub(crate) fn took(&mut self, guesses: usize, time: Duration) {
        if let Some(speculation) = &mut self.speculation {
            speculation.took(guesses, time);
        }
    }

    /// Keeps its last `answer` tokens, an answer that has ended, for guesses of what others say.
    pub(crate) fn keep_answer(&self, answer: usize) {
        if let Some(speculation) = &self.speculation {
            speculation.keep(&self.tokens, answer);
        }
    }

    /// Whether the model has read all tokens, by a guess that was right.
    pub(crate) fn is_ahead(&self) -> bool {
        self.session.len() >= self.tokens.len()
    }

    /// In a conversation, a model with a state leaves checkpoints before what may be rewritten: a
    /// turn, each batch of it, and the end of what was said in it.
    fn read_from(&mut self, before: usize, want: Want) -> Result<bool, Error> {
        let unread = &self.tokens[before..];
        let mut most = self.session.batch();
        if self.in_turns && self.session.keeps_state() && unread.len() > 1 {
            self.session.checkpoint()?;
            if unread.len() > 2 * REWRITTEN {
                most = most.min(unread.len() - REWRITTEN);
            }
        }
        let batch = &unread[..unread.len().min(most)];
        let all = batch.len() == unread.len();
        let want = if all { want } else { Want::Nothing };
        let choices = [choice(want, self.sampler.allowed())];
        let wanted = Wanted::of(want, &choices);
        self.session.feed_wanted(batch, wanted, &mut self.out)?;
        Ok(all)
    }

    /// How many of `tokens`, from the first on, it begins with, read or not.
    pub(crate) fn begins_with(&self, tokens: &[u32]) -> usize {
        shared(&self.tokens, tokens)
    }

    /// What the model has not read yet.
    pub(crate) fn unread(&self) -> &[u32] {
        &self.tokens[self.session.len()..]
    }

    /// The session with what the model has read.
    pub(crate) fn read_with(&self) -> &Session {
        &self.session
    }

    /// The session, to be read with by whoever reads for several sequences at once, and what the
    /// next token is chosen among.
    pub(crate) fn session(&mut self) -> (&mut Session, Option<&TokenSet>) {
        (&mut self.session, self.sampler.allowed())
    }

    /// How many of its tokens the model has read.
    pub(crate) fn read_so_far(&self) -> usize {
        self.session.len()
    }

    /// Its tokens, read or not.
    pub(crate) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether the model has no room for what it has not read yet.
    pub(crate) fn is_full(&self) -> bool {
        self.len() > self.capacity()
    }

    pub(crate) fn capacity(&self) -> usize {
        self.session.capacity()
    }
}

/// How many guesses have room in a pass over the last of `tokens`: another token is chosen behind
/// those that are right.
fn room_for_guesses(session: &Session, tokens: &[u32], more: usize) -> usize {
    let room = session.capacity() - tokens.len();
    room.min(session.batch() - 1)
        .min(more.saturating_sub(1))
        .min(MOST_OF_A_PASS - 1)
}

/// Tokens of the beginning that two sequences share.
pub(crate) fn shared(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
