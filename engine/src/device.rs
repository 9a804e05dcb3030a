//! Which device runs a model.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bitnet_backend_cpu::{CpuBackend, CpuOptions, Isa};
use bitnet_kernels::split::Split;
use bitnet_kernels::{Backend, Program, SharedWeights};

use crate::error::Error;
use crate::model::LoadOptions;

/// A choice of device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// The best there is.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// A GPU: the one at this index of the list of GPUs, or the best.
    Gpu(Option<usize>),
}

/// The variable that forces an instruction set.
pub const ISA_VARIABLE: &str = "BITNET_ISA";

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Device, String> {
        match text {
            "auto" => Ok(Device::Auto),
            "cpu" => Ok(Device::Cpu),
            "gpu" => Ok(Device::Gpu(None)),
            _ => text
                .strip_prefix("gpu:")
                .and_then(|index| index.parse().ok())
                .map(|index| Device::Gpu(Some(index)))
                .ok_or_else(|| {
                    format!("unknown device `{text}`; known are auto, cpu, gpu and gpu:INDEX")
                }),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Auto => f.write_str("auto"),
            Device::Cpu => f.write_str("cpu"),
            Device::Gpu(None) => f.write_str("gpu"),
            Device::Gpu(Some(index)) => write!(f, "gpu:{index}"),
        }
    }
}

/// The variable that names the first operation that a GPU leaves to the CPU, as
/// [`Program::find_op`] reads it.
pub const UNTIL_VARIABLE: &str = "BITNET_GPU_UNTIL";

/// Told of weights on their way to a GPU: bytes done, and bytes in all.
pub type Progress = fn(u64, u64);

/// Places a program on a device.
pub(crate) fn open(
    options: &LoadOptions,
    program: &Program,
    weights: &SharedWeights,
) -> Result<Box<dyn Backend>, Error> {
    let gpu = match options.device {
        Device::Auto => auto_gpu().map(Some),
        Device::Cpu => None,
        Device::Gpu(index) => Some(index),
    };
    let cpu = || open_cpu(options.threads, program.clone(), Arc::clone(weights));
    let Some(adapter) = gpu else {
        return cpu();
    };
    let gpu = || {
        open_gpu(
            adapter,
            options.progress,
            program.clone(),
            Arc::clone(weights),
        )
    };
    match std::env::var(UNTIL_VARIABLE) {
        Ok(point) if !point.is_empty() => {
            let until = program
                .find_op(&point)
                .map_err(|problem| Error::Device(format!("{UNTIL_VARIABLE}={point}: {problem}")))?;
            Ok(Box::new(Split::new(gpu()?, cpu()?, until)))
        }
        _ => gpu(),
    }
}

fn open_cpu(
    threads: Option<usize>,
    program: Program,
    weights: SharedWeights,
) -> Result<Box<dyn Backend>, Error> {
    let isa = match std::env::var(ISA_VARIABLE) {
        Ok(name) if !name.is_empty() => Some(Isa::named(&name)?),
        _ => None,
    };
    let options = CpuOptions { threads, isa };
    Ok(Box::new(CpuBackend::load(program, weights, options)?))
}

#[cfg(feature = "gpu")]
pub use bitnet_backend_wgpu::AdapterReport;

/// The GPUs of this machine, in the order of their indices.
#[cfg(feature = "gpu")]
pub fn gpus() -> Vec<bitnet_backend_wgpu::AdapterReport> {
    bitnet_backend_wgpu::adapters()
}

#[cfg(feature = "gpu")]
fn auto_gpu() -> Option<usize> {
    gpus().into_iter().find(|gpu| gpu.auto).map(|gpu| gpu.index)
}

#[cfg(not(feature = "gpu"))]
fn auto_gpu() -> Option<usize> {
    None
}

#[cfg(feature = "gpu")]
fn open_gpu(
    adapter: Option<usize>,
    progress: Option<Progress>,
    program: Program,
    weights: SharedWeights,
) -> Result<Box<dyn Backend>, Error> {
    use bitnet_backend_wgpu::{WgpuBackend, WgpuOptions};
    let options = WgpuOptions {
        adapter,
        progress: progress.map(|told| Box::new(told) as Box<dyn FnMut(u64, u64)>),
        ..WgpuOptions::default()
    };
    Ok(Box::new(WgpuBackend::load(program, weights, options)?))
}

#[cfg(not(feature = "gpu"))]
fn open_gpu(
    _adapter: Option<usize>,
    _progress: Option<Progress>,
    _program: Program,
    _weights: SharedWeights,
) -> Result<Box<dyn Backend>, Error> {
    Err(Error::Device(
        "this program was built without GPU support; build it with --features gpu, or use --device cpu"
            .to_owned(),
    ))
}
