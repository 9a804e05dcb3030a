//! `xtask bench-serve`: how fast servers of OpenAI's API are under load, in turn.

use std::process::ExitCode;

use bitnet_process::say;

use crate::Exit;
use crate::load::{Client, Load, median};

/// Flags of `xtask bench-serve`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each stream asks /v1/completions for a streamed answer at temperature 0, one after another, with prompts that have nothing in
common. Servers are measured in turn, so that a machine that slows down slows all of them. `tokens/s` counts from the first request to
the last token. `first token` is how long an answer of one token takes while all streams run, and `passes` the same in passes of
these streams.")]
pub struct Args {
    /// Where a server listens, as ADDRESS:PORT; may be given several times
    #[arg(long, value_name = "PLACE", required = true)]
    server: Vec<std::net::SocketAddr>,

    /// Streams side by side
    #[arg(
        long,
        value_name = "N",
        value_delimiter = ',',
        default_value = "1,8,16"
    )]
    streams: Vec<usize>,

    /// Tokens of each answer
    #[arg(long, value_name = "N", default_value_t = 64)]
    max_tokens: usize,

    /// Answers that each stream asks for in a row
    #[arg(long, value_name = "N", default_value_t = 2)]
    answers: usize,

    /// Letters of a prompt, which the `bytes` vocabulary of `gen-fixtures` makes as many tokens of
    #[arg(long, value_name = "N", default_value_t = 16)]
    prompt: usize,

    /// Measurements of each
    #[arg(long, value_name = "N", default_value_t = 3)]
    repetitions: usize,
}

/// Measure and tell.
///
/// # Errors
/// A server is not there, or refuses a request.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    say!(
        "{} tokens behind {} letters, {} answers of each stream, medians of {}",
        args.max_tokens,
        args.prompt,
        args.answers,
        args.repetitions
    );
    for &streams in &args.streams {
        let load = Load {
            streams,
            answers: args.answers,
            prompt: args.prompt,
            max_tokens: args.max_tokens,
        };
        let mut speeds = vec![Vec::new(); args.server.len()];
        let mut firsts = vec![Vec::new(); args.server.len()];
        for round in 0..args.repetitions {
            for (at, server) in args.server.iter().enumerate() {
                let client = Client::new(*server);
                let seed = (round * 1000 + streams) as u64;
                speeds[at].push(load.speed(&client, seed)?);
                firsts[at].extend(load.first_tokens(&client, seed + 500)?);
            }
        }
        for (server, (speeds, firsts)) in args.server.iter().zip(speeds.iter().zip(&firsts)) {
            let speed = median(speeds);
            let first = median(firsts);
            say!(
                "{server}  {streams:>2} streams  {speed:>7.1} tokens/s  first token {:>6.0} ms, {:.1} passes",
                first * 1e3,
                first * speed / streams as f64,
            );
        }
    }
    Ok(Exit::Success.into())
}
