//! Finds the addresses of this machine: queries the configured sources, each once in a run, then selects by the rules.
//!
//! - `select`: the rules, pure.
//! - `found`: what a source found, as one record sees it.
//! - `hub`, `web`, `route`, `interface`, `command`: one source each; `ipv6_table`: the system's table of IPv6 addresses.

mod command;
mod found;
mod hub;
mod interface;
mod ipv6_table;
mod route;
pub(crate) mod select;
mod web;

use std::net::SocketAddr;
use std::sync::Arc;

use silo_shared::client::ClientError;
use silo_shared::silo::Family;
use thiserror::Error;
use url::Url;

use crate::record::Record;
use crate::settings::Settings;
use crate::source::AddressSource;
pub(crate) use found::Found;
use found::{Answer, OverFamily};
pub(crate) use interface::{OwnAddress, own_addresses};
use select::{Mode, Unusable};

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
    /// See [`web::WebError`].
    #[error("the page at {page} {cause}")]
    Web {
        /// Scheme and host.
        page: String,
        /// The error.
        cause: web::WebError,
    },
    /// Each source of a list failed.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; then "))]
    All(Vec<Arc<DiscoverError>>),
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
            Self::Web { .. } => "web".to_owned(),
            Self::All(all) => all.first().map_or_else(String::new, |first| first.kind()),
            Self::Unusable { .. } => "addresses".to_owned(),
        }
    }

    /// Whether another hub may answer.
    fn is_unavailable(&self) -> bool {
        match self {
            Self::Hub(error) => error.is_unavailable(),
            Self::Lookup { .. } => true,
            _ => false,
        }
    }

    /// Whether nothing answered. Over one family, that is no error if the other has an address.
    fn is_unreachable(&self) -> bool {
        match self {
            Self::Hub(error) => matches!(error, ClientError::Unreachable { .. }),
            Self::Web { cause, .. } => cause.is_unreachable(),
            _ => false,
        }
    }
}

/// What the sources answered so far in this run. Records with the same source share its answer.
#[derive(Debug)]
pub(crate) struct Discovery<'a> {
    settings: &'a Settings,
    answers: Vec<(&'a AddressSource, Result<Answer, Arc<DiscoverError>>)>,
}

impl<'a> Discovery<'a> {
    /// Nothing is asked yet.
    pub(crate) fn new(settings: &'a Settings) -> Self {
        Self {
            settings,
            answers: Vec::new(),
        }
    }

    /// The addresses of a record: of the first of its sources that has one which may be reported. If it has only one
    /// source, its addresses may all be refused by [`Found::select`].
    pub(crate) async fn find(
        &mut self,
        record: &'a Record,
    ) -> Result<Found<'a>, Arc<DiscoverError>> {
        if let Some(only) = record.sources.only() {
            return self.look(only, record).await;
        }
        let mut failed = Vec::new();
        for source in record.sources.iter() {
            let found = self.look(source, record).await.and_then(|found| {
                found.select(record, None).map_err(Arc::new)?;
                Ok(found)
            });
            match found {
                Ok(mut found) => {
                    found.failed = failed;
                    return Ok(found);
                }
                Err(error) => {
                    tracing::debug!(record = %record, "the next source is asked: {error}");
                    failed.push(error);
                }
            }
        }
        Err(Arc::new(DiscoverError::All(failed)))
    }

    async fn look(
        &mut self,
        source: &'a AddressSource,
        record: &Record,
    ) -> Result<Found<'a>, Arc<DiscoverError>> {
        let known = self.answers.iter().position(|(asked, _)| *asked == source);
        let at = match known {
            Some(at) => at,
            None => {
                let answer = ask(self.settings, source).await.map_err(Arc::new);
                self.answers.push((source, answer));
                self.answers.len() - 1
            }
        };
        let (_, answer) = &self.answers[at];
        answer.as_ref().map_err(Arc::clone)?.seen_by(source, record)
    }
}

/// Queries a source, for the families that any record with this source may report.
async fn ask(settings: &Settings, source: &AddressSource) -> Result<Answer, DiscoverError> {
    let include = |family: Family| {
        let mut users = settings
            .records
            .iter()
            .filter(|record| record.sources.contain(source));
        users.any(|record| record.rules.include(family))
    };
    Ok(match source {
        AddressSource::Hub => {
            let seen = hub::find(settings, include).await?;
            Answer::PerFamily {
                answers: seen.answers,
                mode: Mode::Seen,
                relayed: seen.relayed,
                own: seen.own,
            }
        }
        AddressSource::Web(pages) => Answer::PerFamily {
            answers: web::find(settings, pages, include).await,
            mode: Mode::Stated,
            relayed: Vec::new(),
            own: Vec::new(),
        },
        AddressSource::Route(target) => {
            Answer::listed(route::find(settings, *target).await?, Mode::Seen)
        }
        AddressSource::Interface(interface) => {
            let mode = Mode::Best {
                temporary: interface.temporary,
                deprecated: interface.deprecated,
                link_local: interface.link_local,
            };
            let listed = interface::find(interface)?;
            Answer::Listed {
                candidates: listed.candidates,
                mode,
                is_conclusive: listed.is_up,
            }
        }
        AddressSource::Command(argv) => Answer::listed(command::find(argv).await?, Mode::Stated),
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
