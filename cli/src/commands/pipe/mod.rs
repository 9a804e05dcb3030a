//! `bitnet pipe`: NDJSON in, the same lines with their tokens out.

mod blocks;
mod line;

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};
use bitnet_accounting::{Cost, Meter, Price, TextCounter, Usage};
use bitnet_engine::tokenizers::Special;
use bitnet_process::{Watch, note};
use serde_json::{Value, json};

use self::blocks::Work;
use self::line::Fields;
use crate::accounting::{CountArgs, PriceArgs, labels};
use crate::exit;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    count: CountArgs,
    #[command(flatten)]
    prices: PriceArgs,
    /// File to read, instead of standard input
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Field with the text
    #[arg(
        long,
        value_name = "NAME",
        default_value = "text",
        allow_hyphen_values = true
    )]
    field: String,
    /// Field with the model's answer, counted as output
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    output_field: Option<String>,
    /// What to add to each line
    #[arg(long, value_enum, default_value = "tokens")]
    mode: Mode,
    /// Threads that count [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=MOST_WORKERS))]
    workers: Option<u16>,
    /// Take the rates of a batch, which is answered within a day
    #[arg(long)]
    batch: bool,
    /// Print totals to standard error at the end, as JSON
    #[arg(long)]
    summary: bool,
    /// What to do about a line that cannot be read
    #[arg(long, value_enum, default_value = "fail", value_name = "WHAT")]
    on_error: OnError,
    /// Stop before the line with which there would be more tokens than this; one worker
    #[arg(long, value_name = "N")]
    max_tokens: Option<u64>,
    /// Stop before the line with which it would cost more dollars than this; one worker
    #[arg(long, value_name = "USD", value_parser = dollars)]
    max_cost: Option<Cost>,
}

/// The most threads that count. Each has blocks of its own under way, and there is no gain beyond
/// the machine's cores.
const MOST_WORKERS: i64 = 256;

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// The number of tokens
    Tokens,
    /// The number of tokens, and what they cost
    Price,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum OnError {
    /// Report it and leave it out
    Skip,
    /// Report it and end
    Fail,
}

fn dollars(text: &str) -> Result<Cost, String> {
    Cost::parse(text)
        .ok_or_else(|| "write dollars as 2.50, with up to six digits behind the point".to_owned())
}

/// Sums over lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Totals {
    rows: u64,
    skipped: u64,
    tokens_input: u64,
    tokens_output: u64,
    /// Exact, so that it is the sum of the lines' and the order of adding makes no difference.
    cost: Cost,
}

impl Totals {
    fn with(&self, other: &Totals) -> Totals {
        Totals {
            rows: self.rows + other.rows,
            skipped: self.skipped + other.skipped,
            tokens_input: self.tokens_input.saturating_add(other.tokens_input),
            tokens_output: self.tokens_output.saturating_add(other.tokens_output),
            cost: self.cost.saturating_add(other.cost),
        }
    }
}

/// Where to stop.
#[derive(Debug, Clone, Copy, Default)]
struct Quota {
    tokens: Option<u64>,
    cost: Option<Cost>,
}

impl Quota {
    fn is_set(&self) -> bool {
        self.tokens.is_some() || self.cost.is_some()
    }

    fn allows(&self, totals: &Totals) -> bool {
        let tokens = totals.tokens_input.saturating_add(totals.tokens_output);
        self.tokens.is_none_or(|most| tokens <= most)
            && self.cost.is_none_or(|most| totals.cost <= most)
    }
}

/// What every worker knows.
struct Job {
    meter: Meter,
    special: Special,
    price: Option<Price>,
    batch: bool,
    field: String,
    output_field: Option<String>,
    on_error: OnError,
    quota: Quota,
}

/// A block of lines, done.
struct Done {
    lines: u64,
    out: Vec<u8>,
    totals: Totals,
    /// Line within the block, counted from 0, and what is wrong with it.
    problems: Vec<(u64, String)>,
    end: Option<End>,
}

/// Why no more lines are to be done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Problem,
    Quota,
}

impl Job {
    fn new(args: &Args) -> Result<Job> {
        let meter = args.count.meter()?;
        let priced = args.mode == Mode::Price || args.max_cost.is_some();
        let price = priced
            .then(|| args.prices.price(&args.count.model, meter.spec()))
            .transpose()?;
        Ok(Job {
            special: args.count.special(),
            price,
            batch: args.batch,
            field: args.field.clone(),
            output_field: args.output_field.clone(),
            on_error: args.on_error,
            quota: Quota {
                tokens: args.max_tokens,
                cost: args.max_cost,
            },
            meter,
        })
    }

    /// Does the lines of a block. `so_far` are the totals of all lines before, where there is a
    /// quota.
    fn block(&self, counter: &mut TextCounter<'_>, lines: &[u8], so_far: &mut Totals) -> Done {
        let mut done = Done {
            lines: 0,
            out: Vec::with_capacity(lines.len() + lines.len() / 4),
            totals: Totals::default(),
            problems: Vec::new(),
            end: None,
        };
        let mut members = String::new();
        for (at, line) in lines.split_inclusive(|byte| *byte == b'\n').enumerate() {
            done.lines += 1;
            let line = line::trimmed(line);
            if line.is_empty() {
                continue;
            }
            match self.line(counter, line, &mut members) {
                Ok((found, row)) => {
                    if self.quota.is_set() {
                        let with = so_far.with(&row);
                        if !self.quota.allows(&with) {
                            done.end = Some(End::Quota);
                            return done;
                        }
                        *so_far = with;
                    }
                    done.totals = done.totals.with(&row);
                    line::write(line, &found, &members, &mut done.out);
                }
                Err(problem) => {
                    done.problems.push((at as u64, problem));
                    if self.on_error == OnError::Fail {
                        done.end = Some(End::Problem);
                        return done;
                    }
                    done.totals.skipped += 1;
                }
            }
        }
        done
    }

