//! Prompts that are repeated, and how probable their tokens are.

use serde_json::{Value, json};

use crate::running::{Running, engine, options};
use crate::{CHAT, TEXT, chat, with};

/// A prompt by its ids, of more tokens than a pass gives logits of.
fn prompt(len: usize) -> Vec<u32> {
    (0..len).map(|at| (at * at * 7 + 3) as u32 % 1024).collect()
}

/// The logarithm of the probability of each token of a prompt but the first, and of the best token
/// at its place, from all logits that the engine gives.
fn wanted(prompt: &[u32]) -> Vec<(f64, f64)> {
    let mut session = engine().model().session(prompt.len()).unwrap();
    let mut wanted = Vec::new();
    session
        .feed_all(prompt, |at, logits| {
            let largest = logits.iter().copied().fold(f32::MIN, f32::max);
            let terms = logits.iter().map(|logit| f64::from(logit - largest).exp());
            let ln_sum = terms.sum::<f64>().ln();
            if let Some(next) = prompt.get(at + 1) {
                let own = f64::from(logits[*next as usize] - largest);
                wanted.push((own - ln_sum, -ln_sum));
            }
        })
        .unwrap();
    wanted
}

fn close(found: &Value, wanted: f64) -> bool {
    found
        .as_f64()
        .is_some_and(|found| (found - wanted).abs() < 1e-5)
}

/// As EleutherAI's lm-evaluation-harness asks (`local-completions`): what it adds up are all
/// logprobs behind the context but the last, which is that of a token it has not asked for.
#[test]
fn perplexity_is_measured_as_the_evaluation_harness_does() {
    let server = Running::start(options());
    let prompts = [prompt(5), prompt(150), prompt(2)];
    for (max_tokens, best) in [(1, 1), (0, 5), (1, 0)] {
        let body = json!({
            "model": "demo", "prompt": prompts, "temperature": 0, "max_tokens": max_tokens,
            "logprobs": best, "seed": 1234, "echo": true,
        });
        // Once more with all of it in the cache.
        for _ in 0..2 {
            let answer = server.site.post(TEXT, &body).ok();
            let choices = answer["choices"].as_array().unwrap();
            for (choice, prompt) in choices.iter().zip(&prompts) {
                let told = &choice["logprobs"];
                let list = |key: &str| told[key].as_array().unwrap();
                let count = prompt.len() + max_tokens;
                for key in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
                    assert_eq!(list(key).len(), count, "{key}");
                }
                assert!(told["token_logprobs"][0].is_null());
                assert!(told["top_logprobs"][0].is_null());
                for (at, (own, best_of_all)) in wanted(prompt).into_iter().enumerate() {
                    assert!(close(&told["token_logprobs"][at + 1], own), "{told}");
                    let top = told["top_logprobs"][at + 1].as_object().unwrap();
                    let found = top.values().map(|value| value.as_f64().unwrap());
                    let largest = found.fold(f64::MIN, f64::max);
                    let wanted = if best == 0 { own } else { best_of_all };
                    assert!((largest - wanted).abs() < 1e-5);
                }
                let text = choice["text"].as_str().unwrap();
                let said = engine().tokenizer().decode(prompt);
                assert!(text.starts_with(&said));
                assert_eq!(text.len() == said.len(), max_tokens == 0);
            }
        }
    }
}

