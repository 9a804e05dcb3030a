//! [`Identity`]: what an answer depends on beside its request.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use bitnet_files::{Hasher, Sha256Hex};
use bitnet_gguf::Gguf;

use crate::error::Error;
use crate::model::Model;

/// The digests of logits to which the tests hold every build: they change where numerics do.
const NUMERICS: &str = include_str!("../../fixtures/golden/bits.sha256");
/// Bytes of a file that one thread hashes at a time.
const STRETCH: usize = 16 << 20;
/// Most threads that hash a file.
const THREADS: usize = 4;

/// What the logits of a model, and the tokens of a text, depend on. Where two are equal and no
/// device is named, equal tokens give equal logits, to the bit, on every machine.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// A digest of the bytes of the model's file, or of all of them. It is not the SHA-256
    /// ([`sha256`](Identity::sha256)), which takes several times as long.
    pub model: [u8; 32],
    /// The SHA-256 of the tokenizer's file; nothing where the tokenizer is the model's own.
    pub tokenizer: Option<Sha256Hex>,
    /// That of the forward pass: its operations, and how its caches are kept.
    pub graph: Sha256Hex,
    /// Of the numerics of this build: that of the digests of logits to which the tests hold it.
    pub numerics: Sha256Hex,
    /// The device, where it is no CPU.
    pub device: Option<String>,
}

impl Identity {
    /// That of a model in `file`, with the tokenizer in a file of its own if there is one. It takes
    /// reading all of them.
    pub(crate) fn of(
        model: &Model,
        file: &Gguf,
        tokenizer: Option<&Path>,
    ) -> Result<Identity, Error> {
        let tokenizer = tokenizer.map(|path| {
            bitnet_files::hash_file(path, || false).map_err(|source| Error::Tokenizer {
                path: path.to_owned(),
                source: Box::new(bitnet_tokenizers::Error::Read {
                    path: path.to_owned(),
                    source,
                }),
            })
        });
        let program = format!("{:?}", model.plan().program);
        Ok(Identity {
            model: digest(file),
            tokenizer: tokenizer.transpose()?,
            graph: Sha256Hex::of(program.as_bytes()),
            numerics: Sha256Hex::of(NUMERICS.as_bytes()),
            device: (!model.is_on_cpu()).then(|| model.device()),
        })
    }

    /// The SHA-256 of a model's file, as it is published; of all files one behind another, where
    /// there are several.
    pub fn sha256(file: &Gguf) -> Sha256Hex {
        let mut hasher = Hasher::default();
        file.files().for_each(|file| hasher.update(file));
        hasher.digest()
    }
}

/// The digest of the digests of all stretches, in their order: BLAKE3, for a model of a gigabyte
/// is hashed before anybody has waited for it.
fn digest(file: &Gguf) -> [u8; 32] {
    let stretches: Vec<&[u8]> = file.files().flat_map(|file| file.chunks(STRETCH)).collect();
    let digests = Mutex::new(vec![[0; 32]; stretches.len()]);
    let next = AtomicUsize::new(0);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads.min(THREADS).min(stretches.len()) {
            scope.spawn(|| {
                while let Some((at, stretch)) = {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    stretches.get(at).map(|stretch| (at, stretch))
                } {
                    let digest = blake3::hash(stretch).into();
                    digests.lock().unwrap_or_else(PoisonError::into_inner)[at] = digest;
                }
            });
        }
    });
    let digests = digests.into_inner().unwrap_or_else(PoisonError::into_inner);
    blake3::hash(&digests.concat()).into()
}
