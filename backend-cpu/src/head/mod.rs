//! The output head where only the best few logits are wanted.
//!
//! A head of floats is by far the largest matrix of a ternary model, and nearly all of its logits
//! are of no interest. A [`screen::Screen`] holds its rows in six bits, of which four bound every
//! logit from above and all six those that are left, or all six every one where most are left; only
//! rows whose bounds reach the best few are multiplied as they are. What comes out is the same to
//! the bit as from all logits: the proof is in `docs/explanation/output-head.md`. The screen is
//! made on the way, a part of the rows with each of the first passes, while they are being read for
//! their logits. Where another process has made it before ([`kept`]), all rows are searched through
//! it from the first pass on, and a part of it is copied with each.

pub(crate) mod best;
#[cfg(test)]
mod conformance;
mod counted;
mod kept;
mod made;
pub(crate) mod scratch;
mod screen;
pub(crate) mod search;
pub(crate) mod threshold;

use std::sync::{Arc, Mutex};

use bitnet_kernels::program::{BufferId, Product};
use bitnet_kernels::{Candidate, Choice, KeepsScreen, Program, ScreenForm, ScreenParts, Screening};

use crate::exec::scratch::Scratch;
use crate::exec::weights::Weights;
use crate::generic::screen::takes;
use best::Best;
use counted::Counted;
use kept::Kept;
use made::PIECE;
use screen::Screen;
use threshold::{Listed, Search, Threshold};

/// Passes in which a screen is made.
const PASSES: usize = 16;
/// Rows for each of the wanted best, from which on a screen is worth its while.
const ROWS_FOR_ONE: usize = 16;
/// Rows for each of those that are looked for, from which on these are computed one by one.
const ROWS_FOR_LISTED: usize = 32;
/// All bits of codes are read at once where the last search needed those of more than one row in so
/// many: it then takes fewer bytes.
const DENSE: usize = 3;
/// Columns up to which the integer sums of a row fit 32 bits.
const MOST_COLS: usize = 1 << 17;

/// Whether a factor of all logits leaves bounds as they are: rounded products rise with what is
/// multiplied, and none becomes infinite.
fn keeps_order(factor: f32) -> bool {
    factor > 0.0 && factor <= 1.0
}

/// A program's head, and what is kept for it from pass to pass.
pub(crate) struct Head {
    product: Product,
    pub(crate) logits: BufferId,
    rows: usize,
    cols: usize,
    /// Whether the matrix can be screened, and memory for it was not refused.
    screened: bool,
    screen: Option<Screen>,
    /// What another process has made, until there is memory for a screen of our own.
    kept: Option<Kept>,
    /// How many logits the pass under way is to find, and up to which row it makes the screen.
    k: usize,
    /// How many of each token, at most `k`.
    counts: Vec<usize>,
    until: usize,
    /// Whether the last search needed all bits of many rows.
    dense: bool,
    report: Screening,
    thresholds: Vec<Threshold>,
    /// The rows that the pass under way looks for, and whether it looks for these alone.
    listed: Vec<Listed>,
    is_listed: bool,
    merged: Best,
}

impl Head {
    /// The head of `program`, if it has one.
    pub(crate) fn new(program: &Program) -> Option<Head> {
        let (product, logits) = program.head()?;
        let product = *product;
        let desc = program.weight(product.weight);
        Some(Head {
            product,
            logits,
            rows: desc.rows,
            cols: desc.cols,
            screened: takes(desc.format) && keeps_order(product.scale) && desc.cols <= MOST_COLS,
            screen: None,
            kept: None,
            k: 0,
            counts: Vec::new(),
            until: 0,
            dense: false,
            report: Screening::default(),
            thresholds: Vec::new(),
            listed: Vec::new(),
            is_listed: false,
            merged: Best::default(),
        })
    }

