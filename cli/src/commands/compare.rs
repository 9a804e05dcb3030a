//! `bitnet compare`: every operation of a model on a device, against the CPU.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use bitnet_engine::kernels::compare::OpDifference;
use bitnet_engine::tokenizers::{Encode, Special};
use bitnet_engine::{Comparison, Device};
use serde_json::json;

use crate::source::ModelArgs;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Tokenizer file, instead of the one that belongs to the model
    #[arg(long, value_name = "FILE", conflicts_with = "tokens")]
    tokenizer: Option<PathBuf>,
    /// Text to run
    #[arg(
        long,
        value_name = "TEXT",
        allow_hyphen_values = true,
        required_unless_present = "tokens"
    )]
    prompt: Option<String>,
    /// Token ids to run, separated by commas
    #[arg(
        long,
        value_name = "IDS",
        value_delimiter = ',',
        conflicts_with = "prompt"
    )]
    tokens: Vec<u32>,
    /// Show every operation, not only the worst of each kind
    #[arg(long, conflicts_with = "json")]
    all: bool,
    /// Print JSON, with every operation
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<u8> {
    let opened = args.model.open()?;
    let tokens = match &args.prompt {
        Some(prompt) => {
            let tokenizer = opened.tokenizer(args.tokenizer.as_deref())?;
            let options = Encode {
                bos: tokenizer.add_bos(),
                special: Special::AsText,
            };
            tokenizer.encode(prompt, options)?
        }
        None => args.tokens.clone(),
    };
    // The CPU against itself shows nothing.
    let device = match args.model.device {
        Device::Auto => Device::Gpu(None),
        named => named,
    };
    let options = args.model.options()?.device(device);
    let comparison = bitnet_engine::compare(Arc::clone(&opened.gguf), &options, &tokens)
        .with_context(|| format!("model {}", opened.name()))?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    match args.json {
        true => json(&mut out, &comparison),
        false => table(&mut out, &comparison, tokens.len(), args.all),
    }
    .and_then(|()| out.flush())
    .context("standard output")?;
    drop(out);
    match comparison.first_apart() {
        None => Ok(0),
        Some(apart) => bail!(
            "{} (operation {}{}) is the first that differs by more than roundings: {:.2e} of the largest value, \
             {:.2e} is tolerated; run up to it on the device and the rest on the CPU with \
             BITNET_GPU_UNTIL={}",
            comparison.plan.program.op_name(apart.index),
            apart.index,
            layer(&comparison, apart),
            apart.error,
            apart.tolerance(&comparison.plan.program),
            apart.index,
        ),
    }
}

fn layer(comparison: &Comparison, of: &OpDifference) -> String {
    let layer = comparison.layer(of.index);
    layer.map_or_else(String::new, |layer| format!(", layer {layer}"))
}

fn table(
    out: &mut impl Write,
    comparison: &Comparison,
    tokens: usize,
    all: bool,
) -> io::Result<()> {
    let program = &comparison.plan.program;
    writeln!(
        out,
        "{tokens} tokens on {} against {}\n\n\
         {:>4}  {:<18} {:<12} {:>9} {:>9} {:>9} {:>10} {:>10}",
        comparison.device,
        comparison.reference,
        "op",
        "name",
        "wrote",
        "values",
        "other",
        "integers",
        "error",
        "tolerated"
    )?;
    for difference in &comparison.differences {
        let same =
            |other: &&OpDifference| (other.op, other.buffer) == (difference.op, difference.buffer);
        let worst = comparison
            .differences
            .iter()
            .filter(same)
            .all(|other| (other.error, other.index) <= (difference.error, difference.index));
        if !(all || worst || !difference.is_within(program)) {
            continue;
        }
        let encoded = difference.encoding != bitnet_engine::kernels::format::Encoding::F32;
        writeln!(
            out,
            "{:>4}  {:<18} {:<12} {:>9} {:>9} {:>9} {:>10.2e} {:>10.2e}{}{}",
            difference.index,
            program.op_name(difference.index),
            difference.buffer,
            difference.values,
            difference.differing,
            if encoded {
                difference.apart.to_string()
            } else {
                String::new()
            },
            difference.error,
            difference.tolerance(program),
            layer(comparison, difference),
            if difference.is_within(program) {
                ""
            } else {
                "  DIFFERS"
            },
        )?;
    }
    let apart = comparison.first_apart().is_some();
    writeln!(
        out,
        "\n{} results of {} operations compared{}{}",
        comparison.differences.len(),
        program.ops.len(),
        if all {
            ""
        } else {
            "; shown are the worst of each kind"
        },
        if apart { "" } else { "; all within tolerance" },
    )
}

fn json(out: &mut impl Write, comparison: &Comparison) -> io::Result<()> {
    let program = &comparison.plan.program;
    let describe = |difference: &OpDifference| {
        json!({
            "index": difference.index,
            "name": program.op_name(difference.index),
            "layer": comparison.layer(difference.index),
            "buffer": difference.buffer,
            "values": difference.values,
            "differing": difference.differing,
            "integers_apart": difference.apart,
            // JSON has no infinity.
            "error": difference.error.is_finite().then_some(difference.error),
            "tolerance": difference.tolerance(program),
            "within": difference.is_within(program),
        })
    };
    let value = json!({
        "reference": comparison.reference,
        "device": comparison.device,
        "operations": comparison.differences.iter().map(describe).collect::<Vec<_>>(),
        "first_apart": comparison.first_apart().map(describe),
    });
    writeln!(out, "{value:#}")
}
