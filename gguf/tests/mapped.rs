//! What of a mapped file counts as this process's memory.
#![cfg(target_os = "linux")]

use bitnet_gguf::{Gguf, Writer};

/// Bytes of the file's data.
const LEN: usize = 8 << 20;

/// Bytes of maps of the file called `name` that are in this process's memory.
fn resident(name: &str) -> usize {
    let maps = std::fs::read_to_string("/proc/self/smaps").expect("a list");
    let mut lines = maps.lines().skip_while(|line| !line.ends_with(name));
    let line = lines.find(|line| line.starts_with("Rss:")).expect("a map");
    let kilobytes = line.split_whitespace().nth(1).expect("a number");
    kilobytes.parse::<usize>().expect("a number") << 10
}

#[test]
fn a_file_in_memory_is_mapped_without_being_read_as_long_as_it_is_wanted() {
    let mut writer = Writer::new();
    writer.set("general.architecture", "none");
    writer.tensor("t", &[LEN as u64 / 4], 0).unwrap();
    let mut body = writer.begin(Vec::new()).unwrap();
    body.write("t", &vec![7; LEN]).unwrap();
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = folder.path().join("mapped.gguf");
    std::fs::write(&path, body.finish().unwrap()).unwrap();

    let file = Gguf::open(&path).unwrap();
    assert!(resident("mapped.gguf") < LEN / 2);
    file.touch(|| false);
    assert!(resident("mapped.gguf") < LEN / 2);
    file.touch(|| true);
    assert!(resident("mapped.gguf") >= LEN);
    let data = file.data(&file.tensors()[0]).unwrap();
    assert!(data.iter().all(|byte| *byte == 7));
}
