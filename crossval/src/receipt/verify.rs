//! Whether a receipt holds: its verdict follows from its own numbers, and is a pass.
//!
//! Everything that can be computed again is. A receipt that was cut, edited or made
//! with other bounds contradicts itself somewhere.

use std::collections::BTreeMap;
use std::path::Path;

use super::parity::{Choice, ParityReceipt, PositionMetrics};
use super::suite::{Status, SuiteMetrics, SuiteReceipt, models_sha256};
use crate::compare::layers::{self, Part};
use crate::compare::verdict::{self, Spread, Thresholds};

/// The smallest cosine with which a suite passes, whatever its runs say.
const SUITE_COSINE: f64 = 0.99;

/// Means are sums of numbers that went through decimal digits.
const ROUNDING: f64 = 1e-9;

/// A receipt of any kind that this project writes.
#[derive(Debug, Clone, PartialEq)]
pub enum Receipt {
    /// One model, one prompt, one lane: schema v1 or v2.
    Lane(Box<ParityReceipt>),
    /// The parity suite.
    Suite(Box<SuiteReceipt>),
}

/// Why a file is no receipt.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be read.
    #[error("cannot read the receipt: {0}")]
    Io(#[from] std::io::Error),
    /// It is something else.
    #[error("not a receipt: {0}")]
    Parse(#[from] serde_json::Error),
    /// It is from another time.
    #[error(
        "its schema version is {found}; read here are 1 and 2 (of one lane) and 1.x (of a suite)"
    )]
    Schema {
        /// What it says.
        found: String,
    },
}

impl Receipt {
    /// Reads a receipt of any kind.
    ///
    /// # Errors
    /// The file cannot be read, or is no receipt.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let value: serde_json::Value = serde_json::from_slice(&bitnet_files::read(path)?)?;
        let schema = |found: &serde_json::Value| ReadError::Schema {
            found: found
                .as_str()
                .map_or_else(|| found.to_string(), str::to_owned),
        };
        if let Some(found) = value.get("schema_version") {
            if !found
                .as_str()
                .is_some_and(|version| version.starts_with("1."))
            {
                return Err(schema(found));
            }
            return Ok(Self::Suite(serde_json::from_value(value)?));
        }
        match value.get("version") {
            Some(found) if !matches!(found.as_u64(), Some(1 | 2)) => Err(schema(found)),
            _ => Ok(Self::Lane(serde_json::from_value(value)?)),
        }
    }

    /// What it is about, on one line.
    pub fn words(&self) -> String {
        match self {
            Self::Lane(receipt) => format!(
                "{} lane, schema {}, {} positions of {}, mean MSE {:.1e}",
                receipt.backend,
                receipt.infer_version(),
                receipt.positions,
                receipt.model,
                receipt.summary.mean_mse
            ),
            Self::Suite(receipt) => format!(
                "suite `{}`, schema {}, {} runs, smallest cosine {:.6}",
                receipt.test_suite,
                receipt.schema_version,
                receipt.runs.len(),
                receipt.metrics.logits_cosine_similarity
            ),
        }
    }

    /// SHA-256 of the models that it says it ran, by name.
    pub fn models(&self) -> BTreeMap<&str, &str> {
        match self {
            Self::Lane(receipt) => {
                let hash = receipt.model_sha256.as_deref();
                hash.map(|hash| (receipt.model.as_str(), hash))
                    .into_iter()
                    .collect()
            }
            Self::Suite(receipt) => {
                let runs = receipt.runs.iter();
                runs.map(|run| (run.model.as_str(), run.model_sha256.as_str()))
                    .collect()
            }
        }
    }

    /// What keeps it from being a proof of parity, in words; nothing when it is one.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = match self {
            Self::Lane(receipt) => of_lane(receipt),
            Self::Suite(receipt) => of_suite(receipt),
        };
        let timestamp = match self {
            Self::Lane(receipt) => &receipt.timestamp,
            Self::Suite(receipt) => &receipt.timestamp,
        };
        if let Err(error) = humantime::parse_rfc3339_weak(timestamp) {
            problems.push(format!("its timestamp `{timestamp}` is none: {error}"));
        }
        problems.extend(
            self.models()
                .into_iter()
                .filter(|(_, hash)| !is_sha256(hash))
                .map(|(model, hash)| format!("`{hash}` is no SHA-256 of {model}")),
        );
        problems
    }
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn of_lane(receipt: &ParityReceipt) -> Vec<String> {
    let mut problems = Vec::new();
    let (rows, summary) = (&receipt.rows, &receipt.summary);
    if receipt.positions != rows.len() {
        let (said, found) = (receipt.positions, rows.len());
        problems.push(format!("it speaks of {said} positions and holds {found}"));
    }
    if let Some((at, row)) = rows.iter().enumerate().find(|(at, row)| row.pos != *at) {
        problems.push(format!("row {at} is of position {}", row.pos));
    }
    let spread = receipt.spread();
    if !same(summary.mean_mse, spread.mean_mse) {
        let (said, found) = (summary.mean_mse, spread.mean_mse);
        problems.push(format!(
            "its mean MSE is {said:e}, that of its rows {found:e}"
        ));
    }
    let bound = bound(receipt);
    let within: Vec<_> = rows
        .iter()
        .map(|row| is_within(row, &bound, receipt.thresholds))
        .collect();
    if let Some(at) =
        (0..rows.len()).find(|at| rows[*at].passed.is_some_and(|said| said != within[*at]))
    {
        let said = if within[at] { "fails" } else { "passes" };
        problems.push(format!(
            "position {at} {said} by its word, but not by its numbers"
        ));
    }
    let first = within.iter().position(|within| !within);
    if summary.first_divergence != first {
        let (said, found) = (summary.first_divergence, first);
        problems.push(format!(
            "its first divergence is {said:?}, that of its rows {found:?}"
        ));
    }
    let finding = layers::first_to_part(&receipt.layers, receipt.head.as_ref());
    let layer = finding.as_ref().and_then(|finding| match finding.part {
        Part::Layer(layer) => Some(layer),
        Part::Head => None,
    });
    if summary.first_layer != layer {
        let said = summary.first_layer;
        problems.push(format!(
            "the first layer to part is {said:?} by its word, {layer:?} by its numbers"
        ));
    }
    if !summary.all_passed {
        let reasons = match summary.reasons.as_slice() {
            [] => "no reason is given".to_owned(),
            reasons => reasons.join("; "),
        };
        problems.push(format!("no parity: {reasons}"));
    } else if rows.is_empty() {
        problems.push("it passes without a single position".to_owned());
    } else if first.is_some()
        || finding.is_some()
        || spread.mean_mse > bound.mean_mse
        || !summary.reasons.is_empty()
    {
        problems.push("it passes although its own numbers or reasons say otherwise".to_owned());
    }
    problems
}

