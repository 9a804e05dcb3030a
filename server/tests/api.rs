//! The server over real connections, with the demo model behind it.

mod bits;
mod calls;
mod client;
mod echo;
mod ending;
mod held;
mod messages;
mod noise;
mod official;
mod responses;
mod rude;
mod running;

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use bitnet_answer_receipts::{AnswerReceipt, repeat};
use bitnet_engine::TemplateChoice;
use bitnet_process::Interrupt;
use bitnet_server::{Keys, ServerError, ServerOptions, listen};
use client::{Response, Site};
use running::{Running, engine, options};
use serde_json::{Value, json};

/// `body` with these fields in it.
fn with(mut body: Value, fields: Value) -> Value {
    for (key, value) in fields.as_object().expect("an object") {
        body[key] = value.clone();
    }
    body
}

fn chat(fields: Value) -> Value {
    let body = json!({
        "model": "demo",
        "messages": [{ "role": "user", "content": "Who is there?" }],
        "max_tokens": 12,
        "temperature": 0,
    });
    with(body, fields)
}

const CHAT: &str = "/v1/chat/completions";
const TEXT: &str = "/v1/completions";

#[test]
fn an_answer_comes_whole_or_streamed_and_is_the_same() {
    let server = Running::start(options());
    let whole = server.site.post(CHAT, &chat(json!({}))).ok();
    let message = &whole["choices"][0]["message"];
    let said = message["content"].as_str().unwrap();
    assert!(!said.is_empty() && message["role"] == "assistant");
    assert_eq!(whole["choices"][0]["finish_reason"], "length");
    assert_eq!(whole["usage"]["completion_tokens"], 12);

    let body = chat(json!({ "stream": true, "stream_options": { "include_usage": true } }));
    let streamed = server.site.post(CHAT, &body).events();
    let text: String = streamed
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(text, said);
    let last = streamed.last().unwrap();
    assert_eq!(
        last["usage"]["total_tokens"],
        whole["usage"]["total_tokens"]
    );
    // All but the last token of the prompt was read for the first one.
    let cached = |usage: &Value| usage["usage"]["prompt_tokens_details"]["cached_tokens"].clone();
    let prompt = whole["usage"]["prompt_tokens"].as_u64().unwrap();
    assert_eq!(
        (cached(&whole), cached(last)),
        (json!(0), json!(prompt - 1))
    );
    assert_eq!(last["choices"], json!([]));
    let reasons = streamed
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["finish_reason"].as_str());
    assert_eq!(reasons.collect::<Vec<_>>(), ["length"]);
    assert_eq!(last["system_fingerprint"], whole["system_fingerprint"]);
}

#[test]
fn a_text_is_continued_as_the_engine_continues_it() {
    let server = Running::start(options());
    let body =
        json!({ "prompt": "ROMEO:\nWhat light", "temperature": 0, "max_tokens": 8, "logprobs": 2 });
    let answer = server.site.post(TEXT, &body).ok();
    let choice = &answer["choices"][0];
    assert_eq!(choice["text"], "s are this, that is not so");
    let logprobs = &choice["logprobs"];
    assert_eq!(logprobs["tokens"].as_array().unwrap().len(), 8);
    assert_eq!(logprobs["text_offset"][1], 1);
    for at in 0..8 {
        let best = logprobs["top_logprobs"][at].as_object().unwrap();
        let largest = best.values().map(|value| value.as_f64().unwrap());
        let largest = largest.fold(f64::NEG_INFINITY, f64::max);
        assert_eq!(logprobs["token_logprobs"][at], largest);
    }
    // The same by its tokens, and twice over.
    let tokens = server
        .site
        .post("/tokenize", &json!({ "content": "ROMEO:\nWhat light" }))
        .ok();
    let body = json!({ "prompt": [tokens["tokens"], tokens["tokens"]], "temperature": 0, "max_tokens": 8 });
    let twice = server.site.post(TEXT, &body).ok();
    for choice in twice["choices"].as_array().unwrap() {
        assert_eq!(choice["text"], "s are this, that is not so");
    }
    let text = server
        .site
        .post("/detokenize", &json!({ "tokens": tokens["tokens"] }));
    assert_eq!(text.ok()["content"], "ROMEO:\nWhat light");
}

