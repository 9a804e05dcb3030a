//! What an answer depends on beside its request, in one word.

use bitnet_engine::Engine;
use bitnet_files::{Hasher, Sha256Hex};

/// The digests of logits to which the tests hold every build: they change where numerics do.
const NUMERICS: &str = include_str!("../../fixtures/golden/bits.sha256");

/// Equal fingerprints, requests and seeds give equal tokens: it is made of the model's file, its
/// graph and how its caches are kept, the tokenizer, the template, the numerics of this build and,
/// where that is no CPU, the device.
pub(crate) fn of(engine: &Engine, template: &str) -> String {
    let mut hasher = Hasher::default();
    let program = format!("{:?}", engine.model().plan().program);
    let device = engine.model().device();
    let device = match device.starts_with("cpu") {
        true => "cpu",
        false => &device,
    };
    for part in [
        engine.file().bytes(),
        NUMERICS.as_bytes(),
        env!("CARGO_PKG_VERSION").as_bytes(),
        program.as_bytes(),
        device.as_bytes(),
        engine.tokenizer().kind().as_bytes(),
        template.as_bytes(),
    ] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    for id in 0..engine.tokenizer().vocab_size() as u32 {
        hasher.update(engine.tokenizer().token_bytes(id));
        hasher.update(&[0]);
    }
    let digest: Sha256Hex = hasher.digest();
    format!("fp_{}", &digest.to_string()[..16])
}
