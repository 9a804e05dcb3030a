//! `bitnet devices`: what models can run on.

use std::io::{self, Write};

use anyhow::{Context, Result};
use bitnet_engine::cpu::Isa;
use bitnet_process::note;
use serde_json::{Value, json};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<u8> {
    let isas: Vec<&str> = Isa::available().into_iter().map(Isa::name).collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let gpus = gpus();
    let mut out = io::stdout().lock();
    if args.json {
        let value = json!({
            "cpu": { "instruction_sets": isas, "threads": threads },
            "gpu_support": cfg!(feature = "gpu"),
            "gpus": gpus,
        });
        writeln!(out, "{value:#}").context("standard output")?;
        return Ok(0);
    }
    writeln!(
        out,
        "cpu      {threads} threads; instruction sets: {}",
        isas.join(", ")
    )
    .context("standard output")?;
    for gpu in &gpus {
        let text = |key: &str| gpu[key].as_str().unwrap_or_default();
        let auto = if gpu["auto"] == true {
            "auto takes it"
        } else {
            "auto leaves it"
        };
        writeln!(
            out,
            "gpu:{}    {} ({}, {}); driver {}; bindings up to {} MiB, buffers up to {} MiB; {}; {auto}",
            gpu["index"],
            text("name"),
            text("backend"),
            text("type"),
            text("driver"),
            gpu["max_binding_bytes"].as_u64().unwrap_or(0) >> 20,
            gpu["max_buffer_bytes"].as_u64().unwrap_or(0) >> 20,
            gpu["features"].as_array().map(|all| names(all)).unwrap_or_default(),
        )
        .context("standard output")?;
    }
    if !cfg!(feature = "gpu") {
        note!("GPUs are not looked for: this program was built without --features gpu");
    } else if gpus.is_empty() {
        note!("no GPU was found; on Linux a Vulkan driver and libvulkan1 are needed");
    }
    Ok(0)
}

fn names(features: &[Value]) -> String {
    let names: Vec<&str> = features.iter().filter_map(Value::as_str).collect();
    if names.is_empty() {
        "no optional features".to_owned()
    } else {
        format!("features: {}", names.join(", "))
    }
}

#[cfg(feature = "gpu")]
fn gpus() -> Vec<Value> {
    let describe = |gpu: bitnet_engine::device::AdapterReport| {
        json!({
            "index": gpu.index,
            "name": gpu.name,
            "backend": gpu.backend,
            "type": gpu.kind,
            "driver": gpu.driver,
            "max_binding_bytes": gpu.max_binding_bytes,
            "max_buffer_bytes": gpu.max_buffer_bytes,
            "features": gpu.features,
            "auto": gpu.auto,
        })
    };
    bitnet_engine::device::gpus()
        .into_iter()
        .map(describe)
        .collect()
}

#[cfg(not(feature = "gpu"))]
fn gpus() -> Vec<Value> {
    Vec::new()
}
