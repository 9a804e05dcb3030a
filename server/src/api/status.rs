//! `/health` and `/metrics`.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::gate::Gate;
use crate::state::Server;

pub(crate) async fn health(State(gate): State<Gate>) -> Response {
    let (code, status) = match gate.server() {
        _ if gate.is_closed() => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        None => (StatusCode::SERVICE_UNAVAILABLE, "loading"),
        Some(server) if server.worker.is_alive() => (StatusCode::OK, "ok"),
        Some(_) => (StatusCode::SERVICE_UNAVAILABLE, "the engine has stopped"),
    };
    (code, Json(json!({ "status": status }))).into_response()
}

pub(crate) async fn metrics(server: Server) -> Response {
    let text = server.metrics.text(server.name(), server.worker.load());
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}
