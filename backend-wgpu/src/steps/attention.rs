//! Causal attention over the cache of a sequence, span of keys by span.

use std::collections::HashMap;
use std::sync::Arc;

use bitnet_kernels::program::{AttentionShape, BufferId};
use bitnet_kernels::wgsl::{Kernel, MAX_HEAD_DIM, Softmax};
use bitnet_kernels::{BackendError, CacheId};

use crate::cache::Cache;
use crate::loader::Loader;
use crate::pass::Pass;
use crate::pipeline::{Bound, Pipeline};
use crate::recording::Recording;
use crate::step::{Buffers, Step};

/// From so many workgroups on, the heads that share keys are computed by one: what counts then is
/// that keys and values are read once, and not how many run side by side.
const MANY_WORKGROUPS: u32 = 1024;

pub(crate) struct Attention {
    /// Run one after another over all spans, each head on its own.
    over_spans: Vec<Arc<Pipeline>>,
    /// The same, so many heads together.
    together: (u32, Vec<Arc<Pipeline>>),
    merge: Arc<Pipeline>,
    q: BufferId,
    layer: usize,
    out: BufferId,
    heads: u32,
    head_dim: u32,
    bound: HashMap<CacheId, BoundCache>,
}

struct BoundCache {
    over_spans: Vec<Bound>,
    together: Vec<Bound>,
    merge: Bound,
}

impl Attention {
    pub(crate) fn load(
        loader: &mut Loader<'_>,
        [q, out]: [BufferId; 2],
        shape: AttentionShape,
        layer: usize,
    ) -> Result<Attention, BackendError> {
        let program = loader.program;
        if shape.head_dim > MAX_HEAD_DIM || !shape.head_dim.is_multiple_of(8) {
            return Err(loader.gpu.unsupported(format!(
                "attention heads of {} elements: multiples of 8 up to {MAX_HEAD_DIM} are known",
                shape.head_dim
            )));
        }
        let window = shape.window.map_or(Ok(u32::MAX), u32::try_from);
        let window = window.unwrap_or(u32::MAX);
        let sizes = [
            ("HEADS", shape.heads as f64),
            ("HEAD_DIM", shape.head_dim as f64),
        ];
        let keys = [
            ("KV_HEADS", shape.kv_heads as f64),
            ("SCALE", f64::from(shape.scale)),
            ("WINDOW", f64::from(window)),
        ];
        let constants = [&sizes[..], &keys[..]].concat();
        let (softmaxes, merge): (&[Softmax], _) = match shape.round_weights {
            true => (&[Softmax::Totals, Softmax::Rounded], Softmax::Rounded),
            false => (&[Softmax::Online], Softmax::Online),
        };
        let mut over_spans = |heads: u32| -> Result<Vec<_>, BackendError> {
            let pipeline = |softmax: &Softmax| {
                let kernel = Kernel::AttentionSpan(program.cache_type, *softmax, heads);
                loader.pipeline(kernel, &constants)
            };
            softmaxes.iter().map(pipeline).collect()
        };
        let group = shape.heads / shape.kv_heads;
        let heads = [4, 2, 1]
            .into_iter()
            .find(|heads| group.is_multiple_of(*heads));
        let heads = heads.unwrap_or(1) as u32;
        Ok(Attention {
            over_spans: over_spans(1)?,
            together: (heads, over_spans(heads)?),
            merge: loader.pipeline(Kernel::AttentionMerge(merge), &sizes)?,
            q,
            layer,
            out,
            heads: shape.heads as u32,
            head_dim: shape.head_dim as u32,
            bound: HashMap::new(),
        })
    }
}

impl Step for Attention {
    fn bind(&mut self, _: &Buffers<'_>) {
        self.bound.clear();
    }

    fn bind_cache(&mut self, buffers: &Buffers<'_>, id: CacheId, cache: &Cache) {
        let layer = cache.keys_and_values(self.layer);
        let bindings = [
            ("extent", buffers.numbers),
            ("q", buffers.values(self.q)),
            ("keys", &layer.keys),
            ("values", &layer.values),
            ("spans", buffers.spans),
            ("results", buffers.values(self.out)),
        ];
        let bind = |pipeline: &Arc<Pipeline>| pipeline.bind(buffers.gpu, &bindings);
        let bound = BoundCache {
            over_spans: self.over_spans.iter().map(bind).collect(),
            together: self.together.1.iter().map(bind).collect(),
            merge: bind(&self.merge),
        };
        self.bound.insert(id, bound);
    }

    fn drop_cache(&mut self, id: CacheId) {
        self.bound.remove(&id);
    }

    fn record(&self, pass: &Pass, recording: &mut Recording<'_>) {
        for stretch in &pass.attention {
            let bound = &self.bound[&stretch.cache];
            let (extent, rows) = (stretch.part.extent, stretch.part.rows);
            let many = self.heads * stretch.spans * rows >= MANY_WORKGROUPS;
            let (heads, over_spans) = match many {
                true => (self.heads / self.together.0, &bound.together),
                false => (self.heads, &bound.over_spans),
            };
            for over_spans in over_spans {
                recording.dispatch(over_spans, extent, (heads, stretch.spans, rows));
            }
            if stretch.spans > 1 {
                let elements = self.head_dim.div_ceil(64);
                recording.dispatch(&bound.merge, extent, (self.heads, rows, elements));
            }
        }
    }
}
