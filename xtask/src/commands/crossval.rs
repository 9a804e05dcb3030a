//! `xtask crossval` and `xtask full-crossval`: the parity suite over several models on both lanes,
//! one receipt.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use bitnet_crossval::lane::{Home, Lane};
use bitnet_crossval::receipt::{Status, SuiteReceipt, SuiteRun, write_json};
use bitnet_crossval::suite::{self, Suite, models_in};
use bitnet_process::{note, say};
use bitnet_provisioning::ModelNotFound;
use clap::Parser as _;

use super::parity_args::ParityArgs;
use super::{LaneArgs, RepairArgs, fetch_models};
use crate::lanes::RepairMode;
use crate::{Exit, UsageError, isa, output, workspace};

/// Flags of `xtask crossval` and `xtask full-crossval`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A model; may be given several times
    #[arg(long, value_name = "FILE", env = "BITNET_GGUF", hide_env_values = true)]
    pub model: Vec<PathBuf>,

    /// The receipt
    #[arg(long, value_name = "FILE", default_value = "ci/parity.json")]
    pub receipt: PathBuf,

    /// Which lanes and how much to tell.
    #[command(flatten)]
    pub lanes: LaneArgs,

    /// Whether to build lanes.
    #[command(flatten)]
    pub repair: RepairArgs,

    /// Bounds and limits.
    #[command(flatten)]
    pub parity: ParityArgs,
}

/// Flags of `xtask full-crossval`.
#[derive(Debug, clap::Args)]
pub struct FullArgs {
    /// What both commands take.
    #[command(flatten)]
    pub suite: Args,

    /// Download nothing: without it, and without a model in models/, the cache or --model, the 2B
    /// model is brought into the cache first
    #[arg(long)]
    pub no_download: bool,
}

/// The call of `fetch-models` that brings the model that is missing.
#[derive(Debug, clap::Parser)]
struct Fetch {
    #[command(flatten)]
    args: fetch_models::Args,
}

/// The models given, or the one that discovery finds, or else those of the repository. Builds lanes
/// only when told to.
///
/// # Errors
/// A lane that is missing, or a model that cannot be read.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let models = match args.model.as_slice() {
        [] => match discovered()? {
            Some(model) => vec![model],
            None => of_repository()?,
        },
        given => given.to_vec(),
    };
    let mode = args.repair.repair.unwrap_or(RepairMode::Never);
    suite(args, &models, mode)
}

/// The models of the repository, the one that discovery finds, and those given. Downloads a model
/// where none is found or given, and builds lanes where that is allowed.
///
/// # Errors
/// As [`run`], and those of a download.
pub(crate) fn run_full(args: &FullArgs) -> anyhow::Result<ExitCode> {
    let FullArgs {
        suite: args,
        no_download,
    } = args;
    let mut models = of_repository()?;
    let mut found = discovered()?;
    if found.is_none() && args.model.is_empty() && !no_download {
        note!("No model in models/ or the cache: fetching one (--no-download leaves it out)");
        let fetch = Fetch::try_parse_from(["fetch-models", "--tier", "integration"])?;
        fetch_models::run(&fetch.args)
            .context("a model is missing; --no-download compares those of the repository alone")?;
        found = discovered()?;
    }
    models.extend(found);
    models.extend(args.model.iter().cloned());
    suite(args, &models, args.repair.mode())
}

fn discovered() -> anyhow::Result<Option<PathBuf>> {
    let source = crate::environment::discovery().discover(None)?;
    Ok(source.path().map(Path::to_owned))
}

/// The golden models and the demo model.
fn of_repository() -> anyhow::Result<Vec<PathBuf>> {
    let root = workspace::root()?;
    let golden = root.join("fixtures/golden");
    let mut models =
        models_in(&golden).with_context(|| format!("cannot read {}", golden.display()))?;
    models.push(root.join("demo/demo.gguf"));
    let here = std::env::current_dir()?;
    let relative = |path: PathBuf| {
        path.strip_prefix(&here)
            .map_or(path.clone(), Path::to_owned)
    };
    Ok(models.into_iter().map(relative).collect())
}

fn suite(args: &Args, models: &[PathBuf], mode: RepairMode) -> anyhow::Result<ExitCode> {
    if let Some(missing) = models.iter().find(|model| !model.is_file()) {
        let path = missing.clone();
        return Err(UsageError(ModelNotFound { path }.to_string()).into());
    }
    output::apart_from(&args.receipt, models.iter().map(PathBuf::as_path))?;
    for model in models {
        let doubts = suite::doubts(model);
        let doubts = doubts.with_context(|| format!("model {}", model.display()))?;
        for doubt in doubts {
            bitnet_cli::warn(format_args!("{}: {doubt}", model.display()))?;
        }
    }
    let provision = args.lanes.provision()?;
    let lanes = lanes(args, provision.home());
    for lane in &lanes {
        provision.ensure(*lane, mode)?;
    }
    let scratch = tempfile::tempdir().context("cannot create a temporary folder")?;
    let suite = Suite {
        home: provision.home(),
        limits: args.parity.limits(),
        threads: args.parity.threads,
        isa: isa::from_environment()?,
        thresholds: args.parity.thresholds(),
        scratch: scratch.path(),
    };
    let mut runs = Vec::new();
    for lane in lanes {
        let each = |run| {
            tell(lane.reference(), &run);
            runs.push(run);
        };
        let ran = suite.run(lane, models, each);
        if let Err((model, error)) = ran {
            return Err(error).with_context(|| format!("model {}", model.display()));
        }
    }
    let commit = workspace::commit().unwrap_or_else(|| "unknown".to_owned());
    let receipt = SuiteReceipt::new(commit, runs);
    write_json(&args.receipt, &receipt)
        .with_context(|| format!("cannot write {}", args.receipt.display()))?;
    let count = |status| {
        receipt
            .runs
            .iter()
            .filter(|run| run.status == status)
            .count()
    };
    say!(
        "{} passed, {} failed, {} that the reference cannot read; receipt: {}",
        count(Status::Pass),
        count(Status::Fail),
        count(Status::Unreadable),
        args.receipt.display()
    );
    Ok(match receipt.status {
        Status::Pass => Exit::Success,
        Status::Fail | Status::Unreadable => Exit::Failure,
    }
    .into())
}

/// The lanes asked for, else those around C++ references, and that of transformers where somebody
/// has built it.
fn lanes(args: &Args, home: &Home) -> Vec<Lane> {
    let mut lanes = args.lanes.lanes();
    if args.lanes.backend.is_empty() && home.find(Lane::Transformers).is_some() {
        lanes.push(Lane::Transformers);
    }
    lanes
}

fn tell(reference: &str, run: &SuiteRun) {
    let status = match run.status {
        Status::Pass => "pass",
        Status::Fail => "FAIL",
        Status::Unreadable => "unreadable",
    };
    let mut line = format!("{reference:<11} {status:<10} {}", run.model);
    if let Some(transcoded) = &run.transcoded_to {
        line += &format!(" as {transcoded}");
    }
    if let Some(m) = run.metrics {
        let greedy = match m.greedy_exact_match {
            true => "the same",
            false => "parts at a near tie",
        };
        line += &format!(
            ": MSE {:.1e} (to itself {:.1e}), cosine {:.6}, greedy {greedy}",
            m.logits_mse, m.own_mse, m.logits_cosine_similarity
        );
    }
    say!("{line}");
    for reason in &run.reasons {
        say!("    {}", reason.replace('\n', "\n    "));
    }
}
