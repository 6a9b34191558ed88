//! Follows what others commit to the same database, such as the command line beside a running hub:
//! reads what is newer than this hub's position and makes the view and the token cache forget it.
//!
//! This hub's own commits never move the position: only reading the feed does. Else a lower revision
//! that another program committed meanwhile would be skipped.

use std::time::Duration;

use crate::contact::Contact;
use crate::domain::signed_not_before::KnownSignedNotBefore;
use crate::domain::time::Clock;
use crate::failure_limit::FailureLimit;
use crate::revision::Revision;
use crate::store::{CommitWatch, Position, Store, StoreError};
use crate::token_cache::TokenCache;
use crate::view::View;

/// How long to wait after a failure.
const RETRY: Duration = Duration::from_millis(250);
/// How long the database may take to tell its news.
const PATIENCE: Duration = Duration::from_secs(6);
/// How many changed silos are read at once.
const PAGE: usize = 1000;

/// Follows the database, and keeps what is held of it fresh.
#[derive(Debug)]
pub struct Feed {
    /// The database.
    pub store: Store,
    /// Forgets silos that changed, and so wakes those who wait for them.
    pub view: View,
    /// Forgets tokens that changed.
    pub tokens: TokenCache,
    /// Learns how many wrong credentials came to other hubs.
    pub failures: FailureLimit,
    /// Announces what is new.
    pub revision: Revision,
    /// Notes whether the database answers.
    pub contact: Contact,
    /// Learns since when signatures count.
    pub signed_not_before: KnownSignedNotBefore,
    /// The time.
    pub clock: Clock,
}

impl Feed {
    /// Follows from a position on, for ever; stop it by dropping the future.
    pub async fn follow(self, from: Position) {
        let mut failing = false;
        let mut watch = None;
        let mut position = Position {
            // Those of the present minute count for a hub that has just begun, too.
            failures: 0,
            ..from
        };
        loop {
            match self.look(&mut watch, &mut position).await {
                Ok(()) => {
                    self.contact.note_answer(self.clock.now());
                    if std::mem::take(&mut failing) {
                        tracing::info!("the database answers again");
                    }
                }
                Err(error) => {
                    watch = None;
                    self.contact.note_silence();
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
    ) -> Result<(), StoreError> {
        match watch {
            Some(watch) => watch.news().await?,
            // What was committed before the watch began is looked for at once.
            none => {
                // The driver goes on trying to connect for half a minute.
                let watch = tokio::time::timeout(PATIENCE, self.store.watch_commits()).await;
                *none = Some(watch.unwrap_or(Err(StoreError::Silent))?);
            }
        }
        // A server that hangs is as good as away.
        let caught_up = tokio::time::timeout(PATIENCE, self.catch_up(position)).await;
        caught_up.unwrap_or(Err(StoreError::Silent))
    }

    async fn catch_up(&self, held: &mut Position) -> Result<(), StoreError> {
        let position = self.store.position().await?;
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
            self.failures.learn(&counted, self.clock.now());
            held.failures = position.failures;
        }
        if held.revision < position.feed_floor {
            // Deletions in between are told no more: nothing that is held can be relied on.
            self.tokens.forget_all();
            self.view.changed_unknown();
            held.revision = position.feed_floor;
            self.revision.announce(position.feed_floor);
        }
        loop {
            let limit = i64::try_from(PAGE).expect("a page is small");
            let changed = self.store.changed_since(held.revision, limit).await?;
            for silo in &changed {
                self.view.changed_elsewhere(&silo.id, silo.revision);
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
