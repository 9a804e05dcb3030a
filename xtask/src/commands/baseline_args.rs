//! What `bench`, `gen-baselines` and `verify-baselines` measure, and where baselines lie.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use bitnet_crossval::receipt::{Baseline, Key};
use bitnet_crossval::{digest, receipt};
use bitnet_engine::gguf::Gguf;
use bitnet_engine::measure::{self, Sample, Workload};
use bitnet_engine::{Device, LoadOptions, Model, metadata};
use bitnet_fixtures::{Arch, Recipe, Shape};
use bitnet_kernels::Format;

use crate::{UsageError, isa};

/// What is measured.
#[derive(Debug, clap::Args)]
pub struct WorkloadArgs {
    /// The model; without it a synthetic one of about 100 MB, the same everywhere, is written to
    /// target/fixtures
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,

    /// CPU threads; all cores when absent
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,

    /// Tokens of the prompt
    #[arg(long, default_value_t = 256, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub prompt_tokens: u16,

    /// Tokens to decode
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub gen_tokens: u16,

    /// Measurements of each, of which the median counts
    #[arg(long, default_value_t = 9, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub repetitions: u16,
}

/// Flags of the commands about baselines.
#[derive(Debug, clap::Args)]
pub struct BaselineArgs {
    /// What is measured.
    #[command(flatten)]
    pub workload: WorkloadArgs,

    /// Where baselines lie: files named `<YYYYMMDD>-cpu.json`
    #[arg(long, value_name = "FOLDER", default_value = "docs/baselines")]
    pub baselines: PathBuf,
}

/// A model that is loaded, and what its measurements belong to.
pub(crate) struct Subject {
    /// The model's name, for people.
    pub name: String,
    /// What a baseline must have in common with it.
    pub key: Key,
    model: Model,
    workload: Workload,
}

impl WorkloadArgs {
    /// Loads the model. Nothing is measured yet.
    ///
    /// # Errors
    /// The system does not tell its CPU; the model cannot be read or run, or does not hold so many
    /// tokens.
    pub(crate) fn subject(&self) -> anyhow::Result<Subject> {
        let cpu = measure::cpu_name().context(
            "this system does not tell the model of its CPU (tried /proc/cpuinfo), and a baseline belongs to one",
        )?;
        let path = match &self.model {
            Some(path) => path.clone(),
            None => fixture()?,
        };
        let model_sha256 =
            digest::of_file(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let gguf = Gguf::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        let gguf = Arc::new(gguf);
        let mut options = LoadOptions::default().device(Device::Cpu);
        if let Some(threads) = self.threads {
            options = options.threads(threads.into());
        }
        if let Some(isa) = isa::from_environment()? {
            options = options.isa(isa);
        }
        let model = Model::load(Arc::clone(&gguf), &options)
            .with_context(|| format!("cannot run {}", path.display()))?;
        for doubt in metadata::doubts(&gguf) {
            bitnet_cli::warn(doubt)?;
        }
        let workload = Workload {
            prompt_tokens: usize::from(self.prompt_tokens),
            gen_tokens: usize::from(self.gen_tokens),
            depth: 0,
            sequences: 1,
            repetitions: usize::from(self.repetitions),
        };
        let context = model.config().context;
        if workload.positions() > context {
            let need = workload.positions();
            return Err(UsageError(format!(
                "{need} positions are needed, the model's context is {context}; lower --prompt-tokens or --gen-tokens"
            ))
            .into());
        }
        let name = path.file_name().unwrap_or_default();
        Ok(Subject {
            name: name.to_string_lossy().into_owned(),
            key: Key {
                cpu,
                device: model.device(),
                model_sha256,
                prompt_tokens: workload.prompt_tokens,
                gen_tokens: workload.gen_tokens,
            },
            model,
            workload,
        })
    }
}

impl BaselineArgs {
    /// Files of baselines, the newest first.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn files(&self) -> anyhow::Result<Vec<PathBuf>> {
        let folder = &self.baselines;
        if !folder.exists() {
            return Ok(Vec::new());
        }
        let entries = std::fs::read_dir(folder)
            .with_context(|| format!("cannot read {}", folder.display()))?;
        let mut files: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| is_baselines(path))
            .collect();
        files.sort();
        files.reverse();
        Ok(files)
    }

    /// The file of today.
    pub fn today(&self) -> PathBuf {
        let date: String = receipt::timestamp()
            .chars()
            .take(10)
            .filter(|c| *c != '-')
            .collect();
        self.baselines.join(format!("{date}-cpu.json"))
    }
}

impl Subject {
    /// Measures prefill and decode by turns, so that a slow minute of the machine falls on both.
    ///
    /// # Errors
    /// The model does not run, or what came out is no measurement.
    pub(crate) fn measure(&mut self) -> anyhow::Result<Baseline> {
        let once = Workload {
            repetitions: 1,
            ..self.workload
        };
        // Once before it counts: memory is touched, the screen of the head is made.
        measure::measure(&self.model, &once, false)?;
        self.model
            .with_backend(|backend| backend.recorder().clear());
        let mut measured = measure::measure(&self.model, &once, false)?;
        for _ in 1..self.workload.repetitions {
            let more = measure::measure(&self.model, &once, false)?;
            extend(&mut measured.prefill, more.prefill);
            extend(&mut measured.decode, more.decode);
        }
        let speed = |sample: Option<Sample>| sample.map_or(0.0, |it| it.tokens_per_second());
        let decode = speed(measured.decode);
        let baseline = Baseline {
            timestamp: receipt::timestamp(),
            key: self.key.clone(),
            model: self.name.clone(),
            compute_path: "real".to_owned(),
            repetitions: self.workload.repetitions,
            prefill_tps: speed(measured.prefill),
            cpu_tps: decode,
            cpu_latency_ms: 1e3 / decode,
            cpu_kernels: self.model.with_backend(|backend| {
                let counts = backend.recorder().counts();
                counts.map(|(kernel, _)| kernel.to_owned()).collect()
            }),
        };
        let problems = baseline.problems();
        anyhow::ensure!(
            problems.is_empty(),
            "what was measured is no baseline: {}",
            problems.join("; ")
        );
        Ok(baseline)
    }
}

fn extend(sample: &mut Option<Sample>, more: Option<Sample>) {
    if let (Some(sample), Some(more)) = (sample, more) {
        sample.extend(more);
    }
}

/// Whether a file's name is `<YYYYMMDD>-cpu.json`.
fn is_baselines(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.strip_suffix("-cpu.json")
        .is_some_and(|date| date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The synthetic model, written anew each time so that it is what this version makes.
fn fixture() -> anyhow::Result<PathBuf> {
    let path = Path::new("target/fixtures/baseline.gguf");
    let failed = || format!("cannot write {}", path.display());
    let recipe = Recipe::new(Arch::BitnetB158, Shape::MEDIUM, Format::I2S);
    let bytes = recipe.to_bytes().with_context(failed)?;
    bitnet_files::replace(path, &bytes).with_context(failed)?;
    Ok(path.to_owned())
}
