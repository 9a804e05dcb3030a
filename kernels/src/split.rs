//! [`Split`]: the first operations of a program on one backend, the rest on another.
//!
//! For bisecting: where a model's answer changes as the point moves, one of the two computes the
//! operation at that point otherwise. Everything is copied at the point, so it is slow.

use std::collections::BTreeMap;
use std::ops::{Add, Range};

use crate::backend::{Backend, Forward, Inspect, Telemetry, copy_buffers};
use crate::batch::{Batch, Output, Segment, Want};
use crate::format::Encoding;
use crate::oracle;
use crate::order::finite_or_nan;
use crate::program::{BufferId, Program};
use crate::report::Traffic;
use crate::{BackendError, CacheId, Checkpoint, Coordination, KernelRecorder, LayerContents};

/// A program on two backends.
pub struct Split {
    first: Box<dyn Backend>,
    second: Box<dyn Backend>,
    /// The first operation that the second backend runs.
    until: usize,
    /// Operations before `until` that the second backend runs once more: their results cannot be
    /// copied.
    again: Vec<usize>,
    caches: BTreeMap<CacheId, SplitCache>,
    next_cache: u32,
    /// Whether the latest operation ran on the second backend.
    on_second: bool,
    recorder: KernelRecorder,
}

/// A cache on both backends.
struct SplitCache {
    /// What each backend calls it.
    ids: [CacheId; 2],
    /// Tokens that the states stand for; none while a pass is on its way, or after one that failed.
    stands: Option<usize>,
}

impl Split {
    /// Runs operations `..until` on `first`, the others on `second`. Both were made for the same
    /// program.
    ///
    /// # Panics
    /// If `until` is more than the program's number of operations.
    pub fn new(first: Box<dyn Backend>, second: Box<dyn Backend>, until: usize) -> Split {
        let program = first.program();
        assert!(
            until <= program.ops.len(),
            "{until} is behind the last operation"
        );
        let again = encoded_at(program, until);
        Split {
            first,
            second,
            until,
            again,
            caches: BTreeMap::new(),
            next_cache: 0,
            on_second: false,
            recorder: KernelRecorder::default(),
        }
    }

    fn cache(&self, id: CacheId) -> Result<&SplitCache, BackendError> {
        let unknown = || BackendError::Batch(format!("there is no cache {}", id.0));
        self.caches.get(&id).ok_or_else(unknown)
    }

    /// The segments as the two backends know them.
    fn segments(&self, segments: &[Segment]) -> Result<[Vec<Segment>; 2], BackendError> {
        let mut both = [Vec::new(), Vec::new()];
        for segment in segments {
            for (own, cache) in both.iter_mut().zip(self.cache(segment.cache)?.ids) {
                own.push(Segment { cache, ..*segment });
            }
        }
        Ok(both)
    }

    /// Gives the second backend what the first has computed for this batch.
    fn hand_over(&mut self, batches: [&Batch<'_>; 2]) -> Result<(), BackendError> {
        // Makes room for every buffer.
        self.first.run(batches[0], 0..0)?;
        self.second.run(batches[1], 0..0)?;
        copy_buffers(&mut *self.first, &mut *self.second, batches[0])?;
        let program = self.first.program().clone();
        let before = program.ops[..self.until].iter();
        for layer in before.filter_map(|op| op.writes_cache()) {
            for (from, to) in batches[0].segments.iter().zip(batches[1].segments) {
                let positions = from.start + from.len;
                let contents = self.first.read_cache(from.cache, layer, positions)?;
                self.second.write_cache(to.cache, layer, &contents)?;
            }
        }
        for op in self.again.clone() {
            self.second.run(batches[1], op..op + 1)?;
        }
        Ok(())
    }

    fn current(&mut self) -> &mut dyn Backend {
        match self.on_second {
            true => &mut *self.second,
            false => &mut *self.first,
        }
    }
}

/// The operations before `until` that wrote what is encoded and will still be read.
fn encoded_at(program: &Program, until: usize) -> Vec<usize> {
    let encoded = |id: &BufferId| program.buffer(*id).encoding != Encoding::F32;
    let mut again: Vec<usize> = Vec::new();
    let mut written: Vec<BufferId> = Vec::new();
    for op in &program.ops[until..] {
        for id in op.inputs().iter().filter(|id| encoded(id)) {
            if !written.contains(id) {
                let before = &program.ops[..until];
                again.extend(before.iter().rposition(|op| op.outputs().contains(id)));
            }
        }
        written.extend(op.outputs());
    }
    again.sort_unstable();
    again.dedup();
    again
}

impl Forward for Split {
    fn device(&self) -> String {
        let program = self.first.program();
        format!(
            "{} until {}, then {}",
            self.first.device(),
            program.op_name(self.until),
            self.second.device()
        )
    }

    fn program(&self) -> &Program {
        self.first.program()
    }

    fn create_cache(&mut self, positions: usize) -> Result<CacheId, BackendError> {
        let ids = [
            self.first.create_cache(positions)?,
            self.second.create_cache(positions)?,
        ];
        let id = CacheId(self.next_cache);
        self.next_cache += 1;
        let stands = Some(0);
        self.caches.insert(id, SplitCache { ids, stands });
        Ok(id)
    }

    fn drop_cache(&mut self, cache: CacheId) {
        if let Some(SplitCache { ids, .. }) = self.caches.remove(&cache) {
            let [first, second] = ids;
            self.first.drop_cache(first);
            self.second.drop_cache(second);
        }
    }

