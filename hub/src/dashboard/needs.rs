//! What needs a hand, for the first page: what the hub's status finds, for admins, and the records that something has
//! stopped reporting, for all who may read them.

use super::numbers::counted;
use crate::http::Hub;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::status::{self, Finding};

/// How many silent records are looked at.
const LOOKED_AT: i64 = 1000;
/// How many of them are named.
const NAMED: usize = 5;

/// All of it, the worst first.
pub(super) async fn of(hub: &Hub, caller: &Caller) -> Result<Vec<Finding>, ApiError> {
    let mut needs = if caller.token().is_admin() {
        status::findings(hub).await
    } else {
        Vec::new()
    };
    needs.extend(silent_records(hub, caller).await?);
    Ok(needs)
}

async fn silent_records(hub: &Hub, caller: &Caller) -> Result<Option<Finding>, ApiError> {
    let now = hub.clock.now();
    let stored = hub.store.half_expired(now, LOOKED_AT).await?;
    let seen = hub.registry.seen();
    let silent: Vec<String> = stored
        .into_iter()
        .filter(|(silo, _)| caller.token().may_read(silo))
        .filter(|(silo, record)| {
            let last_seen = seen.latest(silo, &record.hostname, record.last_seen);
            let silent = now.as_millis() - last_seen.as_millis();
            let expires_after = record.attributes.expires_after;
            expires_after.is_some_and(|seconds| silent > seconds.saturating_mul(500))
        })
        .map(|(silo, record)| format!("{} of {silo}", record.hostname))
        .collect();
    if silent.is_empty() {
        return Ok(None);
    }
    let more = match silent.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Ok(Some(Finding {
        what: counted(silent.len(), "silent record", "silent records"),
        why: format!(
            "{}{more}: not reported for more than half of the time after which the hub removes them",
            silent[..silent.len().min(NAMED)].join(", ")
        ),
    }))
}
