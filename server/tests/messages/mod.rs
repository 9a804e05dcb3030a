//! Anthropic's API.

use bitnet_engine::TemplateChoice;
use bitnet_server::Keys;
use serde_json::{Value, json};

// What asks for a chat asks for a message too.
use super::running::{Running, options};
use super::{CHAT, chat as message};

const MESSAGES: &str = "/v1/messages";

#[test]
fn a_message_says_what_a_chat_says() {
    let server = Running::start(options());
    let chat = server.site.post(CHAT, &super::chat(json!({}))).ok();
    let whole = server.site.post(MESSAGES, &message(json!({}))).ok();
    let said = &chat["choices"][0]["message"]["content"];
    assert_eq!(
        whole["content"],
        json!([{ "type": "text", "text": said, "citations": null }])
    );
    assert_eq!(whole["type"], "message");
    assert_eq!(whole["role"], "assistant");
    assert_eq!(whole["stop_reason"], "max_tokens");
    assert_eq!(whole["stop_sequence"], Value::Null);
    assert_eq!(whole["system_fingerprint"], chat["system_fingerprint"]);
    // What was read before is no part of `input_tokens`.
    let prompt = chat["usage"]["prompt_tokens"].as_u64().unwrap();
    let usage = &whole["usage"];
    assert_eq!(usage["input_tokens"], 1);
    assert_eq!(usage["cache_read_input_tokens"], prompt - 1);
    assert_eq!(usage["output_tokens"], 12);
    let counted = server.site.post(
        "/v1/messages/count_tokens",
        &json!({ "messages": [{ "role": "user", "content": "Who is there?" }] }),
    );
    assert_eq!(counted.ok(), json!({ "input_tokens": prompt }));

    let body = message(json!({ "stream": true }));
    let events = server.site.post(MESSAGES, &body).typed_events();
    let types: Vec<&str> = events.iter().map(|e| e["type"].as_str().unwrap()).collect();
    let deltas = types.len() - 5;
    assert_eq!(types[..2], ["message_start", "content_block_start"]);
    assert!(
        types[2..2 + deltas]
            .iter()
            .all(|kind| *kind == "content_block_delta")
    );
    assert_eq!(
        types[2 + deltas..],
        ["content_block_stop", "message_delta", "message_stop"]
    );
    let text = events.iter().filter_map(|e| e["delta"]["text"].as_str());
    assert_eq!(text.collect::<String>(), said.as_str().unwrap());
    assert_eq!(events[0]["message"]["content"], json!([]));
    assert_eq!(events[0]["message"]["usage"]["input_tokens"], 1);
    let last = &events[events.len() - 2];
    assert_eq!(last["delta"]["stop_reason"], "max_tokens");
    assert_eq!(last["usage"], *usage);
}

#[test]
fn the_stop_sequence_that_was_found_is_named_and_not_said() {
    let server = Running::start(options());
    let whole = server.site.post(MESSAGES, &message(json!({}))).ok();
    let said = whole["content"][0]["text"].as_str().unwrap();
    let stop = &said[4..7];
    let fields = json!({ "stop_sequences": ["never said", stop] });
    let stopped = server.site.post(MESSAGES, &message(fields)).ok();
    assert_eq!(stopped["stop_reason"], "stop_sequence");
    assert_eq!(stopped["stop_sequence"], stop);
    let before = said.split(stop).next().unwrap();
    assert_eq!(stopped["content"][0]["text"], before);
}

#[test]
fn a_conversation_of_blocks_is_the_one_of_texts() {
    let server = Running::start(options());
    let count = |fields: Value| {
        let body = message(fields);
        let counted = server.site.post("/v1/messages/count_tokens", &body);
        counted.ok()["input_tokens"].as_u64().unwrap()
    };
    let text = |text: &str| json!([{ "type": "text", "text": text, "cache_control": { "type": "ephemeral" } }]);
    let texts = json!({
        "system": "Be brief.",
        "messages": [
            { "role": "user", "content": "One" },
            { "role": "assistant", "content": "Two" },
            { "role": "user", "content": "Three\n\nFour" },
        ],
    });
    let blocks = json!({
        "system": text("Be brief."),
        "messages": [
            { "role": "user", "content": text("One") },
            { "role": "assistant", "content": text("Two") },
            { "role": "user", "content": text("Three") },
            { "role": "user", "content": "Four" },
        ],
    });
    let answer = |fields: &Value| {
        let whole = server.site.post(MESSAGES, &message(fields.clone())).ok();
        whole["content"].clone()
    };
    assert_eq!(count(texts.clone()), count(blocks.clone()));
    assert_eq!(answer(&texts), answer(&blocks));
}

