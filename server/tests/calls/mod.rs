//! Calls of tools from a model that writes them, in every form, through every API.

mod writer;

use std::process::Command;

use bitnet_engine::TemplateChoice;
use bitnet_engine::tools::CallForm;
use serde_json::{Value, json};

use crate::CHAT;
use crate::client::Site;
use crate::official::PYTHON;
use crate::running::{Running, options};
use writer::{BIAS, Writing, writing};

/// A form of calls: how a template teaches it and repeats calls, and a text in it.
struct Form {
    template: &'static str,
    /// What is said before the calls.
    said: &'static str,
    calls: String,
}

/// What a model answers once it has what the calls gave.
const ANSWER: &str = "In Köln it is 21 °C.";
const RESULT: &str = "21 degrees, \"fair\"";

/// The arguments of the two calls that every text makes.
fn arguments() -> [Value; 2] {
    let where_to = json!({ "lat": [50.9, -6.5], "exact": true, "note": null });
    [
        json!({ "city": "Köln \"Süd\" \\ 😀\n}", "days": 3, "where": where_to }),
        json!({}),
    ]
}

const NAMES: [&str; 2] = ["get_weather", "time.now"];

/// A template in ChatML that shows tools, calls as `CALLS` has them, and results.
fn template(form: &Form) -> TemplateChoice {
    let frame = "{%- if tools %}<|im_start|>system\n{{ tools | tojson }}<|im_end|>\n{% endif -%}\
        {%- for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}\
        {%- if m.tool_calls %}CALLS{% endif %}<|im_end|>\n{% endfor -%}\
        {%- if add_generation_prompt %}<|im_start|>assistant\n{% endif -%}";
    TemplateChoice::source("of a form", frame.replace("CALLS", form.template))
}

/// One of each form that is known.
fn forms() -> Vec<Form> {
    let [first, second] = arguments().map(|arguments| arguments.to_string());
    let json = |name: &str, key: &str, arguments: &str| {
        format!("{{\"name\": \"{name}\", \"{key}\": {arguments}}}")
    };
    let [weather, time] = [(NAMES[0], &first), (NAMES[1], &second)];
    let objects = |key: &str| [weather, time].map(|(name, own)| json(name, key, own));
    let [a, b] = objects("arguments");
    let [c, d] = objects("parameters");
    let tagged = |name: &str, parameters: &str| {
        format!("<tool_call>\n<function={name}>\n{parameters}</function>\n</tool_call>")
    };
    let arguments = arguments();
    let parameters = ["city", "days", "where"].map(|key| {
        let value = &arguments[0][key];
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        format!("<parameter={key}>\n{value}\n</parameter>\n")
    });
    let python = concat!(
        r#"get_weather(city="Köln \"Süd\" \\ 😀\n}", days=3, "#,
        r"where={'lat': [50.9, -6.5], 'exact': True, 'note': None})",
    );
    let said = "Let me look.";
    vec![
        Form {
            template: "{% for c in m.tool_calls %}<tool_call>\n<function={{ c.function.name }}>\n\
                {% for k, v in c.function.arguments | items %}<parameter={{ k }}>\n{{ v }}\n\
                </parameter>\n{% endfor %}</function>\n</tool_call>{% endfor %}",
            said,
            calls: format!(
                "{}\n{}",
                tagged(NAMES[0], &parameters.concat()),
                tagged(NAMES[1], "")
            ),
        },
        Form {
            template: "<tool_calls>{{ m.tool_calls | map(attribute='function') | list | tojson }}\
                </tool_calls>",
            said,
            calls: format!("<tool_calls>[{a}, {b}]</tool_calls>"),
        },
        Form {
            template: "<tool_call>\n[{{ m.tool_calls | map(attribute='function') | list | tojson }}\
                ]</tool_call>",
            said,
            calls: format!("<tool_call>\n[\n  {a},\n  {b}\n]\n</tool_call>"),
        },
        Form {
            template: "{% for c in m.tool_calls %}<tool_call>\n{{ c.function | tojson }}\n\
                </tool_call>{% endfor %}",
            said,
            calls: format!("<tool_call>\n{a}\n</tool_call>\n<tool_call>\n{b}\n</tool_call>"),
        },
        Form {
            template: "[TOOL_CALLS]{{ m.tool_calls | map(attribute='function') | list | tojson }}",
            said,
            calls: format!("[TOOL_CALLS][{a}, {b}]"),
        },
        Form {
            template: "{% for c in m.tool_calls %}<|tool_call_start|>\n```python\n\
                {{ c.function.name }}({{ c.function.arguments }})\n```\n<|tool_call_end|>\
                {% endfor %}",
            said,
            calls: format!(
                "<|tool_call_start|>\n```python\n{python}\ntime.now()\n```\n<|tool_call_end|>\n"
            ),
        },
        Form {
            template: "{# \"parameters\": dictionary of argument name #}\
                {% for c in m.tool_calls %}{{ c.function | tojson }}{% endfor %}",
            said: "",
            calls: format!("{c}; {d}"),
        },
    ]
}

