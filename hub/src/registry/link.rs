//! Links the history of silos: each row of a hostname gets the revision of the one before it, and each record or former
//! name leads to the newest one. Which silos need it, and in which order this is done, says [`crate::runtime::link_history`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use silo_shared::silo::{Hostname, SiloId};

use super::{ApplyError, Command};
use crate::domain::time::Time;
use crate::store::{HistoryNode, NodePlace, WriteTransaction};

/// How many rows one transaction reads, about, and one silo may have left to be linked as a whole.
const ROWS: usize = 1000;

/// The newest revision of each hostname, as far as a silo's history was followed.
pub type LastRevisions = BTreeMap<Hostname, i64>;

/// How far a silo's history was followed, from its oldest row on.
#[derive(Clone, Debug)]
pub struct Followed {
    /// Which silo.
    pub silo: SiloId,
    /// By what [`BeginLinking`] marked the silo; `None`: nothing was followed yet.
    pub mark: Option<i64>,
    /// The last row.
    pub place: NodePlace,
    /// What was found up to there.
    pub last: Arc<LastRevisions>,
}

impl Followed {
    /// Nothing of a silo's history was followed.
    pub fn nothing(silo: SiloId) -> Self {
        Self {
            silo,
            mark: None,
            place: NodePlace::default(),
            last: Arc::default(),
        }
    }
}

/// Follows the rest of the history of silos, and notes that it is linked.
#[derive(Debug)]
pub struct EndLinking(pub Vec<Followed>);

/// What became of a silo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linking {
    /// Its history is linked.
    Done,
    /// Too many rows follow: they are to be followed first.
    Behind,
    /// Another program added rows or links the silo too: to be begun again.
    Disturbed,
}

/// Marks a silo whose history is about to be followed. Another program that adds rows among those that are there, or
/// that begins the same, removes the mark.
#[derive(Debug)]
pub struct BeginLinking {
    /// Which silo.
    pub silo: SiloId,
    /// A negative number, different each time.
    pub mark: i64,
}

/// Sets which rows some follow.
#[derive(Debug)]
pub struct LinkRows {
    /// Of which silo.
    pub silo: SiloId,
    /// The rows, `previous` as it is to be.
    pub rows: Vec<HistoryNode>,
}

/// Notes where the history of hostnames without a record ends.
#[derive(Debug)]
pub struct LinkFormerNames {
    /// Of which silo.
    pub silo: SiloId,
    /// The hostnames with the newest revision of each.
    pub names: Vec<(Hostname, i64)>,
}

/// Follows rows, oldest first; answers those that are to name another row than they do.
pub fn follow(
    rows: Vec<HistoryNode>,
    mut note: impl FnMut(&HistoryNode) -> Option<i64>,
) -> Vec<HistoryNode> {
    let mut wrong = Vec::new();
    for row in rows {
        let previous = note(&row);
        // The row of the other family is in the same place.
        if previous != Some(row.revision) && previous != row.previous {
            wrong.push(HistoryNode { previous, ..row });
        }
    }
    wrong
}

impl Command for EndLinking {
    /// What became of the first of them, of at least one.
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
    /// Answers as well how many rows were read.
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
        transaction.set_linked(silo, Some(head.revision)).await?;
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
