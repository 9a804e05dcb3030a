//! The flags that every command with a download has.

use std::time::Duration;

use bitnet_process::Watch;
use bitnet_provisioning::download::{
    DEFAULT_BASE_URL, Downloader, HubFileError, Origin, Progress, RetryPolicy,
};

use crate::environment;

/// How to behave towards the network and the terminal.
#[derive(Debug, clap::Args)]
pub struct TransferArgs {
    /// A mirror of the hub, or a folder on this machine that holds the files
    #[arg(long, value_name = "URL_OR_DIR", env = "HF_ENDPOINT", hide_env_values = true, default_value = DEFAULT_BASE_URL, value_parser = origin)]
    pub base_url: Origin,

    /// Tries after the first that may fail in a row
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub retries: u32,

    /// Pause before the first retry, in seconds; doubles with each further one
    #[arg(long, value_name = "SECONDS", default_value = "0.2", value_parser = seconds)]
    pub backoff: Duration,

    /// Longest silence from the server before the connection counts as lost, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub stall_timeout: Duration,

    /// Longest Retry-After of the server that is waited for, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = seconds)]
    pub max_wait: Duration,

    /// Hide the progress bar (or, where there is no terminal, the line for each 10 %)
    #[arg(long)]
    pub no_progress: bool,

    /// Also print what is asked and answered
    #[arg(short, long)]
    pub verbose: bool,
}

impl TransferArgs {
    /// A downloader with this behaviour, stopped by the signals that `watch` waits for.
    pub fn downloader(&self, watch: &Watch) -> Downloader {
        Downloader {
            retry: RetryPolicy {
                retries: self.retries,
                backoff: self.backoff,
                stall: self.stall_timeout,
                max_wait: self.max_wait,
            },
            proxies: environment::proxies(),
            interrupt: watch.interrupt().clone(),
            progress: Progress {
                shown: !self.no_progress,
                verbose: self.verbose,
            },
        }
    }
}

/// An empty variable is an unset one.
fn origin(text: &str) -> Result<Origin, HubFileError> {
    if text.is_empty() {
        DEFAULT_BASE_URL
    } else {
        text
    }
    .parse()
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "expected a number of seconds, such as 2.5".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
