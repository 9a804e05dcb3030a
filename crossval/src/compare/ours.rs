//! The engine's side of a comparison: logits on the path that users run, and the residual stream
//! beside it.
//!
//! Nothing here knows of a reference but for the tokens and the residual stream that it is handed.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

pub use bitnet_engine::CacheType;
use bitnet_engine::gguf::Gguf;
use bitnet_engine::kernels::oracle::argmax;
use bitnet_engine::kernels::program::{BufferId, Op};
use bitnet_engine::kernels::{Batch, CacheId, Format, Inspect, Segment};
use bitnet_engine::{Device, Error, Isa, LoadOptions, Model, Output, Want};

use super::trajectory::Trajectory;

/// Tokens in one forward pass where the residual stream is looked at.
const BATCH: usize = 256;

/// Positions of the smallest context that the C++ references are opened with, and the steps in
/// which it grows: some models rotate by the size of the context.
const CONTEXT: usize = 512;
const CONTEXT_STEP: usize = 256;

/// The capacity that a reference has for so many tokens.
fn capacity(tokens: usize) -> usize {
    tokens.max(CONTEXT).next_multiple_of(CONTEXT_STEP)
}

/// Why our side has no answer.
#[derive(Debug, thiserror::Error)]
pub enum OursError {
    /// The file cannot be read.
    #[error("our side cannot read the model: {0}")]
    Read(#[from] bitnet_engine::gguf::Error),
    /// It cannot be run.
    #[error("our side cannot run the model: {0}")]
    Run(#[from] Error),
}

impl From<bitnet_engine::kernels::BackendError> for OursError {
    fn from(error: bitnet_engine::kernels::BackendError) -> Self {
        Self::Run(error.into())
    }
}

/// A model in our engine, on the CPU.
pub struct Ours {
    model: Model,
}

/// What our layers make of another engine's residual stream, each layer on its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Local {
    /// Per layer, `rows * hidden`: its output, given the other engine's output of the layer
    /// before.
    pub layers: Vec<Vec<f32>>,
    /// `rows * vocabulary`: our head's logits, given the other engine's last layer.
    pub head: Vec<f32>,
}

impl Ours {
    /// Opens a model file on the CPU, on all cores, with the instruction set `isa` or the best
    /// there is: neither changes a bit.
    ///
    /// # Errors
    /// The file is not sound, or is no model that runs here.
    pub fn open(path: &Path, cache_type: CacheType, isa: Option<Isa>) -> Result<Self, OursError> {
        let mut options = LoadOptions::default()
            .device(Device::Cpu)
            .cache_type(cache_type);
        if let Some(isa) = isa {
            options = options.isa(isa);
        }
        let model = Model::load(Arc::new(Gguf::open(path)?), &options)?;
        Ok(Self::new(model))
    }

    /// A model that is loaded already.
    pub fn new(model: Model) -> Self {
        Self { model }
    }

    /// The device in words.
    pub fn device(&self) -> String {
        self.model.device()
    }

    /// Tokens that `token` ids must stay below.
    pub fn vocabulary(&self) -> usize {
        self.model.config().vocabulary
    }

    /// Positions that the model was trained for.
    pub fn context(&self) -> usize {
        self.model.config().context
    }

    /// Reads `tokens`: the first `prompt` of them as a prompt, the others one by one, as when they
    /// are generated.
    ///
    /// # Errors
    /// The tokens do not fit the model.
    pub fn follow(&mut self, tokens: &[u32], prompt: usize) -> Result<Trajectory, OursError> {
        let mut session = self.model.session(capacity(tokens.len()))?;
        let mut logits = Vec::with_capacity(tokens.len() * self.vocabulary());
        let start = Instant::now();
        session.feed_all(&tokens[..prompt], |_, row| logits.extend_from_slice(row))?;
        let prefill_ms = milliseconds(start);
        let start = Instant::now();
        let mut out = Output::default();
        for token in &tokens[prompt..] {
            session.feed(&[*token], Want::Logits, &mut out)?;
            logits.extend_from_slice(&out.logits);
        }
        let decode_ms = milliseconds(start);
        Ok(Trajectory {
            tokens: tokens.to_vec(),
            prompt,
            vocabulary: self.vocabulary(),
            hidden: self.model.config().embedding,
            logits,
            layers: Vec::new(),
            prefill_ms,
            decode_ms,
        })
    }

