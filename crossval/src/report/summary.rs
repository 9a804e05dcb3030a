//! What `parity-both` prints: both receipts in a few lines, for people or for programs.

use std::fmt::{self, Write as _};
use std::path::Path;
use std::str::FromStr;

use serde_json::{Value, json};

use crate::compare::{Spread, TokenCheck};
use crate::lane::Lane;
use crate::receipt::ParityReceipt;

/// A measure that the text names. All of them are in the receipts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Mean squared error, mean over positions.
    Mse,
    /// The same over the variance of the reference.
    Nmse,
    /// Smallest cosine.
    Cosine,
    /// Kullback-Leibler divergence, mean over positions.
    Kl,
    /// Smallest share of common best tokens.
    Top5,
}

impl Metric {
    /// Every measure.
    pub const ALL: [Self; 5] = [Self::Mse, Self::Nmse, Self::Cosine, Self::Kl, Self::Top5];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mse => "mse",
            Self::Nmse => "nmse",
            Self::Cosine => "cosine",
            Self::Kl => "kl",
            Self::Top5 => "top5",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Mse => "Mean MSE",
            Self::Nmse => "Mean NMSE",
            Self::Cosine => "Lowest cosine",
            Self::Kl => "Mean KL",
            Self::Top5 => "Lowest top-5",
        }
    }

    fn show(self, spread: &Spread) -> String {
        match self {
            Self::Mse => format!("{:.2e}", spread.mean_mse),
            Self::Nmse => format!("{:.2e}", spread.mean_nmse),
            Self::Cosine => format!("{:.6}", spread.min_cosine),
            Self::Kl => format!("{:.2e}", spread.mean_kl),
            Self::Top5 => format!("{:.1}", spread.min_top5),
        }
    }
}

impl FromStr for Metric {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.map(Self::name);
        let found = Self::ALL.into_iter().find(|metric| metric.name() == text);
        found.ok_or_else(|| format!("unknown measure `{text}`; known are {}", known.join(", ")))
    }
}

/// One lane's receipt and where it was written.
#[derive(Debug, Clone, Copy)]
pub struct LaneResult<'a> {
    /// The lane.
    pub lane: Lane,
    /// What was found.
    pub receipt: &'a ParityReceipt,
    /// Its file.
    pub path: &'a Path,
}

/// Both lanes.
#[derive(Debug, Clone)]
pub struct Summary<'a> {
    /// In the order of reports.
    pub lanes: Vec<LaneResult<'a>>,
    /// Measures that the text names.
    pub metrics: &'a [Metric],
    /// The exit code that stands for it.
    pub exit_code: u8,
}

impl Summary<'_> {
    fn both_passed(&self) -> bool {
        self.lanes
            .iter()
            .all(|lane| lane.receipt.summary.all_passed)
    }

    /// Whether one tokenizer made the tokens of all lanes, and none of the references parts from
    /// it.
    fn tokenizer_consistent(&self) -> bool {
        let mut lanes = self.lanes.iter();
        if lanes.any(|lane| lane.receipt.token_check == Some(TokenCheck::Differ)) {
            return false;
        }
        let mut authorities = self
            .lanes
            .iter()
            .map(|lane| &lane.receipt.tokenizer_authority);
        let first = authorities.next().and_then(Option::as_ref);
        first.is_some_and(|first| {
            authorities.all(|other| {
                other
                    .as_ref()
                    .is_some_and(|other| first.agrees_with(other).is_ok())
            })
        })
    }

    /// Whether a reference's own tokenizer was asked at all.
    fn tokenizer_compared(&self) -> bool {
        let made = [Some(TokenCheck::Equal), Some(TokenCheck::Differ)];
        let mut lanes = self.lanes.iter();
        lanes.any(|lane| made.contains(&lane.receipt.token_check))
    }

    /// The summary as one JSON object.
    pub fn json(&self) -> Value {
        let lanes = self.lanes.iter().map(|lane| {
            let summary = &lane.receipt.summary;
            let value = json!({
                "backend": lane.lane.reference(),
                "passed": summary.all_passed,
                "first_divergence": summary.first_divergence,
                "first_layer": summary.first_layer,
                "mean_mse": summary.mean_mse,
                "min_cosine": summary.min_cosine,
                "mean_kl": summary.mean_kl,
                "own_distance": lane.receipt.own_distance,
                "transcoded": lane.receipt.transcoded,
                "reasons": summary.reasons,
                "receipt": lane.path,
            });
            (lane.lane.backend().to_owned(), value)
        });
        let lanes: serde_json::Map<_, _> = lanes.collect();
        let first = self.lanes.first().map(|lane| lane.receipt);
        json!({
            "tokenizer_authority": first.and_then(|first| first.tokenizer_authority.as_ref()),
            "prompt_template": first.and_then(|first| first.prompt_template.as_ref()),
            "lanes": lanes,
            "overall": {
                "both_passed": self.both_passed(),
                "tokenizer_consistent": self.tokenizer_consistent(),
                "exit_code": self.exit_code,
            },
        })
    }
}

