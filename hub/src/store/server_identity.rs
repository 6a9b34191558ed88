//! Which server the connections lead to. A database moves: a standby is promoted, the old primary comes back as
//! its standby, and a name, a proxy or a pooler leads there sooner or later than the hub's connections.
//!
//! A connection is looked at when it is made and each time it is lent out: none is used that leads to a standby,
//! and once one leads to another server than the others, the older ones are dropped.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::{AnyConnection, Executor, Row};
use tokio::time::Instant;

use super::dialect::Dialect;

const NO_WRITES: &str = "this server is a standby or takes no writes";

/// What all connections of a hub know of the server.
#[derive(Clone, Debug)]
pub(super) struct Servers {
    dialect: Dialect,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug)]
struct Known {
    server: Option<Server>,
    /// Connections made before lead to the server before.
    since: Instant,
    moves: u64,
    /// Whether it was said that the server does not tell which one it is.
    is_nameless: bool,
}

/// A server as it tells of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Server {
    /// Of PostgreSQL the system identifier, which a replica shares; of MariaDB what no two servers share.
    system: String,
    /// PostgreSQL's timeline, which each promotion raises; elsewhere 0.
    timeline: u32,
}

/// What is to be done with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It leads to the known server, or is the first.
    Use,
    /// It leads to another server, which is the known one from now on.
    Moved,
    /// It leads to what a promoted server has left behind.
    Behind,
}

fn judge(known: Option<&Server>, found: &Server) -> Verdict {
    match known {
        None => Verdict::Use,
        Some(known) if known == found => Verdict::Use,
        Some(known) if known.system == found.system && found.timeline < known.timeline => {
            Verdict::Behind
        }
        Some(_) => Verdict::Moved,
    }
}

impl Servers {
    /// No server is known yet.
    pub(super) fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            known: Arc::new(Mutex::new(Known {
                server: None,
                since: Instant::now(),
                moves: 0,
                is_nameless: false,
            })),
        }
    }

    /// The kind of database.
    pub(super) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// How often the connections turned out to lead to another server.
    pub(super) fn moves(&self) -> u64 {
        self.lock().moves
    }

    /// Looks at a new connection, or again at one that has been open for a while; refuses one to a standby, or
    /// to a server whose successor is known.
    pub(super) async fn look_at(&self, connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
        let Some(question) = self.dialect.server_question() else {
            return Ok(());
        };
        self.refuse_standby(connection).await?;
        let found = match connection.fetch_one(question).await {
            Ok(row) if row.try_get::<&str, _>(2)? == "on" => return Err(refused(NO_WRITES)),
            Ok(row) => Server {
                system: row.try_get(0)?,
                timeline: u32::from_str_radix(row.try_get(1)?, 16).unwrap_or(0),
            },
            // A server that was made to look like one of these, or a user without the right to ask.
            Err(sqlx::Error::Database(error)) => {
                if !std::mem::replace(&mut self.lock().is_nameless, true) {
                    tracing::warn!(
                        "the database does not tell which server it is, so a move to another one may go unnoticed: {error}"
                    );
                }
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.learn(found)
    }

    fn learn(&self, found: Server) -> Result<(), sqlx::Error> {
        let mut known = self.lock();
        match judge(known.server.as_ref(), &found) {
            Verdict::Use => known.server = Some(found),
            Verdict::Moved => {
                tracing::info!(
                    timeline = found.timeline,
                    "the database has moved to another server: connections to the one before are dropped"
                );
                known.server = Some(found);
                known.since = Instant::now();
                known.moves += 1;
            }
            Verdict::Behind => {
                return Err(refused(
                    "this server's successor was promoted: it is left behind",
                ));
            }
        }
        Ok(())
    }

    /// Whether a connection of this age, which is about to be lent out, may be used on. It costs what asking
    /// for a sign of life does, and is one.
    pub(super) async fn is_usable(
        &self,
        connection: &mut AnyConnection,
        age: Duration,
    ) -> Result<bool, sqlx::Error> {
        if age > self.lock().since.elapsed() {
            return Ok(false);
        }
        self.refuse_standby(connection).await.map(|()| true)
    }

    async fn refuse_standby(&self, connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
        let Some(question) = self.dialect.standby_question() else {
            return Ok(());
        };
        let row = connection.fetch_one(question).await?;
        match row.try_get::<&str, _>(0)? {
            "true" | "1" | "on" | "ON" => Err(refused(NO_WRITES)),
            _ => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refused(why: &str) -> sqlx::Error {
    sqlx::Error::Protocol(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_told_from_the_ones_before_and_after() {
        let server = |system: &str, timeline| Server {
            system: system.to_owned(),
            timeline,
        };
        let known = server("7", 3);
        for (found, verdict) in [
            (server("7", 3), Verdict::Use),
            (server("7", 4), Verdict::Moved),
            (server("7", 2), Verdict::Behind),
            (server("8", 1), Verdict::Moved),
            (server("8", 3), Verdict::Moved),
        ] {
            assert_eq!(judge(Some(&known), &found), verdict, "{found:?}");
            assert_eq!(judge(None, &found), Verdict::Use);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn connections_older_than_a_move_are_dropped() {
        let servers = Servers::new(Dialect::Sqlite);
        let server = |timeline| Server {
            system: "7".to_owned(),
            timeline,
        };
        servers.learn(server(1)).unwrap();
        tokio::time::advance(Duration::from_secs(10)).await;
        servers.learn(server(1)).unwrap();
        assert_eq!(servers.moves(), 0);
        servers.learn(server(2)).unwrap();
        assert_eq!(servers.moves(), 1);
        tokio::time::advance(Duration::from_secs(1)).await;
        let mut connection = {
            use sqlx::Connection;
            sqlx::any::install_default_drivers();
            AnyConnection::connect("sqlite::memory:").await.unwrap()
        };
        for (age, usable) in [(2, false), (11, false), (0, true)] {
            let age = Duration::from_secs(age);
            assert_eq!(
                servers.is_usable(&mut connection, age).await.unwrap(),
                usable
            );
        }
        assert!(servers.learn(server(1)).is_err(), "it is left behind");
        assert_eq!(servers.moves(), 1);
    }
}
