//! [`serve`]: from an engine to a server that listens.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Router, http};
use bitnet_engine::Engine;
use bitnet_engine::scheduler::SchedulerOptions;
use bitnet_process::Interrupt;
use tokio::net::TcpListener;
use tokio::sync::{OnceCell, watch};
use tower_http::catch_panic::CatchPanicLayer;

use crate::api::{chat, completions, messages, models, status, text};
use crate::connections::{Connections, raised};
use crate::error::{ApiError, ServerError};
use crate::guard::guard;
use crate::metrics::Metrics;
use crate::options::ServerOptions;
use crate::page;
use crate::state::{Server, Shared, now};
use crate::worker::{Limits, Worker};

/// Answers requests for `engine`'s model until `stop` is raised: then takes no more, and returns
/// when those that run are done or their time is over. Calls `ready` with the address that it
/// listens at.
///
/// # Errors
/// [`ServerError::Open`] where anybody could use it and that was not asked for,
/// [`ServerError::Listen`] where it cannot listen there, [`ServerError::Io`] where the system gives
/// no threads.
pub fn serve(
    engine: Engine,
    options: ServerOptions,
    stop: &Interrupt,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), ServerError> {
    let address = options.address;
    if !address.ip().is_loopback() && options.keys.is_empty() && !options.open_to_all {
        return Err(ServerError::Open(address));
    }
    let (drain, client_time) = (options.drain, options.client_time);
    let metrics = Arc::new(Metrics::default());
    let scheduling = SchedulerOptions::default()
        .context(options.context)
        .chunk(options.chunk)
        .cache(options.cache)
        .budget(engine.model().batch());
    let limits = Limits {
        parallel: options.parallel,
        queue: options.queue,
        patience: client_time * 2,
    };
    let worker = Worker::start(&engine, scheduling, limits, Arc::clone(&metrics))?;
    let server = Server(Arc::new(Shared {
        bodies: Shared::room_for_bodies(&options),
        engine,
        worker,
        metrics,
        options,
        started: now(),
        ending: AtomicBool::new(false),
        fingerprint: OnceCell::new(),
    }));
    // Forward passes have the cores; what is left to do here is little.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(2)
        .enable_all()
        .build()?;
    let (stopped, stopping) = watch::channel(false);
    stop.on_raise(move || stopped.send(true).unwrap_or_default());
    let done = runtime.block_on(async {
        let listen = |source| ServerError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        ready(listener.local_addr()?);
        // The first request need not wait for all of it.
        let of_server = server.clone();
        tokio::spawn(async move { of_server.fingerprint().await });
        let serving = Connections::new(router(&server), client_time, stopping.clone());
        let serving = serving.serve(listener);
        let over = async {
            raised(stopping).await;
            server.ending.store(true, Ordering::SeqCst);
            tokio::time::sleep(drain).await;
        };
        tokio::select! {
            () = serving => {}
            () = over => {}
        }
        Ok(())
    });
    runtime.shutdown_background();
    done
}

fn router(server: &Server) -> Router {
    let page = match server.options.page {
        true => Router::new().route("/", get(page::page)),
        false => Router::new(),
    };
    page.route("/v1/chat/completions", post(chat::complete))
        .route("/v1/completions", post(completions::complete))
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
        .layer(from_fn_with_state(server.clone(), guard))
        .with_state(server.clone())
}
