//! The download itself: one file, from the first request to the final name.
//!
//! The order of steps matters to anyone who kills us in between. `.etag` and `.lastmod` belong to
//! the part as soon as a part exists, so a new transfer creates the part first, then stores the
//! validators, then appends bytes; and whatever discards a part forgets the validators before it
//! removes the file.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bitnet_files::{Sha256Hex, hash_file};

use super::answer::{Announced, Answer, Ask, AskError, Refusal};
use super::error::{DownloadError, is_full};
use super::http::Web;
use super::job::{Downloader, Job, Outcome};
use super::part::Part;
use super::retry::Tries;
use super::source::Source;
use super::validators::Validators;
use super::{content, folder};

/// One job under its lock.
pub(super) struct Transfer<'a> {
    pub(super) downloader: &'a Downloader,
    pub(super) job: &'a Job<'a>,
    remote: Remote,
    pub(super) part: Part,
    /// Of the part, if there is one, else of the file.
    pub(super) validators: Validators,
    /// What the server last said of the whole file.
    pub(super) announced: Announced,
    /// The hash of the file, if it is there and does not have the one asked for.
    wrong_file: Option<Sha256Hex>,
    /// Some bytes of the part came with an earlier answer, and might be of another version.
    pub(super) spliced: bool,
    /// The last pause the server asked for, and whether it said 429.
    limited: Option<Option<Duration>>,
}

/// The other side.
enum Remote {
    Web(Web),
    File(PathBuf),
}

/// How one try ended.
pub(super) enum Try {
    /// Nothing was received: the file is current.
    Current,
    /// Every byte is in the part.
    Complete,
    /// Ask again at once.
    Again(String),
    /// Begin again from the first byte, at once.
    Restart(String),
    /// Perhaps the next time.
    Failed {
        cause: String,
        pause: Option<Duration>,
    },
}

impl<'a> Transfer<'a> {
    pub(super) fn new(downloader: &'a Downloader, job: &'a Job<'a>) -> Result<Self, DownloadError> {
        let remote = match &job.source {
            Source::Web(url) => Remote::Web(
                Web::new(
                    url,
                    job.token.as_ref(),
                    &downloader.proxies,
                    downloader.retry.stall,
                    &downloader.interrupt,
                )
                .map_err(|error| DownloadError::network(&job.source, error, 1, 1))?,
            ),
            Source::File(path) => Remote::File(path.clone()),
        };
        let part =
            Part::open(job.place.part(), &downloader.interrupt).map_err(|error| {
                match error.kind() {
                    io::ErrorKind::Interrupted => DownloadError::Interrupted {
                        part: Some(job.place.part().to_owned()),
                    },
                    _ => DownloadError::io("read", job.place.part(), error),
                }
            })?;
        let validators = Validators::load(&job.place, &job.source);
        let spliced = part.len() > 0;
        Ok(Self {
            downloader,
            job,
            remote,
            part,
            validators,
            announced: Announced::default(),
            wrong_file: None,
            spliced,
            limited: None,
        })
    }

    /// Bring the file, and leave the folder as promised.
    pub(super) fn run(mut self) -> Result<Outcome, DownloadError> {
        let outcome = self.bring();
        // An interrupt shows itself as whatever it broke: a read, a connection, a wait.
        let stopped = self.downloader.interrupt.is_raised() && outcome.is_err();
        if outcome.is_err() && self.part.exists() && self.part.len() == 0 {
            self.discard()?;
        }
        if stopped {
            let part = self.part.exists().then(|| self.job.place.part().to_owned());
            return Err(DownloadError::Interrupted { part });
        }
        outcome
    }

    fn bring(&mut self) -> Result<Outcome, DownloadError> {
        if let Some(outcome) = self.already_here()? {
            return Ok(outcome);
        }
        let mut tries = Tries::new(&self.downloader.retry, self.part.len());
        loop {
            let cause = match self.attempt()? {
                Try::Current => match self.wrong_file {
                    Some(found) => return Err(self.remove_wrong(found)?),
                    None => return Ok(Outcome::UpToDate { sha256: None }),
                },
                Try::Again(reason) => {
                    self.note(&reason);
                    continue;
                }
                Try::Restart(reason) => {
                    self.note(&format!("{reason}; starting again from the first byte"));
                    self.discard()?;
                    continue;
                }
                Try::Complete if self.hash_fits() => return self.finish(),
                Try::Complete if !self.spliced => return Err(self.wrong_bytes()?),
                Try::Complete => {
                    self.discard()?;
                    Try::Failed {
                        cause: "the continued file does not have the expected SHA256".into(),
                        pause: None,
                    }
                }
                failed @ Try::Failed { .. } => failed,
            };
            let Try::Failed { cause, pause } = cause else {
                continue;
            };
            let failed = tries.number();
            let Some(wait) = tries.after_failure(self.part.len(), pause) else {
                return Err(match self.limited {
                    Some(retry_after) => DownloadError::RateLimited {
                        source_name: self.job.source.to_string(),
                        tries: failed,
                        retry_after,
                    },
                    None => DownloadError::network(
                        &self.job.source,
                        AskError::Transient(cause),
                        failed,
                        tries.limit(),
                    ),
                });
            };
            if self.downloader.interrupt.is_raised() {
                return Err(self.interrupted());
            }
            self.note(&format!(
                "{}: {cause}; attempt {} of {} in {:.1} s",
                self.job.place.name(),
                tries.number(),
                tries.limit(),
                wait.as_secs_f64()
            ));
            if self.downloader.interrupt.sleep(wait) {
                return Err(self.interrupted());
            }
        }
    }

