//! Decoding allocates nothing: every allocation of this process is counted, on all threads.

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use bitnet_engine::{
    Device, Engine, GenerateOptions, LoadOptions, Output, Sampling, Session, Want,
};

/// The system's allocator, counted.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is handed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations() -> usize {
    ALLOCATIONS.load(Ordering::Relaxed)
}

/// Tokens after which everything has its size; the screen of the head is made by then.
const WARM: usize = 20;
const TOKENS: usize = 60;

fn engine(threads: usize) -> Engine {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/demo.gguf");
    let options = LoadOptions::default().device(Device::Cpu).threads(threads);
    Engine::open(demo, &options).unwrap()
}

fn steps(threads: usize) {
    let engine = engine(threads);
    let model = engine.model();
    let mut out = Output::default();
    for sequences in [1, 3] {
        let mut sessions: Vec<Session> = (0..sequences)
            .map(|_| model.session(WARM + TOKENS).unwrap())
            .collect();
        for want in [Want::Top(1), Want::Top(40), Want::Logits] {
            for session in &mut sessions {
                session.truncate(0);
            }
            let tokens = vec![7; sequences];
            let mut before = 0;
            for token in 0..WARM + TOKENS {
                if token == WARM {
                    before = allocations();
                }
                model.step(&mut sessions, &tokens, want, &mut out).unwrap();
            }
            let more = allocations() - before;
            assert_eq!(
                more, 0,
                "{sequences} sequences, {threads} threads, {want:?}"
            );
        }
    }
}

fn generation(threads: usize, sampling: &Sampling) {
    let engine = engine(threads);
    let options = GenerateOptions::default()
        .max_tokens(WARM + TOKENS)
        .sampling(sampling.clone())
        // The first pass over several guesses makes room for them.
        .speculate(0)
        .stop("a text that never comes");
    let mut counts = Vec::with_capacity(WARM + TOKENS);
    let mut generation = engine.generate(vec![859, 26, 199], &options).unwrap();
    for piece in &mut generation {
        piece.unwrap();
        counts.push(allocations());
    }
    let generated = generation.generated();
    assert!(generated.tokens.len() > WARM + 10, "{generated:?}");
    // What ends a generation may allocate; the last count is from there.
    let warm = &counts[WARM..counts.len() - 1];
    assert!(
        warm.iter().all(|count| *count == warm[0]),
        "{threads} threads, {sampling:?}: {warm:?}"
    );
}

/// One test, since others would be counted too.
#[test]
fn decoding_allocates_nothing() {
    for threads in [1, 2] {
        steps(threads);
        generation(threads, &Sampling::default());
        let sampling = Sampling::default().temperature(0.8).top_k(20);
        generation(threads, &sampling.repeat_penalty(1.1));
    }
}
