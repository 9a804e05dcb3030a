//! Several operations in one kernel: a product that makes its activations itself, and whose results
//! are rotated and stored on the way.

use std::collections::HashMap;
use std::sync::Arc;

use bitnet_kernels::program::{BufferId, Op, RotationId, Rows};
use bitnet_kernels::wgsl::{Encoder, Kernel, Store};
use bitnet_kernels::{BackendError, CacheId};
use wgpu::Buffer;

use super::encode::{Encode, Norm};
use super::linear::{Together, bindings, workgroups};
use super::rope_store::Shape;
use crate::cache::Cache;
use crate::loader::Loader;
use crate::matrix::{DeviceMatrix, Piece};
use crate::pass::{FEW_ROWS, Pass};
use crate::pipeline::{Bound, Pipeline};
use crate::recording::Recording;
use crate::step::{Buffers, Step};

/// The most operations that become one kernel.
pub(crate) const MOST_OPS: usize = 4;

/// The most workgroups that each make a row of activations for themselves: about as many as a large
/// GPU runs side by side, so that all of them wait for it once. Above, a dispatch more costs less.
const MOST_ENCODING: u32 = 1024;

/// One step for several operations.
pub(crate) struct OneStep {
    pub(crate) step: Box<dyn Step>,
    /// It is for passes of up to so many rows.
    pub(crate) most_rows: u32,
}

/// Operations that one kernel could compute: any of these parts, in this order.
#[derive(Default)]
struct Chain<'a> {
    /// Rows that are selected.
    select: Option<(BufferId, BufferId)>,
    /// Rows that are stored in an encoding, after a norm or as they are.
    encode: Option<(BufferId, Option<Norm>, BufferId)>,
    product: Option<Together<'a>>,
    rope_store: Option<([BufferId; 3], Option<RotationId>, usize)>,
}

impl<'a> Chain<'a> {
    /// Operations as a chain, in which each works on what the one before it leaves. What lies
    /// between them must not be read by those that come `after`.
    fn new(loader: &Loader<'_>, ops: &'a [Op], after: &[Op]) -> Option<Chain<'a>> {
        let mut chain = Chain::default();
        let mut rest = ops;
        if let [Op::Select { x, out }, tail @ ..] = rest {
            chain.select = Some((*x, *out));
            rest = tail;
        }
        match rest {
            [Op::Norm { x, gain, eps, out }, tail @ ..] => {
                chain.encode = Some((*x, Some((*gain, *eps)), *out));
                rest = tail;
            }
            [Op::Encode { x, out }, tail @ ..] => {
                chain.encode = Some((*x, None, *out));
                rest = tail;
            }
            _ => {}
        }
        if let [op, tail @ ..] = rest
            && let Ok([together]) = <[_; 1]>::try_from(Together::of(loader.program, op))
        {
            chain.product = Some(together);
            rest = tail;
        }
        if let [
            Op::RopeStore {
                q,
                k,
                v,
                rotation,
                layer,
            },
            tail @ ..,
        ] = rest
        {
            chain.rope_store = Some(([*q, *k, *v], *rotation, *layer));
            rest = tail;
        }
        let between = chain.between()?;
        let unread = between.iter().all(|id| !is_read(after, *id));
        // No workgroup may write what another one reads.
        let apart = chain
            .product
            .as_ref()
            .is_none_or(|product| chain.source().is_none_or(|x| !product.outs.contains(&x)));
        (rest.is_empty() && unread && apart).then_some(chain)
    }

    /// The buffers between the operations; `None` where one does not work on what the one before it
    /// leaves.
    fn between(&self) -> Option<Vec<BufferId>> {
        let mut between = Vec::new();
        if let Some((_, out)) = self.select {
            between.push(out);
            if self.encode.is_none_or(|(x, ..)| x != out) {
                return None;
            }
        }
        if let (Some((_, _, out)), Some(product)) = (self.encode, &self.product) {
            between.push(out);
            if product.x() != out {
                return None;
            }
        }
        if let Some((heads, ..)) = self.rope_store {
            // Queries stay where they are.
            between.extend(&heads[1..]);
            if self.product.as_ref().is_none_or(|p| p.outs != heads) {
                return None;
            }
        }
        Some(between)
    }

    /// The buffer that is encoded.
    fn source(&self) -> Option<BufferId> {
        let encoded = self.encode.map(|(x, ..)| x);
        self.select.map(|(x, _)| x).or(encoded)
    }
}

/// Whether a buffer is read before it is written anew.
fn is_read(ops: &[Op], id: BufferId) -> bool {
    let uses = |op: &&Op| op.inputs().contains(&id) || op.outputs().contains(&id);
    ops.iter()
        .find(uses)
        .is_some_and(|op| op.inputs().contains(&id))
}

/// One kernel for all of `ops`; `None` where there is none, or where a device might not run it.
pub(crate) fn load(
    loader: &mut Loader<'_>,
    ops: &[Op],
    after: &[Op],
) -> Result<Option<OneStep>, BackendError> {
    let Some(chain) = Chain::new(loader, ops, after) else {
        return Ok(None);
    };
    let selected = chain.select.is_some();
    match (chain.source(), &chain.product) {
        (Some(source), None) => {
            let Some((_, norm, out)) = chain.encode else {
                return Ok(None);
            };
            let step = Encode::load(loader, (source, selected), norm, out)?;
            Ok(Some(OneStep {
                step: Box::new(step),
                most_rows: u32::MAX,
            }))
        }
        (_, Some(product)) => Fused::load(loader, &chain, product),
        (None, None) => Ok(None),
    }
}