/// A server whose model makes the calls of a form, or gives the answer.
struct Caller {
    server: Running,
    starts: Vec<u32>,
    said: &'static str,
}

impl Caller {
    fn start(form: &Form) -> Caller {
        let texts = [format!("{}{}", form.said, form.calls), ANSWER.to_owned()];
        let Writing { engine, starts } = writing(&texts);
        Caller {
            server: Running::of(engine, options().template(template(form))),
            starts,
            said: form.said,
        }
    }

    fn site(&self) -> Site {
        self.server.site
    }

    /// `body` of a request whose answer is the text of this number.
    fn asking(&self, text: usize, mut body: Value) -> Value {
        body["logit_bias"] = json!({ self.starts[text].to_string(): BIAS });
        body["temperature"] = json!(0);
        body["seed"] = json!(7);
        body
    }
}

fn schema() -> Value {
    json!({ "type": "object", "properties": { "city": { "type": "string" } } })
}

/// The calls of a message in OpenAI's form.
fn made(calls: &Value) -> Vec<(String, Value)> {
    let calls = calls.as_array().expect("calls");
    let each = calls.iter().map(|call| {
        let function = &call["function"];
        let arguments = function["arguments"].as_str().expect("a text");
        let name = function["name"].as_str().expect("a name").to_owned();
        (name, serde_json::from_str(arguments).expect("JSON"))
    });
    each.collect()
}

fn wanted() -> Vec<(String, Value)> {
    NAMES
        .map(str::to_owned)
        .into_iter()
        .zip(arguments())
        .collect()
}

#[test]
fn there_is_a_text_of_every_form() {
    let found: Vec<_> = forms()
        .iter()
        .map(|form| CallForm::of(form.template).expect("a form").name)
        .collect();
    assert_eq!(found, CallForm::names().collect::<Vec<_>>());
}

#[test]
fn a_chat_has_the_calls_whole_and_streamed_and_goes_on_with_their_results() {
    for form in forms() {
        let caller = Caller::start(&form);
        let tool = |name: &str| {
            let function = json!({ "name": name, "parameters": schema() });
            json!({ "type": "function", "function": function })
        };
        let question = json!({ "role": "user", "content": "How warm is it?" });
        let body = json!({ "messages": [question], "tools": NAMES.map(tool) });
        let body = caller.asking(0, body);
        let whole = caller.site().post(CHAT, &body).ok();
        let message = whole["choices"][0]["message"].clone();
        assert_eq!(made(&message["tool_calls"]), wanted(), "{}", form.calls);
        assert_eq!(message["content"].as_str().unwrap_or_default(), caller.said);
        assert_eq!(whole["choices"][0]["finish_reason"], "tool_calls");

        let streamed = crate::with(body.clone(), json!({ "stream": true }));
        let chunks = caller.site().post(CHAT, &streamed).events();
        let mut calls: Vec<Value> = Vec::new();
        let mut said = String::new();
        for chunk in &chunks {
            let delta = &chunk["choices"][0]["delta"];
            said.push_str(delta["content"].as_str().unwrap_or_default());
            for part in delta["tool_calls"].as_array().into_iter().flatten() {
                let index = part["index"].as_u64().expect("a number") as usize;
                if index == calls.len() {
                    calls.push(part.clone());
                    calls[index]
                        .as_object_mut()
                        .expect("a call")
                        .remove("index");
                    continue;
                }
                let more = part["function"]["arguments"].as_str().expect("more");
                let all = &mut calls[index]["function"]["arguments"];
                *all = format!("{}{more}", all.as_str().expect("a text")).into();
            }
        }
        assert_eq!(Value::from(calls), message["tool_calls"]);
        assert_eq!(said, caller.said);
        let reasons = chunks
            .iter()
            .map(|chunk| &chunk["choices"][0]["finish_reason"]);
        assert_eq!(
            reasons
                .filter(|reason| reason.is_string())
                .collect::<Vec<_>>(),
            ["tool_calls"]
        );

        // The model sees what it called and what that gave.
        let mut messages = vec![question, message.clone()];
        for call in message["tool_calls"].as_array().expect("calls") {
            messages.push(json!({ "role": "tool", "tool_call_id": call["id"], "content": RESULT }));
        }
        let next = caller.asking(1, json!({ "messages": messages, "tools": body["tools"] }));
        let written = caller.site().post("/apply-template", &next).ok()["prompt"].to_string();
        assert!(
            written.contains("get_weather") && written.contains("Köln"),
            "{written}"
        );
        assert_eq!(written.matches("21 degrees").count(), 2, "{written}");
        let answer = caller.site().post(CHAT, &next).ok();
        assert_eq!(answer["choices"][0]["message"]["content"], ANSWER);
        assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    }
}

