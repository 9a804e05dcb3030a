//! One model, one lane, our engine: the same tokens through both, and what came of it.
//!
//! The lane runs first, on its own greedy path; ours then follows that very path, so that every
//! position compares. The lane runs the path again in other ways (one token at a time, one batch,
//! flash attention): that is its distance to itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use bitnet_engine::CacheType;
use bitnet_lane_protocol::message::{
    Attention, ErrorKind, EvaluateRequest, Feed, KvType, LoadRequest, ModelInfo,
};
use serde::{Deserialize, Serialize};

use super::layers::{self, LayerDistance, LayerSpread, Part, PartFinding};
use super::metrics::{LogitsDistance, VectorDistance};
use super::ours::{Ours, OursError};
use super::prompt::Prompt;
use super::trajectory::Trajectory;
use super::transcode::{Direction, TranscodeError, transcode};
use super::verdict::{Spread, Thresholds, Verdict, distances};
use crate::digest;
use crate::lane::{Client, Lane, LaneFailure};

/// Whether a lane that cannot read a file is offered the same weights in another encoding.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Transcode {
    /// Where there is an exact counterpart.
    #[default]
    Auto,
    /// Never.
    Never,
}

/// What to compare.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    /// The model file.
    pub model: &'a Path,
    /// The prompt.
    pub prompt: &'a Prompt,
    /// Tokens to generate after it.
    pub greedy: u32,
    /// How both sides keep keys and values; without it as the reference does.
    pub cache_type: Option<CacheType>,
    /// Threads of the reference.
    pub threads: u32,
    /// What passes whatever the reference does to itself.
    pub thresholds: Thresholds,
    /// What to do about a file that the lane cannot read.
    pub transcode: Transcode,
    /// A folder for a transcoded model, which is removed afterwards.
    pub scratch: &'a Path,
}

impl Question<'_> {
    fn cache_type(&self, lane: Lane) -> CacheType {
        self.cache_type.unwrap_or(lane.cache_type())
    }
}

/// Whether the reference's tokenizer made the same tokens of the prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenCheck {
    /// It did.
    Equal,
    /// It made others.
    Differ,
    /// It has none for this file: our tokenizer is not in the model.
    NoTokenizer,
    /// There was no text: ids were given by hand.
    IdsGiven,
}

/// Who the lane was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReferenceIdentity {
    /// The reference and its version.
    pub version: String,
    /// Digest of everything that its build depended on.
    pub fingerprint: String,
    /// The instruction sets it was compiled for.
    pub system: String,
}

/// That the lane was given the same weights in another encoding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transcoded {
    /// The ternary type in the model file.
    pub from: String,
    /// The ternary type that both sides of this lane ran.
    pub to: String,
    /// Why: what the reference said about the original.
    pub because: String,
    /// SHA-256 of the file that was run.
    pub sha256: String,
}

/// What each side generated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generated {
    /// Our greedy tokens, on our own.
    pub rust: Vec<u32>,
    /// The reference's greedy tokens, on its own.
    pub cpp: Vec<u32>,
    /// The first step at which they differ.
    pub first_difference: Option<usize>,
}

impl Generated {
    /// What came of the two sides.
    pub fn new(rust: Vec<u32>, cpp: Vec<u32>) -> Self {
        let first_difference = rust.iter().zip(&cpp).position(|(rust, cpp)| rust != cpp);
        Self {
            rust,
            cpp,
            first_difference,
        }
    }
}

/// The tokens of the two sides differ.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", match position {
    Some(at) => format!("Tokenizer divergence for {lane} at position {at}: Rust token={}, C++ token={}", ours[*at], theirs[*at]),
    None => format!("Tokenizer parity mismatch for {lane}: Rust {} tokens vs C++ {} tokens", ours.len(), theirs.len()),
})]
pub struct TokenMismatch {
    /// The reference.
    pub lane: &'static str,
    /// The first position at which both have a token, but not the same one.
    pub position: Option<usize>,
    /// Our tokens.
    pub ours: Vec<u32>,
    /// The reference's.
    pub theirs: Vec<u32>,
}

