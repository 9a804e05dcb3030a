//! The receipt of a suite: several models and prompts on several lanes.

use serde::{Deserialize, Serialize};

use super::file::timestamp;
use crate::compare::{Comparison, Prompt, Spread, TokenCheck};
use crate::digest;

/// The schema that is written.
const SCHEMA_VERSION: &str = "1.0.0";

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
    /// Whether the reference's tokenizer made the same ids of every text; nothing where it was
    /// given no text: the file has no tokenizer that it reads, or the prompt was ids.
    #[serde(default)]
    pub tokenization_exact_match: Option<bool>,
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
    /// `1.0.0`.
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
    /// The worst of the runs; times are sums.
    pub metrics: SuiteMetrics,
    /// Every model on every lane.
    #[serde(default)]
    pub runs: Vec<SuiteRun>,
}

impl SuiteMetrics {
    /// Nothing measured yet: what any measurement makes worse.
    const BEST: Self = Self {
        tokenization_exact_match: None,
        logits_cosine_similarity: 1.0,
        logits_mse: 0.0,
        own_mse: 0.0,
        greedy_exact_match: true,
        inference_time_rust_ms: 0.0,
        inference_time_cpp_ms: 0.0,
    };

    /// The worst of all runs; times are sums.
    pub(crate) fn worst_of(runs: &[SuiteRun]) -> Self {
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
            tokenization_exact_match: (found.token_check == TokenCheck::Equal).then_some(true),
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
            tokenization_exact_match: match (
                self.tokenization_exact_match,
                other.tokenization_exact_match,
            ) {
                (Some(a), Some(b)) => Some(a && b),
                (one, other) => one.or(other),
            },
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

impl SuiteRun {
    /// Takes in that the reference's tokenizer made other tokens.
    pub(crate) fn set_tokens_differ(&mut self) {
        self.metrics = Some(SuiteMetrics {
            tokenization_exact_match: Some(false),
            ..self.metrics.unwrap_or(SuiteMetrics::BEST)
        });
    }

    /// Takes in what was found with one prompt.
    pub(crate) fn add(&mut self, prompt: &Prompt, found: Comparison) {
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

impl SuiteReceipt {
    /// Sums up runs.
    pub fn new(bitnet_commit: String, runs: Vec<SuiteRun>) -> Self {
        Self {
            schema_version: SCHEMA_VERSION.to_owned(),
            timestamp: timestamp(),
            model_sha256: models_sha256(&runs),
            bitnet_commit,
            test_suite: "full".to_owned(),
            status: Status::of(&runs),
            metrics: SuiteMetrics::worst_of(&runs),
            runs,
        }
    }
}

/// The hash of the models that were run: that of the only one, else of all of them, one a line.
pub(super) fn models_sha256(runs: &[SuiteRun]) -> String {
    let mut hashes: Vec<&str> = Vec::new();
    for run in runs {
        if !hashes.contains(&run.model_sha256.as_str()) {
            hashes.push(&run.model_sha256);
        }
    }
    match hashes.as_slice() {
        [only] => (*only).to_owned(),
        several => digest::of_bytes(several.join("\n").as_bytes()),
    }
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
        for field in ["greedy_exact_match", "inference_time_cpp_ms"] {
            assert!(!json["metrics"][field].is_null(), "{field}");
        }
    }

    #[test]
    fn tokens_are_the_same_only_where_the_reference_made_some() {
        let metrics = |runs: &[SuiteRun]| SuiteMetrics::worst_of(runs).tokenization_exact_match;
        let (none, mut same) = (run("a", Status::Pass, 1.0), run("a", Status::Pass, 1.0));
        assert_eq!(metrics(std::slice::from_ref(&none)), None);
        same.metrics.as_mut().unwrap().tokenization_exact_match = Some(true);
        assert_eq!(metrics(&[none.clone(), same.clone()]), Some(true));
        let mut other = none.clone();
        other.set_tokens_differ();
        assert_eq!(metrics(&[same, other, none]), Some(false));
        let receipt = SuiteReceipt::new("abc".into(), vec![run("a", Status::Pass, 1.0)]);
        let json = serde_json::to_value(receipt).unwrap();
        let said = json["metrics"].get("tokenization_exact_match");
        assert!(said.is_some_and(serde_json::Value::is_null));
    }
}
