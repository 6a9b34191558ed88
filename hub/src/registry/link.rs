//! Links the history of silos: each row of a hostname gets the revision of the hostname's previous
//! row, and each record or former name points to the newest row. [`crate::runtime::link_history`]
//! decides which silos to link, and in which order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use silo_shared::silo::{Hostname, SiloId};

use super::{ApplyError, Command};
use crate::domain::revision::Revision;
use crate::domain::time::Time;
use crate::store::{HistoryNode, NodePlace, Queries, WriteTransaction};

/// Approximate number of rows read per transaction, and the limit of remaining rows for linking a
/// silo in one step.
const ROWS: usize = 1000;

/// The newest revision of each hostname in the part of a silo's history followed so far.
pub type LastRevisions = BTreeMap<Hostname, Revision>;

/// Progress in following a silo's history, from its oldest row.
#[derive(Clone, Debug)]
pub struct Followed {
    /// The silo.
    pub silo: SiloId,
    /// The mark that [`BeginLinking`] set; `None`: nothing was followed yet.
    pub mark: Option<i64>,
    /// The last row followed.
    pub place: NodePlace,
    /// The newest revisions up to there.
    pub last: Arc<LastRevisions>,
}

impl Followed {
    /// No progress yet.
    pub fn nothing(silo: SiloId) -> Self {
        Self {
            silo,
            mark: None,
            place: NodePlace::default(),
            last: Arc::default(),
        }
    }
}

/// Follows the rest of the history of silos, and records that it is linked.
#[derive(Debug)]
pub struct EndLinking(pub Vec<Followed>);

/// The result for a silo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linking {
    /// Its history is linked.
    Done,
    /// Too many rows remain: follow them first.
    Behind,
    /// Another program added rows or also links the silo: start over.
    Disturbed,
}

/// Marks a silo before its history is followed. Another program that inserts rows between existing
/// ones, or that begins linking, removes the mark.
#[derive(Debug)]
pub struct BeginLinking {
    /// The silo.
    pub silo: SiloId,
    /// A negative number, different each time.
    pub mark: i64,
}

/// Sets the previous revision of rows.
#[derive(Debug)]
pub struct LinkRows {
    /// The silo.
    pub silo: SiloId,
    /// The rows, with the new `previous`.
    pub rows: Vec<HistoryNode>,
}

/// Records the newest revision of hostnames without a record.
#[derive(Debug)]
pub struct LinkFormerNames {
    /// The silo.
    pub silo: SiloId,
    /// The hostnames with their newest revisions.
    pub names: Vec<(Hostname, Revision)>,
}

/// Follows rows, oldest first; returns those whose `previous` is wrong, corrected.
pub fn follow(
    rows: Vec<HistoryNode>,
    mut note: impl FnMut(&HistoryNode) -> Option<Revision>,
) -> Vec<HistoryNode> {
    let mut wrong = Vec::new();
    for row in rows {
        let previous = note(&row);
        // The rows of both families at one revision have the same predecessor.
        if previous != Some(row.revision) && previous != row.previous {
            wrong.push(HistoryNode { previous, ..row });
        }
    }
    wrong
}

impl Command for EndLinking {
    /// The results of the first silos, at least one.
    type Outcome = Vec<Linking>;

    async fn run(
        &self,
        transaction: &mut WriteTransaction,
        _: Time,
    ) -> Result<Vec<Linking>, ApplyError> {
        let (mut ended, mut read) = (Vec::new(), 0);
        for silo in &self.0 {
            if read >= ROWS {
                break;
            }
            let (linking, rows) = silo.end(transaction).await?;
            ended.push(linking);
            read += rows + 1;
        }
        Ok(ended)
    }
}

impl Followed {
    /// Also returns the number of rows read.
    async fn end(
        &self,
        transaction: &mut WriteTransaction,
    ) -> Result<(Linking, usize), ApplyError> {
        let silo = &self.silo;
        let head = transaction.silo_head(silo).await?;
        let mark = transaction.linked(silo).await?;
        let Some(head) = head.filter(|_| self.mark.is_none() || self.mark == mark) else {
            return Ok((Linking::Disturbed, 0));
        };
        let limit = i64::try_from(ROWS).unwrap_or(i64::MAX);
        let rows = transaction.history_nodes(silo, &self.place, limit).await?;
        let read = rows.len();
        if read >= ROWS {
            return Ok((Linking::Behind, read));
        }
        let mut newer = LastRevisions::new();
        let wrong = follow(rows, |row| {
            let before = newer.insert(row.hostname.clone(), row.revision);
            before.or_else(|| self.last.get(&row.hostname).copied())
        });
        transaction.set_previous(silo, &wrong).await?;
        let last = |name: &Hostname| newer.get(name).or_else(|| self.last.get(name)).copied();
        let records = transaction.addresses_changed_at(silo).await?;
        let moved: Vec<_> = records
            .iter()
            .filter_map(|(name, at)| Some((name, last(name).filter(|last| last != at)?)))
            .collect();
        transaction.set_addresses_changed_at(silo, &moved).await?;
        let living: BTreeSet<_> = records.keys().collect();
        for (name, revision) in newer.iter().filter(|(name, _)| !living.contains(name)) {
            transaction.note_former_name(silo, name, *revision);
        }
        transaction
            .set_linked(silo, Some(head.revision.into()))
            .await?;
        Ok((Linking::Done, read))
    }
}

impl Command for BeginLinking {
    type Outcome = ();

    async fn run(&self, transaction: &mut WriteTransaction, _: Time) -> Result<(), ApplyError> {
        Ok(transaction.set_linked(&self.silo, Some(self.mark)).await?)
    }
}

impl Command for LinkRows {
    type Outcome = ();

    async fn run(&self, transaction: &mut WriteTransaction, _: Time) -> Result<(), ApplyError> {
        Ok(transaction.set_previous(&self.silo, &self.rows).await?)
    }
}

impl Command for LinkFormerNames {
    type Outcome = ();

    async fn run(&self, transaction: &mut WriteTransaction, _: Time) -> Result<(), ApplyError> {
        Ok(transaction
            .raise_former_names(&self.silo, &self.names)
            .await?)
    }
}
