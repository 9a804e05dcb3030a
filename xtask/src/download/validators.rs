//! `ETag` and `Last-Modified`: what tells one version of a remote file from another, kept beside
//! the download.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::Place;

/// What a server said about the version it sent; empty if it said nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Validators {
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
}

impl Validators {
    pub(super) fn is_empty(&self) -> bool {
        self.etag.is_none() && self.last_modified.is_none()
    }

    /// The value for `If-Range`: a strong `ETag`, else the date. A weak tag does not promise equal
    /// bytes.
    pub(super) fn for_range(&self) -> Option<&str> {
        let strong = self.etag.as_deref().filter(|tag| !tag.starts_with("W/"));
        strong.or(self.last_modified.as_deref())
    }

    /// Whether a 206 with the validators `other` is of this version. One that was guarded by a tag
    /// must repeat the tag (RFC 9110, 15.3.7); a date may be left out.
    pub(super) fn agree_with(&self, other: &Self) -> bool {
        match (&self.etag, &self.last_modified, &other.last_modified) {
            (Some(_), ..) => self.etag == other.etag,
            (None, Some(known), Some(stated)) => known == stated,
            _ => true,
        }
    }

    /// What is kept beside `place`. Unreadable or odd content counts as nothing: it only costs a
    /// download.
    pub(super) fn load(place: &Place) -> Self {
        let read = |path: PathBuf| {
            let text = fs::read_to_string(path).ok()?;
            let line = text.trim_end_matches(['\r', '\n']);
            let sendable = !line.is_empty()
                && line.len() <= 1024
                && line.bytes().all(|b| (b' '..=b'~').contains(&b));
            sendable.then(|| line.to_owned())
        };
        Self {
            etag: read(place.etag()),
            last_modified: read(place.last_modified()),
        }
    }

    /// Keep them beside `place`, each replaced atomically.
    pub(super) fn store(&self, place: &Place) -> io::Result<()> {
        replace(&place.etag(), self.etag.as_deref())?;
        replace(&place.last_modified(), self.last_modified.as_deref())
    }

    /// Forget what is kept beside `place`.
    pub(super) fn forget(place: &Place) -> io::Result<()> {
        Self::default().store(place)
    }
}

fn replace(path: &Path, text: Option<&str>) -> io::Result<()> {
    let Some(text) = text else {
        return match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
    };
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    let temporary = PathBuf::from(name);
    let written = (|| {
        let mut file = File::create(&temporary)?;
        writeln!(file, "{text}")?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::{Place, Validators};

    fn tag(etag: &str) -> Validators {
        Validators {
            etag: Some(etag.into()),
            last_modified: None,
        }
    }

    #[test]
    fn what_is_stored_is_loaded_and_what_is_forgotten_is_gone() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = Place::new(folder.path().join("m.gguf"));
        let both = Validators {
            etag: Some("\"a\"".into()),
            last_modified: Some("Fri, 01 Jan 2021 00:00:00 GMT".into()),
        };
        both.store(&place).expect("stored");
        assert_eq!(Validators::load(&place), both);
        Validators::forget(&place).expect("forgotten");
        assert_eq!(Validators::load(&place), Validators::default());
        assert_eq!(
            std::fs::read_dir(folder.path()).expect("a folder").count(),
            0,
            "no temporary file stays"
        );
    }

    #[test]
    fn a_kept_tag_that_cannot_be_a_header_counts_as_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = Place::new(folder.path().join("m.gguf"));
        for odd in ["a\r\nX-Injected: 1", "\u{1}", "", &"a".repeat(2000)] {
            std::fs::write(place.etag(), odd).expect("written");
            assert_eq!(Validators::load(&place).etag, None, "{odd:?}");
        }
    }

    #[test]
    fn a_weak_tag_never_guards_a_range_and_differing_tags_never_agree() {
        assert_eq!(tag("W/\"a\"").for_range(), None);
        assert_eq!(tag("\"a\"").for_range(), Some("\"a\""));
        assert!(!tag("\"a\"").agree_with(&tag("\"b\"")));
        assert!(tag("\"a\"").agree_with(&tag("\"a\"")));
        assert!(!tag("\"a\"").agree_with(&Validators::default()));
        let dated = |date: &str| Validators {
            etag: None,
            last_modified: Some(date.into()),
        };
        assert!(dated("a").agree_with(&Validators::default()));
        assert!(!dated("a").agree_with(&dated("b")));
    }
}
