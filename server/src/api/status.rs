//! `/health` and `/metrics`.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::state::Server;

pub(crate) async fn health(State(server): State<Server>) -> Response {
    let (code, status) = if server.is_ending() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping")
    } else if server.worker.is_alive() {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the engine has stopped")
    };
    (code, Json(json!({ "status": status }))).into_response()
}

pub(crate) async fn metrics(State(server): State<Server>) -> Response {
    let text = server.metrics.text(server.name(), server.worker.load());
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}