    /// Counts a line, and spells out what is to be added to it.
    fn line<'a>(
        &self,
        counter: &mut TextCounter<'_>,
        line: &'a [u8],
        members: &mut String,
    ) -> Result<(line::Found<'a>, Totals), String> {
        let fields = Fields {
            input: &self.field,
            output: self.output_field.as_deref(),
        };
        let found = line::read(line, fields)?;
        let mut count = |text: &str| {
            let tokens = counter.count(text, self.special);
            tokens
                .map(|tokens| tokens as u64)
                .map_err(|error| error.to_string())
        };
        let mut row = Totals {
            rows: 1,
            tokens_input: count(&found.input)?,
            ..Totals::default()
        };
        members.clear();
        let _ = write!(members, r#""tokens_input":{}"#, row.tokens_input);
        if let Some(output) = &found.output {
            row.tokens_output = count(output)?;
            let _ = write!(members, r#","tokens_output":{}"#, row.tokens_output);
        }
        if let Some(price) = &self.price {
            let usage = Usage {
                input: row.tokens_input,
                output: row.tokens_output,
                batch: self.batch,
                ..Usage::default()
            };
            row.cost = price.cost(usage).map_err(|error| error.to_string())?;
            let _ = write!(members, r#","cost_usd":"{}""#, row.cost);
        }
        let accuracy = self.meter.spec().accuracy.name();
        let _ = write!(members, r#","accuracy":"{accuracy}""#);
        Ok((found, row))
    }

    fn print_summary(&self, totals: &Totals) {
        let mut value = labels(self.meter.spec());
        for (key, field) in [
            ("rows", totals.rows),
            ("skipped", totals.skipped),
            ("tokens_input", totals.tokens_input),
            ("tokens_output", totals.tokens_output),
        ] {
            value.insert(key.to_owned(), field.into());
        }
        if self.price.is_some() {
            let (cost, micros) = (totals.cost.to_string(), totals.cost.micros());
            value.insert("cost_usd".to_owned(), json!(cost));
            value.insert("cost_usd_micros".to_owned(), json!(micros));
        }
        note!("{}", Value::Object(value));
    }
}

pub(crate) fn run(args: &Args) -> Result<u8> {
    if args.output_field.as_ref() == Some(&args.field) {
        bail!("--field and --output-field are the same: {}", args.field);
    }
    let fields = args.output_field.iter().chain([&args.field]);
    for field in fields {
        if line::WRITTEN.contains(&field.as_str()) {
            bail!("the field `{field}` is one that is written, so it cannot be one that is read");
        }
    }
    let input: Box<dyn Read + Send> = match &args.file {
        Some(path) => {
            Box::new(bitnet_files::open(path).with_context(|| format!("file {}", path.display()))?)
        }
        None => Box::new(io::stdin()),
    };
    // It lives as long as the workers, which end with the program.
    let job: &'static Job = Box::leak(Box::new(Job::new(args)?));
    let workers = match job.quota.is_set() {
        // Lines must be done in order where each may be the last.
        true => 1,
        false => args.workers.map_or_else(
            || std::thread::available_parallelism().map_or(1, usize::from),
            usize::from,
        ),
    };
    let worker = move || -> Work<Done> {
        let mut counter = job.meter.counter();
        let mut so_far = Totals::default();
        Box::new(move |lines| job.block(&mut counter, lines, &mut so_far))
    };
    let (mut totals, mut lines, mut end) = (Totals::default(), 0, None);
    let mut out = io::stdout().lock();
    let watch = Watch::begin();
    let stop = || watch.code().is_some();
    let result = blocks::run(input, workers, worker, stop, |done| {
        for (at, problem) in &done.problems {
            let what = match job.on_error {
                OnError::Skip => "skipped",
                OnError::Fail => "ended here; --on-error skip goes on",
            };
            note!("line {}: {problem}; {what}", lines + at + 1);
        }
        out.write_all(&done.out)?;
        out.flush()?;
        lines += done.lines;
        totals = totals.with(&done.totals);
        end = done.end;
        Ok(end.is_none())
    });
    if args.summary {
        job.print_summary(&totals);
    }
    match (result, end) {
        (Err(error), _) => Err(anyhow!(error).context(format!("after line {lines}"))),
        (Ok(()), Some(End::Problem)) => Ok(exit::FAILURE),
        (Ok(()), Some(End::Quota)) => {
            let tokens = totals.tokens_input.saturating_add(totals.tokens_output);
            let cost = job.price.as_ref().map(|_| format!(" and ${}", totals.cost));
            let cost = cost.unwrap_or_default();
            note!(
                "line {lines}: it would exceed the quota, so it ended before it, with {tokens} tokens{cost}"
            );
            Ok(exit::QUOTA)
        }
        (Ok(()), None) => Ok(watch.code().unwrap_or(0)),
    }
}