    /// What can be known without asking anyone: the file or the part already has the hash asked
    /// for.
    fn already_here(&mut self) -> Result<Option<Outcome>, DownloadError> {
        if self.job.force {
            self.discard()?;
            return Ok(None);
        }
        let file = self.job.place.file();
        if let Some(expected) = self.job.sha256 {
            if file.is_file() {
                let found = self.hash(file)?;
                if found == expected {
                    if self.part.exists() {
                        self.discard()?;
                    }
                    return Ok(Some(Outcome::UpToDate {
                        sha256: Some(found),
                    }));
                }
                self.wrong_file = Some(found);
            }
            if self.part.len() > 0 && self.part.sha256() == expected {
                return self.finish().map(Some);
            }
        }
        if self.part.exists() && (self.part.len() == 0 || !self.can_continue()) {
            self.discard()?;
        }
        Ok(None)
    }

    /// Bytes that can neither be matched with a version nor with a hash are of no use.
    fn can_continue(&self) -> bool {
        !self.validators.is_empty() || self.job.sha256.is_some()
    }

    /// Ask once, and take what comes.
    fn attempt(&mut self) -> Result<Try, DownloadError> {
        self.limited = None;
        if self.part.len() > 0 && !self.can_continue() {
            self.discard()?;
        }
        let held = self.part.len();
        let known = std::mem::take(&mut self.validators);
        let ask = if held > 0 {
            // One byte is asked for again: a finished part then gets an answer with a body rather
            // than a 416, and the byte must agree.
            Ask::From {
                start: held - 1,
                version: &known,
            }
        } else if !self.part.exists()
            && !self.job.force
            && !known.is_empty()
            && self.job.place.file().is_file()
        {
            Ask::IfChanged(&known)
        } else {
            Ask::Whole
        };
        self.detail(|| format!("asking {} for {ask:?}", self.job.source));
        let answer = match &self.remote {
            Remote::Web(web) => web.ask(ask),
            Remote::File(path) => folder::ask(path, ask),
        };
        self.validators = known;
        match answer {
            Err(AskError::Transient(cause)) => Ok(Try::Failed { cause, pause: None }),
            Err(error @ AskError::Permanent(_)) => {
                Err(DownloadError::network(&self.job.source, error, 1, 1))
            }
            Ok(Answer::NotModified) => Ok(Try::Current),
            Ok(Answer::RangeRefused) => Ok(Try::Restart(
                "the server has no such range (HTTP 416)".into(),
            )),
            Ok(Answer::Misaligned(what)) => Ok(Try::Restart(what)),
            Ok(Answer::Status(refusal)) => self.refused(refusal),
            Ok(Answer::Body(body)) => self.receive(body),
        }
    }

    fn refused(&mut self, refusal: Refusal) -> Result<Try, DownloadError> {
        let Refusal {
            code,
            retry_after,
            said,
        } = refusal;
        let source_name = self.job.source.to_string();
        let described = |status: String| match &said {
            Some(said) => format!("{status}: {said}"),
            None => status,
        };
        match code {
            401 if self.forget_saved_token() => Ok(Try::Again(
                "the server refuses the token of an earlier login; asking without it".into(),
            )),
            401 | 403 => Err(DownloadError::Auth {
                source_name,
                status: code,
                had_token: self.job.token.is_some(),
                said,
            }),
            404 | 410 => Err(DownloadError::NotFound {
                source_name,
                status: code,
                said,
            }),
            429 => {
                self.limited = Some(retry_after);
                Ok(Try::Failed {
                    cause: described("too many requests (HTTP 429)".into()),
                    pause: retry_after,
                })
            }
            407 => Err(DownloadError::network(
                &self.job.source,
                AskError::Permanent(described(
                    "the proxy asks for a name and a password (HTTP 407)".into(),
                )),
                1,
                1,
            )),
            408 | 500..=599 => Ok(Try::Failed {
                cause: described(format!("HTTP {code}")),
                pause: retry_after,
            }),
            _ => Err(DownloadError::network(
                &self.job.source,
                AskError::Permanent(described(format!("HTTP {code}"))),
                1,
                1,
            )),
        }
    }

