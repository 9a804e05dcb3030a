//! What no compiler checks: the width of comments, the first line of files, circles between files,
//! links between pages, and who may read the environment.

mod circles;

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every file below `folder` with one of these endings, but for what is built or fetched.
fn files(folder: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).expect("a folder of the repository");
    for entry in entries {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy();
        let built = ["target", "models", "corpus", "artifacts"].contains(&name.as_ref());
        if path.is_dir() && !built && !name.starts_with('.') {
            files(&path, endings, found);
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            found.push(path);
        }
    }
}

/// The paths of such files with their text.
fn texts(endings: &[&str]) -> Vec<(String, String)> {
    let root = root();
    let mut found = Vec::new();
    files(&root, endings, &mut found);
    assert!(!found.is_empty(), "no file ends in {endings:?}");
    found
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("text");
            let name = path.strip_prefix(&root).unwrap_or(&path);
            (name.to_string_lossy().into_owned(), text)
        })
        .collect()
}

fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

/// `max_width` of rustfmt.toml, which holds for comments too.
fn max_width() -> usize {
    let text = fs::read_to_string(root().join("rustfmt.toml")).expect("rustfmt.toml");
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix("max_width = "));
    let width = value.and_then(|value| value.parse().ok());
    width.expect("rustfmt.toml sets max_width")
}

#[test]
fn comments_are_no_wider_than_code() {
    let width = max_width();
    let mut wide = Vec::new();
    for (name, text) in texts(&[".rs", ".wgsl"]) {
        for (number, line) in (1..).zip(text.lines()) {
            let comment = line.trim_start().starts_with("//");
            // An address cannot be broken.
            if comment && !line.contains("://") && line.chars().count() > width {
                wide.push(format!("{name}:{number}"));
            }
        }
    }
    assert_none(&format!("comments of more than {width} columns"), &wide);
}

#[test]
fn every_file_says_first_what_it_is_for() {
    let silent: Vec<String> = texts(&[".rs"])
        .into_iter()
        .filter(|(name, text)| name.contains("/src/") && !text.starts_with("//!"))
        .map(|(name, _)| name)
        .collect();
    assert_none("files that do not open with `//!`", &silent);
}

#[test]
fn links_between_pages_lead_somewhere() {
    let mut broken = Vec::new();
    for (name, text) in texts(&[".md"]) {
        let folder = root().join(&name);
        let folder = folder.parent().expect("a folder");
        for part in text.split("](").skip(1) {
            let target = part.split(')').next().unwrap_or_default();
            let target = target.split('#').next().unwrap_or_default();
            let outside = target.contains("://") || target.starts_with("mailto:");
            if !target.is_empty() && !outside && !folder.join(target).exists() {
                broken.push(format!("{name}: {target}"));
            }
        }
    }
    assert_none("links to files that are not there", &broken);
}

#[test]
fn sources_that_pages_name_are_there() {
    let sources: Vec<String> = texts(&[".rs", ".wgsl"])
        .into_iter()
        .map(|(name, _)| format!("/{name}"))
        .collect();
    let mut gone = Vec::new();
    for (name, text) in texts(&[".md"]) {
        let code = text.split('`').skip(1).step_by(2);
        for path in code.filter(|code| code.contains('/')) {
            let source = path.ends_with(".rs") || path.ends_with(".wgsl");
            // `NAME.rs`, `ARCH/mod.rs` and `isa/*/dot.rs` stand for several files.
            let exact = !path.contains(['*', ' ', '{'])
                && !path
                    .split(['/', '.'])
                    .any(|part| part.len() > 1 && part.chars().all(|c| c.is_ascii_uppercase()));
            let end = format!("/{path}");
            if source && exact && !sources.iter().any(|source| source.ends_with(&end)) {
                gone.push(format!("{name}: {path}"));
            }
        }
    }
    assert_none("sources that are not there, named in pages", &gone);
}

#[test]
fn xtask_is_called_by_its_alias() {
    // The alias builds with --release; a debug build takes minutes and downloads slowly.
    let here = file!();
    let called: Vec<String> = texts(&[".md", ".rs", ".yml", ".sh"])
        .into_iter()
        .filter(|(name, _)| !here.ends_with(name.as_str()))
        .filter(|(_, text)| text.contains("cargo run -p xtask"))
        .map(|(name, _)| name)
        .collect();
    assert_none("say `cargo xtask` in", &called);
}

