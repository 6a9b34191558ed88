//! Follows commits of other programs to the same database, such as the command line beside a
//! running hub: reads changes after this hub's position and invalidates them in the view and the
//! token cache.
//!
//! This hub's own commits never move the position; only reading the feed does. Otherwise a lower
//! revision committed concurrently by another program would be skipped.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use crate::auth::failure_limit::FailureLimit;
use crate::auth::token_cache::TokenCache;
use crate::domain::signed_not_before::KnownSignedNotBefore;
use crate::domain::time::Clock;
use crate::follow::bus::Bus;
use crate::follow::database_health::DatabaseHealth;
use crate::follow::database_id::KnownDatabaseId;
use crate::follow::invalidation::Invalidation;
use crate::store::{CommitWatch, Position, Queries, Store, StoreError};

/// Pause after a failure.
const RETRY: Duration = Duration::from_millis(250);
/// Time limit for the database to report changes.
const PATIENCE: Duration = Duration::from_secs(6);
/// How often to check whether the connections still lead to the same server.
const LOOK_AT_SERVER: Duration = Duration::from_secs(2);
/// Number of changed silos read at once.
const PAGE: usize = 1000;

/// Makes a test write, so that a move of the database is handled before this hub's next write.
pub trait WriteProbe {
    /// Why the database does not accept writes.
    type Error: Display;

    /// Makes a write without effect.
    fn prove_writable(&self) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// Follows the database, and keeps cached data fresh.
#[derive(Debug)]
pub struct Feed<W> {
    /// The database.
    pub store: Store,
    /// Handles a move of the database before its next write.
    pub registry: W,
    /// Invalidates changed silos, and wakes those waiting for them.
    pub invalidation: Invalidation,
    /// Drops changed tokens from the cache.
    pub tokens: TokenCache,
    /// Receives the failed attempts counted by other hubs.
    pub failures: FailureLimit,
    /// Announces new revisions.
    pub bus: Bus,
    /// Records whether the database responds.
    pub database_health: DatabaseHealth,
    /// Receives the time from which signatures are valid.
    pub signed_not_before: KnownSignedNotBefore,
    /// Receives the id of the database.
    pub database_id: KnownDatabaseId,
    /// The time.
    pub clock: Clock,
}

/// The feed's knowledge of the server.
#[derive(Debug)]
struct KnownServer {
    /// Number of server changes handled so far.
    moves: u64,
    looked_at: Instant,
}

impl<W: WriteProbe> Feed<W> {
    /// Follows from a position on, indefinitely; stop it by dropping the future.
    pub async fn follow(self, from: Position) {
        let mut failing = false;
        let mut watch = None;
        let mut position = Position {
            // A hub that has just started also counts those of the present minute.
            failures: 0,
            ..from
        };
        let mut server = KnownServer {
            moves: self.store.server_moves(),
            looked_at: Instant::now(),
        };
        loop {
            match self.look(&mut watch, &mut position, &mut server).await {
                Ok(()) => {
                    self.database_health.note_answer(self.clock.monotonic());
                    if std::mem::take(&mut failing) {
                        tracing::info!("the database answers again");
                    }
                }
                Err(error) => {
                    watch = None;
                    self.database_health.note_silence();
                    if !std::mem::replace(&mut failing, true) {
                        tracing::error!("cannot look for changes in the database: {error}");
                    }
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    async fn look(
        &self,
        watch: &mut Option<CommitWatch>,
        position: &mut Position,
        server: &mut KnownServer,
    ) -> Result<(), StoreError> {
        match &mut *watch {
            Some(watch) => watch.news().await?,
            // Without a watch, checks at once for earlier commits.
            None => {
                // The driver retries connecting for half a minute.
                let found = tokio::time::timeout(PATIENCE, self.store.watch_commits()).await;
                *watch = Some(found.unwrap_or(Err(StoreError::NoAnswer))?);
            }
        }
        // A server that hangs counts as unavailable.
        let looked = async {
            let found = match self.position(server).await? {
                Some(found) => found,
                None => {
                    // It may be listening at the previous server.
                    *watch = None;
                    self.store.position().await?
                }
            };
            self.catch_up(position, found).await
        };
        let looked = tokio::time::timeout(PATIENCE, looked).await;
        looked.unwrap_or(Err(StoreError::NoAnswer))
    }

    /// The position of the database. `None` after a move to another server, or after a loss of
    /// revisions that were handed out: a promoted replica may lack the last transactions, so that
    /// cached data may never have existed there. The registry then raises the revisions.
    async fn position(&self, server: &mut KnownServer) -> Result<Option<Position>, StoreError> {
        // Read before querying the database, whose revision is then at least this unless it lost some.
        let past = self.bus.current();
        if server.looked_at.elapsed() >= LOOK_AT_SERVER {
            self.store.look_at_server().await?;
            server.looked_at = Instant::now();
        }
        let position = self.store.position().await?;
        let moves = self.store.server_moves();
        if moves == server.moves && position.revision >= past {
            return Ok(Some(position));
        }
        self.tokens.forget_all();
        self.invalidation.anything_changed();
        // Any write is sufficient; this one changes nothing.
        if let Err(error) = self.registry.prove_writable().await {
            tracing::debug!("the database has moved, but takes no writes yet: {error}");
            return Err(StoreError::NoAnswer);
        }
        server.moves = moves;
        Ok(None)
    }

    async fn catch_up(&self, held: &mut Position, position: Position) -> Result<(), StoreError> {
        self.signed_not_before.set(position.signed_not_before);
        if position.tokens != held.tokens {
            let changed = self.store.token_changes(held.tokens, position.tokens);
            match changed.await? {
                Some(changed) => self.tokens.forget(&changed),
                None => self.tokens.forget_all(),
            }
            held.tokens = position.tokens;
        }
        if position.deliveries != held.deliveries {
            held.deliveries = position.deliveries;
            self.bus.announce_deliveries();
        }
        if position.failures != held.failures {
            let counted = self.store.failures_since(held.failures).await?;
            self.failures.learn(&counted, self.clock.reading());
            held.failures = position.failures;
        }
        if held.revision < position.feed_floor {
            // Deletions in between are no longer reported: cached data may be wrong.
            self.tokens.forget_all();
            self.invalidation.anything_changed();
            // A restored database has another one.
            if let Some(id) = self.store.database_id().await? {
                self.database_id.set(id);
            }
            held.revision = position.feed_floor;
            self.bus.announce(position.feed_floor);
        }
        loop {
            let limit = i64::try_from(PAGE).expect("a page is small");
            let changed = self.store.changed_since(held.revision, limit).await?;
            for silo in &changed {
                self.invalidation
                    .silo_changed_elsewhere(&silo.id, silo.revision);
                held.revision = silo.revision;
            }
            if let Some(last) = changed.last() {
                self.bus.announce(last.revision);
            }
            if changed.len() < PAGE {
                return Ok(());
            }
        }
    }
}
