//! Forward passes: recorded, submitted and read back.

use bitnet_kernels::order::finite_or_nan;
use bitnet_kernels::program::Program;
use bitnet_kernels::{BackendError, Batch, CacheId, Checkpoint, Forward, Output, Want, oracle};
use wgpu::{Buffer, CommandEncoder, SubmissionIndex};

use crate::activations::floats;
use crate::backend::{Recorded, WgpuBackend, all_steps};
use crate::cache::Cache;
use crate::pass::Pass;
use crate::recording::Recording;
use crate::rotations::Rotations;
use crate::steps::{MAX_BEST, decode};

/// Passes of up to so many tokens are recorded ahead.
const AHEAD_TOKENS: u32 = 8;

/// Whether so many candidates are found on the device.
const fn on_device(best: usize) -> bool {
    best > 0 && best <= MAX_BEST
}

impl WgpuBackend {
    /// Records a whole pass, up to the copy of what is wanted.
    fn record(&self, pass: Pass, want: Want) -> Recorded {
        let mut kernels = Vec::new();
        let mut encoder = self.gpu.encoder();
        let mut recording = Recording::begin(&mut encoder, &mut kernels, None);
        for part in 0..=self.groups.len() {
            self.record_part(part, &pass, &mut recording);
        }
        drop(recording);
        self.copy_answer(&pass, want, &mut encoder);
        Recorded {
            pass,
            want,
            kernels,
            commands: encoder.finish(),
        }
    }

    /// Records one group of operations or, behind the last, the search for the best logits.
    fn record_part(&self, part: usize, pass: &Pass, recording: &mut Recording<'_>) {
        match (self.groups.get(part), &self.head) {
            (Some(group), _) => group.record(&self.steps, pass, recording),
            (None, Some((_, best))) if on_device(pass.best as usize) => {
                best.record(pass, recording);
            }
            (None, _) => {}
        }
    }

    /// Where the answer of a pass lies, and its bytes; `None` where nothing is wanted.
    fn answer(&self, pass: &Pass, want: Want) -> Option<(&Buffer, usize)> {
        let (logits, search) = self.head.as_ref()?;
        let (rows, best) = (pass.selected as usize, pass.best as usize);
        if want == Want::Nothing || rows == 0 {
            return None;
        }
        match on_device(best) {
            true => search.answer(rows, best),
            false => {
                let logits = &self.batch_buffers.activations[logits.0 as usize].values;
                Some((logits, rows * self.program.vocabulary * 4))
            }
        }
    }

    fn copy_answer(&self, pass: &Pass, want: Want, encoder: &mut CommandEncoder) {
        if let Some((from, bytes)) = self.answer(pass, want) {
            encoder.copy_buffer_to_buffer(from, 0, &self.batch_buffers.answer, 0, bytes as u64);
        }
    }

    /// Submits a pass, recorded ahead if it could be foreseen, and records the next.
    fn submit(&mut self, pass: &Pass, want: Want) -> SubmissionIndex {
        let recorded = match self.ahead.take() {
            Some(ahead) if ahead.pass == *pass && ahead.want == want => ahead,
            _ => self.record(pass.clone(), want),
        };
        for kernel in &recorded.kernels {
            self.recorder.note(kernel);
        }
        let index = self.gpu.submit([recorded.commands], recorded.kernels.len());
        if pass.tokens <= AHEAD_TOKENS {
            self.ahead = Some(self.record(pass.clone(), want));
        }
        index
    }

    /// Runs a pass operation by operation, where it is profiled.
    fn submit_profiled(
        &mut self,
        pass: &Pass,
        want: Want,
    ) -> Result<Option<SubmissionIndex>, BackendError> {
        let Some(mut profiler) = self.profiler.take() else {
            return Ok(None);
        };
        let ran = profiler.run(
            &self.gpu,
            |part, recording| self.record_part(part, pass, recording),
            |encoder| self.copy_answer(pass, want, encoder),
        );
        self.profiler = Some(profiler);
        let submitted = ran?;
        for kernel in submitted.kernels {
            self.recorder.note(kernel);
        }
        Ok(Some(submitted.index))
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
        Rotations::allow(&self.gpu, &self.program, positions)?;
        let cache = Cache::new(&self.gpu, &self.program, positions)?;
        let id = CacheId(self.next_cache);
        self.next_cache += 1;
        self.caches.insert(id, cache);
        self.gpu.check()?;
        Ok(id)
    }

    fn drop_cache(&mut self, cache: CacheId) {
        self.ahead = None;
        self.caches.remove(&cache);
        if self.bound_caches.remove(&cache) {
            for step in all_steps(&mut self.steps, &mut self.groups) {
                step.drop_cache(cache);
            }
        }
    }

    fn checkpoint(&mut self, cache: CacheId) -> Result<Checkpoint, BackendError> {
        self.cache(cache)?.checkpoint(&self.gpu, cache)
    }

    fn rewind(&mut self, cache: CacheId, to: Option<&Checkpoint>) -> Result<(), BackendError> {
        let WgpuBackend { gpu, caches, .. } = self;
        match caches.get_mut(&cache) {
            Some(cache) => cache.rewind(gpu, to),
            None => Err(BackendError::Batch(format!(
                "there is no cache {}",
                cache.0
            ))),
        }
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
        let batch = &batch.wanting(want);
        let best = match want {
            Want::Nothing | Want::Logits => 0,
            Want::Top(k) => k.min(vocabulary),
        };
        if self.program.has_state() {
            for segment in batch.segments {
                segment.continues(self.cache(segment.cache)?.stands)?;
            }
        }
        let pass = self.prepare(batch, best)?;
        if self.program.has_state() {
            self.states_stand(batch, |_| None);
        }
        let index = match self.submit_profiled(&pass, want)? {
            Some(index) => index,
            None => self.submit(&pass, want),
        };
        match self.answer(&pass, want) {
            None => self.gpu.wait(index)?,
            Some((_, bytes)) => {
                self.gpu
                    .read_mapped(&self.batch_buffers.answer, bytes, index, |view| {
                        if on_device(best) {
                            decode(view, &mut out.top);
                        } else {
                            out.logits
                                .extend(floats(view).into_iter().map(finite_or_nan));
                        }
                    })?
            }
        }
        self.states_stand(batch, |segment| Some(segment.start + segment.len));
        if !on_device(best) && best > 0 {
            for row in out.logits.chunks(vocabulary) {
                out.top.extend(oracle::top(row, best));
            }
            out.logits.clear();
        }
        Ok(())
    }
}
