//! Receipts hold wherever their answers are made again, and tell what was changed in them.

use std::path::Path;

use bitnet_answer_receipts::{AnswerReceipt, Begun, Difference, RepeatError, Repeated, repeat};
use bitnet_engine::chat_templates::Json;
use bitnet_engine::cpu::Isa;
use bitnet_engine::scheduler::{Event, Request, Scheduler, SchedulerOptions};
use bitnet_engine::{
    CacheType, Device, Engine, Error, GenerateOptions, Grammar, LoadOptions, Prompt, Sampling,
    TemplateChoice,
};
use serde_json::{Value, json};

fn load() -> LoadOptions {
    LoadOptions::default().device(Device::Cpu).threads(1)
}

fn open(options: &LoadOptions) -> Engine {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/demo.gguf");
    Engine::open(demo, options).expect("the demo model opens")
}

fn drawn(seed: u64) -> GenerateOptions {
    let sampling = Sampling::default()
        .temperature(0.9)
        .repeat_penalty(1.1)
        .presence_penalty(0.3)
        .frequency_penalty(-0.2)
        .logit_bias(vec![(5, 1.5), (9, -100.0)])
        .seed(seed);
    GenerateOptions::default()
        .max_tokens(14)
        .stop("zzz")
        .sampling(sampling)
        .digests(true)
}

/// The receipt of an answer that `engine` generates, of which so many pieces are taken.
fn receipt_of(engine: &Engine, prompt: Prompt, options: &GenerateOptions, pieces: usize) -> Value {
    let prompt = engine.encode(prompt).unwrap();
    let begun = Begun::new(engine, "demo", &prompt, options, engine.context()).unwrap();
    let mut generation = engine.generate(&prompt, options).unwrap();
    for piece in generation.by_ref().take(pieces) {
        piece.unwrap();
    }
    begun.end(generation.generated()).json()
}

fn prompt() -> Prompt {
    let template = TemplateChoice::source("/a/b/form.jinja", "{{ messages[0].content }}\n");
    Prompt::from("ROMEO:\nWhat light, and what more of it").template(template)
}

fn read(receipt: &Value) -> AnswerReceipt {
    AnswerReceipt::parse(receipt.to_string().as_bytes()).unwrap()
}

fn again(receipt: &Value, engine: &Engine) -> Repeated {
    repeat(&read(receipt), engine, None, || false).unwrap()
}

#[test]
fn a_receipt_holds_with_every_instruction_set_number_of_threads_and_batch() {
    for cache_type in [CacheType::F16, CacheType::F32] {
        let load = load().cache_type(cache_type);
        let receipt = receipt_of(&open(&load), prompt(), &drawn(7), usize::MAX);
        assert_eq!(receipt["parameters"]["temperature"], 0.9);
        let steps = receipt["answer"]["logits"].as_array().unwrap().len();
        assert!(steps > 10);
        let cuts = [(1, 512), (2, 1), (1, 5)].into_iter().cycle();
        for (isa, (threads, batch)) in Isa::available().into_iter().zip(cuts) {
            let engine = open(&load.clone().isa(isa).threads(threads).batch(batch));
            let found = again(&receipt, &engine);
            assert!(found.holds(), "{isa:?} {threads} {batch}: {found:?}");
            assert_eq!(found.steps, steps);
        }
    }
}

