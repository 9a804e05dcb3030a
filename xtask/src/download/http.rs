//! Asking a web server. Turns statuses and headers into an [`Answer`]; decides nothing about
//! retries or files.

use std::time::{Duration, SystemTime};

use ureq::config::RedirectAuthHeaders;
use ureq::http::{Response, Uri, header};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Proxy};

use super::answer::{Answer, Ask, AskError, Body};
use super::retry::retry_after;
use super::validators::Validators;
use super::{Interrupt, Token};

const REDIRECTS: u32 = 10;

/// A client for one download.
pub(super) struct Web {
    agent: Agent,
    url: String,
    token: Option<Token>,
}

impl Web {
    /// A client for `url` that gives up on a server silent for `stall`, and at once when
    /// `interrupt` is raised.
    pub(super) fn new(
        url: &str,
        token: Option<&Token>,
        stall: Duration,
        interrupt: &Interrupt,
    ) -> Result<Self, AskError> {
        let uri: Uri = url
            .parse()
            .map_err(|error| AskError::Permanent(format!("not a web address: {error}")))?;
        let https = uri.scheme_str() == Some("https");
        let agent: Agent = Agent::config_builder()
            .http_status_as_error(false)
            .https_only(https)
            .max_redirects(REDIRECTS)
            // A Hugging Face file is a redirect or two away, some of them on the same host and
            // behind the same gate.
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .user_agent(concat!("bitnet-xtask/", env!("CARGO_PKG_VERSION")))
            // A compressed body would make lengths and ranges speak of other bytes than those on
            // disk.
            .accept_encoding("identity")
            .timeout_resolve(Some(stall))
            .timeout_connect(Some(stall))
            .timeout_recv_response(Some(stall))
            .timeout_per_read(Some(stall))
            .timeout_per_write(Some(stall))
            .proxy(proxy_from_env(https)?)
            .tls_config(
                TlsConfig::builder()
                    .root_certs(RootCerts::PlatformVerifier)
                    .build(),
            )
            .build()
            .into();
        let stopped = agent.clone();
        interrupt.on_raise(move || stopped.shutdown());
        let token = token.filter(|_| https || is_loopback(&uri)).cloned();
        Ok(Self {
            agent,
            url: url.to_owned(),
            token,
        })
    }

    pub(super) fn ask(&self, ask: Ask<'_>) -> Result<Answer, AskError> {
        let mut request = self.agent.get(&self.url);
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token.bearer());
        }
        match ask {
            Ask::Whole => {}
            Ask::IfChanged(version) => {
                if let Some(tag) = &version.etag {
                    request = request.header(header::IF_NONE_MATCH, tag);
                }
                if let Some(date) = &version.last_modified {
                    request = request.header(header::IF_MODIFIED_SINCE, date);
                }
            }
            Ask::From { start, version } => {
                request = request.header(header::RANGE, format!("bytes={start}-"));
                if let Some(version) = version.for_range() {
                    request = request.header(header::IF_RANGE, version);
                }
            }
        }
        let response = request.call().map_err(|error| classify(&error))?;
        let start = if let Ask::From { start, .. } = ask {
            Some(start)
        } else {
            None
        };
        match (response.status().as_u16(), start) {
            (304, None) if matches!(ask, Ask::IfChanged(_)) => Ok(Answer::NotModified),
            (416, Some(_)) => Ok(Answer::RangeRefused),
            (200, _) => whole(response).map(Answer::Body),
            (206, Some(start)) => Ok(rest(response, start)),
            (206, None) => Err(AskError::Transient(
                "the server sent a part (HTTP 206) of what was asked for whole".into(),
            )),
            (code, _) => {
                let pause = text(&response, header::RETRY_AFTER)
                    .and_then(|text| retry_after(&text, SystemTime::now()));
                Ok(Answer::Status {
                    code,
                    retry_after: pause,
                })
            }
        }
    }
}

