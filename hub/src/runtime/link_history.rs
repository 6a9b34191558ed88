//! Links the history that older versions and imports wrote, after start and then periodically: see
//! [`crate::registry::EndLinking`]. Each transaction handles a few hundred rows, so that other writers get their turn
//! in between.
//!
//! Until a silo is linked, finding the history of one hostname requires a search of the silo's whole history. If a hub
//! of version 0.1.0 uses the same database, a silo needs linking again after each of its changes.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use silo_shared::silo::SiloId;

use crate::auth::secrets::random_number;
use crate::domain::revision::Revision;
use crate::registry::{
    ApplyError, BeginLinking, EndLinking, Followed, LinkFormerNames, LinkRows, Linking, Registry,
    follow,
};
use crate::store::{Queries, Store};

/// How many silos are looked up at once.
const SILOS: i64 = 50;
/// How many rows are read at once.
const ROWS: i64 = 1000;
/// The maximum number of rows or hostnames that one transaction changes.
const CHUNK: usize = 500;
/// The maximum number of a silo's hostnames held in memory. A silo with more in its history is not linked.
const MAX_NAMES: usize = 100_000;
/// How often a silo is followed to its end while others keep changing it.
const ATTEMPTS: usize = 20;

/// Finds silos that are not linked, and links them.
#[derive(Debug)]
pub struct HistoryLinks {
    store: Store,
    registry: Registry,
    /// All silos up to this revision were checked; `None`: no silo was.
    seen: Option<Revision>,
    /// The feed floor at that time: imports and restores raise it, and change silos below `seen`.
    feed_floor: Revision,
    /// Silos that are not linked.
    too_many_names: BTreeSet<SiloId>,
}

impl HistoryLinks {
    /// No silo is checked yet.
    pub fn new(store: Store, registry: Registry) -> Self {
        Self {
            store,
            registry,
            seen: None,
            feed_floor: Revision::NONE,
            too_many_names: BTreeSet::new(),
        }
    }

    /// Links the history of all silos that changed since the last call and are not linked.
    pub async fn link(&mut self) -> Result<(), ApplyError> {
        let position = self.store.position().await?;
        if position.feed_floor != self.feed_floor {
            self.seen = None;
        }
        let mut after = (self.seen.unwrap_or_default(), String::from("~"));
        let mut again = None;
        let mut linked = 0_u64;
        loop {
            let page = self.store.unlinked_silos(&after, SILOS).await?;
            let Some((id, revision)) = page.last() else {
                break;
            };
            after = (*revision, id.to_string());
            let mut left: VecDeque<_> = page
                .into_iter()
                .filter(|(id, _)| !self.too_many_names.contains(id))
                .collect();
            while !left.is_empty() {
                let silos = left.iter().map(|(id, _)| Followed::nothing(id.clone()));
                let ended = self.registry.apply(EndLinking(silos.collect())).await?;
                for ending in ended {
                    let Some((id, revision)) = left.pop_front() else {
                        break;
                    };
                    let is_over = match ending {
                        // `Disturbed`: it does not exist any more.
                        Linking::Done | Linking::Disturbed => true,
                        Linking::Behind => self.link_large(&id).await?,
                    };
                    linked += u64::from(is_over);
                    if !is_over {
                        again.get_or_insert(revision.previous());
                    }
                }
            }
        }
        self.seen = Some(again.unwrap_or(position.revision));
        self.feed_floor = position.feed_floor;
        if linked > 0 {
            tracing::info!(silos = linked, "linked the history of hostnames");
        }
        Ok(())
    }

    /// Links a silo with much history; false: try again later.
    async fn link_large(&mut self, id: &SiloId) -> Result<bool, ApplyError> {
        let mark = -1 - i64::try_from(random_number() >> 2).unwrap_or(0);
        let begin = BeginLinking {
            silo: id.clone(),
            mark,
        };
        self.registry.apply(begin).await?;
        let mut followed = Followed {
            mark: Some(mark),
            ..Followed::nothing(id.clone())
        };
        for _ in 0..ATTEMPTS {
            if !self.follow_rows(&mut followed).await? {
                tracing::warn!(
                    silo = %id,
                    "its history names more than {MAX_NAMES} hostnames, so the history of one of them is searched in all of it"
                );
                self.too_many_names.insert(id.clone());
                return Ok(true);
            }
            let ended = EndLinking(vec![followed.clone()]);
            match self.registry.apply(ended).await?.first() {
                Some(Linking::Done) => return Ok(true),
                Some(Linking::Behind) => {}
                Some(Linking::Disturbed) | None => return Ok(false),
            }
        }
        Ok(false)
    }

    /// Links the existing rows; false: they have too many hostnames.
    async fn follow_rows(&self, followed: &mut Followed) -> Result<bool, ApplyError> {
        let silo = followed.silo.clone();
        loop {
            let rows = self
                .store
                .history_nodes(&silo, &followed.place, ROWS)
                .await?;
            let Some(end) = rows.last() else {
                break;
            };
            followed.place = end.into();
            let last = Arc::make_mut(&mut followed.last);
            let wrong = follow(rows, |row| last.insert(row.hostname.clone(), row.revision));
            if last.len() > MAX_NAMES {
                return Ok(false);
            }
            for rows in wrong.chunks(CHUNK) {
                let rows = LinkRows {
                    silo: silo.clone(),
                    rows: rows.to_vec(),
                };
                self.registry.apply(rows).await?;
            }
        }
        let living = self.store.silo(&silo).await?;
        let is_former = |name| {
            let living = living.as_ref();
            living.is_none_or(|silo| !silo.records.contains_key(name))
        };
        let former: Vec<_> = followed
            .last
            .iter()
            .filter(|(name, _)| is_former(*name))
            .map(|(name, revision)| (name.clone(), *revision))
            .collect();
        for names in former.chunks(CHUNK) {
            let names = LinkFormerNames {
                silo: silo.clone(),
                names: names.to_vec(),
            };
            self.registry.apply(names).await?;
        }
        Ok(true)
    }
}
