//! `xtask compare-benches`: the kernels' microbenchmarks of this commit and of another, by turns.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, ensure};
use bitnet_process::{note, say};
use serde_json::Value;

use super::verify_baselines::percent;
use crate::{Exit, workspace};

/// Flags of `xtask compare-benches`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Both commits are built and run in turn on this machine, so that what else it does strikes both. A benchmark is slower if the \
median over the rounds of its time here, as a part of its time there, is beyond the tolerance by more than these ratios differ \
among themselves. Exits with 16 if one is slower.")]
pub struct Args {
    /// The commit to compare with
    #[arg(long, value_name = "REVISION")]
    pub base: String,

    /// Benchmarks whose name contains this; without it, all
    #[arg(value_name = "FILTER")]
    pub filter: Option<String>,

    /// Runs of each side
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(3..=99))]
    pub rounds: u16,

    /// The loss in percent that fails
    #[arg(long, default_value_t = 10.0, value_name = "PERCENT", value_parser = percent)]
    pub tolerance: f64,
}

const PACKAGE: &str = "bitnet-backend-cpu";
const BENCH: &str = "kernels";
/// Seconds of warming up and of measuring that a benchmark gets in each round.
const SECONDS: [&str; 2] = ["0.1", "0.4"];

/// Median times in nanoseconds by the benchmark's name.
type Times = BTreeMap<String, f64>;

/// Build both, run them in turn, compare.
///
/// # Errors
/// The other commit cannot be checked out, one of the two does not build, or a benchmark fails.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let root = workspace::root()?;
    let folder = root.join("target/compare-benches");
    let tree = Checkout::new(&root, folder.join("base"), &args.base)?;
    let base = build(&tree.folder)?;
    let here = build(&root)?;
    let mut ratios: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for round in 1..=args.rounds {
        say!("round {round} of {}", args.rounds);
        let measure = |program: &Path| measure(program, &folder.join("times"), args);
        // Who goes first changes, in case the machine gets slower or faster within a round.
        let (before, now) = if round % 2 == 1 {
            let before = measure(&base)?;
            (before, measure(&here)?)
        } else {
            let now = measure(&here)?;
            (measure(&base)?, now)
        };
        for (name, time) in now {
            if let Some(before) = before.get(&name) {
                ratios.entry(name).or_default().push(time / before);
            }
        }
    }
    ensure!(
        !ratios.is_empty(),
        "no benchmark is in both commits{}",
        match &args.filter {
            Some(filter) => format!(" and has {filter} in its name"),
            None => String::new(),
        }
    );
    let mut slower = 0;
    for (name, ratios) in ratios {
        let change = Change::of(ratios);
        let lost = change.is_loss(args.tolerance);
        slower += usize::from(lost);
        say!(
            "{name:<56} {:+6.1} % +- {:.1} %{}",
            (change.median - 1.0) * 100.0,
            change.spread * 100.0,
            if lost { "  SLOWER" } else { "" }
        );
    }
    if slower > 0 {
        say!(
            "{slower} slower than {} by more than {} %",
            args.base,
            args.tolerance
        );
        return Ok(Exit::Slower.into());
    }
    Ok(Exit::Success.into())
}

/// How a benchmark's time changed: by a factor, known within a spread.
struct Change {
    median: f64,
    /// Twice the median distance of a round's ratio from the median.
    spread: f64,
}

impl Change {
    fn of(ratios: Vec<f64>) -> Self {
        let median = |mut values: Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let middle = median(ratios.clone());
        let distances = ratios.iter().map(|ratio| (ratio - middle).abs()).collect();
        Self {
            median: middle,
            spread: 2.0 * median(distances),
        }
    }

    fn is_loss(&self, tolerance: f64) -> bool {
        self.median - self.spread > 1.0 + tolerance / 100.0
    }
}

/// A commit in a folder of its own, which is removed in the end.
struct Checkout {
    root: PathBuf,
    folder: PathBuf,
}

