//! One forward pass on one thread of the team: the operations in order, a barrier between any two.
//!
//! Every operation is cut into pieces, and threads take pieces by ticket. A piece writes what no
//! other piece of the operation touches; that, and the barrier, is what the `unsafe` blocks here
//! rest on. Who computes a piece never changes its value.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::AtomicUsize;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use bitnet_kernels::order::LANES;
use bitnet_kernels::program::{Activation, BufferId, CacheType, Op, Product, Rows};
use bitnet_kernels::{CacheId, Program};

use crate::buffers::Buffer;
use crate::cache::{Cache, Elements};
use crate::cells::Cells;
use crate::clock::Clock;
use crate::generic::attention::Visible;
use crate::generic::gemm::{self, Panel};
use crate::head::{Found, Search};
use crate::matrix::{Encoded, Matrix, TileKernel};
use crate::pool::Team;
use crate::table::{AttendFn, Kernels};
use crate::tickets::Tickets;
use crate::weights::Weights;

/// Rows of a matrix in one piece of work for many tokens; a power of two times that for few, if
/// there are pieces enough.
const ROWS: usize = gemm::ROWS;
/// The most rows in a piece for few tokens. Within a piece, the memory is asked for rows ahead of
/// their turn.
const MOST_ROWS: usize = 256;
/// The most tokens that count as few.
const FEW_TOKENS: usize = 64;
/// Pieces that each thread should find in an operation, so that none waits long for the last one.
const PIECES_PER_THREAD: usize = 4;

/// A token's place.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// The sequence's cache.
    pub(crate) cache: CacheId,
    pub(crate) position: usize,
}

/// One thread's share in one phase of a pass: the preparation, an operation, the head's second
/// part.
#[derive(Clone, Copy)]
pub(crate) struct Turn<'a> {
    pub(crate) team: Team<'a>,
    pub(crate) phase: usize,
}

/// Phases of a pass over a program that are not operations.
pub(crate) const OTHER_PHASES: usize = 2;

/// What all threads of a pass share.
pub(crate) struct Pass<'a> {
    pub(crate) kernels: &'static Kernels,
    pub(crate) program: &'a Program,
    pub(crate) weights: &'a Weights,
    pub(crate) buffers: &'a [Buffer],
    /// All caches, those of the batch's tokens among them.
    pub(crate) caches: &'a BTreeMap<CacheId, Cache>,
    pub(crate) tokens: &'a [u32],
    pub(crate) places: &'a [Place],
    pub(crate) selected: &'a [u32],
    pub(crate) ops: Range<usize>,
    /// `[phase][thread]`: counters of tickets, all 0.
    pub(crate) tickets: &'a [AtomicUsize],
    /// Frequencies of the rotation, one per pair.
    pub(crate) frequencies: &'a [f32],
    /// Cosines and sines, `[tokens, 2, pairs]`, made by the pass.
    pub(crate) rotations: &'a Cells<f32>,
    /// Threads that share the work.
    pub(crate) threads: usize,
    /// Noted on the first thread, if present.
    pub(crate) clock: Option<&'a Clock>,
    /// What to find in the head's logits; all of them are wanted if absent.
    pub(crate) search: Option<Search<'a>>,
}

/// What a thread keeps for itself from pass to pass.
#[derive(Default)]
pub(crate) struct Scratch {
    pub(crate) tile: Vec<f32>,
    second: Vec<f32>,
    weights: Vec<f32>,
    values: Vec<f32>,
    halves: Vec<u16>,
    /// A row of weights, where few of a matrix are read.
    pub(crate) row: Box<[u8]>,
    pub(crate) panel: Panel,
    pub(crate) found: Found,
}

impl Scratch {
    /// Scratch with room for rows of weights of up to `longest_row` bytes.
    pub(crate) fn new(longest_row: usize) -> Scratch {
        Scratch {
            row: vec![0; longest_row].into(),
            ..Scratch::default()
        }
    }

