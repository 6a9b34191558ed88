//! The schema is brought up to date: after a start that was killed halfway, and with a copy before.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;

use reqwest::Method;
use serde_json::Value;
use sqlx::{AnyConnection, Connection, Row};

use crate::common::{Home, Kind, TestHub, refusal};

/// The statements of migration 0018, as MariaDB gets them.
const STATEMENTS: [&str; 3] = [
    "CREATE INDEX history_of_silo ON history (silo, revision, hostname)",
    "DROP INDEX history_by_silo ON history",
    "DROP INDEX history_by_hostname ON history",
];

async fn run(connection: &mut AnyConnection, sql: &'static str) {
    sqlx::raw_sql(sql)
        .execute(connection)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
}

async fn indexes(connection: &mut AnyConnection) -> Vec<String> {
    let names = "SELECT DISTINCT CAST(index_name AS CHAR) FROM information_schema.statistics \
                 WHERE table_schema = database() AND table_name = 'history'";
    let rows = sqlx::query(names).fetch_all(connection).await.unwrap();
    let mut names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    names.sort();
    names
}

async fn unfinished(connection: &mut AnyConnection) -> i64 {
    let count = "SELECT COUNT(*) FROM _sqlx_migrations WHERE success = FALSE";
    sqlx::query(count)
        .fetch_one(connection)
        .await
        .unwrap()
        .get(0)
}

