//! Screens of output heads, in files.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bitnet_engine::gguf::Gguf;
use bitnet_engine::kernels::{Format, ScreenForm, Screening};
use bitnet_engine::{Device, LoadOptions, Model, Output, ScreenCache, Want};
use bitnet_files::Sha256Hex;
use bitnet_fixtures::{Arch, Recipe, Shape};

/// Writes a model of noise into a file that may be there.
fn write_model(path: &Path, seed: u64) {
    let shape = Shape {
        vocabulary: 1500,
        ..Shape::TINY
    };
    let recipe = Recipe {
        seed,
        ..Recipe::new(Arch::BitnetB158, shape, Format::I2S)
    };
    let bytes = recipe.to_bytes().unwrap();
    // The file that is there stays the same one.
    let mut file = fs::File::options();
    let file = file.create(true).truncate(true).write(true).open(path);
    file.unwrap().write_all(&bytes).unwrap();
}

/// What came of decoding.
struct Decoded {
    /// The best candidates behind each token, by the bits of their logits.
    best: Vec<(u32, u32)>,
    /// Behind the first pass, and behind the last.
    screening: [Screening; 2],
    problems: Vec<String>,
}

fn load(model: &Path, cache: Option<ScreenCache>, threads: usize) -> Model {
    let mut options = LoadOptions::default().device(Device::Cpu).threads(threads);
    if let Some(cache) = cache {
        options = options.screens(cache);
    }
    Model::load(Arc::new(Gguf::open(model).unwrap()), &options).unwrap()
}

/// Decodes more tokens than there are passes that make a screen, with `before` the first of them.
fn decode(
    model: &Path,
    cache: Option<ScreenCache>,
    threads: usize,
    before: impl FnOnce(),
) -> Decoded {
    let problems = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&problems);
    let cache = cache
        .map(|cache| cache.problems(move |problem| told.lock().unwrap().push(problem.to_string())));
    let model = load(model, cache, threads);
    let mut session = model.session(32).unwrap();
    let (mut best, mut out) = (Vec::new(), Output::default());
    let screening = || model.with_backend(|backend| backend.screening());
    let mut first = None;
    before();
    for token in 0..24 {
        session.feed(&[token], Want::Top(5), &mut out).unwrap();
        best.extend(out.top.iter().map(|it| (it.id, it.logit.to_bits())));
        first = first.or_else(screening);
    }
    let last = screening();
    drop((session, model));
    let problems = std::mem::take(&mut *problems.lock().unwrap());
    Decoded {
        best,
        screening: [first.unwrap(), last.unwrap()],
        problems,
    }
}

/// The files of a folder, by name.
fn files(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).into_iter().flatten();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

fn form(model: &Path) -> ScreenForm {
    load(model, None, 1).with_backend(|backend| backend.screen().unwrap().form())
}

#[test]
fn a_screen_is_made_once_and_finds_the_same() {
    let temporary = tempfile::tempdir().unwrap();
    let model = temporary.path().join("model.gguf");
    let folder = temporary.path().join("deep/screens");
    write_model(&model, 1);
    let cache = || ScreenCache::new(&folder).least(0);
    let wanted = decode(&model, None, 1, || ());
    for threads in 1..=3 {
        let made = decode(&model, Some(cache()), threads, || ());
        assert_eq!(made.best, wanted.best);
        assert_eq!(made.problems, [""; 0]);
        let [first, last] = made.screening;
        assert_eq!((first.tokens, last.ready, last.kept), (0, 1500, 0));
        let written = files(&folder);
        assert_eq!(written.len(), 1, "{written:?}");
        let bytes = fs::read(&written[0]).unwrap();
        let found = decode(&model, Some(cache()), threads, || ());
        assert_eq!(found.best, wanted.best);
        assert_eq!(found.problems, [""; 0]);
        let [first, last] = found.screening;
        // The first pass has read a few rows of the head.
        assert_eq!((first.tokens, first.ready), (1, 256));
        assert!(first.exact_rows < 300, "{first:?}");
        assert_eq!((last.ready, last.kept), (1500, 1500));
        assert_eq!(files(&folder), written);
        assert_eq!(fs::read(&written[0]).unwrap(), bytes);
        fs::remove_file(&written[0]).unwrap();
    }
}

