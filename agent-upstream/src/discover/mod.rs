//! Finds the addresses of this machine: asks the configured source, then chooses by the rules.
//!
//! - `select`: the rules, pure.
//! - `hub`, `route`, `interface`, `command`: one source each; `ipv6_table`: what the system knows of its addresses.

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
    /// The system has no way to the target.
    #[error("the system has no route to {target}: {cause}")]
    NoRoute {
        /// Where to.
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

impl DiscoverError {
    /// What kind of failure it is; see [`ClientError::kind`].
    pub(crate) fn kind(&self) -> String {
        match self {
            Self::Hub(error) => error.kind(),
            // As an outage has it that a later question would show as unreachable.
            Self::Lookup { .. } | Self::NoRoute { .. } => "unreachable".to_owned(),
            Self::Interface(_) => "interface".to_owned(),
            Self::Command { .. } => "command".to_owned(),
            Self::Unusable { .. } => "addresses".to_owned(),
        }
    }
}

const SAME_MACHINE: &str = ": the hub seems to run on this same machine, so take the address from \
                            `route:ADDRESS` (any address of your network) or `interface:NAME`";

/// What the source gave.
#[derive(Debug)]
pub(crate) struct Found {
    candidates: Vec<Candidate>,
    mode: Mode,
    /// The addresses that the hub sees and that are none of this machine's: it is behind NAT or a relay.
    pub(crate) relayed: Vec<IpAddr>,
    /// What is wrong with one way to the hub while the other answered.
    pub(crate) wrong: Vec<ClientError>,
    /// Whether a family that was not found is gone: not while the interface is down.
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

    /// Chooses what is reported: at least one address, at most one a family. `held` is the IPv6 address that the
    /// record holds.
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

    /// Whether this machine has no address of this family though one was looked for.
    pub(crate) fn lacks(&self, family: Family, selection: &Selection, settings: &Settings) -> bool {
        let looked_for = match &settings.addresses {
            AddressSource::Interface(interface) => interface.family.include(family),
            AddressSource::Route(Some(target)) => Family::of(*target) == family,
            _ => true,
        };
        // One that answered wrongly is not known to be gone.
        self.is_conclusive
            && self.wrong.is_empty()
            && looked_for
            && settings.rules.include(family)
            && selection.lacks(family)
    }
}

/// Asks the source for this machine's addresses.
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

/// The addresses that the hub's name has, in the resolver's order.
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
