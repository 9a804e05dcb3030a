//! Many threads read at once what a mapped file has lost.
#![cfg(any(target_os = "linux", target_os = "android"))]

use std::fs::OpenOptions;
use std::hint::black_box;
use std::process::Command;
use std::sync::Barrier;

const FILE: &str = "BITNET_TEST_SHORTENED_FILE";
const PAGE: usize = 4096;
const THREADS: usize = 8;

#[test]
fn a_shortened_file_ends_the_program_with_1_however_many_threads_read_it() {
    if let Some(path) = std::env::var_os(FILE) {
        return read_what_is_lost(&path);
    }
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..100 {
        let mut program = Command::new(std::env::current_exe().unwrap());
        let ended = program.env(FILE, folder.path().join("file")).output();
        let ended = ended.unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{}: {said}", ended.status);
        assert!(said.contains("a file was shortened"), "{said}");
    }
}

fn read_what_is_lost(path: &std::ffi::OsStr) {
    bitnet_process::take_over();
    std::fs::write(path, vec![1; (THREADS + 1) * PAGE]).unwrap();
    let file = OpenOptions::new().read(true).write(true).open(path);
    let file = file.unwrap();
    // SAFETY: the bytes that are lost are read on purpose, which ends this process.
    let map = unsafe { memmap2::Mmap::map(&file) }.unwrap();
    file.set_len(0).unwrap();
    let all = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for page in 0..THREADS {
            let (all, map) = (&all, &map);
            scope.spawn(move || {
                all.wait();
                black_box(map[page * PAGE])
            });
        }
    });
}
