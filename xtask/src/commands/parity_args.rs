//! The flags of every command that compares, and what they stand for.

use std::time::Duration;

use bitnet_crossval::compare::{HardLimits, Thresholds};
use bitnet_crossval::lane::Limits;

/// What passes, and how a lane is run. A tolerance that is given is a hard limit; without it, what
/// passes is the reference's distance to itself, or a default where that is wider.
#[derive(Debug, Clone, clap::Args)]
pub struct ParityArgs {
    /// Smallest cosine of a row of logits that passes. Without it: twice the reference's own
    /// distance from 1, or 0.999
    #[arg(long, value_name = "COSINE", value_parser = share)]
    pub cos_tol: Option<f64>,

    /// Largest mean squared error of a row, and of the mean over rows, that passes. Without it: the
    /// reference's own mean, twice its own largest of a row, or 1e-4
    #[arg(long, value_name = "MSE", value_parser = distance)]
    pub mse_tol: Option<f64>,

    /// Largest Kullback-Leibler divergence of a row, in nats, that passes. Without it: twice the
    /// reference's own, or 0.1
    #[arg(long, value_name = "NATS", value_parser = distance)]
    pub kl_tol: Option<f64>,

    /// Smallest share of common tokens among the five best that passes. Without it: the reference's
    /// own, or 0.8, and near ties are excused
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub topk_tol: Option<f64>,

    /// Threads of a reference. Its results may depend on them; ours do not
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: u32,

    /// Seconds that a lane may take for one answer
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    pub timeout: u64,
}

impl ParityArgs {
    /// The thresholds.
    pub fn thresholds(&self) -> Thresholds {
        let default = Thresholds::default();
        Thresholds {
            mse: self.mse_tol.unwrap_or(default.mse),
            kl: self.kl_tol.unwrap_or(default.kl),
            topk: self.topk_tol.unwrap_or(default.topk),
            cosine: self.cos_tol.unwrap_or(default.cosine),
            hard: HardLimits {
                mse: self.mse_tol.is_some(),
                kl: self.kl_tol.is_some(),
                topk: self.topk_tol.is_some(),
                cosine: self.cos_tol.is_some(),
            },
        }
    }

    /// How long a lane may take.
    pub fn limits(&self) -> Limits {
        Limits {
            call: Duration::from_secs(self.timeout),
            ..Limits::default()
        }
    }
}

/// A number from 0 to 1.
fn share(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=1.0).contains(&value) {
        Ok(value)
    } else {
        Err("not in 0 ..= 1".to_owned())
    }
}

/// A number that is not negative.
fn distance(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if value.is_finite() && value >= 0.0 {
        Ok(value)
    } else {
        Err("not a distance".to_owned())
    }
}
