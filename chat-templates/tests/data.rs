//! Conversations with their renderings by transformers 5.24.0 and Jinja2 3.1.6, byte for byte.

use std::fs;
use std::path::Path;

use bitnet_chat_templates::{
    ChatTemplate, ControlTokens, Conversation, Error, Family, Json, Segment, Tokens,
};
use indexmap::IndexMap;

type Map = IndexMap<String, Json>;

fn folder(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

fn map(json: &Json) -> &Map {
    match json {
        Json::Map(map) => map,
        other => panic!("{} instead of a mapping", other.kind()),
    }
}

fn list(json: Option<&Json>) -> Vec<Json> {
    match json {
        Some(Json::List(items)) => items.clone(),
        None => Vec::new(),
        Some(other) => panic!("{} instead of a list", other.kind()),
    }
}

fn text<'j>(json: &'j Map, key: &str) -> Option<&'j str> {
    match json.get(key) {
        Some(Json::Text(text)) => Some(text),
        None => None,
        Some(other) => panic!("{key} is {}", other.kind()),
    }
}

fn conversation(shared: &Map, case: &Map) -> Conversation {
    let now = text(case, "now").or(text(shared, "now"));
    Conversation {
        messages: list(case.get("messages")),
        tools: case.get("tools").map(|tools| list(Some(tools))),
        variables: case.get("variables").map(map).cloned().unwrap_or_default(),
        add_generation_prompt: case.get("add_generation_prompt") != Some(&Json::Bool(false)),
        now: now.map(|now| now.parse().unwrap()),
        ..Conversation::default()
    }
}

fn tokens(shared: &Map) -> Tokens {
    Tokens {
        bos: text(shared, "bos_token").map(str::to_owned),
        eos: text(shared, "eos_token").map(str::to_owned),
        ..Tokens::default()
    }
}

/// Calls `judge` with every case of a folder, and says how many there were.
fn every_case(name: &str, judge: impl Fn(&str, &str, &Map, &Map)) -> usize {
    let mut cases = 0;
    let mut paths: Vec<_> = fs::read_dir(folder(name))
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    paths.sort();
    for path in paths
        .iter()
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
    {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let data = Json::parse(&fs::read_to_string(path).unwrap()).unwrap();
        let shared = map(&data);
        let source = match Family::named(stem).filter(|_| name == "families") {
            Some(family) => family.source.to_owned(),
            None => String::from_utf8(fs::read(path.with_extension("jinja")).unwrap()).unwrap(),
        };
        for case in list(shared.get("cases")) {
            judge(stem, &source, shared, map(&case));
            cases += 1;
        }
    }
    cases
}

#[test]
fn every_construct_renders_as_the_reference_does() {
    let cases = every_case("constructs", |file, source, shared, case| {
        let at = format!("{file}: {}", text(case, "name").unwrap());
        let template = ChatTemplate::compile(source, tokens(shared)).expect(&at);
        let got = template.render(&conversation(shared, case), &ControlTokens::default());
        match (text(case, "expected"), text(case, "error")) {
            (Some(expected), None) => assert_eq!(got.expect(&at).text, expected, "{at}"),
            (None, Some(expected)) => {
                let error = got.expect_err(&at);
                if let Some(words) = expected.strip_prefix("TemplateError: ") {
                    assert_eq!(error, Error::Raised(words.to_owned()), "{at}");
                }
            }
            _ => panic!("{at}: neither a text nor an error"),
        }
    });
    assert_eq!(cases, 92);
}

#[test]
fn every_family_renders_and_is_cut_as_the_reference_does() {
    let cases = every_case("families", |file, source, shared, case| {
        let at = format!("{file}: {}", text(case, "name").unwrap());
        let template = ChatTemplate::compile(source, tokens(shared)).expect(&at);
        let words = |json: Json| match json {
            Json::Text(text) => text,
            other => panic!("{at}: {}", other.kind()),
        };
        let control = ControlTokens::new(list(shared.get("control")).into_iter().map(words));
        let got = template
            .render(&conversation(shared, case), &control)
            .expect(&at);
        assert_eq!(got.text, text(case, "expected").unwrap(), "{at}");
        let segments: Vec<Segment> = list(case.get("segments"))
            .iter()
            .map(|segment| match list(Some(segment)).as_slice() {
                [Json::Text(kind), Json::Text(text)] if kind == "text" => {
                    Segment::Text(text.clone())
                }
                [Json::Text(kind), Json::Text(token)] if kind == "control" => {
                    Segment::Control(token.clone())
                }
                other => panic!("{at}: {other:?}"),
            })
            .collect();
        assert_eq!(got.segments, segments, "{at}");
        let sent = segments.iter().map(|segment| match segment {
            Segment::Text(text) | Segment::Control(text) => text.as_str(),
        });
        assert_eq!(
            got.altered_by_marks,
            sent.collect::<String>() != got.text,
            "{at}"
        );
    });
    assert_eq!(cases, 67);
}

#[test]
fn the_families_say_what_the_reference_says_of_them() {
    every_case("families", |file, _, shared, _| {
        if file == "bitnet-placeholder" {
            return;
        }
        let family = Family::named(file).expect(file);
        let stop = list(shared.get("stop"));
        assert_eq!(
            stop,
            family
                .stop
                .iter()
                .map(|&token| token.into())
                .collect::<Vec<Json>>()
        );
        assert_eq!(
            format!("{:?}", family.bos).to_lowercase(),
            text(shared, "bos").unwrap()
        );
        assert_eq!(family.tokens(), tokens(shared), "{file}");
    });
}
