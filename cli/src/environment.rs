//! The variables that this program reads.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use bitnet_engine::Isa;
use bitnet_provisioning::{CACHE_DIR_VARIABLE, ModelCache, ModelDiscovery};

/// Forces the instruction set of the CPU's kernels.
const ISA: &str = "BITNET_ISA";
/// Names the first operation that a GPU leaves to the CPU.
const GPU_UNTIL: &str = "BITNET_GPU_UNTIL";

/// Looks for models in `models/` of the current folder, then in this user's cache.
pub(crate) fn model_discovery() -> ModelDiscovery {
    let folder = std::env::var_os(CACHE_DIR_VARIABLE).map(PathBuf::from);
    ModelDiscovery::new("models", ModelCache::of_user(folder, std::env::home_dir()))
}

/// Where programs keep what is neither a setting nor a cache, after the XDG base directories.
const STATE_FOLDER: &str = "XDG_STATE_HOME";
/// Where programs keep what they can make again, after the XDG base directories.
const CACHE_FOLDER: &str = "XDG_CACHE_HOME";

/// Where this program keeps screens of output heads, as the platform wants it.
pub(crate) fn screen_folder() -> Option<PathBuf> {
    let folder = if cfg!(windows) {
        Some(absolute("LOCALAPPDATA")?.join("bitnet/cache"))
    } else if cfg!(target_os = "macos") {
        std::env::home_dir().map(|home| home.join("Library/Caches/bitnet"))
    } else {
        let folder = absolute(CACHE_FOLDER);
        let folder = folder.or_else(|| Some(std::env::home_dir()?.join(".cache")));
        folder.map(|folder| folder.join("bitnet"))
    };
    Some(folder?.join("screens"))
}

/// The folder that a variable names, if that is no relative one.
fn absolute(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os(name).map(PathBuf::from);
    folder.filter(|folder| folder.is_absolute())
}

/// Has programs leave colours out, whatever its value.
const NO_COLOR: &str = "NO_COLOR";

/// Where this program keeps what outlives it and can be done without, as the platform wants it.
pub(crate) fn state_folder() -> Option<PathBuf> {
    let home = std::env::home_dir;
    let folder = if cfg!(windows) {
        absolute("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        home().map(|home| home.join("Library/Application Support"))
    } else {
        absolute(STATE_FOLDER).or_else(|| Some(home()?.join(".local/state")))
    };
    Some(folder?.join("bitnet"))
}

/// Whether a terminal can show letters in other styles, and may.
pub(crate) fn styles() -> bool {
    variable(NO_COLOR).is_none() && variable("TERM").is_none_or(|terminal| terminal != "dumb")
}

/// Names the model of whoever names none on the command line.
const MODEL: &str = "BITNET_GGUF";

/// The model that the environment names.
pub(crate) fn model() -> Option<PathBuf> {
    let named = std::env::var_os(MODEL).filter(|named| !named.is_empty());
    named.map(PathBuf::from)
}

/// Whether every warning is an error: `1` or `0`.
const STRICT: &str = "BITNET_STRICT_MODE";

/// Every variable that this program reads, and its effect.
pub const VARIABLES: &[(&str, &str)] = &[
    (
        ISA,
        "Forces the instruction set of the CPU kernels. An unknown or missing one is an error that lists those there are. \
         `cargo xtask` reads it too, where it measures or compares",
    ),
    (
        STRICT,
        "With `1`, every warning about a model, a tokenizer or a template is an error, in `cargo xtask` too. With `0` none is; \
         any other value is an error",
    ),
    (
        GPU_UNTIL,
        "With a GPU: the first operation that is left to the CPU, as `NAME#NUMBER`, `INDEX` or `end`. For finding out which \
         operation is wrong",
    ),
    (
        MODEL,
        "The model where --model names none, in `cargo xtask` too",
    ),
    (
        CACHE_DIR_VARIABLE,
        "The model cache, instead of `~/.cache/bitnet/models`",
    ),
    (
        STATE_FOLDER,
        "Where `chat` keeps its history on Linux, in `bitnet/chat_history`, instead of `~/.local/state`. On macOS it is below \
         `~/Library/Application Support`, on Windows below `%LOCALAPPDATA%`",
    ),
    (
        CACHE_FOLDER,
        "Where screens of output heads are kept on Linux, in `bitnet/screens`, instead of `~/.cache`. On macOS it is below \
         `~/Library/Caches`, on Windows below `%LOCALAPPDATA%`. `--screen-cache` names another folder",
    ),
    (
        NO_COLOR,
        "If it is set, `chat` marks a model's thoughts on a terminal as it does in a pipe, instead of showing them in faint letters",
    ),
    (
        "RUST_LOG",
        "`debug` tells on standard error where models and tokenizers were looked for, and why a screen could not be kept",
    ),
];

/// Whether warnings are errors.
///
/// # Errors
/// The variable says neither that they are nor that they are not.
pub(crate) fn strict() -> Result<bool> {
    match variable(STRICT).as_deref() {
        None | Some("0") => Ok(false),
        Some("1") => Ok(true),
        Some(other) => bail!("{STRICT} is {other:?}; it can be 1 or 0"),
    }
}

/// The instruction set that was asked for.
pub(crate) fn isa() -> Result<Option<Isa>> {
    let named = variable(ISA).map(|name| Isa::named(&name)).transpose();
    named.with_context(|| format!("the instruction set in {ISA} cannot be used"))
}

/// The operation at which a GPU is to hand over to the CPU.
pub(crate) fn gpu_until() -> Option<String> {
    variable(GPU_UNTIL)
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
