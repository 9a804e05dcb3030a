//! [`Dialect`]: whose API a request speaks, and so the form of its errors.

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::error::ApiError;

/// Whose API a request speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    OpenAi,
    Anthropic,
}

impl Dialect {
    /// That of a path. What both have is OpenAI's, unless a header is there that Anthropic's
    /// clients send with every request.
    pub(crate) fn of(path: &str, headers: &HeaderMap) -> Dialect {
        let own = path == "/v1/messages" || path.starts_with("/v1/messages/");
        match own || headers.contains_key("anthropic-version") {
            true => Dialect::Anthropic,
            false => Dialect::OpenAi,
        }
    }

    /// The header that tells a response's request from all others.
    pub(crate) fn id_header(self) -> &'static str {
        match self {
            Dialect::OpenAi => "x-request-id",
            Dialect::Anthropic => "request-id",
        }
    }

    /// The response to the request `id` that has an error.
    pub(crate) fn response(self, error: &ApiError, id: &str) -> Response {
        let mut body = self.error(error);
        if self == Dialect::Anthropic {
            body["request_id"] = id.into();
        }
        let mut response = (error.status, Json(body)).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = error.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if error.status == StatusCode::UNAUTHORIZED {
            let bearer = HeaderValue::from_static("Bearer");
            headers.insert(header::WWW_AUTHENTICATE, bearer);
        }
        response
    }

    /// An error, as a body or as a part of a stream.
    pub(crate) fn error(self, error: &ApiError) -> Value {
        match self {
            Dialect::OpenAi => json!({ "error": {
                "message": error.message,
                "type": error.kind,
                "param": error.param,
                "code": error.code,
            }}),
            Dialect::Anthropic => json!({
                "type": "error",
                "error": { "type": anthropic_kind(error.status), "message": error.message },
            }),
        }
    }
}

fn anthropic_kind(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::NOT_FOUND => "not_found_error",
        StatusCode::REQUEST_TIMEOUT => "timeout_error",
        StatusCode::PAYLOAD_TOO_LARGE => "request_too_large",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        StatusCode::SERVICE_UNAVAILABLE => "overloaded_error",
        status if status.is_server_error() => "api_error",
        _ => "invalid_request_error",
    }
}