#[test]
fn only_programs_read_the_environment() {
    // And tests, to find their data.
    let programs = ["cli/", "xtask/", "crossval/lanes/", "fixtures/src/trial.rs"];
    let mut readers = Vec::new();
    for (name, text) in texts(&[".rs"]) {
        let library = name.contains("/src/") && !programs.iter().any(|at| name.starts_with(at));
        // The tests of a file come last in it.
        let shipped = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in (1..).zip(shipped.lines()) {
            let reads = ["env::var(", "env::var_os(", "env::vars("];
            if library && reads.iter().any(|call| line.contains(call)) {
                readers.push(format!("{name}:{number}"));
            }
        }
    }
    assert_none("libraries that read environment variables", &readers);
}

#[test]
fn whatever_is_read_is_opened_where_pipes_are_refused() {
    // gguf says what else stands there in an error of its own; topology reads the kernel's files.
    let exempt = [
        "files/src/",
        "gguf/src/file.rs",
        "backend-cpu/src/threads/topology.rs",
        "crossval/lanes/",
    ];
    let mut openers = Vec::new();
    for (name, text) in texts(&[".rs"]) {
        if !name.contains("/src/") || exempt.iter().any(|at| name.starts_with(at)) {
            continue;
        }
        let shipped = text.split("#[cfg(test)]").next().unwrap_or_default();
        let shipped = shipped.split("#[cfg(all(test").next().unwrap_or_default();
        for (number, line) in (1..).zip(shipped.lines()) {
            let opens = ["File::open(", "fs::read(", "fs::read_to_string("];
            // The kernel's files are no pipes, and a folder is opened to be made durable.
            let other = line.contains("(\"/proc/") || line.contains(".sync_all()");
            if !other && opens.iter().any(|call| line.contains(call)) {
                openers.push(format!("{name}:{number}"));
            }
        }
    }
    assert_none(
        "open it with bitnet-files, which waits for nobody",
        &openers,
    );
}

#[test]
fn programs_say_things_without_a_panic_where_nobody_listens() {
    let programs = ["cli/src/", "xtask/src/", "provisioning/src/"];
    let mut panicking = Vec::new();
    for (name, text) in texts(&[".rs"]) {
        if !programs.iter().any(|at| name.starts_with(at)) {
            continue;
        }
        let shipped = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in (1..).zip(shipped.lines()) {
            let code = !line.trim_start().starts_with("//");
            if code && (line.contains("print!(") || line.contains("println!(")) {
                panicking.push(format!("{name}:{number}"));
            }
        }
    }
    assert_none(
        "say it with `say!` and `note!` of bitnet-process",
        &panicking,
    );
}

#[test]
fn the_engine_neither_counts_nor_downloads() {
    let text = fs::read_to_string(root().join("engine/Cargo.toml")).expect("engine/Cargo.toml");
    for crate_name in ["bitnet-accounting", "bitnet-provisioning"] {
        assert!(!text.contains(crate_name), "engine depends on {crate_name}");
    }
}

#[test]
fn circles_are_seen_through_re_exports_which_are_none_themselves() {
    let parent = "mod child;\npub use child::Child;\npub struct Parent;\n";
    for (lib, child, circle) in [
        // A re-export of a child that uses its parent.
        (
            parent.to_owned(),
            "use super::Parent;\npub struct Child(Parent);",
            false,
        ),
        // A parent that uses, through its own re-export, a child that uses it.
        (
            format!("{parent}fn make() -> Child {{ Child::default() }}"),
            "use super::Parent;\npub struct Child(Parent);",
            true,
        ),
        (
            format!("{parent}fn make() -> Child {{ Child::default() }}"),
            "pub struct Child;",
            false,
        ),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("lib.rs"), &lib).expect("written");
        fs::write(folder.path().join("child.rs"), child).expect("written");
        let found = circles::in_crate(folder.path());
        assert_eq!(!found.is_empty(), circle, "{lib}\n{child}\n{found:?}");
    }
}

#[test]
fn no_files_of_a_crate_import_from_one_another_in_a_circle() {
    let mut found = Vec::new();
    for (name, text) in texts(&["Cargo.toml"]) {
        let folder = root().join(&name);
        let source = folder.parent().expect("a folder").join("src");
        if text.contains("[package]") && source.is_dir() {
            for circle in circles::in_crate(&source) {
                found.push(format!("{name}: {}", circle.join(", ")));
            }
        }
    }
    assert_none("circles", &found);
}
