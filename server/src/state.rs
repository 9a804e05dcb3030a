//! [`Server`]: what all requests share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use axum::body::{Bytes, to_bytes};
use axum::extract::Request;
use bitnet_engine::{Encoder, Engine};
use http_body_util::LengthLimitError;
use tokio::sync::OnceCell;

use crate::error::ApiError;
use crate::fingerprint;
use crate::metrics::Metrics;
use crate::options::ServerOptions;
use crate::worker::Worker;

/// How long a client may take to send the body of a request.
const BODY_TIME: Duration = Duration::from_secs(60);

/// The model and what is known of it. Clones share everything.
#[derive(Clone)]
pub(crate) struct Server(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) worker: Worker,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) options: ServerOptions,
    /// Seconds since 1970 at which it was started.
    pub(crate) started: u64,
    pub(crate) ending: AtomicBool,
    pub(crate) fingerprint: OnceCell<String>,
}

impl std::ops::Deref for Server {
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

    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::SeqCst)
    }

    /// The ids that a token can have.
    pub(crate) fn vocabulary(&self) -> usize {
        self.engine.model().config().vocabulary
    }

    /// The body of a request, whole.
    pub(crate) async fn body(&self, request: Request) -> Result<Bytes, ApiError> {
        let most = self.options.max_body;
        let body = to_bytes(request.into_body(), most);
        let Ok(read) = tokio::time::timeout(BODY_TIME, body).await else {
            return Err(ApiError::too_slow());
        };
        read.map_err(|error| match std::error::Error::source(&error) {
            Some(cause) if cause.is::<LengthLimitError>() => ApiError::too_large(most),
            _ => ApiError::body(format!("The body cannot be read: {error}.")),
        })
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
                let made = fingerprint::of(
                    &server.engine,
                    server.worker.context(),
                    source.unwrap_or_default(),
                );
                made.map_err(|error| ApiError::internal(format!("The tokenizer's file: {error}")))
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
