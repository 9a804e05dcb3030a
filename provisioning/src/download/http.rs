//! Asking a web server. Follows redirects and turns statuses and headers into an [`Answer`];
//! decides nothing about retries or files.
//!
//! HTTP is `reqwest` with rustls. Its client is asynchronous, and each of its steps is waited for
//! on this thread: that way Ctrl-C ends a read from a silent server at once.

use std::error::Error as _;
use std::future::{Future, poll_fn};
use std::io::{self, Read};
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::task::Poll;
use std::time::{Duration, SystemTime};

use bitnet_files::Sha256Hex;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{self, HeaderMap, HeaderName};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};
use tokio::runtime::Runtime;
use tokio::sync::Notify;

use super::answer::{Announced, Answer, Ask, AskError, Body, Refusal};
use super::proxies::Proxies;
use super::retry::retry_after;
use super::token::Token;
use super::validators::Validators;
use bitnet_process::Interrupt;

/// Redirects that are followed. A Hugging Face file is a redirect or two away.
const REDIRECTS: usize = 10;

/// Bytes of a refusal that are read for the server's own words.
const WORDS: usize = 8 << 10;

/// Characters of the server's own words that are shown.
const SENTENCE: usize = 300;

/// A client for one download.
pub(super) struct Web {
    driver: Rc<Driver>,
    client: Client,
    url: Url,
    token: Option<Token>,
}

