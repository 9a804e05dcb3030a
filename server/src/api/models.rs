//! `/v1/models`, in a form that is OpenAI's and Anthropic's at once.

use axum::Json;
use axum::extract::Path;
use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::fields::Fields;
use crate::state::{Server, Shared};

pub(crate) async fn list(server: Server) -> Json<Value> {
    let names = server.options.names.iter();
    let models: Vec<Value> = names.map(|name| model(&server, name)).collect();
    Json(json!({
        "object": "list",
        "data": models,
        "has_more": false,
        "first_id": server.options.names.first(),
        "last_id": server.options.names.last(),
    }))
}

pub(crate) async fn one(server: Server, Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    known(&server, &name)?;
    Ok(Json(model(&server, &name)))
}

fn model(server: &Shared, name: &str) -> Value {
    let started = DateTime::from_timestamp(server.started as i64, 0);
    json!({
        "id": name,
        "object": "model",
        "created": server.started,
        "owned_by": "bitnet",
        "max_model_len": server.worker.context(),
        "type": "model",
        "display_name": name,
        "created_at": started.map(|time| time.to_rfc3339_opts(SecondsFormat::Secs, true)),
        "max_input_tokens": server.worker.context(),
    })
}

/// Refuses a request for another model.
pub(crate) fn check(server: &Shared, fields: &Fields) -> Result<(), ApiError> {
    match fields.text("model")? {
        Some(name) => known(server, name),
        None => Ok(()),
    }
}

fn known(server: &Shared, name: &str) -> Result<(), ApiError> {
    let names = &server.options.names;
    match names.iter().any(|own| own == name) {
        true => Ok(()),
        false => Err(ApiError::no_such_model(name, names)),
    }
}
