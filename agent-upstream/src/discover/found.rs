//! What a source found, as one record sees it: with the record's own rules.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use silo_shared::silo::Family;

use super::DiscoverError;
use super::select::{Candidate, Mode, Selection, select};
use crate::record::Record;
use crate::source::AddressSource;

const SAME_MACHINE: &str = ": the hub seems to run on this same machine, so take the address from \
                            `route:ADDRESS` (any address of your network) or `interface:NAME`";

/// The answer of a source over one family.
#[derive(Clone, Debug)]
pub(super) struct OverFamily {
    /// The family of the connection.
    pub(super) family: Family,
    /// The address, or why there is none.
    pub(super) answer: Result<Candidate, Arc<DiscoverError>>,
}

impl OverFamily {
    /// Whether nothing answered.
    pub(super) fn is_unreachable(&self) -> bool {
        self.answer
            .as_ref()
            .is_err_and(|error| error.is_unreachable())
    }
}

/// The answer of a source, for all records.
#[derive(Debug)]
pub(super) enum Answer {
    /// Of a source that lists the addresses.
    Listed {
        /// The addresses.
        candidates: Vec<Candidate>,
        /// How to treat those that can't be reported.
        mode: Mode,
        /// Whether a family that was not found is missing: not while the interface is down.
        is_conclusive: bool,
    },
    /// Of a source that is asked over each family.
    PerFamily {
        /// The answers.
        answers: Vec<OverFamily>,
        /// How to treat addresses that can't be reported.
        mode: Mode,
        /// The addresses that the hub sees and that do not belong to this machine.
        relayed: Vec<IpAddr>,
        /// This machine's addresses.
        own: Vec<IpAddr>,
    },
}

impl Answer {
    /// A list in which a missing family is missing.
    pub(super) fn listed(candidates: Vec<Candidate>, mode: Mode) -> Self {
        Self::Listed {
            candidates,
            mode,
            is_conclusive: true,
        }
    }

    /// The part that concerns a record: families without a network in its `within` are left out, unless none is left.
    pub(super) fn seen_by<'a>(
        &self,
        source: &'a AddressSource,
        record: &Record,
    ) -> Result<Found<'a>, Arc<DiscoverError>> {
        match self {
            Self::Listed {
                candidates,
                mode,
                is_conclusive,
            } => Ok(Found {
                source,
                candidates: candidates.clone(),
                mode: *mode,
                relayed: Vec::new(),
                wrong: Vec::new(),
                failed: Vec::new(),
                is_conclusive: *is_conclusive,
            }),
            Self::PerFamily {
                answers,
                mode,
                relayed,
                own,
            } => {
                let is_wanted = |over: &&OverFamily| record.rules.include(over.family);
                let mut wanted: Vec<&OverFamily> = answers.iter().filter(is_wanted).collect();
                if wanted.is_empty() {
                    wanted = answers.iter().collect();
                }
                let Both { mut found, wrong } = both(&wanted)?;
                for candidate in &mut found {
                    candidate.is_hubs &= !record.rules.name(candidate.ip, own);
                }
                let is_relayed = |ip: &&IpAddr| found.iter().any(|candidate| candidate.ip == **ip);
                Ok(Found {
                    source,
                    relayed: relayed.iter().filter(is_relayed).copied().collect(),
                    candidates: found,
                    mode: *mode,
                    wrong,
                    failed: Vec::new(),
                    is_conclusive: true,
                })
            }
        }
    }
}

/// The answers over both families.
struct Both {
    found: Vec<Candidate>,
    wrong: Vec<Arc<DiscoverError>>,
}

/// Combines the answers over both families, with the error of one if the other succeeded. A family that can't be reached
/// is not an error then.
fn both(answers: &[&OverFamily]) -> Result<Both, Arc<DiscoverError>> {
    let mut found = Vec::new();
    let mut wrong = Vec::new();
    let mut unreachable = None;
    for over in answers {
        match &over.answer {
            Ok(candidate) => found.push(*candidate),
            Err(error) if error.is_unreachable() => {
                tracing::debug!("one family skipped: {error}");
                unreachable = unreachable.or(Some(error.clone()));
            }
            Err(error) => wrong.push(error.clone()),
        }
    }
    if found.is_empty()
        && let Some(error) = wrong.pop().or(unreachable)
    {
        return Err(error);
    }
    Ok(Both { found, wrong })
}

