//! Which model and tokenizer a command works on.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use bitnet_answer_receipts::ModelRecord;
use bitnet_engine::gguf::{Gguf, Printed, Shown};
use bitnet_engine::tokenizers::Tokenizer;
use bitnet_engine::tokenizers::discovery::{
    TokenizerDiscovery, TokenizerNotFound, TokenizerSource,
};
use bitnet_engine::{
    CacheType, Device, Engine, Error, Identity, LoadOptions, Model, Numa, ScreenCache,
    StoreProblem, metadata,
};
use bitnet_process::note;
use bitnet_provisioning::ModelSource;

use crate::environment;
use crate::warnings::warn;

/// The demo model. Its tensors are aligned within it, so it must be aligned itself.
#[repr(C, align(64))]
struct Aligned<T: ?Sized>(T);
static DEMO: &Aligned<[u8]> = &Aligned(*include_bytes!("../../demo/demo.gguf"));

/// Which model to run, and how.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct ModelArgs {
    /// GGUF file; without it: BITNET_GGUF, models/, the cache, the demo model that ships inside
    ///
    /// The cache is ~/.cache/bitnet/models. Which model was taken is said on standard error.
    #[arg(long, value_name = "FILE")]
    pub(crate) model: Option<PathBuf>,
    /// Where to run: auto, cpu, gpu or gpu:INDEX
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub(crate) device: Device,
    #[command(flatten)]
    pub(crate) threads: ThreadArgs,
    /// Most tokens of a prompt in one forward pass
    #[arg(long, default_value_t = 512, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub(crate) batch: u32,
    /// How keys and values are kept
    #[arg(long, default_value = "f16", value_name = "TYPE")]
    pub(crate) kv: Kv,
}

/// How many threads the CPU has for a model, and where.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct ThreadArgs {
    /// CPU threads at most; of more than cores, as many compute at a time [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Give each CPU thread a CPU of its own, of those that this process may use (Linux)
    #[arg(long)]
    pin: bool,
    /// What NUMA nodes are to CPU threads (Linux): distribute, as many on each, pinned; isolate,
    /// all on the node that this program starts on, pinned with --pin
    #[arg(long, value_name = "HOW", hide_possible_values = true)]
    numa: Option<NumaArg>,
}

/// What NUMA nodes are to threads.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum NumaArg {
    Distribute,
    Isolate,
}

impl ThreadArgs {
    fn set(&self, mut options: LoadOptions) -> LoadOptions {
        if let Some(threads) = self.threads {
            options = options.threads(threads.into());
        }
        options = options.pin(self.pin);
        match self.numa {
            None => options,
            Some(NumaArg::Distribute) => options.numa(Numa::Distribute),
            Some(NumaArg::Isolate) => options.numa(Numa::Isolate),
        }
    }
}

/// Types of the cache.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
pub(crate) enum Kv {
    F16,
    F32,
}

/// Where the screen of the output head is kept.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct ScreenArgs {
    /// Folder that keeps the screen of the output head, which the first answers of a model make, so
    /// that it is made once; `off` for none [default: bitnet/screens in the user's cache folder]
    ///
    /// Up to 2 GiB of files, of which those that were used least recently go first. Answers are the
    /// same to the bit.
    #[arg(long, value_name = "DIR|off")]
    screen_cache: Option<PathBuf>,
}

impl ScreenArgs {
    /// The folder, if there is to be one.
    pub(crate) fn cache(&self) -> Option<ScreenCache> {
        match &self.screen_cache {
            Some(off) if off == Path::new("off") => None,
            Some(folder) => Some(screen_cache(folder)),
            None => environment::screen_folder().as_deref().map(screen_cache),
        }
    }
}

/// A folder for screens of output heads. What cannot be used of it is said on standard error.
pub(crate) fn screen_cache(folder: &Path) -> ScreenCache {
    ScreenCache::new(folder).problems(|problem| match problem {
        // As on a disk that is full, or may not be written to.
        StoreProblem::Io { .. } => log::debug!("screen of the output head: {problem}"),
        problem => note!(
            "warning: {}; the screen of the output head is made again",
            Printed(&problem.to_string())
        ),
    })
}

