//! Reads whatever bytes come as a `tokenizer.json`, and uses what can be read: nothing may panic,
//! and memory is in proportion to the file.
//!
//! In `tokenizers/`, with a nightly toolchain and `cargo install cargo-fuzz`:
//!
//! ```sh
//! mkdir -p fuzz/corpus/tokenizer_json
//! cargo +nightly fuzz run tokenizer_json fuzz/corpus/tokenizer_json fuzz/seeds/tokenizer_json -- \
//!     -max_len=4096 -max_total_time=120 -rss_limit_mb=1024
//! ```

#![no_main]

use bitnet_tokenizers::{Encode, Special, Tokenizer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(tokenizer) = Tokenizer::from_tokenizer_json(bytes) else {
        return;
    };
    for special in [Special::AsText, Special::Parse] {
        let options = Encode {
            bos: true,
            special,
        };
        for text in ["", "ab  é 日本 🎉 12", "<s>a</s>"] {
            if let Ok(ids) = tokenizer.encode(text, options) {
                tokenizer.decode(&ids);
            }
        }
    }
});
