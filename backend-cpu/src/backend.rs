//! [`CpuBackend`]: the [`Backend`](bitnet_kernels::Backend) of the CPU.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::AtomicUsize;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use bitnet_kernels::batch::cache_positions;
use bitnet_kernels::order::finite_or_nan;
use bitnet_kernels::program::{BufferId, Op, Product};
use bitnet_kernels::{
    BackendError, Batch, CacheId, CachePart, Checkpoint, Choice, Coordination, Forward, Inspect,
    KeepsScreen, KernelRecorder, LayerContents, Limits, Output, Profile, Program, Screening,
    SharedCaches, SharedWeights, Telemetry, Want,
};

use crate::exec::buffers::Buffer;
use crate::exec::cache::Cache;
use crate::exec::clock::Clock;
use crate::exec::columns::{Columns, Matrix};
use crate::exec::gated;
use crate::exec::heads::most_scores;
use crate::exec::pass::{Pass, Place};
use crate::exec::rotation::Rotation;
use crate::exec::scratch::Scratch;
use crate::exec::weights::Weights;
use crate::head::Head;
use crate::isa::Isa;
use crate::isa::table::Kernels;
use crate::limits;
use crate::memory::shared::SharedSlice;
use crate::threads::affinity::{Affinity, AffinityError, Places};
use crate::threads::pool::{Pool, PoolError};
use crate::threads::team::{Kind, Teams};

/// How to run on the CPU.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuOptions {
    /// Threads, the caller's included; when absent, as many as there are cores for this process.
    /// Of more than that, as many compute at a time as there are cores, and fewer where that is
    /// faster.
    pub threads: Option<usize>,
    /// The instruction set; the fastest that the CPU has when absent.
    pub isa: Option<Isa>,
    /// On which CPUs the threads compute. Where these are those of a node, there are as many cores.
    pub affinity: Affinity,
}

/// A program with its weights on the CPU.
pub struct CpuBackend {
    program: Program,
    weights: Weights,
    columns: Columns,
    kernels: &'static Kernels,
    pool: Pool,
    /// Where the threads of the pool are, if they were put there.
    threads_are: Option<&'static str>,
    teams: Teams,
    buffers: Vec<Buffer>,
    caches: BTreeMap<CacheId, Cache>,
    next_cache: u32,
    recorder: KernelRecorder,
    head: Option<Head>,
    clock: Option<Clock>,
    scratch: Vec<Mutex<Scratch>>,
    rotations: Vec<Rotation>,
    places: Vec<Place>,
    scores: SharedSlice<f32>,
}

const DEVICE: &str = "cpu";

fn no_cache(id: CacheId) -> BackendError {
    BackendError::Batch(format!("there is no cache {}", id.0))
}

