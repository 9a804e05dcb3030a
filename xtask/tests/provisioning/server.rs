//! A web server with bad manners: every reply is bytes under the test's control.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bitnet_fixtures::Noise;

/// The head of a request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    headers: HashMap<String, String>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The start of `Range: bytes=<start>-`.
    pub(crate) fn range_start(&self) -> Option<usize> {
        self.header("range")?
            .strip_prefix("bytes=")?
            .strip_suffix('-')?
            .parse()
            .ok()
    }

    fn read(stream: &mut BufReader<TcpStream>) -> Option<Self> {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let mut words = line.split_whitespace().map(str::to_owned);
        let (method, target) = (words.next()?, words.next()?);
        let mut headers = HashMap::new();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).ok()?;
            match line.trim_end().split_once(':') {
                Some((name, value)) => {
                    headers.insert(name.to_ascii_lowercase(), value.trim().to_owned())
                }
                None => {
                    return Some(Self {
                        method,
                        target,
                        headers,
                    });
                }
            };
        }
    }
}

/// What to send, and how badly.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    head: String,
    body: Vec<u8>,
    cut_at: Option<usize>,
    drip: Option<(usize, Duration)>,
    at_once: usize,
    hang: bool,
}

impl Reply {
    pub(crate) fn new(status: u16) -> Self {
        let head = format!("HTTP/1.1 {status} Status\r\nConnection: close\r\n");
        Self {
            head,
            body: Vec::new(),
            cut_at: None,
            drip: None,
            at_once: 0,
            hang: false,
        }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.head.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    /// A body with its true length.
    pub(crate) fn body(self, bytes: &[u8]) -> Self {
        let length = bytes.len().to_string();
        self.header("Content-Length", &length).raw_body(bytes)
    }

    /// A body, whatever the headers say.
    pub(crate) fn raw_body(mut self, bytes: &[u8]) -> Self {
        self.body = bytes.to_vec();
        self
    }

    /// A body in chunks, its length not told.
    pub(crate) fn chunked(self, bytes: &[u8]) -> Self {
        let mut body = Vec::with_capacity(bytes.len() + 64);
        for chunk in bytes.chunks(1 << 16) {
            body.extend(format!("{:x}\r\n", chunk.len()).bytes());
            body.extend(chunk);
            body.extend(b"\r\n");
        }
        body.extend(b"0\r\n\r\n");
        self.header("Transfer-Encoding", "chunked").raw_body(&body)
    }

    /// Close the connection after this many bytes, head included.
    pub(crate) fn cut_at(mut self, bytes: usize) -> Self {
        self.cut_at = Some(bytes);
        self
    }

    /// Close the connection after this many bytes of the body.
    pub(crate) fn cut_body_at(self, bytes: usize) -> Self {
        let head = self.head.len() + 2;
        self.cut_at(head + bytes)
    }

    /// Send `bytes` at a time, with a pause after each.
    pub(crate) fn drip(mut self, bytes: usize, pause: Duration) -> Self {
        self.drip = Some((bytes, pause));
        self
    }

    /// The same, but the head at once.
    pub(crate) fn drip_body(mut self, bytes: usize, pause: Duration) -> Self {
        self.at_once = self.head_len();
        self.drip(bytes, pause)
    }

    /// Having sent everything, keep the connection open and silent.
    pub(crate) fn hang(mut self) -> Self {
        self.hang = true;
        self
    }

    pub(crate) fn head_len(&self) -> usize {
        self.head.len() + 2
    }

    fn send(self, stream: &mut TcpStream, sent: &AtomicU64) -> std::io::Result<()> {
        let mut bytes = format!("{}\r\n", self.head).into_bytes();
        bytes.extend(&self.body);
        bytes.truncate(self.cut_at.unwrap_or(usize::MAX));
        let (step, pause) = self.drip.unwrap_or((1 << 16, Duration::ZERO));
        let (head, bytes) = bytes.split_at(self.at_once.min(bytes.len()));
        stream.write_all(head)?;
        for piece in bytes.chunks(step.max(1)) {
            stream.write_all(piece)?;
            sent.fetch_add(piece.len() as u64, Ordering::SeqCst);
            if !pause.is_zero() {
                std::thread::sleep(pause);
            }
        }
        if self.hang {
            // Until the other side has had enough.
            let _ = stream.read(&mut [0]);
        }
        Ok(())
    }
}

/// A running server; lives until the test process ends.
pub(crate) struct Server {
    port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
    sent: Arc<AtomicU64>,
}

impl Server {
    /// Answer the n-th request (from 0) with what `answer` makes of it.
    pub(crate) fn start(answer: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let sent = Arc::new(AtomicU64::new(0));
        let (answer, log, counter) = (Arc::new(answer), requests.clone(), sent.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, log, counter) = (answer.clone(), log.clone(), counter.clone());
                std::thread::spawn(move || converse(stream, &*answer, &log, &counter));
            }
        });
        Self {
            port,
            requests,
            sent,
        }
    }

    /// A SOCKS5 proxy that leads every connection to a server with this file; what it was asked for
    /// is in the log as a request of the method `SOCKS`.
    pub(crate) fn socks_of(file: Remote) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let sent = Arc::new(AtomicU64::new(0));
        let (log, counter) = (requests.clone(), sent.clone());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let Some(target) = shake_hands(&mut stream) else {
                    continue;
                };
                log.lock().expect("the log").push(Request {
                    method: "SOCKS".to_owned(),
                    target,
                    headers: HashMap::new(),
                });
                let file = file.clone();
                converse(
                    stream,
                    &move |_, request| file.reply(request),
                    &log,
                    &counter,
                );
            }
        });
        Self {
            port,
            requests,
            sent,
        }
    }

    /// Its address without a scheme.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Behave well, with this file at every address.
    pub(crate) fn of(file: Remote) -> Self {
        Self::start(move |_, request| file.reply(request))
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("the log").clone()
    }

    /// Bytes sent so far, over all connections.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }
}

