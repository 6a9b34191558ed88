//! Follows what others commit to the same database, such as the command line beside a running hub:
//! reads what is newer than this hub's position and makes the view and the token cache forget it.
//!
//! This hub's own commits never move the position: only reading the feed does. Else a lower revision
//! that another program committed meanwhile would be skipped.

use std::time::Duration;

use crate::contact::Contact;
use crate::domain::time::Clock;
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

/// Follows the database.
#[derive(Debug)]
pub struct Feed {
    store: Store,
    view: View,
    tokens: TokenCache,
    revision: Revision,
    position: Position,
    contact: Contact,
    clock: Clock,
    watch: Option<CommitWatch>,
}

impl Feed {
    /// Follows from a position on.
    pub fn new(
        store: Store,
        view: View,
        tokens: TokenCache,
        revision: Revision,
        position: Position,
        contact: Contact,
        clock: Clock,
    ) -> Self {
        Self {
            store,
            view,
            tokens,
            revision,
            position,
            contact,
            clock,
            watch: None,
        }
    }

    /// Follows for ever; stop it by dropping the future.
    pub async fn follow(mut self) {
        let mut failing = false;
        loop {
            match self.look().await {
                Ok(()) => {
                    self.contact.note_answer(self.clock.now());
                    if std::mem::take(&mut failing) {
                        tracing::info!("the database answers again");
                    }
                }
                Err(error) => {
                    self.watch = None;
                    self.contact.note_silence();
                    if !std::mem::replace(&mut failing, true) {
                        tracing::error!("cannot look for changes in the database: {error}");
                    }
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    async fn look(&mut self) -> Result<(), StoreError> {
        match &mut self.watch {
            Some(watch) => watch.news().await?,
            // What was committed before the watch began is looked for at once.
            none => {
                // The driver goes on trying to connect for half a minute.
                let watch = tokio::time::timeout(PATIENCE, self.store.watch_commits()).await;
                *none = Some(watch.unwrap_or(Err(StoreError::Silent))?);
            }
        }
        // A server that hangs is as good as away.
        let caught_up = tokio::time::timeout(PATIENCE, self.catch_up()).await;
        caught_up.unwrap_or(Err(StoreError::Silent))
    }

    async fn catch_up(&mut self) -> Result<(), StoreError> {
        let position = self.store.position().await?;
        if position.tokens != self.position.tokens {
            self.tokens.forget_all();
            self.position.tokens = position.tokens;
        }
        if position.deliveries != self.position.deliveries {
            self.position.deliveries = position.deliveries;
            self.revision.announce_deliveries();
        }
        if self.position.revision < position.feed_floor {
            // Deletions in between are told no more: nothing that is held can be relied on.
            self.view.forget_all();
            self.tokens.forget_all();
            self.position.revision = position.feed_floor;
        }
        loop {
            let limit = i64::try_from(PAGE).expect("a page is small");
            let changed = self
                .store
                .changed_since(self.position.revision, limit)
                .await?;
            for (id, revision) in &changed {
                self.view.forget_older(id, *revision);
                self.position.revision = *revision;
            }
            if let Some((_, revision)) = changed.last() {
                self.revision.announce(*revision);
            }
            if changed.len() < PAGE {
                return Ok(());
            }
        }
    }
}
