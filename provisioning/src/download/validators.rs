//! `ETag` and `Last-Modified`: what tells one version of a remote file from another, kept beside
//! the download together with the address that they belong to. Another revision of a file may have
//! the same date.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::place::Place;
use super::source::Source;

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

    /// What is kept beside `place` of a file from `source`. Unreadable or odd content counts as
    /// nothing, and so does what another address said: it only costs a download.
    pub(super) fn load(place: &Place, source: &Source) -> Self {
        let address = source.to_string();
        let read = |path: PathBuf| {
            let text = bitnet_files::read_to_string(path).ok()?;
            let mut lines = text.lines();
            let line = lines.next()?;
            let sendable = !line.is_empty()
                && line.len() <= 1024
                && line.bytes().all(|b| (b' '..=b'~').contains(&b));
            sendable.then(|| (line.to_owned(), lines.next().map(str::to_owned)))
        };
        let of_this_address = |(line, from): (String, Option<String>)| {
            (from.as_deref() == Some(address.as_str())).then_some(line)
        };
        // Versions that kept no address left a tag alone, which is good enough: it names content.
        let of_this_or_none = |(line, from): (String, Option<String>)| {
            from.is_none_or(|from| from == address).then_some(line)
        };
        Self {
            etag: read(place.etag()).and_then(of_this_or_none),
            last_modified: read(place.last_modified()).and_then(of_this_address),
        }
    }

    /// Keep them beside `place` as what `source` said, each replaced atomically.
    pub(super) fn store(&self, place: &Place, source: &Source) -> io::Result<()> {
        keep(&place.etag(), self.etag.as_deref(), source)?;
        keep(
            &place.last_modified(),
            self.last_modified.as_deref(),
            source,
        )
    }

    /// Forget what is kept beside `place`.
    pub(super) fn forget(place: &Place) -> io::Result<()> {
        remove(&place.etag())?;
        remove(&place.last_modified())
    }
}

fn keep(path: &Path, text: Option<&str>, source: &Source) -> io::Result<()> {
    match text {
        Some(text) => bitnet_files::replace(path, format!("{text}\n{source}\n").as_bytes()),
        None => remove(path),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Place, Source, Validators};

    fn source(url: &str) -> Source {
        Source::Web(url.to_owned())
    }

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
        let (here, elsewhere) = (source("http://a/new"), source("http://a/old"));
        both.store(&place, &here).expect("stored");
        assert_eq!(Validators::load(&place, &here), both);
        assert_eq!(
            Validators::load(&place, &elsewhere),
            Validators::default(),
            "they belong to an address"
        );
        Validators::forget(&place).expect("forgotten");
        assert_eq!(Validators::load(&place, &here), Validators::default());
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
            let loaded = Validators::load(&place, &source("http://a/x"));
            assert_eq!(loaded.etag, None, "{odd:?}");
        }
    }

    #[test]
    fn a_tag_without_an_address_still_counts_and_a_date_does_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = Place::new(folder.path().join("m.gguf"));
        std::fs::write(place.etag(), "\"a\"\n").expect("written");
        let date = "Fri, 01 Jan 2021 00:00:00 GMT\n";
        std::fs::write(place.last_modified(), date).expect("written");
        let loaded = Validators::load(&place, &source("http://a/x"));
        assert_eq!(loaded, tag("\"a\""));
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
