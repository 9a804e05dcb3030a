//! Threads are on the CPUs on which they were asked to be, and compute the same bits there.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::fs;

use bitnet_backend_cpu::{Affinity, CpuBackend, CpuOptions, Numa};
use bitnet_fixtures::Transformer;
use bitnet_kernels::{BackendError, Batch, Forward, Output, Segment, Want};

const PIN: Affinity = Affinity {
    pin: true,
    numa: None,
};

fn load(threads: Option<usize>, affinity: Affinity) -> Result<CpuBackend, BackendError> {
    let (program, weights) = Transformer::TINY.program();
    let options = CpuOptions {
        threads,
        affinity,
        ..CpuOptions::default()
    };
    CpuBackend::load(program, weights, options)
}

/// The logits of a few tokens.
fn logits(backend: &mut CpuBackend) -> Vec<u32> {
    let cache = backend.create_cache(4).expect("a cache");
    let batch = Batch {
        tokens: &[1, 2, 3],
        segments: &[Segment {
            cache,
            start: 0,
            len: 3,
        }],
        selected: &[0, 1, 2],
    };
    let mut out = Output::default();
    let passed = backend.forward(&batch, Want::Logits, &mut out);
    passed.expect("three tokens");
    out.logits.iter().map(|logit| logit.to_bits()).collect()
}

/// A field of what Linux tells of a thread.
fn field(thread: &str, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).expect("a thread");
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|line| line.strip_prefix(':'));
    value.expect("the field").trim().to_owned()
}

/// On which CPUs the threads of pools of this process may run, by their names.
fn allowed() -> BTreeMap<String, String> {
    let threads = fs::read_dir("/proc/self/task").expect("threads");
    let threads = threads.map(|thread| thread.expect("a thread").file_name());
    let threads = threads.map(|thread| {
        let thread = format!("self/task/{}", thread.display());
        let name = field(&thread, "Name");
        (name, field(&thread, "Cpus_allowed_list"))
    });
    threads
        .filter(|(name, _)| name.starts_with("bitnet-cpu-"))
        .collect()
}

/// One test, since threads of other tests are threads of this process.
#[test]
fn threads_are_where_they_were_asked_to_be_and_results_are_the_same() {
    let own = || field("thread-self", "Cpus_allowed_list");
    let before = own();
    let mut free = load(None, Affinity::default()).expect("threads start");
    assert!(allowed().values().all(|cpus| *cpus == before));
    let wanted = logits(&mut free);
    drop(free);

    let mut pinned = load(None, PIN).expect("each thread has a CPU");
    assert!(pinned.device().ends_with(" pinned"), "{}", pinned.device());
    let cpus: Vec<String> = allowed().into_values().collect();
    for (n, cpu) in cpus.iter().enumerate() {
        assert!(cpu.parse::<usize>().is_ok(), "{cpu} is one");
        assert!(!cpus[..n].contains(cpu), "{cpu} has one thread");
    }
    assert_eq!(logits(&mut pinned), wanted);
    assert_eq!(own(), before, "the caller is free again");
    drop(pinned);

    let Err(error) = load(Some(100_000), PIN) else {
        panic!("there are not so many CPUs");
    };
    assert!(matches!(error, BackendError::Affinity(_)), "{error}");
    assert!(error.to_string().contains("100000 threads"), "{error}");

    for numa in [Numa::Distribute, Numa::Isolate] {
        let affinity = Affinity {
            pin: false,
            numa: Some(numa),
        };
        match load(None, affinity) {
            Ok(mut backend) => assert_eq!(logits(&mut backend), wanted, "{numa:?}"),
            Err(error) => assert!(error.to_string().contains("NUMA nodes"), "{error}"),
        }
    }
    assert_eq!(own(), before);
}
