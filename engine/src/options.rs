//! How to load a model.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use bitnet_backend_cpu::{Affinity, Isa, Numa};
use bitnet_kernels::program::CacheType;

use crate::device::Device;
use crate::kept::screens::ScreenCache;

/// Told of weights on their way to a GPU: bytes done, and bytes in all.
pub(crate) type Progress = Arc<dyn Fn(u64, u64) + Send + Sync>;

/// How to load a model. [`LoadOptions::default`] takes the best device, all its cores and f16
/// caches; each setter changes one thing.
///
/// ```
/// use bitnet_engine::{CacheType, Device, LoadOptions};
///
/// let options = LoadOptions::default()
///     .device(Device::Cpu)
///     .threads(2)
///     .cache_type(CacheType::F32)
///     .progress(|done, total| eprintln!("{done} of {total} bytes"));
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct LoadOptions {
    pub(crate) device: Device,
    pub(crate) threads: Option<usize>,
    pub(crate) isa: Option<Isa>,
    pub(crate) affinity: Affinity,
    pub(crate) cache_type: CacheType,
    pub(crate) batch: usize,
    pub(crate) gpu_until: Option<String>,
    pub(crate) tokenizer: Option<PathBuf>,
    pub(crate) screens: Option<ScreenCache>,
    pub(crate) progress: Option<Progress>,
}

impl Default for LoadOptions {
    fn default() -> LoadOptions {
        LoadOptions {
            device: Device::Auto,
            threads: None,
            isa: None,
            affinity: Affinity::default(),
            cache_type: CacheType::F16,
            batch: 512,
            gpu_until: None,
            tokenizer: None,
            screens: None,
            progress: None,
        }
    }
}

impl LoadOptions {
    /// Where to run it; the best device there is, by default.
    pub fn device(mut self, device: Device) -> LoadOptions {
        self.device = device;
        self
    }

    /// CPU threads, the caller's included; all cores by default. Their number changes no bit of a
    /// result.
    pub fn threads(mut self, threads: usize) -> LoadOptions {
        self.threads = Some(threads);
        self
    }

    /// The instruction set of the CPU's kernels; the fastest that the CPU has by default. It
    /// changes no bit of a result.
    pub fn isa(mut self, isa: Isa) -> LoadOptions {
        self.isa = Some(isa);
        self
    }

    /// Whether each CPU thread has a CPU of its own, of those that the caller may use. The caller
    /// has one only while it computes. Takes Linux; changes no bit of a result.
    pub fn pin(mut self, pin: bool) -> LoadOptions {
        self.affinity.pin = pin;
        self
    }

    /// What NUMA nodes are to CPU threads; nothing by default. Takes Linux; changes no bit of a
    /// result.
    pub fn numa(mut self, numa: Numa) -> LoadOptions {
        self.affinity.numa = Some(numa);
        self
    }

    /// How keys and values are kept; f16 by default.
    pub fn cache_type(mut self, cache_type: CacheType) -> LoadOptions {
        self.cache_type = cache_type;
        self
    }

    /// Most tokens of a prompt in one forward pass, at least 1; 512 by default. On the CPU it
    /// changes no bit of a result.
    pub fn batch(mut self, tokens: usize) -> LoadOptions {
        self.batch = tokens.max(1);
        self
    }

    /// The first operation that a GPU leaves to the CPU, as [`Program::find_op`] reads it; a GPU
    /// runs all of them by default. For finding the operation at which an answer changes; slow.
    ///
    /// [`Program::find_op`]: bitnet_kernels::Program::find_op
    pub fn gpu_until(mut self, operation: impl Into<String>) -> LoadOptions {
        self.gpu_until = Some(operation.into());
        self
    }

    /// The file of the tokenizer: a `tokenizer.json`, a LLaMA-3 `tokenizer.model` or a GGUF file.
    /// The one that belongs to the model is found by default.
    pub fn tokenizer(mut self, path: impl Into<PathBuf>) -> LoadOptions {
        self.tokenizer = Some(path.into());
        self
    }

    /// Where the screen of the output head is kept, so that it is made once for all processes;
    /// nowhere by default. Of a model that is in no file it is never kept. It changes no bit of a
    /// result.
    pub fn screens(mut self, cache: ScreenCache) -> LoadOptions {
        self.screens = Some(cache);
        self
    }

    /// Called while weights are copied to a GPU, with the bytes done and the bytes in all.
    pub fn progress(mut self, told: impl Fn(u64, u64) + Send + Sync + 'static) -> LoadOptions {
        self.progress = Some(Arc::new(told));
        self
    }
}

impl fmt::Debug for LoadOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadOptions")
            .field("device", &self.device)
            .field("threads", &self.threads)
            .field("isa", &self.isa)
            .field("affinity", &self.affinity)
            .field("cache_type", &self.cache_type)
            .field("batch", &self.batch)
            .field("gpu_until", &self.gpu_until)
            .field("tokenizer", &self.tokenizer)
            .field("screens", &self.screens)
            .finish_non_exhaustive()
    }
}