impl Web {
    /// A client for `url` that gives up on a server silent for `stall`, and at once when
    /// `interrupt` is raised.
    pub(super) fn new(
        url: &str,
        token: Option<&Token>,
        proxies: &Proxies,
        stall: Duration,
        interrupt: &Interrupt,
    ) -> Result<Self, AskError> {
        // reqwest asks for a default, so that a program can choose; none of ours has another.
        static TLS: LazyLock<()> = LazyLock::new(|| {
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        LazyLock::force(&TLS);
        let url = Url::parse(url)
            .map_err(|error| AskError::Permanent(format!("not a web address: {error}")))?;
        let failed = |error: reqwest::Error| AskError::Permanent(words(&error));
        let mut client = Client::builder()
            // Redirects are followed here, where their headers are read and the token is kept.
            .redirect(Policy::none())
            .user_agent(concat!("bitnet-provisioning/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(stall)
            .read_timeout(stall)
            .dns_resolver(Arc::new(Resolver))
            // What the environment says of proxies is passed in.
            .no_proxy();
        if let Some(proxy) = proxies.proxy_for(&url).map_err(AskError::Permanent)? {
            client = client.proxy(proxy);
        }
        let in_the_clear = url.scheme() != "https";
        let token = token.filter(|_| !in_the_clear || is_loopback(&url));
        Ok(Self {
            driver: Rc::new(Driver::new(interrupt)?),
            client: client.build().map_err(failed)?,
            token: token.cloned(),
            url,
        })
    }

    /// Whether there was a token of an earlier login, which is not sent any more.
    pub(super) fn forget_saved_token(&mut self) -> bool {
        self.token.take_if(|token| token.is_saved()).is_some()
    }

    pub(super) fn ask(&self, ask: Ask<'_>) -> Result<Answer, AskError> {
        let answer = self.driver.wait_for(async {
            let (response, announced) = self.follow(ask).await?;
            self.answer(ask, response, announced).await
        });
        answer.unwrap_or_else(|| Err(AskError::Transient("interrupted".into())))
    }

    /// Asks, and goes where the server points, with what it announces on the way.
    async fn follow(&self, ask: Ask<'_>) -> Result<(Response, Announced), AskError> {
        let mut url = self.url.clone();
        let mut announced = Announced::default();
        for _ in 0..=REDIRECTS {
            let response = self.send(&url, ask).await.map_err(|e| classify(&e))?;
            announced.hear(response.headers());
            if !is_redirect(response.status()) {
                return Ok((response, announced));
            }
            let refused = |why: &str| AskError::Permanent(format!("redirected {why}"));
            let place = text(response.headers(), header::LOCATION)
                .ok_or_else(|| refused("without an address"))?;
            let next = url
                .join(&place)
                .map_err(|error| refused(&format!("to no web address: {error}")))?;
            match (url.scheme(), next.scheme()) {
                ("https", "http") => return Err(refused("from https to http")),
                (_, "http" | "https") => url = next,
                (_, other) => return Err(refused(&format!("to an address of `{other}`"))),
            }
        }
        Err(AskError::Permanent(format!(
            "more than {REDIRECTS} redirects"
        )))
    }

    async fn send(&self, url: &Url, ask: Ask<'_>) -> reqwest::Result<Response> {
        let mut request = self
            .client
            .get(url.clone())
            // A compressed body would make lengths and ranges speak of other bytes than those on
            // disk.
            .header(header::ACCEPT_ENCODING, "identity");
        // To the server that was asked, and to no other: not even on another port of its host.
        if let Some(token) = self
            .token
            .as_ref()
            .filter(|_| url.origin() == self.url.origin())
        {
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
        request.send().await
    }

    async fn answer(
        &self,
        ask: Ask<'_>,
        response: Response,
        announced: Announced,
    ) -> Result<Answer, AskError> {
        let start = match ask {
            Ask::From { start, .. } => Some(start),
            Ask::Whole | Ask::IfChanged(_) => None,
        };
        match (response.status().as_u16(), start) {
            (304, None) if matches!(ask, Ask::IfChanged(_)) => Ok(Answer::NotModified),
            (416, Some(_)) => Ok(Answer::RangeRefused),
            (200, _) => self.whole(response, announced).map(Answer::Body),
            (206, Some(start)) => Ok(self.rest(response, announced, start)),
            (206, None) => Err(AskError::Transient(
                "the server sent a part (HTTP 206) of what was asked for whole".into(),
            )),
            (code, _) => Ok(Answer::Status(Refusal {
                code,
                retry_after: text(response.headers(), header::RETRY_AFTER)
                    .and_then(|text| retry_after(&text, SystemTime::now())),
                said: sentence(response).await,
            })),
        }
    }

    /// A 200: the whole file.
    fn whole(&self, response: Response, announced: Announced) -> Result<Body, AskError> {
        if let Some(coding) =
            text(response.headers(), header::CONTENT_ENCODING).filter(|coding| coding != "identity")
        {
            return Err(AskError::Transient(format!(
                "the server compressed the file ({coding}) though asked not to"
            )));
        }
        let total = content_length(response.headers());
        Ok(self.body(response, announced, 0, total))
    }

    /// A 206: the rest, if `Content-Range` says so in a way that adds up.
    fn rest(&self, response: Response, announced: Announced, start: u64) -> Answer {
        let Some(stated) = text(response.headers(), header::CONTENT_RANGE) else {
            return Answer::Misaligned("HTTP 206 without Content-Range".into());
        };
        let length = content_length(response.headers());
        match content_range(&stated) {
            Some((first, last, total))
                if first == start && length.is_none_or(|length| length == last - first + 1) =>
            {
                Answer::Body(self.body(response, announced, start, total))
            }
            _ => Answer::Misaligned(format!(
                "HTTP 206 with Content-Range: {stated} for bytes={start}-"
            )),
        }
    }

    fn body(
        &self,
        response: Response,
        announced: Announced,
        start: u64,
        total: Option<u64>,
    ) -> Body {
        let headers = response.headers();
        let chunked = text(headers, header::TRANSFER_ENCODING)
            .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
        Body {
            start,
            total,
            end_is_marked: chunked || content_length(headers).is_some() || total.is_some(),
            validators: Validators {
                etag: text(headers, header::ETAG),
                last_modified: text(headers, header::LAST_MODIFIED),
            },
            announced,
            reader: Box::new(BodyReader {
                driver: Rc::clone(&self.driver),
                response,
                chunk: Vec::new(),
                taken: 0,
            }),
        }
    }
}

/// Runs what is asynchronous on this thread, until it is done or an interrupt is raised.
struct Driver {
    /// None once it is dropped.
    runtime: Option<Runtime>,
    raised: Arc<Notify>,
}

impl Driver {
    fn new(interrupt: &Interrupt) -> Result<Self, AskError> {
        let raised = Arc::new(Notify::new());
        let raise = Arc::clone(&raised);
        interrupt.on_raise(move || raise.notify_one());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| {
                AskError::Permanent(format!("cannot wait for the network: {error}"))
            })?;
        Ok(Self {
            runtime: Some(runtime),
            raised,
        })
    }

    /// What `work` brings; none if an interrupt was raised first.
    fn wait_for<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let runtime = self.runtime.as_ref()?;
        runtime.block_on(async {
            let mut work = pin!(work);
            let mut raised = pin!(self.raised.notified());
            poll_fn(|context| {
                if let Poll::Ready(brought) = work.as_mut().poll(context) {
                    return Poll::Ready(Some(brought));
                }
                raised.as_mut().poll(context).map(|()| None)
            })
            .await
        })
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // A name that is being looked up must not keep the program from ending.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The bytes of an answer, as they come.
struct BodyReader {
    driver: Rc<Driver>,
    response: Response,
    chunk: Vec<u8>,
    /// Bytes of the chunk that were given out.
    taken: usize,
}

impl Read for BodyReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.chunk.len() {
            self.chunk.clear();
            self.taken = 0;
            match self.driver.wait_for(self.response.chunk()) {
                None => return Err(io::Error::other("interrupted")),
                Some(Ok(None)) => return Ok(0),
                Some(Ok(Some(bytes))) => self.chunk.extend_from_slice(&bytes),
                Some(Err(error)) => return Err(io::Error::other(words(&error))),
            }
        }
        let rest = &self.chunk[self.taken..];
        let len = rest.len().min(out.len());
        out[..len].copy_from_slice(&rest[..len]);
        self.taken += len;
        Ok(len)
    }
}

/// The system's names of hosts, with an error that tells a name that is none from a host that does
/// not answer.
struct Resolver;

/// A name that the system does not resolve.
#[derive(Debug, thiserror::Error)]
#[error("the host name {host} cannot be resolved: {cause}")]
struct UnknownHost {
    host: String,
    cause: io::Error,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let looked_up = tokio::net::lookup_host((name.as_str(), 0)).await;
            match looked_up.map(Iterator::collect::<Vec<_>>) {
                Ok(found) => Ok(Box::new(found.into_iter()) as Addrs),
                Err(cause) => {
                    let host = name.as_str().to_owned();
                    Err(UnknownHost { host, cause }.into())
                }
            }
        })
    }
}

