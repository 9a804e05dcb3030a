//! [`Server`]: what all requests share.

use std::ops::Deref;
use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::Request;
use bitnet_engine::{Encoder, Engine};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

use crate::error::ApiError;
use crate::fingerprint;
use crate::metrics::Metrics;
use crate::options::ServerOptions;
use crate::worker::Worker;

/// How many of the largest bodies there is room for at once.
const BODIES: usize = 8;

/// The model and what is known of it. Clones share everything.
#[derive(Clone)]
pub(crate) struct Server(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) worker: Worker,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) options: Arc<ServerOptions>,
    /// Seconds since 1970 at which it was started.
    pub(crate) started: u64,
    pub(crate) fingerprint: OnceCell<String>,
    /// Bytes of bodies that may come yet.
    pub(crate) bodies: Arc<Semaphore>,
}

/// The body of a request, whole.
#[derive(Debug, Default)]
pub(crate) struct Whole {
    bytes: Vec<u8>,
    room: Option<OwnedSemaphorePermit>,
}

impl Deref for Whole {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Deref for Server {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Shared {
    pub(crate) fn encoder(&self) -> &Encoder {
        self.engine.encoder()
    }

    /// The name that answers bear.
    pub(crate) fn name(&self) -> &str {
        self.options.names.first().map_or("", String::as_str)
    }

    /// The ids that a token can have.
    pub(crate) fn vocabulary(&self) -> usize {
        self.engine.model().config().vocabulary
    }

    /// Room for the bodies of requests.
    pub(crate) fn room_for_bodies(options: &ServerOptions) -> Arc<Semaphore> {
        let most = options.max_body.saturating_mul(BODIES);
        Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)))
    }

    /// The body of a request, whole.
    pub(crate) async fn body(&self, request: Request) -> Result<Whole, ApiError> {
        let time = self.options.client_time * 2;
        let read = tokio::time::timeout(time, self.read(request.into_body()));
        read.await.unwrap_or_else(|_| Err(ApiError::too_slow()))
    }

    async fn read(&self, mut body: axum::body::Body) -> Result<Whole, ApiError> {
        let most = self.options.max_body;
        let too_large = || ApiError::too_large(most);
        // What is said to be too large need not come.
        if body.size_hint().lower() > most as u64 {
            return Err(too_large());
        }
        let mut whole = Whole::default();
        while let Some(frame) = body.frame().await {
            let broken = |error| ApiError::body(format!("The body cannot be read: {error}."));
            let Ok(bytes) = frame.map_err(broken)?.into_data() else {
                continue;
            };
            if bytes.len() > most - whole.bytes.len() {
                return Err(too_large());
            }
            let len = u32::try_from(bytes.len()).map_err(|_| too_large())?;
            let room = Arc::clone(&self.bodies).try_acquire_many_owned(len);
            let room = room.map_err(|_| ApiError::crowded())?;
            match &mut whole.room {
                Some(all) => all.merge(room),
                none => *none = Some(room),
            }
            whole.bytes.extend_from_slice(&bytes);
        }
        Ok(whole)
    }
}

impl Server {
    /// Does what takes long where it keeps nobody else waiting.
    pub(crate) async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let server = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&server)).await;
        done.unwrap_or_else(|error| Err(ApiError::internal(error.to_string())))
    }

    /// The fingerprint, which takes reading the whole file: once.
    pub(crate) async fn fingerprint(&self) -> Result<String, ApiError> {
        let made = self.fingerprint.get_or_try_init(|| {
            self.aside(|server| {
                let template = server.engine.template(&server.options.template);
                // Where there is none, there are no conversations either.
                let template = template.ok();
                let source = template.as_ref().and_then(|template| template.source());
                let identity = server.engine.identity();
                let identity =
                    identity.map_err(|error| ApiError::of_engine(&error, "tokenizer"))?;
                let context = server.worker.context();
                Ok(fingerprint::of(
                    identity,
                    context,
                    source.unwrap_or_default(),
                ))
            })
        });
        made.await.cloned()
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |time| time.as_secs())
}
