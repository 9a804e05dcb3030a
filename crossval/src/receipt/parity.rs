//! The receipt of one lane's run, schema v2. Schema v1 still reads: all that v2 added is optional.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use bitnet_tokenizers::TokenizerAuthority;
use serde::{Deserialize, Serialize};

use super::file::{timestamp, write_json};
use crate::compare::{
    Comparison, ComparisonError, Generated, LayerDistance, LayerSpread, ReferenceIdentity, Spread,
    Thresholds, TokenCheck, Transcoded,
};

/// The schema that is written.
pub(crate) const SCHEMA_VERSION: u32 = 2;

/// One position.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PositionMetrics {
    /// The position, from 0.
    pub pos: usize,
    /// Mean squared error.
    pub mse: f64,
    /// Largest absolute difference.
    pub max_abs: f64,
    /// KL divergence in nats.
    pub kl: Option<f64>,
    /// Share of the five best tokens in common.
    pub topk_agree: Option<f64>,
    /// By how much the reference prefers its fifth best token to the worst that it finds among our
    /// five best.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topk_gap: Option<f64>,
    /// Our five best tokens.
    pub top5_rust: Vec<u32>,
    /// The reference's five best tokens.
    pub top5_cpp: Vec<u32>,
    /// MSE over the variance of the reference's logits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nmse: Option<f64>,
    /// Cosine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cosine: Option<f64>,
    /// Whether the choices differ, and if so, whether it was a near tie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choice: Option<Choice>,
    /// Whether the position is within bounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed: Option<bool>,
    /// The reference's mean squared distance to itself here: the largest of what was varied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_mse: Option<f64>,
}

/// How the two best tokens compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// The same.
    Same,
    /// Different, by less than the noise.
    NearTie,
    /// Different.
    Different,
}

/// The whole run in a few numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The verdict.
    pub all_passed: bool,
    /// The first position out of bounds.
    pub first_divergence: Option<usize>,
    /// Mean over positions of the mean squared error.
    pub mean_mse: f64,
    /// Mean over positions of the divergence.
    pub mean_kl: Option<f64>,
    /// The smallest cosine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_cosine: Option<f64>,
    /// The first layer that parts from the reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_layer: Option<usize>,
    /// What failed, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

/// A parity receipt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ParityReceipt {
    /// The schema.
    pub version: u32,
    /// When, as RFC 3339.
    pub timestamp: String,
    /// The model file as it was given.
    pub model: String,
    /// `bitnet` or `llama`.
    pub backend: String,
    /// The prompt after its template, or the ids given by hand.
    pub prompt: String,
    /// Positions compared.
    pub positions: usize,
    /// The thresholds asked for.
    pub thresholds: Thresholds,
    /// Each position.
    pub rows: Vec<PositionMetrics>,
    /// The verdict.
    pub summary: Summary,
    /// Which tokenizer made the tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer_authority: Option<TokenizerAuthority>,
    /// The prompt template used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_template: Option<String>,
    /// The seed (`BITNET_SEED`). Greedy choices do not depend on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub determinism_seed: Option<u64>,
    /// SHA-256 of the model file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_sha256: Option<String>,
    /// The commit of this repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Who the lane was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<ReferenceIdentity>,
    /// The reference's distance to itself, by what was varied.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub own_distance: BTreeMap<String, Spread>,
    /// The residual stream, layer by layer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<LayerDistance>,
    /// Our head on the reference's last layer, against its logits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<LayerSpread>,
    /// Whether the reference's tokenizer made the same tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_check: Option<TokenCheck>,
    /// The greedy continuations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generated: Option<Generated>,
    /// Set when the lane ran the weights in another encoding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transcoded: Option<Transcoded>,
    /// Milliseconds, by what was done. The only field, with `timestamp`, that differs from run to
    /// run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub timings_ms: BTreeMap<String, f64>,
}

impl ParityReceipt {
    /// A receipt without rows.
    pub fn new(
        model: impl Into<String>,
        backend: impl Into<String>,
        prompt: impl Into<String>,
    ) -> Self {
        Self {
            version: SCHEMA_VERSION,
            timestamp: timestamp(),
            model: model.into(),
            backend: backend.into(),
            prompt: prompt.into(),
            positions: 0,
            thresholds: Thresholds::default(),
            rows: Vec::new(),
            summary: Summary {
                all_passed: false,
                first_divergence: None,
                mean_mse: 0.0,
                mean_kl: None,
                min_cosine: None,
                first_layer: None,
                reasons: Vec::new(),
            },
            tokenizer_authority: None,
            prompt_template: None,
            determinism_seed: None,
            model_sha256: None,
            commit: None,
            reference: None,
            own_distance: BTreeMap::new(),
            layers: Vec::new(),
            head: None,
            token_check: None,
            generated: None,
            transcoded: None,
            timings_ms: BTreeMap::new(),
        }
    }

