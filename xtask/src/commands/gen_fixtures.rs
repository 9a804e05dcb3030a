//! `xtask gen-fixtures`: a synthetic model as a GGUF file, with a JSON file beside it that
//! describes it.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use bitnet_files::{AtomicFile, Hasher, Sha256Hex};
use bitnet_fixtures::{Arch, Recipe, Scaling, Shape, Tokenizer};
use bitnet_kernels::Format;
use bitnet_process::say;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use serde::Serialize;

use crate::{Exit, UsageError};

/// Flags of `xtask gen-fixtures`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How large; `2b` is the exact shape of bitnet-b1.58-2B-4T, 1.2 GB with an F16 head, of any
    /// architecture but maple and qwen35. Shapes of published models: qwen3 `1.7b`, `4b` and `8b`,
    /// minicpm `1b`, hunyuan-dense `1.8b`, maple `20b-a1b`, qwen35 `0.8b` and `27b`
    #[arg(long, default_value = "tiny", value_parser = PossibleValuesParser::new(Shape::NAMES))]
    pub size: String,

    /// The architecture
    #[arg(long, default_value = "bitnet-b1.58", value_parser = one_of(&ARCHES))]
    pub arch: Arch,

    /// The format of the linears
    #[arg(long = "type", default_value = "i2_s", value_parser = one_of(&LINEARS))]
    pub linears: Format,

    /// The format of the output head
    #[arg(long, default_value = "f16", value_parser = one_of(&HEADS))]
    pub head: Format,

    /// The format of an embedding of its own; without it, the head's rows are looked up
    #[arg(long, value_parser = one_of(&HEADS))]
    pub embedding: Option<Format>,

    /// How positions are scaled: as the architecture does by itself, or by 8 (`linear`, `yarn`), or
    /// by the divisors for longer contexts, from an eighth of the context on (`longrope`, of
    /// minicpm)
    #[arg(long, default_value = "usual", value_parser = one_of(&SCALINGS))]
    pub rope_scaling: Scaling,

    /// The vocabulary: `bytes` reads and writes any text, `none` leaves ids only
    #[arg(long, default_value = "bytes", value_parser = one_of(&TOKENIZERS))]
    pub tokenizer: Tokenizer,

    /// The share of results of a gate that are not above 0, between 0.5 and 0.9, as in trained
    /// models; by chance it is a half. Of bitnet-b1.58 with ternary linears and another head
    #[arg(long, value_name = "SHARE", value_parser = gate_zeros)]
    pub gate_zeros: Option<f32>,

    /// One next token far likelier than all others, as in trained models: the one that was read, or
    /// with an embedding of its own the one before it in the vocabulary. Of such models as well
    #[arg(long)]
    pub peaked: bool,

    /// Chooses the weights; the same seed gives the same file everywhere
    #[arg(long, default_value_t = 0)]
    pub seed: u64,

    /// A file that ends in `.gguf`, or a folder for files named after their flags
    #[arg(long, value_name = "PATH", default_value = "target/fixtures")]
    pub output: PathBuf,
}

const ARCHES: [(&str, Arch); Arch::ALL.len()] = {
    let mut arches = [("", Arch::Llama); Arch::ALL.len()];
    let mut i = 0;
    while i < arches.len() {
        arches[i] = (Arch::ALL[i].name(), Arch::ALL[i]);
        i += 1;
    }
    arches
};
const LINEARS: [(&str, Format); 9] = [
    ("i2_s", Format::I2S),
    ("tq1_0", Format::TQ1_0),
    ("tq2_0", Format::TQ2_0),
    ("q1_0", Format::Q1_0),
    ("q2_0", Format::Q2_0),
    ("pq2_0", Format::PQ2_0),
    ("ptq1_0", Format::PTQ1_0),
    ("q4_0", Format::Q4_0),
    ("f16", Format::F16),
];
const HEADS: [(&str, Format); 13] = [
    ("f16", Format::F16),
    ("q8_0", Format::Q8_0),
    ("q6_k", Format::Q6K),
    ("q5_k", Format::Q5K),
    ("q4_k", Format::Q4K),
    ("q4_0", Format::Q4_0),
    ("tq1_0", Format::TQ1_0),
    ("tq2_0", Format::TQ2_0),
    ("q2_0", Format::Q2_0),
    ("q1_0", Format::Q1_0),
    ("pq2_0", Format::PQ2_0),
    ("ptq1_0", Format::PTQ1_0),
    ("bf16", Format::BF16),
];
const SCALINGS: [(&str, Scaling); 4] = [
    ("usual", Scaling::Usual),
    ("linear", Scaling::Linear),
    ("yarn", Scaling::Yarn),
    ("longrope", Scaling::LongRope),
];
const TOKENIZERS: [(&str, Tokenizer); 2] = [("bytes", Tokenizer::Bytes), ("none", Tokenizer::None)];