impl Announced {
    /// Takes what the headers of an answer on the way announce, if none before did.
    fn hear(&mut self, headers: &HeaderMap) {
        let stated = |name: &'static str| text(headers, HeaderName::from_static(name));
        let sha256 = stated("x-linked-etag").and_then(|tag| {
            let tag = tag.trim_start_matches("W/").trim_matches('"').to_owned();
            tag.parse::<Sha256Hex>().ok()
        });
        self.sha256 = self.sha256.or(sha256);
        let size = stated("x-linked-size").and_then(|size| size.parse().ok());
        self.size = self.size.or(size);
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    headers
        .get(name)?
        .to_str()
        .ok()
        .map(|value| value.trim().to_owned())
        .filter(|value| !value.is_empty())
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    text(headers, header::CONTENT_LENGTH)?.parse().ok()
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

/// The server's own words about a refusal: the hub's header for them, else the `error` of a JSON
/// body or the first line of a short text, else the hub's word for the kind of error.
async fn sentence(mut response: Response) -> Option<String> {
    let stated = |name: &'static str| text(response.headers(), HeaderName::from_static(name));
    let (message, kind) = (stated("x-error-message"), stated("x-error-code"));
    if let Some(message) = message {
        return shown(&message);
    }
    let mut body = Vec::new();
    while body.len() < WORDS {
        match response.chunk().await {
            Ok(Some(bytes)) => body.extend_from_slice(&bytes),
            Ok(None) | Err(_) => break,
        }
    }
    said_by(&body).or_else(|| shown(&kind?))
}

fn said_by(body: &[u8]) -> Option<String> {
    let body = std::str::from_utf8(body).ok()?.trim();
    if let Ok(json) = serde_json::from_str::<serde_json::Value>(body) {
        return shown(json.get("error")?.as_str()?);
    }
    let line = body.lines().next()?;
    // A page says nothing in its first line.
    (!line.starts_with('<') && line.len() <= SENTENCE)
        .then(|| shown(line))
        .flatten()
}

/// Words that are safe to print.
fn shown(words: &str) -> Option<String> {
    let words: String = words
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(SENTENCE)
        .collect();
    Some(words.trim().to_owned()).filter(|words| !words.is_empty())
}

/// An error with the cause that is furthest down, which says the most.
fn words(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    let mut last = None;
    while let Some(error) = cause {
        last = Some(error.to_string());
        cause = error.source();
    }
    match last {
        _ if error.is_timeout() => "the server was silent for too long".to_owned(),
        Some(last) if error.is_connect() => format!("cannot connect: {last}"),
        Some(last) => last,
        None => error.to_string(),
    }
}

fn classify(error: &reqwest::Error) -> AskError {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.is::<UnknownHost>() || error.is::<rustls::Error>() {
            return AskError::Permanent(error.to_string());
        }
        // A TLS error arrives inside one of the system.
        let inside = error
            .downcast_ref::<io::Error>()
            .and_then(|error| error.get_ref());
        if let Some(tls) = inside.and_then(|inside| inside.downcast_ref::<rustls::Error>()) {
            return AskError::Permanent(tls.to_string());
        }
        cause = error.source();
    }
    match error.is_builder() {
        true => AskError::Permanent(words(error)),
        false => AskError::Transient(words(error)),
    }
}

/// A token may go to this machine in the clear, nowhere else.
fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        host == "localhost"
            || host
                .trim_matches(['[', ']'])
                .parse::<std::net::IpAddr>()
                .is_ok_and(|ip| ip.is_loopback())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn a_server_is_quoted_in_one_short_line_without_escapes() {
        for (body, said) in [
            (
                &b"{\"error\": \"Access to it is restricted\"}"[..],
                Some("Access to it is restricted"),
            ),
            (b"{\"other\": 1}", None),
            (
                b"one way to sign in only\nmore",
                Some("one way to sign in only"),
            ),
            (b"\x1b[31mred", Some("[31mred")),
            (b"<html><body>no</body>", None),
            (b"\xff\xfe", None),
            (b"", None),
        ] {
            assert_eq!(said_by(body).as_deref(), said, "{body:?}");
        }
        assert_eq!(said_by("x".repeat(SENTENCE + 1).as_bytes()), None);
    }

    #[test]
    fn what_the_hub_announces_first_holds() {
        let sha256 = "ab".repeat(32);
        let mut headers = HeaderMap::new();
        let mut announced = Announced::default();
        announced.hear(&headers);
        assert_eq!(announced, Announced::default());
        headers.insert(
            "x-linked-etag",
            format!("W/\"{sha256}\"").parse().expect("a value"),
        );
        headers.insert("x-linked-size", "7".parse().expect("a value"));
        announced.hear(&headers);
        headers.insert("x-linked-size", "8".parse().expect("a value"));
        announced.hear(&headers);
        assert_eq!(announced.size, Some(7));
        assert_eq!(announced.sha256.map(|sha| sha.to_string()), Some(sha256));
    }
}
