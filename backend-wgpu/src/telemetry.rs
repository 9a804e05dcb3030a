//! Which kernels ran, and where the time went.

use bitnet_kernels::report::Traffic;
use bitnet_kernels::{KernelRecorder, Profile, Telemetry};

use crate::backend::WgpuBackend;
use crate::profiler::Profiler;

impl Telemetry for WgpuBackend {
    fn recorder(&mut self) -> &mut KernelRecorder {
        &mut self.recorder
    }

    fn set_profiling(&mut self, on: bool) -> bool {
        self.profiler = None;
        if on {
            let kinds = self.groups.iter().map(|group| group.kind(&self.program));
            let profiler = Profiler::new(&self.gpu, kinds, self.host_clock);
            self.profiler = profiler.ok();
        }
        self.profiler.is_some() == on
    }

    fn profile(&self) -> Option<&Profile> {
        self.profiler.as_ref().map(|profiler| &profiler.profile)
    }

    fn traffic(&self) -> Option<Traffic> {
        Some(self.gpu.traffic())
    }
}
