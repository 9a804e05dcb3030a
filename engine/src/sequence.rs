//! A sequence that is being generated: what the model has read of it, and what it is to read next.

use bitnet_kernels::{Output, Want};

use crate::error::Error;
use crate::sampler::Sampler;
use crate::session::Session;

/// Tokens at the end of a prompt that a template may write otherwise once an answer stands behind
/// them: the mark of an answer, and of thoughts that later turns leave out.
const REWRITTEN: usize = 16;

/// A session with its tokens, and the sampler that continues it. The model has read the first
/// `session.len()` of the tokens.
pub(crate) struct Sequence {
    session: Session,
    tokens: Vec<u32>,
    /// Whether its end will be rewritten, turn after turn.
    in_turns: bool,
    pub(crate) sampler: Sampler,
    pub(crate) out: Output,
}

impl Sequence {
    pub(crate) fn new(session: Session, sampler: Sampler) -> Sequence {
        Sequence {
            session,
            tokens: Vec::new(),
            in_turns: false,
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

    /// The session, and the tokens that the model has read.
    pub(crate) fn into_read(mut self) -> (Session, Vec<u32>) {
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
        let pairs = self.tokens.iter().zip(tokens);
        let shared = pairs.take_while(|(own, new)| own == new).count();
        // The last token is read in any case: its logits are what comes next.
        self.session.truncate(shared.min(need.saturating_sub(1)));
        self.tokens.truncate(shared);
        // What was chosen may be no part of them: the token that ended an answer, turns taken back.
        self.sampler.forget();
        for token in tokens {
            self.sampler.accept(*token);
        }
        self.tokens.reserve(need - shared + more.min(have - need));
        self.tokens.extend_from_slice(&tokens[shared..]);
        Ok(())
    }

    /// Puts a token that the sampler chose behind what there is.
    pub(crate) fn push(&mut self, token: u32) {
        self.tokens.push(token);
    }

    /// Has the model read what it has not read yet, one batch of it at most. Whether that was all:
    /// `out` has what is wanted then. Where it fails, everything is as before.
    pub(crate) fn read(&mut self, want: Want) -> Result<bool, Error> {
        let before = self.session.len();
        let read = self.read_from(before, want);
        if read.is_err() {
            self.session.truncate(before);
        }
        read
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
        self.session.feed(batch, want, &mut self.out)?;
        Ok(all)
    }

    /// What the model has not read yet.
    pub(crate) fn unread(&self) -> &[u32] {
        &self.tokens[self.session.len()..]
    }

    /// The session, to be read with by whoever reads for several sequences at once.
    pub(crate) fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// How many of its tokens the model has read.
    pub(crate) fn read_so_far(&self) -> usize {
        self.session.len()
    }

    /// Tokens, read or not.
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
