//! What a request gives does not depend on what runs beside it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bitnet_engine::gguf::Gguf;
use bitnet_engine::scheduler::{Event, Logprobs, Request, RequestId, Scheduler, SchedulerOptions};
use bitnet_engine::{
    Device, Engine, Error, GenerateOptions, Generated, LoadOptions, Model, Sampling, StopReason,
};
use bitnet_files::Sha256Hex;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A model of the repository.
fn open(file: &str) -> Engine {
    let options = LoadOptions::default().device(Device::Cpu).threads(1);
    Engine::open(root().join(file), &options).expect("the model opens")
}

/// Numbers from a seed.
struct Noise(u64);

impl Noise {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % end
    }
}

/// What is asked for.
struct Case {
    prompt: Vec<u32>,
    options: GenerateOptions,
    logprobs: Option<usize>,
    prompt_logprobs: Option<usize>,
}

impl Case {
    fn random(noise: &mut Noise, vocabulary: usize) -> Case {
        let len = [1, 2, 7, 40, 90][noise.below(5)] + noise.below(20);
        let temperature = [0.0, 0.7, 1.5][noise.below(3)];
        let sampling = Sampling::default()
            .temperature(temperature)
            .top_k([0, 1, 5, 40][noise.below(4)])
            .top_p([1.0, 0.95, 0.5][noise.below(3)])
            .min_p([0.0, 0.05][noise.below(2)])
            .repeat_penalty([1.0, 1.2, 0.9][noise.below(3)])
            .presence_penalty([0.0, 0.0, 0.6][noise.below(3)])
            .seed(noise.below(1000) as u64);
        let mut options = GenerateOptions::default()
            .max_tokens(noise.below(16))
            .digests(noise.below(3) == 0)
            .sampling(sampling);
        if noise.below(3) == 0 {
            options = options.stop("e ").stop("the");
        }
        if noise.below(3) == 0 {
            let ends = (0..vocabulary as u32).skip(noise.below(20)).step_by(20);
            options = options.stop_tokens(ends.collect());
            options = options.min_tokens(noise.below(8)).ignore_ends(true);
        }
        // Half of them begin alike, some for as long as they are.
        let alike = noise.below(2) * noise.below(60);
        let prompt = (0..len).map(|at| match at < alike {
            true => ((at * 31 + 7) % vocabulary) as u32,
            false => noise.below(vocabulary) as u32,
        });
        let prompt = prompt.collect();
        Case {
            prompt,
            options,
            logprobs: [None, Some(0), Some(3)][noise.below(3)],
            prompt_logprobs: [None, None, Some(0), Some(2)][noise.below(4)],
        }
    }

    fn add(&self, engine: &Engine, scheduler: &mut Scheduler) -> RequestId {
        let prompt = engine.encode(&self.prompt[..]).expect("tokens");
        let mut request = Request::new(&prompt, self.options.clone());
        if let Some(best) = self.logprobs {
            request = request.logprobs(best);
        }
        if let Some(best) = self.prompt_logprobs {
            request = request.prompt_logprobs(best);
        }
        scheduler.add(request).expect("a sound request")
    }
}

/// All that a request gave.
#[derive(Debug, Default, PartialEq)]
struct Given {
    prompt: Vec<Bits>,
    text: String,
    tokens: Vec<(u32, u32)>,
    logprobs: Vec<Bits>,
    logits: Vec<Sha256Hex>,
    stop: Option<StopReason>,
}

