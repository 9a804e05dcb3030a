//! The parity suite: tokenization, logits and greedy decoding of several models on both lanes, as
//! one receipt.

use std::path::{Path, PathBuf};

use bitnet_engine::CacheType;
use bitnet_engine::gguf::Gguf;
use bitnet_engine::tokenizers::{PromptTemplate, TemplateChoice, Tokenizer};
use bitnet_lane_protocol::message::ErrorKind;
use serde::{Deserialize, Serialize};

use crate::comparison::{Comparison, ComparisonError, Question, Transcode, compare};
use crate::digest;
use crate::lane::{Home, Lane, LaneFailure, Limits};
use crate::ours::Ours;
use crate::prompt::{Prompt, PromptError};
use crate::verdict::{Spread, Thresholds};

/// The schema that is written.
pub const SCHEMA_VERSION: &str = "1.0.0";

/// Texts for models that have a tokenizer.
const TEXTS: [&str; 3] = [
    "Hello world",
    "The quick brown fox jumps over the lazy dog",
    "Once upon a time, in 1958, there were 3 trits:\n\t-1, 0 and +1.",
];

/// Tokens for models that have none; each id is taken modulo the vocabulary.
const IDS: [&[u32]; 2] = [
    &[
        1, 5, 17, 200, 33, 7, 450, 99, 12, 401, 3, 88, 256, 300, 42, 42, 42, 9, 310, 77, 128, 64,
        500, 2,
    ],
    &[7],
];

/// Tokens generated after each prompt.
const GREEDY: u32 = 10;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Parity.
    Pass,
    /// No parity, or no comparison where there should be one.
    Fail,
    /// The reference does not know this kind of model.
    Unreadable,
}

impl Status {
    /// Of several runs: a pass when at least one passed and none failed.
    pub fn of(runs: &[SuiteRun]) -> Self {
        let any = |status| runs.iter().any(|run| run.status == status);
        match (any(Self::Fail), any(Self::Pass)) {
            (false, true) => Self::Pass,
            (true, _) => Self::Fail,
            (false, false) => Self::Unreadable,
        }
    }
}

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SuiteMetrics {
    /// The reference's tokenizer made the same ids of every text that it could read.
    pub tokenization_exact_match: bool,
    /// The smallest cosine of logits at any position.
    pub logits_cosine_similarity: f64,
    /// The largest mean squared error of a prompt's logits.
    #[serde(default)]
    pub logits_mse: f64,
    /// The reference's largest to itself.
    #[serde(default)]
    pub own_mse: f64,
    /// Both sides generated the same tokens.
    pub greedy_exact_match: bool,
    /// Time of our forward passes.
    pub inference_time_rust_ms: f64,
    /// Time of the reference's.
    pub inference_time_cpp_ms: f64,
}

/// One model on one lane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SuiteRun {
    /// The model file.
    pub model: String,
    /// Its SHA-256.
    pub model_sha256: String,
    /// `bitnet` or `llama`.
    pub backend: String,
    /// The reference and its version, once it was spoken to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The encoding that both sides ran in place of the file's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transcoded_to: Option<String>,
    /// How it ended.
    pub status: Status,
    /// What was measured; absent when nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<SuiteMetrics>,
    /// What failed, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

/// The receipt of a suite, `ci/parity.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SuiteReceipt {
    /// [`SCHEMA_VERSION`].
    pub schema_version: String,
    /// When, as RFC 3339.
    pub timestamp: String,
    /// SHA-256 of the model; of several, that of their hashes in order, one per line.
    pub model_sha256: String,
    /// The commit of this repository.
    pub bitnet_commit: String,
    /// `full`: tokenization, logits and greedy decoding.
    pub test_suite: String,
    /// [`Status::of`] the runs.
    pub status: Status,
    /// [`SuiteMetrics::worst_of`] the runs.
    pub metrics: SuiteMetrics,
    /// Every model on every lane.
    #[serde(default)]
    pub runs: Vec<SuiteRun>,
}

/// How to run a suite.
#[derive(Debug, Clone)]
pub struct Suite<'a> {
    /// Where the lanes are.
    pub home: &'a Home,
    /// Which lanes.
    pub lanes: &'a [Lane],
    /// How long a lane may take.
    pub limits: Limits,
    /// Threads of a reference.
    pub threads: u32,
    /// What passes in any case.
    pub thresholds: Thresholds,
    /// A folder for transcoded models.
    pub scratch: &'a Path,
}