    /// Whether there was a token of an earlier login, which is not sent any more.
    fn forget_saved_token(&mut self) -> bool {
        match &mut self.remote {
            Remote::Web(web) => web.forget_saved_token(),
            Remote::File(_) => false,
        }
    }

    /// The length that the file must have: the one asked for, else the one announced.
    pub(super) fn expected_size(&self) -> Option<u64> {
        self.job.size.or(self.announced.size)
    }

    /// The hash that the file must have: the one asked for, else the one announced.
    pub(super) fn expected_sha256(&self) -> Option<Sha256Hex> {
        self.job.sha256.or(self.announced.sha256)
    }

    fn hash_fits(&self) -> bool {
        self.expected_sha256()
            .is_none_or(|expected| expected == self.part.sha256())
    }

    /// Check the part, make it durable and give it its name.
    fn finish(&mut self) -> Result<Outcome, DownloadError> {
        let place = &self.job.place;
        let (bytes, sha256) = (self.part.len(), self.part.sha256());
        self.part.sync().map_err(|error| self.write_error(error))?;
        let found = content::impostor(place.part(), place.file())
            .map_err(|error| DownloadError::io("read", place.part(), error))?;
        if let Some(found) = found {
            self.discard()?;
            return Err(DownloadError::Impostor {
                source_name: self.job.source.to_string(),
                found,
            });
        }
        if let Some(check) = self.job.check
            && let Err(reason) = check(place.part())
        {
            self.discard()?;
            return Err(DownloadError::Rejected(reason));
        }
        if !self.job.keep_validators {
            Validators::forget(place).map_err(|error| self.write_error(error))?;
        }
        let renamed = self.part.rename_to(place.file(), place.folder());
        renamed.map_err(|error| {
            DownloadError::io("rename the finished download to", place.file(), error)
        })?;
        Ok(Outcome::Downloaded { bytes, sha256 })
    }

    /// Every byte came in one go, and they are not the ones expected.
    fn wrong_bytes(&mut self) -> Result<DownloadError, DownloadError> {
        let found = self.part.sha256();
        match (self.job.sha256, self.announced.sha256) {
            (None, Some(announced)) => {
                self.discard()?;
                Ok(DownloadError::Damaged {
                    source_name: self.job.source.to_string(),
                    announced,
                    found,
                })
            }
            _ => self.remove_wrong(found),
        }
    }

    /// The file on the server has another length than expected.
    pub(super) fn size_mismatch(&self, expected: u64, found: u64) -> DownloadError {
        DownloadError::SizeMismatch {
            source_name: self.job.source.to_string(),
            expected,
            found,
        }
    }

    /// What was asked for is not to be had: nothing that claims to be it may stay.
    pub(super) fn remove_wrong(
        &mut self,
        found: Sha256Hex,
    ) -> Result<DownloadError, DownloadError> {
        self.discard()?;
        let file = self.job.place.file();
        match std::fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(DownloadError::io("remove", file, error));
            }
            _ => {}
        }
        let expected = self.job.sha256.unwrap_or(found);
        Ok(DownloadError::HashMismatch {
            file: file.to_owned(),
            expected,
            found,
        })
    }

    /// Drop the part and what is known of its version.
    pub(super) fn discard(&mut self) -> Result<(), DownloadError> {
        Validators::forget(&self.job.place)
            .map_err(|error| DownloadError::io("remove", &self.job.place.etag(), error))?;
        self.validators = Validators::default();
        self.spliced = false;
        self.part
            .remove()
            .map_err(|error| DownloadError::io("remove", self.job.place.part(), error))
    }

    fn hash(&self, file: &Path) -> Result<Sha256Hex, DownloadError> {
        hash_file(file, || self.downloader.interrupt.is_raised()).map_err(|error| {
            match error.kind() {
                io::ErrorKind::Interrupted => self.interrupted(),
                _ => DownloadError::io("read", file, error),
            }
        })
    }

    pub(super) fn interrupted(&self) -> DownloadError {
        let part = (self.part.len() > 0).then(|| self.job.place.part().to_owned());
        DownloadError::Interrupted { part }
    }

    pub(super) fn write_error(&self, error: io::Error) -> DownloadError {
        let part = self.job.place.part();
        if is_full(&error) {
            return DownloadError::DiskFull {
                part: part.to_owned(),
                held: self.part.len(),
            };
        }
        DownloadError::io("write", part, error)
    }

    fn note(&self, text: &str) {
        self.downloader.progress.note(text);
    }

    pub(super) fn detail(&self, text: impl FnOnce() -> String) {
        self.downloader.progress.detail(text);
    }
}
