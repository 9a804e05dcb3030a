//! One answer on its way from chosen tokens to text.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bitnet_files::{Hasher, Sha256Hex};
use bitnet_kernels::{Candidate, Output, TokenSet, Want};
use bitnet_tokenizers::{StreamDecoder, Tokenizer};
use smol_str::SmolStr;

use crate::constraint::Guide;
use crate::error::Error;
use crate::generate_options::GenerateOptions;
use crate::generated::{Generated, Piece, StopReason};
use crate::sampler::Sampler;
use crate::sequence::Sequence;
use crate::stop::StopStrings;

/// Bytes of text for which there is room from the start, per token.
const BYTES_PER_TOKEN: usize = 8;

/// Reads, chooses and decodes, a token at a time, until something ends it.
pub(crate) struct Decoding {
    decoder: StreamDecoder<Arc<Tokenizer>>,
    stops: StopStrings,
    ends: Vec<u32>,
    max_tokens: usize,
    min_tokens: usize,
    digests: bool,
    started: bool,
    failed: bool,
    guide: Option<Guide>,
    /// Tokens that the grammar leaves no choice about, to be put behind what there is.
    forced: VecDeque<u32>,
    pub(crate) generated: Generated,
}

impl Decoding {
    /// Nothing is read yet; it ends at the tokens `ends`, at the latest. Memory for `remaining`
    /// tokens is allocated here, so that nothing grows on the way.
    pub(crate) fn new(
        tokenizer: &Arc<Tokenizer>,
        ends: Vec<u32>,
        options: &GenerateOptions,
        remaining: usize,
    ) -> Decoding {
        let remaining = remaining.min(options.max_tokens);
        Decoding {
            decoder: StreamDecoder::new(Arc::clone(tokenizer)),
            stops: StopStrings::new(&options.stop),
            ends: options.ends(ends),
            max_tokens: options.max_tokens,
            min_tokens: options.min_tokens,
            digests: options.digests,
            started: false,
            failed: false,
            guide: options.constraint.as_ref().map(Guide::new),
            forced: VecDeque::new(),
            generated: Generated {
                text: String::with_capacity(remaining * BYTES_PER_TOKEN),
                tokens: Vec::with_capacity(remaining),
                ..Generated::default()
            },
        }
    }

    /// What a pass is asked for, so that a token can be chosen.
    pub(crate) fn wants(&self, sampler: &Sampler) -> Want {
        match self.digests {
            true => Want::Logits,
            false => self.needs(sampler),
        }
    }

    /// What a token can be chosen from, and no more.
    fn needs(&self, sampler: &Sampler) -> Want {
        match sampler.want() {
            // As many again as may be left out.
            Want::Top(count) => Want::Top(count + self.left_out().len()),
            all => all,
        }
    }

    /// Whether nothing may end it yet.
    fn goes_on(&self) -> bool {
        self.generated.tokens.len() < self.min_tokens
    }

    /// Tokens that are not chosen.
    fn left_out(&self) -> &[u32] {
        match self.goes_on() {
            true => &self.ends,
            false => &[],
        }
    }

    /// Whether it follows a grammar.
    pub(crate) fn is_held(&self) -> bool {
        self.guide.is_some()
    }

    /// Has `sequence`, whose next token will be the first of the answer, choose as the grammar
    /// wants.
    pub(crate) fn begin(&mut self, sequence: &mut Sequence) -> Result<(), Error> {
        self.steer(sequence)
    }

    /// Asks the grammar what may follow, and what must.
    fn steer(&mut self, sequence: &mut Sequence) -> Result<(), Error> {
        let Some(guide) = &mut self.guide else {
            return Ok(());
        };
        if self.forced.is_empty() {
            self.forced.extend(guide.forced());
        }
        let allowed = match self.forced.is_empty() {
            true => guide.allowed(&self.ends)?,
            false => None,
        };
        sequence.sampler.allow(allowed);
        Ok(())
    }

    /// The next token that the grammar forces, without anything being read for it; none where the
    /// model is to choose, or the logits behind each token are wanted.
    pub(crate) fn next_forced(&mut self, sequence: &mut Sequence) -> Option<Result<Piece, Error>> {
        match self.digests {
            true => None,
            false => self.take_forced(sequence),
        }
    }

    fn take_forced(&mut self, sequence: &mut Sequence) -> Option<Result<Piece, Error>> {
        if self.has_ended() {
            return None;
        }
        let id = self.forced.pop_front()?;
        let token = Candidate {
            id,
            logit: f32::NAN,
        };
        if self.ends_by(id) {
            return self.end_by(token, sequence).map(Ok);
        }
        sequence.sampler.force(id);
        let piece = self.take(sequence, token);
        self.failed = piece.is_err();
        Some(piece)
    }

    /// Whether no more comes.
    pub(crate) fn has_ended(&self) -> bool {
        self.failed || self.generated.stop.is_some()
    }