#[test]
fn a_prompt_is_repeated_whole_or_streamed_with_where_each_token_stands() {
    let server = Running::start(options());
    let said = "ROMEO:\nWhat light — naïve";
    let body = json!({
        "prompt": said, "temperature": 0, "max_tokens": 4, "logprobs": 2, "echo": true, "n": 2,
    });
    let whole = server.site.post(TEXT, &body).ok();
    let choice = &whole["choices"][1];
    let text = choice["text"].as_str().unwrap();
    assert!(text.starts_with(said) && text.len() > said.len());
    let told = &choice["logprobs"];
    let tokens = told["tokens"].as_array().unwrap();
    let letters: Vec<char> = text.chars().collect();
    for (token, offset) in tokens.iter().zip(told["text_offset"].as_array().unwrap()) {
        let token = token.as_str().unwrap();
        let rest: String = letters[offset.as_u64().unwrap() as usize..]
            .iter()
            .collect();
        assert!(
            token.contains('\u{fffd}') || rest.starts_with(token),
            "{token:?} {rest:?}"
        );
    }
    let body = with(body, json!({ "stream": true }));
    let chunks = server.site.post(TEXT, &body).events();
    let of = |index: u64| {
        let choices = chunks.iter().map(|chunk| &chunk["choices"][0]);
        choices.filter(move |choice| choice["index"] == index)
    };
    let streamed: String = of(1).filter_map(|choice| choice["text"].as_str()).collect();
    assert_eq!(streamed, text);
    for key in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
        let parts = of(1).flat_map(|choice| choice["logprobs"][key].as_array().unwrap().clone());
        assert_eq!(Value::from(parts.collect::<Vec<_>>()), told[key], "{key}");
    }
    // Without logprobs the text alone, even where nothing is generated.
    let body = json!({ "prompt": [said, "JULIET:"], "echo": true, "max_tokens": 0 });
    let answer = server.site.post(TEXT, &body).ok();
    for (choice, said) in answer["choices"]
        .as_array()
        .unwrap()
        .iter()
        .zip([said, "JULIET:"])
    {
        assert_eq!(
            (&choice["text"], &choice["logprobs"]),
            (&json!(said), &Value::Null)
        );
        assert_eq!(choice["finish_reason"], "length");
    }
    let body = with(body, json!({ "stream": true, "prompt": said }));
    let chunks = server.site.post(TEXT, &body).events();
    let [one] = &chunks[..] else {
        panic!("{chunks:?}");
    };
    assert_eq!(one["choices"][0]["text"], said);
}

#[test]
fn the_token_that_ends_a_text_is_told_with_its_logprob() {
    let server = Running::start(options());
    let end = engine().tokenizer().eog_ids()[0];
    let body = json!({
        "prompt": prompt(7), "temperature": 0, "max_tokens": 1, "logprobs": 1, "echo": true,
        "logit_bias": { end.to_string(): 100 },
    });
    let choice = server.site.post(TEXT, &body).ok()["choices"][0].clone();
    assert_eq!(choice["finish_reason"], "stop");
    let logprobs = choice["logprobs"]["token_logprobs"].as_array().unwrap();
    assert_eq!(logprobs.len(), 8);
    assert!(logprobs[7].as_f64().unwrap() < 0.0);
    let said = engine().tokenizer().decode(&prompt(7));
    assert_eq!(choice["text"], said);
    let spelled = engine().tokenizer().token_text(end).unwrap().to_owned();
    assert_eq!(choice["logprobs"]["tokens"][7], spelled);
    let body = with(body, json!({ "stream": true }));
    let chunks = server.site.post(TEXT, &body).events();
    let last = &chunks.last().unwrap()["choices"][0];
    assert_eq!(last["finish_reason"], "stop");
    let lists = chunks
        .iter()
        .map(|chunk| &chunk["choices"][0]["logprobs"]["token_logprobs"]);
    let streamed: Vec<Value> = lists
        .flat_map(|list| list.as_array().unwrap().clone())
        .collect();
    assert_eq!(&streamed, logprobs);
}

#[test]
fn logprobs_of_prompts_are_told_by_ids_as_vllm_does() {
    let server = Running::start(options());
    let ids = prompt(70);
    let body = json!({
        "prompt": ids, "temperature": 0, "max_tokens": 2, "prompt_logprobs": 2, "logprobs": 5,
    });
    let choice = server.site.post(TEXT, &body).ok()["choices"][0].clone();
    let found = choice["prompt_logprobs"].as_array().unwrap();
    assert_eq!((found.len(), &found[0]), (ids.len(), &Value::Null));
    assert_eq!(choice["logprobs"]["tokens"].as_array().unwrap().len(), 2);
    for ((found, id), (own, best)) in found[1..].iter().zip(&ids[1..]).zip(wanted(&ids)) {
        let entry = &found[id.to_string()];
        assert!(close(&entry["logprob"], own));
        assert!((2..=3).contains(&found.as_object().unwrap().len()));
        let first = found
            .as_object()
            .unwrap()
            .values()
            .find(|one| one["rank"] == 1);
        assert!(close(&first.unwrap()["logprob"], best));
    }
    // Of a conversation they are those of what its template wrote, and stand beside the choices.
    let body = chat(json!({ "prompt_logprobs": 0, "n": 2 }));
    let answer = server.site.post(CHAT, &body).ok();
    let prompt = server.site.post("/tokenize", &body).ok()["tokens"].clone();
    let found = answer["prompt_logprobs"].as_array().unwrap();
    assert_eq!(found.len(), prompt.as_array().unwrap().len());
    assert_eq!(found[1].as_object().unwrap().len(), 1);
    let response = server
        .site
        .post(CHAT, &with(body, json!({ "stream": true })));
    assert_eq!(response.json()["error"]["param"], "prompt_logprobs");
}
