//! Transcoding against the golden files, which hold the same weights in both encodings.

use std::path::{Path, PathBuf};

use bitnet_crossval::compare::{Direction, TranscodeError, transcode};
use bitnet_gguf::{Gguf, Writer, tensor_type};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures/golden")
        .join(name)
}

/// Every tensor's type and bytes; of I2_S without the trailing bytes that mean nothing.
fn tensors(path: &Path) -> Vec<(String, u32, Vec<u8>)> {
    let model = Gguf::open(path).unwrap();
    let mut tensors: Vec<_> = model
        .tensors()
        .iter()
        .map(|tensor| {
            let data = model.data(tensor).unwrap();
            let meaning = match tensor.type_id {
                tensor_type::I2_S => &data[..data.len() - 28],
                _ => data,
            };
            (tensor.name.clone(), tensor.type_id, meaning.to_vec())
        })
        .collect();
    tensors.sort();
    tensors
}

#[test]
fn i2_s_becomes_the_golden_tq2_0_and_back() {
    let folder = tempfile::tempdir().unwrap();
    for model in ["llama", "bitnet"] {
        let (i2s, tq2) = (
            golden(&format!("{model}-i2_s.gguf")),
            golden(&format!("{model}-tq2_0.gguf")),
        );
        let target = folder.path().join("to-tq2.gguf");
        transcode(&i2s, &target, Direction::ToTq2).unwrap();
        assert!(tensors(&target) == tensors(&tq2), "{model} to TQ2_0");
        let target = folder.path().join("to-i2s.gguf");
        transcode(&tq2, &target, Direction::ToI2s).unwrap();
        assert!(tensors(&target) == tensors(&i2s), "{model} to I2_S");
    }
}

/// A file with one I2_S tensor of 256 zeros and this scale.
fn one_tensor(path: &Path, code_byte: u8, scale: f32) {
    let mut writer = Writer::new();
    writer.tensor("w", &[256, 1], tensor_type::I2_S).unwrap();
    let mut data = vec![code_byte; 64];
    data.extend(scale.to_le_bytes());
    data.extend([0; 28]);
    let mut body = writer.begin(Vec::new()).unwrap();
    body.write("w", &data).unwrap();
    std::fs::write(path, body.finish().unwrap()).unwrap();
}

#[test]
fn what_has_no_exact_counterpart_is_refused_and_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("a.gguf"), folder.path().join("b.gguf"));
    one_tensor(&source, 0b01_01_01_01, 0.1);
    let error = transcode(&source, &target, Direction::ToTq2).unwrap_err();
    assert!(
        matches!(error, TranscodeError::ScaleNotF16 { .. }),
        "{error}"
    );
    one_tensor(&source, 0b11_01_01_01, 0.5);
    let error = transcode(&source, &target, Direction::ToTq2).unwrap_err();
    assert!(
        matches!(error, TranscodeError::BadCode { index: 0, .. }),
        "{error}"
    );
    let error = transcode(&source, &target, Direction::ToI2s).unwrap_err();
    assert!(
        matches!(error, TranscodeError::NothingToDo("TQ2_0")),
        "{error}"
    );
    assert!(!target.exists());
}
