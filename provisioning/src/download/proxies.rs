//! Which proxy a request goes through.

use reqwest::Url;

/// A proxy as an environment variable names it.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxySetting {
    /// The variable, for messages.
    pub variable: String,
    /// Its value: an address of `http`, `https`, `socks4`, `socks4a`, `socks5` or `socks5h`, or
    /// `host:port` of an ordinary proxy. May hold a name and a password.
    pub address: String,
}

/// Proxies by the scheme of what is asked for. [`Default`] is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For `http://` addresses.
    pub http: Option<ProxySetting>,
    /// For `https://` addresses.
    pub https: Option<ProxySetting>,
    /// For both, where they have none of their own.
    pub all: Option<ProxySetting>,
    /// Hosts that are asked without a proxy: names, suffixes of names, addresses and networks,
    /// with commas between them; `*` for every host.
    pub exceptions: Option<String>,
}

impl Proxies {
    /// The proxy for addresses of the scheme of `url`.
    ///
    /// # Errors
    /// In words: the variable, and why it cannot be used.
    pub(super) fn proxy_for(&self, url: &Url) -> Result<Option<reqwest::Proxy>, String> {
        let own = match url.scheme() {
            "https" => &self.https,
            _ => &self.http,
        };
        let Some(setting) = own.as_ref().or(self.all.as_ref()) else {
            return Ok(None);
        };
        let wrong = |why: &str| format!("{} is not usable: {why}", setting.variable);
        let address = setting.parsed().map_err(|why| wrong(&why))?;
        let proxy = reqwest::Proxy::all(address).map_err(|error| wrong(&error.to_string()))?;
        let exceptions = self.exceptions.as_deref();
        Ok(Some(proxy.no_proxy(
            exceptions.and_then(reqwest::NoProxy::from_string),
        )))
    }
}

impl ProxySetting {
    fn parsed(&self) -> Result<Url, String> {
        let text = self.address.trim();
        let whole = match text.contains("://") {
            true => text.to_owned(),
            false => format!("http://{text}"),
        };
        // Desktops write `socks://` for whatever their proxy speaks, which is version 5 today.
        let whole = match whole.strip_prefix("socks://") {
            Some(rest) => format!("socks5h://{rest}"),
            None => whole,
        };
        let url = Url::parse(&whole).map_err(|error| error.to_string())?;
        if !url.has_host() {
            return Err("it names no host".to_owned());
        }
        match url.scheme() {
            "http" | "https" | "socks4" | "socks4a" | "socks5" | "socks5h" => Ok(url),
            other => Err(format!(
                "`{other}` is no kind of proxy that is known; use http, https, socks4, socks4a, socks5 or socks5h"
            )),
        }
    }
}

/// Without the address, which may hold a password.
impl std::fmt::Debug for ProxySetting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ProxySetting").field(&self.variable).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(address: &str) -> Result<String, String> {
        let variable = "ALL_PROXY".to_owned();
        let address = address.to_owned();
        let setting = ProxySetting { variable, address };
        assert!(!format!("{setting:?}").contains("secret"));
        setting.parsed().map(|url| url.to_string())
    }

    #[test]
    fn addresses_are_taken_as_people_write_them() {
        for (written, meant) in [
            ("proxy:3128", "http://proxy:3128/"),
            ("http://u:secret@proxy", "http://u:secret@proxy/"),
            ("socks5://127.0.0.1:1080", "socks5://127.0.0.1:1080"),
            ("socks://127.0.0.1:1080", "socks5h://127.0.0.1:1080"),
            ("socks4a://proxy:1080", "socks4a://proxy:1080"),
        ] {
            assert_eq!(parsed(written).as_deref(), Ok(meant), "{written}");
        }
        for wrong in ["", "ftp://proxy", "http://", "socks9://proxy:1"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }
}