const WIDE: &str = "═════════════════════════════════════════════════════";
const THIN: &str = "─────────────────────────────────────────────────────";

/// Lines of `Title:   value`.
struct Lines<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl Lines<'_, '_> {
    fn head(&mut self, title: &str) -> fmt::Result {
        write!(self.0, "\n{title}\n{THIN}\n")
    }

    fn line(&mut self, title: &str, value: impl fmt::Display) -> fmt::Result {
        writeln!(self.0, "{:<18}{value}", format!("{title}:"))
    }
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Parity-Both Cross-Validation Summary\n{WIDE}\n")?;
        let mut lines = Lines(f);
        if let Some(first) = self.lanes.first() {
            if let Some(authority) = &first.receipt.tokenizer_authority {
                lines.head("Tokenizer Authority")?;
                lines.line("Source", &authority.source)?;
                lines.line("Path", &authority.path)?;
                if let Some(hash) = &authority.file_hash {
                    lines.line("File hash", short(hash))?;
                }
                lines.line("Config hash", short(&authority.config_hash))?;
                lines.line("Token count", authority.token_count)?;
            }
            if let Some(template) = &first.receipt.prompt_template {
                lines.line("Prompt template", template)?;
            }
        }
        for (letter, lane) in ('A'..).zip(&self.lanes) {
            lane_lines(&mut lines, letter, lane, self.metrics)?;
        }
        lines.head("Overall Status")?;
        let passed = if self.both_passed() {
            "✓ PASSED"
        } else {
            "✗ FAILED"
        };
        let lanes = match self.lanes.len() {
            1 => "Lane",
            2 => "Both lanes",
            _ => "All lanes",
        };
        lines.line(lanes, passed)?;
        let consistent = match (self.tokenizer_consistent(), self.tokenizer_compared()) {
            (true, true) => "✓ Consistent across lanes",
            (true, false) => "✓ Consistent across lanes (with no reference's compared)",
            (false, _) => "✗ Not consistent across lanes",
        };
        lines.line("Tokenizer", consistent)?;
        lines.line("Exit code", self.exit_code)
    }
}

fn lane_lines(
    lines: &mut Lines<'_, '_>,
    letter: char,
    lane: &LaneResult<'_>,
    metrics: &[Metric],
) -> fmt::Result {
    let LaneResult { receipt, .. } = lane;
    let summary = &receipt.summary;
    lines.head(&format!("Lane {letter}: {}", lane.lane.title()))?;
    match &receipt.reference {
        Some(reference) => lines.line("Backend", &reference.version)?,
        None => lines.line("Backend", lane.lane.reference())?,
    }
    let status = match (summary.all_passed, receipt.rows.is_empty()) {
        (true, _) => "✓ Parity OK",
        (false, false) => "✗ Parity FAILED",
        (false, true) => "✗ Not compared",
    };
    lines.line("Status", status)?;
    for reason in &summary.reasons {
        lines.line("Reason", reason.replace('\n', "\n                  "))?;
    }
    if let Some(transcoded) = &receipt.transcoded {
        let (from, to) = (&transcoded.from, &transcoded.to);
        lines.line(
            "Transcoded",
            format!("{from} as {to}, on both sides of this lane"),
        )?;
    }
    if let Some(check) = receipt.token_check {
        let shown = match check {
            TokenCheck::Equal => "✓ The reference's tokenizer makes the same",
            TokenCheck::Differ => "✗ The reference's tokenizer makes others",
            TokenCheck::NoTokenizer => "not checked: the model carries no tokenizer",
            TokenCheck::IdsGiven => "given by hand",
        };
        lines.line("Tokens", shown)?;
    }
    if !receipt.rows.is_empty() {
        let first = summary.first_divergence;
        let shown = first.map_or("None".to_owned(), |at| format!("position {at}"));
        lines.line("First divergence", shown)?;
        let spread = receipt.spread();
        for metric in metrics {
            let mut own = String::new();
            for (varied, spread) in &receipt.own_distance {
                let _ = write!(
                    own,
                    ", {} {}",
                    varied.replace('_', " "),
                    metric.show(spread)
                );
            }
            let own = own.strip_prefix(", ").unwrap_or("not measured");
            let ours = metric.show(&spread);
            lines.line(metric.title(), format!("{ours} (to itself: {own})"))?;
        }
        if let Some(generated) = &receipt.generated {
            let all = generated.cpp.len();
            let shown = match generated.first_difference {
                None => format!("all {all} tokens the same"),
                Some(at) if summary.all_passed => {
                    format!("{at} of {all} tokens the same, then a near tie")
                }
                Some(at) => format!("{at} of {all} tokens the same"),
            };
            lines.line("Greedy", shown)?;
        }
    }
    lines.line("Receipt", lane.path.display())
}

