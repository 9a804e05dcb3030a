//! `xtask parity-both`: one model and one prompt through both C++ references, or those that are
//! named, and our engine: a receipt of each, one summary.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;

use anyhow::Context as _;
use bitnet_crossval::compare::{
    CacheType, Comparison, ComparisonError, Ours, Prompt, Question, TokenCheck, Transcode, compare,
    ids,
};
use bitnet_crossval::digest;
use bitnet_crossval::lane::{Home, Lane, Limits};
use bitnet_crossval::receipt::ParityReceipt;
use bitnet_crossval::report::{self, LaneResult, Metric, Summary};
use bitnet_engine::{Isa, TemplateChoice};
use bitnet_process::{note, say};
use bitnet_provisioning::ModelNotFound;

use super::parity_args::ParityArgs;
use super::{LaneArgs, RepairArgs};
use crate::lanes::lane_by_name;
use crate::{Exit, UsageError, isa, output, workspace};

/// Flags of `xtask parity-both`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model
    #[arg(
        long,
        visible_alias = "model",
        value_name = "FILE",
        env = "BITNET_GGUF",
        hide_env_values = true
    )]
    pub model_gguf: PathBuf,

    /// Its tokenizer; without it: inside the model, beside it, in the folder above
    #[arg(long, value_name = "FILE")]
    pub tokenizer: Option<PathBuf>,

    /// What to put to the model
    #[arg(
        long,
        value_name = "TEXT",
        allow_hyphen_values = true,
        default_value = "What is 2+2?"
    )]
    pub prompt: String,

    /// Token ids in place of a prompt, separated by commas, for models without a tokenizer
    #[arg(long, value_name = "IDS", value_delimiter = ',', conflicts_with_all = ["prompt", "tokenizer", "prompt_template", "system_prompt"])]
    pub tokens: Option<Vec<u32>>,

    /// Most tokens to generate after the prompt
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub max_tokens: u32,

    /// How the prompt is put to the model: `auto` (the template of its file, or beside it, else as
    /// it is), `raw` (as it is), `instruct`, `llama3-chat`, a family, or the file of a Jinja
    /// template
    #[arg(long, value_name = "TEMPLATE", default_value = "auto", value_parser = TemplateChoice::of_argument)]
    pub prompt_template: TemplateChoice,

    /// What a chat template says before the prompt
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub system_prompt: Option<String>,

    /// Folder for the receipts
    #[arg(long, value_name = "DIR", default_value = ".parity")]
    pub out_dir: PathBuf,

    /// The summary on standard output
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,

    /// Measures that the text names, separated by commas: mse, nmse, cosine, kl, top5. The
    /// receipts have all
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "mse"
    )]
    pub metrics: Vec<Metric>,

    /// Draw the divergence by position and the layers of both sides into an HTML file
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,

    /// Run all lanes at once. The receipts are the same but for times
    #[arg(long)]
    pub parallel: bool,

    /// Whether a lane that cannot read the model is given the same weights in an encoding that it
    /// reads
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub transcode: TranscodeArg,

    /// The references, separated by commas: `bitnet`, `llama`, `transformers`
    #[arg(long, value_name = "LANES", value_parser = lane_by_name, value_delimiter = ',', default_value = "bitnet,llama")]
    pub backend: Vec<Lane>,

    /// How both sides keep keys and values [default: as the reference does: f16, transformers f32]
    #[arg(long, value_name = "TYPE")]
    pub kv: Option<Kv>,

    /// Print our token ids to standard error
    #[arg(long)]
    pub dump_ids: bool,

    /// Print the token ids of the references' tokenizers to standard error
    #[arg(long)]
    pub dump_cpp_ids: bool,

    /// Also say what is being done, and everything that a build prints
    #[arg(short, long)]
    pub verbose: bool,

    /// Whether to build lanes.
    #[command(flatten)]
    pub repair: RepairArgs,

    /// Bounds and limits.
    #[command(flatten)]
    pub parity: ParityArgs,
}

/// How to print the summary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One object.
    Json,
}

/// [`Transcode`] on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum TranscodeArg {
    /// Where there is an exact counterpart
    Auto,
    /// Not at all
    Never,
}

