//! How fast a model is: prefill and decode of tokens without meaning, timed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bitnet_kernels::program::{Stretch, Work};
use bitnet_kernels::report::Traffic;
use bitnet_kernels::{Coordination, Output, Profile, Want};

use crate::error::Error;
use crate::generate_options::GenerateOptions;
use crate::model::Model;
use crate::sequence::Sequence;
use crate::session::Session;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Tokens of the prompt; 0 leaves prefill out.
    pub prompt_tokens: usize,
    /// Tokens to decode; 0 leaves decode out.
    pub gen_tokens: usize,
    /// Tokens that stand in the context before anything is measured.
    pub depth: usize,
    /// Sequences decoded side by side, each with its own cache.
    pub sequences: usize,
    /// Measurements of each.
    pub repetitions: usize,
}

impl Workload {
    /// Positions that a sequence needs.
    pub fn positions(&self) -> usize {
        self.depth
            .saturating_add(self.prompt_tokens.max(self.gen_tokens).max(1))
    }
}

/// The measurements of prefill or of decode.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Each of the repetitions.
    pub times: Vec<Duration>,
    /// What one of them did.
    pub work: Work,
    /// Bytes of weights that one of them left out, on average.
    pub skipped: u64,
    /// What all of them asked of a device with memory of its own.
    pub traffic: Option<Traffic>,
    /// How often threads have had to do with each other in all of them.
    pub coordination: Coordination,
    /// Where the time of all of them went, if that was asked for.
    pub profile: Option<Profile>,
}

impl Sample {
    /// The median of the times.
    pub fn median(&self) -> Duration {
        let mut times = self.times.clone();
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or_default()
    }

    /// Takes in the times of another sample of the same work.
    pub fn extend(&mut self, more: Sample) {
        self.times.extend(more.times);
    }

    /// Tokens per second, by the median.
    pub fn tokens_per_second(&self) -> f64 {
        self.work.tokens as f64 / self.median().as_secs_f64()
    }
}

/// What [`measure`] found.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The prompt, read in batches, and its best next token.
    pub prefill: Option<Sample>,
    /// Tokens one after another, each the best of the step before.
    pub decode: Option<Sample>,
}

/// Steps before decode is measured, in which a backend makes what it makes once.
const WARM_UP: usize = 24;

/// Token ids without meaning, from a random number generator of one line.
pub fn tokens(count: usize, vocabulary: usize) -> Vec<u32> {
    (0..count as u64)
        .map(|i| ((i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) % vocabulary as u64) as u32)
        .collect()
}

/// Measures prefill and then decode, which first runs a few steps that do not count. With
/// `profile`, notes where the time goes, on a device that tells.
///
/// # Errors
/// [`Error::Backend`] where there is no memory for the caches, or the device fails.
pub fn measure(model: &Model, workload: &Workload, profile: bool) -> Result<Measured, Error> {
    Ok(Measured {
        prefill: (workload.prompt_tokens > 0)
            .then(|| prefill(model, workload, profile))
            .transpose()?,
        decode: (workload.gen_tokens > 0)
            .then(|| decode(model, workload, profile))
            .transpose()?,
    })
}

fn prefill(model: &Model, workload: &Workload, profile: bool) -> Result<Sample, Error> {
    let mut out = Output::default();
    let mut session = at_depth(model, workload)?;
    let prompt = tokens(workload.prompt_tokens, model.config().vocabulary);
    model.with_backend(|backend| backend.set_profiling(profile));
    let before = Counters::of(model);
    let mut times = Vec::new();
    for _ in 0..workload.repetitions {
        session.truncate(workload.depth);
        let start = Instant::now();
        session.feed(&prompt, Want::Top(1), &mut out)?;
        times.push(start.elapsed());
    }
    let passes: Vec<usize> = prompt.chunks(model.batch()).map(<[u32]>::len).collect();
    Ok(Sample {
        times,
        work: work(1, workload.depth, &passes, 1),
        skipped: before.skipped_since(model, workload),
        traffic: before.traffic_since(model),
        coordination: before.coordination_since(model),
        profile: model.with_backend(|backend| backend.profile().cloned()),
    })
}

