//! Takes whatever bytes come for a line that `bitnet pipe` reads: nothing may panic, and a line
//! that is read comes out as an object with what was counted and all of its other members.
//!
//! In `cli/`, with a nightly toolchain and `cargo install cargo-fuzz`:
//!
//! ```sh
//! mkdir -p fuzz/corpus/ndjson
//! cargo +nightly fuzz run ndjson fuzz/corpus/ndjson fuzz/seeds/ndjson -- \
//!     -max_len=4096 -max_total_time=120
//! ```

#![no_main]

#[path = "../../src/commands/pipe/line.rs"]
mod line;

use libfuzzer_sys::fuzz_target;
use line::{Fields, Found, WRITTEN};

const MEMBERS: &str = r#""tokens_input":3,"accuracy":"exact""#;

fuzz_target!(|bytes: &[u8]| {
    let bytes = line::trimmed(bytes);
    for output in [None, Some("answer"), Some("text")] {
        let fields = Fields {
            input: "text",
            output,
        };
        let Ok(found) = line::read(bytes, fields) else {
            continue;
        };
        let written = written(bytes, &found);
        let again = line::read(line::trimmed(&written), fields).expect("what was written is read");
        assert_eq!(again.input, found.input);
        assert_eq!(again.output, found.output);
        assert_eq!(members(&written).len(), kept(bytes) + 2);
        // What was written is replaced by the same; white space between members may go, once.
        let twice = self::written(line::trimmed(&written), &again);
        assert_eq!(members(&twice), members(&written));
        let again = line::read(line::trimmed(&twice), fields).expect("what was written is read");
        assert_eq!(self::written(line::trimmed(&twice), &again), twice);
    }
});

fn written(bytes: &[u8], found: &Found<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    line::write(bytes, found, MEMBERS, &mut out);
    out
}

/// The keys of an object, one for each member; half a surrogate pair stands for itself.
fn members(object: &[u8]) -> Vec<Vec<u8>> {
    struct Keys;
    impl<'de> serde::de::Visitor<'de> for Keys {
        type Value = Vec<Vec<u8>>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut keys = Vec::new();
            while let Some(Key(key)) = map.next_key()? {
                map.next_value::<serde::de::IgnoredAny>()?;
                keys.push(key);
            }
            Ok(keys)
        }
    }
    let mut json = serde_json::Deserializer::from_slice(object);
    let keys = serde::Deserializer::deserialize_map(&mut json, Keys).expect("an object");
    json.end().expect("and nothing else");
    keys
}

struct Key(Vec<u8>);

impl<'de> serde::Deserialize<'de> for Key {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Key, D::Error> {
        struct Take;
        impl serde::de::Visitor<'_> for Take {
            type Value = Key;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Key, E> {
                Ok(Key(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Take)
    }
}

/// Members that come through.
fn kept(object: &[u8]) -> usize {
    let replaced = |key: &&Vec<u8>| WRITTEN.iter().any(|name| name.as_bytes() == key.as_slice());
    let keys = members(object);
    keys.len() - keys.iter().filter(replaced).count()
}