impl Given {
    fn take(&mut self, event: Event) {
        match event {
            Event::Joined { .. } | Event::Read(_) => {}
            Event::Prompt(logprobs) => self.prompt.extend(logprobs.into_iter().map(bits)),
            Event::End { logprobs, .. } => self.logprobs.push(bits(logprobs)),
            Event::Piece { piece, logprobs } => {
                self.text.push_str(&piece.text);
                let token = piece.token.map(|token| (token.id, token.logit.to_bits()));
                self.tokens.extend(token);
                self.logprobs.extend(logprobs.map(bits));
            }
            Event::Ended(Generated {
                text,
                tokens,
                logits,
                stop,
                ..
            }) => {
                assert_eq!(text, self.text);
                assert!(tokens.iter().eq(self.tokens.iter().map(|(id, _)| id)));
                self.logits = logits;
                self.stop = stop;
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Logprobs to the bit: of the token, its rank, and of the best.
type Bits = (u64, usize, Vec<(u32, u64)>);

fn bits(logprobs: Logprobs) -> Bits {
    let best = logprobs.best.into_iter();
    let best = best.map(|(id, logprob)| (id, logprob.to_bits()));
    (logprobs.chosen.to_bits(), logprobs.rank, best.collect())
}

/// Each case after the other.
fn alone(engine: &Engine, cases: &[Case]) -> Vec<Given> {
    let mut scheduler = Scheduler::new(engine, SchedulerOptions::default());
    let one = |case: &Case| {
        let mut given = Given::default();
        case.add(engine, &mut scheduler);
        while !scheduler.is_idle() {
            scheduler.pass(|_, event| given.take(event));
        }
        given
    };
    cases.iter().map(one).collect()
}

/// All cases side by side; some are cancelled on the way, and have nothing to be compared.
fn together(
    engine: &Engine,
    cases: &[Case],
    options: SchedulerOptions,
    noise: &mut Noise,
) -> Vec<Option<Given>> {
    let mut scheduler = Scheduler::new(engine, options);
    let mut given: Vec<Option<Given>> = cases.iter().map(|_| Some(Given::default())).collect();
    let mut ids = BTreeMap::new();
    let mut coming = cases.iter().enumerate();
    loop {
        for (index, case) in coming.by_ref().take(noise.below(4)) {
            ids.insert(case.add(engine, &mut scheduler), index);
        }
        scheduler.pass(|id, event| {
            let given = given[ids[&id]].as_mut();
            given
                .expect("nothing comes of what was cancelled")
                .take(event);
        });
        if noise.below(12) == 0 {
            let index = noise.below(ids.len().max(1));
            if let Some(id) = ids.iter().find(|(_, at)| **at == index).map(|(id, _)| *id)
                && scheduler.cancel(id)
            {
                given[index] = None;
                assert!(!scheduler.cancel(id), "it is gone");
            }
        }
        if scheduler.is_idle() && coming.len() == 0 {
            return given;
        }
    }
}

/// Runs requests alone, and side by side with so many at once, tokens in a pass, in a chunk of
/// prompts, and bytes of what is kept.
fn assert_same(engine: &Engine, count: usize, settings: &[(usize, usize, usize, usize)]) {
    let vocabulary = engine.model().config().vocabulary;
    let vocabulary = vocabulary.min(engine.tokenizer().vocab_size());
    let mut noise = Noise(16);
    let cases: Vec<Case> = (0..count)
        .map(|_| Case::random(&mut noise, vocabulary))
        .collect();
    let wanted = alone(engine, &cases);
    assert!(wanted.iter().filter(|given| given.tokens.len() > 3).count() > count / 3);
    for &(parallel, budget, chunk, cache) in settings {
        let options = SchedulerOptions::default().cache(cache);
        let options = options.parallel(parallel).budget(budget).chunk(chunk);
        let found = together(engine, &cases, options, &mut noise);
        let kept = found.iter().flatten().count();
        assert!(kept > count / 2, "{kept}");
        for (index, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
            if let Some(found) = found {
                assert_eq!(
                    found, wanted,
                    "request {index}, {parallel} {budget} {chunk}"
                );
            }
        }
    }
}

#[test]
fn requests_give_side_by_side_what_they_give_alone() {
    // A position of the demo model takes a few hundred bytes: the smallest cache drops all but a
    // few sequences.
    let settings = [
        (1, 512, 64, 1 << 30),
        (3, 7, 1, 0),
        (8, 512, 64, 1 << 30),
        (5, 30, 1, 1 << 30),
        (16, 64, 5, 200_000),
        (16, 512, 512, 0),
    ];
    assert_same(&open("demo/demo.gguf"), 40, &settings);
}

#[test]
fn a_request_gives_what_a_generation_gives() {
    let engine = open("demo/demo.gguf");
    let mut noise = Noise(3);
    let vocabulary = engine.tokenizer().vocab_size();
    let cases: Vec<Case> = (0..12)
        .map(|_| Case::random(&mut noise, vocabulary))
        .collect();
    for (case, given) in cases.iter().zip(alone(&engine, &cases)) {
        let mut generation = engine.generate(&case.prompt[..], &case.options).unwrap();
        let pieces: Result<Vec<_>, Error> = generation.by_ref().collect();
        let pieces = pieces.unwrap();
        let tokens = pieces.iter().filter_map(|piece| piece.token);
        let tokens: Vec<_> = tokens
            .map(|token| (token.id, token.logit.to_bits()))
            .collect();
        assert_eq!(given.tokens, tokens);
        let generated = generation.generated();
        assert_eq!(
            (given.text, given.stop, &given.logits),
            (generated.text.clone(), generated.stop, &generated.logits)
        );
    }
}

#[test]
fn guesses_change_nothing_of_what_requests_give_and_are_made_where_few_run() {
    let engine = open("demo/demo.gguf");
    let run = |speculate: usize, count: u64| {
        let mut scheduler = Scheduler::new(&engine, SchedulerOptions::default().parallel(8));
        let (mut given, mut guessed) = (BTreeMap::new(), 0);
        for seed in 0..count {
            let sampling = Sampling::default()
                .temperature([0.0, 0.4, 1.0][seed as usize % 3])
                .repeat_penalty([1.0, 1.1][seed as usize % 2])
                .seed(seed);
            let options = GenerateOptions::default().sampling(sampling);
            let case = Case {
                // The same words again and again.
                prompt: (0..60).map(|at| 300 + at % (7 + seed as u32)).collect(),
                options: options
                    .speculate(speculate)
                    .max_tokens(30 + 9 * seed as usize),
                logprobs: [None, Some(2)][seed as usize % 2],
                prompt_logprobs: [None, None, Some(0)][seed as usize % 3],
            };
            given.insert(case.add(&engine, &mut scheduler), Given::default());
        }
        while !scheduler.is_idle() {
            scheduler.pass(|id, event| {
                if let Event::Ended(generated) = &event {
                    guessed += generated.guessed;
                }
                given.get_mut(&id).unwrap().take(event);
            });
        }
        (guessed, given.into_values().collect::<Vec<_>>())
    };
    let mut guessed = 0;
    for count in [1, 3, 8] {
        let (none, wanted) = run(0, count);
        assert_eq!(none, 0);
        for most in [1, 5, GenerateOptions::MOST_SPECULATED] {
            let (right, given) = run(most, count);
            assert_eq!(given, wanted, "{count} requests, {most} guesses");
            guessed += right;
        }
    }
    // How many are made depends on what they cost on this machine; the first always are.
    assert!(guessed > 0);
}

#[test]
fn digests_are_those_of_all_logits_and_change_no_token() {
    let engine = open("demo/demo.gguf");
    let mut noise = Noise(5);
    let vocabulary = engine.tokenizer().vocab_size();
    let generated = |case: &Case, digests: bool| {
        let options = case.options.clone().digests(digests);
        let mut prompt = engine.encode(&case.prompt[..]).unwrap();
        // A fifth of all tokens.
        prompt.ends = (0..vocabulary as u32).step_by(5).collect();
        let mut generation = engine.generate(&prompt, &options).unwrap();
        generation.by_ref().for_each(|piece| drop(piece.unwrap()));
        generation.generated().clone()
    };
    let mut ended = 0;
    for _ in 0..24 {
        let case = Case::random(&mut noise, vocabulary);
        let (with, without) = (generated(&case, true), generated(&case, false));
        assert_eq!((&with.tokens, with.stop), (&without.tokens, without.stop));
        assert!(without.logits.is_empty());
        let read = [&case.prompt[..], &with.tokens].concat();
        let mut session = engine.model().session(read.len()).unwrap();
        let mut wanted = Vec::new();
        session
            .feed_all(&read, |_, logits| {
                let bits = logits.iter().flat_map(|logit| logit.to_le_bytes());
                wanted.push(Sha256Hex::of(&bits.collect::<Vec<u8>>()));
            })
            .unwrap();
        let by_end = usize::from(with.stop == Some(StopReason::EndOfGeneration));
        ended += by_end;
        let steps = with.tokens.len() + by_end;
        assert_eq!(with.logits, wanted[case.prompt.len() - 1..][..steps]);
    }
    assert!(ended > 0, "one is ended by a token");
}

#[test]
fn logprobs_of_a_prompt_are_those_of_all_its_logits() {
    let engine = open("demo/demo.gguf");
    let prompt = prompt(&engine, 150);
    let mut wanted = Vec::new();
    let mut session = engine.model().session(prompt.len()).unwrap();
    session
        .feed_all(&prompt, |at, logits| {
            let Some(&next) = prompt.get(at + 1) else {
                return;
            };
            let logit = |id: usize| f64::from(logits[id]);
            let largest = (0..logits.len()).map(logit).fold(f64::MIN, f64::max);
            let terms = (0..logits.len()).map(|id| (logit(id) - largest).exp());
            let ln_sum = terms.sum::<f64>().ln() + largest;
            let own = logit(next as usize);
            let better = (0..logits.len()).filter(|id| logit(*id) > own).count();
            wanted.push((own - ln_sum, better + 1, largest - ln_sum));
        })
        .unwrap();
    for (chunk, cache) in [(1, 0), (7, 1 << 30), (512, 1 << 30)] {
        let options = SchedulerOptions::default().budget(chunk).cache(cache);
        let mut scheduler = Scheduler::new(&engine, options);
        // The second finds all of it in the cache, and must read it again.
        for max_tokens in [3, 0] {
            let options = GenerateOptions::default().max_tokens(max_tokens);
            let encoded = engine.encode(&prompt[..]).unwrap();
            let request = Request::new(&encoded, options).prompt_logprobs(1);
            scheduler.add(request).unwrap();
            let mut found = Vec::new();
            let mut ended = false;
            while !scheduler.is_idle() {
                scheduler.pass(|_, event| match event {
                    Event::Joined { cached } => assert_eq!(cached, 0),
                    Event::Prompt(logprobs) => {
                        assert!(!ended && logprobs.len() <= 64);
                        found.extend(logprobs);
                    }
                    Event::Ended(_) => ended = true,
                    _ => {}
                });
            }
            assert!(ended && found.len() == wanted.len());
            for (found, (own, rank, best)) in found.iter().zip(&wanted) {
                assert!((found.chosen - own).abs() < 1e-9 && found.rank == *rank);
                assert!((found.best[0].1 - best).abs() < 1e-9);
            }
        }
    }
}

#[test]
fn the_token_that_ends_an_answer_has_its_logprobs() {
    let engine = open("demo/demo.gguf");
    let mut prompt = engine.encode("ROMEO:\nWhat light").unwrap();
    let first = engine
        .generate(&prompt, &GenerateOptions::default())
        .unwrap()
        .find_map(|piece| piece.unwrap().token)
        .unwrap();
    prompt.ends = vec![first.id];
    let mut scheduler = Scheduler::new(&engine, SchedulerOptions::default());
    let request = Request::new(&prompt, GenerateOptions::default()).logprobs(1);
    scheduler.add(request).unwrap();
    let mut told = Vec::new();
    while !scheduler.is_idle() {
        scheduler.pass(|_, event| match event {
            Event::End { token, logprobs } => told.push((token, logprobs)),
            Event::Ended(generated) => {
                assert_eq!((generated.end, generated.tokens), (Some(first), Vec::new()));
            }
            _ => {}
        });
    }
    let [(token, logprobs)] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!((*token, logprobs.rank), (first.id, 1));
    assert_eq!(logprobs.best, [(first.id, logprobs.chosen)]);
}

#[test]
fn every_architecture_gives_side_by_side_what_it_gives_alone() {
    let golden = std::fs::read_dir(root().join("fixtures/golden")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut engines: Vec<Engine> = Vec::new();
    for entry in golden {
        let file = entry.unwrap().path();
        if file.extension().is_none_or(|ending| ending != "gguf") {
            continue;
        }
        let engine = with_tokenizer(&file, folder.path());
        if !engines.iter().any(|other| names(other) == names(&engine)) {
            engines.push(engine);
        }
    }
    for engine in &engines {
        assert_same(engine, 16, &[(6, 31, 9, 1 << 30)]);
    }
    for name in bitnet_engine::Architecture::names() {
        let found = engines.iter().any(|engine| names(engine).contains(&name));
        assert!(found, "no model of {name}");
    }
}

/// A model, with so many of the demo model's tokens as it has logits.
fn with_tokenizer(file: &Path, folder: &Path) -> Engine {
    let options = LoadOptions::default().device(Device::Cpu).threads(1);
    let gguf = Arc::new(Gguf::open(file).unwrap());
    let model = Model::load(Arc::clone(&gguf), &options).unwrap();
    let rows = model.config().vocabulary as u64;
    let demo = std::fs::read(root().join("demo/tokenizer.json")).unwrap();
    let mut tokenizer: serde_json::Value = serde_json::from_slice(&demo).unwrap();
    tokenizer["model"]["merges"] = serde_json::json!([]);
    let vocabulary = tokenizer["model"]["vocab"].as_object_mut().unwrap();
    vocabulary.retain(|_, id| id.as_u64().unwrap() < rows);
    let path = folder.join(format!("{rows}.json"));
    std::fs::write(&path, tokenizer.to_string()).unwrap();
    Engine::open(file, &options.tokenizer(path)).unwrap()
}

/// The names of a model's architecture.
fn names(engine: &Engine) -> &'static [&'static str] {
    engine.model().config().architecture.names
}

fn prompt(engine: &Engine, len: usize) -> Vec<u32> {
    let vocabulary = engine.tokenizer().vocab_size();
    (0..len)
        .map(|i| ((i * 31 + 7) % vocabulary) as u32)
        .collect()
}

fn add(engine: &Engine, scheduler: &mut Scheduler, len: usize, max_tokens: usize) -> RequestId {
    let case = Case {
        prompt: prompt(engine, len),
        options: GenerateOptions::default().max_tokens(max_tokens),
        logprobs: None,
        prompt_logprobs: None,
    };
    case.add(engine, scheduler)
}

/// Those that got a token in one pass.
fn told(scheduler: &mut Scheduler) -> Vec<RequestId> {
    let mut told = Vec::new();
    scheduler.pass(|id, event| {
        if matches!(event, Event::Piece { piece, .. } if piece.token.is_some()) {
            told.push(id);
        }
    });
    told
}

#[test]
fn a_long_prompt_stops_nobody_and_a_short_one_gets_its_first_token_soon() {
    let engine = open("demo/demo.gguf");
    let options = SchedulerOptions::default().parallel(10).chunk(32);
    let mut scheduler = Scheduler::new(&engine, options);
    let eight: Vec<_> = (0..8)
        .map(|_| add(&engine, &mut scheduler, 4, 60))
        .collect();
    while told(&mut scheduler) != eight {}
    let long = add(&engine, &mut scheduler, 200, 4);
    for _ in 0..3 {
        assert_eq!(told(&mut scheduler), eight);
    }
    let short = add(&engine, &mut scheduler, 20, 4);
    let mut passes = 1;
    loop {
        let told = told(&mut scheduler);
        assert!(eight.iter().all(|id| told.contains(id)));
        if told.contains(&short) {
            break;
        }
        passes += 1;
    }
    assert!(passes < 3, "{passes} passes");
    while !told(&mut scheduler).contains(&long) {}
}

#[test]
fn nobody_starves_and_those_that_wait_join_in_their_order() {
    let engine = open("demo/demo.gguf");
    let options = SchedulerOptions::default().parallel(2).budget(1).chunk(1);
    let mut scheduler = Scheduler::new(&engine, options);
    let all: Vec<_> = (0..6)
        .map(|i| add(&engine, &mut scheduler, 5 + i, 3))
        .collect();
    let (mut joined, mut ended) = (Vec::new(), Vec::new());
    for _ in 0..200 {
        scheduler.pass(|id, event| match event {
            Event::Joined { .. } => joined.push(id),
            Event::Ended(_) => ended.push(id),
            _ => {}
        });
    }
    assert_eq!(joined, all);
    ended.sort();
    assert_eq!(ended, all);
    assert!(scheduler.is_idle());
}

#[test]
fn what_is_cancelled_is_gone_by_the_next_pass_and_makes_room() {
    let engine = open("demo/demo.gguf");
    let mut scheduler = Scheduler::new(&engine, SchedulerOptions::default().parallel(1));
    let first = add(&engine, &mut scheduler, 5, 100);
    let (second, third) = (
        add(&engine, &mut scheduler, 5, 100),
        add(&engine, &mut scheduler, 5, 1),
    );
    assert_eq!(told(&mut scheduler), [first]);
    let load = scheduler.load();
    assert_eq!((load.running, load.waiting, load.used), (1, 2, 6));
    assert!(scheduler.cancel(first) && scheduler.cancel(second));
    assert_eq!(scheduler.load().positions, 0);
    assert_eq!(told(&mut scheduler), [third]);
    assert!(scheduler.is_idle() && !scheduler.cancel(third));
}

#[test]
fn what_cannot_be_answered_is_refused_before_it_waits() {
    let engine = open("demo/demo.gguf");
    let options = SchedulerOptions::default().context(16);
    let mut scheduler = Scheduler::new(&engine, options);
    assert_eq!(scheduler.context(), 16);
    let mut refused = |tokens: &[u32], options: GenerateOptions| {
        let prompt = engine.encode(tokens).unwrap();
        scheduler.add(Request::new(&prompt, options)).unwrap_err()
    };
    let usual = GenerateOptions::default();
    assert!(matches!(
        refused(&prompt(&engine, 17), usual.clone()),
        Error::ContextFull { need: 17, have: 16 }
    ));
    assert!(matches!(
        refused(&[4, 99_999], usual.clone()),
        Error::Token { id: 99_999, .. }
    ));
    let wrong = usual.sampling(Sampling::default().top_p(7.0));
    assert!(matches!(refused(&[4], wrong), Error::Sampling(_)));
    assert!(scheduler.is_idle());

    // What fills the context ends there.
    add(&engine, &mut scheduler, 14, 100);
    let mut ended = Vec::new();
    while !scheduler.is_idle() {
        scheduler.pass(|_, event| {
            if let Event::Ended(generated) = event {
                ended.push((generated.stop, generated.tokens.len()));
            }
        });
    }
    assert_eq!(ended, [(Some(StopReason::ContextFull), 3)]);
}

/// A prompt's tokens that were read before, as it joins; and its first token, with the passes that
/// it took.
fn cached(engine: &Engine, scheduler: &mut Scheduler, prompt: &[u32]) -> (usize, u32) {
    let case = Case {
        prompt: prompt.to_vec(),
        options: GenerateOptions::default().max_tokens(2),
        logprobs: None,
        prompt_logprobs: None,
    };
    case.add(engine, scheduler);
    let (mut found, mut tokens) = (0, Vec::new());
    while !scheduler.is_idle() {
        scheduler.pass(|_, event| match event {
            Event::Joined { cached } => found = cached,
            Event::Ended(generated) => tokens = generated.tokens,
            _ => {}
        });
    }
    (found, tokens[0])
}

/// Bytes that sequences of up to 64 tokens take at least; memory is given out by pages of so many.
fn page(engine: &Engine) -> usize {
    64 * engine.model().plan().program.cache_bytes_per_position()
}

#[test]
fn what_was_read_is_found_again_within_its_budget() {
    let engine = open("demo/demo.gguf");
    let first = prompt(&engine, 60);
    let longer = [&first[..40], &[5; 20]].concat();
    let other = [&[9; 3], &first[..40]].concat();
    let run = |bytes: usize| {
        let options = SchedulerOptions::default().cache(bytes);
        let mut scheduler = Scheduler::new(&engine, options);
        let found = [&first, &first, &longer, &other, &longer, &first];
        let found = found.map(|prompt| cached(&engine, &mut scheduler, prompt));
        let kept = scheduler.load().cached;
        assert!(
            kept <= bytes && (kept > 0) == (bytes > 0),
            "{kept} of {bytes}"
        );
        found
    };
    let nothing = run(0);
    assert_eq!(nothing.map(|(cached, _)| cached), [0; 6]);
    let all = run(1 << 30);
    // The last token is read in any case: what comes next depends on it.
    assert_eq!(all.map(|(cached, _)| cached), [0, 59, 40, 0, 59, 59]);
    // Room for one of them: the other one has taken its place.
    let one = run(page(&engine));
    assert_eq!(one.map(|(cached, _)| cached), [0, 59, 40, 0, 0, 40]);
    for found in [all, one] {
        assert_eq!(
            found.map(|(_, token)| token),
            nothing.map(|(_, token)| token)
        );
    }
}

#[test]
fn no_request_drives_out_what_is_kept_of_all_others() {
    let engine = open("demo/demo.gguf");
    let small: Vec<Vec<u32>> = (0..3u32)
        .map(|i| (0..20).map(|at| 10 * i + at % 7 + 1).collect())
        .collect();
    // Room for all of them, and for as much again.
    let options = SchedulerOptions::default().cache(6 * page(&engine));
    let mut scheduler = Scheduler::new(&engine, options);
    for prompt in &small {
        cached(&engine, &mut scheduler, prompt);
    }
    // One that would need more than half of it, and many that are alike.
    cached(&engine, &mut scheduler, &prompt(&engine, 240));
    for end in 0..8 {
        let alike = [&prompt(&engine, 21)[..], &[500 + end; 4]].concat();
        cached(&engine, &mut scheduler, &alike);
    }
    for prompt in &small {
        assert_eq!(cached(&engine, &mut scheduler, prompt).0, 19);
    }
}

#[test]
fn what_kept_sequences_share_takes_memory_once() {
    let engine = open("demo/demo.gguf");
    let options = SchedulerOptions::default().cache(1 << 30);
    let mut scheduler = Scheduler::new(&engine, options);
    let system = prompt(&engine, 200);
    for user in 0..10 {
        let prompt = [&system[..], &[300 + user; 5]].concat();
        let found = cached(&engine, &mut scheduler, &prompt).0;
        assert_eq!(found, if user == 0 { 0 } else { 200 });
    }
    // Three pages that all have, and for each the fourth, in which they differ.
    assert_eq!(scheduler.load().cached, (3 + 10) * page(&engine));
}

#[test]
fn what_requests_have_in_common_is_read_once_while_they_run() {
    let folder = tempfile::tempdir().unwrap();
    let with_state = root().join("fixtures/golden/qwen35-f32.gguf");
    for engine in [
        open("demo/demo.gguf"),
        with_tokenizer(&with_state, folder.path()),
    ] {
        let first = prompt(&engine, 60);
        let longer = [&first[..40], &[5; 30]].concat();
        let prompts = [&first, &first, &longer, &vec![9; 50], &first];
        let run = |cache: usize| {
            let options = SchedulerOptions::default().cache(cache).budget(20);
            let mut scheduler = Scheduler::new(&engine, options);
            let (mut joined, mut read) = (Vec::new(), 0);
            let mut given = BTreeMap::new();
            for (seed, prompt) in (0..).zip(prompts) {
                let sampling = Sampling::default().temperature(1.0).seed(seed);
                let case = Case {
                    prompt: prompt.clone(),
                    options: GenerateOptions::default().max_tokens(6).sampling(sampling),
                    logprobs: Some(2),
                    prompt_logprobs: None,
                };
                given.insert(case.add(&engine, &mut scheduler), Given::default());
            }
            while !scheduler.is_idle() {
                scheduler.pass(|id, event| {
                    match &event {
                        Event::Joined { cached } => joined.push(*cached),
                        Event::Read(tokens) => read += tokens,
                        _ => {}
                    }
                    given.get_mut(&id).unwrap().take(event);
                });
            }
            joined.sort_unstable();
            (joined, read, given.into_values().collect::<Vec<_>>())
        };
        let (joined, read, alone) = run(0);
        assert_eq!((joined, read), (vec![0; 5], 60 * 3 + 70 + 50));
        let (joined, read, given) = run(1 << 30);
        // The first and the one like no other read all of theirs.
        assert_eq!(joined, [0, 0, 40, 59, 59]);
        assert_eq!(read, 60 + 50 + 30 + 1 + 1);
        assert_eq!(given, alone);
    }
}

#[test]
fn nobody_waits_for_what_one_that_is_held_would_read() {
    let engine = open("demo/demo.gguf");
    let options = SchedulerOptions::default().cache(1 << 30).budget(8);
    let mut scheduler = Scheduler::new(&engine, options);
    let held = add(&engine, &mut scheduler, 60, 4);
    scheduler.pass(|_, _| {});
    let next = add(&engine, &mut scheduler, 60, 1);
    scheduler.pass(|_, _| {});
    assert_eq!(scheduler.load().waiting, 1);
    scheduler.hold(held, true);
    let mut ended = Vec::new();
    for _ in 0..20 {
        scheduler.pass(|id, event| {
            if matches!(event, Event::Ended(_)) {
                ended.push(id);
            }
        });
    }
    assert_eq!(ended, [next]);
}

#[test]
fn who_waits_for_what_another_one_reads_keeps_its_place() {
    let engine = open("demo/demo.gguf");
    let options = SchedulerOptions::default().cache(1 << 30).parallel(2);
    let mut scheduler = Scheduler::new(&engine, options.budget(8));
    let first = add(&engine, &mut scheduler, 60, 30);
    let second = add(&engine, &mut scheduler, 60, 1);
    let other = Case {
        prompt: vec![9; 4],
        options: GenerateOptions::default().max_tokens(1),
        logprobs: None,
        prompt_logprobs: None,
    };
    let other = other.add(&engine, &mut scheduler);
    let (mut joined, mut ended) = (Vec::new(), Vec::new());
    while !scheduler.is_idle() {
        scheduler.pass(|id, event| match event {
            Event::Joined { .. } => joined.push(id),
            Event::Ended(_) => ended.push(id),
            _ => {}
        });
    }
    assert_eq!(joined, [first, second, other]);
    assert_eq!(ended, [second, other, first]);
}

#[test]
fn a_model_with_a_state_goes_on_where_its_state_was_kept() {
    let folder = tempfile::tempdir().unwrap();
    let file = root().join("fixtures/golden/qwen35-f32.gguf");
    let engine = with_tokenizer(&file, folder.path());
    let first = prompt(&engine, 60);
    let second = [&first[..50], &[5; 30]].concat();
    let third = [&first[..50], &[6; 30]].concat();
    let run = |bytes| {
        let options = SchedulerOptions::default().cache(bytes);
        let mut scheduler = Scheduler::new(&engine, options);
        let found = [&first, &second, &third, &first, &first];
        let found = found.map(|prompt| cached(&engine, &mut scheduler, prompt));
        assert!(scheduler.load().cached <= bytes);
        found
    };
    let (nothing, all) = (run(0), run(1 << 30));
    assert_eq!(nothing.map(|(cached, _)| cached), [0; 5]);
    // Before the end of a prompt, which may be written otherwise; then where two have differed.
    assert_eq!(all.map(|(cached, _)| cached), [0, 44, 50, 50, 59]);
    assert_eq!(all.map(|(_, token)| token), nothing.map(|(_, token)| token));
}

#[test]
fn a_request_that_is_held_keeps_its_place_and_goes_on_as_if_nothing_had_been() {
    let engine = open("demo/demo.gguf");
    let mut noise = Noise(21);
    let vocabulary = engine.tokenizer().vocab_size();
    let mut cases: Vec<Case> = (0..6)
        .map(|_| Case::random(&mut noise, vocabulary))
        .collect();
    for case in &mut cases {
        case.options = case.options.clone().max_tokens(12);
    }
    let wanted = alone(&engine, &cases);
    let mut scheduler = Scheduler::new(&engine, SchedulerOptions::default().chunk(9));
    let ids: Vec<_> = cases
        .iter()
        .map(|case| case.add(&engine, &mut scheduler))
        .collect();
    let mut given: Vec<Given> = cases.iter().map(|_| Given::default()).collect();
    while !scheduler.is_idle() {
        let held = noise.below(64);
        for (at, id) in ids.iter().enumerate() {
            scheduler.hold(*id, held >> at & 1 == 1);
        }
        let running = scheduler.load().running;
        let read = scheduler.pass(|id, event| {
            let at = ids.iter().position(|other| *other == id).unwrap();
            let joined = matches!(event, Event::Joined { .. });
            assert!(joined || running == 0 || held >> at & 1 == 0);
            given[at].take(event);
        });
        assert!(read || held != 0);
    }
    assert_eq!(given, wanted);
}
