//! The types that hub and agents share: [`SiloId`], [`Hostname`], [`Addresses`], [`Records`].
//!
//! Each is parsed once, where it enters a program, and is valid from then on. The hub parses what clients send, and the
//! agents what the hub sends, by the same rules.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The maximum number of records (hostname/address pairs) in a silo.
pub const MAX_RECORDS: usize = 10_000;

/// The records of one silo: hostnames in byte order, each with its addresses.
pub type Records = BTreeMap<Hostname, Addresses>;

/// Counts the hostname/address pairs, which [`MAX_RECORDS`] limits.
pub fn count_records(records: &Records) -> usize {
    records
        .values()
        .map(|addresses| addresses.iter().count())
        .sum()
}

/// The name of a silo: `[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?`; upper case is folded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct SiloId(Box<str>);

/// Why a text is not a silo id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidSiloId {
    /// Empty.
    #[error("a silo id must not be empty")]
    Empty,
    /// Longer than 63 characters.
    #[error("a silo id has at most 63 characters")]
    TooLong,
    /// A character outside the allowed set.
    #[error("a silo id consists of letters, digits, '.', '_' and '-'")]
    Character,
    /// The first or the last character is not a letter or digit.
    #[error("a silo id begins and ends with a letter or digit")]
    Edge,
}

impl SiloId {
    /// Parses a silo id and converts it to lower case.
    pub fn parse(text: &str) -> Result<Self, InvalidSiloId> {
        let bytes = text.as_bytes();
        let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
            return Err(InvalidSiloId::Empty);
        };
        if !bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        {
            return Err(InvalidSiloId::Character);
        }
        if bytes.len() > 63 {
            return Err(InvalidSiloId::TooLong);
        }
        if !first.is_ascii_alphanumeric() || !last.is_ascii_alphanumeric() {
            return Err(InvalidSiloId::Edge);
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A DNS hostname in its stored form: lower case, no trailing dot, Unicode as A-labels.
///
/// RFC 1123 section 2.1 (labels of 1–63 letters, digits and hyphens, 253 in all), with underscores allowed anywhere in
/// a label: hosts files and Windows names have them. Names that a resolver would not look up in the hosts file, or that
/// have a special meaning, are refused: see [`InvalidHostname`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Hostname(Box<str>);

/// Why a text is not a hostname.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidHostname {
    /// Empty.
    #[error("a hostname must not be empty")]
    Empty,
    /// Longer than 253 characters.
    #[error("a hostname has at most 253 characters")]
    TooLong,
    /// Two dots in a row, or a leading dot.
    #[error("a hostname must not contain an empty label")]
    EmptyLabel,
    /// A label longer than 63 characters.
    #[error("each label of a hostname has at most 63 characters")]
    LabelTooLong,
    /// A character outside letters, digits, hyphen and underscore.
    #[error("a hostname's labels consist of letters, digits, '-' and '_'")]
    Character,
    /// A label that begins or ends with a hyphen.
    #[error("a hostname's labels must not begin or end with '-'")]
    Hyphen,
    /// Unicode without an A-label (UTS 46).
    #[error("this Unicode name has no valid ASCII form (IDNA)")]
    Idna,
    /// The last label is a number, so that resolvers treat the name as an IPv4 address.
    #[error("a hostname whose last label is a number is read as an IPv4 address")]
    Number,
    /// `localhost`, `broadcasthost`, `ip6-*`, or under `localhost`, `invalid`, `onion`, `alt`.
    #[error(
        "this name is reserved (localhost, broadcasthost, ip6-*, and anything under localhost, invalid, onion, alt)"
    )]
    Reserved,
}

impl Hostname {
    /// Parses a hostname into its stored form.
    pub fn parse(text: &str) -> Result<Self, InvalidHostname> {
        if text.is_empty() || text == "." {
            return Err(InvalidHostname::Empty);
        }
        let ascii = if text.is_ascii() {
            text.to_ascii_lowercase()
        } else {
            idna::domain_to_ascii_cow(text.as_bytes(), idna::AsciiDenyList::EMPTY)
                .map_err(|_| InvalidHostname::Idna)?
                .into_owned()
        };
        let name = ascii.strip_suffix('.').unwrap_or(&ascii);
        if name.len() > 253 {
            return Err(InvalidHostname::TooLong);
        }
        name.split('.').try_for_each(check_label)?;
        let last = name.rsplit('.').next().unwrap_or(name);
        if last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x") {
            return Err(InvalidHostname::Number);
        }
        if name == "broadcasthost"
            || name.starts_with("ip6-")
            || matches!(last, "localhost" | "invalid" | "onion" | "alt")
        {
            return Err(InvalidHostname::Reserved);
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether DNS servers accept the name as that of a host (RFC 952, RFC 1123 section 2.1): it has no `_`.
    pub fn is_dns_host_name(&self) -> bool {
        !self.0.contains('_')
    }

    /// Whether the name has only one label.
    pub fn is_single_label(&self) -> bool {
        !self.0.contains('.')
    }
}

fn check_label(label: &str) -> Result<(), InvalidHostname> {
    if label.is_empty() {
        return Err(InvalidHostname::EmptyLabel);
    }
    // RFC 1123 section 2.1, and `_`, which hosts files and Windows names contain and resolvers accept.
    let takes = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !label.bytes().all(takes) {
        return Err(InvalidHostname::Character);
    }
    if label.len() > 63 {
        return Err(InvalidHostname::LabelTooLong);
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err(InvalidHostname::Hyphen);
    }
    Ok(())
}

macro_rules! text_newtype {
    ($name:ident, $error:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::parse(text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                crate::config::deserialize_text(deserializer, Self::parse)
            }
        }
    };
}

