//! [`Profiler`]: where the time of passes goes.

use std::time::{Duration, Instant};

use bitnet_kernels::report::Timing;
use bitnet_kernels::{BackendError, Profile};
use wgpu::{Buffer, BufferUsages, CommandEncoder, QuerySet, SubmissionIndex};

use crate::device::Gpu;
use crate::recording::Recording;

/// What the search for the best logits is called among the operations.
const SEARCH: &str = "best logits";

pub(crate) struct Profiler {
    /// Of each part of a pass: its groups of operations, and the search for the best logits.
    kinds: Vec<String>,
    /// Without them, parts are submitted one by one and timed by the host.
    timestamps: Option<Timestamps>,
    pub(crate) profile: Profile,
}

/// A pass on its way.
pub(crate) struct Submitted {
    /// What to wait for.
    pub(crate) index: SubmissionIndex,
    /// What runs.
    pub(crate) kernels: Vec<&'static str>,
}

/// The times at the beginning and the end of each part, as the device takes them.
struct Timestamps {
    queries: QuerySet,
    resolved: Buffer,
}

impl Profiler {
    pub(crate) fn new(
        gpu: &Gpu,
        groups: impl Iterator<Item = String>,
        host_clock: bool,
    ) -> Result<Profiler, BackendError> {
        let kinds: Vec<String> = groups.chain([SEARCH.to_owned()]).collect();
        let queries = kinds.len() as u32 * 2;
        let by_device = gpu.timestamps && !host_clock && queries <= wgpu::QUERY_SET_MAX_QUERIES;
        Ok(Profiler {
            kinds,
            profile: Profile::new(match by_device {
                true => Timing::Timestamps,
                false => Timing::Submissions,
            }),
            timestamps: match by_device {
                true => Some(Timestamps::new(gpu, queries)?),
                false => None,
            },
        })
    }

    /// Runs a pass and adds its times to the profile. `record` records one part, `end` what follows
    /// the last.
    pub(crate) fn run(
        &mut self,
        gpu: &Gpu,
        record: impl Fn(usize, &mut Recording<'_>),
        end: impl FnOnce(&mut CommandEncoder),
    ) -> Result<Submitted, BackendError> {
        match &self.timestamps {
            Some(timestamps) => {
                let (submitted, times) = timestamps.run(gpu, self.kinds.len(), record, end)?;
                for (kind, time) in self.kinds.iter().zip(times) {
                    if let Some(time) = time {
                        self.profile.add(kind, time);
                    }
                }
                Ok(submitted)
            }
            None => self.run_one_by_one(gpu, record, end),
        }
    }

    fn run_one_by_one(
        &mut self,
        gpu: &Gpu,
        record: impl Fn(usize, &mut Recording<'_>),
        end: impl FnOnce(&mut CommandEncoder),
    ) -> Result<Submitted, BackendError> {
        let mut kernels = Vec::new();
        for (part, kind) in self.kinds.iter().enumerate() {
            let before = kernels.len();
            let mut encoder = gpu.encoder();
            record(
                part,
                &mut Recording::begin(&mut encoder, &mut kernels, None),
            );
            if kernels.len() > before {
                let commands = encoder.finish();
                let start = Instant::now();
                let index = gpu.submit([commands], kernels.len() - before);
                gpu.wait(index)?;
                self.profile.add(kind, start.elapsed());
            }
        }
        let mut encoder = gpu.encoder();
        end(&mut encoder);
        Ok(Submitted {
            index: gpu.submit([encoder.finish()], 0),
            kernels,
        })
    }
}

impl Timestamps {
    fn new(gpu: &Gpu, count: u32) -> Result<Timestamps, BackendError> {
        let usage = BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC;
        Ok(Timestamps {
            resolved: gpu.buffer("timestamps", count as usize * 8, usage)?,
            queries: gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: None,
                ty: wgpu::QueryType::Timestamp,
                count,
            }),
        })
    }

    /// Runs all parts in one submission. Times of parts in which nothing ran are `None`.
    fn run(
        &self,
        gpu: &Gpu,
        parts: usize,
        record: impl Fn(usize, &mut Recording<'_>),
        end: impl FnOnce(&mut CommandEncoder),
    ) -> Result<(Submitted, Vec<Option<Duration>>), BackendError> {
        let mut kernels = Vec::new();
        let mut ran = Vec::new();
        let mut encoder = gpu.encoder();
        for part in 0..parts {
            let before = kernels.len();
            let writes = wgpu::ComputePassTimestampWrites {
                query_set: &self.queries,
                beginning_of_pass_write_index: Some(part as u32 * 2),
                end_of_pass_write_index: Some(part as u32 * 2 + 1),
            };
            record(
                part,
                &mut Recording::begin(&mut encoder, &mut kernels, Some(writes)),
            );
            ran.push(kernels.len() > before);
        }
        encoder.resolve_query_set(&self.queries, 0..parts as u32 * 2, &self.resolved, 0);
        end(&mut encoder);
        let index = gpu.submit([encoder.finish()], kernels.len());
        gpu.wait(index.clone())?;
        let bytes = gpu.download(&self.resolved, parts * 16)?;
        let ticks = bytes.as_chunks().0.iter().map(|t| u64::from_le_bytes(*t));
        let ticks: Vec<u64> = ticks.collect();
        let period = f64::from(gpu.queue.get_timestamp_period());
        let time = |(ran, ticks): (bool, &[u64; 2])| {
            let nanoseconds = ticks[1].saturating_sub(ticks[0]) as f64 * period;
            ran.then(|| Duration::from_nanos(nanoseconds as u64))
        };
        let times = ran.into_iter().zip(ticks.as_chunks().0).map(time);
        Ok((Submitted { index, kernels }, times.collect()))
    }
}