/// A stopped hub with one silo, whose database is at version 17.
async fn before_0018() -> (
    Arc<Home>,
    silo_hub::internals::settings::HubSettings,
    Vec<Value>,
) {
    let hub = TestHub::start().await;
    hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    hub.put_silo("office", &[("db", "10.0.0.6")]).await;
    let history = hub.history("office").await;
    let (home, settings) = hub.stop().await;
    let mut connection = home.connect().await;
    let on = if Kind::chosen() == Kind::MariaDb {
        " ON history"
    } else {
        ""
    };
    for sql in [
        "CREATE INDEX history_by_silo ON history (silo, revision)".to_owned(),
        "CREATE INDEX history_by_hostname ON history (silo, hostname, revision)".to_owned(),
        format!("DROP INDEX history_of_silo{on}"),
        "DELETE FROM _sqlx_migrations WHERE version = 18".to_owned(),
    ] {
        let sql = sqlx::AssertSqlSafe(sql);
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
    (home, settings, history)
}

/// MariaDB commits at every DDL statement: a killed start leaves the migration unfinished.
#[tokio::test]
async fn a_start_killed_within_a_migration_is_finished_by_the_next() {
    if Kind::chosen() != Kind::MariaDb {
        return;
    }
    for done in 0..=STATEMENTS.len() {
        let (home, settings, history) = before_0018().await;
        let mut connection = home.connect().await;
        // The checksum that the program knows, as it would have written it.
        let hub = TestHub::start_in(Arc::clone(&home), settings).await;
        let (home, settings) = hub.stop().await;
        run(
            &mut connection,
            "UPDATE _sqlx_migrations SET success = FALSE WHERE version = 18",
        )
        .await;
        for sql in [
            "CREATE INDEX history_by_silo ON history (silo, revision)",
            "CREATE INDEX history_by_hostname ON history (silo, hostname, revision)",
            "DROP INDEX history_of_silo ON history",
        ]
        .into_iter()
        .chain(STATEMENTS.into_iter().take(done))
        {
            run(&mut connection, sql).await;
        }
        let hub = TestHub::start_in(home, settings).await;
        assert_eq!(
            hub.history("office").await,
            history,
            "{done} statements done"
        );
        assert_eq!(
            indexes(&mut connection).await,
            ["PRIMARY", "history_of_silo"]
        );
        assert_eq!(unfinished(&mut connection).await, 0);
        assert_eq!(hub.restart().await.history("office").await, history);
        connection.close().await.unwrap();
    }
}

/// Killed after the last statement and before the mark, whichever version it was.
#[tokio::test]
async fn every_migration_can_be_finished_when_all_of_it_is_done() {
    if Kind::chosen() != Kind::MariaDb {
        return;
    }
    let hub = TestHub::start().await;
    let made = hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    let (mut home, mut settings) = hub.stop().await;
    for version in 1..=18 {
        let mut connection = home.connect().await;
        sqlx::query("UPDATE _sqlx_migrations SET success = FALSE WHERE version = ?")
            .bind(version)
            .execute(&mut connection)
            .await
            .unwrap();
        let hub = TestHub::start_in(home, settings).await;
        assert_eq!(hub.get("/silos/office").await.body, made.body, "{version}");
        assert_eq!(unfinished(&mut connection).await, 0, "{version}");
        connection.close().await.unwrap();
        (home, settings) = hub.stop().await;
    }
}

#[tokio::test]
async fn a_failed_migration_reports_why_and_continues_later() {
    if Kind::chosen() != Kind::MariaDb {
        return;
    }
    let (home, settings, history) = before_0018().await;
    let mut connection = home.connect().await;
    // Its first statement then fails, which no other program has done already.
    run(&mut connection, "RENAME TABLE history TO moved").await;
    let said = refusal(&settings).await;
    assert!(said.contains("history' doesn't exist"), "{said}");
    // An unfinished migration is completed only if all of it can be.
    let said = refusal(&settings).await;
    assert!(said.contains("history' doesn't exist"), "{said}");
    run(&mut connection, "RENAME TABLE moved TO history").await;
    connection.close().await.unwrap();
    let hub = TestHub::start_in(home, settings).await;
    assert_eq!(hub.history("office").await, history);
}

#[tokio::test]
async fn another_programs_unfinished_migration_is_not_finished() {
    if Kind::chosen() != Kind::MariaDb {
        return;
    }
    let (home, settings) = TestHub::start().await.stop().await;
    let mut connection = home.connect().await;
    for (change, word) in [
        (
            "UPDATE _sqlx_migrations SET success = FALSE, checksum = x'00' WHERE version = 18",
            "18",
        ),
        (
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES (1000, 'later', FALSE, x'00', 0)",
            "newer",
        ),
    ] {
        run(&mut connection, change).await;
        let said = refusal(&settings).await;
        assert!(said.contains(word), "{said}");
        let still = unfinished(&mut connection).await;
        assert!(still > 0);
        run(
            &mut connection,
            "DELETE FROM _sqlx_migrations WHERE version >= 18",
        )
        .await;
    }
    connection.close().await.unwrap();
}

fn copies(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("hub.db.before-"))
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn an_embedded_database_is_copied_before_it_is_migrated() {
    if Kind::chosen() != Kind::Sqlite {
        return;
    }
    let (home, settings, history) = before_0018().await;
    let folder = settings.data_dir.clone();
    assert!(copies(&folder).is_empty(), "a new database needs no copy");
    for old in ["0003", "0009", "0011", "0017"] {
        std::fs::write(folder.join(format!("hub.db.before-{old}")), old).unwrap();
    }
    // Not of this kind: files that `restore` sets aside, and files with a similar name.
    for other in ["hub.db.before-2027-01-01T000000.000Z", "hub.db.before-mine"] {
        std::fs::write(folder.join(other), "").unwrap();
    }
    let hub = TestHub::start_in(home, settings).await;
    assert_eq!(
        copies(&folder),
        [
            "hub.db.before-0011",
            "hub.db.before-0017",
            "hub.db.before-0018",
            "hub.db.before-2027-01-01T000000.000Z",
            "hub.db.before-mine",
        ]
    );
    let copy = folder.join("hub.db.before-0018");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&copy).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let made = std::fs::metadata(&copy).unwrap().modified().unwrap();
    // Nothing is to be migrated now: no other copy.
    let hub = hub.restart().await;
    assert_eq!(std::fs::metadata(&copy).unwrap().modified().unwrap(), made);
    // It is the database of before, and can take its place.
    let (home, settings) = hub.stop().await;
    for end in ["", "-wal", "-shm"] {
        // The logs are gone with the last connection.
        let _ = std::fs::remove_file(folder.join(format!("hub.db{end}")));
    }
    std::fs::copy(&copy, folder.join("hub.db")).unwrap();
    let mut connection = home.connect().await;
    let version = "SELECT MAX(version) FROM _sqlx_migrations WHERE version <= 18";
    let version = sqlx::query(version)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(version.get::<i64, _>(0), 17);
    connection.close().await.unwrap();
    let hub = TestHub::start_in(home, settings).await;
    assert_eq!(hub.history("office").await, history);
}

#[tokio::test]
async fn a_full_disk_for_the_copy_is_reported_and_nothing_is_migrated() {
    if Kind::chosen() != Kind::Sqlite {
        return;
    }
    let (home, settings, _) = before_0018().await;
    // As good as no room, also for root: a folder has the copy's name.
    let taken = settings.data_dir.join("hub.db.before-0018");
    std::fs::create_dir(&taken).unwrap();
    std::fs::write(taken.join("file"), "").unwrap();
    let mut program = home.program(&settings);
    program.args(["--listen", "127.0.0.1:0", "serve"]);
    let output = program.output().await.unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    for word in ["hub.db.before-0018", "before its schema is changed"] {
        assert!(said.contains(word), "no {word} in: {said}");
    }
    let mut connection = home.connect().await;
    let query = "SELECT COUNT(*) FROM _sqlx_migrations WHERE version = 18";
    let row = sqlx::query(query).fetch_one(&mut connection).await.unwrap();
    assert_eq!(row.get::<i64, _>(0), 0);
    connection.close().await.unwrap();
    std::fs::remove_dir_all(&taken).unwrap();
    let hub = TestHub::start_in(home, settings).await;
    assert_eq!(hub.open_call(Method::GET, "/ping").await.status, 200);
}