#[test]
fn errors_have_the_form_of_their_api() {
    let server = Running::start(options().context(64));
    let refused = |body: Value| {
        let response = server.site.post(MESSAGES, &body);
        let json = response.json();
        assert_eq!(json["type"], "error");
        let id = json["request_id"].as_str().unwrap();
        let header = format!("\nrequest-id: {id}");
        assert!(response.headers.contains(&header), "{}", response.headers);
        let text = |key: &str| json["error"][key].as_str().unwrap().to_owned();
        (response.status, text("type"), text("message"))
    };
    let user = |content: Value| json!({ "messages": [{ "role": "user", "content": content }] });
    let invalid = "invalid_request_error";
    for (fields, status, kind, named) in [
        (json!({ "max_tokens": null }), 400, invalid, "max_tokens"),
        (json!({ "model": "gpt-9" }), 404, "not_found_error", "gpt-9"),
        (json!({ "messages": [] }), 400, invalid, "messages"),
        (json!({ "system": 5 }), 400, invalid, "system"),
        (
            json!({ "system": [{ "type": "image" }] }),
            400,
            invalid,
            "system[0].type",
        ),
        (
            user(json!([{ "type": "image", "source": {} }])),
            400,
            invalid,
            "`messages[0].content[0].type` is `image`",
        ),
        (
            user(json!([{ "type": "document" }])),
            400,
            invalid,
            "`document`",
        ),
        (
            user(json!([{ "type": "text", "text": "x", "citations": [{}] }])),
            400,
            invalid,
            "citations",
        ),
        (
            json!({ "messages": [{ "role": "tool", "content": "x" }] }),
            400,
            invalid,
            "messages[0].role",
        ),
        (
            json!({ "thinking": { "type": "enabled", "budget_tokens": 5 } }),
            400,
            invalid,
            "budget",
        ),
        (
            json!({ "thinking": { "type": "enabled", "budget_tokens": 1024 } }),
            400,
            invalid,
            "does not think",
        ),
        (
            user(json!("so ".repeat(200))),
            400,
            invalid,
            "maximum context length",
        ),
        (
            json!({ "container": "c" }),
            400,
            invalid,
            "`container` is not supported",
        ),
    ] {
        let (found, found_kind, said) = refused(message(fields.clone()));
        assert_eq!((found, &found_kind[..]), (status, kind), "{fields}: {said}");
        assert!(said.contains(named), "{fields}: {said}");
    }
    let kind = |method: &str, path: &str, headers: &[&str], body: &[u8]| {
        let response = server.site.send(method, path, headers, body);
        (response.status, response.json()["error"]["type"].clone())
    };
    let version = "anthropic-version: 2023-01-01";
    assert_eq!(
        kind("POST", MESSAGES, &[version], b"{}"),
        (400, json!(invalid))
    );
    assert_eq!(kind("GET", MESSAGES, &[], b""), (405, json!(invalid)));
    let none = kind("POST", "/v1/messages/batches", &[], b"{}");
    assert_eq!(none, (404, json!("not_found_error")));
    let large = kind("POST", MESSAGES, &[], &vec![b' '; 9 << 20]);
    assert_eq!(large, (413, json!("request_too_large")));
    // What turns off what the model does not do anyway is no error.
    let neutral = json!({ "thinking": { "type": "disabled" }, "tools": [], "metadata": { "user_id": "u" }, "of_my_own": 3 });
    server.site.post(MESSAGES, &message(neutral)).ok();
}