/// The addresses that a source found for a record.
#[derive(Debug)]
pub(crate) struct Found<'a> {
    /// The source.
    pub(crate) source: &'a AddressSource,
    candidates: Vec<Candidate>,
    mode: Mode,
    /// The addresses that the hub sees and that do not belong to this machine: it is behind NAT or a relay.
    pub(crate) relayed: Vec<IpAddr>,
    /// The errors over one family while the other succeeded.
    pub(crate) wrong: Vec<Arc<DiscoverError>>,
    /// Why the sources before this one gave nothing. A family that is not found here may be known to them.
    pub(crate) failed: Vec<Arc<DiscoverError>>,
    is_conclusive: bool,
}

impl Found<'_> {
    /// Selects the addresses to report: at least one, at most one of each family. `held` is the record's IPv6 address.
    pub(crate) fn select(
        &self,
        record: &Record,
        held: Option<Ipv6Addr>,
    ) -> Result<Selection, DiscoverError> {
        select(&self.candidates, &record.rules, self.mode, held).map_err(|unusable| {
            let towards_hub =
                matches!(self.source, AddressSource::Hub | AddressSource::Route(None));
            let hint = if towards_hub && unusable.has_loopback() {
                SAME_MACHINE
            } else {
                ""
            };
            DiscoverError::Unusable {
                setting: self.source.to_string(),
                unusable,
                hint,
            }
        })
    }

    /// Whether this machine has no address of this family although the source looked for one.
    pub(crate) fn lacks(&self, family: Family, selection: &Selection, record: &Record) -> bool {
        let looked_for = match self.source {
            AddressSource::Interface(interface) => interface.family.include(family),
            AddressSource::Route(Some(target)) => Family::of(*target) == family,
            _ => true,
        };
        // A family with an error is not known to be missing.
        self.is_conclusive
            && self.wrong.is_empty()
            && self.failed.is_empty()
            && looked_for
            && record.rules.include(family)
            && selection.lacks(family)
    }
}

#[cfg(test)]
mod tests {
    use silo_shared::client::ClientError;

    use super::*;

    fn answer(family: Family, text: &str) -> Option<OverFamily> {
        let hub = "http://hub".to_owned();
        let answer = match text {
            "none" => return None,
            "down" => Err(ClientError::Unreachable {
                hub,
                cause: "refused".to_owned(),
            }),
            "broken" => Err(ClientError::TooLarge { hub }),
            ip => Ok(Candidate::from(ip.parse::<IpAddr>().unwrap())),
        };
        Some(OverFamily {
            family,
            answer: answer.map_err(|error| Arc::new(DiscoverError::Hub(error))),
        })
    }

    #[test]
    fn a_bad_family_does_not_stop_a_good_one() {
        for (v4, v6, expected) in [
            ("10.0.0.5", "fd00::5", Some("10.0.0.5 fd00::5")),
            ("10.0.0.5", "none", Some("10.0.0.5")),
            ("10.0.0.5", "down", Some("10.0.0.5")),
            ("down", "fd00::5", Some("fd00::5")),
            ("down", "down", None),
            ("down", "none", None),
            ("10.0.0.5", "broken", Some("10.0.0.5 wrong")),
            ("broken", "fd00::5", Some("fd00::5 wrong")),
            ("broken", "down", None),
            ("broken", "none", None),
        ] {
            let answers = [answer(Family::V4, v4), answer(Family::V6, v6)];
            let answers: Vec<&OverFamily> = answers.iter().flatten().collect();
            let found = both(&answers).ok().map(|Both { found, wrong }| {
                let found = found.iter().map(|candidate| candidate.ip.to_string());
                let words: Vec<String> = found
                    .chain(wrong.iter().map(|_| "wrong".to_owned()))
                    .collect();
                words.join(" ")
            });
            assert_eq!(found.as_deref(), expected, "{v4} {v6}");
        }
    }
}
