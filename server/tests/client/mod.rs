//! A client that speaks just enough HTTP, and can be rude.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

/// Where a server listens.
#[derive(Clone, Copy)]
pub(crate) struct Site(pub(crate) SocketAddr);

/// A response, whole.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: String,
    pub(crate) body: String,
}

/// A response that comes.
pub(crate) struct Reading(TcpStream);

impl Reading {
    /// All that is left of it.
    pub(crate) fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        // A server that refuses a body may cut the connection behind its answer.
        let _ = self.0.read_to_end(&mut bytes);
        String::from_utf8(bytes).expect("UTF-8")
    }
}

impl Site {
    pub(crate) fn get(self, path: &str) -> Response {
        self.send("GET", path, &[], b"")
    }

    pub(crate) fn post(self, path: &str, body: &Value) -> Response {
        self.send("POST", path, &[], body.to_string().as_bytes())
    }

    pub(crate) fn send(self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Response {
        let text = self.begin(method, path, headers, body).rest();
        let (headers, body) = text.split_once("\r\n\r\n").expect("a head");
        let status = headers.split(' ').nth(1).expect("a status");
        let body = match headers
            .to_lowercase()
            .contains("transfer-encoding: chunked")
        {
            true => whole(body),
            false => body.to_owned(),
        };
        Response {
            status: status.parse().expect("a number"),
            headers: headers.to_owned(),
            body,
        }
    }

    /// Sends a request, and waits for the first of its answer.
    pub(crate) fn open(self, path: &str, body: &Value) -> Reading {
        let mut reading = self.begin("POST", path, &[], body.to_string().as_bytes());
        reading.0.read_exact(&mut [0; 12]).expect("an answer");
        reading
    }

    /// Sends a request, and leaves as soon as its answer begins.
    pub(crate) fn post_and_leave(self, path: &str, body: &Value) {
        drop(self.open(path, body));
    }

    pub(crate) fn begin(self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Reading {
        let mut stream = TcpStream::connect(self.0).expect("a connection");
        let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        for header in headers {
            head.push_str(&format!("{header}\r\n"));
        }
        if !headers.iter().any(|header| header.starts_with("Host:")) {
            head.push_str(&format!("Host: {}\r\n", self.0));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        stream.write_all(head.as_bytes()).expect("sent");
        // A server need not read a body that is too long.
        let _ = stream.write_all(body);
        Reading(stream)
    }
}

impl Response {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{}", self.body))
    }

    /// The body of a response without error.
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.json()
    }

    /// The events of a stream, which ends as it should.
    pub(crate) fn events(&self) -> Vec<Value> {
        assert_eq!(self.status, 200, "{}", self.body);
        let data = self.body.split("\n\n").filter(|event| !event.is_empty());
        let mut data: Vec<&str> = data
            .map(|event| event.strip_prefix("data: ").expect("data"))
            .collect();
        assert_eq!(data.pop(), Some("[DONE]"));
        data.into_iter()
            .map(|event| serde_json::from_str(event).expect("JSON"))
            .collect()
    }
}

impl Response {
    /// The events of a stream in which each is named after its type.
    pub(crate) fn typed_events(&self) -> Vec<Value> {
        assert_eq!(self.status, 200, "{}", self.body);
        let events = self.body.split("\n\n").filter(|event| !event.is_empty());
        let parsed = events.map(|event| {
            let event = event.strip_prefix("event: ").expect("a name");
            let (name, data) = event.split_once("\ndata: ").expect("data");
            let value: Value = serde_json::from_str(data).expect("JSON");
            assert_eq!(value["type"], name);
            value
        });
        parsed.collect()
    }
}

/// The chunks of a body, put together.
pub(crate) fn whole(mut chunks: &str) -> String {
    let mut body = String::new();
    while let Some((size, rest)) = chunks.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a size");
        body.push_str(&rest[..size]);
        chunks = &rest[size + 2..];
    }
    body
}
