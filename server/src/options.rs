//! [`ServerOptions`]: what a server allows.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bitnet_engine::{GenerateOptions, TemplateChoice};

use crate::keys::Keys;

/// Where a server listens, and what it allows. Each setter changes one thing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerOptions {
    pub(crate) address: SocketAddr,
    pub(crate) names: Vec<String>,
    pub(crate) parallel: usize,
    pub(crate) queue: usize,
    pub(crate) context: usize,
    pub(crate) chunk: usize,
    pub(crate) cache: usize,
    pub(crate) speculate: usize,
    pub(crate) cache_folder: Option<(PathBuf, u64)>,
    pub(crate) keys: Keys,
    pub(crate) open_to_all: bool,
    pub(crate) template: TemplateChoice,
    pub(crate) drain: Duration,
    pub(crate) max_body: usize,
    pub(crate) client_time: Duration,
    pub(crate) page: bool,
}

impl ServerOptions {
    /// A server at `address` for a model that goes by the first of `names`, and by the others too.
    pub fn new(address: SocketAddr, names: Vec<String>) -> ServerOptions {
        ServerOptions {
            address,
            names,
            parallel: 16,
            queue: 64,
            context: usize::MAX,
            chunk: 64,
            cache: 512 << 20,
            speculate: GenerateOptions::SPECULATE,
            cache_folder: None,
            keys: Keys::default(),
            open_to_all: false,
            template: TemplateChoice::Auto,
            drain: Duration::from_secs(30),
            max_body: 8 << 20,
            client_time: Duration::from_secs(30),
            page: true,
        }
    }

    /// Most sequences that are continued at once; 16 by default.
    pub fn parallel(mut self, sequences: usize) -> ServerOptions {
        self.parallel = sequences.max(1);
        self
    }

    /// Most sequences that wait for their turn; 64 by default. What comes beyond is refused.
    pub fn queue(mut self, sequences: usize) -> ServerOptions {
        self.queue = sequences;
        self
    }

    /// Most tokens of a sequence, prompt and answer together; as many as the model has positions
    /// by default.
    pub fn context(mut self, tokens: usize) -> ServerOptions {
        self.context = tokens;
        self
    }

    /// Most tokens of prompts in a pass that also continues answers; 64 by default. The fewer they
    /// are, the less a long prompt slows down the others, and the longer it takes itself.
    pub fn chunk(mut self, tokens: usize) -> ServerOptions {
        self.chunk = tokens.max(1);
        self
    }

    /// Most bytes of what is kept of answers, so that requests that begin alike need not have it
    /// read again; 512 MiB by default.
    pub fn cache(mut self, bytes: usize) -> ServerOptions {
        self.cache = bytes;
        self
    }

    /// Most tokens that are guessed at a time of each answer, where few are continued at once; as
    /// many as engines guess by default.
    pub fn speculate(mut self, most: usize) -> ServerOptions {
        self.speculate = most;
        self
    }

    /// A folder for what is no longer kept in memory, and what is kept when the server ends, of at
    /// most so many bytes; requests go on from there, in other processes and on other machines too.
    /// None by default.
    pub fn cache_folder(mut self, folder: PathBuf, bytes: u64) -> ServerOptions {
        self.cache_folder = Some((folder, bytes));
        self
    }

    /// Keys of which every request has to bring one; none are needed by default.
    pub fn keys(mut self, keys: Keys) -> ServerOptions {
        self.keys = keys;
        self
    }

    /// Whether it may be reached from other machines without a key.
    pub fn open_to_all(mut self, open: bool) -> ServerOptions {
        self.open_to_all = open;
        self
    }

    /// How conversations are put to the model; by its own template, by default.
    pub fn template(mut self, template: TemplateChoice) -> ServerOptions {
        self.template = template;
        self
    }

    /// How long answers may go on once the server was asked to stop; 30 seconds by default.
    pub fn drain(mut self, time: Duration) -> ServerOptions {
        self.drain = time;
        self
    }

    /// Most bytes of a request's body; 8 MiB by default.
    pub fn max_body(mut self, bytes: usize) -> ServerOptions {
        self.max_body = bytes;
        self
    }

    /// How long a client may keep the server waiting; 30 seconds by default. So long it may send no
    /// request, or take nothing of an answer; twice as long it may take to send a body, and may an
    /// answer, all in all, wait to be read.
    pub fn client_time(mut self, time: Duration) -> ServerOptions {
        self.client_time = time;
        self
    }

    /// Whether there is a page to talk with the model, at `/`; there is, by default.
    pub fn page(mut self, page: bool) -> ServerOptions {
        self.page = page;
        self
    }
}