/// A parser of the names in a table, which gives the values beside them.
fn one_of<T: Clone + Send + Sync + 'static>(
    table: &'static [(&'static str, T)],
) -> impl clap::builder::TypedValueParser<Value = T> {
    PossibleValuesParser::new(table.iter().map(|(name, _)| *name)).try_map(|given| {
        let found = table.iter().find(|(name, _)| *name == given);
        found.map(|(_, value)| value.clone()).ok_or("not a choice")
    })
}

/// A share that a gate can be made to have.
fn gate_zeros(text: &str) -> Result<f32, String> {
    let share = text
        .parse()
        .ok()
        .filter(|share| (0.5..=0.9).contains(share));
    share.ok_or_else(|| "a share is between 0.5 and 0.9".to_owned())
}

/// The name of a value in a table that has it.
fn name_of<T: PartialEq>(table: &[(&'static str, T)], value: &T) -> &'static str {
    let found = table.iter().find(|(_, known)| known == value);
    found.map_or("", |(name, _)| name)
}

/// What stands in the JSON file.
#[derive(Debug, Serialize)]
struct Description<'a> {
    /// The GGUF file beside it.
    file: &'a str,
    size: &'a str,
    architecture: &'a str,
    #[serde(rename = "type")]
    linears: &'a str,
    head: &'a str,
    embedding: &'a str,
    rope_scaling: &'a str,
    tokenizer: &'a str,
    /// The share of a gate's results that are not above 0, where it was asked for.
    gate_zeros: Option<f32>,
    peaked: bool,
    seed: u64,
    layers: usize,
    hidden: usize,
    ffn: usize,
    heads: usize,
    kv_heads: usize,
    head_size: usize,
    /// In each layer, where there are any.
    experts: Option<usize>,
    /// One layer in so many is attention, the others are delta nets, where there are any.
    full_attention_interval: Option<usize>,
    vocabulary: usize,
    context: usize,
    rope_base: f32,
    bytes: u64,
    sha256: Sha256Hex,
}

/// Write the model and its description, each under its final name only when it is complete.
///
/// # Errors
/// The files cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    if args.rope_scaling == Scaling::LongRope && args.arch != Arch::Minicpm {
        let text = "--rope-scaling longrope: only minicpm has two sets of divisors";
        return Err(UsageError(text.to_owned()).into());
    }
    let leans = args.gate_zeros.is_some() || args.peaked;
    let looked_up = [Some(args.head), args.embedding];
    let can_lean = args.arch == Arch::BitnetB158
        && args.linears.is_ternary()
        && !looked_up.into_iter().flatten().any(Format::is_ternary);
    if leans && !can_lean {
        let text = "--gate-zeros and --peaked: of bitnet-b1.58 alone, with ternary linears and \
                    neither a ternary head nor a ternary embedding";
        return Err(UsageError(text.to_owned()).into());
    }
    let recipe = Recipe {
        arch: args.arch,
        shape: shape(args)?,
        linears: args.linears,
        head: args.head,
        embedding: args.embedding,
        scaling: args.rope_scaling,
        tokenizer: args.tokenizer,
        gate_zeros: args.gate_zeros,
        peaked: args.peaked,
        seed: args.seed,
    };
    let path = model_path(args);
    let written = write_model(&recipe, &path)?;
    let description = describe(args, &recipe.shape, &path, &written);
    write_description(&description, &path)?;
    say!(
        "{}: {:.1} MB in {:.1} s, sha256 {}",
        path.display(),
        written.bytes as f64 / 1e6,
        started.elapsed().as_secs_f64(),
        written.sha256
    );
    Ok(Exit::Success.into())
}

/// The dimensions that the flags ask for.
fn shape(args: &Args) -> Result<Shape, UsageError> {
    Shape::named(args.arch, &args.size).ok_or_else(|| {
        let known: Vec<_> = Shape::names(args.arch).collect();
        UsageError(format!(
            "--size {}: the sizes of {} are {}",
            args.size,
            args.arch.name(),
            known.join(", ")
        ))
    })
}

/// Where the model goes: `--output` if that names a GGUF file, else a file in it named after the
/// flags.
fn model_path(args: &Args) -> PathBuf {
    if args.output.extension().is_some_and(|end| end == "gguf") {
        return args.output.clone();
    }
    let mut name = format!(
        "{}-{}-{}",
        args.size,
        args.arch.name(),
        name_of(&LINEARS, &args.linears)
    );
    if args.head != Format::F16 {
        name += &format!("-head-{}", name_of(&HEADS, &args.head));
    }
    if let Some(embedding) = args.embedding {
        name += &format!("-embedding-{}", name_of(&HEADS, &embedding));
    }
    if args.rope_scaling != Scaling::Usual {
        name += &format!("-{}", name_of(&SCALINGS, &args.rope_scaling));
    }
    if args.tokenizer == Tokenizer::None {
        name += "-no-vocab";
    }
    if let Some(zeros) = args.gate_zeros {
        name += &format!("-gate-zeros-{zeros}");
    }
    if args.peaked {
        name += "-peaked";
    }
    if args.seed != 0 {
        name += &format!("-seed-{}", args.seed);
    }
    args.output.join(name + ".gguf")
}

