//! The search for the best logits, on each thread of the team.
//!
//! First every row that is in the screen gets its bound, every other row its logit. Each thread
//! then takes its rows of the highest bounds and computes their logits, and what the last of its
//! best is becomes a threshold for all. After a barrier, the rows whose bounds reach the threshold
//! get their logits, too, while the threshold keeps rising.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use bitnet_kernels::program::{BufferId, Product};
use bitnet_kernels::{Choice, TokenSet};

use super::screen::Screen;
use crate::exec::pass::{Pass, Phase, scale};
use crate::exec::scratch::Scratch;
use crate::generic::gemm::Panel;

/// Rows in a piece of the first part.
pub(crate) const PIECE: usize = 256;
/// Rows in a piece of the second part.
const SECOND_PIECE: usize = 4096;
/// Rows in a piece of those that are computed alone.
const LISTED_PIECE: usize = 32;
/// Bounds that are compared at a time.
const AT_ONCE: usize = 16;

/// What a pass is to find, shared by its threads.
pub(crate) struct Search<'a> {
    pub(crate) screen: Option<&'a Screen>,
    /// Rows up to which the screen is made when the pass is over.
    pub(crate) until: usize,
    /// A threshold per token.
    pub(crate) thresholds: &'a [Threshold],
    /// Which rows are looked for, per token; all for each where nothing is here.
    pub(crate) choices: &'a [Choice<'a>],
    /// The rows that are looked for, where they are so few that each is computed alone.
    pub(crate) listed: Option<&'a [Listed]>,
}

impl<'a> Search<'a> {
    /// The rows that are looked for of a token, where `rows` are not all looked for.
    fn among(&self, token: usize, rows: &Range<usize>) -> Option<&'a TokenSet> {
        let set = self.choices.get(token)?.among?;
        (set.count(ids(rows)) < rows.len()).then_some(set)
    }

    /// Whether no token is looked for among `rows`.
    fn leaves_out(&self, rows: &Range<usize>) -> bool {
        let none = |choice: &Choice<'_>| choice.among.is_some_and(|set| set.count(ids(rows)) == 0);
        !self.choices.is_empty() && self.choices.iter().all(none)
    }
}

/// The tokens that rows stand for.
fn ids(rows: &Range<usize>) -> Range<u32> {
    rows.start as u32..rows.end as u32
}

/// A row whose logit is wanted.
#[derive(Clone, Copy)]
pub(crate) struct Listed {
    pub(super) token: usize,
    pub(super) row: u32,
}

/// A logit that only rises: `k` logits are known to be at least as large.
pub(crate) struct Threshold(AtomicU32);

impl Default for Threshold {
    fn default() -> Threshold {
        Threshold(AtomicU32::new(key(f32::NEG_INFINITY)))
    }
}

/// Bits that compare as the number does.
fn key(x: f32) -> u32 {
    let bits = x.to_bits();
    if bits >> 31 == 0 {
        bits | 1 << 31
    } else {
        !bits
    }
}

impl Threshold {
    /// `to` is no NaN.
    fn raise(&self, to: f32) {
        self.0.fetch_max(key(to), Ordering::Relaxed);
    }

    fn get(&self) -> f32 {
        let key = self.0.load(Ordering::Relaxed);
        f32::from_bits(if key >> 31 == 1 {
            key & !(1 << 31)
        } else {
            !key
        })
    }
}