    /// A thread's scratch, between passes.
    pub(crate) fn exclusive(scratch: &mut Mutex<Scratch>) -> &mut Scratch {
        // What a thread that panicked left is made anew by the next pass.
        scratch.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for a pass over `tokens` of sequences of up to `positions`.
    pub(crate) fn reserve(&mut self, tokens: usize, positions: usize, program: &Program) {
        let widest = program
            .buffers
            .iter()
            .map(|buffer| buffer.width)
            .max()
            .unwrap_or(0);
        let grow = |vec: &mut Vec<f32>, len: usize| {
            if vec.len() < len {
                vec.resize(len, 0.0);
            }
        };
        let rows = if tokens > FEW_TOKENS { ROWS } else { MOST_ROWS };
        grow(&mut self.tile, tokens * rows);
        grow(&mut self.second, tokens * rows);
        // For the most heads that attention handles at once.
        grow(&mut self.weights, 4 * positions.next_multiple_of(LANES));
        let attention = &program.attention;
        let group = attention.heads / attention.kv_heads;
        let results = group * attention.head_dim.next_multiple_of(LANES);
        grow(&mut self.values, widest.max(results));
        self.halves.resize(attention.head_dim, 0);
        if tokens > 1 {
            self.panel.reserve(ROWS, widest);
        }
    }
}

impl Pass<'_> {
    /// Runs the pass on one thread of the team.
    pub(crate) fn run(&self, team: Team<'_>, scratch: &mut Scratch) {
        self.prepare_rotations(Turn { team, phase: 0 });
        let clock = self.clock.filter(|_| team.thread == 0);
        let mut start = clock.map(|_| Instant::now());
        for index in self.ops.clone() {
            team.barrier();
            let phase = 1 + index;
            self.step(&self.program.ops[index], Turn { team, phase }, scratch);
            if let (Some(clock), Some(since)) = (clock, start) {
                let now = Instant::now();
                clock.note(index, now - since);
                start = Some(now);
            }
        }
    }