impl CpuBackend {
    /// Places `program` on the CPU. Weights stay in `source` and are read there.
    ///
    /// # Errors
    /// [`BackendError::Unsupported`] where this CPU lacks the instruction set,
    /// [`BackendError::Weight`] where a tensor is not as the program says, [`BackendError::Device`]
    /// where the threads cannot be started.
    pub fn load(
        program: Program,
        source: SharedWeights,
        options: CpuOptions,
    ) -> Result<CpuBackend, BackendError> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        CpuBackend::with_cores(program, source, options, cores)
    }

    /// [`CpuBackend::load`] for so many cores.
    pub(crate) fn with_cores(
        program: Program,
        source: SharedWeights,
        options: CpuOptions,
        cores: usize,
    ) -> Result<CpuBackend, BackendError> {
        program.validate().map_err(BackendError::Program)?;
        let isa = options.isa.unwrap_or_else(Isa::best);
        let kernels = isa.kernels().ok_or_else(|| BackendError::Unsupported {
            device: DEVICE.to_owned(),
            what: format!("the instruction set {isa}: this CPU lacks it"),
        })?;
        let no_cpus = |error: AffinityError| BackendError::Affinity(error.to_string());
        let places = Places::find(options.affinity).map_err(no_cpus)?;
        let cores = places.as_ref().map_or(cores, |it| it.count().min(cores));
        let threads = options.threads.unwrap_or(cores).max(1);
        let cpus = places
            .as_ref()
            .map(|it| it.deal(threads, cores.min(threads)));
        let cpus = cpus.transpose().map_err(no_cpus)?.unwrap_or_default();
        let pool = Pool::new(threads, cores, cpus).map_err(|error| match error {
            PoolError::Start(error) => BackendError::Device {
                device: DEVICE.to_owned(),
                problem: format!("starting {threads} threads: {error}; try fewer"),
            },
            PoolError::Confine(error) => no_cpus(AffinityError::System(error)),
        })?;
        let weights = Weights::new(&program, source)?;
        let longest_row = weights.longest_row();
        Ok(CpuBackend {
            weights,
            columns: Columns::new(&program, kernels, threads),
            kernels,
            teams: Teams::new(pool.at_once()),
            pool,
            threads_are: places.as_ref().map(Places::name),
            buffers: program.buffers.iter().map(Buffer::new).collect(),
            caches: BTreeMap::new(),
            next_cache: 0,
            recorder: KernelRecorder::default(),
            head: Head::new(&program),
            clock: None,
            scratch: (0..threads)
                .map(|_| Mutex::new(Scratch::new(longest_row)))
                .collect(),
            rotations: program.rotations.iter().map(Rotation::new).collect(),
            places: Vec::new(),
            scores: SharedSlice::default(),
            program,
        })
    }

    fn cache(&mut self, id: CacheId) -> Result<&mut Cache, BackendError> {
        self.caches.get_mut(&id).ok_or_else(|| no_cache(id))
    }

    /// Makes the pages of a cache that hold these positions its own, to be written to.
    fn own(&mut self, id: CacheId, positions: Range<usize>) -> Result<(), BackendError> {
        let count = positions.len();
        let cache = self.caches.get_mut(&id).ok_or_else(|| no_cache(id))?;
        let owned = cache.own(positions);
        owned.map_err(|no_memory| BackendError::OutOfMemory {
            device: DEVICE.to_owned(),
            what: format!("{count} positions of a cache that was shared"),
            need: no_memory.bytes(),
            have: None,
        })
    }

    /// Adds a cache of so many positions, if there was memory for it.
    fn add(&mut self, cache: Option<Cache>, positions: usize) -> Result<CacheId, BackendError> {
        let id = CacheId(self.next_cache);
        self.next_cache += 1;
        let cache = cache.ok_or_else(|| BackendError::OutOfMemory {
            device: DEVICE.to_owned(),
            what: format!("a cache of {positions} positions"),
            need: (self.program.cache_bytes_per_position() as u64).saturating_mul(positions as u64),
            have: None,
        })?;
        self.caches.insert(id, cache);
        Ok(id)
    }

    /// Checks the batch and makes room for it.
    fn prepare(&mut self, batch: &Batch<'_>) -> Result<(), BackendError> {
        batch.validate(&self.program)?;
        self.places.clear();
        let mut longest = 0;
        for segment in batch.segments {
            let capacity = self.cache(segment.cache)?.positions;
            let positions = segment.positions(capacity)?;
            longest = longest.max(capacity);
            self.own(segment.cache, positions.clone())?;
            self.places.extend(positions.map(|position| Place {
                cache: segment.cache,
                position,
            }));
        }
        let positions = self.places.iter().map(|place| place.position);
        let scores = most_scores(&self.program, positions, self.pool.at_once());
        if self.scores.len() < scores {
            self.scores.reserve(scores.next_power_of_two());
        }
        for (buffer, desc) in self.buffers.iter_mut().zip(&self.program.buffers) {
            buffer.reserve(batch.rows(desc.rows));
        }
        for rotation in &mut self.rotations {
            rotation.reserve(batch.tokens.len());
        }
        for scratch in &mut self.scratch {
            Scratch::exclusive(scratch).reserve(batch, longest, &self.program, self.kernels);
        }
        Ok(())
    }

    /// Notes the kernels of operations that ran.
    fn note(&mut self, batch: &Batch<'_>, ops: Range<usize>, search: bool) {
        let isa = self.kernels;
        let kernel = |product: &Product| {
            let rows = batch.rows(self.program.buffer(product.x).rows);
            isa.product(self.program.weight(product.weight).format, rows)
                .name
        };
        for op in &self.program.ops[ops] {
            if let Op::Head { .. } = op
                && search
                && self.head.as_ref().is_some_and(Head::is_screened)
            {
                self.recorder.note(isa.screen_name);
            }
            let mut products = op.products().peekable();
            // How many rows meet an expert, and so its kernel, is known when tokens are routed.
            let routed = matches!(op, Op::GatedExperts { .. } | Op::ExpertLinear { .. });
            if routed || products.peek().is_none() {
                self.recorder.note(op.name());
                continue;
            }
            for product in products {
                let tokens = batch.rows(self.program.buffer(product.x).rows);
                let partial = match op {
                    Op::GatedLinear { up, activation, .. } if product == up => {
                        let format = self.program.weight(up.weight).format;
                        gated::listed(isa, *activation, format, tokens).map(|listed| listed.name)
                    }
                    Op::Linear { .. } => self
                        .columns
                        .find(product.weight)
                        .and_then(Matrix::kernel_name),
                    _ => None,
                };
                self.recorder
                    .note(partial.unwrap_or_else(|| kernel(product)));
            }
        }
    }

    /// Runs operations. With `best`, the head finds as many of the best logits, by the choices
    /// where there are such, instead of writing all of them.
    fn pass(
        &mut self,
        batch: &Batch<'_>,
        ops: Range<usize>,
        best: Option<(usize, &[Choice<'_>])>,
    ) -> Result<(), BackendError> {
        self.prepare(batch)?;
        if self.program.writes_state(ops.clone()) {
            for segment in batch.segments {
                self.cache(segment.cache)?.stands = None;
            }
        }
        self.columns.begin(&ops, batch.tokens.len());
        let search = match (&mut self.head, best) {
            (Some(head), Some((k, choices))) => {
                Some(head.search(k, batch.selected.len(), choices, &mut self.scratch))
            }
            _ => None,
        };
        // What is run in parts is looked at, not used.
        let whole = ops == (0..self.program.ops.len());
        let kind = whole.then(|| Kind {
            tokens: batch.tokens.len(),
            selected: batch.selected.len(),
            best: search.is_some(),
        });
        let threads = kind.map_or(self.pool.at_once(), |kind| self.teams.threads(kind));
        let start = Instant::now();
        let pass = Pass {
            kernels: self.kernels,
            program: &self.program,
            weights: &self.weights,
            columns: &self.columns,
            buffers: &self.buffers,
            caches: &self.caches,
            tokens: batch.tokens,
            segments: batch.segments,
            places: &self.places,
            selected: batch.selected,
            ops: ops.clone(),
            search,
            rotations: &self.rotations,
            threads,
            scratch: &self.scratch,
            clock: self.clock.as_ref(),
            scores: &self.scores,
            next: AtomicUsize::new(0),
            stage: AtomicUsize::new(0),
        };
        self.pool.run(threads, &pass);
        if let Some(kind) = kind {
            self.teams.note(kind, start.elapsed());
        }
        self.note(batch, ops, best.is_some());
        self.columns.finish(&self.weights);
        if let Some(clock) = &mut self.clock {
            clock.gather();
        }
        Ok(())
    }

    /// Runs all operations, and gives what [`CpuBackend::pass`] finds, or all logits.
    fn whole(
        &mut self,
        batch: &Batch<'_>,
        best: Option<(usize, &[Choice<'_>])>,
        out: &mut Output,
    ) -> Result<(), BackendError> {
        if self.program.has_state() {
            for segment in batch.segments {
                segment.continues(self.cache(segment.cache)?.stands)?;
            }
        }
        self.pass(batch, 0..self.program.ops.len(), best)?;
        for segment in batch.segments {
            self.cache(segment.cache)?.stands = Some(segment.start + segment.len);
        }
        out.logits.clear();
        out.top.clear();
        let Some(head) = &mut self.head else {
            return Ok(());
        };
        match best {
            Some(_) => head.finish(&mut self.scratch, &self.weights, &mut out.top),
            None => {
                let len = batch.selected.len() * self.program.vocabulary;
                let logits = self.buffers[head.logits.0 as usize].values.as_mut();
                let logits = logits[..len].iter().map(|logit| finite_or_nan(*logit));
                out.logits.extend(logits);
            }
        }
        Ok(())
    }
}

impl Forward for CpuBackend {
    fn device(&self) -> String {
        let threads = self.pool.threads();
        let mut device = format!(
            "{DEVICE} {}, {threads} thread{}",
            self.kernels.name,
            if threads == 1 { "" } else { "s" }
        );
        if let Some(are) = self.threads_are {
            device.extend([" ", are]);
        }
        device
    }

    fn program(&self) -> &Program {
        &self.program
    }

    fn create_cache(&mut self, positions: usize) -> Result<CacheId, BackendError> {
        let cache = Cache::new(&self.program, positions);
        self.add(cache, positions)
    }

    fn sharing(&mut self) -> Option<&mut dyn SharedCaches> {
        Some(self)
    }

    fn screen(&mut self) -> Option<&mut dyn KeepsScreen> {
        self.head.as_mut()?.keeps_screen()
    }

    fn drop_cache(&mut self, cache: CacheId) {
        self.caches.remove(&cache);
    }

    fn checkpoint(&mut self, cache: CacheId) -> Result<Checkpoint, BackendError> {
        self.cache(cache)?.checkpoint(cache)
    }

    fn rewind(&mut self, cache: CacheId, to: Option<&Checkpoint>) -> Result<(), BackendError> {
        self.cache(cache)?.rewind(to)
    }

    fn forward(
        &mut self,
        batch: &Batch<'_>,
        want: Want,
        out: &mut Output,
    ) -> Result<(), BackendError> {
        let best = match want {
            Want::Top(k) => Some((k.min(self.program.vocabulary), &[][..])),
            Want::Nothing | Want::Logits => None,
        };
        self.whole(&batch.wanting(want), best, out)
    }

    fn forward_choices(
        &mut self,
        batch: &Batch<'_>,
        choices: &[Choice<'_>],
        out: &mut Output,
    ) -> Result<(), BackendError> {
        let most = batch.most(choices, self.program.vocabulary)?;
        self.whole(batch, Some((most, choices)), out)
    }
}

impl SharedCaches for CpuBackend {
    fn fork_cache(
        &mut self,
        cache: CacheId,
        tokens: usize,
        positions: usize,
    ) -> Result<CacheId, BackendError> {
        let from = self.caches.get(&cache).ok_or_else(|| no_cache(cache))?;
        cache_positions(0, tokens, from.positions.min(positions))?;
        if !self.program.rotates_alike(from.positions, positions) {
            return Err(BackendError::Batch(format!(
                "a cache of {positions} positions is rotated in another way than one of {}",
                from.positions
            )));
        }
        let fork = from.fork(&self.program, tokens, positions);
        self.add(fork, positions)
    }

    fn shrink_cache(&mut self, cache: CacheId, tokens: usize) {
        if let Some(cache) = self.caches.get_mut(&cache) {
            cache.shrink(tokens);
        }
    }

    fn cache_parts(&self, cache: CacheId) -> Vec<CachePart> {
        self.caches.get(&cache).map_or_else(Vec::new, Cache::parts)
    }
}

impl Inspect for CpuBackend {
    fn run(&mut self, batch: &Batch<'_>, ops: Range<usize>) -> Result<(), BackendError> {
        self.pass(batch, ops, None)
    }

    fn read(&mut self, buffer: BufferId, rows: usize) -> Result<Vec<f32>, BackendError> {
        let buffer = &mut self.buffers[buffer.0 as usize];
        buffer.reserve(rows);
        Ok(buffer.decode(rows))
    }

    fn write(&mut self, buffer: BufferId, values: &[f32]) -> Result<(), BackendError> {
        let buffer = &mut self.buffers[buffer.0 as usize];
        buffer.reserve(values.len() / buffer.width);
        let Some(into) = buffer.values.as_mut().get_mut(..values.len()) else {
            return Err(BackendError::Batch(
                "only f32 buffers can be written".to_owned(),
            ));
        };
        into.copy_from_slice(values);
        Ok(())
    }

    fn read_cache(
        &mut self,
        cache: CacheId,
        layer: usize,
        positions: usize,
    ) -> Result<LayerContents, BackendError> {
        self.cache(cache)?.read(layer, positions)
    }

    fn write_cache(
        &mut self,
        cache: CacheId,
        layer: usize,
        contents: &LayerContents,
    ) -> Result<(), BackendError> {
        let positions = self.cache(cache)?.positions;
        self.own(cache, 0..positions)?;
        self.cache(cache)?.write(layer, contents)
    }
}

impl Telemetry for CpuBackend {
    fn limits(&mut self) -> Option<Limits> {
        limits::measure(&mut self.pool, self.kernels).ok()
    }

    fn set_profiling(&mut self, on: bool) -> bool {
        self.clock = on.then(|| Clock::new(&self.program));
        true
    }

    fn profile(&self) -> Option<&Profile> {
        self.clock.as_ref().map(|clock| &clock.profile)
    }

    fn screening(&self) -> Option<Screening> {
        self.head.as_ref()?.report()
    }

    fn skipped_bytes(&self) -> u64 {
        let skipped = self.scratch.iter().map(|scratch| {
            let scratch = scratch.lock().unwrap_or_else(PoisonError::into_inner);
            scratch.skipped
        });
        skipped.sum()
    }

    fn coordination(&self) -> Coordination {
        self.pool.coordination()
    }

    fn recorder(&mut self) -> &mut KernelRecorder {
        &mut self.recorder
    }
}
