//! What an answer depends on beside its request, in one word.

use bitnet_engine::Identity;
use bitnet_files::Hasher;

/// Equal fingerprints, requests and seeds give equal tokens: it is made of the identity of the
/// engine, the version of the program, the context and the template.
pub(crate) fn of(identity: &Identity, context: usize, template: &str) -> String {
    let mut hasher = Hasher::default();
    let identity = format!("{identity:?}");
    let context = context.to_string();
    for part in [&identity, env!("CARGO_PKG_VERSION"), &context, template] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    format!("fp_{}", &hasher.digest().to_string()[..16])
}