text_newtype!(SiloId, InvalidSiloId);
text_newtype!(Hostname, InvalidHostname);

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// 4 or 6.
    pub fn number(self) -> i16 {
        match self {
            Self::V4 => 4,
            Self::V6 => 6,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IPv{}", self.number())
    }
}

/// Why a text is not an address that a record can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidAddress {
    /// Neither an IPv4 nor an IPv6 address.
    #[error("not an IPv4 or IPv6 address")]
    Syntax,
    /// An IPv6 address with a zone id (`fe80::1%eth0`).
    #[error("an address must not carry a zone id (the part after '%')")]
    Zone,
    /// 0.0.0.0 or `::`.
    #[error("the unspecified address names no machine")]
    Unspecified,
    /// A multicast address.
    #[error("a multicast address names no machine")]
    Multicast,
}

/// Parses an address that a record can have; IPv4-mapped IPv6 becomes IPv4.
pub fn parse_address(text: &str) -> Result<IpAddr, InvalidAddress> {
    if text.contains('%') {
        return Err(InvalidAddress::Zone);
    }
    check_address(text.parse::<IpAddr>().map_err(|_| InvalidAddress::Syntax)?)
}

/// Checks that a record can have this address; IPv4-mapped IPv6 becomes IPv4.
pub fn check_address(ip: IpAddr) -> Result<IpAddr, InvalidAddress> {
    let ip = ip.to_canonical();
    if ip.is_unspecified() {
        Err(InvalidAddress::Unspecified)
    } else if ip.is_multicast() {
        Err(InvalidAddress::Multicast)
    } else {
        Ok(ip)
    }
}

/// The addresses of a hostname: at most one of each family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Addresses {
    /// The IPv4 address.
    pub v4: Option<Ipv4Addr>,
    /// The IPv6 address.
    pub v6: Option<Ipv6Addr>,
}

impl Addresses {
    /// The address of one family.
    pub fn get(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.v4.map(IpAddr::V4),
            Family::V6 => self.v6.map(IpAddr::V6),
        }
    }

    /// Sets the address of its own family; returns the previous one.
    pub fn set(&mut self, ip: IpAddr) -> Option<IpAddr> {
        match ip {
            IpAddr::V4(v4) => self.v4.replace(v4).map(IpAddr::V4),
            IpAddr::V6(v6) => self.v6.replace(v6).map(IpAddr::V6),
        }
    }

    /// Removes one family.
    pub fn clear(&mut self, family: Family) {
        match family {
            Family::V4 => self.v4 = None,
            Family::V6 => self.v6 = None,
        }
    }

    /// The addresses, IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> {
        self.v4
            .map(IpAddr::V4)
            .into_iter()
            .chain(self.v6.map(IpAddr::V6))
    }

    /// Whether there are no addresses.
    pub fn is_empty(&self) -> bool {
        self.v4.is_none() && self.v6.is_none()
    }

    /// `self`, with the families that `newer` has taken from `newer`.
    #[must_use]
    pub fn merged_with(&self, newer: &Self) -> Self {
        Self {
            v4: newer.v4.or(self.v4),
            v6: newer.v6.or(self.v6),
        }
    }
}

impl FromIterator<IpAddr> for Addresses {
    /// Collects addresses; a later one of the same family wins.
    fn from_iter<I: IntoIterator<Item = IpAddr>>(ips: I) -> Self {
        let mut addresses = Self::default();
        for ip in ips {
            addresses.set(ip);
        }
        addresses
    }
}

impl fmt::Display for Addresses {
    /// The addresses separated by spaces, IPv4 first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for ip in self.iter() {
            write!(f, "{separator}{ip}")?;
            separator = " ";
        }
        Ok(())
    }
}

/// Whether `name` matches `glob`, in which `*` matches any sequence of characters, including dots.
pub fn glob_matches(glob: &str, name: &str) -> bool {
    let mut parts = glob.split('*');
    let prefix = parts.next().unwrap_or("");
    let Some(mut rest) = name.strip_prefix(prefix) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
#[path = "silo_tests.rs"]
mod tests;
