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
    /// A GPU.
    Gpu,
}

/// The variable that forces an instruction set.
pub const ISA_VARIABLE: &str = "BITNET_ISA";

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Device, String> {
        match text {
            "auto" => Ok(Device::Auto),
            "cpu" => Ok(Device::Cpu),
            "gpu" => Ok(Device::Gpu),
            _ => Err(format!("unknown device `{text}`; known are auto, cpu, gpu")),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Device::Auto => "auto",
            Device::Cpu => "cpu",
            Device::Gpu => "gpu",
        })
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
        Device::Auto | Device::Cpu => {
            let isa = match std::env::var(ISA_VARIABLE) {
                Ok(name) if !name.is_empty() => Some(Isa::named(&name)?),
                _ => None,
            };
            Ok(Box::new(CpuBackend::load(
                program,
                weights,
                CpuOptions { threads, isa },
            )?))
        }
        Device::Gpu => Err(Error::Device(
            "no GPU backend is built into this program; use --device cpu".to_owned(),
        )),
    }
}
