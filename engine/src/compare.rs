//! A model's operations on two devices, on the same inputs: which is the first that differs.

use std::sync::Arc;

use bitnet_gguf::Gguf;
use bitnet_kernels::SharedWeights;
use bitnet_kernels::compare::{OpDifference, compare_ops};

use crate::device::Device;
use crate::error::Error;
use crate::options::LoadOptions;
use crate::placement::place;
use crate::plan::{self, Plan};

/// Two devices compared, operation by operation.
#[derive(Debug)]
pub struct Comparison {
    /// The device that was taken for right: the CPU.
    pub reference: String,
    /// The device that was held against it.
    pub device: String,
    /// The model, and where its layers end.
    pub plan: Plan,
    /// What each operation wrote, in order.
    pub differences: Vec<OpDifference>,
}

impl Comparison {
    /// The first operation that is farther from the reference than its tolerance.
    pub fn first_apart(&self) -> Option<&OpDifference> {
        self.differences
            .iter()
            .find(|difference| !difference.is_within(&self.plan.program))
    }

    /// The layer that an operation belongs to; none for those before the first and behind the last.
    pub fn layer(&self, operation: usize) -> Option<usize> {
        let first = 1;
        let layer = self
            .plan
            .layer_ends
            .iter()
            .position(|end| operation <= *end)?;
        (operation >= first).then_some(layer)
    }
}

/// Runs `tokens` on the CPU and on the device of `options`. Logits are compared after the first and
/// the last token.
///
/// # Errors
/// The model cannot be planned, or one of the devices fails.
pub fn compare(
    gguf: Arc<Gguf>,
    options: &LoadOptions,
    tokens: &[u32],
) -> Result<Comparison, Error> {
    if tokens.is_empty() {
        return Err(Error::EmptyPrompt);
    }
    let plan = plan::plan(&gguf, options.cache_type)
        .map_err(|problems| Error::Incompatible { problems })?;
    let weights: SharedWeights = gguf;
    let on_cpu = LoadOptions {
        device: Device::Cpu,
        ..options.clone()
    };
    let mut reference = place(&on_cpu, &plan.program, &weights)?;
    let mut other = place(options, &plan.program, &weights)?;
    let ends = [0, tokens.len() as u32 - 1];
    let selected = &ends[..tokens.len().min(2)];
    Ok(Comparison {
        differences: compare_ops(&mut *reference, &mut *other, tokens, selected)?,
        reference: reference.device(),
        device: other.device(),
        plan,
    })
}
