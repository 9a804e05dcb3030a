//! [`Metrics`]: figures in the form of Prometheus, by the names that vLLM made usual.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bitnet_engine::scheduler::Load;

/// Upper ends of the buckets of times, in seconds.
const BUCKETS: [f64; 16] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];

#[derive(Debug, Default)]
struct Histogram {
    /// How many were in each bucket, and behind the last.
    counts: [u64; BUCKETS.len() + 1],
    sum: f64,
}

#[derive(Debug, Default)]
struct Figures {
    prompt_tokens: u64,
    generated_tokens: u64,
    prefix_queries: u64,
    prefix_hits: u64,
    ended: BTreeMap<&'static str, u64>,
    first_token: Histogram,
    next_token: Histogram,
    whole: Histogram,
}

/// What the server has done since it started.
#[derive(Debug, Default)]
pub(crate) struct Metrics(Mutex<Figures>);

impl Metrics {
    fn figures(&self) -> MutexGuard<'_, Figures> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request with a prompt of so many tokens found that some of them were read before.
    pub(crate) fn joined(&self, prompt: usize, cached: usize) {
        let mut figures = self.figures();
        figures.prefix_queries += prompt as u64;
        figures.prefix_hits += cached as u64;
    }

    /// Tokens of a prompt were read.
    pub(crate) fn read(&self, tokens: usize) {
        self.figures().prompt_tokens += tokens as u64;
    }

    /// A request's first token was chosen, so long after it came.
    pub(crate) fn first_token(&self, time: Duration) {
        let mut figures = self.figures();
        figures.generated_tokens += 1;
        figures.first_token.add(time);
    }

    /// Another token was chosen, so long after the one before.
    pub(crate) fn next_token(&self, time: Duration) {
        let mut figures = self.figures();
        figures.generated_tokens += 1;
        figures.next_token.add(time);
    }

    /// A request ended, so long after it came.
    pub(crate) fn ended(&self, reason: &'static str, time: Duration) {
        let mut figures = self.figures();
        *figures.ended.entry(reason).or_default() += 1;
        figures.whole.add(time);
    }

    /// All figures, in Prometheus's text format.
    pub(crate) fn text(&self, model: &str, load: Load) -> String {
        let figures = self.figures();
        let mut text = Exposition {
            text: String::new(),
            model: model
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n"),
        };
        let usage = match load.positions {
            0 => 0.0,
            positions => load.used as f64 / positions as f64,
        };
        let gauges = [
            (
                "num_requests_running",
                "Sequences that take part in passes.",
                load.running as f64,
            ),
            (
                "num_requests_waiting",
                "Sequences that wait for their turn.",
                load.waiting as f64,
            ),
            (
                "kv_cache_usage_perc",
                "Share of the positions of running sequences that hold a token, 0 to 1.",
                usage,
            ),
        ];
        for (name, help, value) in gauges {
            text.head(name, "gauge", help);
            text.line(name, "", value);
        }
        let counters = [
            (
                "prompt_tokens_total",
                "Tokens of prompts that were read.",
                figures.prompt_tokens,
            ),
            (
                "generation_tokens_total",
                "Tokens that were generated.",
                figures.generated_tokens,
            ),
            (
                "prefix_cache_queries_total",
                "Tokens of prompts that were looked for among what was read before.",
                figures.prefix_queries,
            ),
            (
                "prefix_cache_hits_total",
                "Tokens of prompts that were found there.",
                figures.prefix_hits,
            ),
        ];
        for (name, help, value) in counters {
            text.head(name, "counter", help);
            text.line(name, "", value as f64);
        }
        let name = "request_success_total";
        text.head(name, "counter", "Sequences that ended, by why.");
        for (reason, count) in &figures.ended {
            let label = format!(",finished_reason=\"{reason}\"");
            text.line(name, &label, *count as f64);
        }
        let histograms = [
            (
                "time_to_first_token_seconds",
                "From a request to its first token.",
                &figures.first_token,
            ),
            (
                "inter_token_latency_seconds",
                "From one token of a sequence to the next.",
                &figures.next_token,
            ),
            (
                "e2e_request_latency_seconds",
                "From a request to its end.",
                &figures.whole,
            ),
        ];
        for (name, help, histogram) in histograms {
            text.head(name, "histogram", help);
            histogram.write(name, &mut text);
        }
        text.text
    }
}

impl Histogram {
    fn add(&mut self, time: Duration) {
        let seconds = time.as_secs_f64();
        let bucket = BUCKETS.iter().position(|end| seconds <= *end);
        self.counts[bucket.unwrap_or(BUCKETS.len())] += 1;
        self.sum += seconds;
    }

    fn write(&self, name: &str, text: &mut Exposition) {
        let mut count = 0;
        let ends = BUCKETS.iter().map(f64::to_string);
        let ends = ends.chain(["+Inf".to_owned()]);
        for (end, own) in ends.zip(self.counts) {
            count += own;
            let label = format!(",le=\"{end}\"");
            text.line(&format!("{name}_bucket"), &label, count as f64);
        }
        text.line(&format!("{name}_sum"), "", self.sum);
        text.line(&format!("{name}_count"), "", count as f64);
    }
}

/// A text in Prometheus's format.
struct Exposition {
    text: String,
    model: String,
}

impl Exposition {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a text does not fail.
        let _ = writeln!(
            self.text,
            "# HELP vllm:{name} {help}\n# TYPE vllm:{name} {kind}"
        );
    }

    fn line(&mut self, name: &str, labels: &str, value: f64) {
        let model = &self.model;
        let _ = writeln!(
            self.text,
            "vllm:{name}{{model_name=\"{model}\"{labels}}} {value}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_count_what_is_at_most_as_long() {
        let metrics = Metrics::default();
        for milliseconds in [1, 2, 400_000] {
            metrics.first_token(Duration::from_millis(milliseconds));
        }
        metrics.ended("stop", Duration::from_secs(1));
        let text = metrics.text("a\"b", Load::default());
        for line in [
            r#"vllm:time_to_first_token_seconds_bucket{model_name="a\"b",le="0.001"} 1"#,
            r#"vllm:time_to_first_token_seconds_bucket{model_name="a\"b",le="300"} 2"#,
            r#"vllm:time_to_first_token_seconds_bucket{model_name="a\"b",le="+Inf"} 3"#,
            r#"vllm:time_to_first_token_seconds_count{model_name="a\"b"} 3"#,
            r#"vllm:generation_tokens_total{model_name="a\"b"} 3"#,
            r#"vllm:request_success_total{model_name="a\"b",finished_reason="stop"} 1"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
