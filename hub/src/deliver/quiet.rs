//! Looks for records that no write has named for longer than a sink asks for, and for those that are
//! named again.

use std::sync::atomic::Ordering;

use super::sink::EventSink;
use super::worker::{RoundError, Worker};
use crate::domain::time::Time;
use crate::registry::NoteQuiet;

/// How many records are looked at once.
const PAGE: i64 = 500;
/// How often they are looked for, in milliseconds.
const EVERY_MS: i64 = 60_000;
/// What was named is written down once a minute only: silence is judged no finer than this, in
/// seconds.
const WRITTEN_DOWN_WITHIN: i64 = 120;

impl Worker {
    /// Owes the sink news of silence, and of its end.
    ///
    /// Silence counts from this hub's start and from when the database last came back: before,
    /// nobody could be heard.
    pub(super) async fn look_for_quiet(
        &self,
        sink: &dyn EventSink,
        now: Time,
    ) -> Result<(), RoundError> {
        let Some(after) = sink.unseen_after() else {
            return Ok(());
        };
        let listened_at = self.listened_at.load(Ordering::Relaxed);
        if (now.as_millis() - listened_at).abs() < EVERY_MS {
            return Ok(());
        }
        self.listened_at.store(now.as_millis(), Ordering::Relaxed);
        let after = i64::try_from(after.as_secs()).unwrap_or(i64::MAX);
        let before = now.plus_seconds(-after.max(WRITTEN_DOWN_WITHIN));
        let hears_since = self
            .office
            .since
            .max(self.office.registry.hearing().regained_at());
        let store = &self.office.store;
        let name = &self.sink.name;
        for record in store.heard_records(name, PAGE).await? {
            let command = NoteQuiet {
                sink: name.clone(),
                silo: record.silo,
                hostname: record.hostname,
                unseen: false,
                before,
            };
            self.office.registry.apply(command).await?;
        }
        if self.office.registry.hearing().is_lost() || hears_since > before {
            return Ok(());
        }
        let mut place = None;
        loop {
            let page = store
                .quiet_records(name, before, place.as_ref(), PAGE)
                .await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            place = Some((last.silo.clone(), last.hostname.clone()));
            for record in page {
                let last_seen = record.last_seen.unwrap_or_default();
                let noted =
                    self.office
                        .registry
                        .seen()
                        .latest(&record.silo, &record.hostname, last_seen);
                if noted >= before || !self.sink.filter.takes(&record.silo, &record.hostname) {
                    continue;
                }
                let command = NoteQuiet {
                    sink: name.clone(),
                    silo: record.silo,
                    hostname: record.hostname,
                    unseen: true,
                    before,
                };
                self.office.registry.apply(command).await?;
            }
        }
    }
}
