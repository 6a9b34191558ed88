//! Brings the schema to this program's version, or says that it is at another.

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{AnyConnection, Executor, Row, SqlSafeStr};

use super::StoreError;
use super::dialect::Dialect;

/// Every migration, in order; a merged one is never edited.
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
];

/// How often to try when another program migrates the same database at the same time.
const ATTEMPTS: usize = 5;

fn migrator(dialect: Dialect) -> Migrator {
    let migrations = (1..).zip(MIGRATIONS).map(|(version, (name, sql))| {
        let sql = sqlx::AssertSqlSafe(dialect.migration(sql)).into_sql_str();
        Migration::new(version, (*name).into(), MigrationType::Simple, sql, false)
    });
    Migrator::with_migrations(migrations.collect())
}

/// Applies what is missing.
pub(super) async fn run(
    connection: &mut AnyConnection,
    dialect: Dialect,
) -> Result<(), StoreError> {
    let mut migrator = migrator(dialect);
    if dialect == Dialect::MariaDb {
        // The library's own lock waits for -1 seconds, which MariaDB refuses with a mere warning.
        migrator.set_locking(false);
        let row = connection
            .fetch_one("SELECT GET_LOCK('silo migrations', 60)")
            .await?;
        if row.try_get::<Option<i64>, _>(0)? != Some(1) {
            return Err(StoreError::Schema(
                "another program has been migrating the database for a minute".to_owned(),
            ));
        }
    }
    let done = run_unlocked(&migrator, connection).await;
    if dialect == Dialect::MariaDb {
        connection
            .execute("DO RELEASE_LOCK('silo migrations')")
            .await?;
    }
    done
}

async fn run_unlocked(
    migrator: &Migrator,
    connection: &mut AnyConnection,
) -> Result<(), StoreError> {
    let mut attempt = 1;
    loop {
        // The plain `run` takes anything that gives a connection, which makes this future no `Send`.
        match migrator.run_direct(None, connection, false).await {
            Ok(()) => return Ok(()),
            Err(MigrateError::VersionMissing(version)) => return Err(newer(version)),
            Err(MigrateError::VersionMismatch(version)) => {
                return Err(StoreError::Schema(format!(
                    "the database's schema was changed by hand or by another program (migration {version} differs)"
                )));
            }
            // Another program was faster with the same migration: what is left is looked at anew.
            Err(error) if attempt < ATTEMPTS => {
                tracing::debug!("migration attempt {attempt}: {error}");
                attempt += 1;
            }
            Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => {
                return Err(error.into());
            }
            Err(error) => {
                return Err(StoreError::Schema(format!(
                    "cannot bring the database's schema up to date: {error}"
                )));
            }
        }
    }
}

/// Refuses a schema that is not of this program's version.
pub(super) async fn check(connection: &mut AnyConnection) -> Result<(), StoreError> {
    let latest = i64::try_from(MIGRATIONS.len()).expect("there are few migrations");
    let applied: i64 = match sqlx::query("SELECT max(version) FROM _sqlx_migrations WHERE success")
        .fetch_one(connection)
        .await
    {
        Ok(row) => row.try_get::<Option<i64>, _>(0)?.unwrap_or(0),
        // No such table: nothing was ever applied.
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
}
