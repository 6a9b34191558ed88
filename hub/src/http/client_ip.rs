//! Where a request comes from: the peer, or what trusted proxies say of it.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::header::FORWARDED;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use super::Hub;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

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
    /// long as each was named by a trusted proxy; what a client wrote itself is never reached. A proxy
    /// writes one of the two headers and most pass the other on as the client wrote it: where they
    /// contradict each other nobody can tell which is the proxy's, and neither counts.
    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if !headers.contains_key(X_FORWARDED_FOR) && !headers.contains_key(FORWARDED) {
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
        let mut clients = [forwarded_for(headers), forwarded(headers)]
            .into_iter()
            .flatten()
            .map(|hops| self.walk(peer, hops));
        let client = clients.next().unwrap_or(peer);
        match clients.next() {
            Some(other) if other != client => peer,
            _ => client,
        }
    }

    fn walk(&self, peer: IpAddr, hops: Vec<Option<IpAddr>>) -> IpAddr {
        let mut client = peer;
        for hop in hops.into_iter().rev() {
            let Some(ip) = hop else { break };
            client = ip;
            if !self.trusts(ip) {
                break;
            }
        }
        client
    }
}

/// The lines of a header; `None` when it is not there.
fn lines(headers: &HeaderMap, name: HeaderName) -> Option<impl Iterator<Item = &str>> {
    let values = headers.get_all(&name).into_iter();
    headers
        .contains_key(name)
        .then(|| values.map(|value| value.to_str().unwrap_or("unreadable")))
}

/// The hops of `X-Forwarded-For`, the farthest first; `None` where a hop is no address.
fn forwarded_for(headers: &HeaderMap) -> Option<Vec<Option<IpAddr>>> {
    let hops = lines(headers, X_FORWARDED_FOR)?.flat_map(|line| line.split(','));
    Some(hops.map(node).collect())
}

/// The hops of `Forwarded` (RFC 7239 section 4), likewise.
fn forwarded(headers: &HeaderMap) -> Option<Vec<Option<IpAddr>>> {
    let hops = lines(headers, FORWARDED)?.flat_map(|line| match split_unquoted(line, ',') {
        Some(elements) => elements.into_iter().map(hop).collect(),
        None => vec![None],
    });
    Some(hops.collect())
}

/// The one `for` of an element of `Forwarded`.
fn hop(element: &str) -> Option<IpAddr> {
    let pairs = split_unquoted(element, ';')?.into_iter();
    let mut named = pairs
        .filter_map(|pair| pair.split_once('='))
        .filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"))
        .map(|(_, value)| value.trim());
    let value = named.next()?;
    if named.next().is_some() {
        return None;
    }
    // No address has anything in it that is escaped.
    let inner = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    node(inner.unwrap_or(value))
}

/// Splits where a separator stands outside of quoted strings (RFC 9110 section 5.6.4); `None` when one of them
/// does not end.
fn split_unquoted(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = text.split(|character| {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => return character == separator && !quoted,
        }
        false
    });
    let parts = parts.collect();
    (!quoted).then_some(parts)
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
            // What a client can have a proxy repeat, such as its Host, is in quotes.
            (
                "10.0.0.1",
                "forwarded",
                "for=198.51.100.1;host=\"a,for=203.0.113.9\"",
                "198.51.100.1",
            ),
            (
                "10.0.0.1",
                "forwarded",
                "host=\"a;for=203.0.113.9;\\\"\";for=198.51.100.1",
                "198.51.100.1",
            ),
            (
                "10.0.0.1",
                "forwarded",
                "for=198.51.100.1;for=203.0.113.9",
                "10.0.0.1",
            ),
            (
                "10.0.0.1",
                "forwarded",
                "for=\"203.0.113.9, for=198.51.100.1",
                "10.0.0.1",
            ),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header, value.parse().unwrap());
            let found = trusted.client(peer.parse().unwrap(), &headers);
            assert_eq!(found.to_string(), client, "{peer} {header}: {value}");
        }
        assert!(trusted.warned.load(Ordering::Relaxed));
        for (forwarded, forwarded_for, client) in [
            (
                "for=198.51.100.1",
                "203.0.113.9, 198.51.100.1",
                "198.51.100.1",
            ),
            ("for=203.0.113.9", "198.51.100.1", "10.0.0.1"),
            ("for=203.0.113.9, for=10.0.0.2", "198.51.100.1", "10.0.0.1"),
            ("for=198.51.100.1", "", "10.0.0.1"),
            ("proto=https", "198.51.100.1", "10.0.0.1"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("forwarded", forwarded.parse().unwrap());
            headers.insert("x-forwarded-for", forwarded_for.parse().unwrap());
            let found = trusted.client("10.0.0.1".parse().unwrap(), &headers);
            assert_eq!(
                found.to_string(),
                client,
                "{forwarded} against {forwarded_for}"
            );
        }
    }
}
