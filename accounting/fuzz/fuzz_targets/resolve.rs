//! Resolves whatever name comes: nothing may panic, and every answer is labelled.
//!
//! In `accounting/`, with a nightly toolchain and `cargo install cargo-fuzz`:
//!
//! ```sh
//! mkdir -p fuzz/corpus/resolve
//! cargo +nightly fuzz run resolve fuzz/corpus/resolve fuzz/seeds/resolve -- \
//!     -max_len=256 -max_total_time=60
//! ```

#![no_main]

use bitnet_accounting::{Accuracy, Registry};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let name = String::from_utf8_lossy(bytes);
    for registry in [Registry::default(), Registry::new(Some("tokenizer.json".into()))] {
        let spec = registry.resolve(&name);
        assert!(!spec.canonical.is_empty() && !spec.encoding_name().is_empty());
        assert_eq!(spec.encoding.is_none(), spec.accuracy == Accuracy::Heuristic);
        // A canonical name stands for itself.
        assert_eq!(registry.resolve(&spec.canonical).canonical, spec.canonical);
    }
});