/// Files keep codes under the name of their version: who changes what they are gives it another.
#[test]
fn codes_of_a_version_stay_as_they_are() {
    let temporary = tempfile::tempdir().unwrap();
    let model = temporary.path().join("model.gguf");
    write_model(&model, 1);
    let cache = ScreenCache::new(temporary.path()).least(0);
    decode(&model, Some(cache), 2, || ());
    let mut files = files(temporary.path());
    files.retain(|file| *file != model);
    let bytes = fs::read(&files[0]).unwrap();
    let form = form(&model);
    let header = 8 + 4 + 32 + 12 * form.parts.len() + 32;
    // The last byte tells what the last search needed.
    let codes = &bytes[header..bytes.len() - 1];
    let little_endian = (
        "six bits, pieces of 256 rows, little-endian, version 1",
        "f936aae7ded4ce76c8cc8a29de707d09e04286ed5baa149145554fe3eb105a2b",
    );
    if cfg!(target_endian = "little") {
        let digest = Sha256Hex::of(codes).to_string();
        assert_eq!((form.codes, &*digest), little_endian);
    }
}

#[test]
fn a_file_that_is_damaged_is_told_of_and_made_again() {
    let temporary = tempfile::tempdir().unwrap();
    let model = temporary.path().join("model.gguf");
    let folder = temporary.path().join("screens");
    write_model(&model, 1);
    let cache = || ScreenCache::new(&folder).least(0);
    let wanted = decode(&model, Some(cache()), 2, || ());
    let file = files(&folder).remove(0);
    let whole = fs::read(&file).unwrap();
    // Where each part begins.
    let parts = form(&model).parts;
    let mut end = 8 + 4 + 32 + 12 * parts.len() + 32;
    let header = end;
    let mut places = Vec::new();
    for part in &parts {
        places.push(end.next_multiple_of(64));
        end = end.next_multiple_of(64) + part;
    }
    assert_eq!(end, whole.len());
    let flipped = [0, 8, 12, 44, 53, header - 1].into_iter();
    // The first and the last byte of each.
    let flipped = flipped.chain(places.iter().copied());
    let flipped = flipped.chain(
        places
            .iter()
            .zip(&parts)
            .map(|(place, len)| place + len - 1),
    );
    let flipped = flipped.map(|at| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        (format!("byte {at}"), bytes)
    });
    let cut = [0, 10, header - 1, places[7], whole.len() - 1].into_iter();
    let cut = cut.map(|len| (format!("{len} bytes"), whole[..len].to_vec()));
    let longer = ("longer".to_owned(), [&whole[..], &[0]].concat());
    for (what, bytes) in flipped.chain(cut).chain([longer]) {
        fs::write(&file, &bytes).unwrap();
        let found = decode(&model, Some(cache()), 2, || ());
        assert_eq!(found.best, wanted.best, "{what}");
        assert_eq!(found.problems.len(), 1, "{what}: {:?}", found.problems);
        let problem = &found.problems[0];
        assert!(problem.contains("is damaged"), "{what}: {problem}");
        assert!(found.screening[1].kept < 1500, "{what}");
        assert!(fs::read(&file).unwrap() == whole, "{what}");
        assert_eq!(files(&folder).len(), 1, "{what}");
    }
    // While it is being used.
    let shorten = || {
        let opened = fs::File::options().write(true).open(&file).unwrap();
        opened.set_len(header as u64).unwrap();
    };
    let found = decode(&model, Some(cache()), 2, shorten);
    assert_eq!(found.best, wanted.best);
    assert_eq!(found.problems.len(), 1);
    assert!(fs::read(&file).unwrap() == whole);
}

