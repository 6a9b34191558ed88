//! The command that takes back the last change of a silo.

use silo_shared::silo::SiloId;

use super::{Actor, ApplyError, Command, Refusal, ReplaceSilo, WrittenSilo};
use crate::domain::precondition::Precondition;
use crate::domain::revision::Revision;
use crate::domain::time::Time;
use crate::store::{ReplayReads, WriteTransaction};

/// History rows read at once.
const PAGE: i64 = 1000;

/// Sets a silo's addresses to those before its last change, like [`super::RevertSilo`] to the revision before; also if
/// that change is the first one that the history has. Refused like a failed `If-Match` if the silo has changed since.
#[derive(Debug)]
pub struct UndoChange {
    /// The actor.
    pub actor: Actor,
    /// The silo; a deleted one is restored.
    pub id: SiloId,
    /// The revision of the change.
    pub revision: Revision,
}

impl Command for UndoChange {
    /// The silo; `None`: the change was not one of addresses, and nothing was written.
    type Outcome = Option<WrittenSilo>;

    fn is_refused(outcome: &Self::Outcome) -> bool {
        outcome.is_none()
    }

    async fn run(
        &self,
        transaction: &mut WriteTransaction,
        now: Time,
    ) -> Result<Option<WrittenSilo>, ApplyError> {
        let head = transaction.silo_head(&self.id).await?;
        let head = head.ok_or(Refusal::NoSilo)?;
        if head.revision != self.revision {
            return Err(Refusal::Precondition {
                present: Some(head.revision).filter(|_| !head.deleted),
                is_weakened: false,
            }
            .into());
        }
        let mut records = transaction.records(&self.id).await?;
        let before = self.revision.previous();
        let mut last = None;
        let mut changes = 0;
        loop {
            let page = transaction
                .history_after(&self.id, before, last.as_ref(), PAGE)
                .await?;
            for row in &page {
                let (hostname, family) = row.slot.clone();
                let addresses = records.entry(hostname).or_default();
                match row.old {
                    Some(ip) => {
                        addresses.set(ip);
                    }
                    None => addresses.clear(family),
                }
            }
            changes += page.len();
            last = page.into_iter().next_back();
            if last.is_none() {
                break;
            }
        }
        if changes == 0 {
            return Ok(None);
        }
        records.retain(|_, addresses| !addresses.is_empty());
        let replacement = ReplaceSilo {
            actor: self.actor,
            id: self.id.clone(),
            records,
            precondition: Precondition::default(),
        };
        replacement.run(transaction, now).await.map(Some)
    }
}