fn decode(model: &Model, workload: &Workload, profile: bool) -> Result<Sample, Error> {
    let mut out = Output::default();
    let sequences = 0..workload.sequences;
    let mut sessions = sequences
        .map(|_| at_depth(model, workload))
        .collect::<Result<Vec<Session>, Error>>()?;
    let mut run = |model: &Model, tokens_each: usize| -> Result<Duration, Error> {
        for session in &mut sessions {
            session.truncate(workload.depth);
        }
        let mut next = tokens(workload.sequences, model.config().vocabulary);
        let start = Instant::now();
        let mut left = tokens_each;
        while left > 0 {
            let mut read = 1;
            match &mut sessions[..] {
                // As an answer without chance is read.
                [session] => {
                    session.feed_greedy(next[0], left, &mut out)?;
                    read = out.top.len();
                }
                sessions => model.step(sessions, &next, Want::Top(1), &mut out)?,
            }
            for (token, best) in next.iter_mut().rev().zip(out.top.iter().rev()) {
                *token = best.id;
            }
            left -= read;
        }
        Ok(start.elapsed())
    };
    run(model, workload.gen_tokens.min(WARM_UP))?;
    model.with_backend(|backend| backend.set_profiling(profile));
    let before = Counters::of(model);
    let times = (0..workload.repetitions)
        .map(|_| run(model, workload.gen_tokens))
        .collect::<Result<Vec<Duration>, Error>>()?;
    let steps = vec![1; workload.gen_tokens];
    Ok(Sample {
        times,
        work: work(
            workload.sequences,
            workload.depth,
            &steps,
            workload.gen_tokens,
        ),
        skipped: before.skipped_since(model, workload),
        traffic: before.traffic_since(model),
        coordination: before.coordination_since(model),
        profile: model.with_backend(|backend| backend.profile().cloned()),
    })
}

/// A text that is continued as a script says, with guesses and without, in turn.
#[derive(Clone, Debug)]
pub struct Guessed {
    /// Tokens that were chosen.
    pub tokens: usize,
    /// Each of the repetitions without guesses.
    pub without: Vec<Duration>,
    /// Each with guesses.
    pub with: Vec<Duration>,
}

impl Guessed {
    /// The medians: without guesses, and with them.
    pub fn medians(&self) -> [Duration; 2] {
        [&self.without, &self.with].map(|times| {
            let mut times = times.clone();
            times.sort_unstable();
            times.get(times.len() / 2).copied().unwrap_or_default()
        })
    }
}

/// Measures what `most` guesses at a time change: behind a text of `tokens` tokens without meaning,
/// where the same follows with three tokens changed, as when a file is edited; and where as many
/// others follow, in which nothing repeats itself. The passes, the guesses and their number are
/// real; which token is chosen is not, but as the script has it.
///
/// # Errors
/// As [`measure`].
pub fn guessing(
    model: &Model,
    tokens: usize,
    most: usize,
    repetitions: usize,
) -> Result<[Guessed; 2], Error> {
    let vocabulary = model.config().vocabulary;
    let (file, other) = {
        let mut file = self::tokens(2 * tokens, vocabulary);
        let other = file.split_off(tokens);
        (file, other)
    };
    let mut edit = file.clone();
    for at in [1, 3, 5] {
        edit[at * tokens / 6] = other[at];
    }
    let script = |text: &[u32]| -> Result<Guessed, Error> {
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for _ in 0..repetitions {
            without.push(follow(model, &file, text, 0)?);
            with.push(follow(model, &file, text, most)?);
        }
        Ok(Guessed {
            tokens,
            without,
            with,
        })
    };
    Ok([script(&edit)?, script(&other)?])
}

/// How long it takes to continue `prompt` with `text`.
fn follow(model: &Model, prompt: &[u32], text: &[u32], most: usize) -> Result<Duration, Error> {
    let session = model.session(prompt.len() + text.len())?;
    let sampler = GenerateOptions::default().new_sampler()?;
    let sequence = Sequence::new(session, sampler);
    // What was measured before does not count as an earlier answer.
    let mut sequence = sequence.speculating(most, &Arc::default());
    sequence.rewrite(prompt, text.len())?;
    while !sequence.read(Want::Top(1), text.len())? {}
    let start = Instant::now();
    for (at, token) in text.iter().enumerate() {
        if at > 0 {
            sequence.read(Want::Top(1), text.len() - at)?;
        }
        sequence.push(*token);
    }
    Ok(start.elapsed())
}

/// What a backend has counted before something is measured.
struct Counters {
    skipped: u64,
    traffic: Option<Traffic>,
    coordination: Coordination,
}

