//! What the environment says about models and the network. Nothing else of provisioning reads it.

use std::env;
use std::path::PathBuf;

use bitnet_provisioning::download::{Proxies, ProxySetting, Token, TokenFormatError};
use bitnet_provisioning::{CACHE_DIR_VARIABLE, ModelCache, ModelDiscovery};

/// What stands where a token should be cannot be one.
#[derive(Debug, thiserror::Error)]
#[error(
    "{place} does not hold a Hugging Face token: {source}\n\n\
     Solution:\n  \
     1. Generate a token: https://huggingface.co/settings/tokens\n  \
     2. Export it: export HF_TOKEN=<your-token>\n  \
     3. Or do without: unset HF_TOKEN, and remove the file of an earlier login"
)]
pub(crate) struct TokenError {
    place: String,
    source: TokenFormatError,
}

/// The model cache of this user; none without a home folder.
pub(crate) fn cache() -> Option<ModelCache> {
    ModelCache::of_user(path(CACHE_DIR_VARIABLE), env::home_dir())
}

/// Looks for models in `models/` of the current folder, then in this user's cache.
pub(crate) fn discovery() -> ModelDiscovery {
    ModelDiscovery::new("models", cache())
}

/// The access token for the hub, where the hub's own programs find it: `HF_TOKEN`, else the file of
/// an earlier login (`HF_TOKEN_PATH`, `HF_HOME/token`, `~/.cache/huggingface/token`).
///
/// # Errors
/// What stands there cannot be sent as a token.
pub(crate) fn token() -> Result<Option<Token>, TokenError> {
    for variable in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"] {
        // What is not text cannot be a token either: it fails as one that was given.
        let given = env::var_os(variable).unwrap_or_default();
        let failed = |source| TokenError {
            place: variable.to_owned(),
            source,
        };
        if let Some(token) = Token::given(&given.to_string_lossy()).map_err(failed)? {
            return Ok(Some(token));
        }
    }
    let forbidden = text("HF_HUB_DISABLE_IMPLICIT_TOKEN")
        .is_some_and(|value| matches!(value.to_lowercase().as_str(), "1" | "on" | "yes" | "true"));
    let Some(file) = token_file().filter(|_| !forbidden) else {
        return Ok(None);
    };
    // Without a login there is no file.
    let saved = bitnet_files::read_to_string(&file).unwrap_or_default();
    Token::saved(&saved).map_err(|source| TokenError {
        place: file.display().to_string(),
        source,
    })
}

fn token_file() -> Option<PathBuf> {
    let caches = || path("XDG_CACHE_HOME").or_else(|| Some(env::home_dir()?.join(".cache")));
    path("HF_TOKEN_PATH").or_else(|| {
        let home = path("HF_HOME").or_else(|| Some(caches()?.join("huggingface")));
        Some(home?.join("token"))
    })
}

/// The proxies of the usual variables, lower case first as curl has it.
pub(crate) fn proxies() -> Proxies {
    let setting = |names: [&str; 2]| {
        names.into_iter().find_map(|name| {
            Some(ProxySetting {
                address: text(name)?,
                variable: name.to_owned(),
            })
        })
    };
    Proxies {
        http: setting(["http_proxy", "HTTP_PROXY"]),
        https: setting(["https_proxy", "HTTPS_PROXY"]),
        all: setting(["all_proxy", "ALL_PROXY"]),
        exceptions: text("no_proxy").or_else(|| text("NO_PROXY")),
    }
}

/// A variable that is set, and not to nothing.
fn text(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.trim().is_empty())
}

fn path(name: &str) -> Option<PathBuf> {
    env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}