#[test]
fn what_an_answer_was_held_to_is_in_its_receipt_and_is_held_to_again() {
    let engine = open(&load());
    let schema = r#"{"type": "object", "properties": {"kin": {"type": "boolean"}, "n": {"enum":
        [1, 20]}}, "required": ["n", "kin"], "additionalProperties": false}"#;
    for grammar in [
        Grammar::JsonSchema(Json::parse(schema).unwrap()),
        Grammar::Choice(vec!["yea".to_owned(), "nay, nay".to_owned()]),
        Grammar::of_text("root ::= \"(\" root? \")\"".to_owned()),
    ] {
        let constraint = engine.encoder().constraint(&grammar).unwrap();
        let options = drawn(7).max_tokens(30).constraint(constraint);
        let receipt = receipt_of(&engine, prompt(), &options, usize::MAX);
        let (kind, _) = grammar.written();
        assert_eq!(receipt["parameters"]["constraint"]["kind"], kind);
        let other = open(&load().isa(Isa::Scalar).batch(3));
        let found = again(&receipt, &other);
        assert!(found.holds() && found.steps > 0, "{found:?}");
        // What it was held to decides about it.
        let mut changed = receipt.clone();
        changed["parameters"]["constraint"] = json!({ "kind": "regex", "text": "[0-9]{9}" });
        assert!(!again(&changed, &engine).holds());
        changed["parameters"]["constraint"]["kind"] = "xml".into();
        let refused = repeat(&read(&changed), &engine, None, || false);
        assert!(matches!(refused, Err(RepeatError::Constraint(_))));
    }
    // Nothing is written where there is nothing.
    let receipt = receipt_of(&engine, prompt(), &drawn(7), 3);
    assert!(receipt["parameters"].get("constraint").is_none());
}

#[test]
fn receipts_of_requests_side_by_side_hold() {
    let engine = open(&load());
    let options = SchedulerOptions::default().context(40).cache(1 << 20);
    let mut scheduler = Scheduler::new(&engine, options.chunk(3));
    let mut begun = Vec::new();
    for seed in 0..6 {
        let text = "O, ".repeat(1 + seed as usize);
        let prompt = engine.encode(&text[..]).unwrap();
        // Some are ended by the context.
        let options = drawn(seed).max_tokens(30);
        let receipt = Begun::new(&engine, "demo", &prompt, &options, 40).unwrap();
        let id = scheduler.add(Request::new(&prompt, options)).unwrap();
        begun.push((id, receipt));
    }
    let mut receipts = Vec::new();
    while !scheduler.is_idle() {
        scheduler.pass(|id, event| {
            if let Event::Ended(generated) = event {
                let (_, begun) = begun.iter().find(|(other, _)| *other == id).unwrap();
                receipts.push(begun.clone().end(&generated));
            }
        });
    }
    assert_eq!(receipts.len(), 6);
    assert!(
        receipts
            .iter()
            .any(|receipt| receipt.answer.stop == "context_full")
    );
    for receipt in receipts {
        let found = repeat(&receipt, &engine, None, || false).unwrap();
        assert!(found.holds() && found.notes.is_empty(), "{found:?}");
    }
}

#[test]
fn what_was_cut_short_is_the_beginning_of_what_is_made_again() {
    let engine = open(&load());
    let receipt = receipt_of(&engine, prompt(), &drawn(3), 6);
    assert_eq!(receipt["answer"]["stop"], "cancelled");
    let found = again(&receipt, &engine);
    assert_eq!((found.holds(), found.steps), (true, 6), "{found:?}");
    // Less text than its tokens spell, and more.
    let longer = receipt_of(&engine, prompt(), &drawn(3), 9);
    for text in [json!(""), longer["answer"]["text"].clone()] {
        let mut edited = receipt.clone();
        edited["answer"]["text"] = text;
        let found = again(&edited, &engine);
        let named = &found.differences[..];
        assert!(matches!(named, [Difference::Text { .. }]), "{found:?}");
    }
    // Nothing cut short what its last token ended.
    let mut whole = receipt_of(&engine, prompt(), &drawn(3).max_tokens(6), usize::MAX);
    assert_eq!(whole["answer"]["stop"], "max_tokens");
    whole["answer"]["stop"] = json!("cancelled");
    let found = again(&whole, &engine);
    let named = &found.differences[..];
    assert!(matches!(named, [Difference::Stop { .. }]), "{found:?}");
    // Before its first token, and without one.
    for (pieces, options) in [(0, drawn(3)), (9, drawn(3).max_tokens(0))] {
        let receipt = receipt_of(&engine, prompt(), &options, pieces);
        let found = again(&receipt, &engine);
        assert_eq!((found.holds(), found.steps), (true, 0), "{found:?}");
    }
}