/// Why a lane could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum ComparisonError {
    /// The lane failed.
    #[error(transparent)]
    Lane(#[from] LaneFailure),
    /// Our side failed.
    #[error(transparent)]
    Ours(#[from] OursError),
    /// The tokenizers differ.
    #[error(transparent)]
    Tokens(#[from] TokenMismatch),
    /// The lane cannot read the file, and not the same weights in another encoding either.
    #[error("{refusal}\nThe same weights as {as_type}: {transcoded}")]
    CannotRead {
        /// What it said about the file.
        refusal: LaneFailure,
        /// The other encoding.
        as_type: &'static str,
        /// Why that does not help.
        transcoded: String,
    },
    /// The two sides see different models.
    #[error("{lane} sees {theirs} {what} in this model, ours sees {ours}")]
    Shape {
        /// The reference.
        lane: &'static str,
        /// Of what.
        what: &'static str,
        /// How many it sees.
        theirs: usize,
        /// How many we see.
        ours: usize,
    },
    /// More positions than the model was made for.
    #[error("{need} positions (prompt and generated tokens) exceed the context of {have}")]
    Context {
        /// Positions wanted.
        need: usize,
        /// Positions there are.
        have: usize,
    },
    /// A file could not be hashed.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// Everything that was found about one lane.
#[derive(Debug)]
pub struct Comparison {
    /// Who the lane was.
    pub reference: ReferenceIdentity,
    /// Set when both sides ran the weights in another encoding.
    pub transcoded: Option<Transcoded>,
    /// What the reference's tokenizer said.
    pub token_check: TokenCheck,
    /// The reference's tokens of the prompt, where it has a tokenizer.
    pub reference_tokens: Option<Vec<u32>>,
    /// Our distance at each position.
    pub rows: Vec<LogitsDistance>,
    /// The reference's distance to itself at each position, by what was varied.
    pub own: BTreeMap<&'static str, Vec<LogitsDistance>>,
    /// The residual stream.
    pub layers: Vec<LayerDistance>,
    /// Our head on the reference's last layer, against its logits.
    pub head: LayerSpread,
    /// The first part of the model that computes something else.
    pub finding: Option<PartFinding>,
    /// What all that amounts to.
    pub verdict: Verdict,
    /// What each side generated on its own.
    pub generated: Generated,
    /// Milliseconds, by what was done.
    pub timings_ms: BTreeMap<String, f64>,
}

impl Comparison {
    /// The reference's distance to itself, by what was varied.
    pub fn own_distance(&self) -> BTreeMap<String, Spread> {
        let own = self.own.iter();
        own.map(|(varied, rows)| ((*varied).to_owned(), Spread::of(rows)))
            .collect()
    }

    /// The widest of [`Comparison::own_distance`].
    pub(crate) fn own_spread(&self) -> Spread {
        widest(&self.own)
    }

    /// The same comparison, judged by another distance of the reference to itself.
    pub(crate) fn judged(mut self, own: Spread, thresholds: Thresholds) -> Self {
        self.verdict = Verdict::of(&self.rows, own, thresholds, self.finding.as_ref());
        self
    }

    /// The first layer that computes something else.
    pub fn first_layer(&self) -> Option<usize> {
        match self.finding.as_ref()?.part {
            Part::Layer(layer) => Some(layer),
            Part::Head => None,
        }
    }
}

/// Compares our engine with a running lane. `open` makes our side of a model file.
///
/// # Errors
/// When one of the two sides has no answer, or the two were not asked the same.
pub fn compare(
    client: &mut Client,
    question: &Question<'_>,
    open: impl FnOnce(&Path, CacheType) -> Result<Ours, OursError>,
) -> Result<Comparison, ComparisonError> {
    let start = Instant::now();
    let lane = client.lane();
    let opened = Opened::new(client, question)?;
    let model = opened.path.as_deref().unwrap_or(question.model);
    let (token_check, reference_tokens) = check_tokens(client, &opened.info, question.prompt)?;

    let mut ours = open(model, question.cache_type(lane))?;
    same(
        lane,
        "tokens of vocabulary",
        opened.info.vocabulary,
        ours.vocabulary(),
    )?;
    let need = question.prompt.tokens.len() + question.greedy as usize;
    if need > ours.context() {
        let have = ours.context();
        return Err(ComparisonError::Context { need, have });
    }

    let theirs = evaluate(
        client,
        &question.prompt.tokens,
        Feed::Batch,
        question.greedy,
    )?;
    let prompt = theirs.prompt;
    let mut followed = ours.follow(&theirs.tokens, prompt)?;
    followed.layers = ours.residuals(&theirs.tokens)?;
    same(lane, "layers", theirs.layers.len(), followed.layers.len())?;
    let rows = distances(&followed, &theirs);

    let mut itself = Itself::default();
    for (varied, feed) in [
        ("one_token_at_a_time", Feed::Single),
        ("one_batch", Feed::Batch),
    ] {
        let again = evaluate(client, &theirs.tokens, feed, 0)?;
        itself.add(varied, &again, &theirs);
        itself.add_local(&mut ours, &again)?;
    }
    if client.hello().flash_attention {
        let request = load_request(lane, question, model, Attention::Flash);
        match client.load(request) {
            Ok(_) => {
                let again = evaluate(client, &theirs.tokens, Feed::Batch, 0)?;
                itself.add("flash_attention", &again, &theirs);
            }
            // Not every model has a shape that the flash kernel takes.
            Err(LaneFailure::Refused { .. }) => {}
            Err(failure) => return Err(failure.into()),
        }
    }
    client.unload()?;

    let layers = layers::compare(
        &followed.layers,
        &ours.layers_of_halves(),
        &theirs,
        &itself.layers,
        &itself.local,
    );
    let head = LayerSpread::of(&itself.head);
    let finding = layers::first_to_part(&layers, Some(&head));
    let own = widest(&itself.logits);
    let verdict = Verdict::of(&rows, own, question.thresholds, finding.as_ref());
    let rust = ours.greedy(&question.prompt.tokens, question.greedy as usize)?;
    let timings = [
        ("load_cpp", opened.info.load_ms),
        ("prefill_cpp", theirs.prefill_ms),
        ("decode_cpp", theirs.decode_ms),
        ("prefill_rust", followed.prefill_ms),
        ("decode_rust", followed.decode_ms),
        ("lane_total", start.elapsed().as_secs_f64() * 1e3),
    ];
    Ok(Comparison {
        reference: ReferenceIdentity {
            version: client.hello().reference.clone(),
            fingerprint: client.hello().fingerprint.clone(),
            system: client.hello().system.clone(),
        },
        transcoded: opened.transcoded,
        token_check,
        reference_tokens,
        rows,
        own: itself.logits,
        layers,
        head,
        finding,
        verdict,
        generated: Generated::new(rust, theirs.generated().to_vec()),
        timings_ms: timings.map(|(what, ms)| (what.to_owned(), ms)).into(),
    })
}

/// A model that the lane has opened.
struct Opened {
    info: ModelInfo,
    /// The file that both sides run, when it is not the one given. Removed when this is dropped.
    path: Option<tempfile::TempPath>,
    transcoded: Option<Transcoded>,
}

impl Opened {
    fn new(client: &mut Client, question: &Question<'_>) -> Result<Self, ComparisonError> {
        let lane = client.lane();
        let request = load_request(lane, question, question.model, Attention::Plain);
        let refusal = match client.load(request) {
            Ok(info) => {
                return Ok(Self {
                    info,
                    path: None,
                    transcoded: None,
                });
            }
            Err(failure) => failure,
        };
        let unreadable = matches!(&refusal, LaneFailure::Refused { source, .. } if source.kind == ErrorKind::CannotRead);
        if !unreadable || question.transcode == Transcode::Never {
            return Err(refusal.into());
        }
        let way = match lane {
            Lane::BitnetCpp | Lane::Transformers => Direction::ToI2s,
            Lane::LlamaCpp => Direction::ToTq2,
        };
        let cannot = |refusal, transcoded: String| ComparisonError::CannotRead {
            refusal,
            as_type: name_of(way.to()),
            transcoded,
        };
        let read = |path: &Path, source| ComparisonError::Read {
            path: path.to_owned(),
            source,
        };
        let place = tempfile::Builder::new()
            .prefix("transcoded-")
            .suffix(".gguf")
            .tempfile_in(question.scratch)
            .map_err(|source| read(question.scratch, source))?
            .into_temp_path();
        match transcode(question.model, &place, way) {
            Ok(()) => {}
            Err(TranscodeError::NothingToDo(_)) => return Err(refusal.into()),
            Err(error) => return Err(cannot(refusal, error.to_string())),
        }
        let info = match client.load(load_request(lane, question, &place, Attention::Plain)) {
            Ok(info) => info,
            Err(LaneFailure::Refused { source, .. }) => {
                // The file is ours and gone when somebody reads this.
                let path = place.display().to_string();
                let said = source.message.replace(&path, "the transcoded file");
                return Err(cannot(refusal, said));
            }
            Err(failure) => return Err(failure.into()),
        };
        let sha256 = digest::of_file(&place).map_err(|source| read(&place, source))?;
        Ok(Self {
            info,
            transcoded: Some(Transcoded {
                from: name_of(way.from()).to_owned(),
                to: name_of(way.to()).to_owned(),
                because: refusal.to_string(),
                sha256,
            }),
            path: Some(place),
        })
    }
}

fn name_of(type_id: u32) -> &'static str {
    bitnet_gguf::TensorType::name_of(type_id)
}

fn load_request(
    lane: Lane,
    question: &Question<'_>,
    path: &Path,
    attention: Attention,
) -> LoadRequest {
    let context = question.prompt.tokens.len() as u32 + question.greedy;
    LoadRequest {
        path: path.to_owned(),
        threads: question.threads,
        context,
        kv: match question.cache_type(lane) {
            CacheType::F16 => KvType::F16,
            CacheType::F32 => KvType::F32,
        },
        attention,
    }
}

/// Holds the reference's own tokens of the prompt's text against ours.
fn check_tokens(
    client: &mut Client,
    info: &ModelInfo,
    prompt: &Prompt,
) -> Result<(TokenCheck, Option<Vec<u32>>), ComparisonError> {
    let Some(text) = &prompt.text else {
        return Ok((TokenCheck::IdsGiven, None));
    };
    if !info.tokenizer {
        return Ok((TokenCheck::NoTokenizer, None));
    }
    let mut theirs = Vec::with_capacity(prompt.tokens.len());
    for request in text.requests() {
        theirs.extend(
            client
                .tokenize(request)?
                .into_iter()
                .map(i32::cast_unsigned),
        );
    }
    same_tokens(client.lane(), &prompt.tokens, &theirs)?;
    Ok((TokenCheck::Equal, Some(theirs)))
}

/// Whether two token sequences are the same, token by token.
///
/// # Errors
/// The first difference.
pub(crate) fn same_tokens(lane: Lane, ours: &[u32], theirs: &[u32]) -> Result<(), TokenMismatch> {
    if ours == theirs {
        return Ok(());
    }
    let pairs = || ours.iter().zip(theirs);
    Err(TokenMismatch {
        lane: lane.reference(),
        position: (ours.len() == theirs.len())
            .then(|| pairs().position(|(ours, theirs)| ours != theirs))
            .flatten(),
        ours: ours.to_vec(),
        theirs: theirs.to_vec(),
    })
}

fn same(lane: Lane, what: &'static str, theirs: usize, ours: usize) -> Result<(), ComparisonError> {
    if theirs == ours {
        return Ok(());
    }
    let lane = lane.reference();
    Err(ComparisonError::Shape {
        lane,
        what,
        theirs,
        ours,
    })
}

fn evaluate(
    client: &mut Client,
    tokens: &[u32],
    feed: Feed,
    greedy: u32,
) -> Result<Trajectory, LaneFailure> {
    let (evaluation, floats) = client.evaluate(EvaluateRequest {
        tokens: tokens.iter().map(|token| token.cast_signed()).collect(),
        feed,
        greedy,
        layers: true,
    })?;
    Ok(Trajectory::from_lane(tokens, &evaluation, floats))
}

/// The reference against itself, and our parts on its inputs in each of its ways.
#[derive(Default)]
struct Itself {
    logits: BTreeMap<&'static str, Vec<LogitsDistance>>,
    /// Per layer and position, the furthest of what was varied.
    layers: Vec<Vec<VectorDistance>>,
    /// Per layer and position, the nearest to ours of the ways of feeding.
    local: Vec<Vec<VectorDistance>>,
    /// The same for the head.
    head: Vec<VectorDistance>,
}

impl Itself {
    fn add(&mut self, varied: &'static str, again: &Trajectory, theirs: &Trajectory) {
        self.logits.insert(varied, distances(again, theirs));
        let pairs = again.layers.iter().zip(&theirs.layers);
        let found = pairs.map(|(a, b)| layers::rows(a, b, theirs.hidden));
        merge_all(&mut self.layers, found.collect(), |new, old| new > old);
    }

    fn add_local(&mut self, ours: &mut Ours, theirs: &Trajectory) -> Result<(), OursError> {
        let local = ours.local(theirs)?;
        let pairs = local.layers.iter().zip(&theirs.layers);
        let found = pairs.map(|(a, b)| layers::rows(a, b, theirs.hidden));
        merge_all(&mut self.local, found.collect(), |new, old| new < old);
        let head = layers::rows(&local.head, &theirs.logits, theirs.vocabulary);
        self.head = match std::mem::take(&mut self.head) {
            none if none.is_empty() => head,
            before => layers::pick(before, &head, |new, old| new < old),
        };
        Ok(())
    }
}

/// The widest of what was varied.
fn widest(own: &BTreeMap<&'static str, Vec<LogitsDistance>>) -> Spread {
    let all = own.values().map(|rows| Spread::of(rows));
    all.fold(Spread::ZERO, Spread::wider)
}

fn merge_all(
    into: &mut Vec<Vec<VectorDistance>>,
    found: Vec<Vec<VectorDistance>>,
    better: impl Fn(f64, f64) -> bool + Copy,
) {
    if into.is_empty() {
        *into = found;
        return;
    }
    for (into, found) in into.iter_mut().zip(found) {
        *into = layers::pick(std::mem::take(into), &found, better);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_tokens_pass() {
        assert!(same_tokens(Lane::BitnetCpp, &[1, 2, 3], &[1, 2, 3]).is_ok());
    }

    #[test]
    fn another_number_of_tokens_is_told_by_both_numbers() {
        let error = same_tokens(Lane::BitnetCpp, &[1, 2, 3, 4, 5], &[1, 2, 3, 4]).unwrap_err();
        let said = error.to_string();
        assert!(
            said.contains("bitnet.cpp: Rust 5 tokens vs C++ 4 tokens"),
            "{said}"
        );
    }

    #[test]
    fn another_token_is_told_by_its_position_and_both_ids() {
        let error = same_tokens(Lane::LlamaCpp, &[1, 2, 3], &[1, 2, 99]).unwrap_err();
        let said = error.to_string();
        assert!(
            said.contains("llama.cpp at position 2: Rust token=3, C++ token=99"),
            "{said}"
        );
    }
}