impl Counters {
    fn of(model: &Model) -> Counters {
        model.with_backend(|backend| Counters {
            skipped: backend.skipped_bytes(),
            traffic: backend.traffic(),
            coordination: backend.coordination(),
        })
    }

    /// Bytes of weights that each of the repetitions has left out.
    fn skipped_since(&self, model: &Model, workload: &Workload) -> u64 {
        let after = model.with_backend(|backend| backend.skipped_bytes());
        (after - self.skipped) / workload.repetitions.max(1) as u64
    }

    /// What all repetitions have asked of the device.
    fn traffic_since(&self, model: &Model) -> Option<Traffic> {
        let after = model.with_backend(|backend| backend.traffic());
        Some(after? - self.traffic?)
    }

    /// How often threads have had to do with each other in all repetitions.
    fn coordination_since(&self, model: &Model) -> Coordination {
        model.with_backend(|backend| backend.coordination()) - self.coordination
    }
}

/// A sequence that has read as many tokens as the workload's depth.
fn at_depth(model: &Model, workload: &Workload) -> Result<Session, Error> {
    let mut session = model.session(workload.positions())?;
    let depth = tokens(workload.depth, model.config().vocabulary);
    if !depth.is_empty() {
        session.feed(&depth, Want::Nothing, &mut Output::default())?;
        // Measurements begin here again and again.
        session.checkpoint()?;
    }
    Ok(session)
}

/// Passes of so many tokens of each of `sequences` sequences, one after another from `depth` on.
/// Logits of the last token of each sequence are wanted in `selecting` of them.
fn work(sequences: usize, depth: usize, passes: &[usize], selecting: usize) -> Work {
    let mut work = Work {
        passes: passes.len() as u64,
        selecting: selecting as u64,
        selected: (selecting * sequences) as u64,
        ..Work::default()
    };
    let mut position = depth as u64;
    for tokens in passes {
        let tokens = *tokens as u64;
        work.tokens += tokens * sequences as u64;
        work.stretches.push(Stretch {
            sequences: sequences as u64,
            start: position,
            tokens,
        });
        position += tokens;
    }
    work
}

/// The CPU's model, where the system tells: its name, and the numbers behind it, for a virtual
/// machine may give no more of a name than its maker's.
pub fn cpu_name() -> Option<String> {
    name_in(&std::fs::read_to_string("/proc/cpuinfo").ok()?)
}

fn name_in(cpuinfo: &str) -> Option<String> {
    let field = |wanted: &str| {
        cpuinfo.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let value = value.trim();
            (name.trim() == wanted && !value.is_empty()).then_some(value)
        })
    };
    let numbers: Vec<String> = [
        ("cpu family", "family"),
        ("model", "model"),
        ("stepping", "stepping"),
        ("CPU implementer", "implementer"),
        ("CPU variant", "variant"),
        ("CPU part", "part"),
        ("CPU revision", "revision"),
    ]
    .into_iter()
    .filter_map(|(name, short)| Some(format!("{short} {}", field(name)?)))
    .collect();
    let numbers = numbers.join(", ");
    match field("model name") {
        Some(name) if numbers.is_empty() => Some(name.to_owned()),
        Some(name) => Some(format!("{name} ({numbers})")),
        None => (!numbers.is_empty()).then_some(numbers),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_counted_pass_by_pass() {
        // Two sequences at depth 10: a pass of 3 tokens and one of 1.
        let work = work(2, 10, &[3, 1], 1);
        assert_eq!((work.passes, work.tokens), (2, 8));
        assert_eq!((work.selecting, work.selected), (1, 2));
        assert_eq!(work.cached(None), 2 * (13 + 14));
        assert_eq!(work.seen(None), 2 * (11 + 12 + 13 + 14));
    }

    #[test]
    fn a_cpu_is_told_by_its_name_and_numbers() {
        let x86 = "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 26\nmodel\t\t: 2\nmodel name\t: AMD EPYC\n\
                   stepping\t: 1\n\nprocessor\t: 1\nmodel\t\t: 3\n";
        assert_eq!(
            name_in(x86).as_deref(),
            Some("AMD EPYC (family 26, model 2, stepping 1)")
        );
        // AArch64 kernels give no name.
        let arm = "CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x1\nCPU part\t: 0xd40\nCPU revision\t: 1\n";
        assert_eq!(
            name_in(arm).as_deref(),
            Some("implementer 0x41, variant 0x1, part 0xd40, revision 1")
        );
        assert_eq!(name_in("model name\t:\n"), None);
    }
}
