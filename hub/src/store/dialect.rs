//! The differences between databases. The rest of this folder is the same for all.

use std::borrow::Cow;
use std::fmt::Write;

use sqlx::any::AnyArguments;
use sqlx::error::DatabaseError;
use sqlx::mysql::MySqlDatabaseError;
use sqlx::query::Query;
use sqlx::sqlite::SqliteError;
use sqlx::{Any, AssertSqlSafe};

pub(super) use crate::config::database_url::Dialect;

/// What every session on MariaDB sets: statements outside of a transaction commit by themselves,
/// `COMMIT` begins no other transaction, and a value that does not fit is refused, not cut. The
/// driver requires `PIPES_AS_CONCAT`.
macro_rules! mariadb_session {
    () => {
        "SET SESSION autocommit = 1, SESSION completion_type = 'NO_CHAIN', \
         SESSION sql_mode = 'STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,\
         NO_ENGINE_SUBSTITUTION,PIPES_AS_CONCAT'"
    };
}

/// PostgreSQL's time now, not that of the transaction's beginning.
macro_rules! postgres_time {
    () => {
        "CAST(floor(extract(epoch FROM clock_timestamp()) * 1000) AS bigint)"
    };
}

/// MariaDB's time at the beginning of the statement; in UTC, since a session's time zone may have
/// hours that occur twice.
macro_rules! mariadb_time {
    () => {
        "CAST(timestampdiff(MICROSECOND, '1970-01-01', utc_timestamp(3)) DIV 1000 AS SIGNED)"
    };
}

impl Dialect {
    /// The URL to connect with: a missing SQLite file is created.
    pub(super) fn connect_url(self, url: &str) -> String {
        match self {
            Self::Sqlite if url.contains("mode=") => url.to_owned(),
            Self::Sqlite if url.contains('?') => format!("{url}&mode=rwc"),
            Self::Sqlite => format!("{url}?mode=rwc"),
            Self::Postgres | Self::MariaDb => url.to_owned(),
        }
    }

    /// The same for a database that exists: a missing SQLite file is not created.
    pub(super) fn reconnect_url(self, url: &str) -> String {
        self.connect_url(url).replace("mode=rwc", "mode=rw")
    }

