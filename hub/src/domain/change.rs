//! What a command changes: takes the old and the desired state, returns the changes. No changes means that the state is
//! already as desired; then nothing is written and no revision is assigned.

use std::net::{IpAddr, Ipv6Addr};

use silo_shared::silo::{Addresses, Family, Hostname, Records};

/// One address that changed; one row of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressChange {
    /// The hostname.
    pub hostname: Hostname,
    /// The address family.
    pub family: Family,
    /// The address before.
    pub old: Option<IpAddr>,
    /// The address after.
    pub new: Option<IpAddr>,
}

/// The changes that turn one hostname's addresses from `old` into `new`, IPv4 first.
pub fn address_changes(
    hostname: &Hostname,
    old: &Addresses,
    new: &Addresses,
) -> impl Iterator<Item = AddressChange> {
    [Family::V4, Family::V6]
        .into_iter()
        .filter_map(move |family| {
            let (old, new) = (old.get(family), new.get(family));
            (old != new).then(|| AddressChange {
                hostname: hostname.clone(),
                family,
                old,
                new,
            })
        })
}

/// The hostnames whose addresses differ between two states of a silo, in byte order, each with its addresses before and
/// after (empty: the record does not exist).
pub fn differing(old: &Records, new: &Records) -> Vec<(Hostname, Addresses, Addresses)> {
    let none = Addresses::default();
    let gone = old
        .iter()
        .filter(|(hostname, _)| !new.contains_key(*hostname))
        .map(|(hostname, before)| (hostname.clone(), *before, none));
    let set = new.iter().filter_map(|(hostname, after)| {
        let before = old.get(hostname).copied().unwrap_or_default();
        (before != *after).then(|| (hostname.clone(), before, *after))
    });
    let mut rows: Vec<_> = gone.chain(set).collect();
    rows.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    rows
}

/// A record's data besides its addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// A free-form comment.
    pub comment: Option<String>,
    /// The mail address to notify when the address changes.
    pub notify: Option<String>,
    /// The host part to combine with an IPv6 prefix.
    pub ipv6_suffix: Option<Ipv6Addr>,
    /// Seconds without a write after which the record is deleted.
    pub expires_after: Option<i64>,
}

/// A write's changes of the attributes: `None` = keep, `Some(None)` = clear.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttributePatch {
    /// The comment.
    pub comment: Option<Option<String>>,
    /// The mail address.
    pub notify: Option<Option<String>>,
    /// The IPv6 host part.
    pub ipv6_suffix: Option<Option<Ipv6Addr>>,
    /// The expiry in seconds.
    pub expires_after: Option<Option<i64>>,
}

impl AttributePatch {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The longest comment, in characters.
const MAX_COMMENT: usize = 1000;
/// The longest mail address, in bytes (RFC 5321 section 4.5.3.1.3).
const MAX_NOTIFY: usize = 254;
/// The shortest and the longest expiry, in seconds: half an hour, a hundred years.
const EXPIRES_AFTER: std::ops::RangeInclusive<i64> = 1800..=100 * 366 * 86_400;

/// Checks a comment. The error text follows the member's name in a sentence, as in the functions below.
pub fn check_comment(text: &str) -> Result<(), &'static str> {
    let fits = text.chars().count() <= MAX_COMMENT && !text.contains('\0');
    fits.then_some(()).ok_or("has at most 1000 characters")
}

/// Checks the form of a mail address, enough to reject mistakes and header injections.
pub fn check_notify(text: &str) -> Result<(), &'static str> {
    let printable = text.chars().all(|c| !c.is_control() && !c.is_whitespace());
    let parts = text.rsplit_once('@');
    let fits = text.len() <= MAX_NOTIFY
        && printable
        && !text.contains(['<', '>', ',', ';', '"'])
        && parts.is_some_and(|(local, domain)| {
            !local.is_empty() && !local.contains('@') && !domain.is_empty()
        });
    fits.then_some(()).ok_or("is not a mail address")
}

