//! [`Gate`]: the server from the moment it listens, with its model or without it yet.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::error::ApiError;
use crate::options::ServerOptions;
use crate::state::Server;

/// What all requests come through. Clones share everything.
#[derive(Clone)]
pub(crate) struct Gate(Arc<Inner>);

struct Inner {
    options: Arc<ServerOptions>,
    server: OnceLock<Server>,
    ending: AtomicBool,
}

impl Gate {
    /// Without a model yet.
    pub(crate) fn new(options: ServerOptions) -> Gate {
        Gate(Arc::new(Inner {
            options: Arc::new(options),
            server: OnceLock::new(),
            ending: AtomicBool::new(false),
        }))
    }

    pub(crate) fn options(&self) -> &Arc<ServerOptions> {
        &self.0.options
    }

    /// Lets requests through to a server whose model is loaded.
    pub(crate) fn open(&self, server: Server) {
        // Only the first counts, and there is one.
        let _ = self.0.server.set(server);
    }

    /// Lets no more requests through.
    pub(crate) fn close(&self) {
        self.0.ending.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.0.ending.load(Ordering::SeqCst)
    }

    /// The server, once its model is loaded.
    pub(crate) fn server(&self) -> Option<&Server> {
        self.0.server.get()
    }
}

/// A handler that takes the server is not called before its model is loaded.
impl FromRequestParts<Gate> for Server {
    type Rejection = ApiError;

    async fn from_request_parts(_: &mut Parts, gate: &Gate) -> Result<Server, ApiError> {
        gate.server().cloned().ok_or_else(ApiError::loading)
    }
}
