//! Which changes concern a read of several silos that waits.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::Hub;
use super::auth::Caller;
use super::error::ApiError;

/// How many changed silos are looked at; of more, one is taken to concern the read.
const LOOKED_AT: usize = 100;

/// The silos that a caller may read, and up to which revision their changes are known.
pub(super) struct Reach<'a> {
    hub: &'a Hub,
    caller: &'a Caller,
    seen: AtomicI64,
    gaps: AtomicU64,
}

impl<'a> Reach<'a> {
    /// What is committed now is known: call it before the first read.
    pub(super) fn of(hub: &'a Hub, caller: &'a Caller) -> Self {
        Self {
            hub,
            caller,
            seen: AtomicI64::new(hub.bus.current().into()),
            gaps: AtomicU64::new(hub.bus.gaps()),
        }
    }

    /// Whether a silo in reach may have changed since the last call. Other silos change much more often, and a search
    /// reads up to ten thousand records.
    pub(super) async fn may_differ(&self) -> Result<bool, ApiError> {
        let gaps = self.hub.bus.gaps();
        let now = self.hub.bus.current();
        let is_same_gap = self.gaps.swap(gaps, Ordering::Relaxed) == gaps;
        let seen = self.seen.swap(now.into(), Ordering::Relaxed);
        let caller = self.caller.refreshed(self.hub).await?;
        // With other rights, other silos are in reach.
        if !is_same_gap || caller.token().spec != self.caller.token().spec {
            return Ok(true);
        }
        let limit = i64::try_from(LOOKED_AT).unwrap_or(i64::MAX);
        let changed = self.hub.store.changed_since(seen.into(), limit).await?;
        let is_in_reach = |id| caller.token().may_read(id);
        Ok(changed.len() >= LOOKED_AT || changed.iter().any(|silo| is_in_reach(&silo.id)))
    }
}
