//! Which device runs a model.

use std::fmt;
use std::str::FromStr;

use bitnet_backend_cpu::{CpuBackend, CpuOptions, Isa};
use bitnet_kernels::backend::SharedWeights;
use bitnet_kernels::{Backend, Program};

use crate::error::Error;

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

/// Places a program on a device.
pub(crate) fn open(
    device: Device,
    threads: Option<usize>,
    program: Program,
    weights: SharedWeights,
) -> Result<Box<dyn Backend>, Error> {
    match device {
        Device::Auto => match auto_gpu() {
            Some(index) => open_gpu(Some(index), program, weights),
            None => open_cpu(threads, program, weights),
        },
        Device::Cpu => open_cpu(threads, program, weights),
        Device::Gpu(index) => open_gpu(index, program, weights),
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
    program: Program,
    weights: SharedWeights,
) -> Result<Box<dyn Backend>, Error> {
    use bitnet_backend_wgpu::{WgpuBackend, WgpuOptions};
    let options = WgpuOptions {
        adapter,
        ..WgpuOptions::default()
    };
    Ok(Box::new(WgpuBackend::load(program, weights, options)?))
}

#[cfg(not(feature = "gpu"))]
fn open_gpu(
    _adapter: Option<usize>,
    _program: Program,
    _weights: SharedWeights,
) -> Result<Box<dyn Backend>, Error> {
    Err(Error::Device(
        "this program was built without GPU support; build it with --features gpu, or use --device cpu"
            .to_owned(),
    ))
}