#[test]
fn a_key_may_come_as_anthropic_sends_it() {
    let keys = Keys::parse("sk-right\n").unwrap();
    let server = Running::start(options().keys(keys));
    let body = message(json!({})).to_string();
    let ask = |header: &str| {
        let headers = [header, "anthropic-version: 2023-06-01"];
        server
            .site
            .send("POST", MESSAGES, &headers, body.as_bytes())
    };
    assert_eq!(ask("x-api-key: sk-right").status, 200);
    assert_eq!(ask("Authorization: Bearer sk-right").status, 200);
    let refused = ask("x-api-key: sk-wrong");
    let kind = refused.json()["error"]["type"].clone();
    assert_eq!((refused.status, kind), (401, json!("authentication_error")));
}

/// A template that shows all that it is given.
const SHOWS: &str = "{% for tool in tools or [] %}<tool_call> {{ tool | tojson }}\n{% endfor %}\
    {% for message in messages %}{{ message.role }}{{ message.tool_call_id or '' }}: \
    {{ message.content }}{% for call in message.tool_calls or [] %}\
    <tool_call>{{ call.id }} {{ call.function | tojson }}{% endfor %}\n{% endfor %}";

#[test]
fn calls_and_results_reach_the_model_as_in_a_chat() {
    let template = TemplateChoice::source("shows", SHOWS);
    let server = Running::start(options().template(template));
    let schema = json!({ "type": "object", "properties": { "city": { "type": "string" } } });
    let function = json!({ "name": "weather", "description": "Tells it", "parameters": schema });
    let call = json!({ "name": "weather", "arguments": "{\"city\": \"Rome\"}" });
    let chat = json!({
        "messages": [
            { "role": "user", "content": "How is it?" },
            {
                "role": "assistant",
                "content": "Let me see.",
                "tool_calls": [{ "id": "call_1", "type": "function", "function": call }],
            },
            { "role": "tool", "tool_call_id": "call_1", "content": "Fair." },
            { "role": "user", "content": "And?" },
        ],
        "tools": [{ "type": "function", "function": function }],
    });
    let tokens = server.site.post("/tokenize", &chat).ok();
    let text = |text: &str| json!({ "type": "text", "text": text });
    let use_ = json!({ "type": "tool_use", "id": "call_1", "name": "weather", "input": { "city": "Rome" } });
    let mut result = json!({ "type": "tool_result", "tool_use_id": "call_1", "content": "Fair." });
    for content in [json!("Fair."), json!([text("Fair.")])] {
        result["content"] = content;
        let body = json!({
            "messages": [
                { "role": "user", "content": "How is it?" },
                { "role": "assistant", "content": [text("Let me see."), use_] },
                { "role": "user", "content": [result, text("And?")] },
            ],
            "tools": [{ "name": "weather", "description": "Tells it", "input_schema": schema }],
            "tool_choice": { "type": "auto" },
        });
        let counted = server.site.post("/v1/messages/count_tokens", &body).ok();
        assert_eq!(counted["input_tokens"], tokens["count"]);
    }
    let items = json!({
        "input": [
            { "role": "user", "content": "How is it?" },
            { "role": "assistant", "content": "Let me see." },
            {
                "type": "function_call",
                "call_id": "call_1",
                "name": "weather",
                "arguments": "{\"city\": \"Rome\"}",
            },
            { "type": "function_call_output", "call_id": "call_1", "output": "Fair." },
            { "role": "user", "content": "And?" },
        ],
        "tools": [{
            "type": "function",
            "name": "weather",
            "description": "Tells it",
            "parameters": schema,
        }],
        "max_output_tokens": 1,
    });
    let whole = server.site.post("/v1/responses", &items).ok();
    assert_eq!(whole["usage"]["input_tokens"], tokens["count"]);
    for (fields, named) in [
        (
            json!({ "tools": [{ "type": "web_search_20250305", "name": "w" }] }),
            "web_search_20250305",
        ),
        (
            json!({ "tool_choice": { "type": "some" } }),
            "tool_choice.type",
        ),
        (
            json!({ "tool_choice": { "type": "any" } }),
            "there are no `tools`",
        ),
        (json!({ "tools": [{ "name": "" }] }), "tools[0].name"),
    ] {
        let refused = server.site.post(MESSAGES, &message(fields));
        assert_eq!(refused.status, 400);
        assert!(refused.body.contains(named), "{}", refused.body);
    }
}