    /// The tickets of a thread's turn for `pieces` pieces.
    pub(crate) fn tickets(&self, turn: Turn<'_>, pieces: usize) -> Tickets<'_> {
        let first = turn.phase * self.threads;
        let taken = &self.tickets[first..first + self.threads];
        Tickets::new(taken, turn.team.thread, pieces)
    }

    pub(crate) fn buffer(&self, id: BufferId) -> &Buffer {
        &self.buffers[id.0 as usize]
    }

    /// Rows that a buffer has in this pass.
    fn rows(&self, id: BufferId) -> usize {
        match self.program.buffer(id).rows {
            Rows::Batch => self.tokens.len(),
            Rows::Selected => self.selected.len(),
        }
    }

    fn prepare_rotations(&self, turn: Turn<'_>) {
        let pairs = self.frequencies.len();
        for token in self.tickets(turn, self.tokens.len()) {
            // SAFETY: this token's ticket is ours alone.
            let rotations = unsafe {
                self.rotations
                    .write(token * pairs * 2..(token + 1) * pairs * 2)
            };
            let position = self.places[token].position as f32;
            let (cosines, sines) = rotations.split_at_mut(pairs);
            for (i, frequency) in self.frequencies.iter().enumerate() {
                let angle = f64::from(position * frequency);
                (cosines[i], sines[i]) = (libm::cos(angle) as f32, libm::sin(angle) as f32);
            }
        }
    }

    fn step(&self, op: &Op, turn: Turn<'_>, scratch: &mut Scratch) {
        match op {
            Op::Embed { table, out } => {
                let out = self.buffer(*out);
                for token in self.tickets(turn, self.tokens.len()) {
                    // SAFETY: this token's ticket is ours alone.
                    let row =
                        unsafe { out.values.write(token * out.width..(token + 1) * out.width) };
                    let id = self.tokens[token] as usize;
                    self.weights.decode_row(*table, id, &mut scratch.row, row);
                }
            }
            Op::Norm { x, gain, eps, out } => {
                let gain = self.weights.vector(*gain);
                self.each_row(turn, *x, *out, scratch, |x, normed| {
                    (self.kernels.norm)(x, gain, *eps, normed);
                });
            }
            Op::Encode { x, out } => {
                self.each_row(turn, *x, *out, scratch, |x, copy| copy.copy_from_slice(x));
            }
            Op::Linear {
                products,
                accumulate,
            } => self.linear(turn, products, *accumulate, scratch),
            Op::GatedLinear {
                gate,
                up,
                activation,
                out,
            } => {
                self.gated(turn, gate, up, *activation, *out, scratch);
            }
            Op::RopeStore { q, k, v, layer } => {
                self.rope_store(turn, *q, *k, *v, *layer, scratch);
            }
            Op::Attention { q, layer, out } => match self.program.cache_type {
                CacheType::F16 => {
                    self.attention(
                        turn,
                        *q,
                        *layer,
                        *out,
                        scratch,
                        self.kernels.attend_f16,
                        |e| &e.f16,
                    );
                }
                CacheType::F32 => {
                    self.attention(
                        turn,
                        *q,
                        *layer,
                        *out,
                        scratch,
                        self.kernels.attend_f32,
                        |e| &e.f32,
                    );
                }
            },
            Op::Select { x, out } => {
                let (x, out) = (self.buffer(*x), self.buffer(*out));
                for piece in self.tickets(turn, self.selected.len()) {
                    let row = self.selected[piece] as usize;
                    // SAFETY: `x` was written before the barrier; this piece's ticket is ours
                    // alone.
                    unsafe {
                        let from = x.values.read(row * x.width..(row + 1) * x.width);
                        out.values
                            .write(piece * out.width..(piece + 1) * out.width)
                            .copy_from_slice(from);
                    }
                }
            }
            Op::Head { product, logits } => match &self.search {
                Some(search) => {
                    self.find_best(turn, product, *logits, search, scratch);
                }
                None => self.linear(turn, &[(*product, *logits)], false, scratch),
            },
        }
    }

    /// Applies `f(row, result)` to each row of `x` and stores the result in the encoding of `out`.
    fn each_row(
        &self,
        turn: Turn<'_>,
        x: BufferId,
        out: BufferId,
        scratch: &mut Scratch,
        f: impl Fn(&[f32], &mut [f32]),
    ) {
        use bitnet_kernels::format::Encoding;

        let rows = self.rows(out);
        let (x, out) = (self.buffer(x), self.buffer(out));
        let width = out.width;
        for row in self.tickets(turn, rows) {
            let at = row * width..(row + 1) * width;
            // SAFETY: `x` was written before the barrier.
            let from = unsafe { x.values.read(at.clone()) };
            if out.encoding == Encoding::F32 {
                // SAFETY: this row's ticket is ours alone.
                f(from, unsafe { out.values.write(at) });
                continue;
            }
            let result = &mut scratch.values[..width];
            f(from, result);
            let per_row = out.scales_per_row();
            let scales = row * per_row..(row + 1) * per_row;
            // SAFETY: this row's ticket is ours alone.
            let (q, d, sums) = unsafe {
                (
                    out.q.write(at),
                    out.scales.write(scales.clone()),
                    out.sums.write(scales),
                )
            };
            match out.encoding {
                Encoding::F32 => unreachable!("handled above"),
                Encoding::I8 => d[0] = (self.kernels.encode_i8)(result, q),
                Encoding::Q8K => (self.kernels.encode_q8k)(result, q, d),
                Encoding::Q8_0 => (self.kernels.encode_q8_0)(result, q, d),
            }
            for (sum, q) in sums.iter_mut().zip(q.chunks_exact(width / per_row)) {
                *sum = q.iter().map(|q| i32::from(*q)).sum();
            }
        }
    }

    pub(crate) fn matrix(&self, product: &Product) -> Matrix<'_> {
        self.weights.matrix(product.weight)
    }

