//! The hub's periodic maintenance: stores usage, and deletes expired records and old rows.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use silo_shared::signing::MAX_CLOCK_OFFSET;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::auth::refused::RefusedLog;
use crate::auth::token_cache::TokenCache;
use crate::domain::agents::Agent;
use crate::domain::elapsed::{LatestNow, ShownTimes};
use crate::domain::invitation;
use crate::domain::session::LatelyShown;
use crate::domain::time::{Clock, Reading, Time};
use crate::registry::{
    Actor, ApplyError, ExpireRecord, ForgetFailures, ForgetSigned, ProveWritable, PurgeAgents,
    PurgeEnded, PurgeFormerSecrets, PurgeInvitations, PurgeMarks, PurgeOld, PurgeSessions,
    PurgeTokens, Registry, WriteAgents, WriteDownRefused, WriteDownUse,
};
use crate::runtime::link_history::HistoryLinks;
use crate::store::{OldRows, OldSearch, Store, Via};

/// A day, in seconds.
const DAY: i64 = 86_400;
/// How long signed writes are remembered after their signature's time, in seconds: twice as long as they are accepted,
/// since the clocks of several hubs may differ. The same applies to wrong credentials.
const KEPT: i64 = 2 * MAX_CLOCK_OFFSET;
/// Later than all times that clocks show.
const FAR_AHEAD: Time = Time::from_millis(i64::MAX / 4);
/// The maximum number of expired or old rows read at once, and of old rows deleted by one transaction.
const PAGE: i64 = 500;
/// How many records or tokens one transaction updates.
const CHUNK: usize = 1000;
/// How many agents one transaction writes: their columns are more, and the rows of their tokens are read.
const AGENTS_AT_ONCE: usize = 250;

/// The periods of the maintenance tasks.
#[derive(Clone, Copy, Debug)]
pub struct Periods {
    /// Storing usage.
    pub write_down: Duration,
    /// Looking for agents to store, each at most once a minute.
    pub agents: Duration,
    /// Deleting expired records.
    pub expire: Duration,
    /// Deleting old rows.
    pub purge: Duration,
    /// The delay of the first deletion after the start, so that a wrong clock can be corrected first.
    pub first_purge: Duration,
    /// Forgetting signed writes and wrong credentials, and sessions that have ended.
    pub forget: Duration,
    /// Linking history that others wrote.
    pub link: Duration,
}

impl Default for Periods {
    fn default() -> Self {
        Self {
            write_down: Duration::from_secs(60),
            agents: Duration::from_secs(5),
            expire: Duration::from_secs(15),
            purge: Duration::from_secs(DAY.unsigned_abs()),
            first_purge: Duration::from_secs(600),
            forget: Duration::from_secs(60),
            link: Duration::from_secs(60),
        }
    }
}

/// The hub's maintenance tasks.
#[derive(Clone, Debug)]
pub struct Upkeep {
    /// For looking up expired records.
    pub store: Store,
    /// For all writes.
    pub registry: Registry,
    /// The tokens whose usage is stored.
    pub tokens: TokenCache,
    /// The refused credentials that are not stored yet.
    pub refused: RefusedLog,
    /// The clock.
    pub clock: Clock,
    /// When this hub began to receive writes: silence before does not count, nor silence while the database accepted no
    /// writes, nor time skipped by a step of the clock.
    pub since: Time,
    /// Bounds for stored times that hold regardless of the wall clock.
    pub held: Arc<HeldTimes>,
    /// How many days to keep history, tombstones, and rights and sinks that have ended.
    pub retention_days: u32,
}

/// How long this process has seen the stored rows. A row is deleted only if it is old both by the wall clock and by
/// this, so that a clock that is ahead for a while does no harm.
#[derive(Debug)]
pub struct HeldTimes {
    present: LatestNow,
    minutes: Mutex<ShownTimes>,
    day: Mutex<ShownTimes>,
}

