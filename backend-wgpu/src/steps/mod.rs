//! What each operation is on the device, a file for each.

mod attention;
mod best;
mod embed;
mod encode;
mod head_norm;
mod linear;
mod rope_store;
mod select;

use bitnet_kernels::BackendError;
use bitnet_kernels::program::Op;
use bitnet_kernels::wgsl::Store;

use crate::loader::Loader;
use crate::step::Step;
pub(crate) use best::{Best, MAX_BEST, decode};

/// The steps of a program, one per operation, with their weights on the device.
pub(crate) fn load(loader: &mut Loader<'_>) -> Result<Vec<Box<dyn Step>>, BackendError> {
    let program = loader.program;
    let odd = |width: usize| !width.is_multiple_of(4) && width != program.vocabulary;
    if let Some(desc) = program.buffers.iter().find(|desc| odd(desc.width)) {
        return Err(loader.gpu.unsupported(format!(
            "rows of {} values in {}: multiples of 4 are known",
            desc.width, desc.name
        )));
    }
    program.ops.iter().map(|op| step(loader, op)).collect()
}

fn step(loader: &mut Loader<'_>, op: &Op) -> Result<Box<dyn Step>, BackendError> {
    Ok(match op {
        Op::Embed { table, out } => Box::new(embed::Embed::load(loader, *table, *out)?),
        Op::Norm { x, gain, eps, out } => {
            let norm = Some((*gain, *eps));
            Box::new(encode::Encode::load(loader, *x, norm, *out)?)
        }
        Op::HeadNorm { x, gain, eps } => {
            Box::new(head_norm::HeadNorm::load(loader, *x, *gain, *eps)?)
        }
        Op::Encode { x, out } => Box::new(encode::Encode::load(loader, *x, None, *out)?),
        Op::Linear {
            products,
            accumulate,
        } => {
            let store = if *accumulate { Store::Add } else { Store::Set };
            let products = products
                .iter()
                .map(|(product, out)| linear::Product::load(loader, &[*product], store, *out));
            Box::new(linear::Linear::new(products.collect::<Result<_, _>>()?))
        }
        Op::GatedLinear {
            gate,
            up,
            activation,
            out,
        } => {
            let store = Store::Gated(*activation);
            let product = linear::Product::load(loader, &[*gate, *up], store, *out)?;
            Box::new(linear::Linear::new(vec![product]))
        }
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
        Op::Head { product, logits } => {
            let product = linear::Product::load(loader, &[*product], Store::Set, *logits)?;
            Box::new(linear::Linear::new(vec![product]))
        }
    })
}
