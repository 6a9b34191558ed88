//! What differs between databases. Everything else in this folder is the same for all.

use percent_encoding::{AsciiSet, CONTROLS};

/// The characters of a file's path that must not stand bare in a `sqlite:` URL.
pub(super) const SQLITE_PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'%')
    .add(b'?')
    .add(b'#')
    .add(b'"')
    .add(b'<')
    .add(b'>');

/// A kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// The embedded default.
    Sqlite,
}

impl Dialect {
    /// The URL to connect with: the file is made when there is none.
    pub(super) fn connect_url(self, url: &str) -> String {
        match self {
            Self::Sqlite if url.contains("mode=") => url.to_owned(),
            Self::Sqlite if url.contains('?') => format!("{url}&mode=rwc"),
            Self::Sqlite => format!("{url}?mode=rwc"),
        }
    }

    /// What the writing connection says first. `synchronous=FULL` syncs the log at every commit.
    pub(super) fn writer_setup(self) -> &'static str {
        match self {
            Self::Sqlite => {
                "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                 PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY"
            }
        }
    }

    /// What a reading connection says first.
    pub(super) fn reader_setup(self) -> &'static str {
        match self {
            Self::Sqlite => {
                "PRAGMA busy_timeout = 5000; PRAGMA query_only = ON; PRAGMA temp_store = MEMORY"
            }
        }
    }

    /// A number that differs once another connection has committed.
    pub(super) fn version_query(self) -> &'static str {
        match self {
            Self::Sqlite => "PRAGMA data_version",
        }
    }

    /// A migration in this dialect: `{bytes}` makes a column compare by bytes.
    pub(super) fn migration(self, sql: &str) -> String {
        match self {
            // SQLite's default collation is BINARY.
            Self::Sqlite => sql.replace(" {bytes}", ""),
        }
    }
}