    fn checkpoint(&mut self, cache: CacheId) -> Result<Checkpoint, BackendError> {
        let Some(tokens) = self.cache(cache)?.stands else {
            return Err(BackendError::NoWayBack {
                cache: cache.0,
                stands: None,
                start: 0,
            });
        };
        let mut states = Vec::new();
        for layer in 0..self.first.program().caches.len() {
            if let LayerContents::State(state) = self.read_cache(cache, layer, 0)? {
                states.push(state);
            }
        }
        Ok(Checkpoint { tokens, states })
    }

    fn rewind(&mut self, cache: CacheId, to: Option<&Checkpoint>) -> Result<(), BackendError> {
        let [first, second] = self.cache(cache)?.ids;
        if let Some(cache) = self.caches.get_mut(&cache) {
            cache.stands = None;
        }
        self.first.rewind(first, to)?;
        self.second.rewind(second, to)?;
        if let Some(cache) = self.caches.get_mut(&cache) {
            cache.stands = Some(to.map_or(0, |to| to.tokens));
        }
        Ok(())
    }

    fn forward(
        &mut self,
        batch: &Batch<'_>,
        want: Want,
        out: &mut Output,
    ) -> Result<(), BackendError> {
        out.logits.clear();
        out.top.clear();
        let batch = &batch.wanting(want);
        let program = self.first.program();
        let (count, vocabulary) = (program.ops.len(), program.vocabulary);
        let logits = program.head().map(|(_, logits)| logits);
        if program.has_state() {
            for segment in batch.segments {
                segment.continues(self.cache(segment.cache)?.stands)?;
            }
        }
        self.run(batch, 0..count)?;
        for segment in batch.segments {
            if let Some(cache) = self.caches.get_mut(&segment.cache) {
                cache.stands = Some(segment.start + segment.len);
            }
        }
        let rows = batch.selected.len();
        if let Some(logits) = logits.filter(|_| rows > 0) {
            let logits = self.read(logits, rows)?;
            out.logits.extend(logits.into_iter().map(finite_or_nan));
        }
        if let Want::Top(k) = want {
            for row in out.logits.chunks(vocabulary) {
                out.top.extend(oracle::top(row, k.min(vocabulary)));
            }
            out.logits.clear();
        }
        Ok(())
    }
}

impl Inspect for Split {
    fn run(&mut self, batch: &Batch<'_>, ops: Range<usize>) -> Result<(), BackendError> {
        let segments = self.segments(batch.segments)?;
        let [first, second] = segments
            .each_ref()
            .map(|segments| Batch { segments, ..*batch });
        if self.first.program().writes_state(ops.clone()) {
            // Each refuses a batch that it cannot run before either has changed a state.
            self.first.run(&first, 0..0)?;
            self.second.run(&second, 0..0)?;
            for segment in batch.segments {
                if let Some(cache) = self.caches.get_mut(&segment.cache) {
                    cache.stands = None;
                }
            }
        }
        let before = ops.start.min(self.until)..ops.end.min(self.until);
        let after = ops.start.max(self.until)..ops.end.max(self.until);
        if !before.is_empty() || ops.is_empty() {
            self.first.run(&first, before)?;
            self.on_second = false;
        }
        if !after.is_empty() {
            if !self.on_second {
                self.hand_over([&first, &second])?;
            }
            self.second.run(&second, after)?;
            self.on_second = true;
        }
        self.recorder.absorb(self.first.recorder());
        self.recorder.absorb(self.second.recorder());
        Ok(())
    }

    fn read(&mut self, buffer: BufferId, rows: usize) -> Result<Vec<f32>, BackendError> {
        self.current().read(buffer, rows)
    }

    fn write(&mut self, buffer: BufferId, values: &[f32]) -> Result<(), BackendError> {
        self.current().write(buffer, values)
    }

    fn read_cache(
        &mut self,
        cache: CacheId,
        layer: usize,
        positions: usize,
    ) -> Result<LayerContents, BackendError> {
        let [first, second] = self.cache(cache)?.ids;
        let on_first = self.first.program().ops[..self.until]
            .iter()
            .any(|op| op.writes_cache() == Some(layer));
        match on_first {
            true => self.first.read_cache(first, layer, positions),
            false => self.second.read_cache(second, layer, positions),
        }
    }

    fn write_cache(
        &mut self,
        cache: CacheId,
        layer: usize,
        contents: &LayerContents,
    ) -> Result<(), BackendError> {
        let [first, second] = self.cache(cache)?.ids;
        self.first.write_cache(first, layer, contents)?;
        self.second.write_cache(second, layer, contents)
    }
}

impl Telemetry for Split {
    fn recorder(&mut self) -> &mut KernelRecorder {
        &mut self.recorder
    }

    fn skipped_bytes(&self) -> u64 {
        self.first.skipped_bytes() + self.second.skipped_bytes()
    }

    fn traffic(&self) -> Option<Traffic> {
        let both = [self.first.traffic(), self.second.traffic()];
        both.into_iter().flatten().reduce(Traffic::add)
    }

    fn coordination(&self) -> Coordination {
        let [first, second] = [self.first.coordination(), self.second.coordination()];
        Coordination {
            barriers: first.barriers + second.barriers,
            contended: first.contended + second.contended,
        }
    }
}
