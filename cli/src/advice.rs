//! What a user of this program can do about an error of the engine, in terms of its flags.

use bitnet_answer_receipts::BeginError;
use bitnet_engine::Error;
use bitnet_engine::gguf::Error as FileError;
use bitnet_engine::kernels::BackendError;
use bitnet_server::ServerError;

/// The advice for an error, if there is some to give.
pub(crate) fn on(error: &anyhow::Error) -> Option<&'static str> {
    let mut causes = error.chain();
    causes.find_map(|cause| {
        of_engine(cause)
            .or_else(|| of_file(cause))
            .or_else(|| of_server(cause))
            .or_else(|| of_receipt(cause))
    })
}

/// What to do about a model file that is not whole.
fn of_file(cause: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    match cause.downcast_ref()? {
        FileError::Empty
        | FileError::BadMagic { .. }
        | FileError::Truncated { .. }
        | FileError::CountTooLarge { .. }
        | FileError::OutOfBounds { .. } => Some(
            "bring a whole one with `cargo xtask fetch-models` or `cargo xtask download-model`",
        ),
        _ => None,
    }
}

/// What to do where there is no receipt.
fn of_receipt(cause: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    match cause.downcast_ref()? {
        BeginError::Device(_) => Some("use --device cpu"),
        _ => None,
    }
}

/// What to do where a server does not start.
fn of_server(cause: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    match cause.downcast_ref()? {
        ServerError::Open(_) => {
            Some("name a file with keys as --api-key-file, or say --allow-anyone")
        }
        ServerError::Listen { .. } => Some("choose another --port or --host"),
        ServerError::Store(_) => Some("choose another folder with --cache-dir, or leave it out"),
        _ => None,
    }
}

fn of_engine(cause: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    match cause.downcast_ref()? {
        Error::NoGpuSupport => Some("build it with --features gpu, or use --device cpu"),
        Error::Vocabulary { .. } => Some("give the model's own with --tokenizer"),
        Error::NoTemplate(_) => Some(
            "name a family or the file of one with --prompt-template; --prompt-template raw continues text",
        ),
        Error::Backend(BackendError::Device { device, .. }) if device == "gpu" => {
            Some("`bitnet devices` lists those there are")
        }
        Error::Backend(BackendError::Affinity(_)) => {
            Some("ask for fewer --threads, run on --device cpu, or leave --pin and --numa out")
        }
        Error::Split { .. } => Some("BITNET_GPU_UNTIL names it"),
        _ => None,
    }
}
