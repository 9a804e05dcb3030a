//! Has the pages of a model's file in memory before its first pass asks for them.

use std::ops::Range;
use std::sync::{Arc, Weak, mpsc};
use std::thread;

use bitnet_gguf::Gguf;
use bitnet_kernels::WeightSource;

use crate::model::Model;

/// A thread that maps a file while its model is made: what is in memory is mapped while the
/// tokenizer is made, which takes one thread. Where bytes are on the disk alone, it goes on behind
/// that, and reads what the first pass will, from the last weights to the first: the pass itself
/// comes from the other side, and a disk gives more to two that read in different places.
pub(crate) struct Pages {
    loaded: mpsc::Sender<Vec<Range<usize>>>,
    /// Whether the model is being made, for the thread.
    _opening: Arc<()>,
}

impl Pages {
    /// Where there is no thread for it, pages come with the first pass.
    pub(crate) fn of(file: &Arc<Gguf>) -> Pages {
        let opening = Arc::new(());
        let (loaded, wanted) = mpsc::channel();
        let (file, open) = (Arc::clone(file), Arc::downgrade(&opening));
        let thread = thread::Builder::new().name("bitnet-map".to_owned());
        let _ = thread.spawn(move || bring(&file, &open, &wanted));
        Pages {
            loaded,
            _opening: opening,
        }
    }

    /// Its model is made.
    pub(crate) fn loaded(self, model: &Model, file: &Gguf) {
        // Where there is no thread, or all is mapped, nobody waits for it.
        let _ = self.loaded.send(of_a_pass(model, file));
    }
}

fn bring(file: &Arc<Gguf>, opening: &Weak<()>, wanted: &mpsc::Receiver<Vec<Range<usize>>>) {
    if file.touch(|| opening.strong_count() > 0) {
        return;
    }
    // Of a model that could not be made, nothing is wanted.
    for part in wanted.recv().unwrap_or_default().into_iter().rev() {
        let is_used = || Arc::strong_count(file) > 1;
        if file.read_ahead(part, is_used).is_err() {
            return;
        }
    }
}

/// Where the weights lie that a pass reads whole, in the order in which it comes to them.
fn of_a_pass(model: &Model, file: &Gguf) -> Vec<Range<usize>> {
    let program = &model.plan().program;
    let kept = model.head_of_kept_screen();
    let weights = program.read_whole().filter(|id| Some(*id) != kept);
    weights
        .filter_map(|id| file.find(&program.weight(id).name))
        .collect()
}
