//! A server that misbehaves in a new way at every request, against the downloader itself: whatever
//! the order of faults, the file is one that the server had, or absent.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bitnet_fixtures::Noise;
use bitnet_process::Interrupt;
use bitnet_provisioning::download::{
    Downloader, Job, Place, Progress, Proxies, RetryPolicy, Source,
};

use super::server::{Remote, Reply, Request, Server, noise};
use super::workbench::{names_in, sha256};

const SEEDS: u64 = 150;

/// Random numbers, shared by the server's threads.
struct Dice(Mutex<Noise>);

impl Dice {
    fn roll(&self, sides: usize) -> usize {
        self.0.lock().expect("no panic").below(sides as u32) as usize
    }
}

/// One answer, good or bad. A lie about bytes that only a hash can uncover is told only where there
/// is one.
fn misbehave(dice: &Dice, remote: &Remote, request: &Request, may_lie: bool) -> Reply {
    let (good, len) = (remote.reply(request), remote.bytes.len());
    let start = request.range_start();
    match dice.roll(18) {
        0 => good.clone().cut_at(dice.roll(good.head_len())),
        1 | 2 => good.cut_body_at(dice.roll(len)),
        3 => Reply::new([500, 502, 503, 429, 408][dice.roll(5)]).body(b"trouble"),
        4 => remote.whole(),
        5 => remote.rest(start.map_or(0, |start| start / 2)),
        6 => Reply::new(206).body(&remote.bytes[start.unwrap_or(0).min(len - 1)..]),
        7 => Reply::new(416).body(b""),
        8 => Reply::new(200)
            .header("Content-Length", &(len + 1 + dice.roll(1000)).to_string())
            .raw_body(&remote.bytes),
        9 => Reply::new(200).chunked(&remote.bytes),
        10 => Reply::new(200)
            .chunked(&remote.bytes)
            .cut_body_at(dice.roll(len)),
        11 => Reply::new(302)
            .header("Location", &request.target)
            .body(b""),
        // A range, whatever version was meant; a piece of one; not one byte of the body.
        12 => remote.rest(start.unwrap_or(0)),
        13 => match start {
            Some(start) if start + 2 < len => {
                let end = start + 1 + dice.roll(len - start - 1);
                let range = format!("bytes {start}-{}/{len}", end - 1);
                let reply = Reply::new(206)
                    .header("ETag", &remote.etag)
                    .header("Content-Range", &range);
                reply.body(&remote.bytes[start..end])
            }
            _ => good,
        },
        14 => good.cut_body_at(0),
        15 if may_lie => match start {
            Some(start) => {
                let range = format!("bytes {start}-{}/{len}", len - 1);
                Reply::new(206)
                    .header("ETag", &remote.etag)
                    .header("Content-Range", &range)
                    .body(&noise(len - start, 8))
            }
            None => Reply::new(200)
                .header("ETag", &remote.etag)
                .body(&noise(len, 8)),
        },
        _ => good,
    }
}

#[test]
fn whatever_the_order_of_faults_the_file_is_right_or_absent() {
    let downloader = Downloader {
        retry: RetryPolicy {
            retries: 3,
            backoff: Duration::from_millis(1),
            ..RetryPolicy::default()
        },
        proxies: Proxies::default(),
        interrupt: Interrupt::default(),
        progress: Progress {
            shown: false,
            verbose: false,
        },
    };
    let allowed: BTreeSet<String> = ["f", "f.part", "f.etag", "f.lastmod"]
        .map(str::to_owned)
        .into();
    let mut arrived = 0;
    for seed in 0..SEEDS {
        let dice = Dice(Mutex::new(Noise::new(seed)));
        let first = Remote::new(noise(1 + dice.roll(100_000), seed));
        // The next version differs in its first byte and its length, so that only its tag tells it
        // from the first.
        let mut bytes = first.bytes.to_vec();
        bytes[0] ^= 1;
        bytes.extend(noise(dice.roll(1000), !seed));
        let second = Remote {
            etag: "\"v2\"".into(),
            ..Remote::new(bytes)
        };
        let change = 1 + dice.roll(12);
        let pinned = seed % 2 == 0;
        let (is_good, folder) = (
            std::sync::Arc::new(AtomicBool::new(false)),
            tempfile::tempdir().expect("a folder"),
        );
        let server = {
            let (first, second, is_good) = (first.clone(), second.clone(), is_good.clone());
            Server::start(move |n, request| {
                // The file changes on the server at some point, unless it is pinned by its hash.
                let remote = if !pinned && n >= change {
                    &second
                } else {
                    &first
                };
                if is_good.load(Ordering::SeqCst) {
                    remote.reply(request)
                } else {
                    misbehave(&dice, remote, request, pinned)
                }
            })
        };
        let job = Job {
            source: Source::Web(format!("{}/f", server.url())),
            place: Place::new(folder.path().join("f")),
            sha256: pinned.then(|| sha256(&first.bytes).parse().expect("a hash")),
            size: None,
            token: None,
            force: false,
            keep_validators: true,
            check: None,
        };
        for _ in 0..4 {
            let outcome = downloader.fetch(&job);
            arrived += usize::from(outcome.is_ok());
            let names = names_in(folder.path());
            assert!(
                names.is_subset(&allowed),
                "seed {seed}: {names:?} after {outcome:?}"
            );
            match std::fs::read(job.place.file()) {
                Ok(bytes) => assert!(
                    bytes == *first.bytes || (!pinned && bytes == *second.bytes),
                    "seed {seed}: a wrong file after {outcome:?}"
                ),
                Err(_) => assert!(outcome.is_err(), "seed {seed}: no file after {outcome:?}"),
            }
        }
        is_good.store(true, Ordering::SeqCst);
        // As many requests as it takes for the server to have its last version.
        for _ in 0..=change {
            downloader
                .fetch(&job)
                .unwrap_or_else(|error| panic!("seed {seed}: a good server, and yet: {error}"));
        }
        let bytes = std::fs::read(job.place.file()).expect("the file");
        let last = if pinned || server.requests().len() <= change {
            &first
        } else {
            &second
        };
        assert!(
            bytes == *last.bytes,
            "seed {seed}: not the server's last version"
        );
        assert!(!names_in(folder.path()).contains("f.part"), "seed {seed}");
    }
    assert!(
        arrived > 100,
        "some downloads ended well among the faults; {arrived} did"
    );
}
