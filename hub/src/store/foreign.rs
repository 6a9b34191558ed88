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

/// A silo of pyDDNS's database (its `server/models.py`): a row of the table `silo` with its rows of `dnsrecord`.
/// Users are not read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PyddnsSilo {
    /// Its id.
    pub id: String,
    /// Hostname and address of each record; absent where the row holds NULL.
    pub records: Vec<(Option<String>, Option<String>)>,
}

/// How each SQLite file begins (sqlite.org, "Database File Format", section 1.3).
const SQLITE: &[u8] = b"SQLite format 3\0";

/// Whether these bytes begin a database file.
pub fn is_sqlite(content: &[u8]) -> bool {
    content.starts_with(SQLITE)
}

/// Reads pyDDNS's database file, and leaves no trace beside it. The error says in words why it can't be read.
pub async fn read_pyddns(file: &Path) -> Result<Vec<PyddnsSilo>, String> {
    // SQLite keeps what belongs to a database beside the file itself, not beside a link to it.
    let file = &silo_shared::folders::real(file).map_err(|error| error.to_string())?;
    // A file that is taken for immutable is read without what its writer has not yet moved into it.
    for end in ["-wal", "-journal"] {
        let mut beside = file.as_os_str().to_owned();
        beside.push(end);
        if std::fs::metadata(&beside).is_ok_and(|beside| beside.len() > 0) {
            return Err(format!(
                "{} holds changes that are not in the database yet: end pyDDNS's server, then run `sqlite3 FILE .tables` once, or import the server's answer to GET /silos",
                beside.display()
            ));
        }
    }
    let is_wal = is_in_wal_mode(file).map_err(|error| error.to_string())?;
    pyddns_silos(file, is_wal)
        .await
        .map_err(|error| match error {
            sqlx::Error::Database(error) => {
                format!("is no database of pyDDNS: {}", error.message())
            }
            error => format!("is no database of pyDDNS: {error}"),
        })
}

/// Whether the database writes a write-ahead log: reading it makes files beside it (section 1.3.3 of the format).
fn is_in_wal_mode(file: &Path) -> std::io::Result<bool> {
    let mut head = [0; 20];
    let mut file = std::fs::File::open(file)?;
    std::io::Read::read_exact(&mut file, &mut head)?;
    Ok(head[19] == 2)
}

/// `is_immutable`: the file is read without locks, since no program writes it. Else SQLite locks it for the time of the read.
async fn pyddns_silos(file: &Path, is_immutable: bool) -> Result<Vec<PyddnsSilo>, sqlx::Error> {
    let options = SqliteConnectOptions::new().filename(file);
    let options = options.read_only(true).immutable(is_immutable);
    let mut connection = options.disable_statement_logging().connect().await?;
    // The records of silos that are in no row of their own, too.
    let rows = sqlx::query(
        "SELECT CAST(silo.id AS TEXT), 0, NULL, NULL FROM silo \
         UNION ALL SELECT CAST(silo_id AS TEXT), 1, CAST(hostname AS TEXT), CAST(ip AS TEXT) FROM dnsrecord \
         ORDER BY 1, 2, 3",
    )
    .fetch_all(&mut connection)
    .await?;
    connection.close().await?;
    let mut silos: Vec<PyddnsSilo> = Vec::new();
    for row in &rows {
        let id = row.try_get::<Option<String>, _>(0)?.unwrap_or_default();
        if silos.last().is_none_or(|last| last.id != id) {
            silos.push(PyddnsSilo {
                id,
                records: Vec::new(),
            });
        }
        if let (1, Some(silo)) = (row.try_get::<i64, _>(1)?, silos.last_mut()) {
            silo.records.push((row.try_get(2)?, row.try_get(3)?));
        }
    }
    Ok(silos)
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
