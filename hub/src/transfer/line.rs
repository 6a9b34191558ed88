//! The lines of an export, and their checks.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use silo_shared::credential::TokenId;
use silo_shared::silo::{Addresses, Family, Hostname, MAX_RECORDS, SiloId, check_address};

use super::check::{Wrong, check_revision};
use super::credential_lines::{DynahostLine, TokenLine, UpdateKeyLine};
use crate::domain::change::Attributes;
use crate::domain::revision::Revision;
use crate::domain::time::Time;
use crate::store::{HistoryRow, SiloHead, StoredRecord, TransferredRow, TransferredSilo};

/// The format name in the first line.
pub(super) const FORMAT: &str = "silo-export";
/// The version that this program writes and reads.
pub(super) const VERSION: u32 = 1;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    pub(super) format: String,
    pub(super) version: u32,
    /// The fingerprint of the hub key that sealed and hashed the rights; absent: there are no such lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<String>,
}

/// Any other line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    Silo(SiloLine),
    History(HistoryLine),
    Token(TokenLine),
    UpdateKey(UpdateKeyLine),
    Dynahost(DynahostLine),
    End(Counts),
}

/// Number of lines of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Silos, including tombstones.
    pub silos: u64,
    /// History rows.
    pub history: u64,
    /// Tokens.
    pub tokens: u64,
    /// Update keys.
    #[serde(default)]
    pub update_keys: u64,
    /// Bindings of dynahost's protocol.
    #[serde(default)]
    pub dynahosts: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SiloLine {
    id: SiloId,
    revision: Revision,
    updated_at: Time,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    deleted: bool,
    records: Vec<RecordLine>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordLine {
    hostname: Hostname,
    ips: Vec<IpAddr>,
    revision: Revision,
    updated_at: Time,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    notify: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ipv6_suffix: Option<Ipv6Addr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_after: Option<i64>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryLine {
    at: Time,
    revision: Revision,
    silo: SiloId,
    hostname: Hostname,
    old_ip: Option<IpAddr>,
    new_ip: Option<IpAddr>,
    via: String,
    token: Option<String>,
    client_ip: Option<IpAddr>,
}

impl From<TransferredSilo> for SiloLine {
    fn from(silo: TransferredSilo) -> Self {
        Self {
            id: silo.id,
            revision: silo.head.revision,
            updated_at: silo.head.updated_at,
            deleted: silo.head.deleted,
            records: silo.records.into_iter().map(RecordLine::from).collect(),
        }
    }
}

impl From<StoredRecord> for RecordLine {
    fn from(record: StoredRecord) -> Self {
        Self {
            hostname: record.hostname,
            ips: record.addresses.iter().collect(),
            revision: record.revision,
            updated_at: record.updated_at,
            comment: record.attributes.comment,
            notify: record.attributes.notify,
            ipv6_suffix: record.attributes.ipv6_suffix,
            expires_after: record.attributes.expires_after,
        }
    }
}

impl From<TransferredRow> for HistoryLine {
    fn from(TransferredRow { silo, row }: TransferredRow) -> Self {
        Self {
            at: row.at,
            revision: row.revision,
            silo,
            hostname: row.hostname,
            old_ip: row.old,
            new_ip: row.new,
            via: row.via,
            token: row.token,
            client_ip: row.client_ip,
        }
    }
}

impl SiloLine {
    /// `highest`: see [`super::check::highest_revision`].
    pub(super) fn check(self, highest: Revision) -> Result<TransferredSilo, Wrong> {
        check_revision(self.revision, highest)?;
        if self.deleted && !self.records.is_empty() {
            return Err(format!("{}: a deleted silo has no records", self.id));
        }
        let mut records = BTreeMap::new();
        let mut pairs = 0;
        for line in self.records {
            let record = line.check(self.revision)?;
            pairs += record.addresses.iter().count();
            if let Some(twice) = records.insert(record.hostname.clone(), record) {
                return Err(format!("duplicate hostname {}", twice.hostname));
            }
        }
        if pairs > MAX_RECORDS {
            return Err(format!("a silo holds at most {MAX_RECORDS} records"));
        }
        Ok(TransferredSilo {
            id: self.id,
            head: SiloHead {
                revision: self.revision,
                updated_at: self.updated_at,
                deleted: self.deleted,
            },
            records: records.into_values().collect(),
        })
    }
}

impl RecordLine {
    fn check(self, newest: Revision) -> Result<StoredRecord, Wrong> {
        let wrong = |what: &str| Err(format!("{}: {what}", self.hostname));
        check_revision(self.revision, Revision::ABOVE_ALL)?;
        if self.revision > newest {
            return wrong("a record's revision is not above its silo's");
        }
        let mut addresses = Addresses::default();
        for ip in &self.ips {
            let ip = check_address(*ip).map_err(|error| format!("{}: {error}", self.hostname))?;
            if addresses.set(ip).is_some() {
                return wrong("at most one address a family");
            }
        }
        if addresses.is_empty() {
            return wrong("a record has an address");
        }
        let attributes = Attributes {
            comment: self.comment,
            notify: self.notify,
            ipv6_suffix: self.ipv6_suffix,
            expires_after: self.expires_after,
        };
        if let Err(error) = attributes.check() {
            return Err(format!("{}: {error}", self.hostname));
        }
        Ok(StoredRecord {
            hostname: self.hostname,
            addresses,
            attributes,
            revision: self.revision,
            // Determined once the history is imported.
            addresses_at: self.revision,
            updated_at: self.updated_at,
            // Set by the importer: an import counts as a write.
            last_seen: self.updated_at,
        })
    }
}

impl HistoryLine {
    /// `highest`: see [`super::check::highest_revision`].
    pub(super) fn check(self, highest: Revision) -> Result<TransferredRow, Wrong> {
        check_revision(self.revision, highest)?;
        let family = |ip: Option<IpAddr>| ip.map(Family::of);
        let family = match (family(self.old_ip), family(self.new_ip)) {
            (Some(old), Some(new)) if old != new => {
                return Err("old_ip and new_ip are of one family".to_owned());
            }
            (Some(family), _) | (None, Some(family)) => family,
            (None, None) => return Err("one of old_ip and new_ip is set".to_owned()),
        };
        let is_word = |text: &str| {
            text.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        if !(1..=16).contains(&self.via.len()) || !is_word(&self.via) {
            return Err("via is a word of at most 16 letters".to_owned());
        }
        if let Some(token) = &self.token {
            TokenId::parse(token).map_err(|error| error.to_string())?;
        }
        Ok(TransferredRow {
            silo: self.silo,
            row: HistoryRow {
                at: self.at,
                revision: self.revision,
                hostname: self.hostname,
                family: family.number().into(),
                old: self.old_ip,
                new: self.new_ip,
                via: self.via,
                token: self.token,
                client_ip: self.client_ip,
            },
        })
    }
}
