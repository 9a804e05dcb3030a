//! How fast an engine was on a machine: receipts of speed, and what a later measurement is held
//! against.
//!
//! A baseline belongs to a CPU model, a device (instruction set and threads), a model's bytes and a
//! workload. A measurement is only ever compared with a baseline that has all of these in common
//! with it.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::file::write_json;

/// The schema that is written.
pub(crate) const SCHEMA: &str = "1.0.0";

/// One measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// When, in RFC 3339.
    pub timestamp: String,
    /// What a measurement must have in common with it.
    #[serde(flatten)]
    pub key: Key,
    /// The model's name, for people.
    pub model: String,
    /// `real`: figures come from a model that ran.
    pub compute_path: String,
    /// Measurements behind each median.
    pub repetitions: usize,
    /// Median tokens per second of reading the prompt.
    pub prefill_tps: f64,
    /// Median tokens per second of decoding.
    pub cpu_tps: f64,
    /// Milliseconds of one decoded token.
    pub cpu_latency_ms: f64,
    /// Kernels that ran, by name.
    pub cpu_kernels: Vec<String>,
}

/// What must be the same for two measurements to be compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// The CPU model as the system names it.
    pub cpu: String,
    /// Instruction set and threads.
    pub device: String,
    /// SHA256 of the model's file.
    pub model_sha256: String,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens decoded.
    pub gen_tokens: usize,
}

/// A file of baselines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Baselines {
    /// `1.0.0`, or another 1.x.
    pub schema_version: String,
    /// One per key.
    pub baselines: Vec<Baseline>,
}

/// Why a file of baselines cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// It cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// It is not JSON of the right form.
    #[error("{path} is no file of baselines: {problem}. Make one with: cargo xtask gen-baselines")]
    Form {
        /// The file.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// It is no receipt of a measurement.
    #[error("{path} is no receipt of a benchmark: {problem}. Make one with: cargo xtask bench")]
    Receipt {
        /// The file.
        path: String,
        /// What is wrong.
        problem: String,
    },
}

/// A speed now beside what it was.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// `prefill` or `decode`.
    pub phase: &'static str,
    /// Tokens per second of the baseline.
    pub before: f64,
    /// Tokens per second now.
    pub now: f64,
}

impl Change {
    /// The change as a part of what it was: -0.1 is a loss of 10 %.
    pub fn ratio(&self) -> f64 {
        (self.now - self.before) / self.before
    }
}

impl Baseline {
    /// In words.
    pub fn words(&self) -> String {
        let Key {
            cpu,
            device,
            prompt_tokens,
            gen_tokens,
            ..
        } = &self.key;
        format!(
            "{cpu}, {device}\n{}: prefill {prompt_tokens} at {:.1} tokens/s, decode {gen_tokens} at {:.1} tokens/s\nkernels: {}",
            self.model,
            self.prefill_tps,
            self.cpu_tps,
            self.cpu_kernels.join(", ")
        )
    }

    /// The one of several with the same key whose speed of decoding is the median; the faster one
    /// of two.
    pub fn median(mut several: Vec<Baseline>) -> Option<Baseline> {
        several.sort_by(|a, b| a.cpu_tps.total_cmp(&b.cpu_tps));
        let middle = several.len() / 2;
        several.into_iter().nth(middle)
    }

    /// What makes it no baseline; empty for one that can be used.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.compute_path != "real" {
            problems.push(format!(
                "compute_path is {:?}; only \"real\" counts",
                self.compute_path
            ));
        }
        if self
            .cpu_kernels
            .iter()
            .all(|kernel| kernel.trim().is_empty())
        {
            problems.push("cpu_kernels names no kernel that ran".to_owned());
        }
        for (name, speed) in [
            ("prefill_tps", self.prefill_tps),
            ("cpu_tps", self.cpu_tps),
            ("cpu_latency_ms", self.cpu_latency_ms),
        ] {
            if !(speed.is_finite() && speed > 0.0) {
                problems.push(format!("{name} is {speed}; it must be above 0"));
            }
        }
        problems
    }

    /// Both speeds of `now` beside this one's.
    pub fn changes(&self, now: &Baseline) -> [Change; 2] {
        [
            Change {
                phase: "prefill",
                before: self.prefill_tps,
                now: now.prefill_tps,
            },
            Change {
                phase: "decode",
                before: self.cpu_tps,
                now: now.cpu_tps,
            },
        ]
    }
}

impl Baselines {
    /// A file without baselines.
    pub fn new() -> Baselines {
        Baselines {
            schema_version: SCHEMA.to_owned(),
            baselines: Vec::new(),
        }
    }

    /// Reads a file and checks every baseline in it.
    ///
    /// # Errors
    /// The file cannot be read, is of another form, or has a baseline that is none.
    pub fn read(path: &Path) -> Result<Baselines, BaselineError> {
        let name = path.display().to_string();
        let text = bitnet_files::read_to_string(path).map_err(|source| BaselineError::Read {
            path: name.clone(),
            source,
        })?;
        let form = |problem: String| BaselineError::Form {
            path: name.clone(),
            problem,
        };
        let file: Baselines =
            serde_json::from_str(&text).map_err(|error| form(error.to_string()))?;
        if !file.schema_version.starts_with("1.") {
            return Err(form(format!(
                "schema_version is {:?}; this program reads 1.x",
                file.schema_version
            )));
        }
        for baseline in &file.baselines {
            let problems = baseline.problems();
            if !problems.is_empty() {
                let problems = problems.join("; ");
                return Err(form(format!("on {}: {problems}", baseline.key.cpu)));
            }
        }
        Ok(file)
    }

    /// Writes the file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        write_json(path, self)
    }

    /// The baseline with this key.
    pub fn find(&self, key: &Key) -> Option<&Baseline> {
        self.baselines.iter().find(|baseline| baseline.key == *key)
    }

    /// Takes a baseline in, in place of the one with the same key.
    pub fn put(&mut self, new: Baseline) {
        self.baselines.retain(|old| old.key != new.key);
        self.baselines.push(new);
    }
}

impl Default for Baselines {
    fn default() -> Baselines {
        Baselines::new()
    }
}
