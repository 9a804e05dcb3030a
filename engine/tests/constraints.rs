//! Answers follow their grammar, and are the same however they are computed.

use std::path::Path;

use bitnet_engine::chat_templates::Json;
use bitnet_engine::scheduler::{Event, Request, Scheduler, SchedulerOptions};
use bitnet_engine::{
    ChatOptions, Device, Engine, GenerateOptions, Generated, Grammar, Isa, LoadOptions, Piece,
    Sampling, StopReason,
};

fn open(options: LoadOptions) -> Engine {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/demo.gguf");
    Engine::open(demo, &options.device(Device::Cpu)).unwrap()
}

const SCHEMA: &str = r#"{"type": "object", "properties": {
    "name": {"type": "string", "maxLength": 12}, "kin": {"type": "boolean"},
    "house": {"enum": ["Montague", "Capulet"]}},
    "required": ["name", "kin", "house"], "additionalProperties": false}"#;

fn schema(text: &str) -> Grammar {
    Grammar::JsonSchema(Json::parse(text).unwrap())
}

fn grammars() -> Vec<Grammar> {
    vec![
        schema(SCHEMA),
        Grammar::JsonObject,
        Grammar::Regex("[A-Z][a-z]{2,9}, (is|was) it\\?".to_owned()),
        Grammar::Choice(vec!["yea".to_owned(), "yea, verily".to_owned()]),
        Grammar::of_text("root ::= \"(\" root* \")\" | [a-e]+ \", \"".to_owned()),
        Grammar::of_text("start: NAME (\" and \" NAME)*\nNAME: /[a-z]{1,4}/".to_owned()),
    ]
}

/// Answers to be given, each with its grammar.
fn asked(engine: &Engine) -> Vec<GenerateOptions> {
    let grammars = grammars();
    let seeds = grammars.iter().cycle().zip(1_u64..).take(18);
    let each = seeds.map(|(grammar, seed)| {
        let sampling = match seed % 3 {
            0 => Sampling::default(),
            1 => Sampling::default().temperature(1.0).seed(seed),
            _ => Sampling::default().temperature(0.8).top_k(20).seed(seed),
        };
        let sampling = match seed % 2 {
            0 => sampling.repeat_penalty(1.3),
            _ => sampling,
        };
        let options = GenerateOptions::default().max_tokens(40).sampling(sampling);
        options.constraint(engine.encoder().constraint(grammar).unwrap())
    });
    each.collect()
}

/// Text, tokens, the bits of their logits where the grammar left a choice, and why it ended.
type Answer = (String, Vec<u32>, Vec<Option<u32>>, StopReason);

/// The bits of the logit of a token that was chosen.
fn logit(piece: &Piece) -> Option<Option<u32>> {
    let logit = piece.token?.logit;
    Some((!logit.is_nan()).then_some(logit.to_bits()))
}

const PROMPT: &str = "ROMEO:\nIs she a Capulet? She is a Capulet. And is she a Capulet?\n";

fn alone(engine: &Engine, options: &GenerateOptions) -> Answer {
    let mut generation = engine.generate(PROMPT, options).unwrap();
    let logits = (&mut generation).filter_map(|piece| logit(&piece.unwrap()));
    let logits = logits.collect();
    let generated = generation.generated();
    let stop = generated.stop.unwrap();
    let Generated { text, tokens, .. } = generated.clone();
    (text, tokens, logits, stop)
}

#[test]
fn an_answer_is_the_same_whatever_computes_it() {
    let engine = open(LoadOptions::default().threads(1));
    let asked = asked(&engine);
    let wanted: Vec<Answer> = asked
        .iter()
        .map(|options| alone(&engine, options))
        .collect();
    for (i, (text, tokens, logits, stop)) in wanted.iter().enumerate() {
        assert!(!tokens.is_empty() && logits.iter().any(Option::is_some));
        if i % 6 < 2 && *stop == StopReason::Complete {
            Json::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        }
    }
    assert!(wanted[0].0.starts_with("{\"name\": \""), "{}", wanted[0].0);
    let scalar = LoadOptions::default().threads(1).batch(3).isa(Isa::Scalar);
    let scalar = open(scalar);
    for (options, wanted) in asked.iter().zip(&wanted) {
        for speculate in [0, 3] {
            let options = options.clone().speculate(speculate);
            assert_eq!(alone(&engine, &options), *wanted, "{speculate} guesses");
        }
        assert_eq!(alone(&engine, &options.clone().digests(true)), *wanted);
    }
    // The other engine has constraints of its own.
    let others = self::asked(&scalar);
    for (options, wanted) in others.iter().zip(&wanted).step_by(5) {
        assert_eq!(alone(&scalar, options), *wanted);
    }
}