/// [`CacheType`] on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kv {
    /// Half precision
    F16,
    /// Single precision
    F32,
}

/// Compare on both lanes.
///
/// # Errors
/// What keeps both lanes from running: a lane that is missing, a model or tokenizer that cannot be
/// read. What goes wrong within a lane is in its receipt, and in the exit code.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if !args.model_gguf.is_file() {
        let path = args.model_gguf.clone();
        return Err(UsageError(ModelNotFound { path }.to_string()).into());
    }
    let inputs = || [&args.model_gguf].into_iter().chain(&args.tokenizer);
    let receipts = args.backend.iter();
    let receipts = receipts.map(|lane| receipt_path(&args.out_dir, *lane));
    for place in receipts.chain(args.report.clone()) {
        output::apart_from(&place, inputs().map(PathBuf::as_path))?;
    }
    let seed = seed()?;
    let prompt = prompt(args)?;
    for doubt in &prompt.doubts {
        bitnet_cli::warn(doubt)?;
    }
    let (home, lanes) = lanes(args)?;
    tell(args, || {
        let text = prompt.text.as_ref();
        let how = text.and_then(|text| Some(format!(" ({})", text.template.evidence()?)));
        let template = text.map_or("none", |text| text.template.name());
        format!("template: {template}{}", how.unwrap_or_default())
    });
    if args.dump_ids {
        note!("Rust tokens: {}", ids(&prompt.tokens));
    }
    std::fs::create_dir_all(&args.out_dir)
        .with_context(|| format!("cannot create {}", args.out_dir.display()))?;
    let task = Task {
        args,
        home: &home,
        limits: args.parity.limits(),
        isa: isa::from_environment()?,
        question: question(args, &prompt),
    };
    let found: Vec<_> = if args.parallel {
        thread::scope(|scope| {
            let task = &task;
            let start = |lane: &Lane| {
                let lane = *lane;
                scope.spawn(move || task.compare(lane))
            };
            // All are started before one is waited for.
            let running: Vec<_> = lanes.iter().map(start).collect();
            let ended = running.into_iter().map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            ended.collect()
        })
    } else {
        lanes.iter().map(|lane| task.compare(*lane)).collect()
    };

    let mut exit = Exit::Success;
    let sha256 = digest::of_file(&args.model_gguf)
        .with_context(|| format!("cannot read {}", args.model_gguf.display()))?;
    let mut written = Vec::new();
    for (lane, found) in lanes.into_iter().zip(found) {
        if args.dump_cpp_ids {
            note!("{} tokens: {}", lane.reference(), cpp_ids(&found));
        }
        exit = worse(exit, verdict(&found));
        let mut receipt = ParityReceipt::new(
            args.model_gguf.display().to_string(),
            lane.backend(),
            prompt.shown(),
        );
        receipt.thresholds = args.parity.thresholds();
        receipt.tokenizer_authority = Some(prompt.authority.clone());
        receipt.prompt_template = prompt
            .text
            .as_ref()
            .map(|text| text.template.name().to_owned());
        receipt.determinism_seed = seed;
        receipt.model_sha256 = Some(sha256.clone());
        receipt.commit = workspace::commit();
        match found {
            Ok(found) => receipt.set_comparison(found),
            Err(error) => {
                note!("Error: {error}");
                receipt.set_failure(&error);
            }
        }
        let path = receipt_path(&args.out_dir, lane);
        receipt
            .write(&path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        written.push((lane, receipt, path));
    }
    if let Some(path) = &args.report {
        let receipts: Vec<_> = written.iter().map(|(_, receipt, _)| receipt).collect();
        bitnet_files::replace(path, report::html(&receipts).as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let lanes = written.iter().map(|(lane, receipt, path)| LaneResult {
        lane: *lane,
        receipt,
        path,
    });
    let summary = Summary {
        lanes: lanes.collect(),
        metrics: &args.metrics,
        exit_code: exit as u8,
    };
    match args.format {
        Format::Text => say!("{}", summary.to_string().trim_end()),
        Format::Json => say!("{:#}", summary.json()),
    }
    Ok(exit.into())
}

/// What both lanes are asked, and how.
struct Task<'a> {
    args: &'a Args,
    home: &'a Home,
    limits: Limits,
    isa: Option<Isa>,
    question: Question<'a>,
}

impl Task<'_> {
    fn compare(&self, lane: Lane) -> Result<Comparison, ComparisonError> {
        tell(self.args, || format!("{}: starting", lane.reference()));
        let mut client = self.home.start(lane, self.limits)?;
        let found = compare(&mut client, &self.question, |path, cache_type| {
            Ours::open(path, cache_type, self.isa)
        });
        tell(self.args, || format!("{}: done", lane.reference()));
        found
    }
}

