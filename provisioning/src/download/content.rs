//! Telling by its first bytes what cannot be the file that was asked for: a page of a gate or a
//! mirror, the pointer of a clone without LFS, or something else under the name of a model.

use std::io::{self, Read};
use std::path::Path;

/// Bytes that are looked at: more than the longest mark, white space before it included.
const HEAD: u64 = 512;

const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// What the file at `path` is instead of the one that will be called `name`; none if it may be it.
///
/// # Errors
/// It cannot be read.
pub(super) fn impostor(path: &Path, name: &Path) -> io::Result<Option<&'static str>> {
    let mut head = Vec::new();
    bitnet_files::open(path)?
        .take(HEAD)
        .read_to_end(&mut head)?;
    Ok(recognise(&head, name))
}

fn recognise(head: &[u8], name: &Path) -> Option<&'static str> {
    let ends_in = |ending: &str| {
        name.extension()
            .is_some_and(|found| found.eq_ignore_ascii_case(ending))
    };
    if head.starts_with(LFS_POINTER) {
        return Some(
            "a Git LFS pointer, which stands for the file where LFS is not set up \
             (in a clone: git lfs pull)",
        );
    }
    if is_page(head) && !ends_in("html") && !ends_in("htm") {
        return Some("a web page; perhaps one to log in or to agree on");
    }
    if ends_in("gguf") && !head.starts_with(&bitnet_gguf::MAGIC) {
        return Some("no GGUF file: it does not begin with `GGUF`");
    }
    None
}

fn is_page(head: &[u8]) -> bool {
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let text = text.trim_ascii_start();
    [&b"<!doctype html"[..], b"<html"].iter().any(|mark| {
        text.get(..mark.len())
            .is_some_and(|begin| begin.eq_ignore_ascii_case(mark))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_pointers_and_other_files_are_told_from_models() {
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n";
        for (head, name, found) in [
            (&b"GGUF\x03\0\0\0"[..], "m.gguf", None),
            (b"GGU", "m.gguf", Some("no GGUF")),
            (b"", "M.GGUF", Some("no GGUF")),
            (b"PK\x03\x04", "m.gguf", Some("no GGUF")),
            (pointer, "m.gguf", Some("LFS pointer")),
            (pointer, "tokenizer.json", Some("LFS pointer")),
            (b"\n <!DOCTYPE html><html>", "m.gguf", Some("web page")),
            (b"\xef\xbb\xbf<HTML>", "tokenizer.json", Some("web page")),
            (b"<html>", "readme.html", None),
            (b"{\"a\": \"<html>\"}", "tokenizer.json", None),
        ] {
            let said = recognise(head, Path::new(name));
            assert_eq!(said.is_some(), found.is_some(), "{name}: {head:?}");
            assert!(said.unwrap_or("").contains(found.unwrap_or("")), "{said:?}");
        }
    }
}