impl ModelArgs {
    /// How to load it: by the arguments, and by the variables for experts.
    pub(crate) fn options(&self) -> Result<LoadOptions> {
        let cache_type = match self.kv {
            Kv::F16 => CacheType::F16,
            Kv::F32 => CacheType::F32,
        };
        let options = LoadOptions::default()
            .device(self.device)
            .cache_type(cache_type)
            .batch(self.batch as usize)
            .progress(show_upload);
        let mut options = self.threads.set(options);
        if let Some(isa) = environment::isa()? {
            options = options.isa(isa);
        }
        if let Some(operation) = environment::gpu_until() {
            options = options.gpu_until(operation);
        }
        Ok(options)
    }

    /// Opens the file, saying on standard error which one unless it was named.
    pub(crate) fn open(&self) -> Result<Opened> {
        open(self.model.as_deref())
    }

    /// Opens the file, saying on standard error which one unless it was named, with this tokenizer
    /// or the model's own, and a folder for its screen. Returns the model's name in output too.
    pub(crate) fn engine(
        &self,
        tokenizer: Option<&Path>,
        screens: Option<ScreenCache>,
    ) -> Result<(Engine, String)> {
        self.engine_of(&self.source()?, tokenizer, screens)
    }

    /// Finds the file, saying on standard error which one unless it was named.
    pub(crate) fn source(&self) -> Result<ModelSource> {
        find(self.model.as_deref())
    }

    /// As [`ModelArgs::engine`], of a model that was found.
    pub(crate) fn engine_of(
        &self,
        source: &ModelSource,
        tokenizer: Option<&Path>,
        screens: Option<ScreenCache>,
    ) -> Result<(Engine, String)> {
        let mut options = with_screens(self.options()?, screens);
        if let Some(tokenizer) = tokenizer {
            options = options.tokenizer(tokenizer);
        }
        let engine = match source.path() {
            Some(path) => Engine::open(path, &options),
            None => Engine::from_gguf(Arc::new(demo()?), &options),
        };
        let name = name(source);
        let engine = engine.map_err(|error| match error {
            // They name what they are about.
            Error::TokenizerNotFound(_) | Error::Tokenizer { .. } => error.into(),
            Error::File { source, .. } => {
                anyhow::Error::from(source).context(format!("model {name}"))
            }
            error => anyhow::Error::from(error).context(format!("model {name}")),
        })?;
        for doubt in metadata::doubts(engine.file()) {
            warn(doubt)?;
        }
        for doubt in engine.tokenizer().warnings() {
            warn(doubt)?;
        }
        Ok((engine, name))
    }
}

/// The same options, with a folder for the model's screen if there is one.
fn with_screens(options: LoadOptions, screens: Option<ScreenCache>) -> LoadOptions {
    match screens {
        Some(screens) => options.screens(screens),
        None => options,
    }
}

/// Shows weights on their way to a GPU, in one line of a terminal.
fn show_upload(done: u64, total: u64) {
    let mut stderr = io::stderr();
    if !stderr.is_terminal() {
        return;
    }
    // That nobody looks any more is no reason to end.
    let _ = if done < total {
        let percent = done * 100 / total.max(1);
        let megabytes = total / 1_000_000;
        write!(
            stderr,
            "\rweights to the GPU: {percent:3} % of {megabytes} MB"
        )
    } else {
        write!(stderr, "\r\x1b[K")
    };
}

/// An open model file.
pub(crate) struct Opened {
    pub(crate) gguf: Arc<Gguf>,
    source: ModelSource,
}

/// The model of `--model`, or the one that discovery finds, which is said on standard error.
fn find(model: Option<&Path>) -> Result<ModelSource> {
    let named = environment::model().filter(|_| model.is_none());
    if let Some(path) = &named {
        note!("model: {} (named by BITNET_GGUF)", path.display());
    }
    match model.or(named.as_deref()) {
        // What is there but no file gets the reader's own words.
        Some(path) if path.exists() => Ok(ModelSource::Explicit(path.to_owned())),
        model => {
            let source = environment::model_discovery().discover(model)?;
            note!("model: {source}");
            Ok(source)
        }
    }
}

