//! [`WgpuBackend`]: a program with its weights on a GPU.

use std::collections::{BTreeMap, BTreeSet};

use bitnet_kernels::program::BufferId;
use bitnet_kernels::{
    BackendError, Batch, CacheId, KernelRecorder, Program, Segment, SharedWeights, Want,
};

use crate::batch_buffers::BatchBuffers;
use crate::cache::Cache;
use crate::device::Gpu;
use crate::fusion::{self, Group};
use crate::loader::Loader;
use crate::pass::{Pass, PassBuffers};
use crate::profiler::Profiler;
use crate::rotations::Rotations;
use crate::step::{Buffers, Step};
use crate::steps::{self, Best, MAX_BEST};

/// Rows that fit from the start.
const FIRST_ROWS: usize = 64;

/// How to run on a GPU.
#[derive(Default)]
pub struct WgpuOptions {
    /// The adapter's index, as [`crate::adapters`] lists them; the best when absent.
    pub adapter: Option<usize>,
    /// Bytes that one buffer of weights may hold, if less than the adapter allows.
    pub max_binding: Option<u64>,
    /// Profiles with the host's clock, each operation submitted on its own, even where the device
    /// has timestamps.
    pub host_clock: bool,
    /// Has kernels without subgroups, as on a device that has none, even where there are some.
    pub without_subgroups: bool,
    /// Called while weights are uploaded, with the bytes done so far and the bytes in all.
    pub progress: Option<Box<dyn FnMut(u64, u64)>>,
}

/// A program with its weights on a GPU: a [`Backend`](bitnet_kernels::Backend).
pub struct WgpuBackend {
    pub(crate) gpu: Gpu,
    pub(crate) program: Program,
    /// One per operation.
    pub(crate) steps: Vec<Box<dyn Step>>,
    /// All operations, those together that may run as one.
    pub(crate) groups: Vec<Group>,
    /// Where the program has a head, its logits and the search among them.
    pub(crate) head: Option<(BufferId, Best)>,
    pub(crate) pass_buffers: PassBuffers,
    pub(crate) batch_buffers: BatchBuffers,
    pub(crate) rotations: Rotations,
    pub(crate) caches: BTreeMap<CacheId, Cache>,
    /// Caches that the steps are bound to.
    pub(crate) bound_caches: BTreeSet<CacheId>,
    pub(crate) next_cache: u32,
    pub(crate) recorder: KernelRecorder,
    pub(crate) profiler: Option<Profiler>,
    pub(crate) host_clock: bool,
    /// The next passes, recorded while the device was busy with the last, in the hope that they are
    /// the same again: a decode step follows a decode step.
    pub(crate) ahead: Option<Recorded>,
}

/// Recorded passes, one after another.
pub(crate) struct Recorded {
    pub(crate) passes: Vec<Pass>,
    pub(crate) want: Want,
    pub(crate) kernels: Vec<&'static str>,
    pub(crate) commands: wgpu::CommandBuffer,
}

impl WgpuBackend {
    /// Opens a GPU and places `program` on it. Weights are read from `source` once.
    ///
    /// # Errors
    /// No such adapter, too little memory, a weight that is not there, an operation that no kernel
    /// runs.
    pub fn load(
        program: Program,
        source: SharedWeights,
        options: WgpuOptions,
    ) -> Result<WgpuBackend, BackendError> {
        program.validate().map_err(BackendError::Program)?;
        let mut gpu = Gpu::open(options.adapter, !options.without_subgroups)?;
        if let Some(limit) = options.max_binding {
            gpu.max_weights = gpu.max_weights.min(limit);
        }
        let total = program
            .weights
            .iter()
            .filter_map(|w| w.format.matrix_bytes(w.rows, w.cols))
            .sum::<usize>() as u64;
        let mut callback = options.progress;
        let mut done = 0;
        let mut progress = |bytes: u64| {
            done = (done + bytes).min(total);
            if let Some(callback) = &mut callback {
                callback(done, total);
            }
        };
        let mut loader = Loader::new(&gpu, &program, source, &mut progress);
        let steps = steps::load(&mut loader)?;
        let groups = fusion::groups(&mut loader)?;
        let head = program
            .head()
            .map(|(_, logits)| Ok((logits, Best::load(&mut loader, logits)?)))
            .transpose()?;
        progress(total);
        let mut backend = WgpuBackend {
            pass_buffers: PassBuffers::new(&gpu, &program, FIRST_ROWS + 1)?,
            batch_buffers: BatchBuffers::new(&gpu, &program, (FIRST_ROWS, 1), MAX_BEST)?,
            rotations: Rotations::new(&gpu, &program)?,
            gpu,
            program,
            steps,
            groups,
            head,
            caches: BTreeMap::new(),
            bound_caches: BTreeSet::new(),
            next_cache: 0,
            recorder: KernelRecorder::default(),
            profiler: None,
            host_clock: options.host_clock,
            ahead: None,
        };
        backend.bind()?;
        backend.gpu.check()?;
        Ok(backend)
    }

