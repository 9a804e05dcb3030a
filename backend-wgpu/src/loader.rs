//! [`Loader`]: pipelines and weights for the steps of a program, each made once.

use std::collections::HashMap;
use std::sync::Arc;

use bitnet_kernels::program::{Program, WeightId};
use bitnet_kernels::wgsl::{Kernel, generate};
use bitnet_kernels::{BackendError, SharedWeights};
use wgpu::Buffer;

use crate::device::Gpu;
use crate::matrix::{self, DeviceMatrix, Layout, Progress};
use crate::pipeline::{Pipeline, Pipelines};

pub(crate) struct Loader<'a> {
    pub(crate) gpu: &'a Gpu,
    pub(crate) program: &'a Program,
    source: SharedWeights,
    progress: Progress<'a>,
    pipelines: Pipelines,
    matrices: HashMap<(Vec<WeightId>, Layout), Arc<DeviceMatrix>>,
    vectors: HashMap<WeightId, Arc<Buffer>>,
}

impl<'a> Loader<'a> {
    pub(crate) fn new(
        gpu: &'a Gpu,
        program: &'a Program,
        source: SharedWeights,
        progress: Progress<'a>,
    ) -> Loader<'a> {
        Loader {
            gpu,
            program,
            source,
            progress,
            pipelines: Pipelines::default(),
            matrices: HashMap::new(),
            vectors: HashMap::new(),
        }
    }

    /// The pipeline of a kernel with pipeline constants.
    pub(crate) fn pipeline(
        &mut self,
        kernel: Kernel,
        constants: &[(&'static str, f64)],
    ) -> Result<Arc<Pipeline>, BackendError> {
        self.pipelines.get(self.gpu, kernel, constants)
    }

    /// Whether every device would run a kernel, this one among them.
    pub(crate) fn fits(&self, kernel: Kernel) -> bool {
        generate(kernel, self.gpu.target).is_ok_and(|shader| shader.fits_every_device())
    }

    /// A matrix on the device, or several that lie together.
    pub(crate) fn matrix(
        &mut self,
        weights: &[WeightId],
        layout: Layout,
    ) -> Result<Arc<DeviceMatrix>, BackendError> {
        let key = (weights.to_vec(), layout);
        if let Some(placed) = self.matrices.get(&key) {
            return Ok(Arc::clone(placed));
        }
        let descs: Vec<_> = weights.iter().map(|id| self.program.weight(*id)).collect();
        let placed = matrix::place(self.gpu, &self.source, &descs, layout, &mut *self.progress)?;
        let placed = Arc::new(placed);
        self.matrices.insert(key, Arc::clone(&placed));
        Ok(placed)
    }

    /// A vector of f32 on the device.
    pub(crate) fn vector(&mut self, weight: WeightId) -> Result<Arc<Buffer>, BackendError> {
        if let Some(placed) = self.vectors.get(&weight) {
            return Ok(Arc::clone(placed));
        }
        let desc = self.program.weight(weight);
        let placed = Arc::new(matrix::place_vector(self.gpu, &self.source, desc)?);
        self.vectors.insert(weight, Arc::clone(&placed));
        Ok(placed)
    }
}
