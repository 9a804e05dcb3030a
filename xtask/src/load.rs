//! [`Load`]: clients that ask a server side by side, and how long it takes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

/// How long a client waits for a server that says nothing.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long is waited between two requests for a first token.
const BETWEEN: Duration = Duration::from_millis(37);

/// One that asks the server at a place.
#[derive(Clone, Copy, Debug)]
pub struct Client(SocketAddr);

/// What came of a request.
#[derive(Clone, Copy, Debug)]
struct Answer {
    tokens: usize,
    ended: Instant,
}

impl Client {
    /// Of the server at this address.
    pub fn new(server: SocketAddr) -> Client {
        Client(server)
    }

    /// A streamed answer, read to its end.
    fn ask(self, prompt: &str, max_tokens: usize) -> anyhow::Result<Answer> {
        let body = json!({
            "prompt": prompt,
            "max_tokens": max_tokens,
            "temperature": 0,
            "stream": true,
            "stream_options": { "include_usage": true },
            // One server's word for it; others do not know it.
            "cache_prompt": false,
        });
        let body = body.to_string();
        let place = self.0;
        let mut stream = TcpStream::connect(place).with_context(|| place.to_string())?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let len = body.len();
        let request = format!(
            "POST /v1/completions HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {len}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes())?;
        let mut reader = BufReader::new(stream);
        let mut status = String::new();
        reader.read_line(&mut status)?;
        if !status.contains(" 200 ") {
            let mut rest = String::new();
            reader.read_to_string(&mut rest)?;
            bail!("{place} answers {status}{rest}");
        }
        let mut tokens = None;
        let mut line = String::new();
        let ended = loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                bail!("{place} breaks off an answer");
            }
            let Some(data) = line.trim_end().strip_prefix("data: ") else {
                continue;
            };
            if data == "[DONE]" {
                break Instant::now();
            }
            // The last has the usage; the others need not be read.
            if data.contains("\"completion_tokens\"") {
                let data: Value = serde_json::from_str(data)?;
                tokens = data["usage"]["completion_tokens"].as_u64().or(tokens);
            }
        };
        let tokens = tokens.with_context(|| format!("{place} tells no usage"))?;
        let tokens = usize::try_from(tokens)?;
        Ok(Answer { tokens, ended })
    }
}

/// Streams that run side by side.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// How many.
    pub streams: usize,
    /// Answers that each of them asks for, one after another.
    pub answers: usize,
    /// Letters of each prompt.
    pub prompt: usize,
    /// Tokens of each answer.
    pub max_tokens: usize,
}

impl Load {
    /// Tokens per second, of all streams together.
    ///
    /// # Errors
    /// A request fails.
    pub fn speed(&self, client: &Client, seed: u64) -> anyhow::Result<f64> {
        let start = Instant::now();
        let answers = thread::scope(|scope| {
            let streams = self.stream_seeds(seed);
            let streams = streams.map(|seed| scope.spawn(move || self.stream(client, seed)));
            let streams: Vec<_> = streams.collect();
            let mut answers = Vec::new();
            for stream in streams {
                answers.extend(joined(stream)?);
            }
            anyhow::Ok(answers)
        })?;
        let tokens: usize = answers.iter().map(|answer| answer.tokens).sum();
        let end = answers.iter().map(|answer| answer.ended).max();
        let time = end.context("no stream")? - start;
        Ok(tokens as f64 / time.as_secs_f64())
    }

    /// How many seconds answers of one token take while all streams run.
    ///
    /// # Errors
    /// A request fails.
    pub fn first_tokens(&self, client: &Client, seed: u64) -> anyhow::Result<Vec<f64>> {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let streams = self.stream_seeds(seed);
            let streams = streams.map(|seed| scope.spawn(move || self.stream(client, seed)));
            let streams: Vec<_> = streams.collect();
            let asking = scope.spawn(|| {
                let mut times = Vec::new();
                let mut number = seed + 1_000_000;
                loop {
                    thread::sleep(BETWEEN);
                    let start = Instant::now();
                    let answer = client.ask(&letters(number, self.prompt), 1)?;
                    if over.load(Ordering::Relaxed) {
                        return anyhow::Ok(times);
                    }
                    times.push((answer.ended - start).as_secs_f64());
                    number += 1;
                }
            });
            let mut failed = None;
            for stream in streams {
                // One that is done lets the others run faster.
                failed = joined(stream).err().or(failed);
                over.store(true, Ordering::Relaxed);
            }
            let times = joined(asking)?;
            failed.map_or(Ok(times), Err)
        })
    }

    fn stream_seeds(&self, seed: u64) -> impl Iterator<Item = u64> {
        (0..self.streams as u64).map(move |stream| (seed << 20) + (stream << 10))
    }

    fn stream(&self, client: &Client, seed: u64) -> anyhow::Result<Vec<Answer>> {
        let each = 0..self.answers as u64;
        each.map(|answer| client.ask(&letters(seed + answer, self.prompt), self.max_tokens))
            .collect()
    }
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, anyhow::Result<T>>) -> anyhow::Result<T> {
    let done = thread.join();
    done.unwrap_or_else(|_| bail!("a client has failed"))
}

/// Letters that no other number gives.
fn letters(number: u64, count: usize) -> String {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let letter = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'a' + (state % 26) as u8)
    };
    (0..count).map(letter).collect()
}

/// The one in the middle; 0 of none.
pub fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_differ_from_their_first_letters_on() {
        let prompts: std::collections::BTreeSet<String> =
            (0..500).map(|number| letters(number, 12)).collect();
        assert_eq!(prompts.len(), 500);
        assert!(prompts.iter().all(|prompt| prompt.len() == 12));
    }

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        assert_eq!(median(&[9.0, 1.0, 5.0]), 5.0);
        assert_eq!(median(&[]), 0.0);
    }
}
