//! Pipelines, one per kernel and sizes, with layouts as naga reads them in the text.

use std::collections::HashMap;
use std::sync::Arc;

use bitnet_kernels::BackendError;
use bitnet_kernels::wgsl::{Access, Binding, Kernel, generate};
use wgpu::{BindGroup, BindingResource, Buffer};

use crate::device::Gpu;
use crate::pass::EXTENT_BYTES;

pub(crate) struct Pipeline {
    pub(crate) kernel: Kernel,
    pub(crate) pipeline: wgpu::ComputePipeline,
    /// Whether it reads an extent of the pass.
    pub(crate) takes_extent: bool,
    layout: wgpu::BindGroupLayout,
    bindings: Vec<Binding>,
}

impl Pipeline {
    /// Binds buffers by the names that the shader gives them; others may be among them. `extent` is
    /// bound to one extent, moved by an offset.
    pub(crate) fn bind(self: &Arc<Self>, gpu: &Gpu, buffers: &[(&str, &Buffer)]) -> Bound {
        let entries: Vec<_> = self
            .bindings
            .iter()
            .map(|binding| {
                let (_, buffer) = buffers
                    .iter()
                    .find(|(name, _)| *name == binding.name)
                    .unwrap_or_else(|| panic!("{} wants {}", self.kernel.name(), binding.name));
                wgpu::BindGroupEntry {
                    binding: binding.index,
                    resource: match binding.name.as_str() {
                        "extent" => BindingResource::Buffer(wgpu::BufferBinding {
                            buffer,
                            offset: 0,
                            size: wgpu::BufferSize::new(EXTENT_BYTES),
                        }),
                        _ => buffer.as_entire_binding(),
                    },
                }
            })
            .collect();
        Bound {
            pipeline: Arc::clone(self),
            group: gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(self.kernel.name()),
                layout: &self.layout,
                entries: &entries,
            }),
        }
    }
}

/// A pipeline with the buffers that it is bound to.
pub(crate) struct Bound {
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) group: BindGroup,
}

/// Names and bits of pipeline constants.
type Constants = Vec<(&'static str, u64)>;

/// Pipelines made so far.
#[derive(Default)]
pub(crate) struct Pipelines {
    made: HashMap<(Kernel, Constants), Arc<Pipeline>>,
}

impl Pipelines {
    /// The pipeline of a kernel with pipeline constants, made if it is new.
    pub(crate) fn get(
        &mut self,
        gpu: &Gpu,
        kernel: Kernel,
        constants: &[(&'static str, f64)],
    ) -> Result<Arc<Pipeline>, BackendError> {
        let bits = constants.iter().map(|(name, v)| (*name, v.to_bits()));
        let key = (kernel, bits.collect());
        if let Some(made) = self.made.get(&key) {
            return Ok(Arc::clone(made));
        }
        let made = Arc::new(make(gpu, kernel, constants)?);
        self.made.insert(key, Arc::clone(&made));
        Ok(made)
    }
}

fn make(
    gpu: &Gpu,
    kernel: Kernel,
    constants: &[(&'static str, f64)],
) -> Result<Pipeline, BackendError> {
    let shader =
        generate(kernel, gpu.target).map_err(|error| gpu.unsupported(error.to_string()))?;
    let entries: Vec<_> = shader
        .bindings
        .iter()
        .map(|binding| wgpu::BindGroupLayoutEntry {
            binding: binding.index,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty: match binding.access {
                    Access::Uniform => wgpu::BufferBindingType::Uniform,
                    access => wgpu::BufferBindingType::Storage {
                        read_only: access == Access::Read,
                    },
                },
                has_dynamic_offset: binding.name == "extent",
                min_binding_size: None,
            },
            count: None,
        })
        .collect();
    let scope = gpu.device.push_error_scope(wgpu::ErrorFilter::Validation);
    let layout = gpu
        .device
        .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some(kernel.name()),
            entries: &entries,
        });
    let pipeline_layout = gpu
        .device
        .create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(kernel.name()),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
    let descriptor = wgpu::ShaderModuleDescriptor {
        label: Some(kernel.name()),
        source: wgpu::ShaderSource::Wgsl(shader.source.as_str().into()),
    };
    // SAFETY: bounds stay checked. Only the counters that wgpu adds to every loop are left out:
    // each loop of the kernels counts to a size that the program or the pass fixes, and so
    // ends.
    let module = unsafe {
        gpu.device.create_shader_module_trusted(
            descriptor,
            wgpu::ShaderRuntimeChecks {
                force_loop_bounding: false,
                ..wgpu::ShaderRuntimeChecks::checked()
            },
        )
    };
    // A kernel is told sizes that only some of its permutations look at.
    let is_used = |(name, _): &&(&'static str, f64)| shader.constants.iter().any(|c| c == name);
    let used: Vec<_> = constants.iter().filter(is_used).copied().collect();
    let pipeline = gpu
        .device
        .create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(kernel.name()),
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &used,
                // Every kernel writes workgroup memory before it reads it.
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        });
    if let Some(error) = pollster::block_on(scope.pop()) {
        return Err(gpu.unsupported(format!("{}: {error}", kernel.name())));
    }
    Ok(Pipeline {
        kernel,
        pipeline,
        takes_extent: shader.bindings.iter().any(|b| b.name == "extent"),
        layout,
        bindings: shader.bindings,
    })
}