impl SuiteMetrics {
    /// Nothing measured yet: what any measurement makes worse.
    const BEST: Self = Self {
        tokenization_exact_match: true,
        logits_cosine_similarity: 1.0,
        logits_mse: 0.0,
        own_mse: 0.0,
        greedy_exact_match: true,
        inference_time_rust_ms: 0.0,
        inference_time_cpp_ms: 0.0,
    };

    /// The worst of all runs; times are sums.
    pub fn worst_of(runs: &[SuiteRun]) -> Self {
        let measured = runs.iter().filter_map(|run| run.metrics);
        measured.fold(Self::BEST, Self::and)
    }

    fn of(found: &Comparison) -> Self {
        let spread = Spread::of(&found.rows);
        let own = found.own_distance().into_values();
        let time = |side: &str| {
            let spent = ["prefill", "decode"].map(|phase| format!("{phase}_{side}"));
            spent
                .iter()
                .filter_map(|key| found.timings_ms.get(key))
                .sum()
        };
        Self {
            tokenization_exact_match: true,
            logits_cosine_similarity: spread.min_cosine,
            logits_mse: spread.mean_mse,
            own_mse: own.map(|own| own.mean_mse).fold(0.0, f64::max),
            greedy_exact_match: found.generated.first_difference.is_none(),
            inference_time_rust_ms: time("rust"),
            inference_time_cpp_ms: time("cpp"),
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            tokenization_exact_match: self.tokenization_exact_match
                && other.tokenization_exact_match,
            logits_cosine_similarity: self
                .logits_cosine_similarity
                .min(other.logits_cosine_similarity),
            logits_mse: self.logits_mse.max(other.logits_mse),
            own_mse: self.own_mse.max(other.own_mse),
            greedy_exact_match: self.greedy_exact_match && other.greedy_exact_match,
            inference_time_rust_ms: self.inference_time_rust_ms + other.inference_time_rust_ms,
            inference_time_cpp_ms: self.inference_time_cpp_ms + other.inference_time_cpp_ms,
        }
    }
}

impl Suite<'_> {
    /// Runs every prompt for `model` on `lane`.
    ///
    /// # Errors
    /// The model file itself cannot be read; what a lane does is part of the run.
    pub fn run(&self, lane: Lane, model: &Path) -> Result<SuiteRun, PromptError> {
        let mut run = SuiteRun {
            model: model.display().to_string(),
            model_sha256: digest::of_file(model)?,
            backend: lane.backend().to_owned(),
            reference: None,
            transcoded_to: None,
            status: Status::Pass,
            metrics: None,
            reasons: Vec::new(),
        };
        for prompt in prompts(model)? {
            match self.ask(lane, model, &prompt) {
                Ok(found) => run.add(&prompt, found),
                Err(error) => {
                    if let ComparisonError::Tokens(_) = error {
                        let before = run.metrics.unwrap_or(SuiteMetrics::BEST);
                        run.metrics = Some(SuiteMetrics {
                            tokenization_exact_match: false,
                            ..before
                        });
                    }
                    run.status = if unreadable(&error) {
                        Status::Unreadable
                    } else {
                        Status::Fail
                    };
                    run.reasons.push(error.to_string());
                    break;
                }
            }
        }
        Ok(run)
    }

    fn ask(
        &self,
        lane: Lane,
        model: &Path,
        prompt: &Prompt,
    ) -> Result<Comparison, ComparisonError> {
        // A process per prompt, so that one that ends takes no other question with it.
        let mut client = self.home.start(lane, self.limits)?;
        let question = Question {
            model,
            prompt,
            greedy: GREEDY,
            cache_type: CacheType::F16,
            threads: self.threads,
            thresholds: self.thresholds,
            transcode: Transcode::Auto,
            scratch: self.scratch,
        };
        compare(&mut client, &question, Ours::open)
    }
}

impl SuiteRun {
    fn add(&mut self, prompt: &Prompt, found: Comparison) {
        let metrics = SuiteMetrics::of(&found);
        self.metrics = Some(self.metrics.map_or(metrics, |before| before.and(metrics)));
        self.reference = Some(found.reference.version);
        self.transcoded_to = found.transcoded.map(|transcoded| transcoded.to);
        if !found.verdict.passed() {
            self.status = Status::Fail;
            let shown = prompt.shown();
            let reasons = found.verdict.reasons.into_iter();
            self.reasons
                .extend(reasons.map(|reason| format!("prompt {shown:?}: {reason}")));
        }
    }
}

