//! Detects that the database moved to a server that may lack the last transactions, such as a
//! promoted replica.

use std::sync::atomic::{AtomicU64, Ordering};

use super::restored::note_restored;
use crate::auth::secrets::random_u128;
use crate::domain::database_id::DatabaseId;
use crate::domain::revision::Revision;
use crate::domain::time::Time;
use crate::follow::bus::Bus;
use crate::store::{Store, StoreError, WriteTransaction};

/// Detects a move before the first write after it, so that no revision is reused for other content.
#[derive(Debug)]
pub(super) struct Moves {
    store: Store,
    bus: Bus,
    /// The number of server changes handled so far.
    known: AtomicU64,
}

/// What a transaction did about a move, once it is committed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recovered {
    moves: u64,
    /// The latest revision this hub had seen, and the one found.
    was_at: Revision,
    is_at: Revision,
}

impl Moves {
    /// Assumes that the present server is the known one.
    pub(super) fn new(store: Store, bus: Bus) -> Self {
        let known = AtomicU64::new(store.server_moves());
        Self { store, bus, known }
    }

    /// Checks a transaction that holds the counter's lock. After a move, or when the counter is
    /// below the revisions handed out, the database counts as restored ([`note_restored`]): every
    /// hub drops its caches, and the ledger is marked uncertain, since it may lack the publications
    /// of lost transactions.
    ///
    /// The database gets a new id only if revisions that this hub has handed out are lost. A move that
    /// lost nothing must not look like another database to the agents.
    ///
    /// Without either, revisions continue above the present time on a new connection
    /// ([`WriteTransaction::continue_at`]). `latest`: the later one of this machine's time and `now`,
    /// since the clock of the server that was promoted may be behind.
    pub(super) async fn look_at(
        &self,
        transaction: &mut WriteTransaction,
        now: Time,
        latest: Time,
    ) -> Result<Option<Recovered>, StoreError> {
        let moves = self.store.server_moves();
        // Announced revisions were committed before this transaction got the lock.
        let (was_at, is_at) = (self.bus.current(), transaction.revision());
        if moves == self.known.load(Ordering::Acquire) && is_at >= was_at {
            transaction.continue_at(latest);
            return Ok(None);
        }
        let past = was_at.max(Revision::at(latest));
        note_restored(transaction, past, now).await?;
        if is_at < was_at {
            match random_u128() {
                Ok(random) => transaction.set_database_id(DatabaseId::new(random)).await?,
                Err(error) => tracing::error!(
                    "the database keeps its id although it lost revisions, so that agents with a list of hubs may refuse its silos until they change: {error}"
                ),
            }
        }
        Ok(Some(Recovered {
            moves,
            was_at,
            is_at,
        }))
    }

    /// Records that a move was handled, after its commit.
    pub(super) fn note(&self, recovered: Recovered) {
        self.known.store(recovered.moves, Ordering::Release);
        tracing::warn!(
            "the database has moved to another server or was restored, and may lack the last changes (it was at revision {}, this hub at {}): revisions were raised, and all caches are reloaded",
            recovered.is_at,
            recovered.was_at
        );
    }
}
