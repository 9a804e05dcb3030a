//! One opened GPU: its queue, what kernels may count on, and every way in which it can fail.

use std::cell::Cell;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bitnet_kernels::BackendError;
use bitnet_kernels::report::Traffic;
use bitnet_kernels::wgsl::Target;
use wgpu::{Buffer, BufferUsages, CommandBuffer, Features, SubmissionIndex};

use crate::adapter;

/// A pass that takes longer has hung.
const PATIENCE: Duration = Duration::from_secs(120);

/// Bytes written to the device before they are handed over.
const UPLOAD_CHUNK: usize = 16 << 20;

pub(crate) struct Gpu {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) name: String,
    pub(crate) target: Target,
    pub(crate) max_binding: u64,
    /// The same for weights, which can be split.
    pub(crate) max_weights: u64,
    pub(crate) timestamps: bool,
    traffic: Cell<Traffic>,
    failure: Arc<Mutex<Option<String>>>,
}

impl Gpu {
    /// Opens the adapter at `index`, or the best, for kernels with subgroups or without.
    pub(crate) fn open(index: Option<usize>, subgroups: bool) -> Result<Gpu, BackendError> {
        let adapter = adapter::choose(index)?;
        let info = adapter.get_info();
        let name = format!("gpu {} ({})", info.name, info.backend);
        let limits = adapter.limits();
        let subgroup = adapter::subgroup(&adapter).filter(|_| subgroups);
        let target = Target { subgroup };
        let timestamps = adapter.features().contains(Features::TIMESTAMP_QUERY);
        let mut features = Features::empty();
        features.set(Features::SUBGROUP, subgroup.is_some());
        features.set(Features::TIMESTAMP_QUERY, timestamps);
        // Offsets into a buffer are 32-bit words in places; buffers end on a word.
        let max_binding = limits
            .max_storage_buffer_binding_size
            .min(limits.max_buffer_size)
            .min(u64::from(u32::MAX))
            & !255;
        let opened = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("bitnet"),
            required_features: features,
            required_limits: limits,
            memory_hints: wgpu::MemoryHints::Performance,
            ..wgpu::DeviceDescriptor::default()
        }));
        let (device, queue) = opened.map_err(|error| BackendError::Device {
            device: name.clone(),
            problem: format!("it cannot be opened: {error}"),
        })?;
        let failure = Arc::new(Mutex::new(None));
        let note = |failure: &Arc<Mutex<Option<String>>>| {
            let failure = Arc::clone(failure);
            move |text: String| {
                failure
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .get_or_insert(text);
            }
        };
        let (lost, uncaptured) = (note(&failure), note(&failure));
        device.set_device_lost_callback(move |reason, text| {
            lost(format!("the device was lost ({reason:?}): {text}"));
        });
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            uncaptured(error.to_string());
        }));
        Ok(Gpu {
            device,
            queue,
            name,
            target,
            max_binding,
            max_weights: max_binding,
            timestamps,
            traffic: Cell::default(),
            failure,
        })
    }

    /// What was asked of the device since it was opened.
    pub(crate) fn traffic(&self) -> Traffic {
        self.traffic.get()
    }

    fn count(&self, add: impl FnOnce(&mut Traffic)) {
        let mut traffic = self.traffic.get();
        add(&mut traffic);
        self.traffic.set(traffic);
    }

    /// Hands commands over to the device, in which so many dispatches are.
    pub(crate) fn submit(
        &self,
        commands: impl IntoIterator<Item = CommandBuffer>,
        dispatches: usize,
    ) -> SubmissionIndex {
        self.count(|traffic| {
            traffic.submissions += 1;
            traffic.dispatches += dispatches as u64;
        });
        self.queue.submit(commands)
    }

    /// Writes whole words at `offset`, before what is submitted next.
    pub(crate) fn write(&self, buffer: &Buffer, offset: u64, bytes: &[u8]) {
        self.count(|traffic| {
            traffic.uploads += 1;
            traffic.uploaded_bytes += bytes.len() as u64;
        });
        self.queue.write_buffer(buffer, offset, bytes);
    }

    /// The first thing that went wrong since the device was opened.
    pub(crate) fn check(&self) -> Result<(), BackendError> {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        match &*failure {
            Some(text) => Err(self.failed(text.clone())),
            None => Ok(()),
        }
    }

    pub(crate) fn failed(&self, problem: String) -> BackendError {
        BackendError::Device {
            device: self.name.clone(),
            problem,
        }
    }

    pub(crate) fn unsupported(&self, what: String) -> BackendError {
        BackendError::Unsupported {
            device: self.name.clone(),
            what,
        }
    }

    /// A buffer of `bytes`, rounded up to whole vectors.
    pub(crate) fn buffer(
        &self,
        what: &str,
        bytes: usize,
        usage: BufferUsages,
    ) -> Result<Buffer, BackendError> {
        let size = self.size(what, bytes, usage)?;
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(what),
            size,
            usage,
            mapped_at_creation: false,
        });
        match pollster::block_on(scope.pop()) {
            Some(_) => Err(BackendError::OutOfMemory {
                device: self.name.clone(),
                what: what.to_owned(),
                need: size,
                have: None,
            }),
            None => Ok(buffer),
        }
    }

    /// The size of a buffer of `bytes`, which the device must allow.
    fn size(&self, what: &str, bytes: usize, usage: BufferUsages) -> Result<u64, BackendError> {
        let size = (bytes as u64)
            .max(16)
            .checked_next_multiple_of(16)
            .unwrap_or(u64::MAX);
        let limit = if usage.intersects(BufferUsages::STORAGE) {
            self.max_binding
        } else {
            self.device.limits().max_buffer_size
        };
        if size <= limit {
            return Ok(size);
        }
        Err(BackendError::OutOfMemory {
            device: self.name.clone(),
            what: what.to_owned(),
            need: size,
            have: Some(limit),
        })
    }

    /// Whether the device allows a [`Gpu::storage`] of so many bytes; its memory may not.
    pub(crate) fn allows_storage(&self, what: &str, bytes: usize) -> Result<(), BackendError> {
        self.size(what, bytes, BufferUsages::STORAGE).map(|_| ())
    }

    /// A buffer that kernels read and write.
    pub(crate) fn storage(&self, what: &str, bytes: usize) -> Result<Buffer, BackendError> {
        let usage = BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST;
        self.buffer(what, bytes, usage)
    }

    /// Writes `bytes` at `offset`, handing chunks over as they fill up.
    pub(crate) fn upload(
        &self,
        buffer: &Buffer,
        offset: usize,
        bytes: &[u8],
    ) -> Result<(), BackendError> {
        for (i, chunk) in bytes.chunks(UPLOAD_CHUNK).enumerate() {
            let at = (offset + i * UPLOAD_CHUNK) as u64;
            if chunk.len() % 4 == 0 {
                self.write(buffer, at, chunk);
            } else {
                let mut padded = chunk.to_vec();
                padded.resize(chunk.len().next_multiple_of(4), 0);
                self.write(buffer, at, &padded);
            }
            if bytes.len() >= UPLOAD_CHUNK {
                let index = self.submit([], 0);
                self.wait(index)?;
            }
        }
        Ok(())
    }

    /// Waits for a submission.
    pub(crate) fn wait(&self, index: wgpu::SubmissionIndex) -> Result<(), BackendError> {
        let waited = self.device.poll(wgpu::PollType::Wait {
            submission_index: Some(index),
            timeout: Some(PATIENCE),
        });
        self.check()?;
        match waited {
            Ok(_) => Ok(()),
            Err(error) => {
                Err(self.failed(format!("no answer after {} s: {error}", PATIENCE.as_secs())))
            }
        }
    }

    /// Waits for `index`, then hands the first `bytes` of a mappable buffer to `read`.
    pub(crate) fn read_mapped<R>(
        &self,
        buffer: &Buffer,
        bytes: usize,
        index: wgpu::SubmissionIndex,
        read: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, BackendError> {
        let range = 0..bytes as u64;
        // An error here is also an uncaptured or a device error, which wait reports.
        buffer.map_async(wgpu::MapMode::Read, range.clone(), |_| {});
        self.wait(index)?;
        self.count(|traffic| traffic.downloaded_bytes += bytes as u64);
        let result = match buffer.get_mapped_range(range) {
            Ok(view) => read(&view),
            Err(error) => return Err(self.failed(format!("its answer cannot be read: {error}"))),
        };
        buffer.unmap();
        Ok(result)
    }

    /// What commands are recorded into.
    pub(crate) fn encoder(&self) -> wgpu::CommandEncoder {
        self.device.create_command_encoder(&Default::default())
    }

    /// Copies the start of `buffer` to this side.
    pub(crate) fn download(&self, buffer: &Buffer, bytes: usize) -> Result<Vec<u8>, BackendError> {
        if bytes == 0 {
            return Ok(Vec::new());
        }
        let size = bytes.next_multiple_of(4);
        let usage = BufferUsages::MAP_READ | BufferUsages::COPY_DST;
        let staging = self.buffer("a read-back", size, usage)?;
        let mut encoder = self.encoder();
        encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, size as u64);
        let index = self.submit([encoder.finish()], 0);
        self.read_mapped(&staging, size, index, |view| view[..bytes].to_vec())
    }
}