#[test]
fn each_edit_is_found_and_named() {
    let engine = open(&load());
    let mut receipt = receipt_of(&engine, prompt(), &drawn(7), usize::MAX);
    let wrong = json!("ab".repeat(32));
    let id = receipt["answer"]["tokens"][4].as_u64().unwrap();
    let mut tokens = receipt["answer"]["tokens"].as_array().unwrap().clone();
    tokens.pop();
    type Check = fn(&Difference) -> bool;
    let edits: &[(&str, Value, Check)] = &[
        ("/answer/logits/3", wrong.clone(), |it| {
            *it == Difference::Logits { step: 3 }
        }),
        ("/answer/tokens/4", json!(id ^ 1), |it| {
            matches!(
                it,
                Difference::Token {
                    step: 4,
                    recorded: Some(_),
                    here: Some(_)
                }
            )
        }),
        ("/answer/tokens/4", json!(4_000_000_000_u32), |it| {
            matches!(it, Difference::Token { step: 4, .. })
        }),
        ("/answer/tokens", json!(tokens), |it| {
            matches!(it, Difference::Contradiction { .. })
        }),
        ("/answer/text", json!("forsooth"), |it| {
            matches!(it, Difference::Text { .. })
        }),
        ("/answer/stop", json!("stop_string"), |it| {
            matches!(it, Difference::Stop { .. })
        }),
        ("/model/sha256", wrong.clone(), |it| {
            matches!(it, Difference::Model { .. })
        }),
        ("/model/tokenizer", wrong.clone(), |it| {
            matches!(it, Difference::Tokenizer { .. })
        }),
        ("/prompt/2", json!(3), |it| {
            *it == Difference::Logits { step: 0 }
        }),
        ("/parameters/seed", json!(8), |it| {
            matches!(it, Difference::Token { .. })
        }),
        ("/parameters/temperature", json!(0.0), |it| {
            matches!(it, Difference::Token { .. })
        }),
        ("/parameters/max_tokens", json!(13), |it| {
            matches!(it, Difference::Contradiction { .. })
        }),
        ("/parameters/max_tokens", json!(15), |it| {
            matches!(it, Difference::Logits { step: 14 })
        }),
        ("/context", json!(1_000_000), |it| {
            matches!(it, Difference::Context { .. })
        }),
        (
            "/template",
            json!({ "name": "raw", "origin": "named", "sha256": wrong }),
            |it| matches!(it, Difference::Template { .. }),
        ),
        ("/ends", json!([id]), |it| {
            matches!(it, Difference::Token { here: None, .. })
        }),
    ];
    for (place, value, is_it) in edits {
        let mut edited = receipt.clone();
        *edited.pointer_mut(place).unwrap() = value.clone();
        let found = again(&edited, &engine);
        assert!(found.differences.iter().any(is_it), "{place}: {found:?}");
        for difference in &found.differences {
            assert!(!difference.to_string().is_empty());
        }
    }
    // What changes no answer is said, and no difference.
    receipt["program"]["numerics"] = wrong.clone();
    receipt["model"]["graph"] = wrong;
    let found = again(&receipt, &engine);
    assert_eq!((found.holds(), found.notes.len()), (true, 3), "{found:?}");
}

#[test]
fn a_template_is_compared_where_it_can_be_found() {
    let engine = open(&load());
    let named = prompt().template(TemplateChoice::Instruct);
    let mut receipt = receipt_of(&engine, named, &drawn(7), usize::MAX);
    assert!(again(&receipt, &engine).notes.is_empty());
    receipt["ends"] = json!([0, 3]);
    let found = again(&receipt, &engine);
    let ends = |it: &Difference| matches!(it, Difference::Ends { .. });
    assert!(found.differences.iter().any(ends), "{found:?}");

    let receipt = receipt_of(&engine, prompt(), &drawn(7), usize::MAX);
    // Folders are nobody's business.
    assert_eq!(receipt["template"]["name"], "form.jinja");
    assert_eq!(receipt["template"]["origin"], "file");
    let found = again(&receipt, &engine);
    assert!(
        found.holds() && found.notes[0].contains("form.jinja"),
        "{found:?}"
    );
    let with = |text: &str| {
        let choice = TemplateChoice::source("x", text);
        repeat(&read(&receipt), &engine, Some(&choice), || false).unwrap()
    };
    let found = with("{{ messages[0].content }}\n");
    assert!(found.holds() && found.notes.is_empty(), "{found:?}");
    assert!(!with("{{ messages[0].content }}").holds());
}

