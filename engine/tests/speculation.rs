//! Guesses change how fast text comes, and nothing else.

use std::path::Path;

use bitnet_engine::scheduler::{Event, Request, Scheduler, SchedulerOptions};
use bitnet_engine::{
    ChatOptions, Device, Engine, GenerateOptions, Generated, LoadOptions, Sampling,
};

fn engine() -> Engine {
    open(LoadOptions::default())
}

fn open(options: LoadOptions) -> Engine {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/demo.gguf");
    Engine::open(demo, &options.device(Device::Cpu)).unwrap()
}

/// What is generated, and the bits of every token's logit.
fn generate(engine: &Engine, prompt: &[u32], options: &GenerateOptions) -> (Generated, Vec<u32>) {
    let mut generation = engine.generate(prompt.to_vec(), options).unwrap();
    let mut logits = Vec::new();
    for piece in &mut generation {
        logits.extend(piece.unwrap().token.map(|token| token.logit.to_bits()));
    }
    (generation.generated().clone(), logits)
}

/// A prompt in which some of the same tokens come again and again.
fn prompt(seed: u32) -> Vec<u32> {
    let token = |i: u32| 256 + (seed.wrapping_mul(2_654_435_761) >> 8).wrapping_add(i * 37) % 400;
    (0..8 + seed % 30)
        .map(|i| token(i % (3 + seed % 7)))
        .collect()
}

#[test]
fn guesses_change_no_token_and_no_logit() {
    let engine = engine();
    let mut guessed = 0;
    for seed in 0..200 {
        let sampling = Sampling::default()
            .temperature([0.0, 0.3, 1.0][seed as usize % 3])
            .top_k([0, 20][seed as usize % 2])
            .top_p([1.0, 0.9][seed as usize / 2 % 2])
            .repeat_penalty([1.0, 1.2][seed as usize / 4 % 2])
            .seed(u64::from(seed));
        let options = GenerateOptions::default()
            .max_tokens(1 + seed as usize % 40)
            .stop("nor the")
            .sampling(sampling);
        let prompt = prompt(seed);
        let (plain, logits) = generate(&engine, &prompt, &options.clone().speculate(0));
        assert_eq!(plain.guessed, 0);
        for most in [1, 4, GenerateOptions::SPECULATE, usize::MAX] {
            let (ahead, same) = generate(&engine, &prompt, &options.clone().speculate(most));
            assert_eq!(
                (&ahead.text, &ahead.tokens, ahead.stop),
                (&plain.text, &plain.tokens, plain.stop),
                "prompt {seed}, {most} guesses"
            );
            assert_eq!(same, logits, "prompt {seed}, {most} guesses");
            guessed += ahead.guessed;
        }
    }
    // How many are made depends on what they cost on this machine; the first always are.
    assert!(guessed > 0);
}

#[test]
fn a_conversation_is_the_same_with_guesses() {
    let engine = engine();
    let mut answers = [0, GenerateOptions::SPECULATE].map(|most| {
        let answers = GenerateOptions::default().max_tokens(24).speculate(most);
        let options = ChatOptions::default()
            .template("instruct".parse().unwrap())
            .answers(answers);
        let mut chat = engine.chat(options).unwrap();
        let mut said = Vec::new();
        for question in [
            "What light?",
            "What light?",
            "And what light is it?",
            "What light?",
        ] {
            let mut answer = chat.say(question).unwrap();
            said.push(
                answer
                    .by_ref()
                    .map(|piece| piece.unwrap().text.to_string())
                    .collect::<String>(),
            );
        }
        chat.undo();
        let mut again = chat.say("What light?").unwrap();
        said.push(
            again
                .by_ref()
                .map(|piece| piece.unwrap().text.to_string())
                .collect(),
        );
        said
    });
    let last = answers.last_mut().unwrap().clone();
    assert_eq!(answers[0], last);
}

/// A prompt that says nothing twice.
const PROMPT: &str = "ROMEO: What light through yonder window breaks?";

/// What two requests are given, one behind the other.
fn served(engine: &Engine, asked: &[GenerateOptions]) -> Vec<Generated> {
    let prompt = engine.encode(PROMPT).unwrap();
    let mut scheduler = Scheduler::new(engine, SchedulerOptions::default());
    let ended = asked.iter().map(|options| {
        let request = Request::new(&prompt, options.clone());
        scheduler.add(request).unwrap();
        let mut ended = None;
        while !scheduler.is_idle() {
            scheduler.pass(|_, event| match event {
                Event::Ended(generated) => ended = Some(generated),
                Event::Failed(error) => panic!("{error}"),
                _ => {}
            });
        }
        ended.unwrap()
    });
    ended.collect()
}

#[test]
fn what_was_answered_before_is_guessed_and_changes_nothing() {
    // Each engine knows its own answers alone.
    for (first, second) in [(false, false), (false, true), (true, false), (true, true)] {
        let engine = open(LoadOptions::default().threads(1));
        let ask = |in_scheduler: bool, options: &GenerateOptions| match in_scheduler {
            true => served(&engine, std::slice::from_ref(options)).remove(0),
            false => {
                let prompt = engine.encode(PROMPT).unwrap();
                generate(&engine, &prompt.tokens, options).0
            }
        };
        // So few tokens that the answer does not repeat itself.
        let options = GenerateOptions::default().max_tokens(12).digests(true);
        let silent = options.clone().speculate(0);
        let plain = ask(first, &silent);
        // What asks for no guesses leaves none.
        let fresh = ask(first, &options);
        let again = ask(second, &options);
        let never = ask(second, &silent);
        assert_eq!((plain.guessed, fresh.guessed, never.guessed), (0, 0, 0));
        assert!(again.guessed > 0, "{:?}", again.text);
        for other in [&fresh, &again, &never] {
            assert_eq!(
                (&other.tokens, &other.logits),
                (&plain.tokens, &plain.logits)
            );
            assert_eq!((&other.text, other.stop), (&plain.text, plain.stop));
        }
        // Another seed says something else, however much of it is guessed wrongly.
        for seed in 0..6 {
            let sampling = Sampling::default().temperature(1.0).seed(seed);
            let drawn = options.clone().sampling(sampling);
            let plain = ask(first, &drawn.clone().speculate(0));
            for _ in 0..2 {
                let other = ask(second, &drawn);
                assert_eq!(
                    (&other.tokens, &other.logits),
                    (&plain.tokens, &plain.logits)
                );
            }
        }
    }
}
