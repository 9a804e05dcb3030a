//! The flags of every command that compares, and what they stand for.

use std::time::Duration;

use bitnet_crossval::lane::Limits;
use bitnet_crossval::verdict::Thresholds;

/// What passes whatever the reference does to itself, and how a lane is run.
#[derive(Debug, Clone, clap::Args)]
pub struct ParityArgs {
    /// Smallest cosine of a row of logits that passes in any case
    #[arg(long, value_name = "COSINE", default_value_t = Thresholds::default().cosine, value_parser = share)]
    pub cos_tol: f64,

    /// Largest mean squared error of a row, and of the mean over rows, that passes in any case
    #[arg(long, value_name = "MSE", default_value_t = Thresholds::default().mse, value_parser = distance)]
    pub mse_tol: f64,

    /// Largest Kullback-Leibler divergence of a row, in nats, that passes in any case
    #[arg(long, value_name = "NATS", default_value_t = Thresholds::default().kl, value_parser = distance)]
    pub kl_tol: f64,

    /// Smallest share of common tokens among the five best that passes in any case
    #[arg(long, value_name = "SHARE", default_value_t = Thresholds::default().topk, value_parser = share)]
    pub topk_tol: f64,

    /// Threads of a reference. Its results may depend on them; ours do not
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: u32,

    /// Seconds that a lane may take for one answer
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: u64,
}

impl ParityArgs {
    /// The thresholds.
    pub fn thresholds(&self) -> Thresholds {
        Thresholds {
            mse: self.mse_tol,
            kl: self.kl_tol,
            topk: self.topk_tol,
            cosine: self.cos_tol,
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
