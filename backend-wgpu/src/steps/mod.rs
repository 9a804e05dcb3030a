//! What each operation is on the device, a file for each.

mod attention;
mod best;
mod convolve;
mod deinterleave;
mod delta_rule;
mod embed;
mod encode;
mod experts;
pub(crate) mod fused;
mod gate;
mod head_norm;
mod linear;
mod rope_store;
mod rotate;
mod select;

use bitnet_kernels::BackendError;
use bitnet_kernels::program::{BufferId, Op};
use bitnet_kernels::wgsl::Store;

use crate::loader::Loader;
use crate::step::Step;
pub(crate) use best::{Best, MAX_BEST, decode};

/// The steps of a program, one per operation, with their weights on the device.
pub(crate) fn load(loader: &mut Loader<'_>) -> Result<Vec<Box<dyn Step>>, BackendError> {
    let program = loader.program;
    let by_fours = program.ops.iter().flat_map(by_fours);
    let mut descs = by_fours.map(|id| program.buffer(id));
    if let Some(desc) = descs.find(|desc| !desc.width.is_multiple_of(4)) {
        return Err(loader.gpu.unsupported(format!(
            "rows of {} values in {}: multiples of 4 are known",
            desc.width, desc.name
        )));
    }
    program.ops.iter().map(|op| step(loader, op)).collect()
}

/// The buffers that an operation reads or writes four values at a time.
fn by_fours(op: &Op) -> Vec<BufferId> {
    match op {
        Op::Embed { .. }
        | Op::Norm { .. }
        | Op::Encode { .. }
        | Op::Deinterleave { .. }
        | Op::RopeStore { .. }
        | Op::Attention { .. }
        | Op::Select { .. } => [op.inputs(), op.outputs()].concat(),
        Op::Linear { .. }
        | Op::GatedLinear { .. }
        | Op::GatedExperts { .. }
        | Op::ExpertLinear { .. }
        | Op::Head { .. } => op.products().map(|product| product.x).collect(),
        Op::Route { .. }
        | Op::Mix { .. }
        | Op::Rotate { .. }
        | Op::HeadNorm { .. }
        | Op::Gate { .. }
        | Op::Convolve { .. }
        | Op::DeltaRule { .. } => Vec::new(),
    }
}

fn step(loader: &mut Loader<'_>, op: &Op) -> Result<Box<dyn Step>, BackendError> {
    Ok(match op {
        Op::Embed { table, scale, out } => {
            Box::new(embed::Embed::load(loader, *table, *scale, *out)?)
        }
        Op::Norm { x, gain, eps, out } => {
            let norm = Some((*gain, *eps));
            Box::new(encode::Encode::load(loader, (*x, false), norm, *out)?)
        }
        Op::HeadNorm { x, gain, eps } => {
            Box::new(head_norm::HeadNorm::load(loader, *x, *gain, *eps)?)
        }
        Op::Encode { x, out } => Box::new(encode::Encode::load(loader, (*x, false), None, *out)?),
        Op::Linear { .. } | Op::GatedLinear { .. } | Op::Head { .. } => {
            Box::new(linear::Linear::load(loader, op)?)
        }
        Op::Deinterleave { x, part, outs } => {
            Box::new(deinterleave::Deinterleave::load(loader, *x, *part, *outs)?)
        }
        Op::Gate {
            x,
            gate,
            activation,
        } => Box::new(gate::Gate::load(loader, *x, *gate, *activation)?),
        Op::Convolve {
            x,
            kernel,
            layer,
            out,
        } => {
            let buffers = [*x, *out];
            Box::new(convolve::Convolve::load(loader, buffers, *kernel, *layer)?)
        }
        Op::DeltaRule {
            x,
            alpha,
            beta,
            bias,
            rate,
            shape,
            layer,
            out,
        } => {
            let inputs = delta_rule::Inputs {
                x: *x,
                alpha: *alpha,
                beta: *beta,
                bias: *bias,
                rate: *rate,
            };
            Box::new(delta_rule::DeltaRule::load(
                loader, inputs, *shape, *layer, *out,
            )?)
        }
        Op::Route {
            logits,
            experts,
            chosen,
            shares,
        } => {
            let buffers = [*logits, *chosen, *shares];
            Box::new(experts::Route::load(loader, *experts, buffers)?)
        }
        Op::GatedExperts {
            gate,
            up,
            activation,
            clamp,
            experts,
            chosen,
            out,
        } => {
            let store = (Store::Gated(*activation), *clamp);
            let (products, buffers) = ([*gate, *up], [*chosen, *out]);
            Box::new(experts::ExpertLinear::load(
                loader, &products, store, *experts, buffers,
            )?)
        }
        Op::ExpertLinear {
            product,
            experts,
            chosen,
            out,
        } => {
            let (store, buffers) = ((Store::Set, None), [*chosen, *out]);
            Box::new(experts::ExpertLinear::load(
                loader,
                &[*product],
                store,
                *experts,
                buffers,
            )?)
        }
        Op::Mix { x, shares, out } => Box::new(experts::Mix::load(loader, [*x, *shares, *out])?),
        Op::Rotate {
            x,
            head_dim,
            rotation,
        } => Box::new(rotate::Rotate::load(loader, *x, *head_dim, *rotation)?),
        Op::RopeStore {
            q,
            k,
            v,
            rotation,
            layer,
        } => {
            let buffers = [*q, *k, *v];
            Box::new(rope_store::RopeStore::load(
                loader, buffers, *rotation, *layer,
            )?)
        }
        Op::Attention {
            q,
            shape,
            layer,
            out,
        } => Box::new(attention::Attention::load(
            loader,
            [*q, *out],
            *shape,
            *layer,
        )?),
        Op::Select { x, out } => Box::new(select::Select::load(loader, *x, *out)?),
    })
}
