//! Forward passes: recorded, submitted and read back.

use bitnet_kernels::order::finite_or_nan;
use bitnet_kernels::program::Program;
use bitnet_kernels::{
    BackendError, Batch, CacheId, Checkpoint, Forward, Output, Segment, Want, oracle,
};
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

/// The most tokens of one submission, each the best of the pass before.
const MOST_OF_A_RUN: usize = 8;

impl WgpuBackend {
    /// Records whole passes, up to the copy of what is wanted. The token of each but the first is
    /// the best of the one before.
    fn record(&self, passes: Vec<Pass>, want: Want) -> Recorded {
        let mut kernels = Vec::new();
        let mut encoder = self.gpu.encoder();
        let mut answered = 0;
        for (index, pass) in passes.iter().enumerate() {
            let mut recording = Recording::begin(&mut encoder, &mut kernels, None);
            for part in 0..=self.groups.len() {
                self.record_part(part, pass, &mut recording);
            }
            drop(recording);
            let copied = self.copy_answer(pass, want, answered, &mut encoder);
            answered += copied;
            if let (Some(next), Some((best, _))) = (passes.get(index + 1), self.answer(pass, want))
            {
                // A candidate begins with its id.
                let numbers = &self.pass_buffers.numbers;
                encoder.copy_buffer_to_buffer(best, 0, numbers, next.ids, 4);
            }
        }
        Recorded {
            passes,
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

    /// Copies the answer of a pass to where the host reads it, behind what is `before` it, and says
    /// how many bytes it has.
    fn copy_answer(
        &self,
        pass: &Pass,
        want: Want,
        before: u64,
        encoder: &mut CommandEncoder,
    ) -> u64 {
        let Some((from, bytes)) = self.answer(pass, want) else {
            return 0;
        };
        let to = &self.batch_buffers.answer;
        encoder.copy_buffer_to_buffer(from, 0, to, before, bytes as u64);
        bytes as u64
    }

    /// Submits passes, recorded ahead if they could be foreseen, and records the next.
    fn submit(&mut self, passes: Vec<Pass>, want: Want) -> SubmissionIndex {
        let recorded = match self.ahead.take() {
            Some(ahead) if ahead.passes == passes && ahead.want == want => ahead,
            _ => self.record(passes, want),
        };
        for kernel in &recorded.kernels {
            self.recorder.note(kernel);
        }
        let index = self.gpu.submit([recorded.commands], recorded.kernels.len());
        if recorded
            .passes
            .iter()
            .all(|pass| pass.tokens <= AHEAD_TOKENS)
        {
            self.ahead = Some(self.record(recorded.passes, want));
        }
        index
    }

    /// Runs a pass operation by operation, where it is profiled.
    fn submit_profiled(
        &mut self,
        passes: &[Pass],
        want: Want,
    ) -> Result<Option<SubmissionIndex>, BackendError> {
        let ([pass], Some(mut profiler)) = (passes, self.profiler.take()) else {
            return Ok(None);
        };
        let ran = profiler.run(
            &self.gpu,
            |part, recording| self.record_part(part, pass, recording),
            |encoder| {
                self.copy_answer(pass, want, 0, encoder);
            },
        );
        self.profiler = Some(profiler);
        let submitted = ran?;
        for kernel in submitted.kernels {
            self.recorder.note(kernel);
        }
        Ok(Some(submitted.index))
    }

    /// Runs passes one after another, and reads what is wanted of all of them.
    fn run_passes(
        &mut self,
        batches: &[Batch<'_>],
        want: Want,
        out: &mut Output,
    ) -> Result<(), BackendError> {
        out.logits.clear();
        out.top.clear();
        let vocabulary = self.program.vocabulary;
        let best = match want {
            Want::Nothing | Want::Logits => 0,
            Want::Top(k) => k.min(vocabulary),
        };
        let passes = self.prepare(batches, best)?;
        if self.program.has_state() {
            for batch in batches {
                self.states_stand(batch, |_| None);
            }
        }
        let answers = passes.iter().filter_map(|pass| self.answer(pass, want));
        let bytes = answers.map(|(_, bytes)| bytes).sum();
        let index = match self.submit_profiled(&passes, want)? {
            Some(index) => index,
            None => self.submit(passes, want),
        };
        if bytes == 0 {
            return self.gpu.wait(index);
        }
        let answer = &self.batch_buffers.answer;
        self.gpu.read_mapped(answer, bytes, index, |view| {
            if on_device(best) {
                decode(view, &mut out.top);
            } else {
                out.logits
                    .extend(floats(view).into_iter().map(finite_or_nan));
            }
        })?;
        if !on_device(best) && best > 0 {
            for row in out.logits.chunks(vocabulary) {
                out.top.extend(oracle::top(row, best));
            }
            out.logits.clear();
        }
        Ok(())
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
        let batch = batch.wanting(want);
        if self.program.has_state() {
            for segment in batch.segments {
                segment.continues(self.cache(segment.cache)?.stands)?;
            }
        }
        self.run_passes(std::slice::from_ref(&batch), want, out)?;
        self.states_stand(&batch, |segment| Some(segment.start + segment.len));
        Ok(())
    }

    fn forward_greedy(
        &mut self,
        token: u32,
        segment: Segment,
        most: usize,
        out: &mut Output,
    ) -> Result<(), BackendError> {
        // States do not go back behind a token that ends a text, and profiles are of single passes.
        let alone = self.program.has_state() || self.profiler.is_some() || self.head.is_none();
        let count = if alone {
            1
        } else {
            most.clamp(1, MOST_OF_A_RUN)
        };
        let segments: Vec<Segment> = (0..count)
            .map(|at| Segment {
                start: segment.start + at,
                ..segment
            })
            .collect();
        let batch = |segment| Batch {
            // Of the passes behind the first, the device fills it in.
            tokens: std::slice::from_ref(&token),
            segments: std::slice::from_ref(segment),
            selected: &[0],
        };
        let batches: Vec<Batch<'_>> = segments.iter().map(batch).collect();
        match batches.as_slice() {
            [batch] => self.forward(batch, Want::Top(1), out),
            batches => self.run_passes(batches, Want::Top(1), out),
        }
    }
}
