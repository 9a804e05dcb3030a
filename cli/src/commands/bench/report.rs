//! What was measured, as text and as JSON.

use std::io::{self, Write};
use std::time::Duration;

use bitnet_engine::kernels::report::Traffic;
use bitnet_engine::kernels::{Coordination, Cost, Limits, Screening};
use bitnet_engine::measure::{Guessed, Sample, Workload};
use serde_json::{Value, json};

/// Prefill or decode.
pub(super) struct Phase {
    pub(super) sample: Sample,
    /// What a measurement read and multiplied at least.
    pub(super) cost: Cost,
}

impl Phase {
    fn per_token(&self, amount: u64) -> f64 {
        amount as f64 / self.sample.work.tokens as f64
    }

    fn per_second(&self, amount: u64) -> f64 {
        amount as f64 / self.sample.median().as_secs_f64()
    }

    /// An amount per token, in millions of `token`, and per second, in billions of `second`, and
    /// its share of `most`.
    fn rates(
        &self,
        amount: u64,
        [token, second]: [&str; 2],
        digits: usize,
        most: Option<f64>,
    ) -> String {
        let reached = self.per_second(amount);
        let share = most.map_or_else(String::new, |most| {
            format!(", {:.0} % of the most", reached / most * 100.0)
        });
        format!(
            "{:.digits$} {token}/token, {:.digits$} {second}/s{share}",
            self.per_token(amount) / 1e6,
            reached / 1e9
        )
    }

    /// How many passes were measured.
    fn passes(&self) -> f64 {
        (self.sample.work.passes * self.sample.times.len() as u64) as f64
    }

    /// How many passes were measured, and what they asked of a device with memory of its own.
    fn traffic(&self) -> Option<(f64, Traffic)> {
        Some((self.passes(), self.sample.traffic?))
    }

    /// Barriers of a pass, and changes that threads contend for.
    fn coordination(&self) -> [f64; 2] {
        let Coordination {
            barriers,
            contended,
        } = self.sample.coordination;
        [barriers, contended].map(|count| count as f64 / self.passes())
    }

    fn json(&self, limits: Option<&Limits>) -> Value {
        let (bytes, multiply_adds) = (self.cost.bytes(), self.cost.multiply_adds());
        let [barriers, contended] = self.coordination();
        json!({
            "bytes_per_token": self.per_token(bytes),
            "multiply_adds_per_token": self.per_token(multiply_adds),
            "bytes_per_second": self.per_second(bytes),
            "multiply_adds_per_second": self.per_second(multiply_adds),
            "share_of_read_bandwidth": limits.map(|limits| self.per_second(bytes) / limits.read_bandwidth),
            "share_of_int8_peak": limits.map(|limits| self.per_second(multiply_adds) / limits.multiply_adds),
            "threads": {
                "barriers_per_pass": barriers,
                "contended_changes_per_pass": contended,
            },
            "device": self.traffic().map(|(passes, traffic)| json!({
                "dispatches_per_pass": traffic.dispatches as f64 / passes,
                "submissions_per_pass": traffic.submissions as f64 / passes,
                "uploads_per_pass": traffic.uploads as f64 / passes,
                "uploaded_bytes_per_pass": traffic.uploaded_bytes as f64 / passes,
                "downloaded_bytes_per_pass": traffic.downloaded_bytes as f64 / passes,
            })),
            "profile": self.sample.profile.as_ref().map(|profile| {
                let kinds = profile.kinds().map(|(kind, spent)| json!({
                    "step": kind,
                    "seconds": spent.time.as_secs_f64(),
                    "count": spent.count,
                }));
                kinds.collect::<Vec<_>>()
            }),
            "profile_timed_by": self.sample.profile.as_ref().map(|p| p.timing().to_string()),
        })
    }
}

