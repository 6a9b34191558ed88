//! Follows what others commit to the same database, such as the command line beside a running hub:
//! reads what is newer than this hub's position and makes the view and the token cache forget it.
//!
//! This hub's own commits never move the position: only reading the feed does. Else a lower revision
//! that another program committed meanwhile would be skipped.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

use crate::auth::failure_limit::FailureLimit;
use crate::auth::token_cache::TokenCache;
use crate::domain::signed_not_before::KnownSignedNotBefore;
use crate::domain::time::Clock;
use crate::follow::database_health::DatabaseHealth;
use crate::follow::invalidation::Invalidation;
use crate::follow::revision::Revision;
use crate::store::{CommitWatch, Position, Store, StoreError};

/// How long to wait after a failure.
const RETRY: Duration = Duration::from_millis(250);
/// How long the database may take to tell its news.
const PATIENCE: Duration = Duration::from_secs(6);
/// How often to look whether the connections still lead to the same server.
const LOOK_AT_SERVER: Duration = Duration::from_secs(2);
/// How many changed silos are read at once.
const PAGE: usize = 1000;

/// Writes once, so that a move of the database is dealt with before this hub's next write.
pub trait WriteProbe {
    /// Why the database takes no writes.
    type Error: Display;

    /// Writes something that changes nothing.
    fn prove_writable(&self) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// Follows the database, and keeps what is held of it fresh.
#[derive(Debug)]
pub struct Feed<W> {
    /// The database.
    pub store: Store,
    /// Deals with a database that has moved, before its next write.
    pub registry: W,
    /// Forgets silos that changed, and wakes those who wait for them.
    pub invalidation: Invalidation,
    /// Forgets tokens that changed.
    pub tokens: TokenCache,
    /// Learns how many wrong credentials came to other hubs.
    pub failures: FailureLimit,
    /// Announces what is new.
    pub revision: Revision,
    /// Notes whether the database answers.
    pub database_health: DatabaseHealth,
    /// Learns since when signatures count.
    pub signed_not_before: KnownSignedNotBefore,
    /// The time.
    pub clock: Clock,
}

/// What the feed knows of the server.
#[derive(Debug)]
struct KnownServer {
    /// How often it was another one, as far as that was dealt with.
    moves: u64,
    looked_at: Instant,
}

impl<W: WriteProbe> Feed<W> {
    /// Follows from a position on, for ever; stop it by dropping the future.
    pub async fn follow(self, from: Position) {
        let mut failing = false;
        let mut watch = None;
        let mut position = Position {
            // Those of the present minute count for a hub that has just begun, too.
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
            // What was committed before the watch began is looked for at once.
            None => {
                // The driver goes on trying to connect for half a minute.
                let found = tokio::time::timeout(PATIENCE, self.store.watch_commits()).await;
                *watch = Some(found.unwrap_or(Err(StoreError::NoAnswer))?);
            }
        }
        // A server that hangs is as good as away.
        let looked = async {
            let found = match self.position(server).await? {
                Some(found) => found,
                None => {
                    // It may listen at the server before.
                    *watch = None;
                    self.store.position().await?
                }
            };
            self.catch_up(position, found).await
        };
        let looked = tokio::time::timeout(PATIENCE, looked).await;
        looked.unwrap_or(Err(StoreError::NoAnswer))
    }

    /// How far the database is. `None` when it is at another server than before, or has lost revisions that
    /// were handed out: a replica that was promoted may lack the last transactions, and then some of what is
    /// held never was. The registry raises the revisions then.
    async fn position(&self, server: &mut KnownServer) -> Result<Option<Position>, StoreError> {
        // Known before the database is asked, which so has come as far unless it has lost something.
        let past = self.revision.current();
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
        // Any write will do, and this one changes nothing.
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
            self.revision.announce_deliveries();
        }
        if position.failures != held.failures {
            let counted = self.store.failures_since(held.failures).await?;
            self.failures.learn(&counted, self.clock.reading());
            held.failures = position.failures;
        }
        if held.revision < position.feed_floor {
            // Deletions in between are told no more: nothing that is held can be relied on.
            self.tokens.forget_all();
            self.invalidation.anything_changed();
            held.revision = position.feed_floor;
            self.revision.announce(position.feed_floor);
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
                self.revision.announce(last.revision);
            }
            if changed.len() < PAGE {
                return Ok(());
            }
        }
    }
}
