//! Asks the hub which address it sees, separately over IPv4 and IPv6, and detects whether it may see a relay instead.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use silo_shared::agent_name::AgentKind;
use silo_shared::client::{ClientError, HubClient, Route};
use silo_shared::connection::Connection;
use silo_shared::silo::Family;

use super::select::Candidate;
use super::{DiscoverError, OverFamily, look_up, route};
use crate::settings::Settings;

/// What the hub sees.
#[derive(Debug)]
pub(super) struct Seen {
    /// The answer over each family that was asked.
    pub(super) answers: Vec<OverFamily>,
    /// The addresses in them that do not belong to this machine.
    pub(super) relayed: Vec<IpAddr>,
    /// This machine's addresses.
    pub(super) own: Vec<IpAddr>,
}

impl Seen {
    /// Whether the hub answered over no family, so that another hub may be asked.
    fn is_unavailable(&self) -> bool {
        let mut errors = self.answers.iter().map(|over| over.answer.as_ref().err());
        errors.all(|error| error.is_some_and(|error| error.is_unavailable()))
    }
}

/// Asks the first hub that answers.
pub(super) async fn find(
    settings: &Settings,
    include: impl Fn(Family) -> bool,
) -> Result<Seen, DiscoverError> {
    let mut first = None;
    for connection in settings.connection.each() {
        let found = find_at(settings, &connection, &include).await;
        let is_unavailable = match &found {
            Ok(seen) => seen.is_unavailable(),
            Err(error) => error.is_unavailable(),
        };
        if !is_unavailable {
            return found;
        }
        first = first.or(Some(found));
    }
    first.expect("a connection has at least one hub")
}

/// `GET /ip` over each family of a hub's name that is looked for.
async fn find_at(
    settings: &Settings,
    connection: &Connection,
    include: impl Fn(Family) -> bool,
) -> Result<Seen, DiscoverError> {
    let all = look_up(connection.key()).await?;
    let (v4, v6): (Vec<SocketAddr>, Vec<SocketAddr>) = worth_asking(&all, include)
        .into_iter()
        .partition(SocketAddr::is_ipv4);
    let (v4, v6) = tokio::join!(ask(settings, connection, v4), ask(settings, connection, v6));
    let of_hub: Vec<IpAddr> = all.iter().map(|at| at.ip().to_canonical()).collect();
    let own = own_addresses();
    let is_relayed = |ip: &IpAddr| {
        own.as_ref()
            .is_some_and(|own| !ip.is_loopback() && !own.contains(ip))
    };
    let candidate = |ip: IpAddr| Candidate {
        is_hubs: is_relayed(&ip) && of_hub.contains(&ip),
        ..Candidate::from(ip)
    };
    let mut relayed = Vec::new();
    let mut answers = Vec::new();
    for (family, asked) in [(Family::V4, v4), (Family::V6, v6)] {
        let Some(asked) = asked else {
            continue;
        };
        if let Ok(ip) = &asked {
            relayed.extend(Some(*ip).filter(is_relayed));
        }
        answers.push(OverFamily {
            family,
            answer: asked
                .map(candidate)
                .map_err(|error| Arc::new(DiscoverError::Hub(error))),
        });
    }
    Ok(Seen {
        answers,
        relayed,
        own: own.unwrap_or_default(),
    })
}

/// The addresses of the hub over which its response is useful: omits families that no record wants, and link-local
/// addresses, over which the hub sees a link-local address. If none are left, returns all.
fn worth_asking(all: &[SocketAddr], include: impl Fn(Family) -> bool) -> Vec<SocketAddr> {
    let is_of_use = |at: &&SocketAddr| {
        let is_link_local = match at.ip() {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        !is_link_local && include(Family::of(at.ip()))
    };
    let of_use: Vec<SocketAddr> = all.iter().filter(is_of_use).copied().collect();
    if of_use.is_empty() {
        return all.to_vec();
    }
    of_use
}

/// This machine's addresses; `None`: the system returned an error.
fn own_addresses() -> Option<Vec<IpAddr>> {
    match if_addrs::get_if_addrs() {
        Ok(all) => Some(
            all.iter()
                .map(|listed| listed.ip().to_canonical())
                .collect(),
        ),
        Err(error) => {
            tracing::warn!(
                "cannot list this machine's addresses, so a relay in front of the hub would go undetected: {error}"
            );
            None
        }
    }
}

/// Asks only over these addresses; `None` if there are none.
async fn ask(
    settings: &Settings,
    connection: &Connection,
    addresses: Vec<SocketAddr>,
) -> Option<Result<IpAddr, ClientError>> {
    let interface = settings.bind_interface.clone();
    let local_address = route::stable_source(*addresses.first()?, interface.as_deref());
    let route = Route {
        addresses: Some(addresses),
        local_address,
        interface,
    };
    let client = match HubClient::new(connection, AgentKind::Upstream, &route) {
        Ok(client) => client,
        Err(error) => return Some(Err(error)),
    };
    Some(client.caller_address().await)
}