#[test]
fn a_message_has_the_calls_as_blocks_and_goes_on_with_their_results() {
    for form in forms() {
        let caller = Caller::start(&form);
        let tools = NAMES.map(|name| json!({ "name": name, "input_schema": schema() }));
        let question = json!({ "role": "user", "content": "How warm is it?" });
        let body = json!({ "messages": [question], "tools": tools, "max_tokens": 500 });
        let body = caller.asking(0, body);
        let whole = caller.site().post("/v1/messages", &body).ok();
        let mut blocks = whole["content"].as_array().expect("blocks").clone();
        if !caller.said.is_empty() {
            assert_eq!(blocks.remove(0)["text"], caller.said);
        }
        let each = blocks.iter().map(|block| {
            assert_eq!(block["type"], "tool_use");
            (
                block["name"].as_str().expect("a name").to_owned(),
                block["input"].clone(),
            )
        });
        assert_eq!(each.collect::<Vec<_>>(), wanted(), "{}", form.calls);
        assert_eq!(whole["stop_reason"], "tool_use");

        let streamed = crate::with(body.clone(), json!({ "stream": true }));
        let events = caller.site().post("/v1/messages", &streamed).typed_events();
        let mut inputs: Vec<String> = Vec::new();
        for event in &events {
            if event["content_block"]["type"] == "tool_use" {
                inputs.push(String::new());
            }
            if let Some(more) = event["delta"]["partial_json"].as_str() {
                inputs.last_mut().expect("a block").push_str(more);
            }
        }
        let inputs = inputs
            .iter()
            .map(|text| serde_json::from_str(text).expect("JSON"));
        assert_eq!(inputs.collect::<Vec<Value>>(), arguments());

        let results = blocks.iter().map(
            |block| json!({ "type": "tool_result", "tool_use_id": block["id"], "content": RESULT }),
        );
        let results: Value = results.collect();
        let messages = json!([
            question,
            { "role": "assistant", "content": whole["content"] },
            { "role": "user", "content": results },
        ]);
        let next = json!({ "messages": messages, "tools": tools, "max_tokens": 500 });
        let answer = caller
            .site()
            .post("/v1/messages", &caller.asking(1, next))
            .ok();
        assert_eq!(answer["content"][0]["text"], ANSWER);
        assert_eq!(answer["stop_reason"], "end_turn");
    }
}

#[test]
fn a_response_has_the_calls_as_items_and_goes_on_with_their_results() {
    const RESPONSES: &str = "/v1/responses";
    for form in forms() {
        let caller = Caller::start(&form);
        let tools =
            NAMES.map(|name| json!({ "type": "function", "name": name, "parameters": schema() }));
        let body = caller.asking(0, json!({ "input": "How warm is it?", "tools": tools }));
        let whole = caller.site().post(RESPONSES, &body).ok();
        let output = whole["output"].as_array().expect("items");
        let calls: Vec<_> = output
            .iter()
            .filter(|item| item["type"] == "function_call")
            .collect();
        let each = calls.iter().map(|call| {
            let arguments = call["arguments"].as_str().expect("a text");
            let name = call["name"].as_str().expect("a name").to_owned();
            (name, serde_json::from_str(arguments).expect("JSON"))
        });
        assert_eq!(each.collect::<Vec<_>>(), wanted(), "{}", form.calls);
        let text = output
            .iter()
            .find_map(|item| item["content"][0]["text"].as_str());
        assert_eq!(text.unwrap_or_default(), caller.said);

        let streamed = crate::with(body.clone(), json!({ "stream": true }));
        let events = caller.site().post(RESPONSES, &streamed).typed_events();
        let done = "response.function_call_arguments.done";
        let done = events.iter().filter(|event| event["type"] == done);
        let done = done.map(|event| event["arguments"].as_str().expect("a text"));
        let told = calls
            .iter()
            .map(|call| call["arguments"].as_str().expect("a text"));
        assert!(done.eq(told));

        let mut input = vec![json!({ "role": "user", "content": "How warm is it?" })];
        input.extend(output.iter().cloned());
        for call in &calls {
            let id = &call["call_id"];
            input.push(json!({ "type": "function_call_output", "call_id": id, "output": RESULT }));
        }
        let next = caller.asking(1, json!({ "input": input, "tools": tools }));
        let answer = caller.site().post(RESPONSES, &next).ok();
        let text = &answer["output"][0]["content"][0]["text"];
        assert_eq!(text, ANSWER);
    }
}

#[test]
#[ignore = "BITNET_CLIENTS_PYTHON names a Python with the packages openai and anthropic"]
fn the_official_python_clients_make_the_calls() {
    let python = std::env::var_os(PYTHON).expect(PYTHON);
    for form in forms() {
        let caller = Caller::start(&form);
        let expected = json!({
            "starts": caller.starts, "bias": BIAS, "said": caller.said, "names": NAMES,
            "arguments": arguments(), "answer": ANSWER, "result": RESULT,
        });
        let output = Command::new(&python)
            .arg("tests/official/calls.py")
            .args([
                &format!("http://{}", caller.site().0),
                &expected.to_string(),
            ])
            .output()
            .expect("Python runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", form.calls);
    }
}