/// What a SOCKS5 client says before its request, answered as by a proxy that leads every connection
/// to itself; the name that it asks for.
fn shake_hands(stream: &mut TcpStream) -> Option<String> {
    let mut take = |len: usize| {
        let mut bytes = vec![0; len];
        stream.read_exact(&mut bytes).ok()?;
        Some(bytes)
    };
    let methods = usize::from(take(2)?[1]);
    take(methods)?;
    stream.write_all(&[5, 0]).ok()?;
    let mut take = |len: usize| {
        let mut bytes = vec![0; len];
        stream.read_exact(&mut bytes).ok()?;
        Some(bytes)
    };
    let host = match take(4)?[3] {
        3 => {
            let len = usize::from(take(1)?[0]);
            String::from_utf8(take(len)?).ok()?
        }
        kind => {
            take(if kind == 1 { 4 } else { 16 })?;
            "an address".to_owned()
        }
    };
    take(2)?;
    stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).ok()?;
    Some(host)
}

fn converse(
    stream: TcpStream,
    answer: &(dyn Fn(usize, &Request) -> Reply + Send + Sync),
    log: &Mutex<Vec<Request>>,
    sent: &AtomicU64,
) {
    let mut writer = stream.try_clone().expect("a handle");
    let mut reader = BufReader::new(stream);
    while let Some(request) = Request::read(&mut reader) {
        let is_connect = request.method == "CONNECT";
        let number = {
            let mut log = log.lock().expect("the log");
            log.push(request.clone());
            log.len() - 1
        };
        if is_connect {
            // A proxy that leads every tunnel to itself.
            if writer.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").is_err() {
                return;
            }
            continue;
        }
        let _ = answer(number, &request).send(&mut writer, sent);
        let _ = writer.shutdown(std::net::Shutdown::Both);
        return;
    }
}

/// A file as a good server has it.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    pub(crate) bytes: Arc<Vec<u8>>,
    pub(crate) etag: String,
}

impl Remote {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self {
            bytes: Arc::new(bytes),
            etag: "\"v1\"".into(),
        }
    }

    /// `len` bytes without a pattern that a misplaced splice could hide in.
    pub(crate) fn noise(len: usize) -> Self {
        Self::new(noise(len, 1))
    }

    fn described(&self, reply: Reply) -> Reply {
        reply
            .header("ETag", &self.etag)
            .header("Last-Modified", "Fri, 01 Jan 2021 00:00:00 GMT")
    }

    /// 304, 206 or 200, as the request deserves.
    pub(crate) fn reply(&self, request: &Request) -> Reply {
        if request.header("if-none-match") == Some(&self.etag) {
            return self.described(Reply::new(304));
        }
        match request.range_start() {
            Some(start)
                if request
                    .header("if-range")
                    .is_none_or(|tag| tag == self.etag) =>
            {
                self.rest(start)
            }
            _ => self.whole(),
        }
    }

    pub(crate) fn whole(&self) -> Reply {
        self.described(Reply::new(200)).body(&self.bytes)
    }

    pub(crate) fn rest(&self, start: usize) -> Reply {
        if start >= self.bytes.len() {
            return Reply::new(416)
                .header("Content-Range", &format!("bytes */{}", self.bytes.len()))
                .body(b"");
        }
        let range = format!(
            "bytes {start}-{}/{}",
            self.bytes.len() - 1,
            self.bytes.len()
        );
        self.described(Reply::new(206))
            .header("Content-Range", &range)
            .body(&self.bytes[start..])
    }
}

/// What a model's file begins with, then random bytes.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut noise = Noise::new(seed);
    let random = std::iter::repeat_with(|| noise.below(256) as u8);
    b"GGUF".iter().copied().chain(random).take(len).collect()
}