#[test]
fn an_answer_has_a_receipt_that_holds_where_one_is_asked_for() {
    let server = Running::start(options());
    let engine = engine();
    let holds = |choice: &Value| {
        let receipt = choice["receipt"].to_string();
        let receipt = AnswerReceipt::parse(receipt.as_bytes()).expect("a receipt");
        let found = repeat(&receipt, &engine, None, || false).unwrap();
        assert!(found.holds() && found.notes.is_empty(), "{found:?}");
        receipt
    };
    let fields = json!({
        "n": 3, "seed": 7, "temperature": 1.1, "top_p": 0.7, "stop": ["e "], "receipt": true,
        "presence_penalty": 0.4, "frequency_penalty": 0.1, "logit_bias": { "5": 2 },
    });
    let whole = server.site.post(CHAT, &chat(fields.clone())).ok();
    let whole: Vec<_> = whole["choices"].as_array().unwrap().iter().collect();
    let receipts: Vec<_> = whole.iter().map(|choice| holds(choice)).collect();
    let seeds = receipts.iter().map(|receipt| receipt.parameters.seed);
    assert!(seeds.eq([7, 8, 9]));
    let said = whole
        .iter()
        .map(|choice| choice["message"]["content"].as_str());
    assert!(
        said.eq(receipts
            .iter()
            .map(|receipt| Some(&receipt.answer.text[..])))
    );

    // With the last chunk of each choice, and without a change to what is said.
    let mut fields = fields;
    fields["stream"] = json!(true);
    let chunks = server.site.post(CHAT, &chat(fields.clone())).events();
    let choices = chunks.iter().map(|chunk| &chunk["choices"][0]);
    let told: Vec<_> = choices
        .filter(|choice| !choice["receipt"].is_null())
        .collect();
    assert_eq!(told.len(), 3);
    for choice in told {
        assert!(choice["finish_reason"].is_string());
        let index = choice["index"].as_u64().unwrap() as usize;
        assert_eq!(holds(choice), receipts[index]);
    }
    fields["stream"] = json!(false);
    fields["receipt"] = json!(false);
    let without = server.site.post(CHAT, &chat(fields)).ok();
    for (with, without) in whole.iter().zip(without["choices"].as_array().unwrap()) {
        assert_eq!(with["message"], without["message"]);
        assert!(without["receipt"].is_null());
    }

    let body = json!({ "prompt": ["ROMEO:", "JULIET:\n"], "temperature": 0, "receipt": true });
    let texts = server.site.post(TEXT, &body).ok();
    for choice in texts["choices"].as_array().unwrap() {
        assert_eq!(choice["text"], holds(choice).answer.text);
    }
    let body = json!({ "prompt": "ROMEO:", "stream": true, "receipt": true, "stop": "e" });
    let chunks = server.site.post(TEXT, &body).events();
    holds(&chunks.last().unwrap()["choices"][0]);
}