impl Pass<'_> {
    /// Finds the best logits of `product`. `bounds` holds a value per row and token.
    pub(crate) fn find_best(
        &self,
        phase: Phase<'_>,
        product: &Product,
        bounds: BufferId,
        search: &Search<'_>,
        scratch: &mut Scratch,
    ) {
        if let Some(listed) = search.listed {
            return self.find_listed(phase, product, listed, search, scratch);
        }
        let rows = self.program.weight(product.weight).rows;
        let (x, matrix) = (self.encoded(product), self.matrix(product));
        let tokens = search.thresholds.len();
        let bounds = &self.buffer(bounds).values;
        let ready = search.screen.map_or(0, |screen| screen.ready);
        let Scratch {
            search: found,
            results,
            panel,
            row: row_bytes,
            ..
        } = scratch;
        if ready > 0 {
            for (token, query) in found.queries[..tokens].iter_mut().enumerate() {
                query.set(x.values(token));
            }
        }
        for piece in self.tickets(phase, rows.div_ceil(PIECE)) {
            let rows_here = piece * PIECE..((piece + 1) * PIECE).min(rows);
            let results = &mut results[..tokens * rows_here.len()];
            let left_out = search.leaves_out(&rows_here);
            if let Some(screen) = search.screen.filter(|_| rows_here.end <= ready) {
                if left_out {
                    results.fill(f32::NAN);
                } else {
                    // SAFETY: made in an earlier pass.
                    let made = unsafe { screen.read(rows_here.clone()) };
                    (self.kernels.screen_uppers)(made, &found.queries[..tokens], results);
                    // An infinite bound stays one.
                    results.iter_mut().for_each(|upper| *upper *= product.scale);
                }
                for (token, uppers) in results.chunks_exact_mut(rows_here.len()).enumerate() {
                    let seeds = &mut found.seeds[token];
                    if let Some(among) = search.among(token, &rows_here) {
                        seeds.extend_where(rows_here.start, uppers, |id| among.contains(id));
                        // A row that is not looked for reaches nothing.
                        for (upper, id) in uppers.iter_mut().zip(ids(&rows_here)) {
                            *upper = if among.contains(id) { *upper } else { f32::NAN };
                        }
                    } else {
                        seeds.extend(rows_here.start, uppers);
                    }
                    let at = token * rows + rows_here.start..token * rows + rows_here.end;
                    // SAFETY: these rows' ticket is ours alone.
                    unsafe { bounds.write(at) }.copy_from_slice(uppers);
                }
                continue;
            }
            if !left_out {
                self.product_rows(product, rows_here.clone(), panel, results);
                for (token, logits) in results.chunks_exact(rows_here.len()).enumerate() {
                    let best = &mut found.best[token];
                    match search.among(token, &rows_here) {
                        None => best.extend(rows_here.start, logits),
                        Some(among) => {
                            best.extend_where(rows_here.start, logits, |id| among.contains(id));
                        }
                    }
                }
            }
            if let Some(screen) = search.screen.filter(|_| rows_here.end <= search.until) {
                let start = Instant::now();
                // SAFETY: these rows' ticket is ours alone.
                let made = unsafe { screen.write(rows_here.clone()) };
                (self.kernels.screen_encode)(&matrix, rows_here, x.width, made);
                found.making += start.elapsed();
            }
        }
        if ready == 0 {
            return;
        }
        let mut exact = |row: usize, token: usize, panel: &mut Panel| {
            self.logit(product, row, token, row_bytes, panel)
        };
        for (token, threshold) in search.thresholds.iter().enumerate() {
            for seed in found.seeds[token].list() {
                let row = seed.id as usize;
                let logit = exact(row, token, panel);
                found.best[token].push(seed.id, logit);
                found.exact += 1;
                // A row that is done reaches nothing.
                let at = token * rows + row;
                // SAFETY: the row is of a piece that was ours.
                unsafe { bounds.write(at..at + 1) }.fill(f32::NAN);
            }
            threshold.raise(found.best[token].least());
        }
        phase.team.barrier();
        let second = Phase {
            index: 1 + self.program.ops.len(),
            ..phase
        };
        let pieces = self.tickets(second, ready.div_ceil(SECOND_PIECE));
        for piece in pieces {
            let first = piece * SECOND_PIECE;
            let len = SECOND_PIECE.min(ready - first);
            for (token, threshold) in search.thresholds.iter().enumerate() {
                let at = token * rows + first;
                // SAFETY: written before the barrier.
                let uppers = unsafe { bounds.read(at..at + len) };
                for (i, uppers) in uppers.chunks(AT_ONCE).enumerate() {
                    let least = threshold.get();
                    if !uppers.iter().any(|upper| *upper >= least) {
                        continue;
                    }
                    for (j, upper) in uppers.iter().enumerate() {
                        if *upper >= threshold.get() {
                            let row = first + i * AT_ONCE + j;
                            let logit = exact(row, token, panel);
                            found.best[token].push(row as u32, logit);
                            found.exact += 1;
                            threshold.raise(found.best[token].least());
                        }
                    }
                }
            }
        }
    }
}

impl Pass<'_> {
    /// One logit as the whole product gives it.
    fn logit(
        &self,
        product: &Product,
        row: usize,
        token: usize,
        row_bytes: &mut [u8],
        panel: &mut Panel,
    ) -> f32 {
        let x = self.encoded(product);
        let single = self.weights.single_row(product.weight, row, row_bytes);
        let mut logit = [0.0];
        let kernel = self.kernel(product);
        (kernel.run)(&single, 0..1, &x, token..token + 1, panel, &mut logit);
        scale(product, &mut logit);
        logit[0]
    }

    /// Computes the logits of some rows alone, and makes the next part of the screen.
    fn find_listed(
        &self,
        phase: Phase<'_>,
        product: &Product,
        listed: &[Listed],
        search: &Search<'_>,
        scratch: &mut Scratch,
    ) {
        let Scratch {
            search: found,
            panel,
            row: row_bytes,
            ..
        } = scratch;
        let (x, matrix) = (self.encoded(product), self.matrix(product));
        let made = search
            .screen
            .map_or(0..0, |screen| screen.ready..search.until);
        let lists = listed.len().div_ceil(LISTED_PIECE);
        for piece in self.tickets(phase, lists + made.len().div_ceil(PIECE)) {
            if piece < lists {
                let first = piece * LISTED_PIECE;
                for of in &listed[first..listed.len().min(first + LISTED_PIECE)] {
                    let logit = self.logit(product, of.row as usize, of.token, row_bytes, panel);
                    found.best[of.token].push(of.row, logit);
                }
            } else if let Some(screen) = search.screen {
                let first = made.start + (piece - lists) * PIECE;
                let rows = first..made.end.min(first + PIECE);
                let start = Instant::now();
                // SAFETY: these rows' ticket is ours alone.
                let made = unsafe { screen.write(rows.clone()) };
                (self.kernels.screen_encode)(&matrix, rows, x.width, made);
                found.making += start.elapsed();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_only_rises() {
        let threshold = Threshold::default();
        assert_eq!(threshold.get(), f32::NEG_INFINITY);
        for (to, then) in [
            (-3.0, -3.0),
            (-4.0, -3.0),
            (-0.5, -0.5),
            (2.5, 2.5),
            (-1.0, 2.5),
        ] {
            threshold.raise(to);
            assert_eq!(threshold.get(), then);
        }
        threshold.raise(f32::INFINITY);
        assert_eq!(threshold.get(), f32::INFINITY);
    }
}
