//! OpenAI's newer API.

use serde_json::{Value, json};

use super::CHAT;
use super::running::{Running, options};

const RESPONSES: &str = "/v1/responses";

fn asked(fields: Value) -> Value {
    let body = json!({
        "model": "demo",
        "input": "Who is there?",
        "max_output_tokens": 12,
        "temperature": 0,
    });
    super::with(body, fields)
}

#[test]
fn a_response_says_what_a_chat_says() {
    let server = Running::start(options());
    let chat = server.site.post(CHAT, &super::chat(json!({}))).ok();
    let said = &chat["choices"][0]["message"]["content"];
    let fields = json!({
        "store": true,
        "metadata": { "of": "mine" },
        "input": [{ "role": "user", "content": [{ "type": "input_text", "text": "Who is there?" }] }],
        "include": ["message.output_text.logprobs"],
        "top_logprobs": 2,
    });
    let whole = server.site.post(RESPONSES, &asked(fields.clone())).ok();
    assert_eq!(whole["object"], "response");
    assert_eq!(whole["status"], "incomplete");
    assert_eq!(whole["incomplete_details"]["reason"], "max_output_tokens");
    assert_eq!(whole["store"], false);
    assert_eq!(whole["metadata"]["of"], "mine");
    let message = &whole["output"][0];
    assert_eq!(message["type"], "message");
    assert_eq!(message["content"][0]["text"], *said);
    let logprobs = message["content"][0]["logprobs"].as_array().unwrap();
    assert_eq!(logprobs.len(), 12);
    assert_eq!(
        logprobs[0]["logprob"],
        logprobs[0]["top_logprobs"][0]["logprob"]
    );
    assert_eq!(whole["usage"]["output_tokens"], 12);
    assert_eq!(
        whole["usage"]["input_tokens"],
        chat["usage"]["prompt_tokens"]
    );
    let cached = &whole["usage"]["input_tokens_details"]["cached_tokens"];
    assert_eq!(
        cached.as_u64(),
        chat["usage"]["prompt_tokens"].as_u64().map(|all| all - 1)
    );

    let mut fields = fields;
    fields["stream"] = true.into();
    let events = server.site.post(RESPONSES, &asked(fields)).typed_events();
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
    }
    let types: Vec<&str> = events.iter().map(|e| e["type"].as_str().unwrap()).collect();
    assert_eq!(
        types[..4],
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added"
        ]
    );
    assert_eq!(
        types[types.len() - 4..],
        [
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.incomplete"
        ]
    );
    let deltas = events
        .iter()
        .filter(|e| e["type"] == "response.output_text.delta");
    let text = deltas.clone().filter_map(|e| e["delta"].as_str());
    assert_eq!(text.collect::<String>(), said.as_str().unwrap());
    let streamed = deltas.filter_map(|e| e["logprobs"].as_array()).flatten();
    assert!(streamed.eq(logprobs));
    let mut last = events.last().unwrap()["response"].clone();
    // All but what tells two responses apart is the same.
    last["output"][0]["id"] = message["id"].clone();
    for key in ["id", "created_at", "seed"] {
        last[key] = whole[key].clone();
    }
    assert_eq!(last, whole);
}

#[test]
fn a_conversation_of_items_is_the_one_of_messages() {
    let server = Running::start(options());
    let messages = json!([
        { "role": "system", "content": "Be brief." },
        { "role": "user", "content": "One" },
        { "role": "assistant", "content": "Two" },
        { "role": "user", "content": "Three" },
    ]);
    let tokens = server
        .site
        .post("/tokenize", &json!({ "messages": messages }));
    let items = json!({
        "instructions": "Be brief.",
        "input": [
            { "type": "message", "role": "user", "content": "One" },
            {
                "type": "message",
                "id": "msg_1",
                "status": "completed",
                "role": "assistant",
                "content": [{ "type": "output_text", "text": "Two", "annotations": [] }],
            },
            { "role": "user", "content": [{ "type": "input_text", "text": "Three" }] },
        ],
    });
    let whole = server.site.post(RESPONSES, &asked(items)).ok();
    assert_eq!(whole["usage"]["input_tokens"], tokens.ok()["count"]);
}

#[test]
fn what_would_have_to_be_kept_is_refused_by_name() {
    let server = Running::start(options());
    for (fields, param) in [
        (
            json!({ "previous_response_id": "resp_1" }),
            "previous_response_id",
        ),
        (json!({ "conversation": "conv_1" }), "conversation"),
        (json!({ "background": true }), "background"),
        (
            json!({ "input": [{ "type": "item_reference", "id": "msg_1" }] }),
            "input[0].type",
        ),
        (
            json!({ "input": [{ "role": "user", "content": [{ "type": "input_image" }] }] }),
            "input[0].content[0].type",
        ),
        (
            json!({ "tools": [{ "type": "web_search" }] }),
            "tools[0].type",
        ),
        (
            json!({ "reasoning": { "effort": "high" } }),
            "reasoning.effort",
        ),
        (
            json!({ "reasoning": { "summary": "detailed" } }),
            "reasoning.summary",
        ),
        (json!({ "text": { "verbosity": "low" } }), "text.verbosity"),
        (json!({ "truncation": "auto" }), "truncation"),
    ] {
        let response = server.site.post(RESPONSES, &asked(fields.clone()));
        let error = response.json()["error"].clone();
        assert_eq!(response.status, 400, "{fields}");
        assert_eq!(error["param"], param, "{fields}: {error}");
        assert_eq!(error["code"], "unsupported_parameter");
    }
    let neutral = json!({ "background": false, "reasoning": { "effort": "none", "summary": "auto" }, "truncation": "disabled" });
    server.site.post(RESPONSES, &asked(neutral)).ok();
}
