//! [`listen`]: from an address to a server that answers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Router, http};
use bitnet_engine::Engine;
use bitnet_engine::scheduler::{PrefixStore, SchedulerOptions};
use bitnet_process::Interrupt;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{OnceCell, watch};
use tokio::task::JoinHandle;
use tower_http::catch_panic::CatchPanicLayer;

use crate::api::{chat, completions, messages, models, responses, status, text};
use crate::connections::{Connections, raised};
use crate::error::{ApiError, ServerError};
use crate::gate::Gate;
use crate::guard::guard;
use crate::metrics::Metrics;
use crate::options::ServerOptions;
use crate::page;
use crate::state::{Server, Shared, now};
use crate::worker::{Limits, Worker};

/// A server that listens. Requests for the model are told to come back until it is there.
pub struct Listening {
    address: SocketAddr,
    gate: Gate,
    runtime: Runtime,
    served: JoinHandle<()>,
    stopping: watch::Receiver<bool>,
}

/// Begins to listen, until `stop` is raised.
///
/// # Errors
/// [`ServerError::Open`] where anybody could use it and that was not asked for,
/// [`ServerError::Listen`] where it cannot listen there, [`ServerError::Io`] where the system gives
/// no threads.
pub fn listen(options: ServerOptions, stop: &Interrupt) -> Result<Listening, ServerError> {
    let address = options.address;
    if !address.ip().is_loopback() && options.keys.is_empty() && !options.open_to_all {
        return Err(ServerError::Open(address));
    }
    // Forward passes have the cores; what is left to do here is little.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(2)
        .enable_all()
        .build()?;
    let (stopped, stopping) = watch::channel(false);
    stop.on_raise(move || stopped.send(true).unwrap_or_default());
    let listen = |source| ServerError::Listen { address, source };
    let listener = runtime.block_on(TcpListener::bind(address));
    let listener = listener.map_err(listen)?;
    let address = listener.local_addr()?;
    let gate = Gate::new(options);
    let time = gate.options().client_time;
    let connections = Connections::new(router(&gate), time, stopping.clone());
    let served = runtime.spawn(connections.serve(listener));
    Ok(Listening {
        address,
        gate,
        runtime,
        served,
        stopping,
    })
}

impl Listening {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests for `engine`'s model from now on.
    ///
    /// # Errors
    /// [`ServerError::Io`] where the system gives no thread, [`ServerError::Store`] where the
    /// folder for caches cannot be used.
    pub fn open(&self, engine: Engine) -> Result<(), ServerError> {
        let options = self.gate.options();
        let metrics = Arc::new(Metrics::default());
        let scheduling = SchedulerOptions::default()
            .context(options.context)
            .chunk(options.chunk)
            .cache(options.cache)
            .speculate(options.speculate)
            .budget(engine.model().batch());
        let limits = Limits {
            parallel: options.parallel,
            queue: options.queue,
            patience: options.client_time * 2,
        };
        let store = options.cache_folder.as_ref();
        let store = store.map(|(folder, bytes)| PrefixStore::open(&engine, folder, *bytes));
        let store = store.transpose().map_err(ServerError::Store)?;
        let worker = Worker::start(&engine, scheduling, limits, Arc::clone(&metrics), store)?;
        let server = Server(Arc::new(Shared {
            bodies: Shared::room_for_bodies(options),
            engine,
            worker,
            metrics,
            options: Arc::clone(options),
            started: now(),
            fingerprint: OnceCell::new(),
        }));
        self.gate.open(server.clone());
        // The first request need not wait for all of it.
        self.runtime
            .spawn(async move { server.fingerprint().await });
        Ok(())
    }

    /// Goes on until it is to stop: then takes no more, and returns when what runs is done or its
    /// time is over.
    ///
    /// # Errors
    /// [`ServerError::Io`] where what takes connections has failed.
    pub fn run(self) -> Result<(), ServerError> {
        let Listening {
            gate,
            runtime,
            served,
            stopping,
            ..
        } = self;
        let done = runtime.block_on(async {
            let over = async {
                raised(stopping).await;
                gate.close();
                tokio::time::sleep(gate.options().drain).await;
            };
            tokio::select! {
                done = served => done.map_err(io::Error::other),
                () = over => Ok(()),
            }
        });
        runtime.shutdown_background();
        if let Some(server) = gate.server()
            && gate.options().cache_folder.is_some()
        {
            server.0.worker.end();
        }
        Ok(done?)
    }
}

impl std::fmt::Debug for Listening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listening")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

fn router(gate: &Gate) -> Router {
    let page = match gate.options().page {
        true => Router::new().route("/", get(page::page)),
        false => Router::new(),
    };
    page.route("/v1/chat/completions", post(chat::complete))
        .route("/v1/completions", post(completions::complete))
        .route("/v1/responses", post(responses::create))
        .route("/v1/messages", post(messages::create))
        .route("/v1/messages/count_tokens", post(messages::count_tokens))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*name}", get(models::one))
        .route("/tokenize", post(text::tokenize))
        .route("/detokenize", post(text::detokenize))
        .route("/apply-template", post(text::apply_template))
        .route("/health", get(status::health))
        .route("/metrics", get(status::metrics))
        .fallback(|uri: http::Uri| async move { ApiError::no_such_path(uri.path()) })
        .method_not_allowed_fallback(|method: http::Method, uri: http::Uri| async move {
            ApiError::method(method.as_str(), uri.path())
        })
        .layer(CatchPanicLayer::custom(|_| {
            ApiError::internal("A part of the server failed.".to_owned()).into_response()
        }))
        .layer(from_fn_with_state(gate.clone(), guard))
        .with_state(gate.clone())
}