/// What guesses changed, as JSON.
fn guesses(guessed: &Guessed) -> Value {
    let [without, with] = guessed.medians().map(|time| time.as_secs_f64());
    json!({
        "tokens": guessed.tokens,
        "tokens_per_second_without": guessed.tokens as f64 / without,
        "tokens_per_second": guessed.tokens as f64 / with,
        "gain": without / with,
    })
}

/// All of it.
pub(super) struct Report {
    pub(super) model: String,
    pub(super) device: String,
    pub(super) cpu: Option<String>,
    pub(super) workload: Workload,
    pub(super) load: Duration,
    pub(super) first_token: Duration,
    pub(super) peak_memory: Option<u64>,
    pub(super) file_bytes: u64,
    pub(super) prefill: Option<Phase>,
    pub(super) decode: Option<Phase>,
    /// Of a text that is repeated with changes, and of one that is not.
    pub(super) guessed: Option<[Guessed; 2]>,
    pub(super) limits: Option<Limits>,
    pub(super) screening: Option<Screening>,
    pub(super) kernels: Vec<(&'static str, u64)>,
}

impl Report {
    pub(super) fn json(&self) -> Value {
        let limits = self.limits.as_ref();
        let speed =
            |phase: &Option<Phase>| phase.as_ref().map(|phase| phase.sample.tokens_per_second());
        let detail = |phase: &Option<Phase>| phase.as_ref().map(|phase| phase.json(limits));
        json!({
            "model": self.model,
            "device": self.device,
            "cpu": self.cpu,
            "prompt_tokens": self.workload.prompt_tokens,
            "gen_tokens": self.workload.gen_tokens,
            "depth": self.workload.depth,
            "sequences": self.workload.sequences,
            "repetitions": self.workload.repetitions,
            "load_seconds": self.load.as_secs_f64(),
            "first_token_seconds": self.first_token.as_secs_f64(),
            "prefill_tokens_per_second": speed(&self.prefill),
            "decode_tokens_per_second": speed(&self.decode),
            "prefill": detail(&self.prefill),
            "decode": detail(&self.decode),
            "guesses": self.guessed.as_ref().map(|[edit, other]| json!({
                "edit": guesses(edit),
                "other_text": guesses(other),
            })),
            "read_bandwidth_bytes_per_second": limits.map(|limits| limits.read_bandwidth),
            "int8_multiply_adds_per_second": limits.map(|limits| limits.multiply_adds),
            "output_head": self.screening.map(|screening| json!({
                "screen_bytes": screening.bytes,
                "rows": screening.rows,
                "rows_in_screen": screening.ready,
                "rows_kept": screening.kept,
                "thread_seconds_to_make": screening.thread_time.as_secs_f64(),
                "tokens_searched": screening.tokens,
                "screen_bytes_read": screening.bytes_read,
                "rows_read": screening.exact_rows,
            })),
            "kernels": self.kernels.iter().map(|(name, count)| ((*name).to_owned(), json!(count)))
                .collect::<serde_json::Map<_, _>>(),
            "peak_memory_bytes": self.peak_memory,
            "file_bytes": self.file_bytes,
        })
    }