    /// The required settings of the writing connection, whatever the defaults of server, database
    /// and user are: a transaction begins with the counter's lock and then reads what is committed,
    /// and its commit is durable when it is answered. PostgreSQL's `synchronous_commit` is raised
    /// only from `off`, since the other values choose which standbys to wait for. The server's lock
    /// timeout is shorter than the hub's ([`super::BEGIN_TIMEOUT`]).
    ///
    /// SQLite's `synchronous=FULL` syncs the log at every commit. Its log is checkpointed at 16 MiB
    /// instead of 4, so that pages that change often are written once. The page cache is 16 MiB.
    /// The log is cut to 32 MiB when it starts over, if a long read made it grow.
    pub(super) fn writer_setup(self) -> &'static str {
        match self {
            Self::Sqlite => {
                "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                 PRAGMA wal_autocheckpoint = 4000; PRAGMA journal_size_limit = 33554432; \
                 PRAGMA cache_size = -16384; \
                 PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY"
            }
            Self::Postgres => {
                "SET lock_timeout = '4s'; \
                 SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED; \
                 SELECT set_config('synchronous_commit', 'on', false) \
                 WHERE current_setting('synchronous_commit') = 'off'"
            }
            Self::MariaDb => concat!(
                mariadb_session!(),
                ", SESSION innodb_lock_wait_timeout = 4, SESSION default_storage_engine = InnoDB; \
                 SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ WRITE"
            ),
        }
    }

    /// The optional settings of the writing session: it must not hold the counter's lock for longer
    /// than a hub would wait, in particular if its hub is dead. In seconds, except for PostgreSQL's
    /// user timeout. TCP timeouts are ignored on a Unix socket.
    pub(super) fn writer_wishes(self) -> &'static [&'static str] {
        match self {
            Self::Sqlite => &[],
            Self::Postgres => &[
                "SET statement_timeout = '10s'",
                "SET idle_in_transaction_session_timeout = '15s'",
                "SET tcp_keepalives_idle = 5",
                "SET tcp_keepalives_interval = 2",
                "SET tcp_keepalives_count = 3",
                "SET tcp_user_timeout = '15s'",
            ],
            Self::MariaDb => &[
                "SET SESSION idle_transaction_timeout = 15",
                "SET SESSION max_statement_time = 10",
            ],
        }
    }

    /// The optional settings of a reading session. Exports read without a time limit.
    pub(super) fn reader_wishes(self) -> &'static [&'static str] {
        match self {
            Self::Postgres => &[
                "SET tcp_keepalives_idle = 5",
                "SET tcp_keepalives_interval = 2",
                "SET tcp_keepalives_count = 3",
            ],
            Self::Sqlite | Self::MariaDb => &[],
        }
    }

    /// The required settings of a reading connection, whatever the defaults are: each statement
    /// outside of a snapshot reads what is committed when it begins.
    pub(super) fn reader_setup(self) -> &'static str {
        match self {
            Self::Sqlite => {
                "PRAGMA busy_timeout = 5000; PRAGMA query_only = ON; PRAGMA temp_store = MEMORY"
            }
            Self::Postgres => {
                "SET SESSION CHARACTERISTICS AS TRANSACTION \
                 ISOLATION LEVEL READ COMMITTED, READ ONLY"
            }
            Self::MariaDb => concat!(
                mariadb_session!(),
                "; SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
            ),
        }
    }

    /// Locks the revision counter and changes nothing.
    pub(super) const TOUCH_COUNTER: &str =
        "UPDATE counters SET value = value WHERE name = 'revision'";

    /// Begins the only writing transaction. A deferred SQLite transaction that reads first can fail
    /// to upgrade to a write; on the servers, the holder of the counter's lock is the writer.
    pub(super) fn begin_write(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN IMMEDIATE",
            Self::Postgres | Self::MariaDb => {
                "BEGIN; UPDATE counters SET value = value WHERE name = 'revision'"
            }
        }
    }

    /// The clause that makes an `INSERT` replace the `columns` of existing rows with the same `key`.
    pub(super) fn upsert(self, key: &[&str], columns: &[&str]) -> String {
        let (head, old, after) = match self {
            Self::Sqlite | Self::Postgres => {
                let key = key.join(", ");
                (
                    format!("ON CONFLICT ({key}) DO UPDATE SET"),
                    "excluded.",
                    "",
                )
            }
            Self::MariaDb => ("ON DUPLICATE KEY UPDATE".to_owned(), "VALUES(", ")"),
        };
        let set = columns
            .iter()
            .map(|column| format!("{column} = {old}{column}{after}"));
        format!(" {head} {}", set.collect::<Vec<_>>().join(", "))
    }

    /// The statement that gives a transaction a consistent snapshot, where that is not the default.
    pub(super) fn snapshot(self) -> Option<&'static str> {
        match self {
            Self::Postgres => Some("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"),
            // The session's transactions are repeatable already.
            Self::Sqlite | Self::MariaDb => None,
        }
    }

    /// Queries whether the server rejects writes, as a standby does: `true`, `1` or `ON`. `None`
    /// without a server.
    pub(super) fn standby_question(self) -> Option<&'static str> {
        match self {
            Self::Sqlite => None,
            Self::Postgres => Some("SELECT CAST(pg_is_in_recovery() AS text)"),
            Self::MariaDb => Some("SELECT CAST(@@global.read_only AS CHAR)"),
        }
    }

    /// Queries the server's identity: its name, its timeline in hexadecimal digits, and whether it
    /// is read-only by default.
    pub(super) fn server_question(self) -> Option<&'static str> {
        match self {
            Self::Sqlite => None,
            Self::Postgres => Some(
                "SELECT CAST((SELECT system_identifier FROM pg_control_system()) AS text), \
                 substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8), \
                 (SELECT reset_val FROM pg_settings WHERE name = 'default_transaction_read_only')",
            ),
            Self::MariaDb => Some(
                "SELECT CONCAT_WS(' ', @@server_id, @@hostname, @@port, @@datadir), '0', 'off'",
            ),
        }
    }

    /// Queries what identifies the session at the server, where a pooler may be in between.
    pub(super) fn session_question(self) -> Option<&'static str> {
        match self {
            Self::Postgres => Some("SELECT CAST(pg_backend_pid() AS bigint)"),
            Self::Sqlite | Self::MariaDb => None,
        }
    }

    /// Queries the server's time in milliseconds since the Unix epoch. `None` without a server.
    pub(super) fn time_question(self) -> Option<&'static str> {
        match self {
            Self::Sqlite => None,
            Self::Postgres => Some(concat!("SELECT ", postgres_time!())),
            Self::MariaDb => Some(concat!("SELECT ", mariadb_time!())),
        }
    }

    /// Reads all counters, each with the server's time, as [`Self::time_question`] has it.
    pub(super) fn counters_question(self) -> &'static str {
        match self {
            Self::Sqlite => "SELECT name, value FROM counters",
            Self::Postgres => concat!("SELECT name, value, ", postgres_time!(), " FROM counters"),
            Self::MariaDb => concat!("SELECT name, value, ", mariadb_time!(), " FROM counters"),
        }
    }

    /// Queries the encoding of the database's texts, where the hub does not choose it itself.
    pub(super) fn encoding_question(self) -> Option<&'static str> {
        match self {
            Self::Postgres => Some("SELECT current_setting('server_encoding')"),
            // MariaDB's columns have a character set each.
            Self::Sqlite | Self::MariaDb => None,
        }
    }

    /// Whether a connection may have broken since it was last used.
    pub(super) fn is_remote(self) -> bool {
        self != Self::Sqlite
    }

    /// The last statement of a writing transaction, which wakes other hubs at its commit.
    pub(super) fn announcement(self) -> Option<&'static str> {
        match self {
            Self::Postgres => Some("NOTIFY silo"),
            Self::Sqlite | Self::MariaDb => None,
        }
    }

    /// A query in this dialect, written with `?` for each value.
    pub(super) fn query(
        self,
        sql: impl Into<Cow<'static, str>>,
    ) -> Query<'static, Any, AnyArguments> {
        #[cfg(test)]
        super::statement_count::note();
        match (self, sql.into()) {
            (Self::Postgres, sql) => sqlx::query(AssertSqlSafe(numbered(&sql))),
            (_, Cow::Borrowed(sql)) => sqlx::query(sql),
            (_, Cow::Owned(sql)) => sqlx::query(AssertSqlSafe(sql)),
        }
    }

    /// A query with bound values, or several of them for SQLite.
    pub(super) fn query_with(
        self,
        sql: String,
        values: AnyArguments,
    ) -> Query<'static, Any, AnyArguments> {
        let sql = match self {
            Self::Postgres => numbered(&sql),
            Self::Sqlite | Self::MariaDb => sql,
        };
        sqlx::query_with(AssertSqlSafe(sql), values)
    }

    /// A migration in this dialect: `{bytes}` makes a column compare by bytes, `{unicode}` makes it
    /// hold any character; `{of history}` names the table of a dropped index.
    pub(super) fn migration(self, sql: &str) -> String {
        let (bytes, unicode, of_history) = match self {
            // SQLite's default collation is BINARY.
            Self::Sqlite => ("", "", ""),
            Self::Postgres => (" COLLATE \"C\"", "", ""),
            Self::MariaDb => (
                " CHARACTER SET ascii COLLATE ascii_bin",
                " CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
                " ON history",
            ),
        };
        sql.replace(" {bytes}", bytes)
            .replace(" {unicode}", unicode)
            .replace(" {of history}", of_history)
    }
}