#[test]
fn answers_do_not_depend_on_what_else_is_asked() {
    let server = Running::start(options().parallel(4));
    let body = |i: usize| {
        let logprobs = i.is_multiple_of(2);
        let (temperature, top_k) = ([0.0, 1.0, 1.3][i % 3], [0, 20][i % 2]);
        let presence = [0.0, 0.5][i / 2 % 2];
        chat(json!({
            "messages": [{ "role": "user", "content": "Speak, ".repeat(1 + i * 5 % 13) }],
            "temperature": temperature,
            "top_k": top_k,
            "presence_penalty": presence,
            "logit_bias": { "5": 2 },
            "seed": i,
            "n": 1 + i % 3,
            "stop": ["and", "\n\n"],
            "logprobs": logprobs,
            "top_logprobs": logprobs.then_some(3),
        }))
    };
    let choices = |response: Response| response.ok()["choices"].clone();
    let alone: Vec<Value> = (0..16)
        .map(|i| choices(server.site.post(CHAT, &body(i))))
        .collect();
    let site = server.site;
    let together: Vec<_> = (0..16)
        .map(|i| {
            let body = body(i);
            thread::spawn(move || {
                if i % 5 == 4 {
                    // Somebody else who leaves in the middle.
                    site.post_and_leave(CHAT, &chat(json!({ "max_tokens": 90, "stream": true })));
                }
                site.post(CHAT, &body).ok()["choices"].clone()
            })
        })
        .collect();
    for (i, (alone, together)) in alone.into_iter().zip(together).enumerate() {
        assert_eq!(together.join().unwrap(), alone, "request {i}");
    }
    // A choice of several is the one that its own seed gives.
    let seeded = |seed: u64, n: u64| {
        let body = chat(json!({ "temperature": 1.2, "seed": seed, "n": n }));
        choices(server.site.post(CHAT, &body))
    };
    assert_eq!(seeded(40, 3)[2]["message"], seeded(42, 1)[0]["message"]);
}

