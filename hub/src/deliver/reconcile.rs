//! Compares what was published (the ledger) with the silos, and owes the sink what differs: at start, after
//! an import, a restored copy or changed settings, and daily.

use std::collections::{BTreeMap, BTreeSet};

use silo_shared::silo::{Addresses, Hostname, SiloId};

use super::sink::StateSink;
use super::worker::{RoundError, Worker};
use crate::registry::{EndReconciling, OweDifference};
use crate::store::{KnownSink, Ours};

/// How often ledger and silos are compared, in seconds.
pub(super) const RECONCILE_EVERY: i64 = 86_400;
/// How many silos are looked through at once.
const PAGE: i64 = 500;

impl Worker {
    /// Looks through all silos, a page at a time, without holding up any writer.
    pub(super) async fn reconcile(
        &self,
        sink: &dyn StateSink,
        known: &KnownSink,
    ) -> Result<(), RoundError> {
        let store = &self.office.store;
        let mut silos: BTreeSet<SiloId> = store
            .ledger_silos(&self.sink.name)
            .await?
            .into_iter()
            .collect();
        let mut after = String::new();
        let mut owed = 0;
        loop {
            let page = store.silo_ids(&after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.to_string();
            for silo in page {
                silos.remove(&silo);
                owed += self.reconcile_silo(sink, known, &silo).await?;
            }
        }
        // What is left was deleted, and what was published of it is to go.
        for silo in silos {
            owed += self.reconcile_silo(sink, known, &silo).await?;
        }
        if owed > 0 {
            tracing::info!(sink = %self.sink.name, names = owed, "what is published differs from the silos and is set right");
        }
        self.office
            .registry
            .apply(EndReconciling(self.sink.name.clone()))
            .await?;
        Ok(())
    }

    /// Owes what differs in one silo; answers how many hostnames.
    async fn reconcile_silo(
        &self,
        sink: &dyn StateSink,
        known: &KnownSink,
        silo: &SiloId,
    ) -> Result<usize, RoundError> {
        let store = &self.office.store;
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
        let mut ledger: BTreeMap<Hostname, Ours> = BTreeMap::new();
        for row in store.ledger_of_silo(name, silo).await? {
            if sink.published_name(&row.hostname).as_deref() == Ok(row.name.as_str()) {
                ledger.insert(row.hostname, row.ours);
            } else {
                tracing::warn!(sink = %name, %silo, hostname = %row.hostname, "{} was published under earlier settings and stays as it is", row.name);
            }
        }
        let gone = ledger
            .keys()
            .filter(|hostname| !wanted.contains_key(*hostname));
        let mut hostnames: Vec<Hostname> = gone.cloned().collect();
        for (hostname, addresses) in &wanted {
            let ours = ledger.get(hostname).copied().unwrap_or_default();
            if !ours.is_surely(addresses) && sink.published_name(hostname).is_ok() {
                hostnames.push(hostname.clone());
            }
        }
        if hostnames.is_empty() {
            return Ok(0);
        }
        let owed: BTreeSet<Hostname> = store.owed_names(name, silo).await?.into_iter().collect();
        hostnames.retain(|hostname| !owed.contains(hostname));
        let count = hostnames.len();
        if count > 0 {
            let command = OweDifference {
                sink: name.clone(),
                silo: silo.clone(),
                hostnames,
            };
            self.office.registry.apply(command).await?;
        }
        Ok(count)
    }
}
