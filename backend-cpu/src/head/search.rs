//! The search for the best logits, on each thread of the team.
//!
//! First every row that is in the screen gets its bound from the high bits of its codes, every
//! other row its logit. Each thread then takes its rows of the highest bounds and computes their
//! logits, and what the last of its best is becomes a threshold for all. Then those of its rows
//! whose bounds reach the threshold get a bound from all bits, and those whose bounds still do
//! their logits, while the threshold keeps rising. It is valid at any time, so nobody waits: who is
//! early computes a few more.
//!
//! Where the last search needed all bits of many rows, all bits are read at once instead.

use std::ops::Range;
use std::time::Instant;

use bitnet_kernels::program::{BufferId, Product};

use super::made::{PIECE, piece_rows};
use super::scratch::SearchScratch;
use super::screen::Screen;
use super::threshold::{Listed, Search, ids};
use crate::exec::pass::{Pass, scale};
use crate::exec::scratch::Scratch;
use crate::generic::gemm::Panel;
use crate::generic::screen::Precision;
use crate::memory::shared::SharedSlice;
use crate::threads::tickets::Pieces;

/// Rows in a piece of those that are computed alone.
const LISTED_PIECE: usize = 32;

impl Pass<'_> {
    /// Pieces of the search for the best logits of `product`.
    pub(crate) fn search_pieces(&self, product: &Product, search: &Search<'_>) -> usize {
        match search.listed {
            Some(listed) => {
                listed.len().div_ceil(LISTED_PIECE) + search.made().len().div_ceil(PIECE)
            }
            None => self.program.weight(product.weight).rows.div_ceil(PIECE),
        }
    }

    /// Finds the best logits of `product`. `bounds` holds a value per row and token.
    pub(crate) fn find_best(
        &self,
        pieces: &mut Pieces<'_>,
        product: &Product,
        bounds: BufferId,
        search: &Search<'_>,
        scratch: &mut Scratch,
    ) {
        if let Some(listed) = search.listed {
            return self.find_listed(pieces, product, listed, search, scratch);
        }
        let rows = self.program.weight(product.weight).rows;
        let x = self.encoded(product);
        let tokens = search.thresholds.len();
        let bounds = &self.buffer(bounds).values;
        let bounds_rows = search.screen.is_some_and(Screen::has_rows);
        let Scratch {
            search: found,
            results,
            panel,
            row: row_bytes,
            ..
        } = scratch;
        if bounds_rows {
            for (token, query) in found.queries[..tokens].iter_mut().enumerate() {
                // The products of several tokens take longer than the codes take to come.
                query.set(x.values(token), tokens > 1);
            }
        }
        found.bounded.clear();
        for piece in pieces {
            let rows_here = piece_rows(piece, rows);
            let results = &mut results[..tokens * rows_here.len()];
            let left_out = search.leaves_out(&rows_here);
            let dense = search.is_dense(piece);
            let screened = match search.screen {
                // SAFETY: those of earlier passes are written no more.
                Some(screen) if !left_out => unsafe { screen.rows(rows_here.clone(), dense) },
                _ => None,
            };
            if let Some(screened) = screened {
                let queries = &found.queries[..tokens];
                if dense {
                    let (list, how) = (&found.all[..rows_here.len()], Precision::Enough);
                    (self.kernels.screen_refine)(screened, list, queries, how, results);
                    found.counted.dense += rows_here.len();
                } else {
                    (self.kernels.screen_uppers)(screened, queries, results);
                    found.counted.coarse += rows_here.len();
                }
                for (token, uppers) in results.chunks_exact_mut(rows_here.len()).enumerate() {
                    // Bounds from fewer bits are higher, of rows that are no better.
                    let seeds = (dense == search.dense).then_some(&mut found.seeds[token]);
                    if let Some(among) = search.among(token, &rows_here) {
                        if let Some(seeds) = seeds {
                            seeds.extend_where(rows_here.start, uppers, |id| among.contains(id));
                        }
                        // A row that is not looked for reaches nothing.
                        for (upper, id) in uppers.iter_mut().zip(ids(&rows_here)) {
                            *upper = if among.contains(id) { *upper } else { f32::NAN };
                        }
                    } else if let Some(seeds) = seeds {
                        seeds.extend(rows_here.start, uppers);
                    }
                    let at = token * rows + rows_here.start..token * rows + rows_here.end;
                    // SAFETY: these rows' ticket is ours alone.
                    unsafe { bounds.write(at) }.copy_from_slice(uppers);
                }
                found.bounded.push((rows_here.clone(), dense));
            } else if !left_out {
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
            if search.makes(&rows_here)
                && let Some(screen) = search.screen
            {
                self.make_screen(product, screen, rows_here, found);
            }
        }
        if !bounds_rows {
            return;
        }
        for (token, threshold) in search.thresholds.iter().enumerate() {
            for seed in found.seeds[token].list() {
                let row = seed.id as usize;
                let logit = self.logit(product, row, token, row_bytes, panel);
                found.best[token].push(seed.id, logit);
                found.counted.exact += 1;
                // A row that is done reaches nothing.
                let at = token * rows + row;
                // SAFETY: the row is of a piece that is ours.
                unsafe { bounds.write(at..at + 1) }.fill(f32::NAN);
            }
            threshold.raise(found.best[token].least());
        }
        self.refine(product, bounds, search, scratch);
    }

    /// Finds the best logits of the rows that this thread has bounded.
    fn refine(
        &self,
        product: &Product,
        bounds: &SharedSlice<f32>,
        search: &Search<'_>,
        scratch: &mut Scratch,
    ) {
        let Some(screen) = search.screen else {
            return;
        };
        let rows = self.program.weight(product.weight).rows;
        let tokens = search.thresholds.len();
        let Scratch {
            search: found,
            results,
            panel,
            row: row_bytes,
            ..
        } = scratch;
        // Bounds are those of logits before their factor. An infinite bound stays one.
        let reaches = |upper: f32, least: f32| upper * product.scale >= least;
        for piece in 0..found.bounded.len() {
            let (rows_here, dense) = found.bounded[piece].clone();
            let of = |token: usize| token * rows + rows_here.start..token * rows + rows_here.end;
            // SAFETY: the rows are of a piece that is ours, and what is read is not kept.
            let uppers_of = |token: usize| unsafe { bounds.read(of(token)) };
            found.list_rows(rows_here.len(), |marks| {
                for (token, threshold) in search.thresholds.iter().enumerate() {
                    let least = threshold.get();
                    for (mark, upper) in marks.iter_mut().zip(uppers_of(token)) {
                        *mark |= reaches(*upper, least);
                    }
                }
            });
            let count = found.list.len();
            if count == 0 {
                continue;
            }
            // SAFETY: those of earlier passes are written no more. Where the others are given up
            // meanwhile, bounds are what they were.
            let screened = unsafe { screen.rows(rows_here.clone(), true) };
            if let Some(screened) = screened.filter(|_| !dense) {
                let (queries, refined) = (&found.queries[..tokens], &mut results[..tokens * count]);
                let how = Precision::Enough;
                (self.kernels.screen_refine)(screened, &found.list, queries, how, refined);
                found.counted.refined += count;
                for (token, refined) in refined.chunks_exact(count).enumerate() {
                    // SAFETY: the rows are of a piece that is ours.
                    let uppers = unsafe { bounds.write(of(token)) };
                    for (row, refined) in found.list.iter().zip(refined) {
                        let upper = &mut uppers[*row as usize];
                        // A row that is done, or is not looked for, stays so.
                        *upper = if upper.is_nan() { *upper } else { *refined };
                    }
                }
            }
            for (token, threshold) in search.thresholds.iter().enumerate() {
                found.list_rows(rows_here.len(), |marks| {
                    let least = threshold.get();
                    for (mark, upper) in marks.iter_mut().zip(uppers_of(token)) {
                        *mark = reaches(*upper, least);
                    }
                });
                let (list, uppers) = (&found.list, &mut results[..found.list.len()]);
                let query = &found.queries[token];
                if let Some(screened) = screened.filter(|_| query.is_short() && !list.is_empty()) {
                    let (query, how) = (std::slice::from_ref(query), Precision::Full);
                    (self.kernels.screen_refine)(screened, list, query, how, uppers);
                    found.counted.closer += list.len();
                } else {
                    for (upper, row) in uppers.iter_mut().zip(list) {
                        *upper = uppers_of(token)[*row as usize];
                    }
                }
                for (row, upper) in list.iter().zip(uppers) {
                    if !reaches(*upper, threshold.get()) {
                        continue;
                    }
                    let row = rows_here.start + *row as usize;
                    let logit = self.logit(product, row, token, row_bytes, panel);
                    found.best[token].push(row as u32, logit);
                    found.counted.exact += 1;
                    threshold.raise(found.best[token].least());
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

    /// Makes the screen of some rows, whose ticket is this thread's.
    fn make_screen(
        &self,
        product: &Product,
        screen: &Screen,
        rows: Range<usize>,
        found: &mut SearchScratch,
    ) {
        let start = Instant::now();
        let cols = self.program.weight(product.weight).cols;
        // SAFETY: these rows' ticket is ours alone.
        let mut made = unsafe { screen.write(rows.clone()) };
        if screen.copy_kept(rows.start / PIECE, &mut made) {
            found.counted.copied += rows.len();
        } else {
            (self.kernels.screen_encode)(&self.matrix(product), rows, cols, made);
        }
        found.making += start.elapsed();
    }

    /// Computes the logits of some rows alone, and makes the next part of the screen.
    fn find_listed(
        &self,
        pieces: &mut Pieces<'_>,
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
        let made = search.made();
        let lists = listed.len().div_ceil(LISTED_PIECE);
        for piece in pieces {
            if piece < lists {
                let first = piece * LISTED_PIECE;
                for of in &listed[first..listed.len().min(first + LISTED_PIECE)] {
                    let logit = self.logit(product, of.row as usize, of.token, row_bytes, panel);
                    found.best[of.token].push(of.row, logit);
                }
            } else if let Some(screen) = search.screen {
                let first = made.start + (piece - lists) * PIECE;
                let rows = first..made.end.min(first + PIECE);
                self.make_screen(product, screen, rows, found);
            }
        }
    }
}
