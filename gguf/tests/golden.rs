//! The golden models, written by other programs, must be read, and survive being written and read
//! again.

use std::fs;
use std::path::{Path, PathBuf};

use bitnet_gguf::{Gguf, Writer};

fn golden_files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/golden");
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "gguf")
        })
        .collect();
    files.sort();
    assert!(files.len() >= 7, "the golden models are part of the source");
    files
}

fn rewrite(gguf: &Gguf) -> Vec<u8> {
    let mut writer = Writer::new();
    for (key, value) in gguf.metadata().iter() {
        writer.set(key, value.clone());
    }
    for tensor in gguf.tensors() {
        writer
            .tensor(&tensor.name, &tensor.shape, tensor.type_id)
            .unwrap();
    }
    let mut body = writer.begin(Vec::new()).unwrap();
    for tensor in gguf.tensors() {
        body.write(&tensor.name, gguf.data(tensor).unwrap())
            .unwrap();
    }
    body.finish().unwrap()
}

#[test]
fn golden_files_are_read() {
    for path in golden_files() {
        let gguf = Gguf::open(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(gguf.version(), 3, "{name}");
        assert_eq!(gguf.alignment(), 32, "{name}");
        let arch = gguf.metadata().str("general.architecture").unwrap();
        let key = format!("{arch}.embedding_length");
        let width = gguf.metadata().u64(&key).unwrap();
        let embedding = gguf.tensor("token_embd.weight").unwrap();
        assert_eq!(embedding.shape[0], width, "{name}");
        let bytes = gguf.data(embedding).unwrap().len() as u64;
        let block = embedding.tensor_type().and_then(|known| known.block);
        let wanted = block.and_then(|block| block.tensor_bytes(embedding.elements(), width));
        assert_eq!(Some(bytes), wanted, "{name}");
        let last = gguf.tensors().last().unwrap();
        let end = last.range().unwrap().end;
        assert_eq!(end, gguf.file_len(), "{name} ends with its last tensor");
    }
}

#[test]
fn writing_what_was_read_gives_the_same_bytes() {
    for path in golden_files() {
        let original = fs::read(&path).unwrap();
        let gguf = Gguf::from_bytes(original.clone()).unwrap();
        let copy = rewrite(&gguf);
        assert!(copy == original, "{} changed", path.display());
    }
}

#[test]
fn a_mapped_file_whose_pages_were_dropped_reads_the_same() {
    for path in golden_files() {
        let gguf = Gguf::open(&path).unwrap();
        let tensors = gguf.tensors().iter();
        let tensor = tensors.max_by_key(|tensor| tensor.range().unwrap().len());
        let tensor = tensor.unwrap();
        let before = gguf.data(tensor).unwrap().to_vec();
        gguf.advise_dont_need(tensor.range().unwrap()).unwrap();
        assert!(gguf.data(tensor).unwrap() == before);
        let mut copy = vec![0; before.len()];
        let start = tensor.range().unwrap().start;
        gguf.copy(start, &mut copy).unwrap();
        assert!(copy == before);
        assert!(gguf.copy(gguf.file_len() - 1, &mut copy).is_err());
        let beyond = 0..gguf.file_len() + 1;
        assert!(gguf.advise_dont_need(beyond).is_err());
    }
}
