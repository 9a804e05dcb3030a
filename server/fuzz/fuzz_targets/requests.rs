//! Sends whatever bytes come as the body of every kind of request to a real server with the demo
//! model: nothing may panic, nothing may be an error of the server, and there is an answer.
//!
//! In `server/`, with a nightly toolchain and `cargo install cargo-fuzz`:
//!
//! ```sh
//! mkdir -p fuzz/corpus/requests
//! cargo +nightly fuzz run requests fuzz/corpus/requests fuzz/seeds/requests -- \
//!     -max_len=4096 -timeout=20 -rss_limit_mb=2048 -max_total_time=120
//! ```

#![no_main]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::LazyLock;
use std::thread;

use bitnet_engine::{Device, Engine, LoadOptions, TemplateChoice};
use bitnet_process::Interrupt;
use bitnet_server::{APIS, ServerOptions, listen};
use libfuzzer_sys::fuzz_target;

/// Most tokens of a prompt with its answer: no input may take long because it asks for much.
const CONTEXT: usize = 48;

static SERVER: LazyLock<SocketAddr> = LazyLock::new(|| {
    let options = LoadOptions::default().device(Device::Cpu).threads(1);
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../../demo/demo.gguf");
    let engine = Engine::open(demo, &options).expect("the demo model opens");
    let address = "127.0.0.1:0".parse().expect("an address");
    let options = ServerOptions::new(address, vec!["demo".to_owned()])
        .template(TemplateChoice::Instruct)
        .context(CONTEXT)
        .parallel(4)
        .queue(4);
    let stop = Interrupt::default();
    let listening = listen(options, &stop).expect("the server listens");
    let address = listening.address();
    listening.open(engine).expect("a thread");
    thread::spawn(move || {
        // It ends when nobody can raise it any more.
        let ended = listening.run();
        drop(stop);
        panic!("the server has ended: {ended:?}");
    });
    address
});

fuzz_target!(|body: &[u8]| {
    for api in APIS {
        let Some(path) = api.path.strip_prefix("POST ") else {
            continue;
        };
        let mut stream = TcpStream::connect(*SERVER).expect("a connection");
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream
            .write_all(&[head.as_bytes(), body].concat())
            .expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        let answer = String::from_utf8(answer).expect("UTF-8");
        let status = answer.split(' ').nth(1).expect("a status");
        assert!(
            matches!(status, "200" | "400" | "404" | "422"),
            "{path}: {answer}"
        );
    }
});
