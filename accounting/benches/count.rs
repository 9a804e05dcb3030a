//! Counting: throughput on prose and code beside other crates, and worst cases at two lengths.
//!
//! `cargo bench -p bitnet-accounting`; with `-- --test` every case runs once and checks its result.

use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use bitnet_accounting::Encoding;
use bitnet_tokenizers::Encode;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// This repository's pages and sources, of the endings given.
fn texts(endings: &[&str]) -> String {
    fn collect(folder: &Path, endings: &[&str], text: &mut String) {
        let Ok(entries) = std::fs::read_dir(folder) else {
            return;
        };
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                collect(&path, endings, text);
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                text.push_str(&std::fs::read_to_string(&path).unwrap_or_default());
            }
        }
    }
    let mut text = String::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    collect(&root, endings, &mut text);
    text
}

fn throughput(c: &mut Criterion) {
    for (kind, endings) in [("prose", &[".md"][..]), ("code", &[".rs", ".wgsl"])] {
        let text = texts(endings);
        let mut group = c.benchmark_group(format!("count/{kind}"));
        group.throughput(Throughput::Bytes(text.len() as u64));
        for (encoding, theirs, tiktoken) in [
            (
                Encoding::Cl100kBase,
                bpe_openai::cl100k_base(),
                tiktoken_rs::cl100k_base_singleton(),
            ),
            (
                Encoding::O200kBase,
                bpe_openai::o200k_base(),
                tiktoken_rs::o200k_base_singleton(),
            ),
        ] {
            let tokenizer = encoding.tokenizer();
            let mut counter = tokenizer.counter();
            let plain = Encode::default();
            let expected = tokenizer.encode(&text, plain).expect("ids").len();
            assert_eq!(counter.count(&text, plain).expect("a count"), expected);
            assert_eq!(tiktoken.encode_ordinary(&text).len(), expected);
            group.bench_function(BenchmarkId::new("this crate", encoding), |b| {
                b.iter(|| black_box(counter.count(&text, plain)));
            });
            group.bench_function(BenchmarkId::new("bpe-openai", encoding), |b| {
                b.iter(|| black_box(theirs.count(text.as_str())));
            });
            group.bench_function(BenchmarkId::new("tiktoken-rs", encoding), |b| {
                b.iter(|| black_box(tiktoken.count_ordinary(&text)));
            });
        }
    }
}

/// Bytes without a pattern, as the text that they are read as.
fn noise(len: usize) -> String {
    let mut state = 1_u64;
    let bytes: Vec<u8> = (0..len)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u8
        })
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn worst_cases(c: &mut Criterion) {
    let mut group = c.benchmark_group("worst");
    for (name, unit) in [("a", "a"), ("spaces", " "), ("emoji", "😀"), ("noise", "")] {
        for len in [4096, 1 << 20, 1 << 21] {
            let text = match unit {
                "" => noise(len),
                unit => unit.repeat(len / unit.len()),
            };
            group.throughput(Throughput::Bytes(text.len() as u64));
            for encoding in Encoding::ALL {
                let mut counter = encoding.tokenizer().counter();
                let mut id = String::new();
                let _ = write!(id, "{name}/{encoding}");
                group.bench_function(BenchmarkId::new(id, len), |b| {
                    b.iter(|| black_box(counter.count(&text, Encode::default())));
                });
            }
        }
    }
}

criterion_group! {
    name = counting;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800));
    targets = throughput, worst_cases
}
criterion_main!(counting);