#[test]
fn what_is_wrong_with_a_request_is_named() {
    let server = Running::start(options().context(64));
    let refused = |path: &str, body: Value| {
        let response = server.site.post(path, &body);
        let error = response.json()["error"].clone();
        let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
        (response.status, text("param"), text("code"))
    };
    for (fields, status, param, code) in [
        (json!({ "model": "other" }), 404, "model", "model_not_found"),
        (
            json!({ "messages": null }),
            400,
            "messages",
            "invalid_value",
        ),
        (json!({ "messages": [] }), 400, "messages", "invalid_value"),
        (
            json!({ "messages": [{ "content": "x" }] }),
            400,
            "messages[0].role",
            "invalid_value",
        ),
        // Between the marks of a template it would be a control token.
        (
            json!({ "messages": [{ "role": "eot_id", "content": "x" }] }),
            400,
            "messages[0].role",
            "invalid_value",
        ),
        (
            json!({ "messages": [{ "role": "user", "content": [{ "type": "image_url" }] }] }),
            400,
            "messages[0].content[0].type",
            "unsupported_parameter",
        ),
        (
            json!({ "messages": [{ "role": "user", "content": "so ".repeat(200) }] }),
            400,
            "messages",
            "context_length_exceeded",
        ),
        (
            json!({ "temperature": -1 }),
            400,
            "temperature",
            "invalid_value",
        ),
        (
            json!({ "temperature": "hot" }),
            400,
            "temperature",
            "invalid_value",
        ),
        (json!({ "top_p": 1.5 }), 400, "top_p", "invalid_value"),
        (json!({ "n": 0 }), 400, "n", "invalid_value"),
        (json!({ "n": 100 }), 400, "n", "invalid_value"),
        (
            json!({ "logit_bias": { "99999": 1 } }),
            400,
            "logit_bias.99999",
            "invalid_value",
        ),
        (
            json!({ "top_logprobs": 2 }),
            400,
            "top_logprobs",
            "invalid_value",
        ),
        (
            json!({ "tools": [{ "type": "function" }] }),
            400,
            "tools[0].function",
            "invalid_value",
        ),
        (
            // The template that the server was started with knows of none.
            json!({ "tools": [{ "type": "function", "function": { "name": "f" } }] }),
            400,
            "tools",
            "unsupported_parameter",
        ),
        (
            json!({ "tool_choice": "required" }),
            400,
            "tool_choice",
            "invalid_value",
        ),
        (
            json!({ "response_format": { "type": "xml" } }),
            400,
            "response_format.type",
            "invalid_value",
        ),
        (
            json!({ "guided_json": { "type": "nothing" } }),
            400,
            "guided_json",
            "invalid_value",
        ),
        (
            json!({ "guided_regex": "a", "guided_choice": ["a"] }),
            400,
            "guided_choice",
            "invalid_value",
        ),
        (
            json!({ "structured_outputs": { "structural_tag": {} } }),
            400,
            "structured_outputs.structural_tag",
            "unsupported_parameter",
        ),
        (
            json!({ "max_completion_tokens": 13 }),
            400,
            "max_completion_tokens",
            "invalid_value",
        ),
        (
            json!({ "stream_options": { "include_usage": 1 }, "stream": true }),
            400,
            "stream_options.include_usage",
            "invalid_value",
        ),
    ] {
        let body = chat(fields.clone());
        // All of 100 choices do not fit the queue either.
        let found = refused(CHAT, body);
        assert_eq!(
            found,
            (status, param.to_owned(), code.to_owned()),
            "{fields}"
        );
    }
    // What changes answers of another path alone.
    let text = json!({ "prompt": "x", "messages": [{ "role": "user", "content": "x" }] });
    for (path, name, value) in [
        ("/v1/messages", "guided_choice", json!(["yes"])),
        ("/v1/messages", "stop", json!(["x"])),
        ("/v1/messages", "mirostat", json!(2)),
        ("/v1/responses", "max_tokens", json!(5)),
        ("/v1/responses", "grammar", json!("root ::= \"a\"")),
        (TEXT, "tools", json!([{ "type": "function" }])),
        (TEXT, "max_completion_tokens", json!(5)),
        (CHAT, "stop_sequences", json!(["x"])),
        (CHAT, "instructions", json!("Be brief.")),
    ] {
        let mut body = text.clone();
        body[name] = value;
        body["input"] = json!("x");
        for other in ["messages", "prompt", "input"] {
            let own = match path {
                TEXT => "prompt",
                "/v1/responses" => "input",
                _ => "messages",
            };
            if other != own {
                body.as_object_mut().unwrap().remove(other);
            }
        }
        let (status, param, code) = refused(path, body);
        let found = (status, &param[..], &code[..]);
        // An error of Anthropic's form has neither.
        let wanted = match path {
            "/v1/messages" => (400, "", ""),
            _ => (400, name, "unsupported_parameter"),
        };
        assert_eq!(found, wanted, "{path} {name}");
    }
    // What asks for nothing, and what nobody knows, is no error.
    let neutral =
        json!({ "tools": [], "response_format": { "type": "text" }, "of_my_own": 1, "seed": null });
    server.site.post(CHAT, &chat(neutral)).ok();
    assert_eq!(
        refused(TEXT, json!({ "prompt": [5, 99999] })).1,
        "prompt[1]"
    );
    assert_eq!(
        refused(TEXT, json!({ "prompt": "x", "suffix": "y" })).1,
        "suffix"
    );
    assert_eq!(refused("/v1/none", json!({})).0, 404);
    for (body, status) in [
        (&b"{\"messages\": "[..], 400),
        (b"[]", 400),
        (b"{\"messages\": \"\xff\"}", 400),
        (&[b'['; 100_000], 400),
        (&vec![b' '; 9 << 20], 413),
    ] {
        let response = server.site.send("POST", CHAT, &[], body);
        assert_eq!(response.status, status);
        assert!(response.json()["error"]["message"].is_string());
    }
    assert_eq!(server.site.send("DELETE", CHAT, &[], b"").status, 405);
    server.site.post(CHAT, &chat(json!({}))).ok();
}

#[test]
fn a_model_without_a_template_says_so() {
    let server = Running::start(options().template(TemplateChoice::Auto));
    let response = server.site.post(CHAT, &chat(json!({})));
    let message = response.json()["error"]["message"].to_string();
    assert!(
        response.status == 422 && message.contains("--prompt-template"),
        "{message}"
    );
}

