//! [`BenchReceipt`]: what one run of a benchmark measured, as it lies in `ci/bench_*.json`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::baseline::{Baseline, BaselineError, Key, SCHEMA};
use super::file::write_json;

/// One measurement on its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BenchReceipt {
    /// `1.0.0`, or another 1.x.
    pub schema_version: String,
    /// When, in RFC 3339.
    pub timestamp: String,
    /// `real`: figures come from a model that ran.
    pub compute_path: String,
    /// `cpu`.
    pub backend: String,
    /// What it can be compared with.
    #[serde(flatten)]
    pub key: Key,
    /// The model's name, for people.
    pub model: String,
    /// Measurements behind each median.
    pub repetitions: usize,
    /// Median tokens per second of reading the prompt.
    pub prefill_tokens_per_second: f64,
    /// Median tokens per second of decoding.
    pub tokens_per_second: f64,
    /// Milliseconds of one decoded token.
    pub latency_ms: f64,
    /// Kernels that ran, by name.
    pub kernels: Vec<String>,
}

impl BenchReceipt {
    /// The receipt of a measurement.
    pub fn of(measured: Baseline) -> BenchReceipt {
        BenchReceipt {
            schema_version: SCHEMA.to_owned(),
            timestamp: measured.timestamp,
            compute_path: measured.compute_path,
            backend: "cpu".to_owned(),
            key: measured.key,
            model: measured.model,
            repetitions: measured.repetitions,
            prefill_tokens_per_second: measured.prefill_tps,
            tokens_per_second: measured.cpu_tps,
            latency_ms: measured.cpu_latency_ms,
            kernels: measured.cpu_kernels,
        }
    }

    /// The measurement, as a baseline has it.
    pub fn measured(self) -> Baseline {
        Baseline {
            timestamp: self.timestamp,
            key: self.key,
            model: self.model,
            compute_path: self.compute_path,
            repetitions: self.repetitions,
            prefill_tps: self.prefill_tokens_per_second,
            cpu_tps: self.tokens_per_second,
            cpu_latency_ms: self.latency_ms,
            cpu_kernels: self.kernels,
        }
    }

    /// Writes it into `folder`, under a name after its model. Returns where it is.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, folder: &Path) -> std::io::Result<PathBuf> {
        let stem = Path::new(&self.model).file_stem().unwrap_or_default();
        let path = folder.join(format!("bench_{}.json", stem.to_string_lossy()));
        write_json(&path, self)?;
        Ok(path)
    }

    /// Reads every receipt of a folder, in the order of their names; none where there is no such
    /// folder.
    ///
    /// # Errors
    /// One of them cannot be read, is of another form, or is no measurement.
    pub fn read_all(folder: &Path) -> Result<Vec<BenchReceipt>, BaselineError> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.retain(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("bench_") && name.ends_with(".json")
        });
        paths.sort();
        paths.iter().map(|path| read(path)).collect()
    }
}

fn read(path: &Path) -> Result<BenchReceipt, BaselineError> {
    let name = path.display().to_string();
    let text = bitnet_files::read_to_string(path).map_err(|source| BaselineError::Read {
        path: name.clone(),
        source,
    })?;
    let form = |problem: String| BaselineError::Receipt {
        path: name.clone(),
        problem,
    };
    let receipt: BenchReceipt =
        serde_json::from_str(&text).map_err(|error| form(error.to_string()))?;
    let problems = receipt.clone().measured().problems();
    match problems.is_empty() {
        true if receipt.schema_version.starts_with("1.") => Ok(receipt),
        true => Err(form(format!(
            "schema_version is {:?}; this program reads 1.x",
            receipt.schema_version
        ))),
        false => Err(form(problems.join("; "))),
    }
}