    /// Continues `prompt` by `count` tokens, each time the best.
    ///
    /// # Errors
    /// The tokens do not fit the model.
    pub fn greedy(&mut self, prompt: &[u32], count: usize) -> Result<Vec<u32>, OursError> {
        let mut session = self.model.session(capacity(prompt.len() + count))?;
        let mut out = Output::default();
        let mut generated = Vec::with_capacity(count);
        let mut next = prompt.to_vec();
        while generated.len() < count {
            session.feed(&next, Want::Logits, &mut out)?;
            let best = argmax(&out.logits);
            generated.push(best);
            next = vec![best];
        }
        Ok(generated)
    }

    /// The residual stream after each layer, `tokens.len() * hidden` values per layer.
    ///
    /// # Errors
    /// The tokens do not fit the model.
    pub(crate) fn residuals(&mut self, tokens: &[u32]) -> Result<Vec<Vec<f32>>, OursError> {
        let (parts, residual) = (self.parts(), self.model.plan().residual);
        let mut layers = vec![Vec::new(); parts.len()];
        self.walk(tokens, |backend, batch, _| {
            for (ops, layer) in parts.iter().zip(&mut layers) {
                backend.run(batch, ops.clone())?;
                layer.extend(backend.read(residual, batch.tokens.len())?);
            }
            Ok(())
        })?;
        Ok(layers)
    }

    /// Gives each of our layers, and our head, the reference's own input to it.
    ///
    /// # Errors
    /// The reference's tokens do not fit the model.
    pub fn local(&mut self, theirs: &Trajectory) -> Result<Local, OursError> {
        let (parts, residual) = (self.parts(), self.model.plan().residual);
        let head = parts.last().map_or(0, |last| last.end)..self.model.plan().program.ops.len();
        let logits_of = self.logits();
        let mut local = Local {
            layers: vec![Vec::new(); parts.len()],
            head: Vec::new(),
        };
        self.walk(&theirs.tokens, |backend, batch, rows| {
            let input = |layer: usize| {
                &theirs.layers[layer][rows.start * theirs.hidden..rows.end * theirs.hidden]
            };
            for (layer, ops) in parts.iter().enumerate() {
                // The first layer's input is the embedding, which `ops` begins with.
                if layer > 0 {
                    backend.write(residual, input(layer - 1))?;
                }
                backend.run(batch, ops.clone())?;
                local.layers[layer].extend(backend.read(residual, batch.tokens.len())?);
            }
            if let Some(last) = parts.len().checked_sub(1) {
                backend.write(residual, input(last))?;
            }
            backend.run(batch, head.clone())?;
            local
                .head
                .extend(backend.read(logits_of, batch.tokens.len())?);
            Ok(())
        })?;
        Ok(local)
    }

    /// The operations of each layer; those before the first layer are its own.
    fn parts(&self) -> Vec<Range<usize>> {
        let ends = self.model.plan().layer_ends.iter().map(|end| end + 1);
        let starts = std::iter::once(0).chain(ends.clone());
        starts.zip(ends).map(|(start, end)| start..end).collect()
    }

    /// Of each layer, whether it has matrices of F16.
    pub(crate) fn layers_of_halves(&self) -> Vec<bool> {
        let program = &self.model.plan().program;
        let halves = |op: &Op| {
            let mut weights = op.products().map(|product| program.weight(product.weight));
            weights.any(|weight| weight.format == Format::F16)
        };
        let parts = self.parts().into_iter();
        parts
            .map(|part| program.ops[part].iter().any(halves))
            .collect()
    }

    fn logits(&self) -> BufferId {
        let (_, logits) = self
            .model
            .plan()
            .program
            .head()
            .expect("every plan ends in a head");
        logits
    }

    /// Calls `each` with batches of `tokens`, all selected, and the rows that they take, on a cache
    /// of their own.
    fn walk(
        &mut self,
        tokens: &[u32],
        mut each: impl FnMut(&mut dyn Inspect, &Batch<'_>, Range<usize>) -> Result<(), OursError>,
    ) -> Result<(), OursError> {
        self.model.with_backend(|backend| {
            let cache = backend.create_cache(capacity(tokens.len()))?;
            let walked = batches(tokens, cache, |batch, rows| each(backend, batch, rows));
            backend.drop_cache(cache);
            walked
        })
    }
}

fn batches(
    tokens: &[u32],
    cache: CacheId,
    mut each: impl FnMut(&Batch<'_>, Range<usize>) -> Result<(), OursError>,
) -> Result<(), OursError> {
    for (index, tokens) in tokens.chunks(BATCH).enumerate() {
        let start = index * BATCH;
        let segments = [Segment {
            cache,
            start,
            len: tokens.len(),
        }];
        let selected: Vec<u32> = (0..tokens.len() as u32).collect();
        let batch = Batch {
            tokens,
            segments: &segments,
            selected: &selected,
        };
        each(&batch, start..start + tokens.len())?;
    }
    Ok(())
}

fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}