    pub(crate) fn cache(&self, id: CacheId) -> Result<&Cache, BackendError> {
        self.caches
            .get(&id)
            .ok_or_else(|| BackendError::Batch(format!("there is no cache {}", id.0)))
    }

    /// Notes what the states of the batch's sequences stand for.
    pub(crate) fn states_stand(
        &mut self,
        batch: &Batch<'_>,
        stands: impl Fn(&Segment) -> Option<usize>,
    ) {
        for segment in batch.segments {
            if let Some(cache) = self.caches.get_mut(&segment.cache) {
                cache.stands = stands(segment);
            }
        }
    }

    /// Makes room for a number of rows.
    pub(crate) fn reserve(&mut self, rows: usize, selected: usize) -> Result<(), BackendError> {
        let batch_buffers = &self.batch_buffers;
        if rows <= batch_buffers.rows && selected <= batch_buffers.selected_rows {
            return Ok(());
        }
        let wanted = (
            rows.max(batch_buffers.rows).next_multiple_of(FIRST_ROWS),
            selected.max(batch_buffers.selected_rows),
        );
        self.batch_buffers = BatchBuffers::new(&self.gpu, &self.program, wanted, MAX_BEST)?;
        self.pass_buffers.reserve(&self.gpu, wanted.0 + wanted.1)?;
        self.bind()
    }

    /// Makes room for sequences that end before this position.
    fn reserve_positions(&mut self, end: usize) -> Result<(), BackendError> {
        let most = self.caches.values().map(|cache| cache.positions).max();
        let most = most.unwrap_or(end);
        let (gpu, program) = (&self.gpu, &self.program);
        match self.rotations.reserve(gpu, program, end, most)? {
            true => self.bind(),
            false => Ok(()),
        }
    }

    /// Binds everything to the buffers that there are now; caches are bound when they are used.
    pub(crate) fn bind(&mut self) -> Result<(), BackendError> {
        self.ahead = None;
        self.bound_caches.clear();
        let buffers = buffers(
            &self.gpu,
            &self.batch_buffers,
            &self.pass_buffers,
            &self.rotations,
        );
        for step in all_steps(&mut self.steps, &mut self.groups) {
            step.bind(&buffers);
        }
        match &mut self.head {
            Some((_, best)) => best.bind(&buffers, self.batch_buffers.selected_rows),
            None => Ok(()),
        }
    }

    /// Checks batches that run one after another, makes room for them, and writes what their passes
    /// need to know. `best` is how many candidates each selected row gives.
    pub(crate) fn prepare(
        &mut self,
        batches: &[Batch<'_>],
        best: usize,
    ) -> Result<Vec<Pass>, BackendError> {
        let (mut end, mut tokens, mut selected) = (0, 0, 0);
        for batch in batches {
            batch.validate(&self.program)?;
            for segment in batch.segments {
                let capacity = self.cache(segment.cache)?.positions;
                end = end.max(segment.positions(capacity)?.end);
            }
            tokens = tokens.max(batch.tokens.len());
            selected = selected.max(batch.selected.len());
        }
        self.reserve_positions(end)?;
        self.reserve(tokens, selected)?;
        let passes = self.pass_buffers.prepare(&self.gpu, batches, best)?;
        for segment in batches.iter().flat_map(|batch| batch.segments) {
            self.bind_cache(segment.cache);
        }
        Ok(passes)
    }

    fn bind_cache(&mut self, id: CacheId) {
        let Some(cache) = self.caches.get(&id) else {
            return;
        };
        if self.bound_caches.insert(id) {
            let buffers = buffers(
                &self.gpu,
                &self.batch_buffers,
                &self.pass_buffers,
                &self.rotations,
            );
            for step in all_steps(&mut self.steps, &mut self.groups) {
                step.bind_cache(&buffers, id, cache);
            }
        }
    }
}

/// The steps of single operations and those of several.
pub(crate) fn all_steps<'a>(
    steps: &'a mut [Box<dyn Step>],
    groups: &'a mut [Group],
) -> impl Iterator<Item = &'a mut Box<dyn Step>> {
    let fused = groups.iter_mut().filter_map(|group| group.fused.as_mut());
    let fused = fused.map(|fused| &mut fused.step);
    steps.iter_mut().chain(fused)
}

fn buffers<'a>(
    gpu: &'a Gpu,
    batch_buffers: &'a BatchBuffers,
    pass_buffers: &'a PassBuffers,
    rotations: &'a Rotations,
) -> Buffers<'a> {
    Buffers {
        gpu,
        activations: &batch_buffers.activations,
        numbers: &pass_buffers.numbers,
        spans: &pass_buffers.spans,
        rotations,
    }
}
