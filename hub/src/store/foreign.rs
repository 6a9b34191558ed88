//! Reads the databases of other programs, without writing to them.

use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{ConnectOptions, Connection, Row};

/// The content of dynahost's database file `dynahost.db` (its `service.py`, `create_db`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DynahostDatabase {
    /// Hosts, in order of creation.
    pub hosts: Vec<DynahostHost>,
    /// The changes of all hosts, oldest first.
    pub log: Vec<DynahostChange>,
}

/// A row of its table `hosts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DynahostHost {
    /// The row id.
    pub id: i64,
    /// The hostname.
    pub host: String,
    /// The current address; absent: it never had one.
    pub last_ip: Option<String>,
}

/// A row of its table `log`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DynahostChange {
    /// The row id.
    pub id: i64,
    /// The host's row.
    pub host_id: i64,
    /// The time, in Unix seconds; absent: the row has no valid time. dynahost stores local time,
    /// which is assumed to be in this machine's time zone.
    pub at: Option<i64>,
    /// The new address.
    pub ip: String,
}

/// Reads dynahost's database file. The error is for the operator.
pub async fn read_dynahost(file: &Path) -> Result<DynahostDatabase, String> {
    read(file).await.map_err(|error| match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        error => error.to_string(),
    })
}

async fn read(file: &Path) -> Result<DynahostDatabase, sqlx::Error> {
    let options = SqliteConnectOptions::new().filename(file).read_only(true);
    let mut connection = options.disable_statement_logging().connect().await?;
    let hosts =
        sqlx::query("SELECT id, CAST(host AS TEXT), CAST(last_ip AS TEXT) FROM hosts ORDER BY id")
            .fetch_all(&mut connection)
            .await?;
    let log = sqlx::query(
        "SELECT id, host_id, CAST(strftime('%s', mod_date, 'utc') AS INTEGER), CAST(new_ip AS TEXT) \
         FROM log ORDER BY mod_date, id",
    )
    .fetch_all(&mut connection)
    .await?;
    connection.close().await?;
    let host = |row: &SqliteRow| {
        Ok(DynahostHost {
            id: row.try_get(0)?,
            host: row.try_get::<Option<String>, _>(1)?.unwrap_or_default(),
            last_ip: row.try_get(2)?,
        })
    };
    let change = |row: &SqliteRow| {
        Ok(DynahostChange {
            id: row.try_get(0)?,
            host_id: row.try_get(1)?,
            at: row.try_get(2)?,
            ip: row.try_get::<Option<String>, _>(3)?.unwrap_or_default(),
        })
    };
    Ok(DynahostDatabase {
        hosts: hosts.iter().map(host).collect::<Result<_, sqlx::Error>>()?,
        log: log.iter().map(change).collect::<Result<_, sqlx::Error>>()?,
    })
}