/// The model of a receipt, which is said on standard error: looked for by what it is called, from
/// here and `beside` the receipt, then among all that discovery knows. Which one it is, its SHA-256
/// tells.
pub(crate) fn find_recorded(model: &ModelRecord, beside: &Path) -> Result<ModelSource> {
    let named = |folder: &Path| {
        let path = folder.join(&model.name);
        let mut with_ending = path.clone().into_os_string();
        with_ending.push(".gguf");
        [path, with_ending.into()]
    };
    let named = [Path::new(""), beside].map(named).into_iter().flatten();
    let candidates = environment::model().into_iter().chain(named);
    let candidates = candidates.chain(environment::model_discovery().models());
    let is_it = |file: &Gguf| {
        // What takes no time comes first.
        file.file_len() as u64 == model.bytes && Identity::sha256(file) == model.sha256
    };
    for path in candidates {
        if path.is_file() && Gguf::open(&path).is_ok_and(|file| is_it(&file)) {
            note!("model: {} (by its SHA-256)", path.display());
            return Ok(ModelSource::Explicit(path));
        }
    }
    if is_it(&demo()?) {
        note!("model: the small demo model that ships with this program (by its SHA-256)");
        return Ok(ModelSource::Shipped);
    }
    bail!(
        "the model `{}` of {} bytes with SHA-256 {} is neither here, nor beside the receipt, in models/ or the cache; name it with --model",
        Shown(&model.name),
        model.bytes,
        model.sha256
    )
}

/// The model's name in output: its path, or `demo`.
pub(crate) fn name(source: &ModelSource) -> String {
    source
        .path()
        .map_or_else(|| "demo".to_owned(), |path| path.display().to_string())
}

fn demo() -> Result<Gguf> {
    Gguf::from_static(&DEMO.0).context("the demo model inside this program")
}

/// Opens the model of `--model`, or the one that discovery finds.
pub(crate) fn open(model: Option<&Path>) -> Result<Opened> {
    let source = find(model)?;
    let gguf = match source.path() {
        Some(path) => Gguf::open(path).with_context(|| format!("model {}", path.display()))?,
        None => demo()?,
    };
    Ok(Opened {
        gguf: Arc::new(gguf),
        source,
    })
}

impl Opened {
    /// The model's name in output.
    pub(crate) fn name(&self) -> String {
        name(&self.source)
    }

    /// Where the file is; the demo model is in none.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.source.path()
    }

    /// Places the model on a device, with a folder for its screen.
    pub(crate) fn load(&self, args: &ModelArgs, screens: Option<ScreenCache>) -> Result<Model> {
        let options = with_screens(args.options()?, screens);
        let model = Model::load(Arc::clone(&self.gguf), &options)
            .with_context(|| format!("model {}", self.name()))?;
        for doubt in metadata::doubts(&self.gguf) {
            warn(doubt)?;
        }
        Ok(model)
    }

    /// Where the model's tokenizer is.
    pub(crate) fn find_tokenizer(
        &self,
        explicit: Option<&Path>,
    ) -> Result<TokenizerSource, TokenizerNotFound> {
        let model = self.source.path().unwrap_or(Path::new("demo.gguf"));
        TokenizerDiscovery::new(model).discover(explicit, &self.gguf)
    }

    /// Loads a tokenizer that was found.
    pub(crate) fn load_tokenizer(&self, source: &TokenizerSource) -> Result<Tokenizer> {
        let tokenizer = source
            .load(&self.gguf)
            .with_context(|| match source.path() {
                None => format!("tokenizer inside {}", self.name()),
                Some(path) => format!("tokenizer {}", path.display()),
            })?;
        for doubt in tokenizer.warnings() {
            warn(doubt)?;
        }
        Ok(tokenizer)
    }

    /// Finds the model's tokenizer and loads it.
    pub(crate) fn tokenizer(&self, explicit: Option<&Path>) -> Result<Tokenizer> {
        self.load_tokenizer(&self.find_tokenizer(explicit)?)
    }
}