struct Written {
    bytes: u64,
    sha256: Sha256Hex,
}

fn write_model(recipe: &Recipe, path: &Path) -> anyhow::Result<Written> {
    let failed = || format!("cannot write {}", path.display());
    let hashed = Hashed {
        file: AtomicFile::create(path).with_context(failed)?,
        hasher: Hasher::default(),
    };
    let hashed = recipe
        .write(BufWriter::with_capacity(1 << 20, hashed))
        .with_context(failed)?
        .into_inner()
        .map_err(io::IntoInnerError::into_error)
        .with_context(failed)?;
    hashed.file.commit().with_context(failed)?;
    Ok(Written {
        bytes: hashed.hasher.len(),
        sha256: hashed.hasher.digest(),
    })
}

fn describe<'a>(
    args: &'a Args,
    shape: &Shape,
    path: &'a Path,
    written: &Written,
) -> Description<'a> {
    Description {
        file: path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or(""),
        size: &args.size,
        architecture: args.arch.name(),
        linears: args.linears.name(),
        head: args.head.name(),
        embedding: args.embedding.unwrap_or(args.head).name(),
        rope_scaling: name_of(&SCALINGS, &args.rope_scaling),
        tokenizer: name_of(&TOKENIZERS, &args.tokenizer),
        gate_zeros: args.gate_zeros,
        peaked: args.peaked,
        seed: args.seed,
        layers: shape.layers,
        hidden: shape.hidden,
        ffn: shape.ffn,
        heads: shape.heads,
        kv_heads: shape.kv_heads,
        head_size: shape.head_size,
        experts: shape.experts.map(|experts| experts.count),
        full_attention_interval: shape.delta_net.map(|net| net.interval),
        vocabulary: shape.vocabulary,
        context: shape.context,
        rope_base: shape.rope_base,
        bytes: written.bytes,
        sha256: written.sha256,
    }
}

fn write_description(description: &Description<'_>, model: &Path) -> anyhow::Result<()> {
    let path = model.with_extension("gguf.json");
    let json = serde_json::to_string_pretty(description)? + "\n";
    bitnet_files::replace(&path, json.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))
}

/// A file that is hashed as it is written.
struct Hashed {
    file: AtomicFile,
    hasher: Hasher,
}

impl Write for Hashed {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let written = self.file.write(data)?;
        self.hasher.update(&data[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser as _;

    use super::*;
    use crate::commands::Command;

    fn args(line: &[&str]) -> Args {
        let line = ["xtask", "gen-fixtures"].iter().chain(line);
        match crate::Cli::parse_from(line).command {
            Command::GenFixtures(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn files_in_a_folder_are_named_after_the_flags_that_matter() {
        let path = |line: &[&str]| model_path(&args(line)).display().to_string();
        assert_eq!(path(&[]), "target/fixtures/tiny-bitnet-b1.58-i2_s.gguf");
        assert_eq!(
            path(&[
                "--arch", "llama", "--type", "tq1_0", "--head", "q6_k", "--seed", "7"
            ]),
            "target/fixtures/tiny-llama-tq1_0-head-q6_k-seed-7.gguf"
        );
        assert_eq!(
            path(&["--type", "tq2_0", "--head", "q6_k", "--embedding", "q4_k"]),
            "target/fixtures/tiny-bitnet-b1.58-tq2_0-head-q6_k-embedding-q4_k.gguf"
        );
        assert_eq!(
            path(&["--gate-zeros", "0.6", "--peaked"]),
            "target/fixtures/tiny-bitnet-b1.58-i2_s-gate-zeros-0.6-peaked.gguf"
        );
        assert_eq!(path(&["--output", "a/b.gguf"]), "a/b.gguf");
    }

    #[test]
    fn the_description_matches_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().display().to_string();
        let args = args(&["--output", &output, "--tokenizer", "none", "--seed", "3"]);
        run(&args).unwrap();
        let path = model_path(&args);
        let model = fs::read(&path).unwrap();
        let json = fs::read(path.with_extension("gguf.json")).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(json["bytes"], model.len());
        assert_eq!(json["seed"], 3);
        assert_eq!(json["type"], "I2_S");
        assert_eq!(json["sha256"], Sha256Hex::of(&model).to_string());
        let mut found: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        found.sort();
        let name = "tiny-bitnet-b1.58-i2_s-no-vocab-seed-3.gguf";
        assert_eq!(found, [name.to_owned(), format!("{name}.json")]);
    }
}