/// Whether the reference, which works, does not know this kind of file.
fn unreadable(error: &ComparisonError) -> bool {
    match error {
        ComparisonError::CannotRead { .. } => true,
        ComparisonError::Lane(LaneFailure::Refused { source, .. }) => {
            source.kind == ErrorKind::CannotRead
        }
        _ => false,
    }
}

/// Texts as they are where the model carries a tokenizer, else ids.
fn prompts(model: &Path) -> Result<Vec<Prompt>, PromptError> {
    let gguf = Gguf::open(model)?;
    if Tokenizer::from_gguf(&gguf).is_ok() {
        let raw = TemplateChoice::Fixed(PromptTemplate::Raw);
        return TEXTS
            .iter()
            .map(|text| Prompt::of_text(model, None, raw, None, text))
            .collect();
    }
    let rows = gguf
        .tensor("token_embd.weight")
        .and_then(|table| table.shape.get(1).copied());
    let vocabulary = u32::try_from(rows.unwrap_or(1)).unwrap_or(u32::MAX).max(1);
    IDS.iter()
        .map(|ids| Prompt::of_ids(ids.iter().map(|id| id % vocabulary).collect()))
        .collect()
}

impl SuiteReceipt {
    /// Sums up runs.
    pub fn new(bitnet_commit: String, runs: Vec<SuiteRun>) -> Self {
        let mut hashes: Vec<_> = runs.iter().map(|run| run.model_sha256.clone()).collect();
        hashes.dedup();
        let model_sha256 = match hashes.as_slice() {
            [only] => only.clone(),
            several => digest::of_bytes(several.join("\n").as_bytes()),
        };
        Self {
            schema_version: SCHEMA_VERSION.to_owned(),
            timestamp: crate::receipt::timestamp(),
            model_sha256,
            bitnet_commit,
            test_suite: "full".to_owned(),
            status: Status::of(&runs),
            metrics: SuiteMetrics::worst_of(&runs),
            runs,
        }
    }
}

/// The models of a folder, by name.
///
/// # Errors
/// The folder cannot be read.
pub fn models_in(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut models = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "gguf") && path.is_file() {
            models.push(path);
        }
    }
    models.sort();
    Ok(models)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(sha: &str, status: Status, cosine: f64) -> SuiteRun {
        SuiteRun {
            model: "m.gguf".into(),
            model_sha256: sha.into(),
            backend: "bitnet".into(),
            reference: None,
            transcoded_to: None,
            status,
            metrics: (status != Status::Unreadable).then_some(SuiteMetrics {
                logits_cosine_similarity: cosine,
                inference_time_rust_ms: 2.0,
                ..SuiteMetrics::BEST
            }),
            reasons: Vec::new(),
        }
    }

    #[test]
    fn a_suite_passes_when_something_passed_and_nothing_failed() {
        let status = |runs| SuiteReceipt::new("abc".into(), runs).status;
        let (pass, fail, none) = (
            run("a", Status::Pass, 1.0),
            run("a", Status::Fail, 0.5),
            run("b", Status::Unreadable, 0.0),
        );
        assert_eq!(status(vec![pass.clone(), none.clone()]), Status::Pass);
        assert_eq!(status(vec![pass, fail]), Status::Fail);
        assert_eq!(status(vec![none]), Status::Unreadable);
        assert_eq!(status(Vec::new()), Status::Unreadable);
    }

    #[test]
    fn the_receipt_has_the_fields_of_its_schema_and_the_worst_of_all_runs() {
        let runs = vec![
            run("a", Status::Pass, 0.9999),
            run("a", Status::Pass, 0.9995),
        ];
        let json = serde_json::to_value(SuiteReceipt::new("abc".into(), runs)).unwrap();
        assert_eq!(json["schema_version"], "1.0.0");
        assert_eq!(json["status"], "pass");
        assert_eq!(json["model_sha256"], "a");
        assert_eq!(json["metrics"]["logits_cosine_similarity"], 0.9995);
        assert_eq!(json["metrics"]["inference_time_rust_ms"], 4.0);
        for field in [
            "tokenization_exact_match",
            "greedy_exact_match",
            "inference_time_cpp_ms",
        ] {
            assert!(!json["metrics"][field].is_null(), "{field}");
        }
    }
}
