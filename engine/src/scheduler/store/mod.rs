//! [`PrefixStore`]: what was read, in files that other processes and machines go on from.

mod file;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread::{self, JoinHandle};

use bitnet_kernels::{BackendError, Program};

use crate::engine::Engine;
use crate::error::Error;
use crate::kept::folder;
use crate::kept::problem::StoreProblem;
use crate::model::Model;
use crate::session::Session;
use file::Header;

/// Ends the name of a file.
const ENDING: &str = "prefix";
/// Files that wait to be written.
const AHEAD: usize = 2;
/// A file is worth reading where it has at least this many tokens more than are known.
const WORTH_READING: usize = 16;
/// And where these are at least one in so many of all that it has.
const WORTH_A_SHARE: usize = 8;

/// A folder of files, each with what a model has read of one sequence: what a
/// [`Scheduler`](super::Scheduler) no longer keeps in memory, and what it kept at its end.
///
/// Files are named by a hash of the model and the tokens, and written whole or not at all. One
/// that is damaged, of another model or of another version is never used, and stays where it is
/// until it is the one that was used least recently and room is needed. Results do not depend on
/// the instruction set, so a file is valid on every machine.
pub struct PrefixStore {
    folder: PathBuf,
    limit: u64,
    model: Model,
    /// BLAKE3 of what keys, values and states depend on beside the tokens.
    fingerprint: [u8; blake3::OUT_LEN],
    /// The one that was used latest comes last.
    files: Vec<Stored>,
    problems: Vec<StoreProblem>,
    writer: Option<Writer>,
}

/// A file of the folder.
struct Stored {
    path: PathBuf,
    bytes: u64,
    /// What is in it; nothing where it cannot be used.
    header: Option<Header>,
    /// Whether it is there.
    written: bool,
}

/// The thread that writes files.
struct Writer {
    orders: SyncSender<Order>,
    written: Receiver<(PathBuf, io::Result<()>)>,
    thread: JoinHandle<()>,
}

/// A file to be written.
struct Order {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl PrefixStore {
    /// Opens a folder, or makes it, for what is read with an engine's model: at most `limit` bytes
    /// of files. Takes reading the whole model, to name it.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] where the tokenizer's file cannot be read any more; [`Error::Backend`]
    /// where sequences on the device [share nothing](bitnet_kernels::Forward::sharing);
    /// [`Error::Store`] where the folder cannot be made or read, or there is no thread.
    pub fn open(engine: &Engine, folder: &Path, limit: u64) -> Result<PrefixStore, Error> {
        let failed = |source| {
            let path = folder.to_owned();
            Error::Store { path, source }
        };
        let model = engine.model();
        if !model.with_backend(|backend| backend.sharing().is_some()) {
            return Err(Error::Backend(BackendError::Unsupported {
                device: model.device(),
                what: "going on from what another sequence has read".to_owned(),
            }));
        }
        fs::create_dir_all(folder).map_err(failed)?;
        let identity = engine.identity()?;
        let (graph, numerics) = (identity.graph.as_bytes(), identity.numerics.as_bytes());
        let parts = [identity.model, *graph, *numerics].concat();
        let mut store = PrefixStore {
            folder: folder.to_owned(),
            limit,
            model: model.clone(),
            fingerprint: blake3::hash(&parts).into(),
            files: Vec::new(),
            problems: Vec::new(),
            writer: Some(Writer::start().map_err(failed)?),
        };
        store.look().map_err(failed)?;
        store.make_room();
        Ok(store)
    }

    /// Finds the files of the folder.
    fn look(&mut self) -> io::Result<()> {
        let found = folder::by_age(&self.folder, ENDING)?;
        self.files = found
            .into_iter()
            .map(|found| {
                let header = match found.begun {
                    true => Err(StoreProblem::Unfinished {
                        path: found.path.clone(),
                    }),
                    false => self.header(&found.path),
                };
                let header = header.map_err(|problem| self.problems.push(problem)).ok();
                Stored {
                    path: found.path,
                    bytes: found.bytes,
                    header,
                    written: true,
                }
            })
            .collect();
        Ok(())
    }