fn short(hash: &str) -> String {
    hash.get(..12)
        .map_or(hash.to_owned(), |start| format!("{start}..."))
}

#[cfg(test)]
mod tests {
    use bitnet_tokenizers::TokenizerAuthority;

    use super::*;
    use crate::compare::{ComparisonError, TokenMismatch};

    fn receipt(hash: &str) -> ParityReceipt {
        let mut receipt = ParityReceipt::new("model.gguf", "bitnet", "Hi");
        receipt.tokenizer_authority = Some(TokenizerAuthority {
            source: "external".into(),
            path: "tokenizer.json".into(),
            file_hash: None,
            config_hash: hash.into(),
            token_count: 5,
        });
        receipt
    }

    fn summary<'a>(a: &'a ParityReceipt, b: &'a ParityReceipt) -> Summary<'a> {
        let result = |lane, receipt| LaneResult {
            lane,
            receipt,
            path: Path::new("receipt.json"),
        };
        Summary {
            lanes: vec![result(Lane::BitnetCpp, a), result(Lane::LlamaCpp, b)],
            metrics: &[Metric::Mse],
            exit_code: 1,
        }
    }

    #[test]
    fn both_forms_say_who_passed_and_whether_the_tokenizers_agree() {
        let (mut good, mut bad) = (receipt("aa"), receipt("aa"));
        good.summary.all_passed = true;
        bad.set_failure(&ComparisonError::Context { need: 9, have: 8 });
        let both = summary(&good, &bad);
        let json = both.json();
        assert_eq!(json["lanes"]["bitnet"]["passed"], true);
        assert_eq!(
            json["lanes"]["llama"]["reasons"][0],
            "9 positions (prompt and generated tokens) exceed the context of 8"
        );
        assert_eq!(json["overall"]["both_passed"], false);
        assert_eq!(json["overall"]["tokenizer_consistent"], true);
        let text = both.to_string();
        for line in [
            "Lane B: llama.cpp",
            "✗ Not compared",
            "✗ FAILED",
            "✓ Consistent across lanes (with no reference's compared)",
            "Exit code:        1",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }

    #[test]
    fn tokens_that_differ_from_the_references_are_not_consistent() {
        let (good, mut bad) = (receipt("aa"), receipt("aa"));
        bad.set_failure(&ComparisonError::Tokens(TokenMismatch {
            lane: "llama.cpp",
            position: Some(0),
            ours: vec![1],
            theirs: vec![2],
        }));
        let both = summary(&good, &bad);
        let json = both.json();
        assert_eq!(json["overall"]["tokenizer_consistent"], false);
        let text = both.to_string();
        assert!(
            text.contains("✗ The reference's tokenizer makes others"),
            "{text}"
        );
        assert!(text.contains("✗ Not consistent across lanes"), "{text}");
    }

    #[test]
    fn other_tokenizers_are_not_consistent() {
        let (a, b) = (receipt("aa"), receipt("bb"));
        assert_eq!(
            summary(&a, &b).json()["overall"]["tokenizer_consistent"],
            false
        );
    }
}
