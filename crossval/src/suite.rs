//! The parity suite: tokenization, logits and greedy decoding of several models on both lanes, as
//! one receipt.

use std::path::{Path, PathBuf};

use bitnet_engine::Isa;
use bitnet_engine::TemplateChoice;
use bitnet_engine::gguf::Gguf;
use bitnet_engine::tokenizers::Tokenizer;
use bitnet_lane_protocol::message::ErrorKind;

use crate::compare::vocabulary;
use crate::compare::{
    Comparison, ComparisonError, Ours, Prompt, PromptError, Question, Spread, Thresholds,
    Transcode, compare,
};
use crate::digest;
use crate::lane::{Client, Home, Lane, LaneFailure, Limits};
use crate::receipt::{Status, SuiteRun};

/// Texts for models that have a tokenizer.
const TEXTS: [&str; 3] = [
    "Hello world",
    "The quick brown fox jumps over the lazy dog",
    "Once upon a time, in 1958, there were 3 trits:\n\t-1, 0 and +1.",
];

/// Tokens for models that have none; each id is taken modulo the vocabulary.
const IDS: [&[u32]; 2] = [
    &[
        1, 5, 17, 200, 33, 7, 450, 99, 12, 401, 3, 88, 256, 300, 42, 42, 42, 9, 310, 77, 128, 64,
        500, 2,
    ],
    &[7],
];

/// Tokens generated after each prompt.
const GREEDY: u32 = 10;

/// How to run a suite.
#[derive(Debug, Clone)]
pub struct Suite<'a> {
    /// Where the lanes are.
    pub home: &'a Home,
    /// How long a lane may take.
    pub limits: Limits,
    /// Threads of a reference.
    pub threads: u32,
    /// The instruction set of our side; the best there is when absent.
    pub isa: Option<Isa>,
    /// What passes in any case.
    pub thresholds: Thresholds,
    /// A folder for transcoded models.
    pub scratch: &'a Path,
}

impl Suite<'_> {
    /// Runs every model on `lane`, and calls `each` after each of them.
    ///
    /// # Errors
    /// A model file itself cannot be read; what a lane does is part of the run.
    pub fn run(
        &self,
        lane: Lane,
        models: &[PathBuf],
        mut each: impl FnMut(SuiteRun),
    ) -> Result<(), (PathBuf, PromptError)> {
        let mut client = None;
        for model in models {
            let run = self.run_model(lane, &mut client, model);
            each(run.map_err(|error| (model.clone(), error))?);
        }
        Ok(())
    }

    fn run_model(
        &self,
        lane: Lane,
        client: &mut Option<Client>,
        model: &Path,
    ) -> Result<SuiteRun, PromptError> {
        let mut run = SuiteRun {
            model: model.display().to_string(),
            model_sha256: digest::of_file(model)?,
            backend: lane.backend().to_owned(),
            reference: None,
            transcoded_to: None,
            status: Status::Pass,
            metrics: None,
            reasons: Vec::new(),
        };
        let mut compared = Vec::new();
        let mut stopped = None;
        for prompt in prompts(model)? {
            match self.ask(lane, client, model, &prompt) {
                Ok(found) => compared.push((prompt, found)),
                Err(error) => {
                    stopped = Some(error);
                    break;
                }
            }
        }
        // Whether a sum falls on the edge between two integers is a matter of luck in each text, so
        // the reference's distance to itself is that over all of them.
        let own = compared.iter().map(|(_, found)| found.own_spread());
        let own = own.fold(Spread::ZERO, Spread::wider);
        for (prompt, found) in compared {
            run.add(&prompt, found.judged(own, self.thresholds));
        }
        if let Some(error) = stopped {
            if let ComparisonError::Tokens(_) = error {
                run.set_tokens_differ();
            }
            run.status = if unreadable(&error) {
                Status::Unreadable
            } else {
                Status::Fail
            };
            run.reasons.push(error.to_string());
        }
        Ok(run)
    }

    fn ask(
        &self,
        lane: Lane,
        running: &mut Option<Client>,
        model: &Path,
        prompt: &Prompt,
    ) -> Result<Comparison, ComparisonError> {
        let mut client = match running.take() {
            Some(client) => client,
            None => self.home.start(lane, self.limits)?,
        };
        let question = Question {
            model,
            prompt,
            greedy: GREEDY,
            cache_type: None,
            threads: self.threads,
            thresholds: self.thresholds,
            transcode: Transcode::Auto,
            scratch: self.scratch,
        };
        let found = compare(&mut client, &question, |path, cache_type| {
            Ours::open(path, cache_type, self.isa)
        });
        // A lane that failed, other than by a refusal, takes no other question with it.
        if !matches!(&found, Err(ComparisonError::Lane(failure)) if !failure.is_refusal()) {
            *running = Some(client);
        }
        found
    }
}

/// Whether the reference, which works, does not know this kind of file.
fn unreadable(error: &ComparisonError) -> bool {
    match error {
        ComparisonError::CannotRead { .. } => true,
        ComparisonError::Lane(LaneFailure::Refused { source, .. }) => {
            source.kind == ErrorKind::CannotRead
        }
        // It does not say so in every case: bitnet.cpp aborts on types that it does not know.
        ComparisonError::Lane(LaneFailure::Crash { call, .. }) => *call == "load",
        _ => false,
    }
}

/// What is doubtful about a model's metadata and tokenizer, in words.
///
/// # Errors
/// The model's file cannot be read.
pub fn doubts(model: &Path) -> Result<Vec<String>, PromptError> {
    let first = prompts(model)?.into_iter().next();
    Ok(first.map_or_else(Vec::new, |prompt| prompt.doubts))
}

/// Texts as they are where the model carries a tokenizer, else ids.
fn prompts(model: &Path) -> Result<Vec<Prompt>, PromptError> {
    let gguf = Gguf::open(model)?;
    if Tokenizer::from_gguf(&gguf).is_ok() {
        return TEXTS
            .iter()
            .map(|text| Prompt::of_text(model, None, TemplateChoice::Raw, None, text))
            .collect();
    }
    let rows = vocabulary(&gguf);
    let vocabulary = u32::try_from(rows).unwrap_or(u32::MAX).max(1);
    IDS.iter()
        .map(|ids| Prompt::of_ids(model, ids.iter().map(|id| id % vocabulary).collect()))
        .collect()
}

/// The models of a folder, by name.
///
/// # Errors
/// The folder cannot be read.
pub fn models_in(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut models = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "gguf") && path.is_file() {
            models.push(path);
        }
    }
    models.sort();
    Ok(models)
}
