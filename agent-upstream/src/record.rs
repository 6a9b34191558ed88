//! What is reported: the settings `silo` and `hostnames`, or the list `records`, as one list of [`Record`]s.

use std::fmt;
use std::net::Ipv6Addr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};
use silo_shared::api::RecordDocument;
use silo_shared::client::RecordUpdate;
use silo_shared::config::{ConfigError, deserialize_text};
use silo_shared::silo::{Addresses, Hostname, SiloId};

use crate::discover::select::{Network, Rules, Suffix};
use crate::forget::{self, ForgetAfter};
use crate::period::Period;
use crate::source::{AddressSource, Sources};

/// The default length of an IPv6 prefix: that of a link (RFC 4291 section 2.5.1).
const DEFAULT_PREFIX_LEN: u8 = 64;
/// The limits of the hub for `expires_after`, in seconds: half an hour to 100 years.
const EXPIRES_AFTER: std::ops::RangeInclusive<i64> = 1800..=100 * 366 * 86_400;
/// The hub's limit for a comment, in characters.
const MAX_COMMENT: usize = 1000;

/// A record that this agent reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// The silo.
    pub(crate) silo: SiloId,
    /// The hostname, unique within its silo.
    pub(crate) hostname: Hostname,
    /// Where its addresses come from.
    pub(crate) sources: Sources,
    /// Which addresses are reported.
    pub(crate) rules: Rules,
    /// How long a family must be missing before its address is removed; `Off`: never.
    pub(crate) forget: ForgetAfter,
    /// What else this agent sets.
    pub(crate) attributes: Attributes,
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in silo {}", self.hostname, self.silo)
    }
}

/// Attributes of a record that this agent sets; `None`: it leaves them as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// The comment.
    pub(crate) comment: Option<String>,
    /// Seconds without a write after which the hub deletes the record.
    pub(crate) expires_after: Option<i64>,
}

impl Attributes {
    /// Those that differ from the hub's record.
    pub(crate) fn not_in(&self, record: Option<&RecordDocument>) -> Self {
        let Some(record) = record else {
            return self.clone();
        };
        let is_new = |comment: &String| record.comment.as_ref() != Some(comment);
        Self {
            comment: self.comment.clone().filter(is_new),
            expires_after: self
                .expires_after
                .filter(|seconds| record.expires_after != Some(*seconds)),
        }
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Together with these addresses, as they are sent.
    pub(crate) fn with(self, addresses: Addresses) -> RecordUpdate {
        RecordUpdate {
            addresses,
            comment: self.comment,
            expires_after: self.expires_after,
        }
    }
}

impl fmt::Display for Attributes {
    /// Their names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (&self.comment, self.expires_after) {
            (Some(_), Some(_)) => "comment and expires_after",
            (Some(_), None) => "comment",
            (None, Some(_)) => "expires_after",
            (None, None) => "no attribute",
        })
    }
}

/// How addresses are found and checked, as configured for all records or for one.
#[derive(Clone, Debug, Default)]
pub(crate) struct AddressSettings {
    /// Where addresses come from.
    pub(crate) addresses: Option<Sources>,
    /// The networks of addresses that are reported.
    pub(crate) within: Option<Vec<Network>>,
    /// The host part for IPv6.
    pub(crate) ipv6_suffix: Option<Ipv6Addr>,
    /// The length of the prefix before it.
    pub(crate) ipv6_prefix_len: Option<u8>,
}

impl AddressSettings {
    /// `self` with the values of `stronger` taking precedence.
    pub(crate) fn overridden_by(self, stronger: Self) -> Self {
        Self {
            addresses: stronger.addresses.or(self.addresses),
            within: stronger.within.or(self.within),
            ipv6_suffix: stronger.ipv6_suffix.or(self.ipv6_suffix),
            ipv6_prefix_len: stronger.ipv6_prefix_len.or(self.ipv6_prefix_len),
        }
    }
}

