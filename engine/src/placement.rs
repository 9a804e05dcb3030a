//! Places a program on the device that was asked for.

use std::sync::Arc;

use bitnet_backend_cpu::{Affinity, CpuBackend, CpuOptions};
use bitnet_kernels::split::Split;
use bitnet_kernels::{Backend, BackendError, Program, SharedWeights};

use crate::device::Device;
use crate::error::Error;
use crate::options::LoadOptions;

/// The backend that `options` ask for, with the program and its weights on it.
pub(crate) fn place(
    options: &LoadOptions,
    program: &Program,
    weights: &SharedWeights,
) -> Result<Box<dyn Backend>, Error> {
    let adapter = match options.device {
        Device::Auto => best_gpu().map(Some),
        Device::Cpu => None,
        Device::Gpu(index) => Some(index),
    };
    let cpu = || on_cpu(options, program.clone(), Arc::clone(weights));
    let Some(adapter) = adapter else {
        return cpu();
    };
    let gpu = || on_gpu(adapter, options, program.clone(), Arc::clone(weights));
    let Some(operation) = &options.gpu_until else {
        if options.affinity != Affinity::default() {
            let problem =
                "CPUs are chosen for the threads of a CPU, and the model would run on a GPU";
            return Err(BackendError::Affinity(problem.to_owned()).into());
        }
        return gpu();
    };
    let until = program.find_op(operation).map_err(|problem| Error::Split {
        operation: operation.clone(),
        problem,
    })?;
    Ok(Box::new(Split::new(gpu()?, cpu()?, until)))
}

fn on_cpu(
    options: &LoadOptions,
    program: Program,
    weights: SharedWeights,
) -> Result<Box<dyn Backend>, Error> {
    let options = CpuOptions {
        threads: options.threads,
        isa: options.isa,
        affinity: options.affinity,
    };
    Ok(Box::new(CpuBackend::load(program, weights, options)?))
}

#[cfg(feature = "gpu")]
fn best_gpu() -> Option<usize> {
    let gpus = crate::device::gpus();
    gpus.into_iter().find(|gpu| gpu.auto).map(|gpu| gpu.index)
}

#[cfg(not(feature = "gpu"))]
fn best_gpu() -> Option<usize> {
    None
}

#[cfg(feature = "gpu")]
fn on_gpu(
    adapter: Option<usize>,
    options: &LoadOptions,
    program: Program,
    weights: SharedWeights,
) -> Result<Box<dyn Backend>, Error> {
    use bitnet_backend_wgpu::{WgpuBackend, WgpuOptions};
    let told = options.progress.clone();
    let options = WgpuOptions {
        adapter,
        progress: told
            .map(|told| Box::new(move |done, total| told(done, total)) as Box<dyn FnMut(u64, u64)>),
        ..WgpuOptions::default()
    };
    Ok(Box::new(WgpuBackend::load(program, weights, options)?))
}

#[cfg(not(feature = "gpu"))]
fn on_gpu(
    _adapter: Option<usize>,
    _options: &LoadOptions,
    _program: Program,
    _weights: SharedWeights,
) -> Result<Box<dyn Backend>, Error> {
    Err(Error::NoGpuSupport)
}
