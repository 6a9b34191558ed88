//! Detects which server the connections lead to. A database can move: a standby is promoted, the
//! old primary returns as its standby, and a name, a proxy or a pooler switches to it earlier or
//! later than the hub's connections.
//!
//! A connection is checked when it is created and each time it is lent out: connections to a
//! standby are not used, and once one leads to a new server, older ones are dropped.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::{AnyConnection, Executor, Row};
use tokio::time::Instant;

use super::dialect::Dialect;

const NO_WRITES: &str = "this server is a standby or takes no writes";

/// What all connections of a hub know about the server.
#[derive(Clone, Debug)]
pub(super) struct Servers {
    dialect: Dialect,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug)]
struct Known {
    server: Option<Server>,
    /// Connections created earlier lead to the previous server.
    since: Instant,
    moves: u64,
    /// Whether it was logged that the server does not report its identity.
    is_nameless: bool,
}

/// A server's reported identity.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Server {
    /// PostgreSQL: the system identifier, which replicas share; MariaDB: a value unique to the server.
    system: String,
    /// PostgreSQL: the timeline, which each promotion increments; otherwise 0.
    timeline: u32,
}

/// What to do with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It leads to the known server, or is the first.
    Use,
    /// It leads to another server, which becomes the known one.
    Moved,
    /// It leads to an old server whose successor was promoted.
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
    /// Starts without a known server.
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

    /// How often the connections were found to lead to another server.
    pub(super) fn moves(&self) -> u64 {
        self.lock().moves
    }

    /// Checks the server of a new connection, or of an open one again; refuses a standby, and a
    /// server whose successor is known.
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
            // A server that only imitates one of these, or a user without permission to ask.
            Err(sqlx::Error::Database(error)) => {
                if !std::mem::replace(&mut self.lock().is_nameless, true) {
                    tracing::warn!(
                        "cannot identify the database server, so a move to another one may go undetected: {error}"
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
                return Err(refused("another server was promoted in its place"));
            }
        }
        Ok(())
    }

    /// Whether a connection of this age may be lent out. Costs the same as a ping, and serves as one.
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
    fn a_server_is_distinguished_from_earlier_and_later_ones() {
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