#[test]
fn an_answer_is_the_same_whatever_runs_beside_it() {
    let engine = open(LoadOptions::default().threads(1));
    let asked = asked(&engine);
    let prompt = engine.encode(PROMPT).unwrap();
    let wanted: Vec<Answer> = asked
        .iter()
        .map(|options| alone(&engine, options))
        .collect();
    for (chunk, with_logprobs) in [(1, false), (64, true), (64, false), (3, true)] {
        let options = SchedulerOptions::default().parallel(5).chunk(chunk);
        let mut scheduler = Scheduler::new(&engine, options.cache(1 << 20));
        let ids = (0..).zip(&asked).map(|(i, options)| {
            let request = Request::new(&prompt, options.clone().digests(i % 7 == 0));
            let request = match with_logprobs && i % 2 == 0 {
                true => request.logprobs(2),
                false => request,
            };
            scheduler.add(request).unwrap()
        });
        let ids: Vec<_> = ids.collect();
        let mut ended = vec![None; ids.len()];
        let mut logits = vec![Vec::new(); ids.len()];
        while !scheduler.is_idle() {
            scheduler.pass(|id, event| {
                let at = ids.iter().position(|other| *other == id).unwrap();
                match event {
                    Event::Ended(generated) => {
                        let stop = generated.stop.unwrap();
                        let logits = std::mem::take(&mut logits[at]);
                        ended[at] = Some((generated.text, generated.tokens, logits, stop));
                    }
                    Event::Piece { piece, logprobs } => {
                        logits[at].extend(logit(&piece));
                        let logprobs = logprobs.filter(|_| piece.token.is_some());
                        assert!(logprobs.is_none_or(|found| found.chosen.is_finite()));
                    }
                    Event::Failed(error) => panic!("{error}"),
                    _ => {}
                }
            });
        }
        for (found, wanted) in ended.iter().zip(&wanted) {
            assert_eq!(found.as_ref(), Some(wanted), "chunk {chunk}");
        }
    }
}

#[test]
fn each_turn_of_a_conversation_is_held_anew() {
    let engine = open(LoadOptions::default().threads(1));
    let grammar = Grammar::Choice(vec!["yea".to_owned(), "nay".to_owned()]);
    let constraint = engine.encoder().constraint(&grammar).unwrap();
    let options = ChatOptions::default().template("instruct".parse().unwrap());
    let answers = GenerateOptions::default().constraint(constraint);
    let mut chat = engine.chat(options.answers(answers)).unwrap();
    for question in ["Is it so?", "And now?"] {
        let answer = chat.say(question).unwrap();
        let said: String = answer
            .map(|piece| piece.unwrap().text.to_string())
            .collect();
        assert!(said == "yea" || said == "nay", "{said}");
    }
}

/// Any of the values that follow a schema, nearly at random.
fn drawn(engine: &Engine, grammar: &Grammar, seed: u64) -> Option<Json> {
    let sampling = Sampling::default().temperature(3.0).top_k(0).top_p(1.0);
    let options = GenerateOptions::default()
        .max_tokens(100)
        .sampling(sampling.seed(seed))
        .constraint(engine.encoder().constraint(grammar).unwrap());
    let (text, _, _, stop) = alone(engine, &options);
    let ended = matches!(stop, StopReason::Complete | StopReason::EndOfGeneration);
    ended.then(|| Json::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}")))
}

#[test]
fn what_is_drawn_follows_the_keywords_of_its_schema() {
    let engine = open(LoadOptions::default().threads(1));
    let number = |value: &Json| match value {
        Json::Int(value) => *value as f64,
        Json::Float(value) => *value,
        other => panic!("{other:?}"),
    };
    let text = |value: &Json| match value {
        Json::Text(text) => text.clone(),
        other => panic!("{other:?}"),
    };
    let items = |value: &Json| match value {
        Json::List(items) => items.clone(),
        other => panic!("{other:?}"),
    };
    type Check<'c> = &'c dyn Fn(&Json) -> bool;
    let cases: [(&str, Check<'_>); 8] = [
        (
            r#"{"type": "integer", "minimum": -3, "exclusiveMaximum": 17}"#,
            &|value| matches!(value, Json::Int(-3..=16)),
        ),
        (
            r#"{"type": "number", "minimum": 0.5, "maximum": 2}"#,
            &|value| (0.5..=2.0).contains(&number(value)),
        ),
        (
            r#"{"type": "string", "minLength": 2, "maxLength": 5}"#,
            &|value| (2..=5).contains(&text(value).chars().count()),
        ),
        (
            r#"{"type": "string", "pattern": "^[a-f]{2}\\d+$", "maxLength": 9}"#,
            &|value| text(value).starts_with(|sign| ('a'..='f').contains(&sign)),
        ),
        (
            r#"{"enum": ["\u0001\n\"", "é😀", null, 4.5, ["x"]]}"#,
            &|value| {
                let known = r#"["\u0001\n\"", "é😀", null, 4.5, ["x"]]"#;
                items(&Json::parse(known).unwrap()).contains(value)
            },
        ),
        (
            r#"{"type": "array", "items": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
                "minItems": 2, "maxItems": 4}"#,
            &|value| {
                let items = items(value);
                let sound = |item: &Json| matches!(item, Json::Bool(_) | Json::Null);
                (2..=4).contains(&items.len()) && items.iter().all(sound)
            },
        ),
        (
            r##"{"$ref": "#/$defs/tree", "$defs": {"tree": {"type": "object",
                "properties": {"of": {"type": "array", "maxItems": 2,
                "items": {"$ref": "#/$defs/tree"}}},
                "required": ["of"], "additionalProperties": false}}}"##,
            &|value| matches!(value, Json::Map(entries) if entries.contains_key("of")),
        ),
        (
            r#"{"oneOf": [
                {"type": "object", "properties": {"kind": {"const": "a"}, "x": {"enum": [1, 20]}},
                 "required": ["kind", "x"], "additionalProperties": false},
                {"type": "object", "properties": {"kind": {"const": "b"}},
                 "required": ["kind"], "additionalProperties": false}]}"#,
            &|value| match value.text_at("kind") {
                Some("a") => matches!(value, Json::Map(entries) if entries.len() == 2),
                kind => kind == Some("b"),
            },
        ),
    ];
    for (text, check) in cases {
        let grammar = schema(text);
        let drawn: Vec<Json> = (0..6)
            .filter_map(|seed| drawn(&engine, &grammar, seed))
            .collect();
        assert!(drawn.len() > 2, "{text}: {} are whole", drawn.len());
        for value in drawn {
            assert!(check(&value), "{text}: {value:?}");
        }
    }
}
