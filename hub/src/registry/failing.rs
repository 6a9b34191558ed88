//! Reports a sink's failures to the sink named by its `tell_failures`: once when a record starts to
//! be refused, once when that ends. Reports are recorded, so that neither a restart nor another hub
//! repeats them.

use std::collections::BTreeMap;

use silo_shared::silo::SiloId;

use crate::domain::delivery::SinkFailure;
use crate::domain::time::Time;
use crate::store::{
    Activity, DeliveryKind, DueName, EventDelivery, KnownSink, StoreError, WriteTransaction,
};

/// The results of records at a sink.
#[derive(Debug, Default)]
pub(super) struct RecordResults {
    /// Why a record is refused; `None`: it is no longer refused.
    pub(super) records: BTreeMap<DueName, Option<String>>,
    /// Why the sink as a whole is refused, and the record that revealed it.
    pub(super) whole: Option<(DueName, String)>,
    /// Whether the receiver accepted or refused a single record, which means that it does not
    /// refuse the sink as a whole.
    pub(super) is_served: bool,
}

impl RecordResults {
    /// Enqueues the reports, if the sink names another one for its failures.
    pub(super) async fn tell(
        self,
        transaction: &mut WriteTransaction,
        sink: &KnownSink,
        now: Time,
    ) -> Result<(), StoreError> {
        let Some(to) = &sink.tell_failures else {
            return Ok(());
        };
        if self.records.is_empty() && self.whole.is_none() && !self.is_served {
            return Ok(());
        }
        let hears = transaction.sink(to).await?;
        if !hears.is_some_and(|to| to.active == Activity::Active) {
            return Ok(());
        }
        let named = self.records.keys();
        let named: Vec<&DueName> = named
            .chain(self.whole.iter().map(|(name, _)| name))
            .collect();
        let reported = transaction.told_failures(&sink.name, &named).await?;
        let was_whole = reported.values().any(|of_all| *of_all);
        let ends_whole = self.whole.is_none() && self.is_served;
        let about = |why: Option<String>, of_all| SinkFailure {
            sink: sink.name.clone(),
            why,
            of_all,
        };
        let mut reports: Vec<(Vec<DueName>, SinkFailure)> = Vec::new();
        let (mut failing, mut over) = (Vec::new(), Vec::new());
        if ends_whole {
            for (name, _) in reported.iter().filter(|(_, of_all)| **of_all) {
                over.push(name.clone());
                reports.push((vec![name.clone()], about(None, true)));
            }
        }
        let mut news: BTreeMap<(SiloId, Option<String>), Vec<DueName>> = BTreeMap::new();
        for (name, why) in self.records {
            let of_all = reported.get(&name).copied();
            let change = match (of_all.filter(|of_all| !(*of_all && ends_whole)), &why) {
                (None, Some(_)) => &mut failing,
                (Some(false), None) => &mut over,
                _ => continue,
            };
            change.push(name.clone());
            let of_reason = news.entry((name.silo.clone(), why)).or_default();
            of_reason.push(name);
        }
        for ((_, why), names) in news {
            reports.push((names, about(why, false)));
        }
        let whole = self.whole.filter(|_| !was_whole);
        transaction.remove_told_failures(&sink.name, &over).await?;
        transaction
            .put_told_failures(&sink.name, &failing, false, now)
            .await?;
        if let Some((name, why)) = whole {
            let name = vec![name];
            transaction
                .put_told_failures(&sink.name, &name, true, now)
                .await?;
            reports.push((name, about(Some(why), true)));
        }
        for (names, failure) in reports {
            let Some(first) = names.first() else { continue };
            let event = EventDelivery {
                sink: to,
                kind: match failure.why {
                    Some(_) => DeliveryKind::Failing,
                    None => DeliveryKind::Recovered,
                },
                silo: &first.silo,
                revision: transaction.revision(),
                at: now,
                last_seen: None,
                failure: Some(&failure),
            };
            let names: Vec<_> = names
                .iter()
                .map(|name| (name.hostname.clone(), None))
                .collect();
            transaction.enqueue_event(&event, &names).await?;
        }
        Ok(())
    }
}
