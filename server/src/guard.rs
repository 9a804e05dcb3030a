//! Who gets to the model: keys, web pages of others, and a server that is about to stop.

use std::borrow::Cow;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::dialect::Dialect;
use crate::error::ApiError;
use crate::gate::Gate;

/// Where Anthropic's clients have the key.
const API_KEY: header::HeaderName = header::HeaderName::from_static("x-api-key");

/// Lets a request pass, or answers in its place; and notes it without what was said in it.
pub(crate) async fn guard(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let came = Instant::now();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let dialect = Dialect::of(&path, request.headers());
    // That it cannot be told from others is no reason not to answer.
    let id = format!("req_{:016x}", getrandom::u64().unwrap_or_default());
    let mut response = match check(&gate, &path, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    };
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        response = dialect.response(&error, &id);
    }
    if let Ok(id) = HeaderValue::try_from(&id) {
        response.headers_mut().insert(dialect.id_header(), id);
    }
    tracing::info!(
        id,
        method = %method,
        path,
        status = response.status().as_u16(),
        milliseconds = came.elapsed().as_millis() as u64,
        "request"
    );
    response
}

fn check(gate: &Gate, path: &str, headers: &HeaderMap) -> Result<(), ApiError> {
    let hosts = || texts(headers, header::HOST);
    let keys = &gate.options().keys;
    // A page of another site can have a browser send requests, though not read the answers.
    for origin in texts(headers, header::ORIGIN) {
        let own = origin.split_once("://").map(|(_, place)| place);
        if own.is_none() || hosts().next().as_deref() != own {
            let message = format!("Requests of web pages from {origin} are not answered.");
            return Err(ApiError::foreign(message));
        }
    }
    // Pictures, scripts and the like are fetched without that header, but not without this one.
    let site = text(headers, header::HeaderName::from_static("sec-fetch-site"));
    let mode = text(headers, header::HeaderName::from_static("sec-fetch-mode"));
    if matches!(site, Some("cross-site" | "same-site")) && mode != Some("navigate") {
        let message = "Requests of web pages from elsewhere are not answered.";
        return Err(ApiError::foreign(message.to_owned()));
    }
    // A site whose name comes to stand for this machine is no other origin to a browser.
    if let Some(host) = hosts().find(|host| keys.is_empty() && !is_own(host)) {
        let message = format!(
            "`{host}` is not a name of this server, which asks for no key; use its address or `localhost`."
        );
        return Err(ApiError::foreign(message));
    }
    // The page is the same for all; what it asks for needs a key like any other request.
    if path == "/health" || path == "/" {
        return Ok(());
    }
    if !keys.is_empty() {
        let given = text(headers, header::AUTHORIZATION);
        let given = given.and_then(|given| {
            let (scheme, key) = given.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
        });
        let given = [given, text(headers, API_KEY)];
        if !given.iter().flatten().any(|key| keys.have(key)) {
            return Err(ApiError::key());
        }
    }
    match gate.is_closed() {
        true => Err(ApiError::ending()),
        false => Ok(()),
    }
}

/// Whether a host is an address or `localhost`, which no site can take for itself.
fn is_own(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok()
}

/// All values of a header. What is no text belongs to nobody that is known.
fn texts(headers: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = Cow<'_, str>> {
    let values = headers.get_all(name).into_iter();
    values.map(|value| String::from_utf8_lossy(value.as_bytes()))
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_localhost_are_names_that_nobody_else_can_take() {
        for own in [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1:1",
            "[::1]:80",
            "10.0.0.7",
        ] {
            assert!(is_own(own), "{own}");
        }
        for other in [
            "",
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "[evil]",
        ] {
            assert!(!is_own(other), "{other}");
        }
    }
}