    /// The next piece of what `sequence` goes on with; none when it has ended or failed.
    pub(crate) fn next(&mut self, sequence: &mut Sequence) -> Option<Result<Piece, Error>> {
        let start = Instant::now();
        if self.started
            && let Some(piece) = self.next_forced(sequence)
        {
            self.generated.decode += start.elapsed();
            return Some(piece);
        }
        if self.has_ended() {
            return None;
        }
        let more = self.max_tokens - self.generated.tokens.len();
        let all = match sequence.read(self.wants(&sequence.sampler), more) {
            Ok(all) => all,
            Err(error) => {
                self.failed = true;
                return Some(Err(error));
            }
        };
        let read = start.elapsed();
        if !all {
            self.generated.prefill += read;
            return Some(Ok(Piece::default()));
        }
        let piece = self.choose(sequence);
        self.failed = piece.is_err();
        let spent = start.elapsed();
        match std::mem::replace(&mut self.started, true) {
            true => self.generated.decode += spent,
            false => {
                self.generated.prefill += read;
                self.generated.decode = spent - read;
            }
        }
        piece.transpose()
    }

    /// Chooses a token from what was read; no piece where that ends it and nothing was held back.
    pub(crate) fn choose(&mut self, sequence: &mut Sequence) -> Result<Option<Piece>, Error> {
        if self.max_tokens == 0 {
            return Ok(self.end(StopReason::MaxTokens));
        }
        if self.digests {
            self.digest(sequence);
        }
        if let Some(piece) = self.take_forced(sequence) {
            return piece.map(Some);
        }
        if self.has_ended() {
            return Ok(None);
        }
        let left_out = self.left_out();
        let is_left_out = |id| left_out.contains(&id);
        let allowed = sequence.sampler.allowed().map(TokenSet::iter);
        if allowed.is_some_and(|mut ids| ids.all(is_left_out)) {
            // The grammar has an end here and nothing else, and no token that ends it may come.
            let rest = self.end(StopReason::Complete);
            sequence.keep_answer(self.generated.tokens.len());
            return Ok(rest);
        }
        let Sequence { sampler, out, .. } = &mut *sequence;
        let token = sampler.choose_but(left_out, out)?;
        if self.ends_by(token.id) {
            return Ok(self.end_by(token, sequence));
        }
        self.take(sequence, token).map(Some)
    }

    /// Whether this token would end it.
    fn ends_by(&self, id: u32) -> bool {
        !self.goes_on() && self.ends.contains(&id)
    }

    /// Ends it by a token that is none of it, and gives what was held back.
    fn end_by(&mut self, token: Candidate, sequence: &mut Sequence) -> Option<Piece> {
        self.generated.end = Some(token);
        let rest = self.end(StopReason::EndOfGeneration);
        sequence.keep_answer(self.generated.tokens.len());
        rest
    }

    /// Puts a token behind what there is.
    fn take(&mut self, sequence: &mut Sequence, token: Candidate) -> Result<Piece, Error> {
        let goes_on = self.goes_on();
        let guessed = sequence.push(token.id);
        self.generated.guessed += usize::from(guessed);
        self.generated.tokens.push(token.id);
        let text = self.decoder.push(token.id);
        if let Some(guide) = &mut self.guide {
            guide.accept(token.id, text)?;
        }
        let over = self.guide.as_ref().is_some_and(Guide::is_over);
        let (sure, found) = match goes_on {
            true => (text, None),
            false => self.stops.push(text),
        };
        self.generated.text.push_str(sure);
        let text = SmolStr::new(sure);
        let ended = if let Some(stop) = found {
            // What is held back is the stop text.
            self.generated.stop = Some(StopReason::StopString);
            self.generated.stop_text = Some(stop.to_owned());
            None
        } else if over {
            self.end(StopReason::Complete)
        } else if self.generated.tokens.len() == self.max_tokens {
            self.end(StopReason::MaxTokens)
        } else if sequence.is_full() {
            self.end(StopReason::ContextFull)
        } else {
            self.steer(sequence)?;
            None
        };
        if self.has_ended() {
            sequence.keep_answer(self.generated.tokens.len());
        }
        Ok(with_rest(text, token, ended))
    }

    /// Notes the digest of the logits, and leaves the sampler what it is given otherwise.
    fn digest(&mut self, sequence: &mut Sequence) {
        let needs = self.needs(&sequence.sampler);
        let Output { logits, top } = &mut sequence.out;
        self.generated.logits.push(digest(logits));
        if let Want::Top(count) = needs {
            Candidate::best_among(logits, sequence.sampler.allowed(), count, top);
            logits.clear();
        }
    }

    /// Ends it, and gives what was held back.
    fn end(&mut self, reason: StopReason) -> Option<Piece> {
        self.generated.stop = Some(reason);
        let (rest, found) = self.stops.push(&self.decoder.finish());
        let mut rest = rest.to_owned();
        if found.is_none() {
            rest.push_str(&self.stops.finish());
        }
        self.generated.text.push_str(&rest);
        let text = SmolStr::from(rest);
        (!text.is_empty()).then_some(Piece {
            text,
            thought: false,
            token: None,
        })
    }
}

/// The last token's piece, with what was held back behind it.
fn with_rest(text: SmolStr, token: Candidate, rest: Option<Piece>) -> Piece {
    Piece {
        text: match rest {
            Some(rest) => SmolStr::from(format!("{text}{}", rest.text)),
            None => text,
        },
        thought: false,
        token: Some(token),
    }
}

/// SHA-256 over the bits of each, little-endian.
fn digest(logits: &[f32]) -> Sha256Hex {
    let mut hasher = Hasher::default();
    let mut bytes = Vec::with_capacity(4096);
    for logits in logits.chunks(1024) {
        bytes.clear();
        bytes.extend(logits.iter().flat_map(|logit| logit.to_le_bytes()));
        hasher.update(&bytes);
    }
    hasher.digest()
}
