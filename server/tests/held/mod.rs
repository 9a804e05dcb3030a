//! Answers that are held to a form, and to calls of tools, in every API.

use bitnet_engine::TemplateChoice;
use serde_json::{Value, json};

use super::running::{Running, options};
use super::{chat, with};

const CHAT: &str = "/v1/chat/completions";
const TEXT: &str = "/v1/completions";
const RESPONSES: &str = "/v1/responses";
const MESSAGES: &str = "/v1/messages";

#[test]
fn an_answer_is_held_to_what_it_may_be_in_every_api_and_form() {
    let server = Running::start(options());
    let schema = json!({
        "type": "object",
        "properties": { "kin": { "type": "boolean" }, "house": { "enum": ["Montague", "Capulet"] } },
        "required": ["kin", "house"],
        "additionalProperties": false,
    });
    let format = json!({ "name": "kin", "strict": true, "schema": schema });
    let fields = [
        json!({ "response_format": { "type": "json_schema", "json_schema": format } }),
        json!({ "response_format": { "type": "json_object", "schema": schema } }),
        json!({ "guided_json": schema.to_string() }),
        json!({ "structured_outputs": { "json": schema } }),
        json!({ "json_schema": schema }),
    ];
    let mut answers = Vec::new();
    for mut fields in fields {
        fields["max_tokens"] = json!(60);
        let answer = server.site.post(CHAT, &chat(fields.clone())).ok();
        assert_eq!(answer["choices"][0]["finish_reason"], "stop", "{answer}");
        let said = answer["choices"][0]["message"]["content"].as_str().unwrap();
        let value: Value = serde_json::from_str(said).expect("JSON");
        assert!(value["kin"].is_boolean() && value["house"].is_string());
        answers.push(said.to_owned());
        // The model's own probabilities are told, and change nothing.
        fields["logprobs"] = json!(true);
        fields["stream"] = json!(true);
        let events = server.site.post(CHAT, &chat(fields)).events();
        let text: String = events
            .iter()
            .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
            .collect();
        assert_eq!(text, said);
        let told = events
            .iter()
            .filter_map(|chunk| chunk["choices"][0]["logprobs"]["content"][0]["logprob"].as_f64());
        assert!(told.clone().count() > 10 && told.clone().all(|one| one <= 0.0));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    for (fields, allowed) in [
        (
            json!({ "guided_choice": ["yea", "nay"] }),
            &["yea", "nay"][..],
        ),
        (json!({ "guided_regex": "[ab]x" }), &["ax", "bx"]),
        (
            json!({ "grammar": "root ::= (\"a\" | \"b\") \"x\"" }),
            &["ax", "bx"],
        ),
        (
            json!({ "guided_grammar": "start: \"ax\" | \"bx\"" }),
            &["ax", "bx"],
        ),
    ] {
        let body = with(
            json!({ "prompt": "ROMEO:", "temperature": 0 }),
            fields.clone(),
        );
        let answer = server.site.post(TEXT, &body).ok();
        let text = answer["choices"][0]["text"].as_str().unwrap();
        assert!(allowed.contains(&text), "{fields}: {text}");
    }
}

/// A template that teaches calls, short enough for the demo model.
const CALLING: &str = "{# <tool_call> #}{% for t in tools or [] %}{{ t.function | tojson }}{% endfor %}\
    {% for m in messages %}{{ m.role }}: {{ m.content }}\
    {% for c in m.tool_calls or [] %}{{ c.function | tojson }}{% endfor %}\n{% endfor %}";

#[test]
fn calls_are_made_when_they_are_required_and_told_whole_or_as_they_come() {
    let template = TemplateChoice::source("calling", CALLING);
    let server = Running::start(options().template(template));
    let house = json!({ "type": "object", "properties": { "house": { "enum": ["M", "C"] } },
        "required": ["house"], "additionalProperties": false });
    let chat_tools = json!([
        { "type": "function", "function": { "name": "fight", "parameters": house } },
        { "type": "function", "function": { "name": "wed" } },
    ]);
    let ask = |choice: Value, stream: bool| {
        let fields = json!({ "tools": chat_tools, "tool_choice": choice, "stream": stream, "seed": 5,
            "parallel_tool_calls": false, "max_tokens": 80 });
        server.site.post(CHAT, &chat(fields))
    };
    let named = |name: &str| json!({ "type": "function", "function": { "name": name } });
    for (choice, names) in [
        (json!("required"), &["fight", "wed"][..]),
        (named("fight"), &["fight"]),
        (named("wed"), &["wed"]),
    ] {
        let whole = ask(choice.clone(), false).ok();
        let answer = &whole["choices"][0];
        assert_eq!(answer["finish_reason"], "tool_calls", "{whole}");
        assert_eq!(answer["message"]["content"], Value::Null);
        let calls = answer["message"]["tool_calls"].as_array().unwrap();
        let [call] = &calls[..] else {
            panic!("{whole}");
        };
        let name = call["function"]["name"].as_str().unwrap();
        assert!(names.contains(&name), "{whole}");
        let arguments = call["function"]["arguments"].as_str().unwrap();
        let value: Value = serde_json::from_str(arguments).expect("JSON");
        assert_eq!(value["house"].is_string(), name == "fight", "{whole}");

        let (mut told, mut begun) = (String::new(), Value::Null);
        for chunk in ask(choice, true).events() {
            for part in chunk["choices"][0]["delta"]["tool_calls"]
                .as_array()
                .into_iter()
                .flatten()
            {
                assert_eq!(part["index"], 0);
                told.push_str(part["function"]["arguments"].as_str().unwrap());
                if !part["id"].is_null() {
                    begun = part.clone();
                }
            }
        }
        assert_eq!((told.as_str(), &begun["id"]), (arguments, &call["id"]));
        assert_eq!(begun["function"]["name"], name);
    }
    // A result goes back to the model with the call that it is of.
    let call =
        json!({ "id": "c1", "type": "function", "function": { "name": "wed", "arguments": "{}" } });
    let result = json!({ "role": "tool", "tool_call_id": "c1", "content": "done" });
    let called = json!({ "role": "assistant", "content": null, "tool_calls": [call] });
    let asked = json!({ "role": "user", "content": "Wed!" });
    let messages = json!({ "messages": [asked, called, result], "tools": chat_tools });
    let shown = server.site.post("/apply-template", &messages).ok();
    let prompt = shown["prompt"].as_str().unwrap();
    assert!(
        prompt.contains(r#"{"name": "wed", "arguments": {}}"#),
        "{prompt}"
    );
    assert!(prompt.contains("tool: done"), "{prompt}");
    // Other APIs say it in their own words.
    let question = json!([{ "role": "user", "content": "Wed!" }]);
    let tools = json!([{ "name": "fight", "input_schema": house }]);
    for choice in [
        json!({ "type": "any", "disable_parallel_tool_use": true }),
        json!({ "type": "tool", "name": "fight", "disable_parallel_tool_use": true }),
    ] {
        let asked = json!({ "model": "demo", "messages": question, "max_tokens": 80,
            "tools": tools, "tool_choice": choice });
        let answer = server.site.post(MESSAGES, &asked).ok();
        assert_eq!(answer["stop_reason"], "tool_use", "{answer}");
        assert_eq!(answer["content"][0]["name"], "fight");
        assert!(answer["content"][0]["input"]["house"].is_string());
    }
    let tools = json!([{ "type": "function", "name": "fight", "parameters": house }]);
    let asked = json!({ "model": "demo", "input": "Fight!", "tools": tools,
        "tool_choice": "required", "parallel_tool_calls": false, "max_output_tokens": 80 });
    let answer = server.site.post(RESPONSES, &asked).ok();
    assert_eq!(answer["output"][0]["type"], "function_call", "{answer}");
    // A form beside tools: the answer is a call, or has it.
    let form = json!({ "name": "n", "schema": house });
    let form = json!({ "type": "json_schema", "json_schema": form });
    for seed in 0..4 {
        let fields = json!({ "tools": chat_tools, "response_format": form, "temperature": 1,
            "seed": seed, "max_tokens": 80, "parallel_tool_calls": false });
        let answer = server.site.post(CHAT, &chat(fields)).ok();
        let message = &answer["choices"][0]["message"];
        if message["tool_calls"].is_null() {
            let said = message["content"].as_str().unwrap();
            let value: Value = serde_json::from_str(said).expect("JSON");
            assert!(value["house"].is_string(), "{answer}");
        }
    }
    // What a tool takes is held to, or refused by the field's name.
    let strange = json!({ "type": "object", "if": {} });
    let function = json!({ "name": "f", "parameters": strange });
    let fields = json!({ "tools": [{ "type": "function", "function": function }],
        "tool_choice": "required" });
    let refused = server.site.post(CHAT, &chat(fields)).json();
    assert_eq!(refused["error"]["param"], "tools[0].function.parameters");
    // A call is no text of another form.
    let tool = json!({ "type": "function", "function": { "name": "f" } });
    let fields = json!({ "tools": [tool], "tool_choice": "required", "guided_regex": "a+" });
    let refused = server.site.post(CHAT, &chat(fields)).json();
    assert_eq!(refused["error"]["param"], "guided_regex");
    // The template says nothing of tools where none is to be called.
    let answer = ask(json!("none"), false).ok();
    assert!(answer["choices"][0]["message"]["tool_calls"].is_null());
}

#[test]
fn other_apis_hold_their_answers_too() {
    let server = Running::start(options());
    let schema = json!({ "type": "object", "properties": { "kin": { "type": "boolean" } },
        "required": ["kin"], "additionalProperties": false });
    let format = json!({ "type": "json_schema", "schema": schema });
    let is_held = |said: &Value| {
        let value: Value = serde_json::from_str(said.as_str().expect("a text")).expect("JSON");
        assert!(value["kin"].is_boolean());
    };
    let asked = json!({ "model": "demo", "input": "Who is there?", "temperature": 0,
        "text": { "format": with(format.clone(), json!({ "name": "kin", "strict": true })) } });
    let answer = server.site.post(RESPONSES, &asked).ok();
    assert_eq!(answer["status"], "completed", "{answer}");
    is_held(&answer["output"][0]["content"][0]["text"]);
    let question = json!([{ "role": "user", "content": "Who is there?" }]);
    let asked = json!({ "model": "demo", "messages": question, "max_tokens": 30 });
    for fields in [
        json!({ "output_config": { "format": format } }),
        json!({ "output_format": format }),
    ] {
        let answer = server
            .site
            .post(MESSAGES, &with(asked.clone(), fields))
            .ok();
        assert_eq!(answer["stop_reason"], "end_turn", "{answer}");
        is_held(&answer["content"][0]["text"]);
    }
}

#[test]
fn what_an_answer_cannot_be_held_to_is_named() {
    let server = Running::start(options());
    let deep = (0..40).fold(json!(true), |inner, _| json!({ "items": [inner] }));
    let schema = |schema: Value| {
        let schema = json!({ "name": "s", "schema": schema });
        json!({ "response_format": { "type": "json_schema", "json_schema": schema } })
    };
    const FIELD: &str = "response_format.json_schema.schema";
    for (fields, named, said) in [
        (schema(json!({ "type": "nothing" })), FIELD, "nothing"),
        (
            schema(json!({ "properties": { "a": { "uniqueItems": true } } })),
            FIELD,
            "#/properties/a: the keyword `uniqueItems`",
        ),
        (schema(json!({ "$ref": "#/$defs/none" })), FIELD, "none"),
        (schema(json!({ "$ref": "http://localhost/s" })), FIELD, ""),
        (schema(json!({ "pattern": "(" })), FIELD, ""),
        (schema(deep), FIELD, ""),
        (json!({ "guided_regex": "(" }), "guided_regex", "regex"),
        (
            json!({ "grammar": "root ::= other" }),
            "grammar",
            "no rule `other`",
        ),
        (json!({ "guided_choice": [] }), "guided_choice", "empty"),
        (json!({ "guided_json": "{" }), "guided_json", "JSON"),
        (
            json!({ "response_format": { "type": "json_schema" } }),
            "response_format.json_schema",
            "object",
        ),
        (
            json!({ "structured_outputs": { "structural_tag": {} } }),
            "structured_outputs.structural_tag",
            "",
        ),
    ] {
        let refused = server.site.post(CHAT, &chat(fields.clone()));
        let error = &refused.json()["error"];
        assert_eq!(
            (refused.status, &error["param"]),
            (400, &json!(named)),
            "{error}"
        );
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(said) && message.len() < 2000, "{message}");
    }
}
