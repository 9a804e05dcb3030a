//! Clients that keep the server waiting, send too much, or send nonsense.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Response, Site};
use crate::noise::Noise;
use crate::running::{Running, options};
use crate::{CHAT, TEXT, chat};

/// How long the clients here may keep the server waiting.
const TIME: Duration = Duration::from_secs(1);

fn figure(site: Site, line: &str) -> Option<f64> {
    let text = site.get("/metrics").body;
    let line = text.lines().find_map(|found| found.strip_prefix(line));
    line.and_then(|value| value.trim().parse().ok())
}

const RUNNING: &str = "vllm:num_requests_running{model_name=\"demo\"}";
const ABORTED: &str = "vllm:request_success_total{model_name=\"demo\",finished_reason=\"abort\"}";

/// Waits for something that comes soon.
fn wait_for(what: &str, come: impl Fn() -> bool) {
    let start = Instant::now();
    while !come() {
        assert!(start.elapsed() < Duration::from_secs(30), "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn who_does_not_read_is_given_up_and_keeps_nobody_else_waiting() {
    let server = Running::start(options().parallel(40).client_time(TIME));
    let site = server.site;
    let asked = || {
        site.post(
            TEXT,
            &json!({ "prompt": "ROMEO:", "temperature": 0, "seed": 1 }),
        )
    };
    let wanted = asked().ok()["choices"].clone();
    // More than all buffers on the way hold.
    let much = json!({
        "n": 32, "max_tokens": 230, "temperature": 1.5, "seed": 3,
        "logprobs": true, "top_logprobs": 20, "stream": true,
    });
    let mut unread = site.open(CHAT, &chat(much));
    wait_for("they run", || figure(site, RUNNING) == Some(32.0));
    while figure(site, ABORTED).is_none_or(|aborted| aborted < 1.0) {
        assert_eq!(asked().ok()["choices"], wanted);
    }
    wait_for("all are given up", || figure(site, RUNNING) == Some(0.0));
    assert!(!unread.rest().contains("[DONE]"));
}

#[test]
fn who_reads_late_gets_the_same() {
    let server = Running::start(options().parallel(40));
    let much = json!({
        "n": 24, "max_tokens": 230, "temperature": 1.5, "seed": 3,
        "logprobs": true, "top_logprobs": 20, "stream": true,
    });
    let at_once = server.site.post(CHAT, &chat(much.clone()));
    let mut reading = server.site.open(CHAT, &chat(much));
    thread::sleep(Duration::from_millis(1500));
    let late = reading.rest();
    // In another order, perhaps, for choices come side by side.
    let mut events = [
        at_once.body.as_str(),
        late.split_once("\r\n\r\n").unwrap().1,
    ]
    .map(deltas);
    for events in &mut events {
        events.sort();
    }
    assert!(events[0] == events[1] && events[0].len() > 24 * 100);
}

/// What was said of each choice, in the order of its tokens.
fn deltas(body: &str) -> Vec<(u64, usize, String)> {
    let body = match body.starts_with("data: ") {
        true => body.to_owned(),
        false => crate::client::whole(body),
    };
    let mut counts = [0; 24];
    let events = body.split("\n\n").filter_map(|event| {
        let event: serde_json::Value = serde_json::from_str(event.strip_prefix("data: ")?).ok()?;
        let choice = &event["choices"][0];
        let index = choice["index"].as_u64()?;
        counts[index as usize] += 1;
        Some((index, counts[index as usize], choice.to_string()))
    });
    events.collect()
}

/// What comes over a connection that sent `bytes` and no more, and how long that took.
fn answer(site: Site, bytes: &[u8]) -> (String, Duration) {
    let start = Instant::now();
    let mut stream = TcpStream::connect(site.0).expect("a connection");
    stream.write_all(bytes).expect("sent");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    (String::from_utf8(answer).expect("UTF-8"), start.elapsed())
}

#[test]
fn half_a_request_is_not_waited_for_for_long() {
    let server = Running::start(options().client_time(TIME));
    let host = format!("Host: {}\r\n", server.site.0);
    let head = format!("POST {CHAT} HTTP/1.1\r\n{host}");
    let body = format!("{head}Content-Length: 100\r\n\r\n{{\"messages\":");
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\n{{\"mes");
    for (sent, status) in [("", ""), (&head[..], ""), (&body, "408"), (&chunked, "408")] {
        let (answer, time) = answer(server.site, sent.as_bytes());
        assert!(time >= TIME && time < TIME * 6, "{time:?} {sent}");
        let found = answer.split(' ').nth(1).unwrap_or_default();
        assert!(found == status, "{sent}: {answer}");
    }
    // One that has had an answer may ask again, and is not kept for ever either.
    let twice = format!("GET /health HTTP/1.1\r\n{host}\r\n").repeat(2);
    let (answer, time) = answer(server.site, twice.as_bytes());
    assert_eq!(answer.matches("200 OK").count(), 2);
    assert!(time >= TIME && time < TIME * 6, "{time:?}");
}

#[test]
fn what_is_said_to_be_too_large_need_not_be_sent() {
    let server = Running::start(options().max_body(1 << 20));
    let head = format!("POST {CHAT} HTTP/1.1\r\nHost: {}\r\n", server.site.0);
    let said = format!("{head}Content-Length: 104857600\r\n\r\n");
    let (told, time) = answer(server.site, said.as_bytes());
    assert!(told.starts_with("HTTP/1.1 413 "), "{told}");
    assert!(time < Duration::from_secs(10));
    // One that sends it all the same finds the answer, and not a connection that is cut.
    for head in [said, format!("{head}Transfer-Encoding: chunked\r\n\r\n")] {
        let mut stream = TcpStream::connect(server.site.0).expect("a connection");
        let chunk = [b"100000\r\n".as_slice(), &[b' '; 1 << 20], b"\r\n"].concat();
        stream.write_all(head.as_bytes()).expect("sent");
        for _ in 0..3 {
            let _ = stream.write_all(&chunk);
        }
        let mut answer = [0; 13];
        stream.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 413 ");
    }
}

#[test]
fn bodies_take_no_more_memory_than_there_is_for_them() {
    let server = Running::start(options().max_body(1 << 20).client_time(TIME * 3));
    let head = format!("POST {CHAT} HTTP/1.1\r\nHost: {}\r\n", server.site.0);
    let half = format!(
        "{head}Content-Length: 1048576\r\n\r\n{}",
        " ".repeat(900_000)
    );
    let slow: Vec<TcpStream> = (0..12)
        .map(|_| {
            let mut stream = TcpStream::connect(server.site.0).expect("a connection");
            let _ = stream.write_all(half.as_bytes());
            stream
        })
        .collect();
    let status = |mut stream: TcpStream| {
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer.get(9..12).unwrap_or_default().to_owned()
    };
    let found: Vec<String> = slow.into_iter().map(status).collect();
    let count = |status| found.iter().filter(|found| *found == status).count();
    assert!(count("429") >= 3 && count("408") >= 8, "{found:?}");
    server.site.post(CHAT, &chat(json!({}))).ok();
}

#[test]
fn connections_without_a_request_keep_nobody_out() {
    let server = Running::start(options());
    let idle: Vec<TcpStream> = (0..300)
        .map(|_| TcpStream::connect(server.site.0).expect("a connection"))
        .collect();
    let answers = (0..4).map(|_| server.site.post(CHAT, &chat(json!({}))).ok()["choices"].clone());
    let answers: Vec<_> = answers.collect();
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    drop(idle);
}

/// Bytes of memory that this process has.
fn memory() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<usize>().ok()? << 10)
}

/// So many requests by 16 clients, a tenth of them broken off at any moment, beside `idle`
/// connections, bodies that are too long, and nonsense: every other answer is right, and memory
/// does not grow.
fn storm(count: usize, idle: usize) {
    const CACHE: usize = 1 << 20;
    let server = Running::start(options().cache(CACHE).queue(8).client_time(TIME * 20));
    let site = server.site;
    let asked: Vec<Value> = (0..24)
        .map(|i| {
            let (stream, choices) = (i % 3 == 0, 1 + i % 2);
            chat(json!({
                "messages": [{ "role": "user", "content": "Speak, ".repeat(1 + i * 5 % 17) }],
                "temperature": i % 2, "seed": i, "stream": stream, "n": choices,
            }))
        })
        .collect();
    let said = |response: Response| match response.body.starts_with("data: ") {
        true => {
            let mut said = deltas(&response.body);
            said.sort();
            format!("{said:?}")
        }
        false => response.ok()["choices"].to_string(),
    };
    let wanted: Vec<_> = asked
        .iter()
        .map(|body| said(site.post(CHAT, body)))
        .collect();
    let resting: Vec<TcpStream> = (0..idle)
        .map(|_| TcpStream::connect(site.0).expect("a connection"))
        .collect();
    let run = |from: usize, to: usize| {
        let next = AtomicUsize::new(from);
        thread::scope(|scope| {
            for client in 0..16 {
                let (next, asked, wanted) = (&next, &asked, &wanted);
                scope.spawn(move || {
                    let mut noise = Noise(client + from as u64);
                    while next.fetch_add(1, Ordering::Relaxed) < to {
                        let at = noise.below(asked.len());
                        if noise.below(10) == 0 {
                            break_off(site, &asked[at], &mut noise);
                            continue;
                        }
                        loop {
                            let response = site.post(CHAT, &asked[at]);
                            if response.status == 429 {
                                assert!(
                                    response.headers.to_lowercase().contains("\nretry-after: 1")
                                );
                                thread::sleep(Duration::from_millis(5));
                                continue;
                            }
                            assert_eq!(said(response), wanted[at], "{}", asked[at]);
                            break;
                        }
                    }
                });
            }
        });
    };
    run(0, count / 5);
    let before = memory();
    run(count / 5, count);
    if let (Some(before), Some(after)) = (before, memory()) {
        let grown = after.saturating_sub(before);
        assert!(grown < CACHE + (48 << 20), "{before} became {after}");
    }
    drop(resting);
    wait_for("nobody is left", || figure(site, RUNNING) == Some(0.0));
}

/// Leaves before, in the middle of, or after a request, or sends what is none.
fn break_off(site: Site, body: &Value, noise: &mut Noise) {
    let body = body.to_string();
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n",
        site.0,
        body.len()
    );
    let whole = head + &body;
    let deep = format!(
        "POST {CHAT} HTTP/1.1\r\nHost: {}\r\nContent-Length: 100000\r\n\r\n{}",
        site.0,
        "[".repeat(100_000)
    );
    let large = whole.replace("Content-Length: ", "Content-Length: 99999");
    let bytes = match noise.below(6) {
        0 => whole.as_bytes()[..noise.below(whole.len())].to_vec(),
        1 => deep.into_bytes(),
        2 => large.into_bytes(),
        3 => whole
            .bytes()
            .map(|byte| byte ^ (u8::from(noise.below(40) == 0) << 7))
            .collect(),
        _ => whole.into_bytes(),
    };
    let mut stream = TcpStream::connect(site.0).expect("a connection");
    let _ = stream.write_all(&bytes);
    thread::sleep(Duration::from_micros(noise.below(30_000) as u64));
}

#[test]
fn many_requests_of_which_some_are_broken_off_leave_nothing_behind() {
    storm(400, 50);
}

#[test]
#[ignore = "takes minutes: ten thousand requests"]
fn ten_thousand_requests_of_which_a_tenth_is_broken_off_leave_nothing_behind() {
    storm(10_000, 1000);
}
