//! `bitnet compat-check`: what would stop a file from running, one line each.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use bitnet_engine::gguf::Gguf;
use bitnet_engine::kernels::Format;
use bitnet_engine::kernels::format::Matrix;
use bitnet_engine::tokenizers::{self, Tokenizer};
use bitnet_engine::{CacheType, plan};

use crate::{exit, source};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// GGUF file; without it, the one that `run` would take
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The same as FILE
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    model: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<u8> {
    let path = args.file.as_deref().or(args.model.as_deref());
    let opened = source::open(path)?;
    let (problems, notes) = check(&opened.gguf);
    let mut out = io::stdout().lock();
    let mut write = |line: String| writeln!(out, "{line}").context("standard output");
    for problem in &problems {
        write(format!("problem: {problem}"))?;
    }
    for note in &notes {
        write(format!("note: {note}"))?;
    }
    if problems.is_empty() {
        write(format!("{}: runs here", opened.name()))?;
        return Ok(0);
    }
    Ok(exit::FAILURE)
}

/// What stops the file from running, and what its user should know.
fn check(gguf: &Gguf) -> (Vec<String>, Vec<String>) {
    let mut problems = Vec::new();
    let mut notes = Vec::new();
    match plan::plan(gguf, CacheType::F16) {
        Err(found) => problems.extend(found.iter().map(ToString::to_string)),
        Ok(plan) => {
            for weight in &plan.program.weights {
                if let Some(problem) =
                    invalid_code(gguf, &weight.name, weight.format, weight.rows, weight.cols)
                {
                    problems.push(problem);
                }
            }
        }
    }
    match Tokenizer::from_gguf(gguf) {
        Ok(_) => {}
        Err(tokenizers::Error::Absent) => {
            notes.push(
                "there is no tokenizer inside; `run` needs one beside the file or in --tokenizer"
                    .to_owned(),
            );
        }
        Err(error) => problems.push(format!("the tokenizer inside: {error}")),
    }
    (problems, notes)
}

/// Codes that no ternary weight has: a damaged file, or one in another build's order.
fn invalid_code(
    gguf: &Gguf,
    name: &str,
    format: Format,
    rows: usize,
    cols: usize,
) -> Option<String> {
    if !format.is_ternary() {
        return None;
    }
    let bytes = gguf
        .tensor(name)
        .and_then(|tensor| gguf.data(tensor).ok())?;
    let code = Matrix::new(format, rows, cols, bytes)
        .ok()?
        .find_invalid_code()?;
    Some(format!(
        "tensor `{name}` ({format}): row {}, column {} holds the code 3, which no ternary weight has; the file is \
         damaged or in the order of another build",
        code.row, code.col
    ))
}
