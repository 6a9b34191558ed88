//! Determines the client's address: the peer, or the address that trusted proxies report.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::header::FORWARDED;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use ipnet::IpNet;
use silo_shared::address::not_another_machine;
use thiserror::Error;

use super::Hub;
use crate::domain::once_a_minute::OnceAMinute;
use crate::domain::time::Clock;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The networks of proxies whose forwarding headers are trusted.
#[derive(Debug)]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    warned: AtomicBool,
    /// Limits how often [`Self::report`] logs, by the monotonic clock.
    reports: OnceAMinute,
}

impl TrustedProxies {
    /// Trusts peers within these networks.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self {
            networks,
            warned: AtomicBool::new(false),
            reports: OnceAMinute::default(),
        }
    }

    pub(super) fn trusts(&self, ip: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&ip))
    }

    /// Determines the client's address behind `peer`. Walks the hops backwards from the nearest one, as long as a
    /// trusted proxy reported the hop, so that it never reaches hops that a client wrote itself. A proxy writes one of
    /// the two headers, and most proxies pass the other one on as the client wrote it. If they contradict each other,
    /// it is unknown which one the proxy wrote, and both are ignored.
    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> ClientIp {
        let is_forwarded = headers.contains_key(X_FORWARDED_FOR) || headers.contains_key(FORWARDED);
        if !self.trusts(peer) {
            if is_forwarded && !self.warned.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    %peer,
                    "ignoring X-Forwarded-For / Forwarded of a peer that is not in trusted_proxies (logged once)"
                );
            }
            return ClientIp {
                ip: peer,
                is_named: true,
            };
        }
        let unnamed = ClientIp {
            ip: peer,
            is_named: false,
        };
        let mut clients = [forwarded_for(headers), forwarded(headers)]
            .into_iter()
            .flatten()
            .map(|hops| self.walk(peer, hops));
        let client = clients.next().unwrap_or(unnamed);
        match clients.next() {
            Some(other) if other != client => unnamed,
            _ => client,
        }
    }

    fn walk(&self, peer: IpAddr, hops: Vec<Option<IpAddr>>) -> ClientIp {
        let mut client = ClientIp {
            ip: peer,
            is_named: false,
        };
        for hop in hops.into_iter().rev() {
            let Some(ip) = hop else {
                // The last address is a proxy, which reports no readable address for its client.
                client.is_named = false;
                break;
            };
            client = ClientIp { ip, is_named: true };
            if !self.trusts(ip) {
                break;
            }
        }
        client
    }

    /// Logs why an address could not be used, at most once a minute.
    pub(crate) fn report(&self, why: &NoCallerAddress, clock: &Clock) {
        if self.reports.is_due(clock.monotonic()) {
            tracing::warn!(
                "an address that a request leaves out cannot be taken: {why} (logged at most once a minute)"
            );
        }
    }
}

/// The values of a header's lines; `None` if it is absent.
fn lines(headers: &HeaderMap, name: HeaderName) -> Option<impl Iterator<Item = &str>> {
    let values = headers.get_all(&name).into_iter();
    headers
        .contains_key(name)
        .then(|| values.map(|value| value.to_str().unwrap_or("unreadable")))
}

/// The hops of `X-Forwarded-For`, the farthest first; `None` for a hop that is not an address.
fn forwarded_for(headers: &HeaderMap) -> Option<Vec<Option<IpAddr>>> {
    let hops = lines(headers, X_FORWARDED_FOR)?.flat_map(|line| line.split(','));
    Some(hops.map(node).collect())
}

/// The hops of `Forwarded` (RFC 7239 section 4), in the same form.
fn forwarded(headers: &HeaderMap) -> Option<Vec<Option<IpAddr>>> {
    let hops = lines(headers, FORWARDED)?.flat_map(|line| match split_unquoted(line, ',') {
        Some(elements) => elements.into_iter().map(hop).collect(),
        None => vec![None],
    });
    Some(hops.collect())
}

/// The only `for` of an element of `Forwarded`.
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
    // Addresses contain no characters that need escaping.
    let inner = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    node(inner.unwrap_or(value))
}

/// Splits at a separator outside of quoted strings (RFC 9110 section 5.6.4); `None` for an unterminated quoted string.
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

/// Parses an address with or without a port; an IPv6 address may be in brackets.
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

/// The caller's address; an IPv4-mapped one is converted to IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientIp {
    /// The address; the trusted proxy's own if the proxy reports no other.
    pub(crate) ip: IpAddr,
    /// Whether it is known to be the client's: the peer is not a trusted proxy, or it is one that reports the client.
    is_named: bool,
}

/// Why the caller's address can't be used as the address that a request omits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum NoCallerAddress {
    /// A trusted proxy reports no client.
    #[error(
        "the trusted proxy {0} names no valid client: have it set X-Forwarded-For (or Forwarded) to the address of its peer, or take it out of trusted_proxies"
    )]
    Unnamed(IpAddr),
    /// The address is of no use to other machines.
    #[error(
        "{0} is {1}, which other machines can't reach: send the address itself, or, if this request comes from a proxy, add the proxy to trusted_proxies"
    )]
    Implausible(IpAddr, &'static str),
}

impl ClientIp {
    /// The address, if it is known to be the client's.
    pub(crate) fn named(self) -> Result<IpAddr, NoCallerAddress> {
        if self.is_named {
            Ok(self.ip)
        } else {
            Err(NoCallerAddress::Unnamed(self.ip))
        }
    }

