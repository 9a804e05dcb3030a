//! What a file claims must not decide how much memory is asked for: only what it holds may.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use bitnet_gguf::Gguf;

/// The system's allocator, with a record of the largest request.
struct Recording;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Recording = Recording;

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Recording {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `System.alloc` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// A file of 4 kB must never make the reader ask for more than this at once.
const LIMIT: usize = 64 * 1024;

#[test]
fn no_length_in_a_small_file_causes_a_large_allocation() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/golden");
    let mut header = fs::read(folder.join("llama-i2_s.gguf")).unwrap();
    header.truncate(4096);
    for position in 0..header.len() - 8 {
        for claim in [1u64 << 20, 1 << 32, 1 << 60, u64::MAX] {
            let mut changed = header.clone();
            changed[position..position + 8].copy_from_slice(&claim.to_le_bytes());
            LARGEST.store(0, Ordering::Relaxed);
            let opened = Gguf::from_bytes(changed);
            let largest = LARGEST.load(Ordering::Relaxed);
            assert!(opened.is_err(), "the tensors' data is missing");
            assert!(
                largest < LIMIT,
                "{largest} bytes were asked for when {claim} stood at byte {position}"
            );
        }
    }
}
