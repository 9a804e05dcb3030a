//! The writer refuses what the reader would refuse.

use bitnet_gguf::{Gguf, WriteError, Writer, tensor_type};

fn message(result: Result<impl Sized, WriteError>) -> String {
    result
        .err()
        .expect("the writer must refuse this")
        .to_string()
}

#[test]
fn alignment_is_kept() {
    let mut writer = Writer::new();
    writer.set("general.alignment", 256u32);
    writer.tensor("a", &[3], tensor_type::F32).unwrap();
    writer.tensor("b", &[2, 2], tensor_type::F16).unwrap();
    let mut body = writer.begin(Vec::new()).unwrap();
    body.write("a", &[1; 12]).unwrap();
    body.write_with("b", |sink| {
        sink.write_all(&[2; 5])?;
        sink.write_all(&[3; 3])
    })
    .unwrap();
    let gguf = Gguf::from_bytes(body.finish().unwrap()).unwrap();
    assert_eq!(gguf.alignment(), 256);
    for (name, bytes) in [("a", [1; 12].as_slice()), ("b", &[2, 2, 2, 2, 2, 3, 3, 3])] {
        let tensor = gguf.tensor(name).unwrap();
        assert_eq!(tensor.offset % 256, 0);
        assert_eq!(gguf.data(tensor).unwrap(), bytes);
    }
    assert_eq!(gguf.file_len() % 256, 0);
}

#[test]
fn impossible_tensors_are_refused() {
    let mut writer = Writer::new();
    assert_eq!(
        message(writer.tensor("t", &[100], tensor_type::TQ2_0)),
        "tensor `t` cannot be of shape [100] and type 35 (TQ2_0)"
    );
    assert_eq!(
        message(writer.tensor("t", &[256], 39)),
        "tensor `t` cannot be of shape [256] and type 39 (MXFP4 or TL2)"
    );
    for shape in [[0, 1].as_slice(), &[1; 5], &[u64::MAX, 2]] {
        assert!(writer.tensor("t", shape, tensor_type::F32).is_err());
    }
    writer.tensor("t", &[1], tensor_type::F32).unwrap();
    assert_eq!(
        message(writer.tensor("t", &[1], tensor_type::F32)),
        "tensor `t` is declared twice"
    );
    writer
        .tensor("huge", &[u64::MAX / 4], tensor_type::F32)
        .unwrap();
    assert!(matches!(
        writer.begin(Vec::new()),
        Err(WriteError::BadTensor { .. })
    ));
}

#[test]
fn alignments_that_no_reader_takes_are_refused() {
    let mut writer = Writer::new();
    writer.set("general.alignment", 48u32);
    assert_eq!(
        message(writer.begin(Vec::new())),
        "`general.alignment` is 48, not an integer that is a power of two of at least 8"
    );
}

#[test]
fn data_must_come_complete_and_in_order() {
    let writer = || {
        let mut writer = Writer::new();
        writer.tensor("a", &[2], tensor_type::F32).unwrap();
        writer.tensor("b", &[2], tensor_type::F32).unwrap();
        writer.begin(Vec::new()).unwrap()
    };
    assert_eq!(
        message(writer().write("b", &[0; 8])),
        "data for tensor `b` was given where that for `a` comes next"
    );
    assert_eq!(
        message(writer().write("a", &[0; 7])),
        "tensor `a` takes 8 bytes, 7 were given"
    );
    assert_eq!(
        message(writer().finish()),
        "the file is not complete: tensor `a` has no data yet"
    );
    let mut body = writer();
    body.write("a", &[0; 8]).unwrap();
    body.write("b", &[0; 8]).unwrap();
    assert_eq!(
        message(body.write("c", &[])),
        "data for tensor `c` was given where that for nothing comes next"
    );
}