    fn header(&self, path: &Path) -> Result<Header, StoreProblem> {
        let file = bitnet_files::open(path);
        let mut file = file.map_err(|source| StoreProblem::Io {
            path: path.to_owned(),
            source,
        })?;
        let program = &self.model.plan().program;
        Header::read(path, &mut file, program, &self.fingerprint)
    }

    /// What has happened to files since this was asked last.
    pub(super) fn problems(&mut self) -> Vec<StoreProblem> {
        self.take_written();
        std::mem::take(&mut self.problems)
    }

    /// Reads the file from which a sequence of this capacity could go on with most of `tokens`, if
    /// those beyond the `known` ones are worth it, and it has no more than `room` bytes.
    pub(super) fn read(
        &mut self,
        tokens: &[u32],
        capacity: usize,
        known: usize,
        room: usize,
    ) -> Option<(Session, Vec<u32>)> {
        self.take_written();
        let program = &self.model.plan().program;
        let gain = |stored: &Stored| {
            let header = stored.header.as_ref()?;
            let usable = header.usable(program, tokens, capacity);
            let gain = usable.checked_sub(known.saturating_add(WORTH_READING))?;
            let worth = gain >= header.tokens.len() / WORTH_A_SHARE;
            (worth && stored.bytes <= room as u64).then_some(gain)
        };
        let all = self.files.iter().enumerate();
        let all = all.filter_map(|(at, stored)| Some((gain(stored)?, at)));
        let (_, best) = all.max()?;
        let path = self.files[best].path.clone();
        self.take_written_until(&path);
        let at = self.files.iter().position(|stored| stored.path == path)?;
        let mut stored = self.files.remove(at);
        match file::restore(&stored.path, &self.model, &self.fingerprint) {
            Ok(read) => {
                folder::note_use(&stored.path);
                self.files.push(stored);
                Some(read)
            }
            Err(problem) => {
                stored.header = None;
                self.files.insert(0, stored);
                self.problems.push(problem);
                None
            }
        }
    }

    /// Has a sequence that has read `tokens` written, if there is room for it. Where others are
    /// being written still it waits for them, or is left out.
    pub(super) fn write(&mut self, session: &Session, tokens: &[u32], waits: bool) {
        self.take_written();
        let program = &self.model.plan().program;
        let path = self.place(program, tokens, session.capacity());
        let known = |stored: &Stored| stored.header.is_some() && stored.path == path;
        if let Some(known) = self.files.iter().position(known) {
            let known = self.files.remove(known);
            return self.files.push(known);
        }
        let header = Header::of(self.fingerprint, session, tokens);
        let len = header.file_len(program) as u64;
        if len > self.limit {
            return;
        }
        let Some(writer) = &self.writer else {
            return;
        };
        let bytes = match file::write(&header, program, session) {
            Ok(bytes) => bytes,
            Err(source) => {
                let source = Box::new(source);
                return self.problems.push(StoreProblem::Device { path, source });
            }
        };
        let order = Order {
            path: path.clone(),
            bytes,
        };
        let sent = match waits {
            true => writer.orders.send(order).map_err(drop),
            false => writer.orders.try_send(order).map_err(drop),
        };
        if sent.is_err() {
            return self.problems.push(StoreProblem::Busy { path });
        }
        // One of its name, which cannot be used, is replaced.
        self.files.retain(|stored| stored.path != path);
        self.files.push(Stored {
            path,
            bytes: len,
            header: Some(header),
            written: false,
        });
        self.make_room();
    }

    /// Waits for what is being written. Nothing can be written any more.
    pub(super) fn wait(&mut self) {
        let Some(Writer {
            orders,
            written,
            thread,
        }) = self.writer.take()
        else {
            return;
        };
        drop(orders);
        // A thread that has panicked has written what it has.
        let _ = thread.join();
        for (path, written) in written {
            self.note(&path, written);
        }
    }