#[test]
fn what_cannot_be_repeated_is_an_error_that_says_why() {
    let engine = open(&load());
    let receipt = receipt_of(&engine, prompt(), &drawn(7), usize::MAX);
    let refused = |place: &str, value: Value| {
        let mut edited = receipt.clone();
        *edited.pointer_mut(place).unwrap() = value;
        repeat(&read(&edited), &engine, None, || false).unwrap_err()
    };
    assert!(matches!(
        refused("/prompt/1", json!(4_000_000_000_u32)),
        RepeatError::Engine(Error::Token { .. })
    ));
    assert!(matches!(
        refused("/prompt", json!([])),
        RepeatError::Engine(Error::EmptyPrompt)
    ));
    assert!(matches!(
        refused("/context", json!(3)),
        RepeatError::Engine(Error::ContextFull { have: 3, .. })
    ));
    for (name, value) in [("temperature", -1.0), ("temperature", 1e39), ("top_p", 0.0)] {
        let error = refused(&format!("/parameters/{name}"), json!(value));
        assert!(
            matches!(error, RepeatError::Engine(Error::Sampling(_))),
            "{error:?}"
        );
    }
    let error = refused("/device", json!("gpu: a fast one"));
    assert!(error.to_string().contains("gpu: a fast one"));
    let stopped = repeat(&read(&receipt), &engine, None, || true);
    assert!(matches!(stopped, Err(RepeatError::Interrupted)));
}

#[test]
fn what_is_no_receipt_is_refused_with_its_reason() {
    let engine = open(&load());
    let receipt = receipt_of(&engine, prompt(), &drawn(7), 3);
    let refused = |json: &str| {
        AnswerReceipt::parse(json.as_bytes())
            .unwrap_err()
            .to_string()
    };
    let edited = |place: &str, value: Value| {
        let mut edited = receipt.clone();
        *edited.pointer_mut(place).unwrap() = value;
        refused(&edited.to_string())
    };
    let added = |at: &str| {
        let mut edited = receipt.clone();
        edited.pointer_mut(at).unwrap()["beyond"] = json!(1);
        refused(&edited.to_string())
    };
    for (found, what) in [
        (refused(""), "EOF"),
        (refused("[1, 2]"), "`kind` is 1"),
        (refused(&"[".repeat(100_000)), "recursion limit"),
        (refused("{}"), "no answer receipt: its `kind` is null"),
        (
            refused("{\"schema_version\": \"1.0.0\", \"test_suite\": \"x\"}"),
            "verify-receipt",
        ),
        (edited("/schema_version", json!(2)), "`schema_version` is 2"),
        (
            edited("/schema_version", json!(-1)),
            "`schema_version` is -1",
        ),
        (
            edited("/schema_version", json!("1")),
            "`schema_version` is \"1\"",
        ),
        (edited("/prompt/0", json!(-4)), "-4"),
        (edited("/prompt/0", json!(1.5)), "1.5"),
        (edited("/prompt/0", json!(5_000_000_000_u64)), "5000000000"),
        (edited("/parameters/seed", json!(-1)), "-1"),
        (edited("/parameters/temperature", json!("NaN")), "NaN"),
        (edited("/parameters/temperature", Value::Null), "null"),
        (edited("/parameters/logit_bias", json!({ "x": 1 })), "x"),
        (edited("/answer/logits/0", json!("abc")), "abc"),
        (edited("/model/cache_type", json!("q8_0")), "q8_0"),
        (edited("/answer", json!({})), "missing field"),
        (added(""), "unknown field `beyond`"),
        (added("/model"), "unknown field `beyond`"),
        (added("/parameters"), "unknown field `beyond`"),
        (added("/answer"), "unknown field `beyond`"),
    ] {
        assert!(found.contains(what), "{what}: {found}");
    }
    let text = receipt.to_string().replace("0.9,", "1e999,");
    assert!(
        refused(&text).contains("out of range"),
        "{}",
        refused(&text)
    );
}