struct Fused {
    pipeline: Arc<Pipeline>,
    matrix: Arc<DeviceMatrix>,
    /// Of each piece of the matrix.
    numbers: Vec<Buffer>,
    /// The rows that are encoded, or that are encoded already.
    x: BufferId,
    gain: Option<Arc<Buffer>>,
    outs: Vec<BufferId>,
    rows: Rows,
    /// Where results go to a cache: its layer, and their rotation.
    stored: Option<(usize, Option<RotationId>)>,
    /// Pieces with the workgroups that their rows take; where results go to a cache, those of
    /// each.
    bound: HashMap<Option<CacheId>, Vec<(Bound, u32)>>,
}

impl Fused {
    fn load(
        loader: &mut Loader<'_>,
        chain: &Chain<'_>,
        product: &Together<'_>,
    ) -> Result<Option<OneStep>, BackendError> {
        let program = loader.program;
        let matrix = product.matrix(loader)?;
        let mut constants = product.constants(program);
        let mut store = product.store;
        if let Some((heads, rotation, layer)) = chain.rope_store {
            let shape = Shape::new(loader, heads[0], rotation, layer)?;
            constants.extend(shape.constants());
            store = Store::Rotated(program.cache_type, shape.pairing);
        }
        let norm = chain.encode.and_then(|(_, norm, _)| norm);
        constants.extend(norm.map(|(_, eps)| ("EPS", f64::from(eps))));
        let encoder = chain
            .encode
            .map(|_| Encoder::new(chain.select.is_some(), norm.is_some(), matrix.cols));
        let kernel = Kernel::Gemv(matrix.format, store, encoder);
        let height = kernel.rows_per_workgroup(loader.gpu.target).unwrap_or(1);
        let of_piece = |piece: &Piece| (piece.rows as u32).div_ceil(height);
        let workgroups: u32 = matrix.pieces.iter().map(of_piece).sum();
        let most_rows = match encoder {
            Some(_) => FEW_ROWS.min(MOST_ENCODING / workgroups.max(1)),
            None => FEW_ROWS,
        };
        // Four rows are rotated together: in one workgroup, and not in two buffers.
        let parted =
            chain.rope_store.is_some() && (!height.is_multiple_of(4) || matrix.pieces.len() > 1);
        if parted || most_rows == 0 || !loader.fits(kernel) {
            return Ok(None);
        }
        let step = Fused {
            pipeline: loader.pipeline(kernel, &constants)?,
            numbers: matrix.numbers(loader.gpu, &product.factors())?,
            matrix,
            x: chain.source().unwrap_or_else(|| product.x()),
            gain: norm.map(|(gain, _)| loader.vector(gain)).transpose()?,
            outs: product.outs.clone(),
            rows: program.buffer(product.outs[0]).rows,
            stored: chain
                .rope_store
                .map(|(_, rotation, layer)| (layer, rotation)),
            bound: HashMap::new(),
        };
        Ok(Some(OneStep {
            step: Box::new(step),
            most_rows,
        }))
    }

    fn bound(&self, buffers: &Buffers<'_>, cache: Option<&Cache>) -> Vec<(Bound, u32)> {
        let x = buffers.activations(self.x);
        let bind = |(piece, numbers): (&Piece, &Buffer)| {
            let mut bindings = bindings(buffers, (piece, numbers), &self.outs);
            bindings.extend([("x", &x.values), ("inputs", buffers.numbers)]);
            bindings.extend(x.scales.as_ref().map(|scales| ("x_scales", scales)));
            bindings.extend(self.gain.as_deref().map(|gain| ("gain", gain)));
            if let (Some(cache), Some((layer, rotation))) = (cache, self.stored) {
                let layer = cache.keys_and_values(layer);
                let table = buffers.rotations.table(rotation, cache.positions);
                let [keys, values] = [&layer.keys, &layer.values];
                bindings.extend([("rotations", table), ("keys", keys), ("values", values)]);
            }
            let bound = self.pipeline.bind(buffers.gpu, &bindings);
            (bound, workgroups(buffers, &self.pipeline, piece))
        };
        let pieces = self.matrix.pieces.iter().zip(&self.numbers);
        pieces.map(bind).collect()
    }
}

impl Step for Fused {
    fn bind(&mut self, buffers: &Buffers<'_>) {
        self.bound.clear();
        if self.stored.is_none() {
            let bound = self.bound(buffers, None);
            self.bound.insert(None, bound);
        }
    }

    fn bind_cache(&mut self, buffers: &Buffers<'_>, id: CacheId, cache: &Cache) {
        if self.stored.is_some() {
            let bound = self.bound(buffers, Some(cache));
            self.bound.insert(Some(id), bound);
        }
    }

    fn drop_cache(&mut self, id: CacheId) {
        self.bound.remove(&Some(id));
    }

    fn record(&self, pass: &Pass, recording: &mut Recording<'_>) {
        let parts = match self.stored {
            None => vec![(None, pass.part(self.rows))],
            Some(_) => {
                let segments = pass.segments.iter();
                segments.map(|s| (Some(s.cache), s.part)).collect()
            }
        };
        for (cache, part) in parts.into_iter().filter(|(_, part)| part.rows > 0) {
            for (bound, workgroups) in &self.bound[&cache] {
                recording.dispatch(bound, part.extent, (*workgroups, part.rows, 1));
            }
        }
    }
}
