//! A model in several files is one model, whichever of them is named.

use std::path::{Path, PathBuf};

use bitnet_gguf::{Gguf, Value, Writer, tensor_type};

const COUNT: u16 = 3;

fn name(number: u16) -> String {
    format!("model-{:05}-of-{COUNT:05}.gguf", number + 1)
}

/// Writes part `number` with one tensor of `len` floats, all of them the number of the part.
fn write(folder: &Path, number: u16, len: u64, more: &[(&str, Value)]) -> PathBuf {
    let mut writer = Writer::new();
    if number == 0 {
        writer.set("general.architecture", "llama");
    }
    writer.set("split.no", number);
    writer.set("split.count", COUNT);
    writer.set("split.tensors.count", i32::from(COUNT));
    for (key, value) in more {
        writer.set(*key, value.clone());
    }
    let tensor = format!("tensor.{number}");
    writer.tensor(&tensor, &[len], tensor_type::F32).unwrap();
    let mut body = writer.begin(Vec::new()).unwrap();
    let bytes: Vec<u8> = (0..len)
        .flat_map(|_| f32::from(number).to_le_bytes())
        .collect();
    body.write(&tensor, &bytes).unwrap();
    let path = folder.join(name(number));
    std::fs::write(&path, body.finish().unwrap()).unwrap();
    path
}

fn model() -> (tempfile::TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().unwrap();
    // The middle one is longer than a page.
    let paths = [(0, 5), (1, 5000), (2, 1)]
        .map(|(number, len)| write(folder.path(), number, len, &[]))
        .to_vec();
    (folder, paths)
}

fn error(path: &Path) -> String {
    let error = Gguf::open(path).expect_err("must be refused");
    let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
    format!("{error}{}", source.unwrap_or_default())
}

#[test]
fn every_part_opens_all_of_them() {
    let (_folder, paths) = model();
    for path in &paths {
        let gguf = Gguf::open(path).unwrap();
        assert_eq!(gguf.parts(), 3);
        assert_eq!(
            gguf.metadata().str("general.architecture").unwrap(),
            "llama"
        );
        let sizes = paths.iter().map(|path| path.metadata().unwrap().len());
        assert_eq!(gguf.file_len() as u64, sizes.sum::<u64>());
        for (number, len) in [(0, 5), (1, 5000), (2, 1)] {
            let tensor = gguf.tensor(&format!("tensor.{number}")).unwrap();
            let wanted: Vec<u8> = (0..len)
                .flat_map(|_| (number as f32).to_le_bytes())
                .collect();
            assert_eq!(gguf.data(tensor).unwrap(), wanted);
            let range = tensor.range().unwrap();
            assert_eq!(&gguf.bytes()[range.clone()], wanted);
            let mut copied = vec![9; wanted.len()];
            gguf.copy(range.start, &mut copied).unwrap();
            assert_eq!(copied, wanted);
            gguf.advise_dont_need(range).unwrap();
            assert_eq!(gguf.data(tensor).unwrap(), wanted);
        }
    }
}

#[test]
fn what_is_missing_is_named() {
    let (_folder, paths) = model();
    std::fs::remove_file(&paths[1]).unwrap();
    let text = error(&paths[2]);
    assert!(text.starts_with("this is part 3 of 3"), "{text}");
    assert!(
        text.contains(&name(1)) && !text.contains(&name(0)),
        "{text}"
    );
}

#[test]
fn a_part_under_another_name_says_which_name_it_needs() {
    let (folder, paths) = model();
    let other = folder.path().join("renamed.gguf");
    std::fs::rename(&paths[1], &other).unwrap();
    let text = error(&other);
    assert!(
        text.contains("part 2 of 3") && text.contains("`-00002-of-00003.gguf`"),
        "{text}"
    );
    let bytes = std::fs::read(&other).unwrap();
    let text = Gguf::from_bytes(bytes).expect_err("a part").to_string();
    assert!(
        text.contains("part 2 of 3") && text.contains("by the path"),
        "{text}"
    );
}

#[test]
fn parts_that_do_not_belong_together_are_refused() {
    let (folder, paths) = model();
    std::fs::copy(&paths[0], &paths[1]).unwrap();
    let text = error(&paths[0]);
    assert!(text.contains("says that it is part 1 of 3"), "{text}");
    let count = Value::from(7_i32);
    write(folder.path(), 1, 5, &[]);
    write(folder.path(), 0, 5, &[("split.tensors.count", count)]);
    let text = error(&paths[2]);
    assert!(
        text.contains("7 tensors are announced, the parts hold 3"),
        "{text}"
    );
}

#[test]
fn damage_in_a_part_is_told_with_its_path() {
    let (_folder, paths) = model();
    let bytes = std::fs::read(&paths[1]).unwrap();
    std::fs::write(&paths[1], &bytes[..bytes.len() - 8]).unwrap();
    let text = error(&paths[0]);
    assert!(
        text.contains(&name(1)) && text.contains("tensor.1"),
        "{text}"
    );
}

#[test]
fn impossible_places_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), 0, 1, &[("split.no", Value::from(3_u16))]);
    assert!(error(&path).contains("`split.no` is 3"), "{}", error(&path));
    let path = write(
        folder.path(),
        0,
        1,
        &[("split.count", Value::from(u64::MAX))],
    );
    assert!(error(&path).contains("at most"), "{}", error(&path));
    // One part of one is a whole model.
    let path = write(folder.path(), 0, 1, &[("split.count", Value::from(1_u16))]);
    assert_eq!(Gguf::open(path).unwrap().parts(), 1);
}
