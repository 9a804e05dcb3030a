//! `bitnet compat-check`: what would stop a file from running, one line each.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use bitnet_engine::gguf::{Gguf, Printed, Shown};
use bitnet_engine::kernels::format::Matrix;
use bitnet_engine::kernels::program::WeightDesc;
use bitnet_engine::metadata::{self, KeyAccount};
use bitnet_engine::tokenizers::Tokenizer;
use bitnet_engine::tokenizers::discovery::TokenizerNotFound;
use bitnet_engine::{
    Config, Device, Encoder, Error, LoadOptions, Model, TemplateChoice, check_vocabulary,
};

use crate::source::Opened;
use crate::{environment, exit, source};

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
    let report = Report::of(&opened)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    report.write(&mut out).context("standard output")?;
    let runs = report.problems.is_empty();
    if runs {
        writeln!(out, "{}: runs here", opened.name()).context("standard output")?;
    }
    out.flush().context("standard output")?;
    Ok(if runs { 0 } else { exit::FAILURE })
}

/// What there is to say about a file.
#[derive(Default)]
struct Report {
    /// What stops it from running.
    problems: Vec<String>,
    /// What is doubtful.
    warnings: Vec<String>,
    /// What its user should know.
    notes: Vec<String>,
    /// What becomes of its metadata.
    keys: Vec<KeyAccount>,
}

impl Report {
    fn of(opened: &Opened) -> Result<Report> {
        let mut report = Report {
            keys: metadata::account(&opened.gguf),
            warnings: metadata::doubts(&opened.gguf),
            ..Report::default()
        };
        let vocabulary = report.model(&opened.gguf);
        report.tokenizer(opened, vocabulary);
        if environment::strict()? {
            report.problems.append(&mut report.warnings);
        }
        Ok(report)
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let kinds = [
            ("problem", &self.problems),
            ("warning", &self.warnings),
            ("note", &self.notes),
        ];
        for (kind, lines) in kinds {
            for line in lines {
                writeln!(out, "{kind}: {}", Printed(&line.replace('\n', "\\n")))?;
            }
        }
        for KeyAccount { key, fate } in &self.keys {
            write!(out, "key `{}`: {}", Shown(key), fate.name())?;
            match fate.why() {
                Some(why) => writeln!(out, ", {why}")?,
                None => writeln!(out)?,
            }
        }
        Ok(())
    }

    /// Loads the model as `run` does, and reads what `run` trusts. Returns the size of its
    /// vocabulary.
    fn model(&mut self, gguf: &Arc<Gguf>) -> Option<usize> {
        let options = LoadOptions::default().device(Device::Cpu);
        let model = match Model::load(Arc::clone(gguf), &options) {
            Ok(model) => model,
            Err(Error::Incompatible { problems }) => {
                self.problems
                    .extend(problems.iter().map(ToString::to_string));
                return Config::read(gguf).ok().map(|config| config.vocabulary);
            }
            Err(error) => {
                self.problems.push(chain(&error));
                return None;
            }
        };
        self.notes.extend(model.plan().left_aside.iter().cloned());
        let weights = &model.plan().program.weights;
        self.problems
            .extend(weights.iter().filter_map(|weight| damage(gguf, weight)));
        let context = model.config().context;
        if let Err(error) = model.session(context) {
            self.notes.push(format!(
                "the whole context of {context} tokens does not fit ({error}): `run` takes what it \
                 needs, but a chat takes all of it"
            ));
        }
        Some(model.config().vocabulary)
    }

    /// Finds the tokenizer and the template as `run` and `chat` do.
    fn tokenizer(&mut self, opened: &Opened, vocabulary: Option<usize>) {
        let source = match opened.find_tokenizer(None) {
            Ok(source) => source,
            Err(TokenizerNotFound::Anywhere(_)) => {
                self.notes.push(
                    "there is no tokenizer inside; `run` needs one beside the file or in \
                     --tokenizer"
                        .to_owned(),
                );
                return;
            }
            Err(error) => return self.problems.push(chain(&error)),
        };
        let tokenizer = match source.load(&opened.gguf) {
            Ok(tokenizer) => tokenizer,
            Err(error) => {
                let place = source
                    .path()
                    .map_or("the tokenizer inside".to_owned(), |path| {
                        format!("tokenizer {}", path.display())
                    });
                return self.problems.push(format!("{place}: {}", chain(&error)));
            }
        };
        let doubts = tokenizer.warnings().iter().map(ToString::to_string);
        self.warnings.extend(doubts);
        if let Some(Err(error)) = vocabulary.map(|rows| check_vocabulary(&tokenizer, rows)) {
            self.problems.push(chain(&error));
        }
        self.template(opened, tokenizer);
    }