    pub(crate) fn encoded(&self, product: &Product) -> Encoded<'_> {
        // SAFETY: written before the barrier; no operation writes its own input.
        unsafe { self.buffer(product.x).encoded(self.rows(product.x)) }
    }

    /// The kernel for a product.
    pub(crate) fn kernel(&self, product: &Product) -> TileKernel {
        (self.kernels.tile)(
            self.program.weight(product.weight).format,
            self.rows(product.x),
        )
    }

    /// Computes `rows` of a product for all its tokens into `tile`, `[tokens, rows]`.
    pub(crate) fn tile(
        &self,
        product: &Product,
        rows: Range<usize>,
        panel: &mut Panel,
        tile: &mut [f32],
    ) {
        let x = self.encoded(product);
        (self.kernel(product).run)(
            &self.matrix(product),
            rows,
            &x,
            0..self.rows(product.x),
            panel,
            tile,
        );
        if product.scale != 1.0 {
            for y in tile {
                *y *= product.scale;
            }
        }
    }

    /// Rows in a piece of an operation that makes `total` of them for `tokens`.
    fn piece_rows(&self, total: usize, tokens: usize) -> usize {
        let mut rows = ROWS;
        while tokens <= FEW_TOKENS
            && rows < MOST_ROWS
            && total >= 2 * rows * PIECES_PER_THREAD * self.threads
        {
            rows *= 2;
        }
        rows
    }

    fn linear(
        &self,
        turn: Turn<'_>,
        products: &[(Product, BufferId)],
        accumulate: bool,
        scratch: &mut Scratch,
    ) {
        let outputs = |product: &Product| self.program.weight(product.weight).rows;
        let all = products.iter().map(|(product, _)| outputs(product)).sum();
        let tokens = products
            .first()
            .map_or(0, |(product, _)| self.rows(product.x));
        let piece_rows = self.piece_rows(all, tokens);
        let pieces = |product: &Product| outputs(product).div_ceil(piece_rows);
        let total = products.iter().map(|(product, _)| pieces(product)).sum();
        for ticket in self.tickets(turn, total) {
            let mut piece = ticket;
            let mut products = products.iter();
            let (product, out) = loop {
                let Some((product, out)) = products.next() else {
                    return;
                };
                if piece < pieces(product) {
                    break (product, *out);
                }
                piece -= pieces(product);
            };
            let width = self.program.weight(product.weight).rows;
            let rows = piece * piece_rows..((piece + 1) * piece_rows).min(width);
            let tile = &mut scratch.tile[..self.rows(product.x) * rows.len()];
            self.tile(product, rows.clone(), &mut scratch.panel, tile);
            let out = self.buffer(out);
            for (token, y) in tile.chunks_exact(rows.len()).enumerate() {
                let at = token * width + rows.start..token * width + rows.end;
                // SAFETY: these rows' ticket is ours alone.
                let into = unsafe { out.values.write(at) };
                if accumulate {
                    for (into, y) in into.iter_mut().zip(y) {
                        *into += y;
                    }
                } else {
                    into.copy_from_slice(y);
                }
            }
        }
    }

    fn gated(
        &self,
        turn: Turn<'_>,
        gate: &Product,
        up: &Product,
        activation: Activation,
        out: BufferId,
        scratch: &mut Scratch,
    ) {
        let out = self.buffer(out);
        let width = out.width;
        let piece_rows = self.piece_rows(width, self.tokens.len());
        for piece in self.tickets(turn, width.div_ceil(piece_rows)) {
            let rows = piece * piece_rows..((piece + 1) * piece_rows).min(width);
            let len = self.tokens.len() * rows.len();
            let panel = &mut scratch.panel;
            self.tile(gate, rows.clone(), panel, &mut scratch.tile[..len]);
            self.tile(up, rows.clone(), panel, &mut scratch.second[..len]);
            let tiles = scratch.tile[..len].chunks_exact(rows.len());
            for (token, (gate, up)) in tiles
                .zip(scratch.second.chunks_exact(rows.len()))
                .enumerate()
            {
                let at = token * width + rows.start..token * width + rows.end;
                // SAFETY: these rows' ticket is ours alone.
                (self.kernels.gate)(activation, gate, up, unsafe { out.values.write(at) });
            }
        }
    }

    fn rope_store(
        &self,
        turn: Turn<'_>,
        q: BufferId,
        k: BufferId,
        v: BufferId,
        layer: usize,
        scratch: &mut Scratch,
    ) {
        let head_dim = self.program.attention.head_dim;
        let pairing = self.program.attention.rope.pairing;
        let turns = self.frequencies.len() * 2;
        let (q, k, v) = (self.buffer(q), self.buffer(k), self.buffer(v));
        for token in self.tickets(turn, self.tokens.len()) {
            let place = self.places[token];
            let cache = &self.caches[&place.cache];
            let row = |buffer: &Buffer| token * buffer.width..(token + 1) * buffer.width;
            // SAFETY: made before the first barrier.
            let rotations = unsafe { self.rotations.read(token * turns..(token + 1) * turns) };
            // SAFETY: this token's ticket is ours alone.
            let (q, k) = unsafe { (q.values.write(row(q)), k.values.write(row(k))) };
            // SAFETY: written before the barrier.
            let v = unsafe { v.values.read(row(v)) };
            for head in q.chunks_exact_mut(head_dim) {
                (self.kernels.rotate)(pairing, rotations, head);
            }
            if self.program.cache_type == CacheType::F16 {
                (self.kernels.round_f16)(q);
            }
            let heads = k.chunks_exact_mut(head_dim).zip(v.chunks_exact(head_dim));
            for (kv_head, (k, v)) in heads.enumerate() {
                (self.kernels.rotate)(pairing, rotations, k);
                let shape = &cache.shape;
                let value = shape.value(layer, kv_head, place.position);
                let values = value..value + head_dim;
                // A tile of sixteen keys, of which this is one, element by element.
                let key = shape.key(layer, kv_head, place.position, 0);
                let elements = (key..).step_by(LANES);
                // SAFETY: this position of this sequence belongs to this token alone.
                unsafe {
                    match self.program.cache_type {
                        CacheType::F16 => {
                            let narrow = &mut scratch.halves[..head_dim];
                            (self.kernels.narrow)(v, cache.values.f16.write(values));
                            (self.kernels.narrow)(k, narrow);
                            for (at, k) in elements.zip(narrow) {
                                cache.keys.f16.write(at..at + 1)[0] = *k;
                            }
                        }
                        CacheType::F32 => {
                            cache.values.f32.write(values).copy_from_slice(v);
                            for (at, k) in elements.zip(k) {
                                cache.keys.f32.write(at..at + 1)[0] = *k;
                            }
                        }
                    }
                }
            }
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "generic over the cache's element"
    )]
    fn attention<E: Copy + Default>(
        &self,
        turn: Turn<'_>,
        q: BufferId,
        layer: usize,
        out: BufferId,
        scratch: &mut Scratch,
        attend: AttendFn<E>,
        elements: impl Fn(&Elements) -> &Cells<E>,
    ) {
        let attention = &self.program.attention;
        let dim = attention.head_dim;
        let group = attention.heads / attention.kv_heads;
        let (q, out) = (self.buffer(q), self.buffer(out));
        // Heads that share keys make one piece, unless threads would be without one.
        let groups = self.tokens.len() * attention.kv_heads;
        let few = groups < self.threads && group.is_multiple_of(2);
        let (parts, heads) = if few { (2, group / 2) } else { (1, group) };
        for piece in self.tickets(turn, groups * parts) {
            let (token, first) = (
                piece / (attention.kv_heads * parts),
                piece % (attention.kv_heads * parts) * heads,
            );
            let place = self.places[token];
            let cache = &self.caches[&place.cache];
            let shape = cache.shape;
            let kv_head = first / group;
            let len = place.position + 1;
            let at = token * q.width + first * dim..token * q.width + (first + heads) * dim;
            // SAFETY: written before the barrier.
            let queries = unsafe { q.values.read(at.clone()) };
            let stride = shape.stride;
            let (key, value) = (
                shape.key(layer, kv_head, 0, 0),
                shape.value(layer, kv_head, 0),
            );
            // SAFETY: keys and values up to this token's position were written before the barrier.
            let visible = unsafe {
                Visible {
                    keys: elements(&cache.keys).read(key..key + len.next_multiple_of(LANES) * dim),
                    values: elements(&cache.values).read(value..value + len * stride),
                    stride,
                    len,
                }
            };
            let results = &mut scratch.values[..heads * stride];
            attend(
                queries,
                heads,
                attention.scale,
                attention.round_weights,
                visible,
                &mut scratch.weights,
                results,
            );
            // SAFETY: these heads of this token have a ticket of their own, which is ours.
            let out = unsafe { out.values.write(at) };
            for (out, result) in out.chunks_exact_mut(dim).zip(results.chunks_exact(stride)) {
                out.copy_from_slice(&result[..dim]);
            }
        }
    }
}
