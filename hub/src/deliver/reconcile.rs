//! Compares what was published (the ledger) with the silos and with what the receiver has, and
//! enqueues what differs: at start, after an import, a restored copy or changed settings, and daily.
//! Handles one page of silos at a time, only when nothing else is pending, and without blocking
//! writers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use silo_shared::silo::{Addresses, Hostname, SiloId};

use super::comparison::{Comparison, Published};
use super::sink::StateSink;
use super::worker::{RoundError, Worker};
use crate::domain::elapsed::lies_ahead_anywhere;
use crate::domain::time::Time;
use crate::registry::{BeginReconciling, EndReconciling, EnqueueDifference};
use crate::store::{Activity, DueName, KnownSink, LedgerRow, Queries};

/// Interval between comparisons, in seconds.
const RECONCILE_EVERY: i64 = 86_400;
/// When a comparison is repeated for which the receiver could not be asked, in seconds.
const ASK_AGAIN: i64 = 3600;
/// Number of silos compared at once.
const PAGE: i64 = 200;
/// Maximum number of records enqueued per transaction.
const OWED_TOGETHER: usize = 500;

impl Worker {
    /// Compares the next page if a comparison is due or running; false: nothing to do.
    pub(super) async fn reconcile_some(
        &self,
        sink: &dyn StateSink,
        known: &KnownSink,
        now: Time,
    ) -> Result<bool, RoundError> {
        let due = known.reconciled_at.plus_seconds(RECONCILE_EVERY);
        if known.active != Activity::Active || lies_ahead_anywhere(due, RECONCILE_EVERY, now) {
            return Ok(false);
        }
        let store = &self.context.store;
        let comparison = self.compared_until(None);
        // The epoch means that a comparison was requested, perhaps again: start from the beginning.
        let mut comparison = match comparison.filter(|_| known.reconciled_at != Time::default()) {
            Some(comparison) => comparison,
            None => {
                let begin = BeginReconciling(self.sink.name.clone());
                self.context.registry.apply(begin).await?;
                Comparison {
                    after: String::new(),
                    unmet: store
                        .ledger_silos(&self.sink.name)
                        .await?
                        .into_iter()
                        .collect(),
                    differing: 0,
                    unverified: Vec::new(),
                    is_unverified: false,
                }
            }
        };
        if !comparison.unverified.is_empty() {
            self.verify_some(sink, &mut comparison).await?;
            self.compared_until(Some(comparison));
            return Ok(true);
        }
        let mut page = store.silo_ids(&comparison.after, PAGE).await?;
        let is_last = match page.last() {
            Some(last) => {
                comparison.after = last.to_string();
                for silo in &page {
                    comparison.unmet.remove(silo);
                }
                false
            }
            None => {
                // The remaining silos were deleted, so what was published of them must be removed.
                page.extend(std::mem::take(&mut comparison.unmet));
                true
            }
        };
        let mut differing = Vec::new();
        for silo in page {
            let (hostnames, unverified) = self.differing(sink, known, &silo).await?;
            if !comparison.is_unverified {
                comparison.unverified.extend(unverified);
            }
            differing.extend(hostnames.into_iter().map(|hostname| DueName {
                silo: silo.clone(),
                hostname,
            }));
        }
        for differing in differing.chunks(OWED_TOGETHER) {
            let command = EnqueueDifference {
                sink: self.sink.name.clone(),
                differing: differing.to_vec(),
            };
            comparison.differing += self.context.registry.apply(command).await?;
        }
        if !is_last {
            self.compared_until(Some(comparison));
            return Ok(true);
        }
        if comparison.differing > 0 {
            tracing::info!(sink = %self.sink.name, names = comparison.differing, "what is published differs from the silos; correcting it");
        }
        let end = EndReconciling {
            sink: self.sink.name.clone(),
            // As if it had been then.
            seconds_ago: if comparison.is_unverified {
                RECONCILE_EVERY - ASK_AGAIN
            } else {
                0
            },
        };
        self.context.registry.apply(end).await?;
        Ok(true)
    }

    /// Replaces the progress of the comparison, and returns the previous one.
    fn compared_until(&self, now: Option<Comparison>) -> Option<Comparison> {
        let mut comparison = self.compared.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *comparison, now)
    }

    /// The hostnames of one silo whose publication differs and that are not pending yet, and the
    /// publications that do not differ by the ledger.
    async fn differing(
        &self,
        sink: &dyn StateSink,
        known: &KnownSink,
        silo: &SiloId,
    ) -> Result<(Vec<Hostname>, Vec<Published>), RoundError> {
        let store = &self.context.store;
        let name = &self.sink.name;
        let mut wanted: BTreeMap<Hostname, Addresses> = BTreeMap::new();
        if known.takes.takes_silo(silo)
            && let Some(silo) = store.silo(silo).await?
        {
            wanted.extend(
                silo.records
                    .into_iter()
                    .filter(|(hostname, _)| known.takes.takes(&silo.id, hostname)),
            );
        }
        let mut ledger: BTreeMap<Hostname, LedgerRow> = BTreeMap::new();
        for row in store.ledger_of_silo(name, silo).await? {
            if sink.published_name(&row.hostname).as_deref() == Ok(row.name.as_str()) {
                ledger.insert(row.hostname.clone(), row);
            } else {
                tracing::warn!(sink = %name, %silo, hostname = %row.hostname, "{} was published with earlier settings and is left in place", row.name);
            }
        }
        let gone = ledger
            .keys()
            .filter(|hostname| !wanted.contains_key(*hostname));
        let mut hostnames: Vec<Hostname> = gone.cloned().collect();
        let mut published = Vec::new();
        for (hostname, addresses) in &wanted {
            let row = ledger.remove(hostname);
            let ours = row.as_ref().map(|row| row.ours).unwrap_or_default();
            match row {
                Some(row) if ours.is_surely(addresses) => published.push(Published {
                    row,
                    addresses: *addresses,
                }),
                _ if ours.is_surely(addresses) => {}
                _ if sink.published_name(hostname).is_ok() => hostnames.push(hostname.clone()),
                _ => {}
            }
        }
        if known.takes.with_login && !hostnames.is_empty() {
            let with_login = store.hostnames_with_login(name, silo).await?;
            hostnames.retain(|hostname| with_login.contains(hostname));
        }
        if !hostnames.is_empty() {
            let pending: BTreeSet<Hostname> =
                store.pending_names(name, silo).await?.into_iter().collect();
            hostnames.retain(|hostname| !pending.contains(hostname));
        }
        Ok((hostnames, published))
    }
}
