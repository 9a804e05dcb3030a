//! Whether a lane is there, is what this repository wants, and computes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bitnet_crossval::compare::CacheType;
use bitnet_crossval::lane::{Client, Home, Lane, LaneFailure, Limits, Manifest};
use bitnet_lane_protocol::message::{Attention, EvaluateRequest, Feed, Hello, KvType, LoadRequest};

/// A lane that answers as it should.
#[derive(Debug)]
pub struct Ready {
    /// What its build said.
    pub manifest: Manifest,
    /// Its program.
    pub program: PathBuf,
    /// What it says about itself.
    pub hello: Hello,
}

/// Why a lane cannot be used as it is.
#[derive(Debug, thiserror::Error)]
pub enum Unready {
    /// Nothing is built.
    #[error("nothing is built at {}", .0.display())]
    Missing(PathBuf),
    /// Something else is built.
    #[error(
        "{reference} is out of date: it was built from {}, this repository wants {}",
        short(found),
        short(wanted)
    )]
    Stale {
        /// What is there.
        reference: String,
        /// Its fingerprint.
        found: String,
        /// The wanted one.
        wanted: String,
    },
    /// It does not work.
    #[error(transparent)]
    Broken(#[from] LaneFailure),
    /// It computes nonsense.
    #[error("{lane} lane: its logits for {} are not numbers", model.display())]
    Nonsense {
        /// The lane's name.
        lane: &'static str,
        /// What it was given.
        model: PathBuf,
    },
}

impl Unready {
    /// Whether building the program alone may not be enough: a lane that fails may have been built
    /// for another processor, and its C++ with it.
    pub(super) fn blames_the_reference(&self) -> bool {
        matches!(self, Self::Broken(_) | Self::Nonsense { .. })
    }
}

/// The part of a fingerprint that people compare.
fn short(fingerprint: &str) -> &str {
    fingerprint.get(..12).unwrap_or(fingerprint)
}

const LIMITS: Limits = Limits {
    // Python imports half a minute on a busy machine.
    hello: Duration::from_secs(120),
    call: Duration::from_secs(120),
};

/// Starts the lane and has it evaluate a few tokens of a small model of the repository.
pub(super) fn check(root: &Path, home: &Home, lane: Lane, wanted: &str) -> Result<Ready, Unready> {
    let installed = home
        .find(lane)
        .ok_or_else(|| Unready::Missing(home.folder(lane)))?;
    if installed.manifest.fingerprint != wanted {
        return Err(Unready::Stale {
            reference: installed.manifest.reference,
            found: installed.manifest.fingerprint,
            wanted: wanted.to_owned(),
        });
    }
    let mut client = home.start(lane, LIMITS)?;
    evaluate(&mut client, lane, root.join(small_model(lane)))?;
    let hello = client.hello().clone();
    Ok(Ready {
        manifest: installed.manifest,
        program: installed.program,
        hello,
    })
}

/// A model of the repository in the lane's native format.
fn small_model(lane: Lane) -> &'static str {
    match lane {
        Lane::BitnetCpp => "fixtures/golden/llama-i2_s.gguf",
        Lane::LlamaCpp => "fixtures/golden/llama-tq2_0.gguf",
        Lane::Transformers => "fixtures/golden/b158-i2_s.gguf",
    }
}

/// Finds out what the greeting does not show, such as instructions that this processor lacks.
fn evaluate(client: &mut Client, lane: Lane, model: PathBuf) -> Result<(), Unready> {
    client.load(LoadRequest {
        path: model.clone(),
        threads: 1,
        context: 512,
        kv: match lane.cache_type() {
            CacheType::F16 => KvType::F16,
            CacheType::F32 => KvType::F32,
        },
        attention: Attention::Plain,
    })?;
    let (_, floats) = client.evaluate(EvaluateRequest {
        tokens: vec![1, 2, 3],
        feed: Feed::Batch,
        greedy: 1,
        layers: false,
    })?;
    client.unload()?;
    if floats.iter().all(|value| value.is_finite()) {
        Ok(())
    } else {
        Err(Unready::Nonsense {
            lane: lane.name(),
            model,
        })
    }
}
