//! The page for browsers: one file that loads nothing, and headers that hold it to that.

use std::sync::LazyLock;

use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bitnet_files::Sha256Hex;

/// The page, as it is sent.
const PAGE: &str = include_str!("../page/index.html");

/// What the page may do: run its own style and script, which are named by their digests, and ask
/// this server. It can load nothing, be framed by nobody, and make no text into markup.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let script = digest(between(PAGE, "<script type=\"module\">", "</script>"));
    let style = digest(between(PAGE, "<style>", "</style>"));
    [
        "default-src 'none'",
        &format!("script-src {script}"),
        &format!("style-src {style}"),
        // Its icon stands in the page itself.
        "img-src data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
    .join("; ")
});

pub(crate) async fn page() -> Response {
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY.as_str()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        // Page and server are of one version.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, Html(PAGE)).into_response()
}

/// What stands between the first `begin` and the next `end`.
fn between<'t>(text: &'t str, begin: &str, end: &str) -> &'t str {
    let inner = text.split_once(begin).map_or("", |(_, rest)| rest);
    inner.split_once(end).map_or("", |(inner, _)| inner)
}

/// The source of a policy that allows exactly this text (Content Security Policy 3, 2.3.1).
fn digest(text: &str) -> String {
    let digest = Sha256Hex::of(text.as_bytes());
    format!("'sha256-{}'", STANDARD.encode(digest.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_written_as_browsers_compute_it() {
        // The example of the specification.
        assert_eq!(
            digest("alert('Hello, world.');"),
            "'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='"
        );
    }

    #[test]
    fn the_page_has_one_style_and_one_script_and_no_address_of_elsewhere() {
        for (begin, end) in [("<style", "</style>"), ("<script", "</script>")] {
            assert_eq!(PAGE.matches(begin).count(), 1, "{begin}");
            assert_eq!(PAGE.matches(end).count(), 1, "{end}");
        }
        for foreign in [
            "://",
            "url(",
            "@import",
            "innerHTML",
            "outerHTML",
            "insertAdjacent",
            "eval(",
        ] {
            assert!(!PAGE.contains(foreign), "{foreign}");
        }
        // Addresses of the page lead into itself; its handlers are in the script.
        let markup = between(PAGE, "<body>", "<script");
        let attributes = markup.split_whitespace();
        for (name, value) in attributes.filter_map(|word| word.split_once('=')) {
            assert!(!name.starts_with("on") && name != "style", "{name}");
            if name == "href" || name == "src" {
                assert!(value.starts_with("\"#"), "{name}={value}");
            }
        }
    }
}
