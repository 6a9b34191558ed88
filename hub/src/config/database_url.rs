//! The URL of the hub's database.

use std::fmt;
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, CONTROLS};
use thiserror::Error;

/// The characters of a file's path that must be percent-encoded in a `sqlite:` URL.
const SQLITE_PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'%')
    .add(b'?')
    .add(b'#')
    .add(b'"')
    .add(b'<')
    .add(b'>');

/// A kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// The embedded default.
    Sqlite,
    /// PostgreSQL.
    Postgres,
    /// MariaDB and MySQL.
    MariaDb,
}

impl Dialect {
    /// The kind of database in a URL.
    pub(crate) fn of(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once(':')?;
        match scheme {
            "sqlite" if !rest.is_empty() && !rest.contains(":memory:") => Some(Self::Sqlite),
            "postgres" | "postgresql" if rest.starts_with("//") => Some(Self::Postgres),
            "mysql" | "mariadb" if rest.starts_with("//") => Some(Self::MariaDb),
            _ => None,
        }
    }
}

/// The parameters of a PostgreSQL URL that the driver knows. It logs any other one with its value.
const POSTGRES_PARAMETERS: &[&str] = &[
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

/// A database URL: `sqlite:PATH`, `postgres://…` or `mysql://…`. Printed without its password and its parameters.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl {
    /// For the driver.
    pub(crate) url: String,
    pub(crate) dialect: Dialect,
    /// The names of parameters that were left out, since the driver does not know them.
    ignored: Vec<String>,
}

/// The URL's kind of database is not supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "the database is given as sqlite:PATH, postgres://USER:PASSWORD@HOST/NAME or mysql://USER:PASSWORD@HOST/NAME"
)]
pub struct InvalidDatabaseUrl;

impl DatabaseUrl {
    /// The SQLite file at a path.
    pub fn sqlite_file(path: &Path) -> Self {
        let path = path.to_string_lossy();
        let encoded = percent_encoding::utf8_percent_encode(&path, SQLITE_PATH);
        Self {
            url: format!("sqlite:{encoded}"),
            dialect: Dialect::Sqlite,
            ignored: Vec::new(),
        }
    }

    /// The names of parameters that have no effect.
    pub(crate) fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// The same, with the relative path of an embedded database below this folder; an empty one changes nothing.
    pub(crate) fn at(self, base: &Path) -> Self {
        match self.file() {
            Some(file) if file.is_relative() && !base.as_os_str().is_empty() => {
                let url = Self::sqlite_file(&base.join(file)).url;
                let options = self.url.split_once('?').map(|(_, options)| options);
                let options = options.map_or_else(String::new, |options| format!("?{options}"));
                Self {
                    url: url + &options,
                    ..self
                }
            }
            _ => self,
        }
    }

    /// The file of an embedded database.
    pub fn file(&self) -> Option<PathBuf> {
        let path = match self.dialect {
            Dialect::Sqlite => self.url.strip_prefix("sqlite:")?,
            Dialect::Postgres | Dialect::MariaDb => return None,
        };
        let path = path.strip_prefix("//").unwrap_or(path);
        let path = path.split('?').next().unwrap_or(path);
        let path = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
        Some(PathBuf::from(&*path))
    }
}

impl DatabaseUrl {
    /// Leaves out the parameters that PostgreSQL's driver does not know.
    fn leave_out_unknown(&mut self, mut url: url::Url) {
        let is_known =
            |name: &str| POSTGRES_PARAMETERS.contains(&name) || name.starts_with("options[");
        let (known, unknown): (Vec<_>, Vec<_>) = url
            .query_pairs()
            .into_owned()
            .partition(|(name, _)| is_known(name));
        if unknown.is_empty() {
            return;
        }
        url.query_pairs_mut().clear().extend_pairs(known);
        self.url = url.into();
        self.ignored = unknown.into_iter().map(|(name, _)| name).collect();
    }
}

impl std::str::FromStr for DatabaseUrl {
    type Err = InvalidDatabaseUrl;

    fn from_str(text: &str) -> Result<Self, InvalidDatabaseUrl> {
        let dialect = Dialect::of(text).ok_or(InvalidDatabaseUrl)?;
        let url = match text.strip_prefix("mariadb:") {
            // The driver supports only the name `mysql`.
            Some(rest) => format!("mysql:{rest}"),
            None => text.to_owned(),
        };
        let mut this = Self {
            url,
            dialect,
            ignored: Vec::new(),
        };
        if dialect != Dialect::Sqlite {
            let url = url::Url::parse(&this.url).map_err(|_| InvalidDatabaseUrl)?;
            if dialect == Dialect::Postgres {
                this.leave_out_unknown(url);
            }
        }
        Ok(this)
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.dialect {
            Dialect::Sqlite => f.write_str(&self.url),
            Dialect::Postgres | Dialect::MariaDb => {
                let url = url::Url::parse(&self.url).map_err(|_| fmt::Error)?;
                let host = url.host_str().unwrap_or("");
                write!(f, "{}://{host}", url.scheme())?;
                if let Some(port) = url.port() {
                    write!(f, ":{port}")?;
                }
                f.write_str(url.path())
            }
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_their_database() {
        for (url, dialect) in [
            ("sqlite:hub.db", Some(Dialect::Sqlite)),
            ("sqlite:///srv/hub.db?mode=rw", Some(Dialect::Sqlite)),
            ("postgres://h/silo", Some(Dialect::Postgres)),
            ("postgresql://u:p@h/silo", Some(Dialect::Postgres)),
            ("mysql://u:p@h/silo", Some(Dialect::MariaDb)),
            ("mariadb://h/silo", Some(Dialect::MariaDb)),
            ("sqlite:", None),
            ("sqlite::memory:", None),
            ("postgres:silo", None),
            ("oracle://h", None),
            ("hub.db", None),
        ] {
            assert_eq!(Dialect::of(url), dialect, "{url}");
        }
    }

    #[test]
    fn a_url_is_printed_without_its_secrets_and_unknown_parameters_do_not_reach_the_driver() {
        for (text, driver, ignored) in [
            (
                "postgres://u:hidden@h/silo?sslmode=require&password=hidden",
                "postgres://u:hidden@h/silo?sslmode=require&password=hidden",
                &[][..],
            ),
            (
                "postgres://u@h/silo?sslkey=/k&sslpassword=hidden&connect_timeout=5&sslmode=verify-full",
                "postgres://u@h/silo?sslkey=%2Fk&sslmode=verify-full",
                &["sslpassword", "connect_timeout"][..],
            ),
            (
                "mysql://u:hidden@h/silo?password=hidden",
                "mysql://u:hidden@h/silo?password=hidden",
                &[][..],
            ),
        ] {
            let url: DatabaseUrl = text.parse().unwrap();
            assert_eq!(url.url, driver);
            assert_eq!(url.ignored(), ignored, "{text}");
            assert!(!format!("{url} {url:?}").contains("hidden"), "{url}");
        }
    }
}
