//! A small file that uses everything the format has, spelled out byte by byte so that it shares no
//! code with the writer.

use bitnet_gguf::{Error, Gguf};

/// Bytes of a GGUF file under construction.
#[derive(Clone, Default)]
pub(crate) struct Raw(pub(crate) Vec<u8>);

impl Raw {
    /// Magic, version and the two counts.
    pub(crate) fn header(tensors: u64, keys: u64) -> Self {
        Raw(b"GGUF".to_vec()).u32(3).u64(tensors).u64(keys)
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    pub(crate) fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(crate) fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(crate) fn str(self, value: &str) -> Self {
        self.u64(value.len() as u64).bytes(value.as_bytes())
    }

    /// A key and the id of its value's type.
    pub(crate) fn key(self, key: &str, value_type: u32) -> Self {
        self.str(key).u32(value_type)
    }

    /// A tensor's description.
    pub(crate) fn tensor(self, name: &str, shape: &[u64], type_id: u32, offset: u64) -> Self {
        let described = self.str(name).u32(shape.len() as u32);
        let shaped = shape.iter().fold(described, |raw, dim| raw.u64(*dim));
        shaped.u32(type_id).u64(offset)
    }

    /// Zeros up to a multiple of 32, then `bytes` of data.
    pub(crate) fn data(mut self, bytes: usize) -> Self {
        let start = self.0.len().next_multiple_of(32);
        self.0.resize(start, 0);
        self.0.extend((0..bytes).map(|byte| byte as u8));
        self
    }

    pub(crate) fn open(self) -> Result<Gguf, Error> {
        Gguf::from_bytes(self.0)
    }
}

/// A valid file with a value of every type, arrays in arrays, and three tensors.
pub(crate) fn specimen() -> Raw {
    Raw::header(3, 15)
        .key("general.alignment", 4)
        .u32(32)
        .key("u8", 0)
        .bytes(&[200])
        .key("i8", 1)
        .bytes(&[0x80])
        .key("u16", 2)
        .bytes(&40_000u16.to_le_bytes())
        .key("i16", 3)
        .bytes(&(-5i16).to_le_bytes())
        .key("i32", 5)
        .bytes(&(-70_000i32).to_le_bytes())
        .key("f32", 6)
        .bytes(&1.5f32.to_le_bytes())
        .key("bool", 7)
        .bytes(&[1])
        .key("string", 8)
        .str("h\u{e9}llo")
        .key("u64", 10)
        .u64(1 << 40)
        .key("i64", 11)
        .bytes(&(-1i64 << 40).to_le_bytes())
        .key("f64", 12)
        .bytes(&2.25f64.to_le_bytes())
        .key("strings", 9)
        .u32(8)
        .u64(3)
        .str("a")
        .str("")
        .str("\u{4e2d}")
        .key("bools", 9)
        .u32(7)
        .u64(2)
        .bytes(&[0, 1])
        .key("nested", 9)
        .u32(9)
        .u64(2)
        .u32(5)
        .u64(2)
        .u32(7)
        .u32(u32::MAX)
        .u32(8)
        .u64(1)
        .str("x")
        .tensor("codes", &[128, 2], 36, 0)
        .tensor("norm", &[8], 0, 96)
        .tensor("scalar", &[], 0, 128)
        .data(96)
        .data(32)
        .data(32)
}

#[test]
fn the_fuzzer_starts_from_this_file() {
    let seed = include_bytes!("../../fuzz/seeds/open/specimen.gguf");
    assert!(specimen().0 == seed, "write it again from `specimen()`");
}