/// Checks an IPv6 host part.
pub fn check_ipv6_suffix(suffix: Ipv6Addr) -> Result<(), &'static str> {
    (!suffix.is_unspecified())
        .then_some(())
        .ok_or("is not the host part of an IPv6 address, such as \"::5\"")
}

/// Checks an expiry in seconds.
pub fn check_expires_after(seconds: i64) -> Result<(), &'static str> {
    EXPIRES_AFTER
        .contains(&seconds)
        .then_some(())
        .ok_or("must be at least 1800 seconds and at most 100 years")
}

impl Attributes {
    /// Checks attributes that do not come from a request; the error names the wrong one.
    pub fn check(&self) -> Result<(), String> {
        let checks = [
            ("comment", self.comment.as_deref().map(check_comment)),
            ("notify", self.notify.as_deref().map(check_notify)),
            ("ipv6_suffix", self.ipv6_suffix.map(check_ipv6_suffix)),
            ("expires_after", self.expires_after.map(check_expires_after)),
        ];
        for (name, check) in checks {
            if let Some(Err(wrong)) = check {
                return Err(format!("{name} {wrong}"));
            }
        }
        Ok(())
    }

    /// The attributes after a patch.
    #[must_use]
    pub fn patched(&self, patch: &AttributePatch) -> Self {
        Self {
            comment: patch
                .comment
                .clone()
                .unwrap_or_else(|| self.comment.clone()),
            notify: patch.notify.clone().unwrap_or_else(|| self.notify.clone()),
            ipv6_suffix: patch.ipv6_suffix.unwrap_or(self.ipv6_suffix),
            expires_after: patch.expires_after.unwrap_or(self.expires_after),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Hostname {
        Hostname::parse(text).unwrap()
    }

    fn addresses(ips: &[&str]) -> Addresses {
        ips.iter().map(|ip| ip.parse::<IpAddr>().unwrap()).collect()
    }

    #[test]
    fn a_family_changed_is_a_row_of_its_own() {
        let rows: Vec<_> = address_changes(
            &name("db"),
            &addresses(&["10.0.0.5", "fd00::5"]),
            &addresses(&["10.0.0.6"]),
        )
        .collect();
        assert_eq!(rows.len(), 2);
        assert_eq!(
            (rows[0].family, rows[0].old, rows[0].new),
            (
                Family::V4,
                Some("10.0.0.5".parse().unwrap()),
                Some("10.0.0.6".parse().unwrap())
            )
        );
        assert_eq!(
            (rows[1].family, rows[1].old, rows[1].new),
            (Family::V6, Some("fd00::5".parse().unwrap()), None)
        );
    }

    #[test]
    fn only_differing_hostnames_are_named_in_byte_order() {
        let old = Records::from([
            (name("a"), addresses(&["10.0.0.1"])),
            (name("b"), addresses(&["10.0.0.2"])),
            (name("d"), addresses(&["10.0.0.4"])),
        ]);
        let new = Records::from([
            (name("a"), addresses(&["10.0.0.1"])),
            (name("c"), addresses(&["10.0.0.3"])),
            (name("d"), addresses(&["10.0.0.44"])),
        ]);
        let names: Vec<_> = differing(&old, &new).into_iter().map(|row| row.0).collect();
        assert_eq!(names, [name("b"), name("c"), name("d")]);
        assert!(differing(&old, &old).is_empty());
    }

    #[test]
    fn a_patch_keeps_what_it_does_not_name_and_clears_on_null() {
        let old = Attributes {
            comment: Some("rack 3".to_owned()),
            expires_after: Some(3600),
            ..Attributes::default()
        };
        let patch = AttributePatch {
            expires_after: Some(None),
            notify: Some(Some("a@lan".to_owned())),
            ..AttributePatch::default()
        };
        let new = old.patched(&patch);
        assert_eq!(new.comment.as_deref(), Some("rack 3"));
        assert_eq!(new.notify.as_deref(), Some("a@lan"));
        assert_eq!(new.expires_after, None);
        assert_eq!(new.patched(&AttributePatch::default()), new);
    }
}
