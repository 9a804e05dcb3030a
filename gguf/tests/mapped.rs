//! What of a mapped file counts as this process's memory.
#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};

use bitnet_gguf::{Gguf, Writer};

/// Bytes of the file's data.
const LEN: usize = 32 << 20;

/// Bytes of the map of the file in `folder` that are in this process's memory.
fn resident(folder: &Path) -> usize {
    let path = folder.join("mapped.gguf");
    let name = path.to_str().expect("text");
    let maps = std::fs::read_to_string("/proc/self/smaps").expect("a list");
    let mut lines = maps.lines().skip_while(|line| !line.ends_with(name));
    let line = lines.find(|line| line.starts_with("Rss:")).expect("a map");
    let kilobytes = line.split_whitespace().nth(1).expect("a number");
    kilobytes.parse::<usize>().expect("a number") << 10
}

/// A file of `LEN` bytes of data in this folder.
fn write(folder: &Path) -> PathBuf {
    let mut writer = Writer::new();
    writer.set("general.architecture", "none");
    writer.tensor("t", &[LEN as u64 / 4], 0).unwrap();
    let mut body = writer.begin(Vec::new()).unwrap();
    body.write("t", &vec![7; LEN]).unwrap();
    let path = folder.join("mapped.gguf");
    std::fs::write(&path, body.finish().unwrap()).unwrap();
    path
}

#[test]
fn a_file_in_memory_is_mapped_without_being_read_as_long_as_it_is_wanted() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let file = Gguf::open(write(folder.path())).unwrap();
    let at_first = resident(folder.path());
    assert!(at_first < LEN / 2);
    file.touch(|| false);
    assert_eq!(resident(folder.path()), at_first);
    file.touch(|| true);
    assert!(resident(folder.path()) >= LEN);
    let data = file.data(&file.tensors()[0]).unwrap();
    assert!(data.iter().all(|byte| *byte == 7));
}

#[test]
fn what_is_on_the_disk_alone_is_left_until_it_is_read_ahead() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = write(folder.path());
    let written = std::fs::File::open(&path).unwrap();
    written.sync_all().unwrap();
    rustix::fs::fadvise(&written, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    let file = Gguf::open(&path).unwrap();
    file.touch(|| true);
    if resident(folder.path()) >= LEN {
        eprintln!("not tested: this file system keeps what it should drop");
        return;
    }
    let all = 0..file.bytes().len();
    file.read_ahead(all.clone(), || false).unwrap();
    file.touch(|| true);
    assert!(resident(folder.path()) < LEN);
    assert!(file.read_ahead(0..all.end + 1, || true).is_err());
    file.read_ahead(all, || true).unwrap();
    file.touch(|| true);
    assert!(resident(folder.path()) >= LEN);
}
