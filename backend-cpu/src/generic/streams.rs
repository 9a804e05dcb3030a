//! Where the rows of a piece are taken from when one token meets them: several places at once, four
//! where the rows of four places are multiplied together.
//!
//! Products with one token take as long as their weights take to come from memory, and a core
//! reaches its share of the memory only with more lines on their way than it can wait for itself:
//! what is missing comes from the prefetcher of its second cache, which follows streams and ends
//! each at a page. Rows that are multiplied together are therefore a part of the piece apart,
//! and each stream is asked for [`STREAM_DISTANCE`] bytes further on.
//! `docs/explanation/kernels.md` has the measurements.
//!
//! [`STREAM_DISTANCE`]: crate::microkernel::simd::STREAM_DISTANCE

use std::ops::Range;

use bitnet_kernels::order::LANES;

use crate::microkernel::dot::DOT_ROWS;

/// A piece's rows, as many to each stream, in strips of [`LANES`].
#[derive(Clone, Copy)]
pub(crate) struct Streams {
    first: usize,
    count: usize,
    /// Streams; a divisor of [`LANES`].
    streams: usize,
    /// Rows of a stream, with those that fill up the last strip.
    len: usize,
}

impl Streams {
    /// A stream for each of the rows that are multiplied together.
    #[inline(always)]
    pub(crate) fn new(rows: &Range<usize>) -> Streams {
        Streams::split(rows, DOT_ROWS)
    }

    /// So many streams.
    #[inline(always)]
    pub(crate) fn split(rows: &Range<usize>, streams: usize) -> Streams {
        Streams {
            first: rows.start,
            count: rows.len(),
            streams,
            len: rows.len().div_ceil(LANES) * (LANES / streams),
        }
    }

    /// Strips.
    #[inline(always)]
    pub(crate) fn strips(self) -> Range<usize> {
        0..self.len / (LANES / self.streams)
    }

    /// Where the row in a lane of a strip stands in the piece: adjacent lanes are in adjacent
    /// streams, one after the other. It may lie behind the last.
    #[inline(always)]
    fn place(self, strip: usize, lane: usize) -> usize {
        let streams = self.streams;
        lane % streams * self.len + strip * (LANES / streams) + lane / streams
    }

    /// The rows of a strip. Those that fill it up repeat the last one; what they give is dropped.
    #[inline(always)]
    pub(crate) fn rows<R: Copy>(self, strip: usize, row: impl Fn(usize) -> R) -> [R; LANES] {
        let at = |lane| row(self.first + self.place(strip, lane).min(self.count - 1));
        let mut rows = [at(0); LANES];
        for (lane, row) in rows.iter_mut().enumerate() {
            *row = at(lane);
        }
        rows
    }

    /// Puts the results of a strip where those of its rows belong, in `out` of the whole piece.
    #[inline(always)]
    pub(crate) fn put(self, strip: usize, results: [f32; LANES], out: &mut [f32]) {
        for (lane, result) in results.into_iter().enumerate() {
            if let Some(out) = out.get_mut(self.place(strip, lane)) {
                *out = result;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_in_one_lane_of_one_strip() {
        let counts = [1, 3, 15, 16, 17, 20, 64, 250, 256];
        for (count, streams) in counts
            .into_iter()
            .flat_map(|count| [(count, 2), (count, 4)])
        {
            let streams = Streams::split(&(100..100 + count), streams);
            let mut out = vec![f32::NAN; count];
            for strip in streams.strips() {
                let rows = streams.rows(strip, |row| row as f32);
                assert!(
                    rows.iter()
                        .all(|row| (100.0..100.0 + count as f32).contains(row))
                );
                streams.put(strip, rows, &mut out);
            }
            let expected: Vec<f32> = (100..100 + count).map(|row| row as f32).collect();
            assert_eq!(out, expected);
        }
    }
}
