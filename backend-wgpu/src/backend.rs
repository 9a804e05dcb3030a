//! [`WgpuBackend`]: the [`Backend`](bitnet_kernels::Backend) of GPUs.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bitnet_kernels::program::{BufferId, Op, Rows};
use bitnet_kernels::{
    BackendError, Batch, CacheId, Forward, Inspect, KernelRecorder, Output, Program, SharedWeights,
    Telemetry, Want, oracle,
};
use wgpu::{BindGroup, Buffer, BufferUsages, ComputePass};

use crate::buffers::{Activations, floats};
use crate::cache::Cache;
use crate::device::Gpu;
use crate::pipeline::{Pipeline, Pipelines};
use crate::steps::{Builder, Dispatch, Grid, Shared, Step};
use crate::top::{MAX_TOP, Top, decode};
use crate::work::{Pass, PassBuffers, Stretch, slot_of};

/// Passes of up to so many tokens are recorded ahead.
const AHEAD_TOKENS: u32 = 8;

/// How to run on a GPU.
#[derive(Default)]
pub struct WgpuOptions {
    /// The adapter's index, as [`crate::adapters`] lists them; the best when absent.
    pub adapter: Option<usize>,
    /// Bytes that one buffer of weights may hold, if less than the adapter allows.
    pub max_binding: Option<u64>,
    /// Called while weights are uploaded, with the bytes done so far and the bytes in all.
    pub progress: Option<Box<dyn FnMut(u64, u64)>>,
}

/// Time that one kind of operation took in a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpTime {
    /// The operation's name.
    pub op: &'static str,
    /// How often it ran.
    pub count: u32,
    /// All its runs together.
    pub time: Duration,
}

/// A program with its weights on a GPU.
pub struct WgpuBackend {
    gpu: Gpu,
    program: Program,
    steps: Vec<Vec<Step>>,
    pipelines: Pipelines,
    pass_buffers: PassBuffers,
    /// Sized for a number of rows; made anew when a batch has more.
    sized: Sized,
    caches: BTreeMap<CacheId, Cache>,
    next_cache: u32,
    rotations: Buffer,
    rotated_positions: usize,
    recorder: KernelRecorder,
    /// The next pass, recorded while the device was busy with the last, in the hope that it is the
    /// same again: a decode step follows a decode step.
    ahead: Option<Recorded>,
}

/// A recorded pass.
struct Recorded {
    pass: Pass,
    want: Want,
    kernels: Vec<&'static str>,
    commands: wgpu::CommandBuffer,
}

