//! Blocks of whole lines, from a reader, through workers, back in order.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Bytes that a read asks for.
const READ: usize = 1 << 20;

/// The longest line. Without a limit, a file without line ends would be read into memory whole.
const LONGEST: usize = 64 << 20;

/// How often the one who waits looks whether to stop.
const LOOK: Duration = Duration::from_millis(50);

/// What a worker does with whole lines.
pub(super) type Work<R> = Box<dyn FnMut(&[u8]) -> R + Send>;

/// Whole lines, or why there are no more, and their place among the blocks.
struct Block {
    number: u64,
    lines: io::Result<Vec<u8>>,
}

/// Cuts `input` into blocks of whole lines, gives them to `workers` threads that each run a
/// function made by `worker`, and calls `each` for every result, in order, until it returns `false`
/// or `stop` is true. Memory is bounded by the number of workers and the longest line. A slow
/// writer at the other end gets its lines as they come.
///
/// # Errors
/// The input could not be read, a worker or the reader panicked, or the system has no thread left.
/// What came before has been given to `each`; nothing after it is.
pub(super) fn run<R: Send + 'static>(
    input: impl Read + Send + 'static,
    workers: usize,
    mut worker: impl FnMut() -> Work<R>,
    stop: impl Fn() -> bool,
    mut each: impl FnMut(R) -> io::Result<bool>,
) -> io::Result<()> {
    let places = 3 * workers;
    let (to_workers, from_reader) = sync_channel::<Block>(places);
    let (to_writer, from_workers) = sync_channel::<(u64, io::Result<R>)>(places);
    // A block takes a place when it is read and gives it back when it is written.
    let (take, give_back) = sync_channel::<()>(places);
    let reader = thread::Builder::new().spawn(move || read(input, &to_workers, &take))?;
    let from_reader = Arc::new(Mutex::new(from_reader));
    for _ in 0..workers {
        let (from_reader, to_writer) = (Arc::clone(&from_reader), to_writer.clone());
        let mut work = worker();
        thread::Builder::new().spawn(move || {
            while let Ok(block) = next(&from_reader) {
                let done = block.lines.and_then(|lines| {
                    // A panic must not take the block with it unseen: the writer waits for it.
                    let work = AssertUnwindSafe(|| work(&lines));
                    catch_unwind(work).map_err(|_| io::Error::other("a worker panicked"))
                });
                let failed = done.is_err();
                if to_writer.send((block.number, done)).is_err() || failed {
                    break;
                }
            }
        })?;
    }
    drop(to_writer);
    let mut waiting = BTreeMap::new();
    let mut number = 0;
    loop {
        if stop() {
            return Ok(());
        }
        match from_workers.recv_timeout(LOOK) {
            Ok((at, result)) => waiting.insert(at, result),
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        while let Some(result) = waiting.remove(&number) {
            if !each(result?)? {
                return Ok(());
            }
            number += 1;
            // The reader may be gone.
            let _ = give_back.recv();
        }
    }
    // Whoever held a block that is missing is gone without a word; so may the reader be.
    if !waiting.is_empty() {
        return Err(io::Error::other("a block of lines was lost"));
    }
    reader
        .join()
        .map_err(|_| io::Error::other("the reader panicked"))
}

fn next(from_reader: &Mutex<Receiver<Block>>) -> Result<Block, ()> {
    let from_reader = from_reader.lock().unwrap_or_else(PoisonError::into_inner);
    from_reader.recv().map_err(|_| ())
}

/// Reads blocks until the end. A read that brings less than was asked for is passed on at once:
/// whoever writes slowly waits for an answer.
fn read(mut input: impl Read, to_workers: &SyncSender<Block>, take: &SyncSender<()>) {
    let mut number = 0;
    let mut send = |lines: io::Result<Vec<u8>>| {
        let sent = take.send(()).is_ok() && to_workers.send(Block { number, lines }).is_ok();
        number += 1;
        sent
    };
    let mut lines = Vec::new();
    loop {
        let len = lines.len();
        lines.resize(len + READ, 0);
        match input.read(&mut lines[len..]) {
            Ok(0) => {
                lines.truncate(len);
                if !lines.is_empty() {
                    send(Ok(lines));
                }
                return;
            }
            Ok(read) => {
                lines.truncate(len + read);
                if let Some(end) = memchr::memrchr(b'\n', &lines[len..]) {
                    let rest = lines.split_off(len + end + 1);
                    if !send(Ok(std::mem::replace(&mut lines, rest))) {
                        return;
                    }
                } else if lines.len() > LONGEST {
                    let problem = format!("a line is longer than {} MiB", LONGEST >> 20);
                    send(Err(io::Error::new(io::ErrorKind::InvalidData, problem)));
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => lines.truncate(len),
            Err(error) => {
                send(Err(error));
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives few bytes at a time.
    struct Trickle(Vec<u8>, usize);

    impl Read for Trickle {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let len = self.1.min(self.0.len()).min(out.len());
            out[..len].copy_from_slice(&self.0[..len]);
            self.0.drain(..len);
            Ok(len)
        }
    }

    fn through(input: impl Read + Send + 'static, workers: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let worker = || -> Work<Vec<u8>> { Box::new(<[u8]>::to_vec) };
        run(
            input,
            workers,
            worker,
            || false,
            |lines| {
                assert!(lines.ends_with(b"\n") || lines.ends_with(b"end"));
                out.extend(lines);
                Ok(true)
            },
        )
        .expect("nothing fails");
        out
    }

    #[test]
    fn lines_come_out_whole_and_in_order() {
        let text: String = (0..3000)
            .map(|i| format!("{}\n", "x".repeat(i % 97)))
            .collect();
        let text = (text + "the end").into_bytes();
        for workers in [1, 2, 5] {
            for bytes in [1, 7, 100, usize::MAX] {
                assert_eq!(through(Trickle(text.clone(), bytes), workers), text);
            }
        }
        assert_eq!(through(io::empty(), 2), b"");
    }

    #[test]
    fn a_line_without_an_end_is_refused() {
        let worker = || -> Work<()> { Box::new(|_| ()) };
        let error = run(io::repeat(b'x'), 1, worker, || false, |()| Ok(true)).expect_err("endless");
        assert_eq!(error.to_string(), "a line is longer than 64 MiB");
    }

    #[test]
    fn a_worker_that_panics_is_an_error_behind_what_came_before() {
        let text = b"1\n2\n3\npanic\n4\n5\n6\n7\n8\n9\n".to_vec();
        for workers in [1, 3] {
            let mut seen = Vec::new();
            let worker = || -> Work<Vec<u8>> {
                Box::new(|lines| {
                    assert!(!lines.starts_with(b"p"), "as this test wants it");
                    lines.to_vec()
                })
            };
            let text = Trickle(text.clone(), 2);
            let error = run(
                text,
                workers,
                worker,
                || false,
                |lines| {
                    seen.extend(lines);
                    Ok(true)
                },
            )
            .expect_err("a worker panics");
            assert_eq!(error.to_string(), "a worker panicked");
            assert_eq!(seen, b"1\n2\n3\n");
        }
    }

    #[test]
    fn a_reader_that_panics_is_an_error_and_no_end() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                panic!("as this test wants it")
            }
        }
        let worker = || -> Work<()> { Box::new(|_| ()) };
        let error = run(Broken, 1, worker, || false, |()| Ok(true)).expect_err("it panics");
        assert_eq!(error.to_string(), "the reader panicked");
    }

    #[test]
    fn a_reader_that_fails_is_reported_behind_what_it_gave() {
        struct Broken(bool);
        impl Read for Broken {
            fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
                if std::mem::replace(&mut self.0, true) {
                    return Err(io::Error::other("gone"));
                }
                out[..2].copy_from_slice(b"a\n");
                Ok(2)
            }
        }
        let mut seen = Vec::new();
        let worker = || -> Work<Vec<u8>> { Box::new(<[u8]>::to_vec) };
        let error = run(
            Broken(false),
            2,
            worker,
            || false,
            |lines| {
                seen.extend(lines);
                Ok(true)
            },
        )
        .expect_err("it fails");
        assert_eq!(
            (error.to_string().as_str(), &seen[..]),
            ("gone", &b"a\n"[..])
        );
    }
}
