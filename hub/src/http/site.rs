//! Where a browser sees the hub: scheme, host and port of the page that a request is for.

use std::net::SocketAddr;

use axum::extract::ConnectInfo;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, header};

use super::Hub;
use super::error::ApiError;
use crate::config::cors::Origin;

/// The path that all pages are below, and their label in metrics.
pub(crate) const PAGES: &str = "/dashboard";
/// The page that a browser gets at `/`.
pub(crate) const START: &str = "/dashboard/";

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Whether a path, or a route, is that of a page.
pub(crate) fn is_page(path: &str) -> bool {
    let rest = path.strip_prefix(PAGES);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether the client accepts HTML, as browsers do.
pub(crate) fn accepts_html(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(header::ACCEPT).iter();
    accepted.any(|value| value.to_str().is_ok_and(|text| text.contains("text/html")))
}

/// What the settings tell of where browsers see the hub.
#[derive(Clone, Debug)]
pub struct Sites {
    has_tls: bool,
    public: Option<Site>,
}

/// Scheme, host and port of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Site {
    is_tls: bool,
    /// In lower case, an IPv6 address in brackets.
    host: String,
    port: u16,
}

impl Sites {
    /// `has_tls`: whether the listener has TLS. `public_url`: where browsers see the hub, if it is set.
    pub fn new(has_tls: bool, public_url: Option<&Origin>) -> Self {
        let public = public_url.and_then(|origin| {
            let (scheme, authority) = origin.as_str().split_once("://")?;
            Site::parse(scheme == "https", authority)
        });
        Self { has_tls, public }
    }
}

impl Sites {
    /// The origin of `public_url`, if it is set.
    pub(crate) fn public_origin(&self) -> Option<String> {
        self.public.as_ref().map(Site::origin)
    }
}

impl Site {
    /// Of the page that a request is for. In this order:
    ///
    /// 1. `public_url`, if the request names its host, or a trusted proxy passed it on. A proxy shows that by one of its
    ///    headers: a tunnel to the hub's machine has the address of a proxy there, too;
    /// 2. the request's host, with TLS if the listener has it, or if a trusted proxy says so in `X-Forwarded-Proto`.
    ///
    /// The port is the one in the address bar, as `Host` has it, and not the listener's: behind a proxy, the listener's
    /// is of no concern to the browser, and two hubs in containers may well have the same. `X-Forwarded-Port` adds
    /// nothing: a proxy that does not pass `Host` on needs `public_url`, since `Origin` could not be compared either.
    pub(crate) fn of(parts: &Parts, hub: &Hub) -> Result<Self, ApiError> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let is_proxy = peer.is_some_and(|peer| {
            let ip = peer.0.ip().to_canonical();
            hub.trusted_proxies.trusts(ip)
        });
        // HTTP/2 has the host in the target, HTTP/1.1 in a header.
        let authority = match parts.uri.authority() {
            Some(authority) => Some(authority.as_str()),
            None => parts
                .headers
                .get(header::HOST)
                .and_then(|host| host.to_str().ok()),
        };
        hub.sites
            .find(authority, is_proxy, &parts.headers)
            .ok_or_else(|| ApiError::Malformed("Host: it is missing or unreadable".to_owned()))
    }

    fn parse(is_tls: bool, authority: &str) -> Option<Self> {
        let is_address = authority.ends_with(']');
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !is_address => (host, port),
            _ => (authority, ""),
        };
        let port = match port {
            "" => default_port(is_tls),
            port => port.parse().ok()?,
        };
        (!host.is_empty()).then(|| Self {
            is_tls,
            host: host.to_ascii_lowercase(),
            port,
        })
    }

    /// Whether the browser uses TLS.
    pub(crate) fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// The port in the address bar, also one that it does not show.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The origin as browsers send it (RFC 6454 section 6.2).
    pub(crate) fn origin(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        if self.port == default_port(self.is_tls) {
            format!("{scheme}://{}", self.host)
        } else {
            format!("{scheme}://{}:{}", self.host, self.port)
        }
    }

    /// Whether others can read what is sent: without TLS, to another machine than the browser's own.
    pub(crate) fn is_readable_on_the_way(&self) -> bool {
        !self.is_tls && !self.is_loopback()
    }

    /// Whether the browser is on the hub's machine, by the name that it uses.
    pub(crate) fn is_loopback(&self) -> bool {
        let name = self.host.trim_end_matches('.');
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        let address = bare.parse::<std::net::IpAddr>();
        address.is_ok_and(|ip| ip.to_canonical().is_loopback())
            || name == "localhost"
            || name.ends_with(".localhost")
    }
}