/// The settings that list what is reported, from file and flags.
#[derive(Debug, Default)]
pub(crate) struct RecordSettings {
    /// The short form: the silo of all names.
    pub(crate) silo: Option<SiloId>,
    /// The short form: the names.
    pub(crate) hostnames: Option<Vec<Hostname>>,
    /// The long form.
    pub(crate) records: Option<Vec<Entry>>,
    /// For all records that have no value of their own.
    pub(crate) addresses: AddressSettings,
    /// For all records.
    pub(crate) forget: Option<ForgetAfter>,
}

/// One entry of `records`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    silo: SiloId,
    hostname: Option<Hostname>,
    addresses: Option<Sources>,
    within: Option<Vec<Network>>,
    ipv6_suffix: Option<Ipv6Addr>,
    ipv6_prefix_len: Option<u8>,
    #[serde(default, deserialize_with = "expires_after")]
    expires_after: Option<i64>,
    #[serde(default, deserialize_with = "comment")]
    comment: Option<String>,
}

impl RecordSettings {
    /// Checks everything. The records are in the order of the configuration: at least one, none twice.
    pub(crate) fn resolve(self) -> Result<Vec<Record>, ConfigError> {
        let Some(entries) = self.records else {
            let silo = self.silo.ok_or_else(|| {
                setting("no silo given: set `silo` in the configuration or --silo ID, or list `records`")
            })?;
            let make = |hostname| {
                let attributes = Attributes::default();
                record(
                    silo.clone(),
                    hostname,
                    attributes,
                    &self.addresses,
                    self.forget,
                )
            };
            return hostnames(self.hostnames)?.into_iter().map(make).collect();
        };
        for (name, is_given) in [
            ("silo", self.silo.is_some()),
            ("hostnames", self.hostnames.is_some()),
        ] {
            if is_given {
                return Err(setting(format!(
                    "`records` and `{name}` are both given (`{name}` in the file, as a flag or as a variable): each record has its own silo and hostname, so remove `{name}`"
                )));
            }
        }
        if entries.is_empty() {
            return Err(setting(
                "`records` is empty: list at least one, or use `silo` and `hostnames`",
            ));
        }
        let mut records: Vec<Record> = Vec::new();
        for (at, entry) in entries.into_iter().enumerate() {
            let made = entry
                .resolve(&self.addresses, self.forget)
                .map_err(|error| setting(format!("records[{at}]: {error}")))?;
            let is_same =
                |other: &&Record| (&other.silo, &other.hostname) == (&made.silo, &made.hostname);
            if records.iter().any(|other| is_same(&other)) {
                return Err(setting(format!(
                    "records[{at}]: {made} is listed twice: keep one"
                )));
            }
            records.push(made);
        }
        Ok(records)
    }
}

impl Entry {
    fn resolve(
        self,
        general: &AddressSettings,
        forget: Option<ForgetAfter>,
    ) -> Result<Record, ConfigError> {
        let own = AddressSettings {
            addresses: self.addresses,
            within: self.within,
            ipv6_suffix: self.ipv6_suffix,
            ipv6_prefix_len: self.ipv6_prefix_len,
        };
        let hostname = match self.hostname {
            Some(hostname) => hostname,
            None => machine_name()?,
        };
        let attributes = Attributes {
            comment: self.comment,
            expires_after: self.expires_after,
        };
        let addresses = general.clone().overridden_by(own);
        record(self.silo, hostname, attributes, &addresses, forget)
    }
}