    pub(super) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        writeln!(to, "{}: {}", self.model, self.device)?;
        let mut row = |name: &str, value: String| writeln!(to, "  {name:42} {value}");
        if let Some(cpu) = &self.cpu {
            row("CPU", cpu.clone())?;
        }
        let unknown = || "not known here".to_owned();
        let bandwidth = |limits: &Limits| format!("{:.1} GB/s", limits.read_bandwidth / 1e9);
        row(
            "reads at most",
            self.limits.as_ref().map_or_else(unknown, bandwidth),
        )?;
        let peak = |limits: &Limits| format!("{:.0} G/s", limits.multiply_adds / 1e9);
        row(
            "multiply-adds of bytes at most",
            self.limits.as_ref().map_or_else(unknown, peak),
        )?;
        let prefill = format!(
            "prefill {} at depth {}",
            self.workload.prompt_tokens, self.workload.depth
        );
        let decode = format!(
            "decode {} x {} at depth {}",
            self.workload.sequences, self.workload.gen_tokens, self.workload.depth
        );
        for (name, phase) in [(prefill, &self.prefill), (decode, &self.decode)] {
            let Some(phase) = phase else {
                row(&name, "not measured".to_owned())?;
                continue;
            };
            row(
                &name,
                format!("{:.1} tokens/s", phase.sample.tokens_per_second()),
            )?;
            let bandwidth = self.limits.as_ref().map(|limits| limits.read_bandwidth);
            row(
                "  bytes read",
                phase.rates(phase.cost.bytes(), ["MB", "GB"], 1, bandwidth),
            )?;
            let peak = self.limits.as_ref().map(|limits| limits.multiply_adds);
            row(
                "  multiply-adds",
                phase.rates(phase.cost.multiply_adds(), ["M", "G"], 0, peak),
            )?;
            if let Some((passes, traffic)) = phase.traffic() {
                let each = |count: u64| count as f64 / passes;
                row(
                    "  asked of the device in a pass",
                    format!(
                        "{:.1} dispatches, {:.1} submissions, {:.1} writes of {:.0} bytes, {:.0} bytes back",
                        each(traffic.dispatches),
                        each(traffic.submissions),
                        each(traffic.uploads),
                        each(traffic.uploaded_bytes),
                        each(traffic.downloaded_bytes)
                    ),
                )?;
            }
            let [barriers, contended] = phase.coordination();
            if contended > 0.0 {
                row(
                    "  threads in a pass",
                    format!("{barriers:.1} barriers, {contended:.1} contended changes"),
                )?;
            }
            let Some(profile) = &phase.sample.profile else {
                continue;
            };
            row("  where the time goes, by", profile.timing().to_string())?;
            let mut kinds: Vec<_> = profile.kinds().collect();
            kinds.sort_by_key(|(_, spent)| std::cmp::Reverse(spent.time));
            for (kind, spent) in kinds {
                let share = spent.time.as_secs_f64() / profile.total().as_secs_f64() * 100.0;
                let each = spent.time.as_secs_f64() * 1e6 / spent.count as f64;
                row(
                    &format!("    {kind}"),
                    format!("{share:5.1} %, {each:.1} us each"),
                )?;
            }
        }
        let texts = ["repeated with three changes", "followed by other text"];
        for (text, guessed) in texts.into_iter().zip(self.guessed.iter().flatten()) {
            let [without, with] = guessed.medians().map(|time| time.as_secs_f64());
            let tokens = guessed.tokens as f64;
            row(
                &format!("{} tokens {text}", guessed.tokens),
                format!(
                    "{:.1} tokens/s with guesses, {:.1} without: {:.2} times as fast",
                    tokens / with,
                    tokens / without,
                    without / with
                ),
            )?;
        }
        if let Some(screening) = &self.screening {
            let per_token = |amount: u64| amount as f64 / screening.tokens.max(1) as f64;
            let how = match screening.kept {
                0 => "made",
                _ => "copied from a file",
            };
            row(
                "output head",
                format!(
                    "{:.0} MB of screen {how} in {:.0} ms of a thread; \
                     {:.0} MB of it and {:.0} of {} rows read per token",
                    screening.bytes as f64 / 1e6,
                    screening.thread_time.as_secs_f64() * 1e3,
                    per_token(screening.bytes_read) / 1e6,
                    per_token(screening.exact_rows),
                    screening.rows
                ),
            )?;
        }
        row("load", format!("{:.1} ms", self.load.as_secs_f64() * 1e3))?;
        row(
            "load and first token of a 1-token prompt",
            format!("{:.1} ms", self.first_token.as_secs_f64() * 1e3),
        )?;
        let memory = |bytes: u64| {
            format!(
                "{:.1} MB for a file of {:.1} MB",
                bytes as f64 / 1e6,
                self.file_bytes as f64 / 1e6
            )
        };
        row("peak memory", self.peak_memory.map_or_else(unknown, memory))
    }
}
