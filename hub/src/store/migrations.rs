//! Brings the schema to this program's version, or reports that it has another one.

use std::collections::HashSet;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::mysql::MySqlDatabaseError;
use sqlx::{AnyConnection, Executor, Row, SqlSafeStr};

use super::StoreError;
use super::connection::DbConnection;
use super::dialect::Dialect;

/// All migrations, in order; a merged one is never edited.
const MIGRATIONS: &[(&str, &str)] = &[
    (
        "counters",
        include_str!("../../../migrations/0001_counters.sql"),
    ),
    ("facts", include_str!("../../../migrations/0002_facts.sql")),
    ("silos", include_str!("../../../migrations/0003_silos.sql")),
    (
        "records",
        include_str!("../../../migrations/0004_records.sql"),
    ),
    (
        "history",
        include_str!("../../../migrations/0005_history.sql"),
    ),
    (
        "tokens",
        include_str!("../../../migrations/0006_tokens.sql"),
    ),
    (
        "delivery_counters",
        include_str!("../../../migrations/0007_delivery_counters.sql"),
    ),
    ("sinks", include_str!("../../../migrations/0008_sinks.sql")),
    (
        "deliveries",
        include_str!("../../../migrations/0009_deliveries.sql"),
    ),
    (
        "delivery_names",
        include_str!("../../../migrations/0010_delivery_names.sql"),
    ),
    (
        "ledger",
        include_str!("../../../migrations/0011_ledger.sql"),
    ),
    (
        "unseen",
        include_str!("../../../migrations/0012_unseen.sql"),
    ),
    (
        "update_keys",
        include_str!("../../../migrations/0013_update_keys.sql"),
    ),
    (
        "dynahost",
        include_str!("../../../migrations/0014_dynahost.sql"),
    ),
    (
        "signed_writes",
        include_str!("../../../migrations/0015_signed_writes.sql"),
    ),
    ("audit", include_str!("../../../migrations/0016_audit.sql")),
    (
        "failures",
        include_str!("../../../migrations/0017_failures.sql"),
    ),
    (
        "history_indexes",
        include_str!("../../../migrations/0018_history_indexes.sql"),
    ),
    ("marks", include_str!("../../../migrations/0019_marks.sql")),
    (
        "silos_importing",
        include_str!("../../../migrations/0020_silos_importing.sql"),
    ),
    (
        "token_changes",
        include_str!("../../../migrations/0021_token_changes.sql"),
    ),
    (
        "history_previous",
        include_str!("../../../migrations/0022_history_previous.sql"),
    ),
    (
        "silos_linked",
        include_str!("../../../migrations/0023_silos_linked.sql"),
    ),
    (
        "records_addresses_at",
        include_str!("../../../migrations/0024_records_addresses_at.sql"),
    ),
    (
        "former_names",
        include_str!("../../../migrations/0025_former_names.sql"),
    ),
    (
        "former_names_by_revision",
        include_str!("../../../migrations/0026_former_names_by_revision.sql"),
    ),
    (
        "former_secrets_new_used",
        include_str!("../../../migrations/0027_former_secrets_new_used.sql"),
    ),
    (
        "sinks_hurry_at",
        include_str!("../../../migrations/0028_sinks_hurry_at.sql"),
    ),
    (
        "deliveries_not_before",
        include_str!("../../../migrations/0029_deliveries_not_before.sql"),
    ),
    (
        "sinks_tell_failures",
        include_str!("../../../migrations/0030_sinks_tell_failures.sql"),
    ),
    (
        "deliveries_failure",
        include_str!("../../../migrations/0031_deliveries_failure.sql"),
    ),
    (
        "told_failures",
        include_str!("../../../migrations/0032_told_failures.sql"),
    ),
    (
        "agents",
        include_str!("../../../migrations/0033_agents.sql"),
    ),
    (
        "agents_by_token",
        include_str!("../../../migrations/0034_agents_by_token.sql"),
    ),
    (
        "records_by_hostname",
        include_str!("../../../migrations/0035_records_by_hostname.sql"),
    ),
    (
        "sessions",
        include_str!("../../../migrations/0036_sessions.sql"),
    ),
    (
        "sign_in_links",
        include_str!("../../../migrations/0037_sign_in_links.sql"),
    ),
    (
        "audit_token_change",
        include_str!("../../../migrations/0038_audit_token_change.sql"),
    ),
    (
        "invitations",
        include_str!("../../../migrations/0039_invitations.sql"),
    ),
    (
        "audit_invitation",
        include_str!("../../../migrations/0040_audit_invitation.sql"),
    ),
    (
        "audit_other_ip",
        include_str!("../../../migrations/0041_audit_other_ip.sql"),
    ),
];