impl Sites {
    fn find(&self, authority: Option<&str>, is_proxy: bool, headers: &HeaderMap) -> Option<Site> {
        if let Some(public) = &self.public {
            let is_named = authority
                .and_then(|authority| Site::parse(public.is_tls, authority))
                .is_some_and(|site| site == *public);
            if is_named || (is_proxy && is_passed_on(headers)) {
                return Some(public.clone());
            }
        }
        // Proxies that add to the list have the browser's scheme first. One that a client made up harms only itself: it
        // gets a cookie that its browser refuses.
        let is_forwarded_tls = headers
            .get(X_FORWARDED_PROTO)
            .and_then(|list| list.to_str().ok()?.split(',').next())
            .is_some_and(|scheme| scheme.trim().eq_ignore_ascii_case("https"));
        let is_tls = self.has_tls || (is_proxy && is_forwarded_tls);
        Site::parse(is_tls, authority?)
    }
}

/// Whether a proxy says that it passed the request on.
fn is_passed_on(headers: &HeaderMap) -> bool {
    [X_FORWARDED_FOR, X_FORWARDED_PROTO, header::FORWARDED]
        .iter()
        .any(|name| headers.contains_key(name))
}

fn default_port(is_tls: bool) -> u16 {
    if is_tls { 443 } else { 80 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_below_one_path() {
        for (path, expected) in [
            ("/dashboard", true),
            ("/dashboard/", true),
            ("/dashboard/silos/a", true),
            ("/dashboards", false),
            ("/", false),
            ("/silos/dashboard", false),
        ] {
            assert_eq!(is_page(path), expected, "{path}");
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn a_page_is_where_the_browser_sees_it() {
        let public: Origin = "https://silo.lan".parse().unwrap();
        let other: Origin = "http://silo.lan:8080".parse().unwrap();
        for (has_tls, public, host, is_proxy, proto, origin, port) in [
            (false, None, "hub", false, None, "http://hub", 80),
            (false, None, "Hub:80", false, None, "http://hub", 80),
            (
                false,
                None,
                "hub:8053",
                false,
                None,
                "http://hub:8053",
                8053,
            ),
            (
                false,
                None,
                "[::1]:8053",
                false,
                None,
                "http://[::1]:8053",
                8053,
            ),
            (false, None, "[::1]", false, None, "http://[::1]", 80),
            (true, None, "hub", false, None, "https://hub", 443),
            (
                true,
                None,
                "hub:8053",
                false,
                Some("http"),
                "https://hub:8053",
                8053,
            ),
            (false, None, "hub", false, Some("https"), "http://hub", 80),
            (false, None, "hub", true, Some("https"), "https://hub", 443),
            (
                false,
                None,
                "hub:8443",
                true,
                Some("HTTPS, http"),
                "https://hub:8443",
                8443,
            ),
            (
                false,
                None,
                "hub",
                true,
                Some("http, https"),
                "http://hub",
                80,
            ),
            (false, None, "hub", true, None, "http://hub", 80),
            (
                false,
                Some(&public),
                "silo.lan",
                false,
                None,
                "https://silo.lan",
                443,
            ),
            (
                false,
                Some(&public),
                "SILO.lan:443",
                false,
                None,
                "https://silo.lan",
                443,
            ),
            (
                false,
                Some(&public),
                "127.0.0.1:8053",
                true,
                Some("http"),
                "https://silo.lan",
                443,
            ),
            // By a tunnel, past the proxy on the same machine.
            (
                false,
                Some(&public),
                "127.0.0.1:8053",
                true,
                None,
                "http://127.0.0.1:8053",
                8053,
            ),
            (
                false,
                Some(&public),
                "silo.lan",
                true,
                None,
                "https://silo.lan",
                443,
            ),
            (
                false,
                Some(&public),
                "127.0.0.1:8053",
                false,
                None,
                "http://127.0.0.1:8053",
                8053,
            ),
            (
                false,
                Some(&other),
                "10.0.0.1",
                true,
                Some("https"),
                "http://silo.lan:8080",
                8080,
            ),
        ] {
            let sites = Sites::new(has_tls, public);
            let mut headers = HeaderMap::new();
            if let Some(proto) = proto {
                headers.insert(X_FORWARDED_PROTO, proto.parse().unwrap());
            }
            let site = sites.find(Some(host), is_proxy, &headers).unwrap();
            assert_eq!(
                (site.origin().as_str(), site.port()),
                (origin, port),
                "{host} {proto:?}"
            );
        }
        let sites = Sites::new(false, None);
        for host in [None, Some(""), Some(":80"), Some("hub:99999")] {
            assert_eq!(sites.find(host, false, &HeaderMap::new()), None, "{host:?}");
        }
    }

    #[test]
    fn only_plain_http_to_another_machine_is_readable_on_the_way() {
        for (is_tls, authority, expected) in [
            (false, "hub.test", true),
            (false, "10.0.0.5:8053", true),
            (false, "localhost.lan", true),
            (true, "hub.test", false),
            (false, "127.0.0.1:8053", false),
            (false, "127.1.2.3", false),
            (false, "[::1]:8053", false),
            (false, "[::ffff:127.0.0.1]", false),
            (false, "localhost", false),
            (false, "hub.localhost:80", false),
        ] {
            let site = Site::parse(is_tls, authority).unwrap();
            assert_eq!(site.is_readable_on_the_way(), expected, "{authority}");
        }
    }
}
