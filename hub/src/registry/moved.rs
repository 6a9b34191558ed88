//! The database has moved to a server that may lack the last transactions, as a replica that was promoted.

use std::sync::atomic::{AtomicU64, Ordering};

use super::restored::note_restored;
use crate::domain::time::Time;
use crate::follow::revision::Revision;
use crate::store::{Store, StoreError, WriteTransaction};

/// Notices a move before the first write after it, so that no revision comes again for other content.
#[derive(Debug)]
pub(super) struct Moves {
    store: Store,
    revision: Revision,
    /// How often the server was another one, as far as that was dealt with.
    known: AtomicU64,
}

/// What a transaction does about a move, once it is committed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recovered {
    moves: u64,
    /// How far this hub had seen the database come, and how far it was found.
    was_at: i64,
    is_at: i64,
}

impl Moves {
    /// The present server is the known one.
    pub(super) fn new(store: Store, revision: Revision) -> Self {
        let known = AtomicU64::new(store.server_moves());
        Self {
            store,
            revision,
            known,
        }
    }

    /// Looks at a transaction that has the counter's lock: after a move, or when the counter is below what was
    /// handed out, the database counts as restored ([`note_restored`]): every hub drops what it holds, and what was
    /// published is doubted, since it may have been published of what is gone.
    pub(super) async fn look_at(
        &self,
        transaction: &mut WriteTransaction,
        now: Time,
    ) -> Result<Option<Recovered>, StoreError> {
        let moves = self.store.server_moves();
        // Whatever was announced was committed before this transaction got the lock.
        let (was_at, is_at) = (self.revision.current(), transaction.revision());
        if moves == self.known.load(Ordering::Acquire) && is_at >= was_at {
            return Ok(None);
        }
        note_restored(transaction, was_at, now).await?;
        Ok(Some(Recovered {
            moves,
            was_at,
            is_at,
        }))
    }

    /// Notes that a move was dealt with, durably.
    pub(super) fn note(&self, recovered: Recovered) {
        self.known.store(recovered.moves, Ordering::Release);
        tracing::warn!(
            "the database has moved to another server, or was put back, and may lack the last changes (it was at revision {}, this hub at {}): revisions were raised, and everything that was held is read again",
            recovered.is_at,
            recovered.was_at
        );
    }
}
