//! [`ScreenCache`]: screens of output heads in a folder, each made once for all processes.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use bitnet_gguf::Gguf;
use bitnet_kernels::{Backend, ScreenForm, ScreenParts, WeightId, WeightSource};

use super::folder;
use super::problem::StoreProblem;
use super::screen_file::{self, HASH, ScreenFile};

/// Ends the name of a file.
const ENDING: &str = "screen";
/// Rows of the head that tell it from others.
const TELLING: usize = 64;

/// Told of what becomes of files.
type Told = Arc<dyn Fn(&StoreProblem) + Send + Sync>;

/// A folder for screens of output heads, which the CPU searches for the best logits instead of the
/// head itself.
///
/// A screen takes a process its first passes to make, and depends on the model's file alone. So the
/// process that has made one writes it here, whole or not at all, and others search through it from
/// their first pass on. Files are named by a hash of what they depend on: the codes of the screen,
/// some rows of the head, and size, times and place of the model's file. What is read of one is
/// held to its checksums; one that is damaged is never used, and made again.
#[derive(Clone)]
pub struct ScreenCache {
    folder: PathBuf,
    limit: u64,
    least: u64,
    told: Option<Told>,
}

impl ScreenCache {
    /// In this folder, which is made when there is something to be kept.
    pub fn new(folder: impl Into<PathBuf>) -> ScreenCache {
        ScreenCache {
            folder: folder.into(),
            limit: 2 << 30,
            least: 16 << 20,
            told: None,
        }
    }

    /// Most bytes of files, 2 GiB by default; those that were used least recently go first.
    pub fn limit(mut self, bytes: u64) -> ScreenCache {
        self.limit = bytes;
        self
    }

    /// Bytes from which on a screen is kept, 16 MiB by default: others are made as fast.
    pub fn least(mut self, bytes: u64) -> ScreenCache {
        self.least = bytes;
        self
    }

    /// Called where a file cannot be used or written, from any thread. Nothing else comes of that.
    pub fn problems(mut self, told: impl Fn(&StoreProblem) + Send + Sync + 'static) -> ScreenCache {
        self.told = Some(Arc::new(told));
        self
    }

    fn tell(&self, problem: &StoreProblem) {
        if let Some(told) = &self.told {
            told(problem);
        }
    }
}

impl fmt::Debug for ScreenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScreenCache")
            .field("folder", &self.folder)
            .field("limit", &self.limit)
            .field("least", &self.least)
            .finish_non_exhaustive()
    }
}

/// The screen of a model that was loaded, on its way from a file or to one.
pub(crate) struct Screens {
    cache: ScreenCache,
    file: Arc<Gguf>,
    /// That of the model's file when it was opened.
    stamp: Vec<u8>,
    of: [u8; HASH],
    form: ScreenForm,
    state: State,
}

enum State {
    /// The device searches through a file, and copies it.
    Using(Arc<ScreenFile>),
    /// The device makes it.
    Making,
    /// A thread writes it.
    Writing(JoinHandle<()>),
    /// Nothing is left to be done.
    Done,
}

impl Screens {
    /// Gives the screen that is kept of a model to its device. Nothing where the device has none to
    /// be kept, or the model is in no file.
    pub(crate) fn open(
        cache: &ScreenCache,
        file: &Arc<Gguf>,
        backend: &mut dyn Backend,
    ) -> Option<Screens> {
        let form = backend.screen()?.form();
        let len = screen_file::file_len(&form) as u64;
        if (form.bytes() as u64) < cache.least || len > cache.limit {
            return None;
        }
        let stamp = file.stamp()?;
        let of = fingerprint(file, &stamp, &form, backend)?;
        let mut screens = Screens {
            cache: cache.clone(),
            file: Arc::clone(file),
            stamp,
            of,
            form,
            state: State::Making,
        };
        let path = screens.path();
        match ScreenFile::find(&path, &of, &screens.form) {
            Ok(None) => {}
            Ok(Some(kept)) => {
                folder::note_use(&path);
                let kept = Arc::new(kept);
                screens.state = State::Using(Arc::clone(&kept));
                backend.screen()?.take(kept);
            }
            Err(problem) => cache.tell(&problem),
        }
        Some(screens)
    }

