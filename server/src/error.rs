//! [`ApiError`]: what went wrong with a request.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

/// Why a server does not start, or ends.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// Other machines could reach it, and anybody on them could use it.
    #[error(
        "{0} can be reached from other machines, and no key is asked for: anybody could use the model"
    )]
    Open(std::net::SocketAddr),
    /// It cannot listen there.
    #[error("cannot listen at {address}")]
    Listen {
        /// Where.
        address: std::net::SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// What was read cannot be kept in the folder for it.
    #[error("the folder for caches")]
    Store(#[source] bitnet_engine::Error),
    /// The operating system gives no thread, or no more connections.
    #[error("the server cannot run")]
    Io(#[from] std::io::Error),
}

/// Why a request has no answer. How that is written is its [`Dialect`](crate::dialect::Dialect)'s.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    /// What OpenAI's API calls it.
    pub(crate) kind: &'static str,
    pub(crate) code: Option<&'static str>,
    pub(crate) param: Option<String>,
    pub(crate) message: String,
    /// Seconds until it is worth another try.
    pub(crate) retry_after: Option<u32>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, kind: &'static str, message: String) -> ApiError {
        ApiError {
            status,
            kind,
            code: None,
            param: None,
            message,
            retry_after: None,
        }
    }

    fn coded(mut self, code: &'static str) -> ApiError {
        self.code = Some(code);
        self
    }

    fn invalid(status: StatusCode, message: impl Into<String>) -> ApiError {
        ApiError::new(status, "invalid_request_error", message.into())
    }

    /// A field has a value that it cannot have.
    pub(crate) fn field(param: impl Into<String>, message: impl Into<String>) -> ApiError {
        let mut error = ApiError::invalid(StatusCode::BAD_REQUEST, message);
        error.param = Some(param.into());
        error.coded("invalid_value")
    }

    /// A field asks for what this server does not do.
    pub(crate) fn unsupported(param: impl Into<String>, message: impl Into<String>) -> ApiError {
        ApiError::field(param, message).coded("unsupported_parameter")
    }

    /// The body is no request.
    pub(crate) fn body(message: impl Into<String>) -> ApiError {
        ApiError::invalid(StatusCode::BAD_REQUEST, message)
    }

    pub(crate) fn too_long(need: usize, have: usize, param: &str) -> ApiError {
        let message = format!(
            "This model's maximum context length is {have} tokens. However, your prompt has {need} tokens. Please reduce its length."
        );
        ApiError::field(param, message).coded("context_length_exceeded")
    }

    /// The template refuses a conversation that is sound in itself.
    pub(crate) fn refused(message: String) -> ApiError {
        ApiError::invalid(StatusCode::UNPROCESSABLE_ENTITY, message)
    }

    pub(crate) fn key() -> ApiError {
        let message = "Incorrect API key provided, or none. Give one of this server's keys as `Authorization: Bearer KEY` or `x-api-key: KEY`.";
        ApiError::invalid(StatusCode::UNAUTHORIZED, message).coded("invalid_api_key")
    }

    pub(crate) fn foreign(message: String) -> ApiError {
        ApiError::invalid(StatusCode::FORBIDDEN, message)
    }

    pub(crate) fn no_such_model(given: &str, names: &[String]) -> ApiError {
        let message = format!(
            "The model `{given}` does not exist. This server has {}.",
            names.join(", ")
        );
        let mut error = ApiError::invalid(StatusCode::NOT_FOUND, message);
        error.param = Some("model".to_owned());
        error.coded("model_not_found")
    }

    pub(crate) fn no_such_path(path: &str) -> ApiError {
        let message = format!("There is nothing at {path}.");
        ApiError::invalid(StatusCode::NOT_FOUND, message).coded("unknown_url")
    }

    pub(crate) fn method(method: &str, path: &str) -> ApiError {
        let message = format!("{path} does not take {method}.");
        ApiError::invalid(StatusCode::METHOD_NOT_ALLOWED, message)
    }

    pub(crate) fn too_large(most: usize) -> ApiError {
        let message = format!("The body of a request has {most} bytes at most.");
        ApiError::invalid(StatusCode::PAYLOAD_TOO_LARGE, message)
    }

    pub(crate) fn too_slow() -> ApiError {
        let message = "The body of the request did not come in time.";
        ApiError::invalid(StatusCode::REQUEST_TIMEOUT, message)
    }

    pub(crate) fn unread() -> ApiError {
        let message = "The answer was given up: it waited for its reader for too long.";
        ApiError::invalid(StatusCode::REQUEST_TIMEOUT, message)
    }

    /// The bodies of requests have no more room.
    pub(crate) fn crowded() -> ApiError {
        let message = "Too much is being sent to this server. Try again later.".to_owned();
        let mut error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message);
        error.retry_after = Some(1);
        error.coded("rate_limit_exceeded")
    }

    pub(crate) fn full(waiting: usize) -> ApiError {
        let message = format!(
            "{waiting} sequences wait already, which is all there is room for. Try again later."
        );
        let mut error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message);
        error.retry_after = Some(1);
        error.coded("rate_limit_exceeded")
    }

    pub(crate) fn ending() -> ApiError {
        ApiError::unavailable("The server is about to stop.")
    }

    pub(crate) fn loading() -> ApiError {
        ApiError::unavailable("The model is being loaded. Try again later.")
    }

    fn unavailable(message: &str) -> ApiError {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let mut error = ApiError::new(status, "server_error", message.to_owned());
        error.retry_after = Some(1);
        error
    }

    pub(crate) fn internal(message: String) -> ApiError {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message)
    }

    /// An error of the engine, on the prompt that came as `param`.
    pub(crate) fn of_engine(error: &bitnet_engine::Error, param: &str) -> ApiError {
        use bitnet_engine::Error;
        match error {
            Error::ContextFull { need, have } => ApiError::too_long(*need, *have, param),
            Error::EmptyPrompt | Error::Token { .. } | Error::Encode(_) | Error::NoText { .. } => {
                ApiError::field(param, chain(error))
            }
            Error::LeftOut { part } => ApiError::unsupported(part, format!("{error}.")),
            Error::Constraint(_) => ApiError::refused(chain(error)),
            Error::Sampling(problem) => ApiError::body(problem.clone()),
            Error::Template(_) => ApiError::refused(chain(error)),
            Error::NoTemplate(_) => {
                let message = format!(
                    "{}; start the server with --prompt-template, or ask /v1/completions",
                    chain(error)
                );
                ApiError::refused(message)
            }
            _ => ApiError::internal(chain(error)),
        }
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// The response carries the error, and gets its body from the guard, which knows whose API the
/// request speaks.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}