impl Checkout {
    fn new(root: &Path, folder: PathBuf, revision: &str) -> anyhow::Result<Self> {
        let checkout = Self {
            root: root.to_owned(),
            folder,
        };
        // What a run left that was interrupted.
        if checkout.folder.exists() {
            checkout.remove()?;
        }
        let place = checkout.folder.as_os_str();
        git(
            root,
            ["worktree", "add", "--quiet", "--detach"].map(OsStr::new),
            [place, OsStr::new(revision)],
        )?;
        Ok(checkout)
    }

    fn remove(&self) -> anyhow::Result<()> {
        git(
            &self.root,
            ["worktree", "remove", "--force"].map(OsStr::new),
            [self.folder.as_os_str()],
        )
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            note!("warning: {error:#}");
        }
    }
}

fn git<const N: usize, const M: usize>(
    root: &Path,
    what: [&OsStr; N],
    with: [&OsStr; M],
) -> anyhow::Result<()> {
    let status = Command::new("git")
        .current_dir(root)
        .args(what)
        .args(with)
        .status()
        .context("git cannot be run")?;
    ensure!(
        status.success(),
        "git {} failed: {status}",
        what[0].display()
    );
    Ok(())
}

/// Builds the benchmarks of a commit. Returns the program.
fn build(tree: &Path) -> anyhow::Result<PathBuf> {
    say!("building {}", tree.display());
    let output = Command::new("cargo")
        .current_dir(tree)
        .args(["bench", "--locked", "--no-run", "--message-format", "json"])
        .args(["--package", PACKAGE, "--bench", BENCH])
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cargo cannot be run")?;
    ensure!(
        output.status.success(),
        "the benchmarks in {} do not build",
        tree.display()
    );
    let messages = String::from_utf8_lossy(&output.stdout);
    let program = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == BENCH)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from));
    program.with_context(|| format!("cargo built no benchmark {BENCH} in {}", tree.display()))
}

/// Runs the benchmarks once.
fn measure(program: &Path, times: &Path, args: &Args) -> anyhow::Result<Times> {
    if times.exists() {
        std::fs::remove_dir_all(times)
            .with_context(|| format!("cannot remove {}", times.display()))?;
    }
    let [warm_up, measurement] = SECONDS;
    let output = Command::new(program)
        .env("CRITERION_HOME", times)
        .args(["--bench", "--noplot"])
        .args(["--warm-up-time", warm_up, "--measurement-time", measurement])
        .args(&args.filter)
        .output()
        .with_context(|| format!("{} cannot be run", program.display()))?;
    ensure!(
        output.status.success(),
        "{} failed: {}\n{}",
        program.display(),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let mut found = Times::new();
    // Nothing is written where the filter leaves nothing.
    if times.exists() {
        collect(times, &mut found)?;
    }
    Ok(found)
}

/// Reads what Criterion wrote below `folder`.
fn collect(folder: &Path, found: &mut Times) -> anyhow::Result<()> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, found)?;
        } else if path.ends_with("new/benchmark.json") {
            let name = json(&path)?["full_id"].as_str().map(str::to_owned);
            let time =
                json(&path.with_file_name("estimates.json"))?["median"]["point_estimate"].as_f64();
            let (name, time) = name
                .zip(time)
                .with_context(|| format!("{} is of another Criterion", path.display()))?;
            found.insert(name, time);
        }
    }
    Ok(())
}

fn json(path: &Path) -> anyhow::Result<Value> {
    let text = bitnet_files::read_to_string(path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))
}

#[cfg(test)]
mod tests {
    use super::Change;

    #[test]
    fn a_loss_counts_where_the_rounds_agree_on_it() {
        assert!(Change::of(vec![1.15, 1.16, 1.14, 1.15, 1.4]).is_loss(10.0));
        assert!(!Change::of(vec![1.02, 0.99, 1.01, 1.0, 1.3]).is_loss(10.0));
        // The same median, and rounds that say anything.
        assert!(!Change::of(vec![0.8, 1.15, 1.5, 1.0, 1.3]).is_loss(10.0));
    }
}
