//! `bitnet pipe` on NDJSON of prose and code: `cargo bench -p bitnet-cli --bench pipe`.
//!
//! Runs the program itself, from a file to a file, and prints the median of several runs for one
//! worker and for two, side by side. With `-- --test` a small input goes through once, and what
//! comes out is checked.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

const RUNS: usize = 5;

/// The lines of this repository's pages and sources, a few at a time as one text each, until there
/// are `bytes`.
fn input(path: &Path, bytes: usize) {
    fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                collect(&path, files);
            } else if [".md", ".rs", ".wgsl"]
                .iter()
                .any(|ending| name.ends_with(ending))
            {
                files.push(path);
            }
        }
    }
    let mut files = Vec::new();
    collect(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join(".."),
        &mut files,
    );
    files.sort();
    let mut texts = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file).expect("a text");
        let lines: Vec<&str> = text.lines().collect();
        texts.extend(lines.chunks(20).map(|lines| lines.join("\n")));
    }
    let mut out = BufWriter::new(File::create(path).expect("created"));
    let mut written = 0;
    for (id, text) in texts.iter().cycle().enumerate() {
        let line = serde_json::json!({"id": id, "text": text}).to_string();
        writeln!(out, "{line}").expect("written");
        written += line.len() + 1;
        if written >= bytes {
            break;
        }
    }
    out.flush().expect("written");
}

fn pipe(input: &Path, output: &Path, workers: &str) -> f64 {
    let start = Instant::now();
    let status = Command::new(env!("CARGO_BIN_EXE_bitnet"))
        .args([
            "pipe",
            "--workers",
            workers,
            "--summary",
            "--model",
            "gpt-4o",
        ])
        .stdin(File::open(input).expect("opens"))
        .stdout(File::create(output).expect("created"))
        .stderr(Stdio::null())
        .status()
        .expect("it runs");
    assert!(status.success());
    start.elapsed().as_secs_f64()
}

fn main() {
    let test = std::env::args().any(|argument| argument == "--test");
    let folder = tempfile::tempdir().expect("a folder");
    let (lines, out) = (folder.path().join("in"), folder.path().join("out"));
    input(&lines, if test { 1 << 20 } else { 100_000_000 });
    let bytes = std::fs::metadata(&lines).expect("there").len() as f64;
    let count = |path: &Path| {
        BufReader::new(File::open(path).expect("opens"))
            .lines()
            .count()
    };
    let mut seconds = [Vec::new(), Vec::new()];
    for _ in 0..if test { 1 } else { RUNS } {
        for (seconds, workers) in seconds.iter_mut().zip(["1", "2"]) {
            seconds.push(pipe(&lines, &out, workers));
            assert_eq!(count(&out), count(&lines));
        }
    }
    let [one, two] = seconds.map(|mut seconds| {
        seconds.sort_by(f64::total_cmp);
        bytes / 1e6 / seconds[seconds.len() / 2]
    });
    println!(
        "pipe, {:.0} MB: one worker {one:.0} MB/s, two workers {two:.0} MB/s ({:.2} times)",
        bytes / 1e6,
        two / one
    );
}
