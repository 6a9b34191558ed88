//! Builds the requests of the dyndns2 protocol: `GET …/nic/update?hostname=…&myip=…`. Pure, and
//! independent of the login.

use std::net::IpAddr;

use serde::Deserialize;
use silo_shared::silo::{Addresses, Family};
use url::Url;

use crate::deliver::sink::ReceiverState;

/// How to send an IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Ipv6 {
    /// `myip=192.0.2.1,2001:db8::1`, as ddclient 4 does.
    Myip,
    /// `myip=192.0.2.1&myipv6=2001:db8::1`.
    Myipv6,
    /// One request per address, each with `myip`.
    Separate,
    /// IPv6 addresses are not sent.
    Off,
}

/// The update URL and the format of requests.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    /// The URL. Its own query is kept and goes first.
    pub(super) url: Url,
    /// How to send IPv6 addresses.
    pub(super) ipv6: Ipv6,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Update {
    /// The complete URL.
    pub(super) url: Url,
    /// The addresses that the request sends.
    pub(super) sent: Addresses,
}

impl Endpoint {
    /// OVH's DynHost. A DynHost has one address, so a name with two addresses has two DynHosts.
    pub(super) fn ovh() -> Self {
        let url = "https://dns.eu.ovhapis.com/nic/update?system=dyndns";
        Self {
            url: url.parse().expect("the text is a URL"),
            ipv6: Ipv6::Separate,
        }
    }

    /// The requests that bring a name from its known state to `wanted`. Empty if the provider has
    /// the addresses already, or if this protocol can't express the change. `Err` says why the
    /// addresses can't be sent.
    pub(super) fn updates(
        &self,
        name: &str,
        wanted: &Addresses,
        standing: &ReceiverState,
    ) -> Result<Vec<Update>, &'static str> {
        let mut sent = *wanted;
        if self.ipv6 == Ipv6::Off {
            sent.clear(Family::V6);
        }
        let is_news = |ip: &IpAddr| surely_held(standing, Family::of(*ip)) != Some(*ip);
        if !sent.iter().any(|ip| is_news(&ip)) {
            return Ok(Vec::new());
        }
        Ok(match (self.ipv6, sent.v4, sent.v6) {
            (Ipv6::Separate, ..) => sent
                .iter()
                .filter(is_news)
                .map(|ip| self.update(name, &format!("myip={ip}"), Addresses::from_iter([ip])))
                .collect(),
            (Ipv6::Myipv6, Some(v4), Some(v6)) => {
                vec![self.update(name, &format!("myip={v4}&myipv6={v6}"), sent)]
            }
            // Without `myip`, providers use the address of the client, here the hub.
            (Ipv6::Myipv6, None, Some(_)) => {
                return Err(
                    "it has no IPv4 address, and with `ipv6: myipv6` the provider would set the \
                     hub's own instead",
                );
            }
            _ => {
                let list: Vec<String> = sent.iter().map(|ip| ip.to_string()).collect();
                vec![self.update(name, &format!("myip={}", list.join(",")), sent)]
            }
        })
    }

    fn update(&self, name: &str, addresses: &str, sent: Addresses) -> Update {
        let mut url = self.url.clone();
        let own = match url.query() {
            None | Some("") => String::new(),
            Some(query) => format!("{query}&"),
        };
        // Names and addresses need no escaping in a query (RFC 3986, section 3.4), and not every
        // provider decodes an escaped ',' or ':'.
        url.set_query(Some(&format!("{own}hostname={name}&{addresses}")));
        Update { url, sent }
    }
}

/// The address that the provider holds for us with certainty.
fn surely_held(standing: &ReceiverState, family: Family) -> Option<IpAddr> {
    match standing {
        ReceiverState::Nothing | ReceiverState::Claimed(_) => None,
        ReceiverState::Published(published) => published.get(family),
        ReceiverState::Replacing {
            published, unsure, ..
        } => published.get(family).filter(|_| !unsure.has(family)),
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
