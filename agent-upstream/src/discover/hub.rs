//! Asks the hub which address it sees, IPv4 and IPv6 apart.

use std::net::{IpAddr, SocketAddr};

use silo_shared::client::{ClientError, HubClient, Route};

use super::select::Candidate;
use super::{DiscoverError, look_up};
use crate::settings::Settings;

/// `GET /ip` over each family that the hub's name has. One that can't be reached is no error while the
/// other answers.
pub(super) async fn find(settings: &Settings) -> Result<Vec<Candidate>, DiscoverError> {
    let (v4, v6): (Vec<SocketAddr>, Vec<SocketAddr>) = look_up(&settings.connection.hub)
        .await?
        .into_iter()
        .partition(SocketAddr::is_ipv4);
    let (v4, v6) = tokio::join!(ask(settings, v4), ask(settings, v6));
    Ok(both(v4, v6)?.into_iter().map(Candidate::from).collect())
}

/// Asks over these addresses alone; `None` when there are none.
async fn ask(
    settings: &Settings,
    addresses: Vec<SocketAddr>,
) -> Option<Result<IpAddr, ClientError>> {
    if addresses.is_empty() {
        return None;
    }
    let route = Route {
        addresses: Some(addresses),
        interface: settings.bind_interface.clone(),
        ..Route::default()
    };
    let client = match HubClient::new(&settings.connection, route) {
        Ok(client) => client,
        Err(error) => return Some(Err(error)),
    };
    Some(client.caller_address().await)
}

/// What both families gave; an unreachable one is left out if the other answered.
fn both(
    v4: Option<Result<IpAddr, ClientError>>,
    v6: Option<Result<IpAddr, ClientError>>,
) -> Result<Vec<IpAddr>, ClientError> {
    let mut found = Vec::new();
    let mut unreachable = None;
    for answer in [v4, v6].into_iter().flatten() {
        match answer {
            Ok(ip) => found.push(ip),
            Err(error @ ClientError::Unreachable { .. }) => {
                tracing::debug!("one family passed over: {error}");
                unreachable = unreachable.or(Some(error));
            }
            Err(error) => return Err(error),
        }
    }
    match unreachable {
        Some(error) if found.is_empty() => Err(error),
        _ => Ok(found),
    }
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
    fn an_unreachable_family_is_no_error_while_the_other_answers() {
        for (v4, v6, expected) in [
            ("10.0.0.5", "fd00::5", Some(&["10.0.0.5", "fd00::5"][..])),
            ("10.0.0.5", "none", Some(&["10.0.0.5"])),
            ("10.0.0.5", "down", Some(&["10.0.0.5"])),
            ("down", "fd00::5", Some(&["fd00::5"])),
            ("down", "down", None),
            ("down", "none", None),
            ("10.0.0.5", "broken", None),
            ("broken", "fd00::5", None),
        ] {
            let found = both(answer(v4), answer(v6)).ok();
            let found: Option<Vec<String>> =
                found.map(|found| found.iter().map(IpAddr::to_string).collect());
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