    /// Prepares a search for the `k` best logits of each of `tokens`, or what the choices say of
    /// each where there are such.
    pub(crate) fn search<'s>(
        &'s mut self,
        k: usize,
        tokens: usize,
        choices: &'s [Choice<'s>],
        threads: &mut [Mutex<Scratch>],
    ) -> Search<'s> {
        self.thresholds.clear();
        self.thresholds.resize_with(tokens, Threshold::default);
        self.counts.clear();
        self.counts
            .extend((0..tokens).map(|token| choices.get(token).map_or(k, |it| it.count.min(k))));
        let worthwhile = k > 0 && tokens > 0 && self.rows >= k * ROWS_FOR_ONE;
        if worthwhile && self.screened && self.screen.is_none() {
            self.screen = Screen::new(self.rows, self.cols, self.kept.take()).ok();
            // Without memory for it, all rows are read.
            self.screened = self.screen.is_some();
        }
        for scratch in threads {
            let Scratch {
                search, results, ..
            } = Scratch::exclusive(scratch);
            let pieces = self.rows.div_ceil(PIECE);
            search.reserve(&self.counts, self.cols, pieces, self.screened);
            if results.len() < tokens * PIECE {
                results.resize(tokens * PIECE, 0.0);
            }
        }
        self.list(choices);
        let screen = self.screen.as_ref().filter(|_| worthwhile);
        let part = self.rows.div_ceil(PASSES).next_multiple_of(PIECE);
        self.until = screen.map_or(0, |screen| (screen.ready + part).min(self.rows));
        self.k = k;
        Search {
            screen,
            until: self.until,
            // Some pieces are never dense, and seeds come from the others.
            dense: self.dense && self.rows > PIECE,
            thresholds: &self.thresholds,
            choices,
            listed: self.is_listed.then_some(&self.listed[..]),
        }
    }

    /// Lists the rows that are looked for, where they are few for every token.
    fn list(&mut self, choices: &[Choice<'_>]) {
        self.listed.clear();
        let most = self.rows / ROWS_FOR_LISTED;
        let is_short = |choice: &Choice<'_>| choice.among.is_some_and(|set| set.len() <= most);
        self.is_listed = !choices.is_empty() && choices.iter().all(is_short);
        if !self.is_listed {
            return;
        }
        for (token, choice) in choices.iter().enumerate() {
            let rows = choice.among.iter().flat_map(|set| set.iter());
            let rows = rows.take_while(|row| (*row as usize) < self.rows);
            self.listed.extend(rows.map(|row| Listed { token, row }));
        }
    }

    /// Appends what the threads found for each token to `out`, notes what was made, and gives back
    /// the memory of rows that will seldom be read: from then on, the few that are needed are
    /// copied.
    pub(crate) fn finish(
        &mut self,
        threads: &mut [Mutex<Scratch>],
        weights: &Weights,
        out: &mut Vec<Candidate>,
    ) {
        for token in 0..self.thresholds.len() {
            self.merged.start(self.counts[token]);
            for scratch in &mut *threads {
                let found = &Scratch::exclusive(scratch).search;
                for candidate in found.best[token].list() {
                    self.merged.push(candidate.id, candidate.logit);
                }
            }
            let end = out.len() + self.k;
            out.extend_from_slice(self.merged.ordered());
            out.resize(end, Candidate::NONE);
        }
        let Some(screen) = &mut self.screen else {
            return;
        };
        let mut counted = Counted::default();
        for scratch in threads {
            let found = &mut Scratch::exclusive(scratch).search;
            counted += std::mem::take(&mut found.counted);
            self.report.thread_time += std::mem::take(&mut found.making);
        }
        if counted.coarse > 0 {
            self.dense = counted.refined * DENSE > counted.coarse;
        }
        let made = screen.ready..self.until;
        let found_through_it =
            self.until > 0 && !screen.drop_damaged() && screen.has_all_rows() && !self.is_listed;
        if !made.is_empty() {
            weights.release(self.product.weight, made.clone());
            screen.is_made_until(made.end);
        }
        if found_through_it {
            self.report.tokens += self.thresholds.len() as u64;
            self.report.exact_rows += counted.exact as u64;
            self.report.bytes_read += screen.bytes_of(&counted) as u64;
        }
        self.report.bytes = screen.bytes() as u64;
        self.report.rows = self.rows;
        self.report.ready = screen.ready;
        self.report.kept += counted.copied;
    }

    /// Whether a part of the screen can be used.
    pub(crate) fn is_screened(&self) -> bool {
        self.screen.as_ref().is_some_and(Screen::has_rows)
    }

    /// Itself, if its rows are screened.
    pub(crate) fn keeps_screen(&mut self) -> Option<&mut dyn KeepsScreen> {
        match self.screened {
            true => Some(self),
            false => None,
        }
    }

    /// What the screen cost and saved, once there is one.
    pub(crate) fn report(&self) -> Option<Screening> {
        self.screen.as_ref().map(|_| self.report)
    }
}

impl KeepsScreen for Head {
    fn form(&self) -> ScreenForm {
        ScreenForm {
            weight: self.product.weight,
            codes: kept::CODES,
            parts: kept::parts(self.rows, self.cols),
        }
    }

    fn take(&mut self, parts: Arc<dyn ScreenParts>) {
        let kept = Kept::new(parts, self.rows);
        self.dense = kept.dense();
        self.kept = Some(kept);
    }

    fn complete(&self) -> Option<Arc<dyn ScreenParts>> {
        self.screen.as_ref()?.complete(self.dense)
    }
}