fn question<'a>(args: &'a Args, prompt: &'a Prompt) -> Question<'a> {
    Question {
        model: &args.model_gguf,
        prompt,
        greedy: args.max_tokens,
        cache_type: args.kv.map(|kv| match kv {
            Kv::F16 => CacheType::F16,
            Kv::F32 => CacheType::F32,
        }),
        threads: args.parity.threads,
        thresholds: args.parity.thresholds(),
        transcode: match args.transcode {
            TranscodeArg::Auto => Transcode::Auto,
            TranscodeArg::Never => Transcode::Never,
        },
        scratch: &args.out_dir,
    }
}

fn prompt(args: &Args) -> anyhow::Result<Prompt> {
    let prompt = match &args.tokens {
        Some(tokens) => Prompt::of_ids(&args.model_gguf, tokens.clone()),
        None => Prompt::of_text(
            &args.model_gguf,
            args.tokenizer.as_deref(),
            args.prompt_template.clone(),
            args.system_prompt.as_deref(),
            &args.prompt,
        ),
    };
    Ok(prompt?)
}

/// Sees to all lanes before anything is computed.
fn lanes(args: &Args) -> anyhow::Result<(Home, Vec<Lane>)> {
    let wanted = LaneArgs {
        backend: args.backend.clone(),
        verbose: args.verbose,
    };
    let provision = wanted.provision()?;
    let lanes = wanted.lanes();
    for lane in &lanes {
        note!("Preflight: checking {} backend", lane.reference());
        let ready = provision.ensure(*lane, args.repair.mode())?;
        tell(args, || format!("  {}", ready.manifest.reference));
    }
    Ok((provision.home().clone(), lanes))
}

/// `BITNET_SEED`, which receipts carry. Greedy choices do not depend on it.
fn seed() -> Result<Option<u64>, UsageError> {
    match std::env::var("BITNET_SEED") {
        Ok(text) if !text.is_empty() => text
            .parse()
            .map(Some)
            .map_err(|_| UsageError(format!("BITNET_SEED={text}: not a whole number"))),
        _ => Ok(None),
    }
}

fn verdict(found: &Result<Comparison, ComparisonError>) -> Exit {
    match found {
        Ok(found) if found.verdict.passed() => Exit::Success,
        Ok(_) => Exit::Failure,
        Err(ComparisonError::Tokens(_)) => Exit::Usage,
        Err(_) => Exit::Failure,
    }
}

/// Tokens that differ make every other number of a run worthless, so they weigh most.
fn worse(a: Exit, b: Exit) -> Exit {
    if a as u8 >= b as u8 { a } else { b }
}

fn cpp_ids(found: &Result<Comparison, ComparisonError>) -> String {
    match found {
        Ok(found) => match (&found.reference_tokens, found.token_check) {
            (Some(tokens), _) => ids(tokens),
            (None, TokenCheck::IdsGiven) => "none: ids were given in place of a text".to_owned(),
            (None, _) => "none: the model carries no tokenizer".to_owned(),
        },
        Err(ComparisonError::Tokens(mismatch)) => ids(&mismatch.theirs),
        Err(_) => "none: the lane failed".to_owned(),
    }
}

fn tell(args: &Args, words: impl FnOnce() -> String) {
    if args.verbose {
        note!("{}", words());
    }
}

/// Where the receipt of `lane` is.
fn receipt_path(out_dir: &Path, lane: Lane) -> PathBuf {
    out_dir.join(format!("receipt_{}.json", lane.backend()))
}
