//! `/tokenize`, `/detokenize` and `/apply-template`, as llama.cpp's server has them.

use axum::Json;
use axum::extract::Request;
use bitnet_engine::tokenizers::{Encode, Special};
use serde_json::{Value, json};

use super::{conversation, tools};
use crate::error::ApiError;
use crate::fields::{Fields, ids, list};
use crate::state::{Server, Shared};
use crate::support;

pub(crate) async fn tokenize(server: Server, request: Request) -> Result<Json<Value>, ApiError> {
    let body = server.body(request).await?;
    let tokens = server.aside(move |server| tokens(server, &body)).await?;
    Ok(Json(json!({
        "tokens": tokens,
        "count": tokens.len(),
        "max_model_len": server.worker.context(),
    })))
}

fn tokens(server: &Shared, body: &[u8]) -> Result<Vec<u32>, ApiError> {
    let fields = Fields::read(body, &support::TOKENIZE)?;
    if fields.get("messages").is_some() {
        let tools = tools::read(&fields)?;
        return Ok(conversation::read(server, &fields, &tools)?.tokens);
    }
    let names = ["content", "prompt"];
    let text = Fields::either(names, [fields.text(names[0])?, fields.text(names[1])?])?;
    let text = text.ok_or_else(|| ApiError::field("content", "`content` is missing."))?;
    let options = Encode {
        bos: fields.flag("add_special")?,
        special: match fields.flag("parse_special")? {
            true => Special::Parse,
            false => Special::AsText,
        },
    };
    let tokens = server.engine.tokenizer().encode(text, options);
    tokens.map_err(|error| ApiError::field("content", error.to_string()))
}

pub(crate) async fn detokenize(server: Server, request: Request) -> Result<Json<Value>, ApiError> {
    let body = server.body(request).await?;
    let text = server.aside(move |server| {
        let fields = Fields::read(&body, &support::DETOKENIZE)?;
        let items = list("tokens", fields.needed("tokens")?)?;
        let tokenizer = server.engine.tokenizer();
        let ids = ids("tokens", items, tokenizer.vocab_size())?;
        Ok(tokenizer.decode(&ids))
    });
    let text = text.await?;
    Ok(Json(json!({ "content": text, "prompt": text })))
}

pub(crate) async fn apply_template(
    server: Server,
    request: Request,
) -> Result<Json<Value>, ApiError> {
    let body = server.body(request).await?;
    let prompt = server.aside(move |server| {
        let fields = Fields::read(&body, &support::APPLY_TEMPLATE)?;
        let tools = tools::read(&fields)?;
        let prompt = conversation::read(server, &fields, &tools)?;
        Ok(prompt.text().unwrap_or_default().to_owned())
    });
    Ok(Json(json!({ "prompt": prompt.await? })))
}