#[test]
fn a_screen_is_used_for_the_file_alone_that_it_was_made_of() {
    let temporary = tempfile::tempdir().unwrap();
    let [model, other] = ["model.gguf", "other.gguf"].map(|name| temporary.path().join(name));
    let folder = temporary.path().join("screens");
    let cache = || ScreenCache::new(&folder).least(0);
    write_model(&model, 1);
    write_model(&other, 2);
    let wanted = [&model, &other].map(|model| decode(model, None, 1, || ()).best);
    assert!(wanted[0] != wanted[1]);
    assert_eq!(decode(&model, Some(cache()), 1, || ()).best, wanted[0]);
    // Another model of the same shape.
    let found = decode(&other, Some(cache()), 1, || ());
    assert_eq!(
        (found.best, found.screening[1].kept),
        (wanted[1].clone(), 0)
    );
    assert_eq!(files(&folder).len(), 2);
    // The same file, with what the other one had.
    write_model(&model, 2);
    let found = decode(&model, Some(cache()), 1, || ());
    assert_eq!(
        (found.best, found.screening[1].kept),
        (wanted[1].clone(), 0)
    );
    assert_eq!(files(&folder).len(), 3);
    // One that is written to meanwhile is not what the screen was made of.
    let touch = || {
        let file = fs::File::options().append(true).open(&other).unwrap();
        let before = file.metadata().unwrap().modified().unwrap();
        file.set_modified(before + std::time::Duration::from_secs(1))
            .unwrap();
    };
    files(&folder)
        .iter()
        .for_each(|file| fs::remove_file(file).unwrap());
    assert_eq!(decode(&other, Some(cache()), 1, touch).best, wanted[1]);
    assert!(files(&folder).is_empty());
    // A file of one under the name of the other.
    decode(&other, Some(cache()), 1, || ());
    let of_other = files(&folder).remove(0);
    decode(&model, Some(cache()), 1, || ());
    let of_model = files(&folder).into_iter().find(|file| *file != of_other);
    fs::rename(&of_other, of_model.unwrap()).unwrap();
    let found = decode(&model, Some(cache()), 1, || ());
    assert_eq!(found.best, wanted[1]);
    assert_eq!((found.screening[1].kept, found.problems.len()), (0, 1));
}

#[test]
fn the_folder_has_a_limit_and_may_be_none() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("screens");
    let model = |seed: u64| {
        let path = temporary.path().join(format!("{seed}.gguf"));
        write_model(&path, seed);
        path
    };
    let models = [1, 2, 3].map(model);
    let cache = || ScreenCache::new(&folder).least(0);
    decode(&models[0], Some(cache()), 1, || ());
    let first = files(&folder).remove(0);
    let bytes = fs::metadata(&first).unwrap().len();
    let cache = || cache().limit(2 * bytes + bytes / 2);
    decode(&models[1], Some(cache()), 1, || ());
    // What was used last stays.
    let past = std::time::SystemTime::now() - std::time::Duration::from_secs(100);
    for file in files(&folder) {
        let opened = fs::File::options().append(true).open(file).unwrap();
        opened.set_modified(past).unwrap();
    }
    assert_eq!(
        decode(&models[0], Some(cache()), 1, || ()).screening[1].kept,
        1500
    );
    decode(&models[2], Some(cache()), 1, || ());
    assert_eq!(files(&folder).len(), 2);
    assert!(first.exists());
    // Nothing that is beyond the limit, or not worth a file.
    let small = temporary.path().join("small");
    for cache in [
        ScreenCache::new(&small),
        ScreenCache::new(&small).least(0).limit(bytes - 1),
    ] {
        assert_eq!(decode(&models[0], Some(cache), 1, || ()).problems, [""; 0]);
        assert!(!small.exists());
    }
    // A place that cannot be written to.
    let taken = temporary.path().join("taken");
    fs::write(&taken, "a file").unwrap();
    let wanted = decode(&models[0], None, 1, || ());
    let found = decode(
        &models[0],
        Some(ScreenCache::new(&taken).least(0)),
        1,
        || (),
    );
    assert_eq!(found.best, wanted.best);
    assert!(!found.problems.is_empty());
    assert_eq!(fs::read(&taken).unwrap(), b"a file");
}