impl HeldTimes {
    /// Begins at the start of this process; `newest_stored`: the newest time stored before.
    pub fn begin(at: Reading, newest_stored: Option<Time>) -> Self {
        let shown = |seconds: i64| {
            let window = Duration::from_secs(seconds.unsigned_abs());
            Mutex::new(ShownTimes::new(window, at))
        };
        Self {
            present: LatestNow {
                start: at,
                newest_stored,
            },
            minutes: shown(KEPT),
            day: shown(DAY),
        }
    }

    fn note(&self, at: Reading) {
        for shown in [&self.minutes, &self.day] {
            lock(shown).note(at);
        }
    }
}

fn lock(shown: &Mutex<ShownTimes>) -> MutexGuard<'_, ShownTimes> {
    shown.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Upkeep {
    /// Runs forever; stop it by dropping the future. Each part keeps its own time: a purge that takes long holds up
    /// neither expiry nor what is written down.
    pub async fn work_at(self, periods: Periods) {
        let write_down = async {
            let mut due = ticks(periods.write_down);
            loop {
                tokio::select! {
                    _ = due.tick() => {}
                    () = self.registry.seen().many() => {}
                }
                report(self.write_down().await);
            }
        };
        let agents = async {
            let mut due = ticks(periods.agents);
            loop {
                due.tick().await;
                report(self.write_agents().await);
            }
        };
        let expire = async {
            let mut due = ticks(periods.expire);
            loop {
                due.tick().await;
                report(self.expire().await);
            }
        };
        let purge = async {
            let mut due = purges(periods);
            loop {
                due.tick().await;
                report(self.purge().await);
            }
        };
        let forget = async {
            let mut due = ticks(periods.forget);
            loop {
                due.tick().await;
                report(self.forget().await);
                report(self.end_sessions().await);
            }
        };
        let link = async {
            let mut due = ticks(periods.link);
            let mut links = HistoryLinks::new(self.store.clone(), self.registry.clone());
            loop {
                due.tick().await;
                report(links.link().await);
            }
        };
        tokio::join!(write_down, agents, expire, purge, forget, link);
    }

    /// Stores everything before the hub ends.
    pub async fn write_all_down(&self) -> Result<(), ApplyError> {
        self.write_refused(true).await?;
        self.write_down().await?;
        let all = self.registry.agents().due(None);
        self.write_noted(all, self.clock.monotonic()).await
    }

    /// Stores the agents that were seen since they were stored, each at most once a minute.
    pub async fn write_agents(&self) -> Result<(), ApplyError> {
        let now = self.clock.monotonic();
        let due = self.registry.agents().due(Some(now));
        self.write_noted(due, now).await?;
        let unnoted = self.registry.agents().forget_old(now);
        if unnoted > 0 {
            tracing::warn!(
                "{unnoted} requests of agents are missing in the lists of agents: this hub remembers 100000 agents at a time, and 10000 of one token"
            );
        }
        Ok(())
    }

    async fn write_noted(&self, agents: Vec<Agent>, now: Duration) -> Result<(), ApplyError> {
        for chunk in agents.chunks(AGENTS_AT_ONCE) {
            let left_out = self.registry.apply(WriteAgents(chunk.to_vec())).await?;
            self.registry.agents().written(chunk, &left_out, now);
        }
        Ok(())
    }

    /// Stores refused credentials, only those of complete minutes unless the hub ends.
    async fn write_refused(&self, unended_too: bool) -> Result<(), ApplyError> {
        for chunk in self
            .refused
            .take(self.clock.now(), unended_too)
            .chunks(CHUNK)
        {
            let written = self.registry.apply(WriteDownRefused(chunk.to_vec())).await;
            if let Err(error) = written {
                self.refused.put_back(chunk.to_vec());
                return Err(error);
            }
        }
        Ok(())
    }

    /// Stores when records and tokens were last used, and which credentials were refused.
    pub async fn write_down(&self) -> Result<(), ApplyError> {
        self.write_refused(false).await?;
        for chunk in self.tokens.pending_uses().chunks(CHUNK) {
            let command = WriteDownUse {
                records: Vec::new(),
                tokens: chunk.to_vec(),
            };
            self.registry.apply(command).await?;
            self.tokens.forget_uses(chunk);
        }
        for chunk in self.registry.seen().pending().chunks(CHUNK) {
            let command = WriteDownUse {
                records: chunk.to_vec(),
                tokens: Vec::new(),
            };
            self.registry.apply(command).await?;
            self.registry.seen().forget(chunk);
        }
        Ok(())
    }

    /// Deletes what has exceeded its retention: history, tombstones, finished deliveries, audit entries, and ended
    /// tokens, update keys and sinks. Each transaction deletes a few hundred rows, so that other writers get their turn
    /// in between.
    ///
    /// The current time for this is the newest time stored before the start plus the time since, if that is earlier
    /// than the wall clock. Otherwise a clock that is years ahead would delete everything at once.
    pub async fn purge(&self) -> Result<(), ApplyError> {
        let days = i64::from(self.retention_days);
        let at = self.clock.reading();
        let present = self.held.present.get(at);
        let before = present.plus_seconds(-days * DAY);
        self.held.note(at);
        let earliest = lock(&self.held.day).earliest(at);
        let mut purged = 0;
        if let Some(earliest) = earliest {
            // A day after their end, since the clocks of several hubs may differ.
            let before = earliest.plus_seconds(-DAY);
            purged += self.registry.apply(PurgeFormerSecrets { before }).await?;
            purged += self.registry.apply(PurgeMarks { before }).await?;
        }
        for kind in OldRows::ALL {
            let mut search = OldSearch::begin(before, present, PAGE);
            loop {
                let keys = self.store.old_rows(kind, &search).await?;
                let Some(last) = keys.last() else {
                    break;
                };
                search.after = *last;
                let some = PurgeOld { kind, before, keys };
                match self.registry.apply(some).await? {
                    0 => break,
                    gone => purged += gone,
                }
            }
        }
        purged += self.purge_agents(before).await?;
        purged += self.purge_ended(before).await?;
        if purged > 0 {
            tracing::info!(rows = purged, "removed entries older than {days} days");
        }
        Ok(())
    }

    /// Deletes agents that were not seen for longer than the retention; returns how many.
    async fn purge_agents(&self, before: Time) -> Result<u64, ApplyError> {
        let mut purged = 0;
        loop {
            // Searched outside of a write transaction, since no index supports it.
            let keys = self.store.old_agents(before, PAGE).await?;
            if keys.is_empty() {
                return Ok(purged);
            }
            match self.registry.apply(PurgeAgents { keys, before }).await? {
                0 => return Ok(purged),
                gone => purged += gone,
            }
        }
    }

    /// Deletes tokens, update keys and sinks that ended longer ago than the retention; returns how many.
    async fn purge_ended(&self, before: Time) -> Result<u64, ApplyError> {
        let mut purged = 0;
        loop {
            // Searched outside of a write transaction, since no index supports it.
            let ids = self.store.ended_tokens(before, PAGE).await?;
            if ids.is_empty() {
                break;
            }
            match self.registry.apply(PurgeTokens { ids, before }).await? {
                0 => break,
                gone => purged += gone,
            }
        }
        loop {
            match self.registry.apply(PurgeEnded { before }).await? {
                0 => return Ok(purged),
                gone => purged += gone,
            }
        }
    }

    /// Forgets signed writes that would be refused for their age alone, and wrong credentials of minutes that
    /// are over by every hub's clock, or that no hub's clock can have reached.
    /// Only those go that this process has held for as long, by the monotonic clock.
    pub async fn forget(&self) -> Result<(), ApplyError> {
        let at = self.clock.reading();
        self.held.note(at);
        let (earliest, latest) = {
            let shown = lock(&self.held.minutes);
            (shown.earliest(at), shown.latest(at))
        };
        let (Some(earliest), Some(latest)) = (earliest, latest) else {
            return Ok(());
        };
        let (before, after) = (earliest.plus_seconds(-KEPT), latest.plus_seconds(KEPT));
        while self.store.has_signed_writes(before).await? {
            self.registry.apply(ForgetSigned { before }).await?;
        }
        let ended = earliest
            .min(self.held.present.get(at))
            .plus_seconds(-invitation::KEPT_SECONDS);
        // Further ahead than any invitation lasts.
        let ahead = after.plus_seconds(invitation::LONGEST_SECONDS);
        if self.store.has_invitations_over(ended, ahead).await? {
            let purge = PurgeInvitations {
                before: ended,
                after: ahead,
            };
            self.registry.apply(purge).await?;
        }
        while self.store.has_failures_outside(before, after).await? {
            let forget = ForgetFailures { before, after };
            self.registry.apply(forget).await?;
        }
        Ok(())
    }

    /// Removes sessions that have ended by themselves, and revokes the tokens of links whose session is over. What a hub
    /// with a wrong clock refuses may be valid at others, or once that clock is right: only what is over by all times of
    /// the last minutes, and by the newest time that was stored before the start, is removed; sessions a day after their
    /// end; and nothing in the first minutes after the start, but for links whose session is gone.
    pub async fn end_sessions(&self) -> Result<(), ApplyError> {
        let at = self.clock.reading();
        self.held.note(at);
        let (earliest, latest) = {
            let shown = lock(&self.held.minutes);
            (shown.earliest(at), shown.latest(at))
        };
        let present = &self.held.present;
        let shown = LatelyShown {
            earliest: earliest.map_or(Time::from_millis(0), |earliest| {
                earliest.min(present.get(at))
            }),
            latest: latest.map_or(FAR_AHEAD, |latest| latest.max(present.latest(at))),
        };
        if self.store.has_ended_sessions(shown).await? || self.store.has_links_over(shown).await? {
            let actor = Actor {
                via: Via::Expiry,
                token: None,
                client_ip: None,
            };
            self.registry.apply(PurgeSessions { actor, shown }).await?;
        }
        Ok(())
    }

    /// Deletes every expired record. Stores pending usage first, since the decision depends on stored values.
    pub async fn expire(&self) -> Result<(), ApplyError> {
        if self.registry.write_health().is_lost() {
            // After writes are accepted again, silence counts from that moment.
            self.registry.apply(ProveWritable).await?;
        }
        let at = self.clock.reading();
        let since = self.registry.write_health().since(self.since, at);
        let now = at.now;
        loop {
            let overdue = self.store.overdue_records(now, since, PAGE).await?;
            tracing::debug!(records = overdue.len(), "looked for overdue records");
            if overdue.is_empty() {
                return Ok(());
            }
            self.write_down().await?;
            let mut removed = 0;
            for (id, hostname) in overdue {
                let command = ExpireRecord {
                    actor: Actor {
                        via: Via::Expiry,
                        token: None,
                        client_ip: None,
                    },
                    id: id.clone(),
                    hostname: hostname.clone(),
                    since,
                    now,
                };
                if self.registry.apply(command).await? {
                    removed += 1;
                    tracing::info!(silo = %id, %hostname, "removed: not seen for too long");
                }
            }
            if removed == 0 {
                return Ok(());
            }
        }
    }
}

/// When old rows are removed: first a while after the start.
fn purges(periods: Periods) -> Interval {
    ticks_from(Instant::now() + periods.first_purge, periods.purge)
}

/// Now and then once a period; what took longer than that is not caught up with.
fn ticks(period: Duration) -> Interval {
    ticks_from(Instant::now(), period)
}

fn ticks_from(first: Instant, period: Duration) -> Interval {
    let mut ticks = tokio::time::interval_at(first, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

fn report(done: Result<(), ApplyError>) {
    if let Err(error) = done {
        tracing::error!("upkeep failed, will retry: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_purge_comes_ten_minutes_after_the_start_and_one_a_day_follows() {
        let start = Instant::now();
        let mut due = purges(Periods::default());
        for day in 0..3 {
            let at = (due.tick().await - start).as_secs();
            assert_eq!(at, 600 + day * DAY.unsigned_abs());
        }
    }
}
