//! Decoding allocates nothing: every allocation of this process is counted, on all threads.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bitnet_engine::gguf::Gguf;
use bitnet_engine::tokenizers::Tokenizer;
use bitnet_engine::{
    Device, GenerateOptions, LoadOptions, Model, Output, Sampling, Session, Want, generate,
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

fn model(threads: usize) -> (Arc<Gguf>, Model) {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/demo.gguf");
    let gguf = Arc::new(Gguf::open(demo).unwrap());
    let options = LoadOptions {
        device: Device::Cpu,
        threads: Some(threads),
        ..LoadOptions::default()
    };
    let model = Model::load(Arc::clone(&gguf), &options).unwrap();
    (gguf, model)
}

fn steps(threads: usize) {
    let (_, mut model) = model(threads);
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

fn generation(threads: usize, sampling: Sampling) {
    let (gguf, mut model) = model(threads);
    let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
    let prompt = [859, 26, 199];
    let mut session = model.session(prompt.len() + WARM + TOKENS).unwrap();
    let options = GenerateOptions {
        max_tokens: WARM + TOKENS,
        sampling,
        stop: vec!["a text that never comes".to_owned()],
    };
    let mut counts = Vec::with_capacity(WARM + TOKENS);
    let generation = generate(
        &mut model,
        &tokenizer,
        &mut session,
        &prompt,
        &options,
        |_| {
            counts.push(allocations());
            ControlFlow::Continue(())
        },
    )
    .unwrap();
    assert!(generation.tokens.len() > WARM + 10, "{generation:?}");
    // What ends a generation may allocate; the last count is from there.
    let warm = &counts[WARM..counts.len() - 1];
    assert!(
        warm.iter().all(|count| *count == warm[0]),
        "{threads} threads, {:?}: {warm:?}",
        options.sampling
    );
}

/// One test, since others would be counted too.
#[test]
fn decoding_allocates_nothing() {
    for threads in [1, 2] {
        steps(threads);
        let greedy = Sampling {
            temperature: 0.0,
            ..Sampling::default()
        };
        generation(threads, greedy.clone());
        let sampled = Sampling {
            temperature: 0.8,
            top_k: 20,
            top_p: 0.95,
            repeat_penalty: 1.1,
            ..greedy
        };
        generation(threads, sampled);
    }
}