#[test]
fn a_key_is_needed_where_there_are_keys() {
    let keys = Keys::parse("sk-right\n").unwrap();
    let server = Running::start(options().keys(keys));
    let status = |path: &str, key: &str| {
        let header = format!("Authorization: {key}");
        server.site.send("GET", path, &[&header], b"").status
    };
    assert_eq!(status("/v1/models", "Bearer sk-right"), 200);
    for wrong in ["Bearer sk-wrong", "sk-right", "Basic sk-right", "Bearer "] {
        assert_eq!(status("/v1/models", wrong), 401, "{wrong}");
        assert_eq!(status("/metrics", wrong), 401, "{wrong}");
    }
    assert_eq!(server.site.get("/health").status, 200);
    let open = ServerOptions::new("0.0.0.0:0".parse().unwrap(), Vec::new());
    let refused = listen(open, &Interrupt::default());
    assert!(matches!(refused, Err(ServerError::Open(_))));
}

#[test]
fn it_tells_to_come_back_until_the_model_is_there() {
    let stop = Interrupt::default();
    let listening = listen(options(), &stop).unwrap();
    let site = Site(listening.address());
    let health = |site: Site| {
        let health = site.get("/health");
        (health.status, health.json()["status"].clone())
    };
    assert_eq!(health(site), (503, json!("loading")));
    let refused = site.post(CHAT, &chat(json!({})));
    assert_eq!(refused.status, 503);
    assert!(refused.headers.contains("\nretry-after: 1"));
    assert_eq!(refused.json()["error"]["type"], "server_error");
    let refused = site.post("/v1/messages", &json!({}));
    assert_eq!(
        (refused.status, &refused.json()["type"]),
        (503, &json!("error"))
    );
    assert_eq!(site.get("/v1/models").status, 503);
    // What can never be answered need not be asked again.
    assert_eq!(site.get("/v1/none").status, 404);
    listening.open(engine()).unwrap();
    assert_eq!(health(site), (200, json!("ok")));
    site.post(CHAT, &chat(json!({}))).ok();
    stop.raise();
    listening.run().unwrap();
}

#[test]
fn web_pages_of_others_get_nothing() {
    let server = Running::start(options());
    let status = |header: &str| {
        let body = chat(json!({})).to_string();
        server
            .site
            .send("POST", CHAT, &[header], body.as_bytes())
            .status
    };
    assert_eq!(status("Origin: https://evil.example"), 403);
    assert_eq!(status("Origin: null"), 403);
    assert_eq!(status("Host: evil.example"), 403);
    assert_eq!(status("Host: 127.0.0.1.evil.example:8080"), 403);
    assert_eq!(status("Host: localhost\r\nHost: evil.example"), 403);
    assert_eq!(status("Host: localh\u{f6}st"), 403);
    let own = format!("Origin: http://{}", server.site.0);
    assert_eq!(
        status(&format!("{own}\r\nOrigin: http://evil.example")),
        403
    );
    assert_eq!(status("Origin: http://\u{f6}"), 403);
    assert_eq!(status(&format!("Origin: http://{}", server.site.0)), 200);
    // What is fetched without an origin: a picture, a script; and another port of this machine.
    for (site, mode, expected) in [
        ("cross-site", "no-cors", 403),
        ("same-site", "no-cors", 403),
        ("same-origin", "cors", 200),
        ("none", "navigate", 200),
        ("cross-site", "navigate", 200),
    ] {
        let headers = [
            &*format!("Sec-Fetch-Site: {site}"),
            &*format!("Sec-Fetch-Mode: {mode}"),
        ];
        let response = server.site.send("GET", "/v1/models", &headers, b"");
        assert_eq!(response.status, expected, "{site} {mode}");
    }
}