/// Whether an error means that the database's disk is full.
pub(super) fn is_full(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else {
        return false;
    };
    if let Some(error) = error.try_downcast_ref::<MySqlDatabaseError>() {
        // ER_DISK_FULL, and ER_RECORD_FILE_FULL of InnoDB.
        return matches!(error.number(), 1021 | 1114);
    }
    // SQLITE_FULL; SQLITE_IOERR_SHMSIZE, for the shared-memory file of the log; PostgreSQL's disk_full.
    matches!(error.code().as_deref(), Some("13" | "4874" | "53100"))
}

/// Whether an error means that the content of an SQLite file makes no sense: `SQLITE_CORRUPT`,
/// `SQLITE_NOTADB`, and the extended codes of both.
pub(super) fn is_malformed(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else {
        return false;
    };
    let Some(error) = error.try_downcast_ref::<SqliteError>() else {
        return false;
    };
    let code = error.code().and_then(|code| code.parse::<u32>().ok());
    code.is_some_and(|code| matches!(code & 0xff, 11 | 26))
}

/// Rewrites `?` as `$1`, `$2`, …; no statement in this folder has a question mark in a string.
fn numbered(sql: &str) -> String {
    let mut parts = sql.split('?');
    let mut numbered = parts.next().unwrap_or("").to_owned();
    for (number, part) in (1..).zip(parts) {
        write!(numbered, "${number}{part}").expect("writing to a String never fails");
    }
    numbered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_numbered_in_order() {
        assert_eq!(numbered("SELECT 1"), "SELECT 1");
        assert_eq!(
            numbered("a = ? AND b IN (?, ?)"),
            "a = $1 AND b IN ($2, $3)"
        );
    }
}
