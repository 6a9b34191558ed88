//! Finds records without a write for longer than a sink's limit, and those written again.

use std::sync::PoisonError;
use std::time::Duration;

use silo_shared::signing::MAX_CLOCK_OFFSET;

use super::sink::EventSink;
use super::worker::{RoundError, Worker};
use crate::domain::time::Time;
use crate::registry::{ReportUnseen, is_seen_since};

/// Number of records read at once.
const PAGE: i64 = 500;
/// How often to look for them.
const EVERY: Duration = Duration::from_secs(60);
/// Minimum silence, in seconds: last-seen times are written only once a minute.
const WRITTEN_DOWN_WITHIN: i64 = 120;

impl Worker {
    /// Enqueues events for the sink when a record falls silent, and when it is seen again.
    ///
    /// Silence counts from this hub's start and from when the database last came back: before,
    /// writes could not be received.
    pub(super) async fn look_for_quiet(
        &self,
        sink: &dyn EventSink,
        now: Time,
    ) -> Result<(), RoundError> {
        let Some(after) = sink.unseen_after() else {
            return Ok(());
        };
        let reading = self.context.clock.reading();
        let write_health = self.context.registry.write_health();
        // Called on each pass, since that is how a step of the clock is noticed.
        let hears_since = write_health.since(self.context.since, reading);
        let at = reading.monotonic;
        let is_recent = |before: Duration| at.saturating_sub(before) < EVERY;
        {
            let mut listened_at = self
                .listened_at
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if listened_at.is_some_and(is_recent) {
                return Ok(());
            }
            *listened_at = Some(at);
        }
        let after = i64::try_from(after.as_secs()).unwrap_or(i64::MAX);
        let before = now.plus_seconds(-after.max(WRITTEN_DOWN_WITHIN));
        let store = &self.context.store;
        let name = &self.sink.name;
        for record in store.heard_records(name, PAGE).await? {
            let command = ReportUnseen {
                sink: name.clone(),
                silo: record.silo,
                hostname: record.hostname,
                unseen: false,
                before,
            };
            self.context.registry.apply(command).await?;
        }
        if write_health.is_lost() || hears_since > before {
            return Ok(());
        }
        let latest = now.plus_seconds(MAX_CLOCK_OFFSET);
        let mut place = None;
        loop {
            let page = store
                .quiet_records(name, (before, latest), place.as_ref(), PAGE)
                .await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            place = Some((last.silo.clone(), last.hostname.clone()));
            for record in page {
                let last_seen = record.last_seen.unwrap_or_default();
                let noted =
                    self.context
                        .registry
                        .seen()
                        .latest(&record.silo, &record.hostname, last_seen);
                if is_seen_since(noted, before, now)
                    || !self.sink.filter.takes(&record.silo, &record.hostname)
                {
                    continue;
                }
                let command = ReportUnseen {
                    sink: name.clone(),
                    silo: record.silo,
                    hostname: record.hostname,
                    unseen: true,
                    before,
                };
                self.context.registry.apply(command).await?;
            }
        }
    }
}
