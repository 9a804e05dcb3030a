//! A generated shader and what naga reads in it.

use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};

use super::kernel::{Kernel, Target};
use super::template::{TemplateError, expand};

/// How a shader reaches a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// A small block of constants.
    Uniform,
    /// Read only.
    Read,
    /// Read and written.
    ReadWrite,
}

/// A buffer that a shader wants at an index of its bind group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The index.
    pub index: u32,
    /// The variable's name.
    pub name: String,
    /// How it is used.
    pub access: Access,
}

/// A shader ready for a device.
#[derive(Debug)]
pub struct Shader {
    /// The kernel that it computes.
    pub kernel: Kernel,
    /// The text.
    pub source: String,
    /// Its buffers, by index.
    pub bindings: Vec<Binding>,
    /// Threads of a workgroup.
    pub workgroup_size: [u32; 3],
    /// Bytes of memory that a workgroup shares.
    pub workgroup_bytes: u32,
    /// The pipeline constants that it needs.
    pub constants: Vec<String>,
    pub(super) module: naga::Module,
    pub(super) info: ModuleInfo,
}

/// Why a kernel is no valid shader. None of these can happen to a kernel of
/// [`super::permutations`].
#[derive(Debug, thiserror::Error)]
pub enum ShaderError {
    /// The source has a hole that nothing fills.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The text is no WGSL.
    #[error("{kernel}: {problem}")]
    Parse {
        /// The kernel.
        kernel: &'static str,
        /// What naga says.
        problem: String,
    },
    /// The text is WGSL but not valid.
    #[error("{kernel}: {problem}")]
    Invalid {
        /// The kernel.
        kernel: &'static str,
        /// What naga says.
        problem: String,
    },
    /// A back end of naga refused it.
    #[error("{kernel} does not translate: {problem}")]
    Translate {
        /// The kernel.
        kernel: &'static str,
        /// What naga says.
        problem: String,
    },
}

/// Fills the kernel's source for a target, parses and validates it with the capabilities that the
/// target has.
///
/// # Errors
/// See [`ShaderError`].
pub fn generate(kernel: Kernel, target: Target) -> Result<Shader, ShaderError> {
    let source = expand(kernel.source(), &kernel.holes(target))?;
    let module = naga::front::wgsl::parse_str(&source).map_err(|error| ShaderError::Parse {
        kernel: kernel.name(),
        problem: error.emit_to_string(&source),
    })?;
    // unpack2x16float and pack2x16float are part of WGSL, whatever the device's f16 arithmetic.
    let mut capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    if target.subgroup.is_some() {
        capabilities |= Capabilities::SUBGROUP;
    }
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .subgroup_stages(naga::valid::ShaderStages::COMPUTE)
        .subgroup_operations(naga::valid::SubgroupOperationSet::all())
        .validate(&module)
        .map_err(|error| ShaderError::Invalid {
            kernel: kernel.name(),
            problem: error.emit_to_string(&source),
        })?;
    Ok(Shader {
        bindings: bindings(&module),
        workgroup_size: module.entry_points[0].workgroup_size,
        workgroup_bytes: workgroup_bytes(&module),
        constants: module
            .overrides
            .iter()
            .filter_map(|(_, constant)| constant.name.clone())
            .collect(),
        kernel,
        source,
        module,
        info,
    })
}

impl Shader {
    /// Whether every device runs it: WebGPU promises eight storage buffers and 16 KiB of memory for
    /// a workgroup, and no more.
    pub fn fits_every_device(&self) -> bool {
        let is_storage = |binding: &&Binding| binding.access != Access::Uniform;
        self.bindings.iter().filter(is_storage).count() <= 8 && self.workgroup_bytes <= 16384
    }
}

fn workgroup_bytes(module: &naga::Module) -> u32 {
    let shared = module.global_variables.iter().filter_map(|(_, variable)| {
        let size = module.types[variable.ty].inner.size(module.to_ctx());
        (variable.space == naga::AddressSpace::WorkGroup).then(|| size.next_multiple_of(16))
    });
    shared.sum()
}

fn bindings(module: &naga::Module) -> Vec<Binding> {
    let mut bindings: Vec<Binding> = module
        .global_variables
        .iter()
        .filter_map(|(_, variable)| {
            let access = match variable.space {
                naga::AddressSpace::Uniform => Access::Uniform,
                naga::AddressSpace::Storage { access }
                    if access.contains(naga::StorageAccess::STORE) =>
                {
                    Access::ReadWrite
                }
                naga::AddressSpace::Storage { .. } => Access::Read,
                _ => return None,
            };
            Some(Binding {
                index: variable.binding?.binding,
                name: variable.name.clone()?,
                access,
            })
        })
        .collect();
    bindings.sort_by_key(|binding| binding.index);
    bindings
}

#[cfg(test)]
mod tests {
    use super::super::{Language, Softmax, permutations, translate};
    use super::*;

    #[test]
    fn every_permutation_is_valid_for_every_device_and_translates_to_every_language() {
        for (kernel, target) in permutations() {
            let shader = generate(kernel, target)
                .unwrap_or_else(|error| panic!("{kernel:?} for {target:?}: {error}"));
            assert!(
                shader.fits_every_device(),
                "{kernel:?} for {target:?}: {} bytes, {:?}",
                shader.workgroup_bytes,
                shader.bindings
            );
            for language in Language::ALL {
                let text = translate(&shader, language).unwrap_or_else(|error| {
                    panic!("{kernel:?} for {target:?} to {language:?}: {error}")
                });
                assert!(!text.is_empty());
            }
        }
    }

    #[test]
    fn bindings_and_workgroup_sizes_come_from_the_text() {
        let shader = generate(Kernel::AttentionMerge(Softmax::Online), Target::PORTABLE).unwrap();
        assert_eq!(shader.workgroup_size, [64, 1, 1]);
        let names: Vec<_> = shader.bindings.iter().map(|b| b.name.as_str()).collect();
        assert_eq!(names, ["extent", "spans", "results"]);
        assert_eq!(shader.bindings[1].access, Access::Read);
        assert_eq!(shader.bindings[2].access, Access::ReadWrite);
        assert_eq!(shader.constants, ["HEADS", "HEAD_DIM"]);
    }
}
