//! A sequence that is being generated: what the model has read of it, and what it is to read next.

use bitnet_kernels::Output;

use crate::error::Error;
use crate::sampler::Sampler;
use crate::session::Session;

/// A session with the sampler that continues it.
pub(crate) struct Sequence {
    session: Session,
    pub(crate) sampler: Sampler,
    /// Of the prompt, or chosen, and not read by the model yet.
    unread: Vec<u32>,
    pub(crate) out: Output,
}

impl Sequence {
    pub(crate) fn new(session: Session, sampler: Sampler) -> Sequence {
        Sequence {
            session,
            sampler,
            unread: Vec::new(),
            out: Output::default(),
        }
    }

    /// Puts tokens behind what there is, for the next [`Sequence::read`]. Where there is no room
    /// for them, nothing changes.
    pub(crate) fn append(&mut self, tokens: &[u32]) -> Result<(), Error> {
        let (need, have) = (self.len() + tokens.len(), self.session.capacity());
        if need > have {
            return Err(Error::ContextFull { need, have });
        }
        for token in tokens {
            self.sampler.accept(*token);
        }
        self.unread.extend_from_slice(tokens);
        Ok(())
    }

    /// Puts a token that the sampler chose behind what there is.
    pub(crate) fn push(&mut self, token: u32) {
        self.unread.push(token);
    }

    /// Has the model read what it has not read yet; `out` has what the sampler wants then. Where
    /// that fails, everything is as before.
    pub(crate) fn read(&mut self) -> Result<(), Error> {
        let before = self.session.len();
        let want = self.sampler.want();
        let read = self.session.feed(&self.unread, want, &mut self.out);
        match read {
            Ok(()) => self.unread.clear(),
            Err(_) => self.session.truncate(before),
        }
        read
    }

    /// Tokens of the sequence, read or not.
    pub(crate) fn len(&self) -> usize {
        self.session.len() + self.unread.len()
    }

    /// Whether the model has no room for what it has not read yet.
    pub(crate) fn is_full(&self) -> bool {
        self.len() > self.session.capacity()
    }

    pub(crate) fn capacity(&self) -> usize {
        self.session.capacity()
    }
}
