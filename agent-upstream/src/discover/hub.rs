//! Asks the hub which address it sees, separately over IPv4 and IPv6, and detects whether it may see a relay instead.

use std::net::{IpAddr, SocketAddr};

use silo_shared::client::{ClientError, HubClient, Route};
use silo_shared::silo::Family;

use super::select::Candidate;
use super::{DiscoverError, look_up, route};
use crate::settings::Settings;

/// The addresses that the hub sees.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The addresses, at most one of each family.
    pub(super) candidates: Vec<Candidate>,
    /// Those that do not belong to this machine.
    pub(super) relayed: Vec<IpAddr>,
    /// The errors over one family while the other succeeded.
    pub(super) wrong: Vec<ClientError>,
}

/// `GET /ip` over each family of the hub's name. A family that can't be reached is not an error if the other succeeds.
pub(super) async fn find(settings: &Settings) -> Result<Seen, DiscoverError> {
    let all = look_up(&settings.connection.hub).await?;
    let (v4, v6): (Vec<SocketAddr>, Vec<SocketAddr>) = worth_asking(&all, settings)
        .into_iter()
        .partition(SocketAddr::is_ipv4);
    let (v4, v6) = tokio::join!(ask(settings, v4), ask(settings, v6));
    let (found, wrong) = both(v4, v6)?;
    let of_hub: Vec<IpAddr> = all.iter().map(|at| at.ip().to_canonical()).collect();
    let own = own_addresses();
    let is_relayed = |ip: &IpAddr| {
        own.as_ref()
            .is_some_and(|own| !ip.is_loopback() && !own.contains(ip))
    };
    let named = |ip| settings.rules.name(ip, own.as_deref().unwrap_or_default());
    let candidate = |ip: IpAddr| Candidate {
        is_hubs: is_relayed(&ip) && of_hub.contains(&ip) && !named(ip),
        ..Candidate::from(ip)
    };
    Ok(Seen {
        candidates: found.iter().map(|ip| candidate(*ip)).collect(),
        relayed: found.into_iter().filter(is_relayed).collect(),
        wrong,
    })
}

/// The addresses of the hub over which its response is useful: omits families that `within` excludes, and link-local
/// addresses, over which the hub sees a link-local address. If none are left, returns all.
fn worth_asking(all: &[SocketAddr], settings: &Settings) -> Vec<SocketAddr> {
    let is_of_use = |at: &&SocketAddr| {
        let is_link_local = match at.ip() {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        !is_link_local && settings.rules.include(Family::of(at.ip()))
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
    addresses: Vec<SocketAddr>,
) -> Option<Result<IpAddr, ClientError>> {
    let interface = settings.bind_interface.clone();
    let local_address = route::stable_source(*addresses.first()?, interface.as_deref());
    let route = Route {
        addresses: Some(addresses),
        local_address,
        interface,
    };
    let client = match HubClient::new(&settings.connection, route) {
        Ok(client) => client,
        Err(error) => return Some(Err(error)),
    };
    Some(client.caller_address().await)
}

/// Combines the results of both families, with the error of one if the other succeeded. A family that can't be reached
/// is not an error then.
fn both(
    v4: Option<Result<IpAddr, ClientError>>,
    v6: Option<Result<IpAddr, ClientError>>,
) -> Result<(Vec<IpAddr>, Vec<ClientError>), ClientError> {
    let mut found = Vec::new();
    let mut wrong = Vec::new();
    let mut unreachable = None;
    for answer in [v4, v6].into_iter().flatten() {
        match answer {
            Ok(ip) => found.push(ip),
            Err(error @ ClientError::Unreachable { .. }) => {
                tracing::debug!("one family skipped: {error}");
                unreachable = unreachable.or(Some(error));
            }
            Err(error) => wrong.push(error),
        }
    }
    if found.is_empty()
        && let Some(error) = wrong.pop().or(unreachable)
    {
        return Err(error);
    }
    Ok((found, wrong))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Option<Result<IpAddr, ClientError>> {
        match text {
            "none" => None,
            "down" => Some(Err(ClientError::Unreachable {
                hub: "http://hub".to_owned(),
                cause: "refused".to_owned(),
            })),
            "broken" => Some(Err(ClientError::TooLarge {
                hub: "http://hub".to_owned(),
            })),
            ip => Some(Ok(ip.parse().unwrap())),
        }
    }

    #[test]
    fn a_bad_family_does_not_stop_a_good_one() {
        for (v4, v6, expected) in [
            ("10.0.0.5", "fd00::5", Some(&["10.0.0.5", "fd00::5"][..])),
            ("10.0.0.5", "none", Some(&["10.0.0.5"])),
            ("10.0.0.5", "down", Some(&["10.0.0.5"])),
            ("down", "fd00::5", Some(&["fd00::5"])),
            ("down", "down", None),
            ("down", "none", None),
            ("10.0.0.5", "broken", Some(&["10.0.0.5", "wrong"])),
            ("broken", "fd00::5", Some(&["fd00::5", "wrong"])),
            ("broken", "down", None),
            ("broken", "none", None),
        ] {
            let found = both(answer(v4), answer(v6)).ok();
            let found: Option<Vec<String>> = found.map(|(found, wrong)| {
                let found = found.iter().map(IpAddr::to_string);
                found
                    .chain(wrong.iter().map(|_| "wrong".to_owned()))
                    .collect()
            });
            assert_eq!(
                found.as_deref(),
                expected
                    .map(|e| e.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>())
                    .as_deref(),
                "{v4} {v6}"
            );
        }
    }
}