/// What depends on the number of rows that fit.
struct Sized {
    rows: usize,
    selected_rows: usize,
    activations: Vec<Activations>,
    tokens: Buffer,
    selected: Buffer,
    dispatches: Vec<Vec<Dispatch>>,
    /// Bind groups of operations on a cache: those of its dispatches.
    on_cache: HashMap<(usize, usize, CacheId), Vec<BindGroup>>,
    top: Option<Top>,
    staging: Buffer,
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
        let mut gpu = Gpu::open(options.adapter)?;
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
        let mut pipelines = Pipelines::default();
        let steps = Builder::new(&gpu, &program, source, &mut pipelines, &mut progress).build()?;
        progress(total);
        let pass_buffers = PassBuffers::new(&gpu, &program)?;
        let rotations = gpu.storage("rotations", 16)?;
        let mut backend = WgpuBackend {
            sized: Sized::new(
                &gpu,
                &program,
                &steps,
                &pass_buffers,
                &mut pipelines,
                (1, 1),
            )?,
            gpu,
            program,
            steps,
            pipelines,
            pass_buffers,
            caches: BTreeMap::new(),
            next_cache: 0,
            rotations,
            rotated_positions: 0,
            recorder: KernelRecorder::default(),
            ahead: None,
        };
        backend.gpu.check()?;
        backend.reserve(64, 1)?;
        Ok(backend)
    }

    /// Runs a pass with a timestamp around each operation and says where the time went, in the
    /// order of the operations' first run. `None` where the device keeps no time.
    ///
    /// # Errors
    /// As [`Forward::forward`].
    pub fn profile(&mut self, batch: &Batch<'_>) -> Result<Option<Vec<OpTime>>, BackendError> {
        if !self.gpu.timestamps {
            return Ok(None);
        }
        let pass = self.prepare(batch, 0)?;
        let count = self.steps.len() as u32 * 2;
        let queries = self.gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: None,
            ty: wgpu::QueryType::Timestamp,
            count,
        });
        let bytes = count as usize * 8;
        let usage = BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC;
        let resolved = self.gpu.buffer("timestamps", bytes, usage)?;
        let mut encoder = self.encoder();
        for op in 0..self.steps.len() {
            let mut recording = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                    query_set: &queries,
                    beginning_of_pass_write_index: Some(op as u32 * 2),
                    end_of_pass_write_index: Some(op as u32 * 2 + 1),
                }),
            });
            self.record(&mut recording, &mut Vec::new(), &pass, op..op + 1);
        }
        encoder.resolve_query_set(&queries, 0..count, &resolved, 0);
        let index = self.gpu.queue.submit([encoder.finish()]);
        self.gpu.wait(index)?;
        let bytes = self.gpu.download(&resolved, bytes)?;
        let ticks: Vec<u64> = bytes
            .as_chunks()
            .0
            .iter()
            .map(|t| u64::from_le_bytes(*t))
            .collect();
        let period = f64::from(self.gpu.queue.get_timestamp_period());
        let mut times: Vec<OpTime> = Vec::new();
        for (op, ticks) in self.program.ops.iter().zip(ticks.chunks(2)) {
            let nanoseconds = ticks[1].saturating_sub(ticks[0]) as f64 * period;
            let time = Duration::from_nanos(nanoseconds as u64);
            match times.iter_mut().find(|t| t.op == op.name()) {
                Some(known) => {
                    known.count += 1;
                    known.time += time;
                }
                None => times.push(OpTime {
                    op: op.name(),
                    count: 1,
                    time,
                }),
            }
        }
        Ok(Some(times))
    }

    fn cache(&self, id: CacheId) -> Result<&Cache, BackendError> {
        self.caches
            .get(&id)
            .ok_or_else(|| BackendError::Batch(format!("there is no cache {}", id.0)))
    }

    /// Makes room for a number of rows.
    fn reserve(&mut self, rows: usize, selected: usize) -> Result<(), BackendError> {
        if rows <= self.sized.rows && selected <= self.sized.selected_rows {
            return Ok(());
        }
        let wanted = (
            rows.max(self.sized.rows).next_multiple_of(64),
            selected.max(self.sized.selected_rows),
        );
        self.ahead = None;
        self.sized = Sized::new(
            &self.gpu,
            &self.program,
            &self.steps,
            &self.pass_buffers,
            &mut self.pipelines,
            wanted,
        )?;
        Ok(())
    }

    /// Checks the batch, makes room for it, and writes what the pass needs to know.
    fn prepare(&mut self, batch: &Batch<'_>, top: usize) -> Result<Pass, BackendError> {
        batch.validate(&self.program)?;
        for segment in batch.segments {
            let room = self.cache(segment.cache)?.positions;
            if segment.start + segment.len > room {
                return Err(BackendError::Batch(format!(
                    "positions {} to {} do not fit a cache of {room}",
                    segment.start,
                    segment.start + segment.len
                )));
            }
        }
        self.reserve(batch.tokens.len(), batch.selected.len())?;
        for (buffer, ids) in [
            (&self.sized.tokens, batch.tokens),
            (&self.sized.selected, batch.selected),
        ] {
            self.gpu
                .queue
                .write_buffer(buffer, 0, bytemuck::cast_slice(ids));
        }
        let pass = self.pass_buffers.prepare(&self.gpu, batch, top)?;
        for segment in batch.segments {
            self.bind_cache(segment.cache);
        }
        Ok(pass)
    }

    /// Makes the bind groups that a cache needs.
    fn bind_cache(&mut self, id: CacheId) {
        let (gpu, sized, buffers) = (&self.gpu, &mut self.sized, &self.pass_buffers);
        let Some(cache) = self.caches.get(&id) else {
            return;
        };
        for (op, steps) in self.steps.iter().enumerate() {
            for (at, step) in steps.iter().enumerate() {
                if sized.on_cache.contains_key(&(op, at, id)) {
                    continue;
                }
                let values = |buffer: &BufferId| &sized.activations[buffer.0 as usize].values;
                let groups = match step {
                    Step::RopeStore {
                        pipeline,
                        q,
                        k,
                        v,
                        layer,
                    } => vec![pipeline.bind(
                        gpu,
                        &[
                            ("work", &buffers.work),
                            ("q", values(q)),
                            ("k", values(k)),
                            ("v", values(v)),
                            ("rotations", &self.rotations),
                            ("keys", &cache.layers[*layer].keys),
                            ("values", &cache.layers[*layer].values),
                        ],
                    )],
                    Step::Attention {
                        spans,
                        merge,
                        q,
                        layer,
                        out,
                    } => {
                        let bind = |span: &Arc<Pipeline>| {
                            let layer = &cache.layers[*layer];
                            let buffers = [
                                ("work", &buffers.work),
                                ("q", values(q)),
                                ("keys", &layer.keys),
                                ("values", &layer.values),
                                ("spans", &buffers.spans),
                                ("results", values(out)),
                            ];
                            span.bind(gpu, &buffers)
                        };
                        let merged = [
                            ("work", &buffers.work),
                            ("spans", &buffers.spans),
                            ("results", values(out)),
                        ];
                        let mut groups: Vec<_> = spans.iter().map(bind).collect();
                        groups.push(merge.bind(gpu, &merged));
                        groups
                    }
                    _ => continue,
                };
                sized.on_cache.insert((op, at, id), groups);
            }
        }
    }

    fn encoder(&self) -> wgpu::CommandEncoder {
        self.gpu.device.create_command_encoder(&Default::default())
    }

    /// Records operations of a prepared pass.
    fn record(
        &self,
        recording: &mut ComputePass<'_>,
        kernels: &mut Vec<&'static str>,
        pass: &Pass,
        ops: Range<usize>,
    ) {
        let Self {
            sized,
            steps,
            program,
            ..
        } = self;
        for op in ops {
            for dispatch in &sized.dispatches[op] {
                let rows = pass.rows(dispatch.rows);
                if rows < dispatch.when.0 || rows >= dispatch.when.1 {
                    continue;
                }
                let (x, y) = match dispatch.grid {
                    Grid::Rows => (rows, 1),
                    Grid::ByRow(x) => (x, rows),
                    Grid::ByTile(x) => (x, rows.div_ceil(64)),
                };
                let slot = slot_of(dispatch.rows);
                start(
                    recording,
                    kernels,
                    &dispatch.pipeline,
                    &dispatch.bind,
                    slot,
                    (x, y, 1),
                );
            }
            let shape = &program.attention;
            for (at, step) in steps[op].iter().enumerate() {
                let groups = |stretch: &Stretch| &sized.on_cache[&(op, at, stretch.cache)];
                match step {
                    Step::RopeStore { pipeline, .. } => {
                        let threads = (shape.heads + 2 * shape.kv_heads) * (shape.head_dim / 4);
                        for stretch in &pass.segments {
                            let grid = (threads.div_ceil(64) as u32, stretch.rows, 1);
                            let bind = &groups(stretch)[0];
                            start(recording, kernels, pipeline, bind, stretch.slot, grid);
                        }
                    }
                    Step::Attention { spans, merge, .. } => {
                        let heads = shape.heads as u32;
                        for stretch in &pass.attention {
                            let (slot, rows) = (stretch.slot, stretch.rows);
                            let binds = groups(stretch);
                            for (span, bind) in spans.iter().zip(binds) {
                                let grid = (heads, stretch.spans, rows);
                                start(recording, kernels, span, bind, slot, grid);
                            }
                            if stretch.spans > 1 {
                                let grid = (heads, rows, shape.head_dim.div_ceil(64) as u32);
                                let bind = &binds[spans.len()];
                                start(recording, kernels, merge, bind, slot, grid);
                            }
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    /// Records a whole pass, up to the copy of what is wanted.
    fn record_forward(&self, pass: Pass, want: Want) -> Recorded {
        let mut kernels = Vec::new();
        let mut encoder = self.encoder();
        {
            let mut recording = encoder.begin_compute_pass(&Default::default());
            self.record(&mut recording, &mut kernels, &pass, 0..self.steps.len());
            let wanted = on_device(pass.top as usize) && pass.selected > 0;
            if let (true, Some(top)) = (wanted, &self.sized.top) {
                let (slot, rows) = (slot_of(Rows::Selected), pass.selected);
                let kernels = &mut kernels;
                let (pipeline, bind) = &top.chunk;
                let grid = (top.chunks, rows, 1);
                start(&mut recording, kernels, pipeline, bind, slot, grid);
                let (pipeline, bind) = &top.merge;
                start(&mut recording, kernels, pipeline, bind, slot, (rows, 1, 1));
            }
        }
        if let (Some(from), bytes @ 1..) = self.answer(&pass, want) {
            encoder.copy_buffer_to_buffer(from, 0, &self.sized.staging, 0, bytes as u64);
        }
        Recorded {
            pass,
            want,
            kernels,
            commands: encoder.finish(),
        }
    }

    /// Where the answer of a pass lies, and its bytes.
    fn answer(&self, pass: &Pass, want: Want) -> (Option<&Buffer>, usize) {
        let (rows, top) = (pass.selected as usize, pass.top as usize);
        match (want, &self.sized.top) {
            (Want::Nothing, _) => (None, 0),
            (_, Some(candidates)) if on_device(top) => (Some(&candidates.best), rows * top * 8),
            _ => (self.logits(), rows * self.program.vocabulary * 4),
        }
    }

    /// The buffer of logits.
    fn logits(&self) -> Option<&Buffer> {
        self.program.ops.iter().find_map(|op| match op {
            Op::Head { logits, .. } => Some(&self.sized.activations[logits.0 as usize].values),
            _ => None,
        })
    }
}

/// Whether so many candidates are found on the device.
const fn on_device(top: usize) -> bool {
    top > 0 && top <= MAX_TOP
}

/// Records one dispatch.
fn start(
    recording: &mut ComputePass<'_>,
    kernels: &mut Vec<&'static str>,
    pipeline: &Arc<Pipeline>,
    bind: &BindGroup,
    slot: u32,
    (x, y, z): (u32, u32, u32),
) {
    kernels.push(pipeline.kernel.name());
    recording.set_pipeline(&pipeline.pipeline);
    let offsets: &[u32] = if pipeline.takes_work { &[slot] } else { &[] };
    recording.set_bind_group(0, bind, offsets);
    recording.dispatch_workgroups(x, y, z);
}

impl Sized {
    fn new(
        gpu: &Gpu,
        program: &Program,
        steps: &[Vec<Step>],
        pass_buffers: &PassBuffers,
        pipelines: &mut Pipelines,
        (rows, selected_rows): (usize, usize),
    ) -> Result<Sized, BackendError> {
        let activations = program
            .buffers
            .iter()
            .map(|desc| {
                let rows = match desc.rows {
                    Rows::Batch => rows,
                    Rows::Selected => selected_rows,
                };
                Activations::new(gpu, desc, rows)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let tokens = gpu.storage("token ids", rows * 4)?;
        let selected = gpu.storage("selected rows", selected_rows * 4)?;
        let shared = Shared {
            gpu,
            program,
            activations: &activations,
            work: &pass_buffers.work,
            tokens: &tokens,
            selected: &selected,
        };
        let dispatches = steps
            .iter()
            .map(|steps| steps.iter().flat_map(|s| shared.dispatches(s)).collect())
            .collect();
        let logits = program.ops.iter().find_map(|op| match op {
            Op::Head { logits, .. } => Some(&activations[logits.0 as usize].values),
            _ => None,
        });
        let top = match logits {
            Some(logits) => Some(Top::new(
                gpu,
                pipelines,
                program.vocabulary,
                selected_rows,
                &pass_buffers.work,
                logits,
            )?),
            None => None,
        };
        let answer = selected_rows * program.vocabulary.max(2 * MAX_TOP) * 4;
        let usage = BufferUsages::MAP_READ | BufferUsages::COPY_DST;
        Ok(Sized {
            rows,
            selected_rows,
            dispatches,
            activations,
            tokens,
            selected,
            on_cache: HashMap::new(),
            top,
            staging: gpu.buffer("the answer", answer, usage)?,
        })
    }
}

impl Forward for WgpuBackend {
    fn device(&self) -> String {
        self.gpu.name.clone()
    }

    fn program(&self) -> &Program {
        &self.program
    }

    fn create_cache(&mut self, positions: usize) -> Result<CacheId, BackendError> {
        let cache = Cache::new(&self.gpu, &self.program, positions)?;
        if positions > self.rotated_positions {
            let rope = &self.program.attention.rope;
            let frequencies = oracle::rope_frequencies(rope);
            let mut turns = Vec::with_capacity(positions * frequencies.len() * 2);
            for position in 0..positions {
                for frequency in &frequencies {
                    let angle = f64::from(position as f32 * frequency);
                    turns.extend([libm::cos(angle) as f32, libm::sin(angle) as f32]);
                }
            }
            let buffer = self.gpu.storage("rotations", turns.len() * 4)?;
            self.gpu.upload(&buffer, 0, bytemuck::cast_slice(&turns))?;
            self.rotations = buffer;
            self.rotated_positions = positions;
            // They hold the old rotations.
            self.sized.on_cache.clear();
            self.ahead = None;
        }
        let id = CacheId(self.next_cache);
        self.next_cache += 1;
        self.caches.insert(id, cache);
        self.gpu.check()?;
        Ok(id)
    }

    fn drop_cache(&mut self, cache: CacheId) {
        self.ahead = None;
        self.caches.remove(&cache);
        self.sized.on_cache.retain(|(_, _, id), _| *id != cache);
    }

    fn forward(
        &mut self,
        batch: &Batch<'_>,
        want: Want,
        out: &mut Output,
    ) -> Result<(), BackendError> {
        out.logits.clear();
        out.top.clear();
        let vocabulary = self.program.vocabulary;
        let nothing = [];
        let (batch, top) = match want {
            // Nobody looks at the rows: leave the head out.
            Want::Nothing => (
                &Batch {
                    selected: &nothing,
                    ..*batch
                },
                0,
            ),
            Want::Logits => (batch, 0),
            Want::Top(k) => (batch, k.min(vocabulary)),
        };
        let pass = self.prepare(batch, top)?;
        let recorded = match self.ahead.take() {
            Some(ahead) if ahead.pass == pass && ahead.want == want => ahead,
            _ => self.record_forward(pass.clone(), want),
        };
        for kernel in &recorded.kernels {
            self.recorder.note(kernel);
        }
        let index = self.gpu.queue.submit([recorded.commands]);
        if pass.tokens <= AHEAD_TOKENS {
            self.ahead = Some(self.record_forward(pass.clone(), want));
        }
        let (_, bytes) = self.answer(&pass, want);
        if bytes == 0 {
            return self.gpu.wait(index);
        }
        self.gpu
            .read_mapped(&self.sized.staging, bytes, index, |view| {
                if on_device(top) {
                    decode(view, &mut out.top);
                } else {
                    out.logits.extend(floats(view));
                }
            })?;
        if !on_device(top) && top > 0 {
            for row in out.logits.chunks(vocabulary) {
                out.top.extend(oracle::top(row, top));
            }
            out.logits.clear();
        }
        Ok(())
    }
}

impl Inspect for WgpuBackend {
    fn run(&mut self, batch: &Batch<'_>, ops: Range<usize>) -> Result<(), BackendError> {
        let pass = self.prepare(batch, 0)?;
        let mut kernels = Vec::new();
        let mut encoder = self.encoder();
        {
            let mut recording = encoder.begin_compute_pass(&Default::default());
            self.record(&mut recording, &mut kernels, &pass, ops);
        }
        for kernel in kernels {
            self.recorder.note(kernel);
        }
        let index = self.gpu.queue.submit([encoder.finish()]);
        self.gpu.wait(index)
    }

    fn read(&mut self, buffer: BufferId, rows: usize) -> Result<Vec<f32>, BackendError> {
        self.sized.activations[buffer.0 as usize].read(&self.gpu, rows)
    }

    fn write(&mut self, buffer: BufferId, values: &[f32]) -> Result<(), BackendError> {
        let desc = self.program.buffer(buffer);
        let rows = values.len() / desc.width.max(1);
        match desc.rows {
            Rows::Batch => self.reserve(rows, 1)?,
            Rows::Selected => self.reserve(1, rows)?,
        }
        let buffer = &self.sized.activations[buffer.0 as usize].values;
        self.gpu.upload(buffer, 0, bytemuck::cast_slice(values))
    }

    fn read_cache(
        &mut self,
        cache: CacheId,
        layer: usize,
        positions: usize,
    ) -> Result<(Vec<f32>, Vec<f32>), BackendError> {
        self.cache(cache)?.read(&self.gpu, layer, positions)
    }

    fn write_cache(
        &mut self,
        cache: CacheId,
        layer: usize,
        keys: &[f32],
        values: &[f32],
    ) -> Result<(), BackendError> {
        self.cache(cache)?.write(&self.gpu, layer, keys, values)
    }
}

impl Telemetry for WgpuBackend {
    fn recorder(&mut self) -> &mut KernelRecorder {
        &mut self.recorder
    }
}