    /// The address, if it may be published although the request does not contain it.
    pub(crate) fn implied(self) -> Result<IpAddr, NoCallerAddress> {
        let ip = self.named()?;
        match not_another_machine(ip) {
            Some(what) => Err(NoCallerAddress::Implausible(ip, what)),
            None => Ok(ip),
        }
    }
}

impl FromRequestParts<Arc<Hub>> for ClientIp {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, hub: &Arc<Hub>) -> Result<Self, Infallible> {
        let ConnectInfo(peer) = parts
            .extensions
            .get::<ConnectInfo<SocketAddr>>()
            .expect("the server tells the peer of every connection");
        let peer = peer.ip().to_canonical();
        Ok(hub.trusted_proxies.client(peer, &parts.headers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
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
            // Values that a client can make a proxy repeat, such as its Host, are quoted.
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
            assert_eq!(found.ip.to_string(), client, "{peer} {header}: {value}");
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
                found.ip.to_string(),
                client,
                "{forwarded} against {forwarded_for}"
            );
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn an_omitted_address_is_only_replaced_by_a_plausible_client_address() {
        const PROXY: &str = "10.0.0.1";
        let trusted = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()]);
        let unnamed = |ip: &str| Err(NoCallerAddress::Unnamed(ip.parse().unwrap()));
        let no = |ip: &str, what| Err(NoCallerAddress::Implausible(ip.parse().unwrap(), what));
        let ok = |ip: &str| Ok(ip.parse().unwrap());
        type Case = (
            &'static str,
            &'static [(&'static str, &'static str)],
            Result<IpAddr, NoCallerAddress>,
        );
        let cases: Vec<Case> = vec![
            ("192.0.2.1", &[], ok("192.0.2.1")),
            ("192.168.1.2", &[], ok("192.168.1.2")),
            ("fd00::5", &[], ok("fd00::5")),
            (
                "192.0.2.1",
                &[("x-forwarded-for", "127.0.0.1")],
                ok("192.0.2.1"),
            ),
            ("127.0.0.1", &[], no("127.0.0.1", "a loopback address")),
            ("127.1.2.3", &[], no("127.1.2.3", "a loopback address")),
            ("::1", &[], no("::1", "a loopback address")),
            (
                "169.254.7.7",
                &[],
                no("169.254.7.7", "a link-local address"),
            ),
            ("fe80::1", &[], no("fe80::1", "a link-local address")),
            (
                "64:ff9b::7f00:1",
                &[],
                no(
                    "64:ff9b::7f00:1",
                    "an IPv6 form of an IPv4 address that is not another machine's",
                ),
            ),
            // Trusted proxies that report no client.
            (PROXY, &[], unnamed(PROXY)),
            (PROXY, &[("x-real-ip", "198.51.100.1")], unnamed(PROXY)),
            (PROXY, &[("x-forwarded-for", "")], unnamed(PROXY)),
            (PROXY, &[("x-forwarded-for", "unknown")], unnamed(PROXY)),
            (
                PROXY,
                &[("x-forwarded-for", "198.51.100.1,")],
                unnamed(PROXY),
            ),
            (
                PROXY,
                &[("x-forwarded-for", "fe80::1%eth0")],
                unnamed(PROXY),
            ),
            (PROXY, &[("x-forwarded-for", "nas.lan")], unnamed(PROXY)),
            (PROXY, &[("forwarded", "for=unknown")], unnamed(PROXY)),
            (PROXY, &[("forwarded", "for=_hidden")], unnamed(PROXY)),
            (PROXY, &[("forwarded", "proto=https")], unnamed(PROXY)),
            (
                PROXY,
                &[("forwarded", "for=\"[fe80::1%eth0]\"")],
                unnamed(PROXY),
            ),
            (
                PROXY,
                &[
                    ("forwarded", "for=198.51.100.1"),
                    ("x-forwarded-for", "198.51.100.2"),
                ],
                unnamed(PROXY),
            ),
            (
                PROXY,
                &[("x-forwarded-for", "garbage, 10.0.0.2")],
                unnamed("10.0.0.2"),
            ),
            // Trusted proxies that report the client.
            (
                PROXY,
                &[("x-forwarded-for", "198.51.100.1")],
                ok("198.51.100.1"),
            ),
            (
                PROXY,
                &[("x-forwarded-for", "garbage, 198.51.100.1")],
                ok("198.51.100.1"),
            ),
            (PROXY, &[("x-forwarded-for", "10.0.0.9")], ok("10.0.0.9")),
            (PROXY, &[("x-forwarded-for", "10.0.0.1")], ok("10.0.0.1")),
            (
                PROXY,
                &[("forwarded", "for=\"[2001:db8::1]:80\"")],
                ok("2001:db8::1"),
            ),
            // A proxy on the client's machine, or in front of another proxy that it does not know.
            (
                PROXY,
                &[("x-forwarded-for", "127.0.0.1")],
                no("127.0.0.1", "a loopback address"),
            ),
            (
                PROXY,
                &[("x-forwarded-for", "fe80::1")],
                no("fe80::1", "a link-local address"),
            ),
            (
                PROXY,
                &[("x-forwarded-for", "0.0.0.0")],
                no("0.0.0.0", "the unspecified address"),
            ),
            (
                PROXY,
                &[("x-forwarded-for", "::ffff:127.0.0.1")],
                no("127.0.0.1", "a loopback address"),
            ),
        ];
        for (peer, fields, expected) in cases {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(
                    HeaderName::from_bytes(name.as_bytes()).unwrap(),
                    value.parse().unwrap(),
                );
            }
            let found = trusted.client(peer.parse().unwrap(), &headers);
            assert_eq!(found.implied(), expected, "{peer} {fields:?}");
        }
    }
}