fn record(
    silo: SiloId,
    hostname: Hostname,
    attributes: Attributes,
    addresses: &AddressSettings,
    forget: Option<ForgetAfter>,
) -> Result<Record, ConfigError> {
    let sources = addresses.addresses.clone().unwrap_or_default();
    let within = within(addresses.within.clone())?;
    if within.is_none() && sources.iter().any(AddressSource::is_forgeable) {
        return Err(setting(
            "`web` with http:// requires `within`: anyone on the path can forge the answer, so list the networks of this machine's addresses, or use https://",
        ));
    }
    Ok(Record {
        silo,
        hostname,
        forget: forget.unwrap_or(match sources.only() {
            Some(AddressSource::Interface(_)) => ForgetAfter::Missing(forget::DEFAULT),
            _ => ForgetAfter::Off,
        }),
        sources,
        rules: Rules {
            within,
            suffix: suffix(addresses.ipv6_suffix, addresses.ipv6_prefix_len)?,
        },
        attributes,
    })
}

fn hostnames(given: Option<Vec<Hostname>>) -> Result<Vec<Hostname>, ConfigError> {
    let Some(given) = given else {
        return machine_name().map(|name| vec![name]);
    };
    let mut names: Vec<Hostname> = Vec::new();
    for name in given {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() {
        return Err(setting(
            "`hostnames` is empty: list at least one, or remove the key to use this machine's own name",
        ));
    }
    Ok(names)
}

fn machine_name() -> Result<Hostname, ConfigError> {
    own_name(&gethostname::gethostname().to_string_lossy())
}

/// The first label of the machine's host name.
fn own_name(full: &str) -> Result<Hostname, ConfigError> {
    let short = full.split('.').next().unwrap_or_default();
    Hostname::parse(short).map_err(|error| {
        setting(format!(
            "this machine's own name `{short}` is not a valid hostname ({error}): set `hostnames` in the configuration or --hostnames NAME"
        ))
    })
}

fn within(given: Option<Vec<Network>>) -> Result<Option<Vec<Network>>, ConfigError> {
    match given {
        Some(networks) if networks.is_empty() => Err(setting(
            "`within` is empty, so no address matches: list a network or remove the key",
        )),
        other => Ok(other),
    }
}

fn suffix(suffix: Option<Ipv6Addr>, prefix_len: Option<u8>) -> Result<Option<Suffix>, ConfigError> {
    match (suffix, prefix_len) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(setting("`ipv6_prefix_len` requires `ipv6_suffix`")),
        (Some(suffix), prefix_len) => Suffix::new(suffix, prefix_len.unwrap_or(DEFAULT_PREFIX_LEN))
            .map(Some)
            .map_err(|error| setting(error.to_string())),
    }
}

fn comment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    struct Comment;

    impl<'de> Visitor<'de> for Comment {
        type Value = Option<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text")
        }

        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Self::Value, D::Error> {
            deserialize_text(inner, |text| {
                if text.chars().count() > MAX_COMMENT || text.contains('\0') {
                    return Err("a comment has at most 1000 characters, none of them NUL");
                }
                Ok(Some(text.to_owned()))
            })
        }
    }

    deserializer.deserialize_option(Comment)
}

/// Seconds, as the hub has it, or a number with a unit.
fn expires_after<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    struct Seconds;

    fn check<E: de::Error>(seconds: i64) -> Result<Option<i64>, E> {
        if EXPIRES_AFTER.contains(&seconds) {
            Ok(Some(seconds))
        } else {
            Err(E::custom(
                "must be at least 30m (1800 seconds) and at most 100 years",
            ))
        }
    }

    impl Visitor<'_> for Seconds {
        type Value = Option<i64>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number of seconds, or a number with s, m, h or d, such as 1d")
        }

        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Self::Value, E> {
            check(i64::try_from(seconds).unwrap_or(i64::MAX))
        }

        fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Self::Value, E> {
            check(seconds)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            let period: Period = text.parse().map_err(E::custom)?;
            check(i64::try_from(period.as_duration().as_secs()).unwrap_or(i64::MAX))
        }
    }

    deserializer.deserialize_any(Seconds)
}

fn setting(words: impl Into<String>) -> ConfigError {
    ConfigError::Setting(words.into())
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
