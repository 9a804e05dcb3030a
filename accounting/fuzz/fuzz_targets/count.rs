//! Counts and encodes whatever bytes come: nothing may panic, counts are those of the ids, and the
//! ids give the text back.
//!
//! In `accounting/`, with a nightly toolchain and `cargo install cargo-fuzz`:
//!
//! ```sh
//! mkdir -p fuzz/corpus/count
//! cargo +nightly fuzz run count fuzz/corpus/count fuzz/seeds/count -- \
//!     -max_len=4096 -max_total_time=120
//! ```

#![no_main]

use bitnet_accounting::Encoding;
use bitnet_tokenizers::{Encode, Special};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    for encoding in Encoding::ALL {
        let tokenizer = encoding.tokenizer();
        for special in [Special::AsText, Special::Parse] {
            let options = Encode {
                bos: false,
                special,
            };
            let ids = tokenizer.encode(&text, options).expect("every text has ids");
            let count = tokenizer.counter().count(&text, options);
            assert_eq!(count.expect("every text has a count"), ids.len());
            if special == Special::AsText {
                assert_eq!(tokenizer.decode(&ids), text);
            }
        }
    }
});
