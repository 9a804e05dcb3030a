//! Files that lie. Each must give an error that names the field and the byte, and none may panic.

use std::path::Path;

use crate::specimen::{Raw, specimen};
use crate::touch::touch_all;
use bitnet_gguf::{Error, Gguf};
use proptest::prelude::*;

fn error(raw: Raw) -> Error {
    raw.open().map(|_| ()).expect_err("must not open")
}

/// A file of one tensor and 4096 bytes of data.
fn one_tensor(name: &str, shape: &[u64], type_id: u32, offset: u64) -> Raw {
    Raw::header(1, 0)
        .tensor(name, shape, type_id, offset)
        .data(4096)
}

#[test]
fn paths_that_lead_to_no_file_are_named() {
    let missing = Gguf::open("no/such/model.gguf").unwrap_err();
    assert_eq!(missing.to_string(), "cannot open no/such/model.gguf");
    let folder = Gguf::open(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap_err();
    assert!(folder.to_string().contains("is a directory, not a file"));
    let empty = tempfile::NamedTempFile::new().unwrap();
    assert!(matches!(Gguf::open(empty.path()), Err(Error::Empty)));
    assert!(matches!(Gguf::from_bytes(vec![]), Err(Error::Empty)));
}

#[test]
fn other_kinds_of_files_are_told_apart() {
    let magic = error(Raw(b"PK\x03\x04....".to_vec())).to_string();
    assert_eq!(
        magic,
        "not a GGUF file: it begins with \"PK\\x03\\x04\" at byte 0, not \"GGUF\"; \
         this is a zip archive or a PyTorch checkpoint, convert it to GGUF"
    );
    let lfs = error(Raw(b"version https://git-lfs".to_vec())).to_string();
    assert!(lfs.contains("Git LFS"), "{lfs}");
    let version = |version: u32| Raw(b"GGUF".to_vec()).u32(version).u64(0).u64(0);
    assert!(matches!(
        error(version(1)),
        Error::UnsupportedVersion { version: 1 }
    ));
    assert!(matches!(
        error(version(4)),
        Error::UnsupportedVersion { version: 4 }
    ));
    assert!(matches!(
        error(version(3u32.swap_bytes())),
        Error::BigEndian { version: 3 }
    ));
}

#[test]
fn a_file_cut_anywhere_does_not_open() {
    let whole = specimen().0;
    // The last tensor is one number; what follows it is padding.
    let needed = whole.len() - 28;
    for len in 0..needed {
        let cut = Gguf::from_bytes(whole[..len].to_vec());
        assert!(cut.is_err(), "opened {len} of {needed} bytes");
    }
    Gguf::from_bytes(whole[..needed].to_vec()).unwrap();
}

#[test]
fn counts_beyond_the_file_name_their_field() {
    let huge = 1 << 60;
    let cases = [
        (Raw::header(huge, 0), "tensor count at byte 8 is"),
        (Raw::header(0, huge), "metadata key count at byte 16 is"),
        (
            Raw::header(0, 1).key("k", 9).u32(8).u64(huge).data(64),
            "length of metadata `k` at byte 41 is",
        ),
        (
            Raw::header(0, 1).key("k", 9).u32(12).u64(u64::MAX).data(64),
            "length of metadata `k` at byte 41 is",
        ),
        (
            Raw::header(0, 1).key("k", 8).u64(huge).data(64),
            "the file ends inside value of metadata `k` at byte 45",
        ),
        (
            Raw::header(0, 1).u64(u64::MAX).data(64),
            "the file ends inside metadata key 0 at byte 32",
        ),
        (
            Raw::header(1, 0).u64(huge).data(64),
            "the file ends inside name of tensor 0 at byte 32",
        ),
        (
            Raw::header(1, 0).str("t").u32(u32::MAX).data(64),
            "tensor `t` has 4294967295 dimensions at byte 33",
        ),
    ];
    for (raw, begins) in cases {
        let message = error(raw).to_string();
        assert!(message.starts_with(begins), "{message}\nnot: {begins}");
    }
}

#[test]
fn bad_metadata_is_named() {
    let cases = [
        (
            Raw::header(0, 2)
                .key("k", 0)
                .bytes(&[1])
                .key("k", 0)
                .bytes(&[2]),
            "metadata key `k` at byte 38 occurs twice",
        ),
        (
            Raw::header(0, 1).key("k", 13).u64(0),
            "metadata `k` has the unknown value type 13 at byte 33",
        ),
        (
            Raw::header(0, 1).key("k", 9).u32(77).u64(0),
            "metadata `k` has the unknown value type 77 at byte 37",
        ),
        (
            Raw::header(0, 1).key("k", 7).bytes(&[2]),
            "metadata `k` holds 2 at byte 37, which is no boolean (0 or 1)",
        ),
        (
            Raw::header(0, 1)
                .key("k", 9)
                .u32(7)
                .u64(3)
                .bytes(&[0, 1, 9]),
            "metadata `k` holds 9 at byte 51, which is no boolean (0 or 1)",
        ),
        (
            Raw::header(0, 1).u64(2).bytes(b"a\xff").u32(0).u64(0),
            "metadata key 0 at byte 33 is not valid UTF-8",
        ),
        (
            Raw::header(0, 1).key("k", 8).u64(1).bytes(b"\xc3"),
            "value of metadata `k` at byte 45 is not valid UTF-8",
        ),
        (
            Raw::header(0, 1).key("general.alignment", 4).u32(0),
            "`general.alignment` is 0, not a power of two of at least 8",
        ),
        (
            Raw::header(0, 1).key("general.alignment", 4).u32(48),
            "`general.alignment` is 48, not a power of two of at least 8",
        ),
        (
            Raw::header(0, 1).key("general.alignment", 8).str("32"),
            "metadata `general.alignment` is of type string, an integer is needed",
        ),
    ];
    for (raw, expected) in cases {
        assert_eq!(error(raw).to_string(), expected);
    }
}

#[test]
fn arrays_nest_only_so_deep() {
    let nested = |depth: usize| {
        let raw = Raw::header(0, 1).key("k", 9);
        let raw = (1..depth).fold(raw, |raw, _| raw.u32(9).u64(1));
        raw.u32(0).u64(1).bytes(&[5])
    };
    touch_all(&nested(4).open().unwrap());
    assert_eq!(
        error(nested(5)).to_string(),
        "metadata `k` nests arrays more than 4 deep at byte 85"
    );
    assert!(matches!(
        error(nested(100_000)),
        Error::NestedTooDeep { .. }
    ));
}

#[test]
fn bad_tensors_are_named() {
    let cases = [
        (
            one_tensor("t", &[1, 1, 1, 1, 1], 0, 0),
            "tensor `t` has 5 dimensions at byte 33, at most 4 are possible",
        ),
        (
            one_tensor("t", &[4, 0], 0, 0),
            "tensor `t` has the impossible shape [4, 0] at byte 37",
        ),
        (
            one_tensor("t", &[1 << 40, 1 << 40], 0, 0),
            "tensor `t` has the impossible shape [1099511627776, 1099511627776] at byte 37",
        ),
        (
            one_tensor("t", &[8], 0, 16),
            "tensor `t` has the data offset 16 at byte 49, no multiple of the alignment 32",
        ),
        (
            one_tensor("t", &[1024], 0, 32),
            "tensor `t` needs 4096 bytes at byte 96, but the file ends at byte 4160; \
             it is incomplete or damaged",
        ),
        (
            one_tensor("t", &[8], 0, u64::MAX - 31),
            "tensor `t` needs 32 bytes at byte 18446744073709551615, but the file ends at byte 4160; \
             it is incomplete or damaged",
        ),
        (
            Raw::header(2, 0)
                .tensor("a", &[8], 0, 64)
                .tensor("b", &[24], 0, 0)
                .data(4096),
            "tensors `b` and `a` overlap at byte 160",
        ),
        (
            Raw::header(2, 0)
                .tensor("a", &[8], 0, 0)
                .tensor("a", &[8], 0, 32)
                .data(4096),
            "tensor name `a` at byte 57 occurs twice",
        ),
        (
            Raw::header(1, 0)
                .u64(1)
                .bytes(b"\x80")
                .u32(0)
                .u32(0)
                .u64(0)
                .data(32),
            "name of tensor 0 at byte 32 is not valid UTF-8",
        ),
    ];
    for (raw, expected) in cases {
        assert_eq!(error(raw).to_string(), expected);
    }
}

#[test]
fn data_of_unknown_size_is_refused_by_name_and_the_rest_is_readable() {
    let gguf = Raw::header(3, 0)
        .tensor("odd", &[8], 777, 0)
        .tensor("lookup", &[128], 39, 32)
        .tensor("known", &[8], 0, 64)
        .data(4096)
        .open()
        .unwrap();
    let message = |name: &str| {
        let tensor = gguf.tensor(name).unwrap();
        gguf.data(tensor).unwrap_err().to_string()
    };
    assert_eq!(
        message("odd"),
        "tensor `odd` has type 777 (unknown), whose size is not known"
    );
    assert_eq!(
        message("lookup"),
        "tensor `lookup` has type 39 (MXFP4 or TL2), whose size is not known"
    );
    assert_eq!(gguf.data(gguf.tensor("known").unwrap()).unwrap().len(), 32);
    let partial = one_tensor("t", &[100, 4], 36, 0).open().unwrap();
    assert_eq!(
        partial.data(&partial.tensors()[0]).unwrap_err().to_string(),
        "tensor `t` of shape [100, 4] has rows that are no multiple of the 128 weights in a block of I2_S"
    );
}

#[test]
fn a_tensor_of_another_file_is_refused() {
    let large = one_tensor("t", &[1024], 0, 0).open().unwrap();
    let small = specimen().open().unwrap();
    let refused = small.data(&large.tensors()[0]);
    assert!(matches!(refused, Err(Error::OutOfBounds { .. })));
}

#[test]
fn a_file_may_be_shared_between_threads() {
    fn shared<T: Send + Sync>(_: &T) {}
    shared(&specimen().open().unwrap());
}

#[test]
fn any_single_byte_may_change() {
    let whole = specimen().0;
    for position in 0..whole.len() {
        for value in [0x00, 0x01, 0x7f, 0x80, 0xff, whole[position] ^ 0x10] {
            let mut changed = whole.clone();
            changed[position] = value;
            if let Ok(gguf) = Gguf::from_bytes(changed) {
                touch_all(&gguf);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_may_change(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<[u8; 8]>(), 1..=8usize), 1..6)) {
        let mut bytes = specimen().0;
        for (position, value, len) in changes {
            let position = position.index(bytes.len());
            let end = bytes.len().min(position + len);
            bytes[position..end].copy_from_slice(&value[..end - position]);
        }
        if let Ok(gguf) = Gguf::from_bytes(bytes) {
            touch_all(&gguf);
        }
    }

    #[test]
    fn anything_may_follow_the_header(tail in prop::collection::vec(any::<u8>(), 0..400), tensors in 0..3u64, keys in 0..3u64) {
        if let Ok(gguf) = Raw::header(tensors, keys).bytes(&tail).open() {
            touch_all(&gguf);
        }
    }
}