/// A 200: the whole file.
fn whole(response: Response<ureq::Body>) -> Result<Body, AskError> {
    if let Some(coding) =
        text(&response, header::CONTENT_ENCODING).filter(|coding| coding != "identity")
    {
        return Err(AskError::Transient(format!(
            "the server compressed the file ({coding}) though asked not to"
        )));
    }
    let total = text(&response, header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
    Ok(body(response, 0, total))
}

/// A 206: the rest, if `Content-Range` says so in a way that adds up.
fn rest(response: Response<ureq::Body>, start: u64) -> Answer {
    let Some(stated) = text(&response, header::CONTENT_RANGE) else {
        return Answer::Misaligned("HTTP 206 without Content-Range".into());
    };
    let length =
        text(&response, header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    match content_range(&stated) {
        Some((first, last, total))
            if first == start && length.is_none_or(|length| length == last - first + 1) =>
        {
            Answer::Body(body(response, start, total))
        }
        _ => Answer::Misaligned(format!(
            "HTTP 206 with Content-Range: {stated} for bytes={start}-"
        )),
    }
}

fn body(response: Response<ureq::Body>, start: u64, total: Option<u64>) -> Body {
    let chunked = text(&response, header::TRANSFER_ENCODING)
        .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
    let has_length = response.headers().contains_key(header::CONTENT_LENGTH);
    let validators = Validators {
        etag: text(&response, header::ETAG),
        last_modified: text(&response, header::LAST_MODIFIED),
    };
    Body {
        start,
        total,
        end_is_marked: chunked || has_length || total.is_some(),
        validators,
        reader: Box::new(
            response
                .into_body()
                .into_with_config()
                .limit(u64::MAX)
                .reader(),
        ),
    }
}

fn text(response: &Response<ureq::Body>, name: header::HeaderName) -> Option<String> {
    response
        .headers()
        .get(name)?
        .to_str()
        .ok()
        .map(|value| value.trim().to_owned())
        .filter(|value| !value.is_empty())
}

/// `bytes 5-9/10` as (5, 9, Some(10)); `None` unless it is well formed and adds up.
fn content_range(header: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, total) = header.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.trim().split_once('-')?;
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let total = match total.trim() {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    (first <= last && total.is_none_or(|total| last < total)).then_some((first, last, total))
}

fn classify(error: &ureq::Error) -> AskError {
    use ureq::Error;
    let said = error.to_string();
    match error {
        Error::HostNotFound => AskError::Permanent("the host name cannot be resolved".into()),
        Error::TooManyRedirects => AskError::Permanent(format!("more than {REDIRECTS} redirects")),
        Error::RedirectFailed
        | Error::BadUri(_)
        | Error::InvalidProxyUrl
        | Error::RequireHttpsOnly(_)
        | Error::Tls(_)
        | Error::Rustls(_)
        | Error::ConnectProxyFailed(_) => AskError::Permanent(said),
        _ => AskError::Transient(said),
    }
}

/// The proxy for this scheme from the usual variables, lower case first as curl has it.
///
/// `ureq` can read them itself, but takes `HTTPS_PROXY` for plain addresses too.
fn proxy_from_env(https: bool) -> Result<Option<Proxy>, AskError> {
    let set = |name: &&str| {
        std::env::var(name)
            .ok()
            .filter(|value| !value.is_empty())
            .map(|value| (name.to_string(), value))
    };
    let names = if https {
        ["https_proxy", "HTTPS_PROXY"]
    } else {
        ["http_proxy", "HTTP_PROXY"]
    };
    let Some((name, value)) = names
        .iter()
        .chain(&["all_proxy", "ALL_PROXY"])
        .find_map(set)
    else {
        return Ok(None);
    };
    let wrong = |error: ureq::Error| AskError::Permanent(format!("{name} is not usable: {error}"));
    let stated = Proxy::new(&value).map_err(wrong)?;
    let mut proxy = Proxy::builder(stated.protocol())
        .host(stated.host())
        .port(stated.port());
    if let Some(user) = stated.username() {
        proxy = proxy.username(user);
    }
    if let Some(password) = stated.password() {
        proxy = proxy.password(password);
    }
    if let Some((_, exceptions)) = ["no_proxy", "NO_PROXY"].iter().find_map(set) {
        for exception in exceptions
            .split(',')
            .map(str::trim)
            .filter(|exception| !exception.is_empty())
        {
            proxy = proxy.no_proxy(exception);
        }
    }
    proxy.build().map(Some).map_err(wrong)
}

/// A token may go to this machine in the clear, nowhere else.
fn is_loopback(uri: &Uri) -> bool {
    uri.host().is_some_and(|host| {
        host == "localhost"
            || host
                .trim_matches(['[', ']'])
                .parse::<std::net::IpAddr>()
                .is_ok_and(|ip| ip.is_loopback())
    })
}

#[cfg(test)]
mod tests {
    use super::{content_range, is_loopback};

    #[test]
    fn a_content_range_is_taken_only_if_it_adds_up() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, 9, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, 9, None)));
        for wrong in [
            "",
            "bytes */10",
            "bytes 9-5/10",
            "bytes 5-10/10",
            "5-9/10",
            "bytes 5-9",
            "bytes a-b/c",
            "items 5-9/10",
        ] {
            assert_eq!(content_range(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for (url, expected) in [
            ("http://127.0.0.1:80/x", true),
            ("http://localhost/x", true),
            ("http://[::1]:8080/x", true),
            ("http://10.0.0.1/x", false),
            ("http://localhost.example.com/x", false),
        ] {
            assert_eq!(
                is_loopback(&url.parse().expect("an address")),
                expected,
                "{url}"
            );
        }
    }
}
