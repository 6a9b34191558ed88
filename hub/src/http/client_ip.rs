//! Where a request comes from: the peer, or what trusted proxies say of it.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use ipnet::IpNet;

use super::Hub;

/// Which peers are proxies whose word counts.
#[derive(Debug)]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    warned: AtomicBool,
}

impl TrustedProxies {
    /// Trusts the peers within these networks.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self {
            networks,
            warned: AtomicBool::new(false),
        }
    }

    fn trusts(&self, ip: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&ip))
    }

    /// The address of the client behind `peer`. The hops are walked from the nearest one back for as
    /// long as each was named by a trusted proxy; what a client wrote itself is never reached.
    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if !headers.contains_key("x-forwarded-for") && !headers.contains_key("forwarded") {
            return peer;
        }
        if !self.trusts(peer) {
            if !self.warned.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    %peer,
                    "ignoring X-Forwarded-For / Forwarded of a peer that is not in trusted_proxies (said once)"
                );
            }
            return peer;
        }
        let mut client = peer;
        for hop in hops(headers).into_iter().rev() {
            let Some(ip) = hop else { break };
            client = ip;
            if !self.trusts(ip) {
                break;
            }
        }
        client
    }
}

/// The hops that the headers name, the farthest first; `None` where a hop is no address.
/// `Forwarded` (RFC 7239) counts before `X-Forwarded-For`.
fn hops(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let values = |name| {
        headers
            .get_all(name)
            .into_iter()
            .flat_map(|value| value.to_str().unwrap_or("unreadable").split(','))
            .collect::<Vec<&str>>()
    };
    let forwarded = values("forwarded");
    if forwarded.is_empty() {
        return values("x-forwarded-for").into_iter().map(node).collect();
    }
    let hop = |element: &str| {
        element
            .split(';')
            .filter_map(|pair| pair.split_once('='))
            .find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))
            .and_then(|(_, value)| node(value.trim().trim_matches('"')))
    };
    forwarded.into_iter().map(hop).collect()
}

/// An address, with or without port, an IPv6 one perhaps in brackets.
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    let ip = bare
        .parse::<IpAddr>()
        .or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()))
        .ok()?;
    Some(ip.to_canonical())
}

/// The caller's address; an IPv4-mapped one as IPv4.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientIp(pub IpAddr);

impl FromRequestParts<Arc<Hub>> for ClientIp {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, hub: &Arc<Hub>) -> Result<Self, Infallible> {
        let ConnectInfo(peer) = parts
            .extensions
            .get::<ConnectInfo<SocketAddr>>()
            .expect("the server tells the peer of every connection");
        Ok(Self(
            hub.trusted_proxies
                .client(peer.ip().to_canonical(), &parts.headers),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hops_that_trusted_proxies_name_count() {
        let trusted = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()]);
        for (peer, header, value, client) in [
            ("192.0.2.1", "x-forwarded-for", "198.51.100.1", "192.0.2.1"),
            (
                "10.0.0.1",
                "x-forwarded-for",
                "198.51.100.1",
                "198.51.100.1",
            ),
            (
                "10.0.0.1",
                "x-forwarded-for",
                "203.0.113.9, 198.51.100.1",
                "198.51.100.1",
            ),
            (
                "10.0.0.1",
                "x-forwarded-for",
                "198.51.100.1, 10.0.0.2",
                "198.51.100.1",
            ),
            (
                "10.0.0.1",
                "x-forwarded-for",
                "198.51.100.1:4711",
                "198.51.100.1",
            ),
            (
                "10.0.0.1",
                "x-forwarded-for",
                "::ffff:198.51.100.1",
                "198.51.100.1",
            ),
            (
                "10.0.0.1",
                "x-forwarded-for",
                "198.51.100.1, garbage",
                "10.0.0.1",
            ),
            ("10.0.0.1", "x-forwarded-for", "", "10.0.0.1"),
            (
                "10.0.0.1",
                "forwarded",
                "for=\"[2001:db8::1]:80\";proto=http",
                "2001:db8::1",
            ),
            (
                "10.0.0.1",
                "forwarded",
                "for=203.0.113.9, For=198.51.100.1",
                "198.51.100.1",
            ),
            ("10.0.0.1", "forwarded", "for=_hidden", "10.0.0.1"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header, value.parse().unwrap());
            let found = trusted.client(peer.parse().unwrap(), &headers);
            assert_eq!(found.to_string(), client, "{peer} {header}: {value}");
        }
        assert!(trusted.warned.load(Ordering::Relaxed));
    }
}