    /// Where what a sequence of this capacity has read belongs.
    fn place(&self, program: &Program, tokens: &[u32], capacity: usize) -> PathBuf {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.fingerprint);
        let long = program
            .rotations
            .iter()
            .filter_map(|rope| rope.long.as_ref());
        for long in long {
            hasher.update(&[u8::from(capacity > long.beyond)]);
        }
        for token in tokens {
            hasher.update(&token.to_le_bytes());
        }
        let name = hasher.finalize().to_hex();
        self.folder.join(format!("{name}.{ENDING}"))
    }

    /// Takes note of what was written meanwhile.
    fn take_written(&mut self) {
        while let Some((path, written)) = self
            .writer
            .as_ref()
            .and_then(|writer| writer.written.try_recv().ok())
        {
            self.note(&path, written);
        }
    }

    /// Takes note of what is being written until this file is not among it.
    fn take_written_until(&mut self, path: &Path) {
        let is_coming = |stored: &Stored| stored.path == path && !stored.written;
        while self.files.iter().any(is_coming)
            && let Some((path, written)) = self
                .writer
                .as_ref()
                .and_then(|writer| writer.written.recv().ok())
        {
            self.note(&path, written);
        }
    }

    fn note(&mut self, path: &Path, written: io::Result<()>) {
        let at = self.files.iter().position(|stored| stored.path == path);
        match (at, written) {
            (Some(at), Ok(())) => {
                self.files[at].written = true;
                self.drop_beginnings(at);
            }
            // It had to make room before it was there.
            (None, Ok(())) => self.remove(path),
            (at, Err(source)) => {
                at.map(|at| self.files.remove(at));
                let path = path.to_owned();
                self.problems.push(StoreProblem::Io { path, source });
            }
        }
    }

    /// Removes what a file begins with: it is no longer needed.
    fn drop_beginnings(&mut self, of: usize) {
        let Stored {
            path,
            header: Some(new),
            ..
        } = &self.files[of]
        else {
            return;
        };
        let program = &self.model.plan().program;
        let is_beginning = |stored: &&Stored| match &stored.header {
            Some(old) if stored.path != *path => {
                old.tokens.len() == old.usable(program, &new.tokens, new.capacity)
            }
            _ => false,
        };
        let old = self.files.iter().filter(is_beginning);
        let old: Vec<PathBuf> = old.map(|stored| stored.path.clone()).collect();
        self.files.retain(|stored| !old.contains(&stored.path));
        for path in old {
            self.remove(&path);
        }
    }

    /// Removes the files that were used least recently, until the others have room.
    fn make_room(&mut self) {
        let mut all = self.files.iter().map(|stored| stored.bytes).sum::<u64>();
        while all > self.limit {
            let oldest = self.files.remove(0);
            all -= oldest.bytes;
            self.remove(&oldest.path);
        }
    }

    fn remove(&mut self, path: &Path) {
        if let Err(source) = folder::remove(path) {
            let path = path.to_owned();
            self.problems.push(StoreProblem::Io { path, source });
        }
    }
}

impl Writer {
    fn start() -> io::Result<Writer> {
        let (orders, incoming) = sync_channel::<Order>(AHEAD);
        let (done, written) = channel();
        let thread = thread::Builder::new().name("prefix store".to_owned());
        let thread = thread.spawn(move || {
            for Order { path, bytes } in incoming {
                let written = bitnet_files::replace(&path, &bytes);
                // Nobody listens where the store is gone.
                let _ = done.send((path, written));
            }
        })?;
        Ok(Writer {
            orders,
            written,
            thread,
        })
    }
}

impl Drop for PrefixStore {
    fn drop(&mut self) {
        self.wait();
    }
}

impl std::fmt::Debug for PrefixStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PrefixStore")
            .field("folder", &self.folder)
            .field("limit", &self.limit)
            .field("files", &self.files.len())
            .finish_non_exhaustive()
    }
}
