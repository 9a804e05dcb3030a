//! Opens whatever bytes come and reads everything in them: nothing may panic or ask for much
//! memory.
//!
//! In `gguf/`, with a nightly toolchain and `cargo install cargo-fuzz`:
//!
//! ```sh
//! mkdir -p fuzz/corpus/open
//! cargo +nightly fuzz run open fuzz/corpus/open fuzz/seeds/open -- \
//!     -max_len=8192 -rss_limit_mb=512 -max_total_time=120
//! ```

#![no_main]

#[path = "../../tests/reader/touch.rs"]
mod touch;

use bitnet_gguf::Gguf;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(gguf) = Gguf::from_bytes(bytes.to_vec()) {
        touch::touch_all(&gguf);
    }
});
