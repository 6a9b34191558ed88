//! Finds the addresses of this machine: queries the configured source, then selects by the rules.
//!
//! - `select`: the rules, pure.
//! - `hub`, `route`, `interface`, `command`: one source each; `ipv6_table`: the system's table of IPv6 addresses.

mod command;
mod hub;
mod interface;
mod ipv6_table;
mod route;
pub(crate) mod select;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use silo_shared::client::ClientError;
use silo_shared::silo::Family;
use thiserror::Error;
use url::Url;

use crate::settings::Settings;
use crate::source::AddressSource;
use select::{Candidate, Mode, Selection, Unusable, select};

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
        /// The resolver's error.
        cause: std::io::Error,
    },
    /// The system has no route to the target.
    #[error("the system has no route to {target}: {cause}")]
    NoRoute {
        /// The target.
        target: String,
        /// The system's error.
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
        /// The error.
        cause: command::CommandError,
    },
    /// Addresses were found, but none can be reported.
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

impl DiscoverError {
    /// The kind of failure; see [`ClientError::kind`].
    pub(crate) fn kind(&self) -> String {
        match self {
            Self::Hub(error) => error.kind(),
            // The same kind as an outage, during which a later request shows as unreachable.
            Self::Lookup { .. } | Self::NoRoute { .. } => "unreachable".to_owned(),
            Self::Interface(_) => "interface".to_owned(),
            Self::Command { .. } => "command".to_owned(),
            Self::Unusable { .. } => "addresses".to_owned(),
        }
    }
}

const SAME_MACHINE: &str = ": the hub seems to run on this same machine, so take the address from \
                            `route:ADDRESS` (any address of your network) or `interface:NAME`";

/// The result of the source.
#[derive(Debug)]
pub(crate) struct Found {
    candidates: Vec<Candidate>,
    mode: Mode,
    /// The addresses that the hub sees and that do not belong to this machine: it is behind NAT or a relay.
    pub(crate) relayed: Vec<IpAddr>,
    /// The errors over one family while the other succeeded.
    pub(crate) wrong: Vec<ClientError>,
    /// Whether a family that was not found is missing: not while the interface is down.
    is_conclusive: bool,
}

impl Found {
    fn new(candidates: Vec<Candidate>, mode: Mode) -> Self {
        Self {
            candidates,
            mode,
            relayed: Vec::new(),
            wrong: Vec::new(),
            is_conclusive: true,
        }
    }

    /// Selects the addresses to report: at least one, at most one of each family. `held` is the record's IPv6 address.
    pub(crate) fn select(
        &self,
        settings: &Settings,
        held: Option<Ipv6Addr>,
    ) -> Result<Selection, DiscoverError> {
        select(&self.candidates, &settings.rules, self.mode, held).map_err(|unusable| {
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

    /// Whether this machine has no address of this family although the source looked for one.
    pub(crate) fn lacks(&self, family: Family, selection: &Selection, settings: &Settings) -> bool {
        let looked_for = match &settings.addresses {
            AddressSource::Interface(interface) => interface.family.include(family),
            AddressSource::Route(Some(target)) => Family::of(*target) == family,
            _ => true,
        };
        // A family with an error is not known to be missing.
        self.is_conclusive
            && self.wrong.is_empty()
            && looked_for
            && settings.rules.include(family)
            && selection.lacks(family)
    }
}

/// Queries the source for this machine's addresses.
pub(crate) async fn discover(settings: &Settings) -> Result<Found, DiscoverError> {
    Ok(match &settings.addresses {
        AddressSource::Hub => {
            let seen = hub::find(settings).await?;
            Found {
                relayed: seen.relayed,
                wrong: seen.wrong,
                ..Found::new(seen.candidates, Mode::Seen)
            }
        }
        AddressSource::Route(target) => {
            Found::new(route::find(settings, *target).await?, Mode::Seen)
        }
        AddressSource::Interface(interface) => {
            let mode = Mode::Best {
                temporary: interface.temporary,
                deprecated: interface.deprecated,
                link_local: interface.link_local,
            };
            let listed = interface::find(interface)?;
            Found {
                is_conclusive: listed.is_up,
                ..Found::new(listed.candidates, mode)
            }
        }
        AddressSource::Command(argv) => Found::new(command::find(argv).await?, Mode::Stated),
    })
}

/// The addresses of the hub's name, in the resolver's order.
async fn look_up(hub: &Url) -> Result<Vec<SocketAddr>, DiscoverError> {
    let host = hub.host_str().unwrap_or_default();
    let port = hub.port_or_known_default().unwrap_or_default();
    let failed = |cause| DiscoverError::Lookup {
        host: host.to_owned(),
        cause,
    };
    let found = silo_shared::lookup::look_up(host.trim_matches(['[', ']']), port)
        .await
        .map_err(failed)?;
    if found.is_empty() {
        return Err(failed(std::io::Error::other("it has no address")));
    }
    Ok(found)
}