    /// The head, where its screen comes from a file.
    pub(crate) fn head_of_kept(&self) -> Option<WeightId> {
        matches!(self.state, State::Using(_)).then_some(self.form.weight)
    }

    fn path(&self) -> PathBuf {
        let name = blake3::Hash::from_bytes(self.of).to_hex();
        self.cache.folder.join(format!("{name}.{ENDING}"))
    }

    /// Sees to it that the next pass can read what is used.
    pub(crate) fn before_pass(&self) {
        if let State::Using(kept) = &self.state {
            kept.check_length();
        }
    }

    /// Gives up a file that the last pass has found damaged, and writes the screen once it is made.
    pub(crate) fn after_pass(&mut self, backend: &mut dyn Backend) {
        match &self.state {
            State::Using(kept) if kept.is_damaged() => {
                let path = self.path();
                let what = "what is in it has not its checksum";
                self.cache.tell(&StoreProblem::Damaged { path, what });
                self.state = State::Making;
            }
            State::Using(_) | State::Making => {}
            State::Writing(_) | State::Done => return,
        }
        let Some(made) = backend.screen().and_then(|screen| screen.complete()) else {
            return;
        };
        // Rows that were read of a file that was written to meanwhile are of two models.
        let writes =
            matches!(self.state, State::Making) && self.file.stamp().as_ref() == Some(&self.stamp);
        self.state = match writes {
            true => self.write(made).map_or(State::Done, State::Writing),
            false => State::Done,
        };
    }

    /// Has a thread write the screen, and make room for it.
    fn write(&self, made: Arc<dyn ScreenParts>) -> Option<JoinHandle<()>> {
        let (cache, path) = (self.cache.clone(), self.path());
        let (of, form) = (self.of, self.form.clone());
        let thread = thread::Builder::new().name("bitnet-screen".to_owned());
        let started = thread.spawn(move || {
            let written = screen_file::write(&path, &of, &form, &*made);
            let written = written.and_then(|()| make_room(&cache, &path));
            if let Err(source) = written {
                cache.tell(&StoreProblem::Io { path, source });
            }
        });
        // Where there is no thread for it, the next process makes it again.
        started.ok()
    }
}

impl Drop for Screens {
    fn drop(&mut self) {
        if let State::Writing(thread) = std::mem::replace(&mut self.state, State::Done) {
            // A thread that has panicked leaves no file.
            let _ = thread.join();
        }
    }
}

/// Removes the files that were used least recently, until the others have room; never the one that
/// was just written.
fn make_room(cache: &ScreenCache, written: &Path) -> std::io::Result<()> {
    let found = folder::by_age(&cache.folder, ENDING)?;
    let mut all = found.iter().map(|file| file.bytes).sum::<u64>();
    for file in found.iter().filter(|file| file.path != written) {
        if all <= cache.limit {
            break;
        }
        folder::remove(&file.path)?;
        all -= file.bytes;
    }
    Ok(())
}

/// BLAKE3 of what a screen depends on.
fn fingerprint(
    file: &Gguf,
    stamp: &[u8],
    form: &ScreenForm,
    backend: &dyn Backend,
) -> Option<[u8; HASH]> {
    let head = backend.program().weight(form.weight);
    let mut hasher = blake3::Hasher::new();
    let made_of = (head.format, head.rows, head.cols);
    let form = (screen_file::VERSION, form.codes, &form.parts);
    hasher.update(format!("{made_of:?} {form:?}").as_bytes());
    hasher.update(stamp);
    let start = file.find(&head.name)?.start;
    let mut row = vec![0; head.format.row_bytes(head.cols)?];
    for telling in 0..TELLING {
        let at = telling * head.rows.saturating_sub(1) / (TELLING - 1);
        file.copy(start + at * row.len(), &mut row).ok()?;
        hasher.update(&row);
    }
    Some(hasher.finalize().into())
}
