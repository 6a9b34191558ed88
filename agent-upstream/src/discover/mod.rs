//! Finds the addresses of this machine: asks the configured source, then chooses by the rules.
//!
//! - `select`: the rules, pure.
//! - `hub`, `route`, `interface` (with `ipv6_flags`), `command`: one source each.

mod command;
mod hub;
mod interface;
mod ipv6_flags;
mod route;
pub(crate) mod select;

use std::net::SocketAddr;

use silo_shared::client::ClientError;
use silo_shared::silo::Addresses;
use thiserror::Error;
use url::Url;

use crate::settings::Settings;
use crate::source::AddressSource;
use select::{Mode, Unusable, select};

/// Why no address is known. Nothing is changed then.
#[derive(Debug, Error)]
pub(crate) enum DiscoverError {
    /// The hub could not be asked for the address that it sees.
    #[error(transparent)]
    Hub(#[from] ClientError),
    /// The hub's name has no address.
    #[error("cannot look up the hub's name {host}: {cause}")]
    Lookup {
        /// The name.
        host: String,
        /// What the resolver says.
        cause: std::io::Error,
    },
    /// The system has no way to the target.
    #[error("the system has no route to {target}: {cause}")]
    NoRoute {
        /// Where to.
        target: String,
        /// What the system says.
        cause: std::io::Error,
    },
    /// See [`interface::InterfaceError`].
    #[error(transparent)]
    Interface(#[from] interface::InterfaceError),
    /// See [`command::CommandError`].
    #[error("the command {program}: {cause}")]
    Command {
        /// The program.
        program: String,
        /// What went wrong.
        cause: command::CommandError,
    },
    /// Addresses were found, but none that can be reported.
    #[error("addresses from {setting}: {unusable}{hint}")]
    Unusable {
        /// The setting `addresses`.
        setting: String,
        /// The addresses and the reasons.
        unusable: Unusable,
        /// What to do.
        hint: &'static str,
    },
}

const SAME_MACHINE: &str = ": the hub seems to run on this same machine, so take the address from \
                            `route:ADDRESS` (any address of your network) or `interface:NAME`";

/// Finds this machine's addresses: at least one, at most one a family.
pub(crate) async fn discover(settings: &Settings) -> Result<Addresses, DiscoverError> {
    let (found, mode) = match &settings.addresses {
        AddressSource::Hub => (hub::find(settings).await?, Mode::Each),
        AddressSource::Route(target) => (route::find(settings, *target).await?, Mode::Each),
        AddressSource::Interface(interface) => {
            let mode = Mode::Best {
                temporary: interface.temporary,
                deprecated: interface.deprecated,
                link_local: interface.link_local,
            };
            (interface::find(interface)?, mode)
        }
        AddressSource::Command(argv) => (command::find(argv).await?, Mode::Each),
    };
    select(&found, &settings.rules, mode).map_err(|unusable| {
        let towards_hub = matches!(
            settings.addresses,
            AddressSource::Hub | AddressSource::Route(None)
        );
        let hint = if towards_hub && unusable.has_loopback() {
            SAME_MACHINE
        } else {
            ""
        };
        DiscoverError::Unusable {
            setting: settings.addresses.to_string(),
            unusable,
            hint,
        }
    })
}

/// The addresses that the hub's name has, in the resolver's order.
async fn look_up(hub: &Url) -> Result<Vec<SocketAddr>, DiscoverError> {
    let host = hub.host_str().unwrap_or_default();
    let port = hub.port_or_known_default().unwrap_or_default();
    let failed = |cause| DiscoverError::Lookup {
        host: host.to_owned(),
        cause,
    };
    let found: Vec<SocketAddr> = tokio::net::lookup_host((host.trim_matches(['[', ']']), port))
        .await
        .map_err(failed)?
        .collect();
    if found.is_empty() {
        return Err(failed(std::io::Error::other("it has no address")));
    }
    Ok(found)
}
