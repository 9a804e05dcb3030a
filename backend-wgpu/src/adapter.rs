//! Which GPUs there are, and which one to take.

use std::sync::LazyLock;

use bitnet_kernels::BackendError;
use wgpu::{Adapter, Backends, DeviceType, Features, Instance, InstanceDescriptor};

const BACKENDS: Backends = Backends::VULKAN
    .union(Backends::METAL)
    .union(Backends::DX12);

/// What gives adapters: one for the process, since drivers find none where many are made and
/// dropped at the same time.
static INSTANCE: LazyLock<Instance> = LazyLock::new(|| {
    Instance::new(InstanceDescriptor {
        backends: BACKENDS,
        ..InstanceDescriptor::new_without_display_handle()
    })
});

/// What a person wants to know about a GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterReport {
    /// Its place in the list: `gpu:INDEX`.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// `vulkan`, `metal` or `dx12`.
    pub backend: String,
    /// `discrete`, `integrated`, `virtual`, `software` or `other`.
    pub kind: &'static str,
    /// The driver and its version.
    pub driver: String,
    /// Bytes that one binding may hold.
    pub max_binding_bytes: u64,
    /// Bytes that one buffer may hold.
    pub max_buffer_bytes: u64,
    /// Features that kernels would use there.
    pub features: Vec<String>,
    /// Whether `auto` would take it.
    pub auto: bool,
}

/// The GPUs of this machine, in the order of their indices.
pub fn adapters() -> Vec<AdapterReport> {
    let all = enumerate();
    let auto = best(&all, false);
    all.iter()
        .enumerate()
        .map(|(index, adapter)| report(index, adapter, auto == Some(index)))
        .collect()
}

/// The adapter at `index`, or the best one.
pub(crate) fn choose(index: Option<usize>) -> Result<Adapter, BackendError> {
    let mut all = enumerate();
    let missing = |problem: String| BackendError::Device {
        device: "gpu".to_owned(),
        problem,
    };
    let index = match index {
        Some(index) if index < all.len() => index,
        Some(index) => {
            return Err(missing(format!(
                "there is no adapter {index}: {} found",
                all.len()
            )));
        }
        None => best(&all, true).ok_or_else(|| {
            missing(
                "no Vulkan, Metal or Direct3D 12 adapter found. Install the driver of the card; on Debian and \
                 Ubuntu also libvulkan1, or mesa-vulkan-drivers for a software one"
                    .to_owned(),
            )
        })?,
    };
    Ok(all.swap_remove(index))
}

/// The size of subgroups, where the adapter has only one that kernels can be generated for.
pub(crate) fn subgroup(adapter: &Adapter) -> Option<u32> {
    let info = adapter.get_info();
    let size = info.subgroup_min_size;
    (adapter.features().contains(Features::SUBGROUP)
        && size == info.subgroup_max_size
        && size.is_power_of_two()
        && (4..=128).contains(&size))
    .then_some(size)
}

fn enumerate() -> Vec<Adapter> {
    pollster::block_on(INSTANCE.enumerate_adapters(BACKENDS))
}

fn best(all: &[Adapter], software: bool) -> Option<usize> {
    let rank = |adapter: &Adapter| match adapter.get_info().device_type {
        DeviceType::DiscreteGpu => Some(0),
        DeviceType::IntegratedGpu => Some(1),
        DeviceType::VirtualGpu => Some(2),
        DeviceType::Other => Some(3),
        DeviceType::Cpu => software.then_some(4),
    };
    (0..all.len())
        .filter_map(|index| Some((rank(&all[index])?, index)))
        .min()
        .map(|(_, index)| index)
}

fn report(index: usize, adapter: &Adapter, auto: bool) -> AdapterReport {
    let (info, limits) = (adapter.get_info(), adapter.limits());
    let mut features = Vec::new();
    features.extend(subgroup(adapter).map(|size| format!("subgroups of {size}")));
    if adapter.features().contains(Features::TIMESTAMP_QUERY) {
        features.push("timestamps".to_owned());
    }
    AdapterReport {
        index,
        name: info.name.clone(),
        backend: info.backend.to_string(),
        kind: match info.device_type {
            DeviceType::DiscreteGpu => "discrete",
            DeviceType::IntegratedGpu => "integrated",
            DeviceType::VirtualGpu => "virtual",
            DeviceType::Cpu => "software",
            DeviceType::Other => "other",
        },
        driver: format!("{} {}", info.driver, info.driver_info)
            .trim()
            .to_owned(),
        max_binding_bytes: limits.max_storage_buffer_binding_size,
        max_buffer_bytes: limits.max_buffer_size,
        features,
        auto,
    }
}
