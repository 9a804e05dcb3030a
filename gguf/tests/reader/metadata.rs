//! Every type of metadata is read, and typed questions answer or say why not.

use crate::specimen::{Raw, specimen};
use bitnet_gguf::{Array, Error, Gguf, Value, ValueType, Writer};

#[test]
fn every_value_type_is_read() {
    let gguf = specimen().open().unwrap();
    let expected = [
        ("general.alignment", Value::U32(32)),
        ("u8", Value::U8(200)),
        ("i8", Value::I8(-128)),
        ("u16", Value::U16(40_000)),
        ("i16", Value::I16(-5)),
        ("i32", Value::I32(-70_000)),
        ("f32", Value::F32(1.5)),
        ("bool", Value::Bool(true)),
        ("string", Value::String("h\u{e9}llo".to_owned())),
        ("u64", Value::U64(1 << 40)),
        ("i64", Value::I64(-1 << 40)),
        ("f64", Value::F64(2.25)),
        (
            "strings",
            Value::Array(Array::from_strings(["a", "", "\u{4e2d}"])),
        ),
        ("bools", Value::Array(Array::from([false, true].as_slice()))),
        (
            "nested",
            Value::Array(Array::from_arrays([
                &Array::from([7i32, -1].as_slice()),
                &Array::from_strings(["x"]),
            ])),
        ),
    ];
    let found: Vec<(&str, Value)> = gguf
        .metadata()
        .iter()
        .map(|(key, value)| (key, value.clone()))
        .collect();
    assert_eq!(found, expected, "in the order of the file");
}

#[test]
fn every_value_type_survives_the_writer() {
    let gguf = specimen().open().unwrap();
    let mut writer = Writer::new();
    for (key, value) in gguf.metadata().iter() {
        writer.set(key, value.clone());
    }
    for number in [
        Value::from(Array::from([1u8, 2].as_slice())),
        Value::from(Array::from([-1i8].as_slice())),
        Value::from(Array::from([1u16].as_slice())),
        Value::from(Array::from([-1i16].as_slice())),
        Value::from(Array::from([1u32].as_slice())),
        Value::from(Array::from([1u64].as_slice())),
        Value::from(Array::from([-1i64].as_slice())),
        Value::from(Array::from([0.5f32].as_slice())),
        Value::from(Array::from([0.5f64].as_slice())),
        Value::from(Array::from_strings([])),
    ] {
        writer.set(format!("array.{}", number.type_name()), number);
    }
    let written = writer.begin(Vec::new()).unwrap().finish().unwrap();
    let read = Gguf::from_bytes(written).unwrap();
    assert_eq!(read.metadata().len(), 15 + 10);
    for (key, value) in gguf.metadata().iter() {
        assert_eq!(read.metadata().get(key), Some(value), "{key}");
    }
    assert_eq!(
        read.metadata().f32_array("array.array of f64").unwrap(),
        [0.5]
    );
    assert_eq!(
        read.metadata().u32_array("array.array of u8").unwrap(),
        [1, 2]
    );
}

#[test]
fn version_2_reads_like_version_3() {
    let mut raw = specimen();
    raw.0[4] = 2;
    let gguf = raw.open().unwrap();
    assert_eq!(gguf.version(), 2);
    assert_eq!(gguf.metadata().len(), 15);
    assert_eq!(gguf.data(gguf.tensor("norm").unwrap()).unwrap().len(), 32);
}

#[test]
fn integers_are_taken_from_any_width_that_holds_them() {
    let gguf = specimen().open().unwrap();
    let metadata = gguf.metadata();
    assert_eq!(metadata.u64("u8").unwrap(), 200);
    assert_eq!(metadata.u32("u16").unwrap(), 40_000);
    assert_eq!(metadata.i32("i8").unwrap(), -128);
    assert_eq!(metadata.usize("u64").unwrap(), 1 << 40);
    assert_eq!(metadata.f32("f64").unwrap(), 2.25);
    let too_large = metadata.u32("u64").unwrap_err().to_string();
    assert_eq!(
        too_large,
        "metadata `u64` is 1099511627776, which does not fit u32"
    );
    assert!(matches!(metadata.u32("i16"), Err(Error::OutOfRange { .. })));
}

#[test]
fn a_wrong_type_is_named_with_the_right_one() {
    let gguf = specimen().open().unwrap();
    let metadata = gguf.metadata();
    let error = metadata.u32("strings").unwrap_err().to_string();
    assert_eq!(
        error,
        "metadata `strings` is of type array of string, an integer is needed"
    );
    let error = metadata.i32_array("bools").unwrap_err().to_string();
    assert_eq!(
        error,
        "metadata `bools` is of type array of bool, an array of integers is needed"
    );
    for wrong in [
        metadata.f32("u8").unwrap_err(),
        metadata.bool("u8").unwrap_err(),
        metadata.str("u8").unwrap_err(),
        metadata.opt_u32_array("nested").unwrap_err(),
        metadata.f32_array("strings").unwrap_err(),
    ] {
        assert!(matches!(wrong, Error::WrongType { .. }), "{wrong}");
    }
}

#[test]
fn an_absent_key_is_none_or_an_error_that_names_it() {
    let gguf = specimen().open().unwrap();
    assert_eq!(gguf.metadata().opt_u32("absent").unwrap(), None);
    let error = gguf.metadata().u32("absent").unwrap_err().to_string();
    assert_eq!(error, "the file has no metadata `absent`");
}

#[test]
fn strings_are_checked_as_they_are_read() {
    let raw = Raw::header(0, 1)
        .key("tokens", 9)
        .u32(8)
        .u64(2)
        .str("ok")
        .u64(3)
        .bytes(b"a\xffb");
    let at = raw.0.len() as u64 - 2;
    let gguf = raw.open().unwrap();
    let mut tokens = gguf.metadata().str_array("tokens").unwrap();
    assert_eq!(tokens.len(), 2);
    assert_eq!(tokens.next().unwrap().unwrap(), "ok");
    match tokens.next().unwrap().unwrap_err() {
        Error::NotUtf8 { field, offset } => {
            assert_eq!(field, "element 1 of metadata `tokens`");
            assert_eq!(offset, at);
        }
        other => panic!("{other}"),
    }
    assert!(tokens.next().is_none());
}

#[test]
fn every_value_type_has_its_id() {
    for (id, value_type) in ValueType::ALL.into_iter().enumerate() {
        assert_eq!(value_type as usize, id);
        assert_eq!(ValueType::from_id(id as u32), Some(value_type));
    }
    assert_eq!(ValueType::from_id(13), None);
}
