//! What was read, in files.

use std::fs;
use std::path::{Path, PathBuf};

use bitnet_engine::scheduler::{Event, PrefixStore, Request, Scheduler, SchedulerOptions};
use bitnet_engine::{CacheType, Device, Engine, Error, GenerateOptions, LoadOptions, Sampling};

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn options() -> LoadOptions {
    LoadOptions::default().device(Device::Cpu).threads(1)
}

fn demo() -> Engine {
    Engine::open(root().join("demo/demo.gguf"), &options()).unwrap()
}

fn scheduler(engine: &Engine, folder: &Path, ram: usize, disk: u64) -> Scheduler {
    let store = PrefixStore::open(engine, folder, disk).unwrap();
    let options = SchedulerOptions::default().cache(ram);
    Scheduler::new(engine, options).with_store(store)
}

/// Tokens of a prompt that were found, and those that were generated behind it.
fn answer(engine: &Engine, scheduler: &mut Scheduler, prompt: &[u32]) -> (usize, Vec<u32>) {
    let sampling = Sampling::default().temperature(1.0).seed(5);
    let options = GenerateOptions::default().max_tokens(6).sampling(sampling);
    let prompt = engine.encode(prompt).unwrap();
    scheduler.add(Request::new(&prompt, options)).unwrap();
    let (mut found, mut tokens) = (0, Vec::new());
    while !scheduler.is_idle() {
        scheduler.pass(|_, event| match event {
            Event::Joined { cached } => found = cached,
            Event::Ended(generated) => tokens = generated.tokens,
            _ => {}
        });
    }
    (found, tokens)
}

fn prompt(first: u32, len: u32) -> Vec<u32> {
    (0..len).map(|i| (first + i * 31) % 500).collect()
}

/// The files of a folder, by name.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    files
}

fn problems(scheduler: &mut Scheduler) -> Vec<String> {
    let problems = scheduler.store_problems();
    problems.iter().map(ToString::to_string).collect()
}

const RAM: usize = 1 << 30;
const DISK: u64 = 1 << 30;

#[test]
fn what_was_written_is_found_after_a_start_and_gives_the_same() {
    let temporary = tempfile::tempdir().unwrap();
    // The demo's tokenizer, with as many tokens as the other model has logits.
    let state = root().join("fixtures/golden/qwen35-f32.gguf");
    let rows = bitnet_engine::gguf::Gguf::open(&state).unwrap();
    let rows = bitnet_engine::Model::load(rows.into(), &options()).unwrap();
    let rows = rows.config().vocabulary as u64;
    let tokenizer = fs::read(root().join("demo/tokenizer.json")).unwrap();
    let mut tokenizer: serde_json::Value = serde_json::from_slice(&tokenizer).unwrap();
    tokenizer["model"]["merges"] = serde_json::json!([]);
    let vocabulary = tokenizer["model"]["vocab"].as_object_mut().unwrap();
    vocabulary.retain(|_, id| id.as_u64().unwrap() < rows);
    let path = temporary.path().join("tokenizer.json");
    fs::write(&path, tokenizer.to_string()).unwrap();
    let state = Engine::open(&state, &options().tokenizer(path)).unwrap();
    for (name, engine) in [("demo", demo()), ("state", state)] {
        let folder = temporary.path().join(name);
        let most = engine.tokenizer().vocab_size() as u32;
        let first: Vec<u32> = (0..80).map(|i| (7 + i * 31) % most).collect();
        let longer = [&first[..70], &[3; 30]].concat();
        let mut before = scheduler(&engine, &folder, RAM, DISK);
        let (found, wanted) = answer(&engine, &mut before, &first);
        let (_, wanted_longer) = answer(&engine, &mut before, &longer);
        assert_eq!((found, wanted.len()), (0, 6));
        before.write_store();
        assert_eq!(files(&folder).len(), 2);
        let mut after = scheduler(&engine, &folder, RAM, DISK);
        assert_eq!(problems(&mut after), [""; 0]);
        let (found, tokens) = answer(&engine, &mut after, &first);
        assert!(found >= 60, "{name}: {found}");
        assert_eq!(tokens, wanted);
        let (found, tokens) = answer(&engine, &mut after, &longer);
        assert!(found >= 60, "{name}: {found}");
        assert_eq!(tokens, wanted_longer);
    }
}

#[test]
fn what_there_is_no_room_for_in_memory_goes_to_files_and_is_found_there() {
    let temporary = tempfile::tempdir().unwrap();
    let engine = demo();
    // Room for two sequences of a page.
    let page = 64 * engine.model().plan().program.cache_bytes_per_position();
    let mut scheduler = scheduler(&engine, temporary.path(), 2 * page, DISK);
    let prompts: Vec<_> = (0..5).map(|i| prompt(i * 60, 50)).collect();
    let mut wanted = Vec::new();
    for (i, prompt) in prompts.iter().enumerate() {
        wanted.push(answer(&engine, &mut scheduler, prompt));
        // The disk may be slow.
        while files(temporary.path()).len() + 2 < i + 1 {
            std::thread::yield_now();
        }
    }
    for (prompt, (found, tokens)) in prompts.iter().zip(wanted) {
        assert_eq!(found, 0);
        assert_eq!(answer(&engine, &mut scheduler, prompt), (49, tokens));
        assert!(scheduler.load().cached <= 2 * page);
    }
    assert_eq!(files(temporary.path()).len(), 5);
}

