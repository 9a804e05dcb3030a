//! Where answers begin and end: messages that are continued, tokens that end an answer or do not.

use bitnet_answer_receipts::{AnswerReceipt, repeat};
use serde_json::{Value, json};

use crate::running::{Running, engine, options};
use crate::{CHAT, TEXT, chat, with};

/// A token of the model's that ends answers.
fn end() -> u32 {
    engine().tokenizer().eog_ids()[0]
}

fn tokens(answer: &Value) -> u64 {
    answer["usage"]["completion_tokens"].as_u64().unwrap()
}

#[test]
fn an_answer_goes_on_behind_tokens_that_end_it_where_it_is_asked_to() {
    let server = Running::start(options());
    let asked = |fields: Value| {
        let body = json!({ "prompt": "ROMEO:", "temperature": 0, "max_tokens": 9 });
        let answer = server.site.post(TEXT, &with(body, fields)).ok();
        let choice = answer["choices"][0].clone();
        (
            tokens(&answer),
            choice["finish_reason"].as_str().unwrap().to_owned(),
            choice,
        )
    };
    // The token that ends answers is the best one at every place.
    let bias = json!({ end().to_string(): 100 });
    let at = |fields: Value| {
        let (tokens, reason, choice) = asked(with(json!({ "logit_bias": bias }), fields));
        // A receipt has all of it.
        let with_receipt = choice["receipt"].clone();
        if !with_receipt.is_null() {
            let receipt = AnswerReceipt::parse(with_receipt.to_string().as_bytes()).unwrap();
            let found = repeat(&receipt, &engine(), None, || false).unwrap();
            assert!(found.holds(), "{found:?}");
        }
        (tokens, reason)
    };
    let own = |tokens: u64, reason: &str| (tokens, reason.to_owned());
    assert_eq!(at(json!({})), own(0, "stop"));
    assert_eq!(
        at(json!({ "ignore_eos": true, "receipt": true })),
        own(9, "length")
    );
    assert_eq!(
        at(json!({ "min_tokens": 4, "receipt": true })),
        own(4, "stop")
    );
    assert_eq!(at(json!({ "min_tokens": 9 })), own(9, "length"));
    // Where a grammar has an end and nothing else, that is one.
    for fields in [json!({ "min_tokens": 9 }), json!({ "ignore_eos": true })] {
        let nothing = json!({ "guided_choice": ["", ""] });
        let (tokens, reason, _) = asked(with(nothing, fields));
        assert_eq!((tokens, &reason[..]), (0, "stop"));
    }
    // What ends an answer ends it where the grammar leaves no choice, too.
    let x = json!({ "content": "x" });
    let x = server.site.post("/tokenize", &x).ok()["tokens"][0].clone();
    for logprobs in [Value::Null, json!(0)] {
        let forced = json!({ "guided_regex": "x+", "stop_token_ids": [x], "logprobs": logprobs,
            "receipt": true });
        let (_, reason, choice) = asked(forced.clone());
        assert_eq!((&choice["text"], &reason[..]), (&json!(""), "stop"));
        let receipt = choice["receipt"].to_string();
        let receipt = AnswerReceipt::parse(receipt.as_bytes()).unwrap();
        let found = repeat(&receipt, &engine(), None, || false).unwrap();
        assert!(found.holds(), "{found:?}");
        let (tokens, _, _) = asked(with(forced, json!({ "min_tokens": 2 })));
        // The second is left out, and then the grammar has an end alone.
        assert_eq!(tokens, 1);
    }
    // What the model would say first, behind as many tokens as it must say.
    let (_, _, first) = asked(json!({ "max_tokens": 1, "logprobs": 0 }));
    let text = first["text"].as_str().unwrap();
    let ids = server
        .site
        .post("/tokenize", &json!({ "content": text }))
        .ok()["tokens"]
        .clone();
    let stop = json!({ "stop_token_ids": ids, "receipt": true });
    assert_eq!(
        at(with(stop.clone(), json!({ "logit_bias": {} }))),
        own(0, "stop")
    );
    let stop = with(
        stop,
        json!({ "ignore_eos": true, "logit_bias": {}, "min_tokens": 2 }),
    );
    assert!(at(stop).0 >= 2);
    let text = json!({ "stop": text, "logit_bias": {} });
    assert_eq!(at(text.clone()), own(1, "stop"));
    assert!(at(with(text, json!({ "min_tokens": 3 }))).0 >= 3);
    // By another name, and beyond what is allowed.
    let body = json!({ "prompt": "ROMEO:", "n_predict": 3 });
    assert_eq!(tokens(&server.site.post(TEXT, &body).ok()), 3);
    let short = Running::start(options().context(32));
    let body = json!({ "prompt": "ROMEO:", "n_predict": -1, "ignore_eos": true });
    assert!(tokens(&short.site.post(TEXT, &body).ok()) > 16);
    for (fields, param) in [
        (json!({ "n_predict": 3, "max_tokens": 4 }), "n_predict"),
        (json!({ "n_predict": -3 }), "n_predict"),
        (json!({ "min_tokens": 13 }), "min_tokens"),
        (json!({ "stop_token_ids": [99999] }), "stop_token_ids[0]"),
        (json!({ "ignore_eos": 1 }), "ignore_eos"),
        (
            json!({ "truncate_prompt_tokens": 3 }),
            "truncate_prompt_tokens",
        ),
        (json!({ "samplers": ["top_k"] }), "samplers"),
    ] {
        let response = server.site.post(CHAT, &chat(fields));
        assert_eq!(
            (response.status, &response.json()["error"]["param"]),
            (400, &json!(param))
        );
    }
}