/// The bounds that the verdict was made with.
fn bound(receipt: &ParityReceipt) -> Spread {
    let own = receipt.own_distance.values().copied();
    verdict::bound(own.fold(Spread::ZERO, Spread::wider), receipt.thresholds)
}

/// Schema v1 lacks some of the measures; what is absent does not fail.
fn is_within(row: &PositionMetrics, bound: &Spread, thresholds: Thresholds) -> bool {
    let near_tie = |gap: f64| gap <= verdict::top5_tie(bound, thresholds);
    row.mse <= bound.max_mse
        && row.kl.is_none_or(|kl| kl <= bound.max_kl)
        && row.cosine.is_none_or(|cosine| cosine >= bound.min_cosine)
        && row
            .topk_agree
            .is_none_or(|agree| agree >= bound.min_top5 || row.topk_gap.is_some_and(near_tie))
        && row.choice != Some(Choice::Different)
}

fn of_suite(receipt: &SuiteReceipt) -> Vec<String> {
    let mut problems = Vec::new();
    if receipt.runs.is_empty() {
        problems.push("it holds no run".to_owned());
    } else {
        let worst = SuiteMetrics::worst_of(&receipt.runs);
        let pairs = [
            (
                "cosine",
                receipt.metrics.logits_cosine_similarity,
                worst.logits_cosine_similarity,
            ),
            ("MSE", receipt.metrics.logits_mse, worst.logits_mse),
        ];
        problems.extend(
            pairs
                .into_iter()
                .filter(|(_, said, found)| !same(*said, *found))
                .map(|(what, said, found)| {
                    format!("its {what} is {said:e}, the worst of its runs {found:e}")
                }),
        );
        let said = receipt.metrics.tokenization_exact_match;
        if said != worst.tokenization_exact_match {
            let found = worst.tokenization_exact_match;
            problems.push(format!(
                "tokens are the same: {said:?} by its word, {found:?} by its runs"
            ));
        }
        let (said, found) = (&receipt.model_sha256, models_sha256(&receipt.runs));
        if *said != found {
            problems.push(format!(
                "its model_sha256 is `{said}`, that of its runs {found}"
            ));
        }
        let status = Status::of(&receipt.runs);
        if receipt.status != status {
            problems.push(format!(
                "its status is {:?}, that of its runs {status:?}",
                receipt.status
            ));
        }
    }
    if receipt.status != Status::Pass {
        problems.push("no parity".to_owned());
        let failed = receipt.runs.iter().filter(|run| run.status == Status::Fail);
        problems.extend(failed.map(|run| {
            format!(
                "{} on {}: {}",
                run.model,
                run.backend,
                run.reasons.join("; ")
            )
        }));
        return problems;
    }
    let metrics = &receipt.metrics;
    if metrics.tokenization_exact_match == Some(false) {
        problems.push("it passes although tokens differ".to_owned());
    }
    if metrics.logits_cosine_similarity < SUITE_COSINE {
        let found = metrics.logits_cosine_similarity;
        problems.push(format!(
            "it passes with a cosine of {found}, below {SUITE_COSINE}"
        ));
    }
    problems
}

fn same(a: f64, b: f64) -> bool {
    (a - b).abs() <= ROUNDING * a.abs().max(b.abs())
}