#[test]
fn files_take_no_more_than_their_room_and_the_one_used_least_recently_goes_first() {
    let temporary = tempfile::tempdir().unwrap();
    let engine = demo();
    let fill = |disk: u64, prompts: &[u32]| {
        let mut scheduler = scheduler(&engine, temporary.path(), RAM, disk);
        let found: Vec<_> = prompts
            .iter()
            .map(|first| answer(&engine, &mut scheduler, &prompt(*first, 50)).0)
            .collect();
        scheduler.write_store();
        drop(scheduler);
        found
    };
    assert_eq!(fill(DISK, &[0]), [0]);
    let one = fs::metadata(&files(temporary.path())[0]).unwrap().len();
    assert_eq!(fill(2 * one, &[100]), [0]);
    assert_eq!(fill(2 * one, &[0]), [49]);
    // The one of 100 makes room.
    assert_eq!(fill(2 * one, &[200]), [0]);
    assert_eq!(files(temporary.path()).len(), 2);
    assert_eq!(fill(2 * one, &[0, 200]), [49, 49]);
    // What is larger than all of the room is not written, and a smaller room is kept to.
    fill(one - 1, &[300]);
    assert_eq!(files(temporary.path()).len(), 0);
}

#[test]
fn what_goes_on_takes_the_place_of_what_it_begins_with() {
    let temporary = tempfile::tempdir().unwrap();
    let engine = demo();
    for len in [50, 80, 110] {
        let mut scheduler = scheduler(&engine, temporary.path(), RAM, DISK);
        let (found, tokens) = answer(&engine, &mut scheduler, &prompt(0, len));
        assert_eq!(found > 0, len > 50, "{tokens:?}");
        scheduler.write_store();
        drop(scheduler);
    }
    // What was generated behind each prompt is another than what the next one has there.
    assert_eq!(files(temporary.path()).len(), 3);
    let mut scheduler = scheduler(&engine, temporary.path(), RAM, DISK);
    let mut all = prompt(0, 50);
    let (_, tokens) = answer(&engine, &mut scheduler, &all);
    all.extend(tokens);
    all.extend([1, 2, 3]);
    assert_eq!(answer(&engine, &mut scheduler, &all).0, 55);
    scheduler.write_store();
    assert_eq!(files(temporary.path()).len(), 3);
}

#[test]
fn a_file_that_is_damaged_foreign_old_or_half_written_is_named_and_never_used() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    let engine = demo();
    let first = prompt(0, 50);
    let mut before = scheduler(&engine, folder, RAM, DISK);
    let (_, wanted) = answer(&engine, &mut before, &first);
    before.write_store();
    drop(before);
    let [file] = &files(folder)[..] else {
        panic!("one file");
    };
    let sound = fs::read(file).unwrap();
    let check = |bytes: &[u8], what: &str| {
        fs::write(file, bytes).unwrap();
        let mut after = scheduler(&engine, folder, RAM, DISK);
        assert_eq!(
            answer(&engine, &mut after, &first),
            (0, wanted.clone()),
            "{what}"
        );
        let said = problems(&mut after);
        let name = file.to_str().unwrap();
        assert!(
            said.iter()
                .any(|said| said.contains(name) && said.contains(what)),
            "{what}: {said:?}"
        );
        // It is replaced by what was read.
        after.write_store();
        drop(after);
        let mut after = scheduler(&engine, folder, RAM, DISK);
        assert_eq!(
            answer(&engine, &mut after, &first),
            (49, wanted.clone()),
            "{what}"
        );
        assert_eq!(problems(&mut after), [""; 0]);
    };
    // Every field, and values from the first to the checksum.
    for at in [
        0,
        5,
        13,
        44,
        52,
        60,
        68,
        80,
        200,
        281,
        400,
        5000,
        sound.len() - 100,
        sound.len() - 1,
    ] {
        let mut bytes = sound.clone();
        bytes[at] ^= 0x10;
        check(&bytes, "is damaged");
    }
    for len in [0, 7, 8, 12, 60, 100, 1000, sound.len() - 1] {
        check(&sound[..len], "is damaged");
    }
    check(&[&sound[..], &[0]].concat(), "is damaged");
    let mut later = sound.clone();
    later[8] = 9;
    check(&later, "has version 9");
    // Counts that no memory could hold.
    let mut huge = sound.clone();
    huge[52..60].fill(0xff);
    check(&huge, "is damaged");

    // Of another type of cache.
    fs::write(file, &sound).unwrap();
    let other = options().cache_type(CacheType::F32);
    let other = Engine::open(root().join("demo/demo.gguf"), &other).unwrap();
    let mut after = scheduler(&other, folder, RAM, DISK);
    assert_eq!(answer(&other, &mut after, &first).0, 0);
    let said = problems(&mut after);
    assert!(
        said.len() == 1 && said[0].contains("is of another model"),
        "{said:?}"
    );
    drop(after);

    // Half written by a program that was killed; what is no file of ours stays as it is.
    let partial = file.with_extension("prefix.1-1.partial");
    fs::rename(file, &partial).unwrap();
    fs::write(folder.join("notes.txt"), "mine").unwrap();
    let mut after = scheduler(&engine, folder, RAM, 10);
    let said = problems(&mut after);
    assert!(
        said.len() == 1 && said[0].contains("not written to its end"),
        "{said:?}"
    );
    assert_eq!(files(folder), [folder.join("notes.txt")]);
}

#[test]
fn a_folder_that_cannot_be_used_is_an_error() {
    let temporary = tempfile::tempdir().unwrap();
    let file = temporary.path().join("file");
    fs::write(&file, "").unwrap();
    let opened = PrefixStore::open(&demo(), &file, DISK);
    assert!(matches!(opened, Err(Error::Store { .. })), "{opened:?}");
}
