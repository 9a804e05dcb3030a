//! What a request gets is the same to the bit, whatever the server does beside it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::Site;
use crate::noise::Noise;
use crate::running::{Running, options};
use crate::{CHAT, TEXT};

/// A request: its path and its body.
struct Asked {
    path: &'static str,
    body: Value,
}

impl Asked {
    fn random(noise: &mut Noise) -> Asked {
        let mut body = json!({
            "max_tokens": 1 + noise.below(24),
            "temperature": noise.of(&[0.0, 0.6, 1.0, 1.7]),
            "top_p": noise.of(&[1.0, 0.9, 0.4]),
            "top_k": noise.of(&[0, 1, 7, 50]),
            "min_p": noise.of(&[0.0, 0.05]),
            "presence_penalty": noise.of(&[0.0, 0.0, 0.7, -0.4]),
            "frequency_penalty": noise.of(&[0.0, 0.0, 0.3]),
            "repeat_penalty": noise.of(&[1.0, 1.0, 1.2]),
            "seed": noise.below(1 << 20),
            "n": noise.of(&[1, 1, 1, 2, 3]),
            "stream": noise.of(&[false, true]),
            "stop": noise.of(&[json!(null), json!("the"), json!(["\n\n", "e "])]),
        });
        if noise.below(3) == 0 {
            body["logit_bias"] = json!({ (5 + noise.below(900)).to_string(): 3, "17": -100 });
        }
        // Half of them begin alike.
        let words = [
            "Speak, ",
            "my lord, ",
            "and so ",
            "to thee ",
            "O ",
            "no more.\n",
        ];
        let mut text = match noise.below(2) {
            0 => "KING:\nWhat light is this? ".repeat(1 + noise.below(3)),
            _ => String::new(),
        };
        for _ in 0..1 + noise.below(40) {
            text.push_str(noise.of(&words));
        }
        let logprobs = noise.below(2) == 0;
        match noise.below(3) {
            0 => {
                body["prompt"] = match noise.below(3) {
                    0 => json!([text, "ROMEO:"]),
                    1 => json!(
                        (0..1 + noise.below(90))
                            .map(|_| noise.below(1024))
                            .collect::<Vec<_>>()
                    ),
                    _ => json!(text),
                };
                body["logprobs"] = logprobs.then(|| noise.below(21)).into();
                body["echo"] = noise.of(&[false, true]).into();
                Asked { path: TEXT, body }
            }
            _ => {
                body["messages"] = json!([{ "role": "user", "content": text }]);
                body["logprobs"] = logprobs.into();
                body["top_logprobs"] = logprobs.then(|| noise.below(21)).into();
                if body["stream"] == false && noise.below(3) == 0 {
                    body["prompt_logprobs"] = noise.below(4).into();
                }
                Asked { path: CHAT, body }
            }
        }
    }

    /// What it gets: of each choice, all that is said of it, in its order.
    fn ask(&self, site: Site) -> Vec<Vec<Value>> {
        let response = site.post(self.path, &self.body);
        let mut choices: BTreeMap<u64, Vec<Value>> = BTreeMap::new();
        let parts = match self.body["stream"] == true {
            true => response.events(),
            false => vec![response.ok()],
        };
        for part in parts {
            let of_prompt = &part["prompt_logprobs"];
            choices.entry(u64::MAX).or_default().push(of_prompt.clone());
            for choice in part["choices"].as_array().expect("choices") {
                let index = choice["index"].as_u64().expect("a number");
                choices.entry(index).or_default().push(choice.clone());
            }
        }
        choices.into_values().collect()
    }
}

/// How a server and its clients are.
struct Setting {
    together: usize,
    parallel: usize,
    chunk: usize,
    cache: usize,
}

/// Asks for all of `asked`, so many at once, and in between for what nobody waits for.
fn together(setting: &Setting, asked: &[Asked], wanted: &[Vec<Vec<Value>>]) {
    let server = Running::start(
        options()
            .parallel(setting.parallel)
            .queue(400)
            .chunk(setting.chunk)
            .cache(setting.cache),
    );
    let site = server.site;
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for client in 0..setting.together {
            let next = &next;
            scope.spawn(move || {
                let mut noise = Noise(client as u64 + setting.chunk as u64);
                loop {
                    let turn = next.fetch_add(1, Ordering::Relaxed);
                    // In another order for each setting.
                    let at = (turn * 37 + setting.chunk) % asked.len();
                    if turn >= asked.len() {
                        return;
                    }
                    if noise.below(5) == 0 {
                        let other = &asked[noise.below(asked.len())];
                        let left =
                            site.begin("POST", other.path, &[], other.body.to_string().as_bytes());
                        thread::sleep(Duration::from_micros(noise.below(20_000) as u64));
                        drop(left);
                    }
                    let found = asked[at].ask(site);
                    assert!(
                        found == wanted[at],
                        "request {at} of {} together, {} in a chunk: {} {}",
                        setting.together,
                        setting.chunk,
                        asked[at].path,
                        asked[at].body,
                    );
                }
            });
        }
    });
}

/// Asks for each alone, of a server that keeps nothing, and then in all settings.
fn assert_same(count: usize, settings: &[Setting]) {
    // 37 has to be prime to it.
    assert!(!count.is_multiple_of(37));
    let mut noise = Noise(200);
    let asked: Vec<Asked> = (0..count).map(|_| Asked::random(&mut noise)).collect();
    let alone = Running::start(options().cache(0));
    let wanted: Vec<_> = asked.iter().map(|asked| asked.ask(alone.site)).collect();
    drop(alone);
    for setting in settings {
        together(setting, &asked, &wanted);
    }
}

#[test]
fn requests_get_side_by_side_what_they_get_alone() {
    // A position of the demo model takes a few hundred bytes.
    let settings = [
        Setting {
            together: 16,
            parallel: 16,
            chunk: 5,
            cache: 300_000,
        },
        Setting {
            together: 7,
            parallel: 4,
            chunk: 512,
            cache: 1 << 30,
        },
    ];
    assert_same(30, &settings);
}

#[test]
#[ignore = "takes minutes: 200 requests in 24 settings"]
fn two_hundred_requests_get_the_same_in_every_setting() {
    let chunks = [1, 2, 3, 5, 8, 13, 31, 64, 100, 177, 256, 512];
    let caches = [0, 200_000, 2_000_000, 1 << 30];
    let mut settings = Vec::new();
    for at in 0..24 {
        settings.push(Setting {
            together: 1 + at * 15 / 23,
            parallel: [1, 3, 8, 16][at / 3 % 4],
            chunk: chunks[at * 5 % chunks.len()],
            cache: caches[at % caches.len()],
        });
    }
    assert_same(200, &settings);
}
