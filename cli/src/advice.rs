//! What a user of this program can do about an error of the engine, in terms of its flags.

use bitnet_engine::Error;
use bitnet_engine::kernels::BackendError;

/// The advice for an error, if there is some to give.
pub(crate) fn on(error: &anyhow::Error) -> Option<&'static str> {
    error.chain().find_map(|cause| match cause.downcast_ref()? {
        Error::NoGpuSupport => Some("build it with --features gpu, or use --device cpu"),
        Error::Vocabulary { .. } => Some("give the model's own with --tokenizer"),
        Error::NoTemplate(_) => Some(
            "name a family or the file of one with --prompt-template; --prompt-template raw continues text",
        ),
        Error::Backend(BackendError::Device { device, .. }) if device == "gpu" => {
            Some("`bitnet devices` lists those there are")
        }
        Error::Split { .. } => Some("BITNET_GPU_UNTIL names it"),
        _ => None,
    })
}
