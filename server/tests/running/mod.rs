//! A server with the demo model, for as long as a test runs.

use std::thread;
use std::time::Duration;

use bitnet_engine::{Device, Engine, LoadOptions, TemplateChoice};
use bitnet_process::Interrupt;
use bitnet_server::{ServerError, ServerOptions, listen};

use crate::client::Site;

pub(crate) fn engine() -> Engine {
    let options = LoadOptions::default().device(Device::Cpu).threads(1);
    Engine::open("../demo/demo.gguf", &options).expect("the demo model opens")
}

pub(crate) fn options() -> ServerOptions {
    let address = "127.0.0.1:0".parse().unwrap();
    ServerOptions::new(address, vec!["demo".to_owned(), "gpt".to_owned()])
        .template(TemplateChoice::Instruct)
        .drain(Duration::from_secs(20))
}

/// A server that runs until this is dropped.
pub(crate) struct Running {
    pub(crate) site: Site,
    pub(crate) stop: Interrupt,
    thread: Option<thread::JoinHandle<Result<(), ServerError>>>,
}

impl Running {
    pub(crate) fn start(options: ServerOptions) -> Running {
        Running::of(engine(), options)
    }

    /// One with another model.
    pub(crate) fn of(engine: Engine, options: ServerOptions) -> Running {
        let stop = Interrupt::default();
        let listening = listen(options, &stop).expect("the server listens");
        let site = Site(listening.address());
        listening.open(engine).expect("a thread");
        Running {
            site,
            stop,
            thread: Some(thread::spawn(|| listening.run())),
        }
    }

    /// Has it end, and waits for that.
    pub(crate) fn end(&mut self) {
        self.stop.raise();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("no panic").expect("no error");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}