/// Maximum number of attempts when another program migrates the same database concurrently.
const ATTEMPTS: usize = 5;

fn migrator(dialect: Dialect) -> Migrator {
    let migrations = (1..).zip(MIGRATIONS).map(|(version, (name, sql))| {
        let sql = sqlx::AssertSqlSafe(dialect.migration(sql)).into_sql_str();
        Migration::new(version, (*name).into(), MigrationType::Simple, sql, false)
    });
    Migrator::with_migrations(migrations.collect())
}

/// The last version known to 0.1.0; later files have at most one statement that changes the schema.
#[cfg(test)]
const LAST_OF_0_1_0: usize = 18;

/// MariaDB's errors for a statement that was already executed: the table, column or index exists,
/// or the index to drop does not.
const DONE_ALREADY: [u16; 4] = [1050, 1060, 1061, 1091];
/// The same for an `INSERT`: the row exists.
const ROW_IS_THERE: u16 = 1062;

/// Applies missing migrations.
pub(super) async fn run(
    connection: &mut AnyConnection,
    dialect: Dialect,
) -> Result<(), StoreError> {
    let mut migrator = migrator(dialect);
    if dialect == Dialect::MariaDb {
        // The library's own lock waits for -1 seconds, which MariaDB rejects with only a warning.
        // This one ends with the connection.
        migrator.set_locking(false);
        let row = connection
            .fetch_one("SELECT GET_LOCK('silo migrations', 60)")
            .await?;
        if row.try_get::<Option<i64>, _>(0)? != Some(1) {
            return Err(StoreError::migrated_elsewhere());
        }
    }
    let mut first = None;
    for attempt in 1..=ATTEMPTS {
        // The plain `run` accepts any source of connections, which makes this future not `Send`.
        let error = match migrator.run_direct(None, connection, false).await {
            Ok(()) => return Ok(()),
            Err(MigrateError::VersionMissing(version)) => return Err(newer(version)),
            Err(MigrateError::VersionMismatch(version)) => return Err(changed(version)),
            Err(MigrateError::Dirty(version)) => {
                match resume(&migrator, connection, version).await {
                    // Continue with the next migration.
                    Ok(()) => continue,
                    Err(error) => error,
                }
            }
            Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => {
                error.into()
            }
            Err(error) => StoreError::Schema(format!(
                "cannot bring the database's schema up to date: {error}"
            )),
        };
        // Another program may have applied the same migration first: check again what is missing.
        // If that was not the cause, the first error shows it; later errors are only consequences.
        tracing::debug!("migration attempt {attempt}: {error}");
        first.get_or_insert(error);
    }
    Err(first.unwrap_or_else(|| {
        StoreError::Schema("cannot bring the database's schema up to date".to_owned())
    }))
}

/// Finishes a migration that was interrupted when a start was killed. This happens on MariaDB,
/// which commits at every statement that changes the schema.
async fn resume(
    migrator: &Migrator,
    connection: &mut AnyConnection,
    version: i64,
) -> Result<(), StoreError> {
    let migration = migrator.iter().find(|known| known.version == version);
    let migration = migration.ok_or_else(|| newer(version))?;
    let row = sqlx::query("SELECT checksum FROM _sqlx_migrations WHERE version = ?")
        .bind(version)
        .fetch_one(&mut *connection)
        .await?;
    if row.try_get::<Vec<u8>, _>(0)? != *migration.checksum {
        return Err(changed(version));
    }
    tracing::info!("finishing migration {version}, which a start that was killed left unfinished");
    for statement in statements(migration.sql.as_str()) {
        let sql = sqlx::AssertSqlSafe(statement.as_str());
        match connection.execute(sqlx::raw_sql(sql)).await {
            Err(error) if !is_done_already(&statement, &error) => return Err(error.into()),
            _ => {}
        }
    }
    sqlx::query("UPDATE _sqlx_migrations SET success = TRUE WHERE version = ?")
        .bind(version)
        .execute(connection)
        .await?;
    Ok(())
}

fn is_done_already(statement: &str, error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else {
        return false;
    };
    let Some(error) = error.try_downcast_ref::<MySqlDatabaseError>() else {
        return false;
    };
    let number = error.number();
    DONE_ALREADY.contains(&number) || number == ROW_IS_THERE && statement.starts_with("INSERT ")
}

/// The statements of a migration, without comments. None has a semicolon in a string.
fn statements(sql: &str) -> Vec<String> {
    let lines = sql
        .lines()
        .filter(|line| !line.trim_start().starts_with("--"));
    let sql = lines.collect::<Vec<_>>().join("\n");
    sql.split(';')
        .map(|statement| statement.trim().to_owned())
        .filter(|statement| !statement.is_empty())
        .collect()
}