#[test]
fn an_answer_goes_on_from_the_last_message_in_every_api() {
    let server = Running::start(options());
    let messages = json!([
        { "role": "user", "content": "Who is there?" },
        { "role": "assistant", "content": "My lord, the" },
    ]);
    let body = chat(json!({ "messages": messages, "continue_final_message": true }));
    let written = server.site.post("/apply-template", &body).ok()["prompt"].clone();
    assert_eq!(written, "[INST] Who is there? [/INST]My lord, the");
    let text = json!({ "prompt": written, "temperature": 0, "max_tokens": 12 });
    let wanted = server.site.post(TEXT, &text).ok();
    let said = &wanted["choices"][0]["text"];
    let answer = server.site.post(CHAT, &body).ok();
    assert_eq!(&answer["choices"][0]["message"]["content"], said);
    assert_eq!(
        answer["usage"]["prompt_tokens"],
        wanted["usage"]["prompt_tokens"]
    );
    // As Anthropic's API has it, a last message of the assistant's is continued.
    let body = json!({ "messages": messages, "max_tokens": 12, "temperature": 0 });
    let answer = server.site.post("/v1/messages", &body).ok();
    assert_eq!(&answer["content"][0]["text"], said);
    let counted = server.site.post("/v1/messages/count_tokens", &body).ok();
    assert_eq!(counted["input_tokens"], wanted["usage"]["prompt_tokens"]);
    // Without that, another message begins, or none does.
    let body = chat(json!({ "messages": messages, "add_generation_prompt": false }));
    let written = server.site.post("/apply-template", &body).ok()["prompt"].clone();
    assert_eq!(written, "[INST] Who is there? [/INST]My lord, the ");
    for (fields, status, param) in [
        (
            json!({ "add_generation_prompt": true }),
            400,
            json!("continue_final_message"),
        ),
        (
            json!({ "messages": [{ "role": "assistant", "content": null, "tool_calls": [
                { "id": "a", "type": "function", "function": { "name": "f", "arguments": "{}" } }
            ] }] }),
            400,
            json!("messages"),
        ),
    ] {
        let body = chat(with(json!({ "continue_final_message": true }), fields));
        let response = server.site.post(CHAT, &body);
        assert_eq!(
            (response.status, &response.json()["error"]["param"]),
            (status, &param)
        );
    }
}
