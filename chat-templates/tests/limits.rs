//! Templates that do too much end as an error, soon, and large conversations do not.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use bitnet_chat_templates::{
    ChatTemplate, ControlTokens, Conversation, Error, Family, Json, Rendered, Tokens,
};

/// Longest that a refusal may take; twice the deadline of this crate, for busy machines.
const SOON: Duration = Duration::from_secs(4);

fn data(name: &str) -> Json {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name);
    Json::parse(&fs::read_to_string(path).unwrap()).unwrap()
}

fn list<'j>(json: &'j Json, key: &str) -> &'j [Json] {
    match json {
        Json::Map(map) => match &map[key] {
            Json::List(items) => items,
            other => panic!("{key} is {}", other.kind()),
        },
        other => panic!("{} instead of a mapping", other.kind()),
    }
}

fn text<'j>(json: &'j Json, key: &str) -> &'j str {
    match json {
        Json::Map(map) => match &map[key] {
            Json::Text(text) => text,
            other => panic!("{key} is {}", other.kind()),
        },
        other => panic!("{} instead of a mapping", other.kind()),
    }
}

fn render(source: &str, conversation: &Conversation) -> Result<Rendered, Error> {
    let template = ChatTemplate::compile(source, Tokens::default())?;
    template.render(
        conversation,
        &ControlTokens::new(["<|im_end|>", "<|eot_id|>"]),
    )
}

fn refused(name: &str, source: &str) -> String {
    let start = Instant::now();
    let result = render(source, &Conversation::question("x"));
    let error = result.map(|rendered| rendered.text.len()).expect_err(name);
    assert!(start.elapsed() < SOON, "{name}: took {:?}", start.elapsed());
    error.to_string()
}

#[test]
fn templates_without_end_are_refused_with_the_limit_or_the_place() {
    let limits = data("limits.json");
    for case in list(&limits, "refused") {
        let (name, source) = (text(case, "name"), text(case, "template"));
        let error = refused(name, source);
        assert!(
            error.contains("limit") || error.contains("line 1"),
            "{name}: {error}"
        );
    }
}

#[test]
fn sources_that_are_nested_without_end_are_refused() {
    let limits = data("limits.json");
    for case in list(&limits, "source") {
        let times = match case {
            Json::Map(map) => match map["times"] {
                Json::Int(times) => times as usize,
                _ => panic!("no number"),
            },
            _ => panic!("no mapping"),
        };
        // As long as given, and as long as is taken at all.
        let (open, close) = (text(case, "open"), text(case, "close"));
        let longest = (bitnet_chat_templates::MAX_SOURCE_BYTES - 64) / (open.len() + close.len());
        for times in [times, longest] {
            let [open, close] = [open, close].map(|part| part.repeat(times));
            let [before, middle, after] = ["before", "middle", "after"].map(|key| text(case, key));
            refused(
                text(case, "name"),
                &format!("{before}{open}{middle}{close}{after}"),
            );
        }
    }
}

#[test]
fn what_fuel_does_not_see_is_bounded_too() {
    let many_namespaces = "{% set ns = namespace() %}{% set ns.a = [ns] %}{{ ns ~ '' }}";
    let deep = "{% set ns = namespace(l=[]) %}{% for a in range(300) %}{% for b in range(300) %}\
                {% set ns.l = [[[[[[[[ns.l]]]]]]]] %}{% endfor %}{% endfor %}{{ ns.l ~ '' }}";
    let macro_doubles = "{% macro f(l) %}{{ f(l + l) }}{% endmacro %}{{ f([1]) }}";
    let with_doubles = format!(
        "{}{{{{ l | length }}}}{}",
        "{% with l = (l or [1]) + (l or [1]) %}".repeat(120),
        "{% endwith %}".repeat(120)
    );
    let loop_doubles = "{% for a in [[1]] recursive %}{{ loop([a + a]) }}{% endfor %}";
    let loops_double = format!(
        "{}{{{{ l | length }}}}{}",
        "{% for l in [(l or [1]) + (l or [1])] %}".repeat(120),
        "{% endfor %}".repeat(120)
    );
    let padded = "{{ 'x'.center(100000000000) }}";
    let split = "{% set s = 'a' * 60000000 %}{{ s.split('a') | length }}";
    for source in [
        many_namespaces,
        deep,
        macro_doubles,
        &with_doubles,
        loop_doubles,
        &loops_double,
        padded,
        split,
    ] {
        refused(source, source);
    }
}

#[test]
fn large_conversations_are_not_refused() {
    let limits = data("limits.json");
    assert_eq!(list(&limits, "not_refused").len(), 3);
    let family = |name: &str| Family::named(name).unwrap().source;
    let letters = "word ".repeat(40);
    let turns = (0..10_000).map(|at| match at % 2 {
        0 => Json::message("user", &letters),
        _ => Json::message("assistant", &letters),
    });
    let long = Conversation::new(turns.collect());
    assert!(render(family("chatml"), &long).unwrap().text.len() > 2_300_000);

    let document = "0123456789abcde\n".repeat(8 << 16);
    let question = Conversation::question(&document);
    assert!(
        render(family("bitnet-2b-4t"), &question)
            .unwrap()
            .text
            .len()
            > 8_000_000
    );

    let cases = data("constructs/json.json");
    let case = &list(&cases, "cases")[0];
    let mut tools = Conversation::question("x");
    tools.tools = Some(vec![list(case, "tools")[0].clone(); 500]);
    let rendered = render(family("qwen3"), &tools).unwrap();
    assert_eq!(rendered.text.matches("\"tide_table\"").count(), 500);
}
