//! What an answer depends on beside its request, in one word.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use bitnet_engine::Engine;
use bitnet_files::{Hasher, Sha256Hex};

/// The digests of logits to which the tests hold every build: they change where numerics do.
const NUMERICS: &str = include_str!("../../fixtures/golden/bits.sha256");
/// Bytes of a file that one thread hashes at a time.
const STRETCH: usize = 16 << 20;
/// Most threads that hash a file.
const THREADS: usize = 4;

/// Equal fingerprints, requests and seeds give equal tokens: it is made of the model's file, its
/// graph and how its caches are kept, the tokenizer's file where it has one of its own, the
/// template, the context, the numerics of this build and, where that is no CPU, the device.
///
/// # Errors
/// The tokenizer's file cannot be read any more.
pub(crate) fn of(engine: &Engine, context: usize, template: &str) -> io::Result<String> {
    let tokenizer = match engine.tokenizer_file() {
        Some(file) => bitnet_files::read(file)?,
        None => Vec::new(),
    };
    let mut hasher = Hasher::default();
    let program = format!("{:?}", engine.model().plan().program);
    let device = match engine.model().is_on_cpu() {
        true => "cpu".to_owned(),
        false => engine.model().device(),
    };
    let context = context.to_string();
    for part in [
        &digest(engine.file().bytes()),
        NUMERICS.as_bytes(),
        env!("CARGO_PKG_VERSION").as_bytes(),
        program.as_bytes(),
        device.as_bytes(),
        context.as_bytes(),
        &tokenizer,
        template.as_bytes(),
    ] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let digest: Sha256Hex = hasher.digest();
    Ok(format!("fp_{}", &digest.to_string()[..16]))
}

/// The digest of the digests of all stretches, in their order: BLAKE3, for a model of a gigabyte
/// is hashed before anybody has waited for it.
fn digest(bytes: &[u8]) -> [u8; 32] {
    let stretches: Vec<&[u8]> = bytes.chunks(STRETCH).collect();
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
