//! `bitnet serve`: an HTTP server for one model.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bitnet_engine::{GenerateOptions, TemplateChoice};
use bitnet_process::{Watch, note};
use bitnet_server::{Keys, ServerOptions, listen};

use crate::generation::{Guesses, tell};
use crate::source::{ModelArgs, ScreenArgs, name};
use crate::warnings;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Tokenizer file; without it: inside the model, beside it, in the folder above
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Address to listen at; 0.0.0.0 and [::] are all of this machine
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), value_name = "ADDRESS", value_parser = address)]
    host: IpAddr,
    /// Port to listen at; 0 for any that is free
    #[arg(long, default_value_t = 8080, value_name = "PORT")]
    port: u16,
    /// A name of the model, instead of its file's without `.gguf`; may be given several times
    #[arg(long, value_name = "NAME")]
    alias: Vec<String>,
    /// Most sequences that are continued at once
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    parallel: u16,
    /// Most sequences that wait; what comes beyond is refused with 429
    #[arg(long, default_value_t = 64, value_name = "N")]
    queue: u16,
    /// Most tokens of a sequence, prompt and answer together [default: the model's positions]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    context: Option<u32>,
    /// Most tokens of prompts that are read in a pass which also continues answers
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    chunk: u32,
    /// MiB of what is kept of answers, for requests that begin alike; 0 keeps nothing
    #[arg(long, default_value_t = 512, value_name = "MIB")]
    cache_ram: u32,
    /// Folder for what is no longer kept in memory and what is kept at the end, for requests that
    /// begin alike, after a start or on another machine
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,
    /// Most MiB of files in --cache-dir; those that were used least recently go first
    #[arg(
        long,
        default_value_t = 4096,
        value_name = "MIB",
        requires = "cache_dir"
    )]
    cache_disk: u32,
    #[command(flatten)]
    screens: ScreenArgs,
    /// Guess up to N tokens of each answer at a time from its text and earlier answers, while at
    /// most four are continued; `off` guesses nothing
    #[arg(long, value_name = "N|off", default_value_t = Guesses(GenerateOptions::SPECULATE))]
    speculate: Guesses,
    /// File with keys, one in each line; every request needs one
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Listen where other machines can reach it without a key
    #[arg(long)]
    allow_anyone: bool,
    /// How conversations are put to the model, as for `run`
    #[arg(long, value_name = "TEMPLATE", default_value = "auto", value_parser = TemplateChoice::of_argument)]
    prompt_template: TemplateChoice,
    /// Seconds that a client may send no request, or take nothing of an answer
    #[arg(long, default_value_t = 30, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    client_timeout: u32,
    /// Seconds that answers may go on once a signal has come
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    drain: u32,
    /// No page for browsers at `/`
    #[arg(long)]
    no_page: bool,
    /// Write nothing about requests
    #[arg(long)]
    quiet: bool,
}

pub(crate) fn run(args: Args) -> Result<u8> {
    let keys = args.api_key_file.as_deref().map(keys).transpose()?;
    let watch = Watch::begin();
    let source = args.model.source()?;
    let names = match args.alias.is_empty() {
        true => vec![plain(&name(&source))],
        false => args.alias,
    };
    let model = names.join(", ");
    let mut options = ServerOptions::new(SocketAddr::new(args.host, args.port), names)
        .parallel(args.parallel.into())
        .queue(args.queue.into())
        .chunk(args.chunk as usize)
        .cache((args.cache_ram as usize) << 20)
        .speculate(args.speculate.0)
        .open_to_all(args.allow_anyone)
        .template(args.prompt_template.clone())
        .client_time(Duration::from_secs(args.client_timeout.into()))
        .page(!args.no_page)
        .drain(Duration::from_secs(args.drain.into()));
    if let Some(tokens) = args.context {
        options = options.context(tokens as usize);
    }
    if let Some(folder) = args.cache_dir {
        ensure!(
            args.cache_ram > 0,
            "--cache-dir takes what --cache-ram has no room for any more, and that is 0; \
             give it some, or leave --cache-dir out"
        );
        options = options.cache_folder(folder, u64::from(args.cache_disk) << 20);
    }
    if let Some(keys) = keys {
        options = options.keys(keys);
    }
    if !args.quiet {
        let log = tracing_subscriber::fmt().json().flatten_event(true);
        let log = log.with_target(false).with_writer(io::stderr).finish();
        // It is the first of this process.
        tracing::subscriber::set_global_default(log).context("the log of requests")?;
    }
    let listening = listen(options, watch.interrupt())?;
    let (engine, _) =
        args.model
            .engine_of(&source, args.tokenizer.as_deref(), args.screens.cache())?;
    if let Ok(template) = engine.template(&args.prompt_template) {
        tell(&engine, &template, args.quiet)?;
    }
    warnings::of_context(args.context, engine.context())?;
    listening.open(engine)?;
    note!("{model} listens at http://{}", listening.address());
    listening.run()?;
    Ok(0)
}

fn address(text: &str) -> Result<IpAddr, String> {
    match text {
        "localhost" => Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        _ => text.parse().map_err(|_| {
            "it is an address of this machine, such as 127.0.0.1, or localhost".to_owned()
        }),
    }
}

/// The name of a model's file without its folder, which is nobody's business, and its ending.
fn plain(name: &str) -> String {
    let file = Path::new(name).file_name().unwrap_or(name.as_ref());
    let file = file.to_string_lossy();
    file.strip_suffix(".gguf").unwrap_or(&file).to_owned()
}

fn keys(path: &Path) -> Result<Keys> {
    let named = || format!("key file {}", path.display());
    let text = bitnet_files::read_to_string(path).with_context(named)?;
    Keys::parse(&text)
        .map_err(anyhow::Error::msg)
        .with_context(named)
}
