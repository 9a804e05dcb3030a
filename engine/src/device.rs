//! Which device runs a model.

use std::fmt;
use std::str::FromStr;

/// A choice of device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Device {
    /// The best there is.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// A GPU: the one at this index of the list of GPUs, or the best.
    Gpu(Option<usize>),
}

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

#[cfg(feature = "gpu")]
pub use bitnet_backend_wgpu::AdapterReport;

/// The GPUs of this machine, in the order of their indices.
#[cfg(feature = "gpu")]
pub fn gpus() -> Vec<AdapterReport> {
    bitnet_backend_wgpu::adapters()
}
