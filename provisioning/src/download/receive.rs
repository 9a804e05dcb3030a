//! Taking a body into the part.

use std::io::{self, Read as _};

use super::answer::{AskError, Body};
use super::error::DownloadError;
use super::pace::Pace;
use super::space;
use super::transfer::{Transfer, Try};
use super::validators::Validators;

const BLOCK: usize = 1 << 18;

impl Transfer<'_> {
    /// Take a body into the part.
    pub(super) fn receive(&mut self, mut body: Body) -> Result<Try, DownloadError> {
        self.announced = body.announced;
        if let (Some(expected), Some(found)) = (self.expected_size(), body.total)
            && expected != found
        {
            return Err(self.size_mismatch(expected, found));
        }
        if let (Some(expected), Some(announced)) = (self.job.sha256, self.announced.sha256)
            && expected != announced
        {
            return Err(self.remove_wrong(announced)?);
        }
        if !body.end_is_marked && self.expected_sha256().is_none() && self.expected_size().is_none()
        {
            let cause = "the server does not say how long the file is, so a cut connection would go unnoticed; \
                         give its hash with --sha256";
            return Err(DownloadError::network(
                &self.job.source,
                AskError::Permanent(cause.into()),
                1,
                1,
            ));
        }
        if body.start > 0 {
            if !self.validators.agree_with(&body.validators) {
                return Ok(Try::Restart("the file on the server has changed".into()));
            }
            let mut again = [0];
            if body.reader.read_exact(&mut again).is_err() {
                return Ok(Try::Failed {
                    cause: "the connection was cut".into(),
                    pause: None,
                });
            }
            if Some(again[0]) != self.part.last() {
                return Ok(Try::Restart(
                    "the file on the server has other bytes".into(),
                ));
            }
            self.spliced = true;
        } else {
            if self.part.len() > 0 {
                self.detail(|| "the server sent the whole file instead of the rest".into());
            }
            self.begin(&body.validators)?;
        }
        self.check_space(body.total)?;
        self.pour(body)
    }

    /// A fresh part for a version with these validators.
    fn begin(&mut self, validators: &Validators) -> Result<(), DownloadError> {
        let place = &self.job.place;
        self.part.begin().map_err(|error| self.write_error(error))?;
        validators
            .store(place, &self.job.source)
            .map_err(|error| self.write_error(error))?;
        self.validators = validators.clone();
        self.spliced = false;
        Ok(())
    }

    fn check_space(&self, total: Option<u64>) -> Result<(), DownloadError> {
        let folder = self.job.place.folder();
        let remaining = total
            .or(self.expected_size())
            .unwrap_or(0)
            .saturating_sub(self.part.len());
        match space::lacks(folder, remaining) {
            Ok(None) => Ok(()),
            Ok(Some(available)) => Err(DownloadError::NoSpace {
                folder: folder.to_owned(),
                remaining,
                available,
            }),
            Err(error) => Err(DownloadError::io(
                "ask for the free space of",
                folder,
                error,
            )),
        }
    }

    fn pour(&mut self, mut body: Body) -> Result<Try, DownloadError> {
        let total = body.total.or(self.expected_size());
        let mut meter =
            self.downloader
                .progress
                .follow(&self.job.place.name(), self.part.len(), total);
        let mut pace = Pace::new(self.downloader.retry.stall);
        let mut block = vec![0; BLOCK];
        loop {
            if self.downloader.interrupt.is_raised() {
                return Err(self.interrupted());
            }
            let read = match body.reader.read(&mut block) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Ok(Try::Failed {
                        cause: format!("the connection was cut: {error}"),
                        pause: None,
                    });
                }
            };
            if read == 0 {
                break;
            }
            let found = self.part.len() + read as u64;
            match total {
                Some(total) if found > total && body.start > 0 => {
                    return Ok(Try::Restart(
                        "the server sent more bytes than it said".into(),
                    ));
                }
                Some(expected) if found > expected => {
                    self.discard()?;
                    return Err(self.size_mismatch(expected, found));
                }
                _ => {}
            }
            self.part
                .append(&block[..read])
                .map_err(|error| self.write_error(error))?;
            meter.add(read as u64);
            if !pace.keeps_up(read as u64) {
                return Ok(Try::Failed {
                    cause: "the transfer stalled".into(),
                    pause: None,
                });
            }
        }
        match total {
            Some(total) if self.part.len() < total => {
                let cause = format!(
                    "the connection was cut at {} of {total} bytes",
                    self.part.len()
                );
                Ok(Try::Failed { cause, pause: None })
            }
            _ => Ok(Try::Complete),
        }
    }
}
