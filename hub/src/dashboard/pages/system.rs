//! The page of the hub itself: how it is, its database, the newest backup, and what will expire.

use askama::Template;

use crate::dashboard::layout::Chrome;
use crate::dashboard::when::{When, in_words};
use crate::domain::time::Time;
use crate::http::load::Load;
use crate::http::status::{Expiring, SinkFacts, SinkState, Status};

/// What expires sooner than this is marked.
const SOON_MS: i64 = 14 * 86_400_000;

/// The page.
#[derive(Debug, Template)]
#[template(path = "dashboard/system.html")]
pub(in crate::dashboard) struct SystemPage {
    pub(in crate::dashboard) chrome: Chrome,
    pub(in crate::dashboard) status: Status,
    pub(in crate::dashboard) load: Option<Load>,
    pub(in crate::dashboard) backup: Backup,
}

/// How this database is backed up.
#[derive(Debug)]
pub(in crate::dashboard) enum Backup {
    /// It is a file.
    File {
        /// When the newest backup was made, as far as that is noted.
        newest: Option<Time>,
        /// Whether the session may download one here and now.
        download: Download,
    },
    /// It is on a server.
    Server,
}

/// Whether a copy may be downloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::dashboard) enum Download {
    /// Yes.
    Allowed,
    /// The token is no admin's.
    NotAdmin,
    /// It would be read on the way.
    Readable,
}

/// A sink.
struct Sink<'a> {
    facts: &'a SinkFacts,
    class: &'static str,
    words: &'static str,
    next_try: Option<When>,
}

/// Something that expires.
struct End {
    words: String,
    at: When,
    class: &'static str,
    state: &'static str,
}

impl SystemPage {
    fn when(&self, at: Time) -> When {
        When::new(at, self.status.now)
    }

    fn up_for(&self) -> String {
        let millis = self.status.now.as_millis() - self.status.started_at.as_millis();
        in_words(millis / 1000).unwrap_or_else(|| "less than a minute".to_owned())
    }

    fn database_kind(&self) -> &'static str {
        match self.status.database.address.split(':').next() {
            Some("sqlite") => "SQLite, embedded",
            Some("postgres" | "postgresql") => "PostgreSQL",
            Some("mysql" | "mariadb") => "MariaDB or MySQL",
            _ => "unknown",
        }
    }

    fn database_size(&self) -> String {
        let bytes = self.status.database.bytes;
        bytes.map_or_else(|| "not known".to_owned(), size)
    }

    /// The command that copies the database.
    fn backup_command(&self) -> String {
        let address = &self.status.database.address;
        match (&self.backup, address.starts_with("postgres")) {
            (Backup::File { .. }, _) => {
                "silo-hub backup --config /etc/silo/hub.yaml --data-dir /var/lib/silo-hub /var/backups/silo.db"
                    .to_owned()
            }
            (Backup::Server, true) => {
                format!("pg_dump --format=custom --file=silo.dump {}", database_name(address))
            }
            (Backup::Server, false) => {
                format!("mariadb-dump --single-transaction {} > silo.sql", database_name(address))
            }
        }
    }

    fn requests(&self) -> String {
        match self.load {
            Some(load) => rate(load.requests_per_second),
            None => "not known yet".to_owned(),
        }
    }

    fn commit(&self) -> String {
        match self.load {
            Some(Load {
                commit_seconds: Some(seconds),
                ..
            }) => format!("{:.1} ms", seconds * 1000.0),
            Some(_) => "none lately".to_owned(),
            None => "not known yet".to_owned(),
        }
    }

    fn sinks(&self) -> Vec<Sink<'_>> {
        let sinks = self.status.sinks.iter().map(|facts| {
            let (class, words) = match facts.state {
                SinkState::Ok if facts.pending > 0 => ("quiet", "sending"),
                SinkState::Ok => ("ok", "up to date"),
                SinkState::Retrying => ("warn", "retrying"),
                SinkState::Failed => ("bad", "failed"),
            };
            Sink {
                facts,
                class,
                words,
                next_try: facts.next_try.map(|at| self.when(at)),
            }
        });
        sinks.collect()
    }

    fn ends(&self) -> Vec<End> {
        let ends = self.status.expires.iter().map(|end: &Expiring| {
            let left = end.at.as_millis() - self.status.now.as_millis();
            let (class, state) = match left {
                ..0 => ("bad", "expired"),
                0..SOON_MS => ("warn", "soon"),
                _ => ("ok", "later"),
            };
            End {
                words: match &end.name {
                    Some(name) => format!("{} {name}", end.what),
                    None => end.what.clone(),
                },
                at: self.when(end.at),
                class,
                state,
            }
        });
        ends.collect()
    }

    fn newest_backup(&self) -> Option<When> {
        match &self.backup {
            Backup::File {
                newest: Some(at), ..
            } => Some(self.when(*at)),
            _ => None,
        }
    }

    fn may_download(&self) -> bool {
        self.is_download(Download::Allowed)
    }

    fn is_readable(&self) -> bool {
        self.is_download(Download::Readable)
    }

    fn is_download(&self, wanted: Download) -> bool {
        matches!(&self.backup, Backup::File { download, .. } if *download == wanted)
    }

    fn is_file(&self) -> bool {
        matches!(self.backup, Backup::File { .. })
    }
}

/// The name of the database in a server's URL.
fn database_name(address: &str) -> &str {
    let path = address.split(['?', '#']).next().unwrap_or(address);
    let name = path.rsplit('/').next().unwrap_or("");
    // It is shown as a part of a command.
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !name.is_empty() && name.chars().all(is_plain) {
        name
    } else {
        "DATABASE"
    }
}

/// A number of requests in a second.
fn rate(per_second: f64) -> String {
    if per_second >= 10.0 {
        format!("{per_second:.0}")
    } else if per_second >= 0.1 {
        format!("{per_second:.1}")
    } else if per_second > 0.0 {
        "less than 0.1".to_owned()
    } else {
        "0".to_owned()
    }
}

/// A number of bytes.
fn size(bytes: i64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    #[expect(clippy::cast_precision_loss, reason = "the number is shown rounded")]
    let mut number = bytes as f64 / 1024.0;
    let mut unit = 0;
    while number >= 1024.0 && unit + 1 < UNITS.len() {
        number /= 1024.0;
        unit += 1;
    }
    if number >= 10.0 {
        format!("{number:.0} {}", UNITS[unit])
    } else {
        format!("{number:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_for_people() {
        for (bytes, text) in [
            (0, "0.0 KiB"),
            (4096, "4.0 KiB"),
            (123_456, "121 KiB"),
            (5 * 1024 * 1024, "5.0 MiB"),
            (3_000_000_000, "2.8 GiB"),
            (9_000_000_000_000_000, "8185 TiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        for (number, text) in [
            (0.0, "0"),
            (0.02, "less than 0.1"),
            (0.25, "0.2"),
            (9.96, "10.0"),
            (1234.5, "1234"),
        ] {
            assert_eq!(rate(number), text);
        }
    }

    #[test]
    fn the_dump_command_names_the_database() {
        for (address, name) in [
            ("postgres://silo@db.lan/silo", "silo"),
            (
                "mysql://silo@db.lan:3306/silo_hub?ssl-mode=REQUIRED",
                "silo_hub",
            ),
            ("postgres://silo@db.lan/a$(b)", "DATABASE"),
            ("postgres://silo@db.lan/", "DATABASE"),
        ] {
            assert_eq!(database_name(address), name);
        }
    }
}