    /// Enters what was found.
    pub fn set_comparison(&mut self, found: Comparison) {
        let spread = Spread::of(&found.rows);
        self.positions = found.rows.len();
        self.rows = (0..found.rows.len())
            .map(|pos| entry(pos, &found))
            .collect();
        self.summary = Summary {
            all_passed: found.verdict.passed(),
            first_divergence: found.verdict.first_divergence,
            mean_mse: spread.mean_mse,
            mean_kl: Some(spread.mean_kl),
            min_cosine: Some(spread.min_cosine),
            first_layer: found.first_layer(),
            reasons: found.verdict.reasons.clone(),
        };
        self.own_distance = found.own_distance();
        self.reference = Some(found.reference);
        self.layers = found.layers;
        self.head = Some(found.head);
        self.token_check = Some(found.token_check);
        self.generated = Some(found.generated);
        self.transcoded = found.transcoded;
        self.timings_ms = found.timings_ms;
    }

    /// Our distance from the reference.
    pub fn spread(&self) -> Spread {
        let count = self.rows.len().max(1) as f64;
        self.rows.iter().fold(Spread::ZERO, |sum, row| {
            let kl = row.kl.unwrap_or(0.0);
            Spread {
                mean_mse: sum.mean_mse + row.mse / count,
                max_mse: sum.max_mse.max(row.mse),
                mean_nmse: sum.mean_nmse + row.nmse.unwrap_or(0.0) / count,
                min_cosine: sum.min_cosine.min(row.cosine.unwrap_or(1.0)),
                mean_kl: sum.mean_kl + kl / count,
                max_kl: sum.max_kl.max(kl),
                min_top5: sum.min_top5.min(row.topk_agree.unwrap_or(1.0)),
            }
        })
    }

    /// Enters that nothing could be compared.
    pub fn set_failure(&mut self, why: &ComparisonError) {
        if let ComparisonError::Tokens(_) = why {
            self.token_check = Some(TokenCheck::Differ);
        }
        self.summary.reasons = vec![why.to_string()];
    }

    /// The schema by what is there: `2.0.0` or `1.0.0`.
    pub(crate) fn infer_version(&self) -> &'static str {
        if self.tokenizer_authority.is_some() || self.prompt_template.is_some() {
            "2.0.0"
        } else {
            "1.0.0"
        }
    }

    /// Reads a receipt of either schema.
    ///
    /// # Errors
    /// When the file cannot be read or is no receipt.
    pub fn read(path: &Path) -> io::Result<Self> {
        let receipt: Self = serde_json::from_slice(&bitnet_files::read(path)?)?;
        if (1..=SCHEMA_VERSION).contains(&receipt.version) {
            return Ok(receipt);
        }
        let found = receipt.version;
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("schema version {found} is newer than the {SCHEMA_VERSION} read here"),
        ))
    }

    /// Writes the receipt as indented JSON, whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        write_json(path, self)
    }
}

fn entry(pos: usize, found: &Comparison) -> PositionMetrics {
    let row = &found.rows[pos];
    let own = found
        .own
        .values()
        .filter_map(|rows| Some(rows.get(pos)?.mse));
    PositionMetrics {
        pos,
        mse: row.mse,
        max_abs: row.max_abs,
        kl: Some(row.kl),
        topk_agree: Some(row.top5),
        topk_gap: Some(row.top5_gap),
        top5_rust: row.top5_ours.clone(),
        top5_cpp: row.top5_theirs.clone(),
        nmse: Some(row.nmse),
        cosine: Some(row.cosine),
        choice: Some(match (row.same_choice(), found.verdict.near_ties[pos]) {
            (true, _) => Choice::Same,
            (false, true) => Choice::NearTie,
            (false, false) => Choice::Different,
        }),
        passed: Some(found.verdict.rows[pos]),
        own_mse: own.reduce(f64::max),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = r#"{
        "version": 1, "timestamp": "2025-10-26T14:30:00Z", "model": "model.gguf", "backend": "bitnet",
        "prompt": "test", "positions": 1, "thresholds": { "mse": 0.0001, "kl": 0.1, "topk": 0.8 },
        "rows": [{"pos": 0, "mse": 0.0, "max_abs": 0.0, "kl": null, "topk_agree": null,
                  "top5_rust": [], "top5_cpp": []}],
        "summary": { "all_passed": true, "first_divergence": null, "mean_mse": 0.0, "mean_kl": null }
    }"#;

    fn authority() -> TokenizerAuthority {
        TokenizerAuthority {
            source: "external".into(),
            path: "tokenizer.json".into(),
            file_hash: Some("abc123".into()),
            config_hash: "def456".into(),
            token_count: 5,
        }
    }

    #[test]
    fn schema_v1_still_reads() {
        let receipt: ParityReceipt = serde_json::from_str(V1).unwrap();
        assert!(receipt.tokenizer_authority.is_none());
        assert_eq!(receipt.infer_version(), "1.0.0");
        assert_eq!(receipt.thresholds.cosine, 0.999);
    }

    #[test]
    fn a_receipt_survives_its_file_and_a_newer_schema_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/receipt_bitnet.json");
        let mut receipt = ParityReceipt::new("model.gguf", "bitnet", "What is 2+2?");
        receipt.tokenizer_authority = Some(authority());
        receipt.prompt_template = Some("instruct".into());
        receipt.set_failure(&ComparisonError::Context { need: 9, have: 8 });
        receipt.write(&path).unwrap();
        assert_eq!(ParityReceipt::read(&path).unwrap(), receipt);
        assert_eq!((receipt.version, receipt.infer_version()), (2, "2.0.0"));
        receipt.version = 3;
        receipt.write(&path).unwrap();
        assert!(ParityReceipt::read(&path).is_err());
    }
}