#[test]
fn what_finds_no_room_is_told_when_to_come_back() {
    let server = Running::start(options().parallel(1).queue(1));
    let long = chat(json!({ "max_tokens": 200, "stream": true, "n": 2 }));
    let reading = server.site.open(CHAT, &long);
    let response = server.site.post(CHAT, &chat(json!({})));
    assert_eq!(response.status, 429);
    assert!(response.headers.to_lowercase().contains("\nretry-after: "));
    assert_eq!(response.json()["error"]["code"], "rate_limit_exceeded");
    // Whoever leaves makes room.
    drop(reading);
    let mut tries = 0;
    while server.site.post(CHAT, &chat(json!({}))).status == 429 {
        tries += 1;
        assert!(tries < 500, "there is no room");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn it_lets_what_runs_end_and_takes_no_more() {
    let mut server = Running::start(options());
    let site = server.site;
    let long = chat(json!({ "max_tokens": 60, "stream": true }));
    let mut reading = site.open(CHAT, &long);
    server.stop.raise();
    let rest = reading.rest();
    assert!(rest.contains("data: [DONE]"), "{rest}");
    server.end();
    assert!(std::net::TcpStream::connect(site.0).is_err());
}

#[test]
fn figures_count_what_was_done() {
    let server = Running::start(options());
    server.site.post(CHAT, &chat(json!({ "n": 2 }))).ok();
    let text = server.site.get("/metrics").body;
    let figures: BTreeMap<&str, &str> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' '))
        .collect();
    let figure = |name: &str| figures[format!("vllm:{name}{{model_name=\"demo\"}}").as_str()];
    assert_eq!(figure("generation_tokens_total"), "24");
    assert_eq!(figure("time_to_first_token_seconds_count"), "2");
    assert_eq!(figure("inter_token_latency_seconds_count"), "22");
    assert_eq!(figure("num_requests_running"), "0");
    assert_eq!(figure("num_requests_waiting"), "0");
    assert_eq!(
        figures[r#"vllm:request_success_total{model_name="demo",finished_reason="length"}"#],
        "2"
    );
    let models = server.site.get("/v1/models").ok();
    assert_eq!(models["data"][1]["id"], "gpt");
    assert_eq!(models["last_id"], "gpt");
    let created = models["data"][1]["created_at"].as_str().unwrap();
    assert!(
        created.starts_with("20") && created.ends_with('Z'),
        "{created}"
    );
    assert_eq!(server.site.get("/v1/models/gpt").ok()["id"], "gpt");
    assert_eq!(server.site.get("/v1/models/none").status, 404);
    let prompt = server.site.post("/apply-template", &chat(json!({}))).ok();
    assert_eq!(prompt["prompt"], "[INST] Who is there? [/INST]");
}

#[test]
fn the_page_needs_no_key_loads_nothing_and_lets_only_its_own_script_run() {
    let keys = Keys::parse("sk-right\n").unwrap();
    let server = Running::start(options().keys(keys));
    let page = server.site.get("/");
    assert_eq!(page.status, 200);
    let header = |name: &str| {
        let lines = page.headers.lines();
        let mut named = lines.filter_map(|line| line.split_once(": "));
        let found = named.find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.unwrap_or_else(|| panic!("no {name}")).1
    };
    assert_eq!(header("content-type"), "text/html; charset=utf-8");
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert_eq!(header("cache-control"), "no-cache");
    assert_eq!(header("referrer-policy"), "no-referrer");
    let policy = header("content-security-policy");
    let sources = |directive: &str| -> Vec<&str> {
        let found = policy
            .split("; ")
            .find_map(|one| one.strip_prefix(directive));
        found.expect("a directive").trim().split(' ').collect()
    };
    assert_eq!(sources("default-src"), ["'none'"]);
    assert_eq!(sources("connect-src"), ["'self'"]);
    assert_eq!(sources("frame-ancestors"), ["'none'"]);
    for directive in ["script-src", "style-src"] {
        let [one] = sources(directive)[..] else {
            panic!("{policy}");
        };
        assert!(one.starts_with("'sha256-"), "{one}");
    }
    // It is of this server alone, like everything else; and what it asks needs the key.
    let status = |header: &str| server.site.send("GET", "/", &[header], b"").status;
    assert_eq!(status("Origin: https://evil.example"), 403);
    assert_eq!(server.site.get("/v1/models").status, 401);
    assert_eq!(
        Running::start(options().page(false)).site.get("/").status,
        404
    );
}
