//! A record as clients see it.

use serde::Serialize;
use silo_shared::api::RecordDocument;
use silo_shared::silo::SiloId;
use utoipa::ToSchema;

use super::Hub;
use super::auth::Caller;
use crate::store::StoredRecord;

/// A record among those of several silos.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FoundRecord {
    /// Its silo.
    silo: SiloId,
    #[serde(flatten)]
    record: RecordDocument,
}

/// A record's document; it has the mail address only if the caller may write the silo.
pub(super) fn document(
    hub: &Hub,
    caller: &Caller,
    silo: &SiloId,
    record: StoredRecord,
) -> RecordDocument {
    let seen = hub.registry.seen();
    let last_seen = seen.latest(silo, &record.hostname, record.last_seen);
    let attributes = record.attributes;
    RecordDocument {
        hostname: record.hostname.to_string(),
        ips: record.addresses.iter().collect(),
        revision: record.revision.into(),
        updated_at: record.updated_at.to_string(),
        last_seen: last_seen.to_string(),
        comment: attributes.comment,
        notify: attributes.notify.filter(|_| caller.token().may_write(silo)),
        ipv6_suffix: attributes.ipv6_suffix,
        expires_after: attributes.expires_after,
    }
}

/// The same with the silo.
pub(super) fn found(hub: &Hub, caller: &Caller, silo: SiloId, record: StoredRecord) -> FoundRecord {
    FoundRecord {
        record: document(hub, caller, &silo, record),
        silo,
    }
}