    fn template(&mut self, opened: &Opened, tokenizer: Tokenizer) {
        let path = opened.path().map(ToOwned::to_owned);
        let encoder = Encoder::new(Arc::new(tokenizer), Arc::clone(&opened.gguf), path);
        match encoder.template(&TemplateChoice::Auto, false) {
            Ok(_) => {}
            Err(error @ Error::NoTemplate(_)) => {
                let why = chain(&error);
                self.notes
                    .push(format!("{why}; `chat` needs --prompt-template"));
            }
            Err(error) => {
                let why = chain(&error);
                self.warnings
                    .push(format!("{why}; `chat` needs --prompt-template"));
            }
        }
    }
}

/// An error with its causes, in a line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// What no weight of a sound file is: a code that its format does not define, or no number.
fn damage(gguf: &Gguf, weight: &WeightDesc) -> Option<String> {
    let WeightDesc {
        name,
        format,
        rows,
        cols,
    } = weight;
    let shown = Shown(name);
    let unread = |why: &dyn Display| Some(format!("tensor `{shown}` ({format}): {why}"));
    let Some(tensor) = gguf.tensor(name) else {
        return unread(&"it is missing");
    };
    let bytes = match gguf.data(tensor) {
        Ok(bytes) => bytes,
        Err(error) => return unread(&error),
    };
    // The matrices of experts are one, the rows of one expert after those of another.
    let matrix = match Matrix::new(*format, *rows, *cols, bytes) {
        Ok(matrix) => matrix,
        Err(error) => return unread(&error),
    };
    if let Some(code) = matrix.find_invalid_code() {
        return Some(format!(
            "tensor `{shown}` ({format}): row {}, column {} holds the code 3, which no ternary \
             weight has; the file is damaged or in the order of another build",
            code.row, code.col
        ));
    }
    let mut values = vec![0.0; *cols];
    for row in 0..*rows {
        matrix.dequantize_row(row, &mut values);
        if let Some(col) = values.iter().position(|value| !value.is_finite()) {
            return Some(format!(
                "tensor `{shown}` ({format}): row {row}, column {col} is {}, no number; a scale or \
                 a value is damaged",
                values[col]
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bitnet_engine::{CacheType, plan};

    use super::*;

    /// A model in which each of these tensors ends with a row of bytes that no sound file has:
    /// codes without a meaning, and scales and values that are NaN.
    fn damaged(sound: &Gguf, content: &[u8], names: &[&str]) -> Arc<Gguf> {
        let mut content = content.to_vec();
        for name in names {
            let tensor = sound.tensor(name).unwrap();
            let range = tensor.range().unwrap();
            let rows = tensor.elements() / tensor.shape[0];
            let row = range.len() / rows as usize;
            content[range.end - row..range.end].fill(0xff);
        }
        Arc::new(Gguf::from_bytes(content).unwrap())
    }

    fn problems(gguf: &Arc<Gguf>) -> Vec<String> {
        let mut report = Report::default();
        report.model(gguf);
        report.problems
    }

    #[test]
    fn every_tensor_that_is_read_is_looked_at_to_its_end_whatever_its_shape() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let golden = std::fs::read_dir(root.join("fixtures/golden")).unwrap();
        let golden = golden.map(|entry| entry.unwrap().path());
        let models = golden.filter(|path| path.extension().is_some_and(|end| end == "gguf"));
        let mut shapes = [0; 5];
        for path in models.chain([root.join("demo/demo.gguf")]) {
            let content = std::fs::read(&path).unwrap();
            let sound = Arc::new(Gguf::from_bytes(content.clone()).unwrap());
            assert_eq!(problems(&sound), [""; 0], "{}", path.display());
            let plan = plan::plan(&sound, CacheType::F16).unwrap();
            let drafts = plan.config.layers..plan.config.layers + plan.config.draft_blocks;
            let aside = |name: &str| {
                let of = |block: usize| name.starts_with(&format!("blk.{block}."));
                drafts.clone().any(of)
            };
            let read = sound.tensors().iter().filter(|tensor| !aside(&tensor.name));
            let weights = &plan.program.weights;
            let (kept, small): (Vec<_>, Vec<_>) = read
                .inspect(|tensor| shapes[tensor.shape.len()] += 1)
                .map(|tensor| tensor.name.as_str())
                .partition(|name| weights.iter().any(|weight| weight.name == *name));
            // Those that become part of the program stop the plan, one at a time.
            for names in small.chunks(1).chain([&kept[..]]) {
                let found = problems(&damaged(&sound, &content, names));
                for name in names {
                    let named = found
                        .iter()
                        .filter(|line| line.contains(&format!("`{name}`")));
                    assert_eq!(named.count(), 1, "{}: {name}: {found:?}", path.display());
                }
            }
        }
        assert!(shapes[1..=3].iter().all(|tried| *tried > 0), "{shapes:?}");
    }
}
