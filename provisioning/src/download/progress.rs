//! Telling a person how far a transfer is: a bar on a terminal, a line for each tenth elsewhere.

use std::io::IsTerminal as _;
use std::time::Instant;

use bitnet_process::note;
use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressStyle};

/// How much to tell, always on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Show how far transfers are.
    pub shown: bool,
    /// Also say what is asked and answered.
    pub verbose: bool,
}

impl Progress {
    /// A line for every reader.
    pub(super) fn note(self, text: &str) {
        note!("{text}");
    }

    /// A line for `--verbose`.
    pub(super) fn detail(self, text: impl FnOnce() -> String) {
        if self.verbose {
            note!("debug: {}", text());
        }
    }

    /// Follow one transfer that has `held` of `total` bytes.
    pub(super) fn follow(self, name: &str, held: u64, total: Option<u64>) -> Meter {
        let display = match total {
            _ if !self.shown => Display::Nothing,
            Some(total) if std::io::stderr().is_terminal() => Display::Bar(bar(name, held, total)),
            None if std::io::stderr().is_terminal() => Display::Bar(spinner(name, held)),
            Some(total) if total > 0 => Display::Lines {
                total,
                told: held * 10 / total,
            },
            _ => Display::Nothing,
        };
        Meter {
            name: name.to_owned(),
            display,
            held,
            start: (Instant::now(), held),
        }
    }
}

/// One transfer being followed.
pub(super) struct Meter {
    name: String,
    display: Display,
    held: u64,
    start: (Instant, u64),
}

enum Display {
    Nothing,
    Bar(ProgressBar),
    Lines { total: u64, told: u64 },
}

impl Meter {
    pub(super) fn add(&mut self, bytes: u64) {
        self.held += bytes;
        match &mut self.display {
            Display::Nothing => {}
            Display::Bar(bar) => bar.inc(bytes),
            Display::Lines { total, told } => {
                let tenths = self.held.saturating_mul(10) / *total;
                if tenths > *told {
                    *told = tenths;
                    let (since, from) = self.start;
                    let rate = (self.held - from) as f64 / since.elapsed().as_secs_f64().max(1e-3);
                    let left = std::time::Duration::from_secs_f64(
                        total.saturating_sub(self.held) as f64 / rate.max(1.0),
                    );
                    note!(
                        "{}: {:3} %, {} of {}, {}/s, {} left",
                        self.name,
                        tenths * 10,
                        HumanBytes(self.held),
                        HumanBytes(*total),
                        HumanBytes(rate as u64),
                        HumanDuration(left),
                    );
                }
            }
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Display::Bar(bar) = &self.display {
            // Left on the screen as it stands: an interrupted transfer shows where it stopped.
            bar.abandon();
            note!("");
        }
    }
}

fn bar(name: &str, held: u64, total: u64) -> ProgressBar {
    let style = ProgressStyle::with_template(
        "{msg} [{wide_bar}] {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left",
    )
    .unwrap_or_else(|_| ProgressStyle::default_bar())
    .progress_chars("=> ");
    let bar = ProgressBar::new(total)
        .with_style(style)
        .with_message(name.to_owned())
        .with_position(held);
    bar.reset_eta();
    bar
}

fn spinner(name: &str, held: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {spinner} {bytes}, {bytes_per_sec}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner());
    ProgressBar::no_length()
        .with_style(style)
        .with_message(name.to_owned())
        .with_position(held)
}