/// The first version that a database lacks; `None` if it lacks none or has no schema. Changes nothing.
pub(super) async fn next(connection: &mut DbConnection) -> Result<Option<i64>, StoreError> {
    let applied = match sqlx::query("SELECT version FROM _sqlx_migrations WHERE success")
        .fetch_all(connection)
        .await
    {
        Ok(rows) => rows,
        // No such table: no migration was ever applied.
        Err(sqlx::Error::Database(_)) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let applied: HashSet<i64> = applied
        .iter()
        .map(|row| row.try_get(0))
        .collect::<Result<_, _>>()?;
    if applied.is_empty() {
        return Ok(None);
    }
    let known = (1..).zip(MIGRATIONS).map(|(version, _)| version);
    Ok(known.into_iter().find(|version| !applied.contains(version)))
}

/// Whether any migration was ever applied.
pub(super) async fn are_there(connection: &mut AnyConnection) -> Result<bool, StoreError> {
    let found = sqlx::query("SELECT version FROM _sqlx_migrations LIMIT 1")
        .fetch_optional(connection)
        .await;
    match found {
        Ok(row) => Ok(row.is_some()),
        // No such table.
        Err(sqlx::Error::Database(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Returns an error if the schema does not have this program's version.
pub(super) async fn check(connection: &mut AnyConnection) -> Result<(), StoreError> {
    let latest = i64::try_from(MIGRATIONS.len()).expect("there are few migrations");
    let applied: i64 = match sqlx::query("SELECT max(version) FROM _sqlx_migrations WHERE success")
        .fetch_one(connection)
        .await
    {
        Ok(row) => row.try_get::<Option<i64>, _>(0)?.unwrap_or(0),
        // No such table: no migration was ever applied.
        Err(sqlx::Error::Database(_)) => 0,
        Err(error) => return Err(error.into()),
    };
    match applied {
        applied if applied == latest => Ok(()),
        applied if applied > latest => Err(newer(applied)),
        applied => Err(StoreError::Schema(format!(
            "the database's schema is at version {applied} and this program needs {latest}: run `silo-hub migrate`"
        ))),
    }
}

fn changed(version: i64) -> StoreError {
    StoreError::Schema(format!(
        "the database's schema was changed by hand or by another program (migration {version} differs)"
    ))
}

fn newer(version: i64) -> StoreError {
    StoreError::Schema(format!(
        "the database's schema is newer than this program (version {version}, known are {}): run a newer silo-hub",
        MIGRATIONS.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_in_the_folder_is_a_migration_in_order() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        let named: Vec<String> = (1..)
            .zip(MIGRATIONS)
            .map(|(version, (name, _))| format!("{version:04}_{name}.sql"))
            .collect();
        assert_eq!(files, named);
    }
    /// Number of statements that change the schema, and whether one is incompatible with an older
    /// hub on the same database.
    fn changes(sql: &str) -> (usize, bool) {
        let statements = statements(sql);
        let is_change = |sql: &&String| {
            ["CREATE ", "ALTER ", "DROP ", "RENAME ", "TRUNCATE "]
                .iter()
                .any(|verb| sql.to_ascii_uppercase().starts_with(verb))
        };
        let takes_away = statements.iter().any(|sql| {
            let sql = sql.to_ascii_uppercase();
            [
                "DROP TABLE",
                "DROP COLUMN",
                "RENAME ",
                "TRUNCATE ",
                " MODIFY ",
                " CHANGE ",
            ]
            .iter()
            .any(|words| sql.contains(words))
        });
        (statements.iter().filter(is_change).count(), takes_away)
    }

    #[test]
    fn later_migrations_change_one_thing_and_take_nothing_away() {
        for (name, sql) in &MIGRATIONS[LAST_OF_0_1_0..] {
            let (changes, takes_away) = changes(sql);
            assert!(
                changes <= 1,
                "{name} changes the schema by {changes} statements"
            );
            assert!(
                !takes_away,
                "{name}: 0.1.0 may be running on the same database"
            );
        }
        // The check detects these.
        assert_eq!(changes(MIGRATIONS[17].1), (3, false));
        assert_eq!(
            changes("-- DROP TABLE; x\nalter table t drop column c;"),
            (1, true)
        );
    }

    #[test]
    fn statements_are_split() {
        let counted: Vec<usize> = MIGRATIONS[..LAST_OF_0_1_0]
            .iter()
            .map(|(_, sql)| statements(sql).len())
            .collect();
        assert_eq!(
            counted,
            [4, 1, 2, 2, 3, 1, 2, 1, 3, 4, 2, 1, 2, 2, 3, 4, 4, 3]
        );
        for (name, sql) in MIGRATIONS {
            for statement in statements(sql) {
                assert!(statement.is_ascii() && !statement.contains("--"), "{name}");
            }
        }
    }
}
