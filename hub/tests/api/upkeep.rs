//! The hub's background tasks, which run independently.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use serde_json::json;
use silo_hub::internals::upkeep::Periods;
use sqlx::{AnyConnection, AssertSqlSafe, Row};

use crate::common::{DEADLINE, PAUSE, TestHub};

/// How many old rows are to be purged: many times what one transaction takes.
const OLD_ROWS: i64 = 30_000;

async fn number(connection: &mut AnyConnection, sql: &'static str) -> i64 {
    let row = sqlx::query(sql).fetch_one(connection).await.unwrap();
    row.get(0)
}

async fn last_seen(connection: &mut AnyConnection) -> i64 {
    number(
        connection,
        "SELECT last_seen FROM records WHERE hostname = 'db'",
    )
    .await
}

async fn old_rows(connection: &mut AnyConnection) -> i64 {
    number(
        connection,
        "SELECT count(*) FROM history WHERE silo = 'old'",
    )
    .await
}

#[tokio::test]
async fn a_long_purge_holds_up_neither_expiry_nor_what_is_written_down() {
    let (hub, open) = TestHub::start_in_parts().await;
    hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    let short = json!({"ip": "10.0.0.6", "expires_after": 1800});
    hub.put("/silos/office/records/short").json(&short).await;
    let mut connection = hub.home.connect().await;
    for some in (1..=OLD_ROWS).collect::<Vec<_>>().chunks(1000) {
        let row = |at: &i64| format!("({at}, 'old', 'h', 4, 0, NULL, '10.0.0.1', 'rest')");
        let rows: Vec<String> = some.iter().map(row).collect();
        let sql = format!(
            "INSERT INTO history (revision, silo, hostname, family, changed_at, old_ip, new_ip, via) \
             VALUES {}",
            rows.join(", ")
        );
        let done = sqlx::query(AssertSqlSafe(sql))
            .execute(&mut connection)
            .await;
        done.unwrap();
    }
    let seen_before = last_seen(&mut connection).await;
    let often = Duration::from_millis(5);
    let periods = Periods {
        write_down: often,
        expire: often,
        first_purge: often,
        ..Periods::default()
    };
    let work = tokio::spawn(crate::expiry::upkeep(&open, 0).work_at(periods));
    let started = async {
        while old_rows(&mut connection).await == OLD_ROWS {
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(DEADLINE, started).await.unwrap();
    // Now one record is named and another one becomes overdue.
    hub.pass(3600);
    hub.put("/silos/office/records/db")
        .json(&json!({"ip": "10.0.0.5"}))
        .await;
    let others = async {
        while last_seen(&mut connection).await == seen_before
            || number(&mut connection, "SELECT count(*) FROM records").await == 2
        {
            tokio::time::sleep(PAUSE).await;
        }
        old_rows(&mut connection).await
    };
    let left = tokio::time::timeout(DEADLINE, others).await.unwrap();
    assert!(left > 0, "they waited for the purge to end");
    let purged = async {
        while old_rows(&mut connection).await > 0 {
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(DEADLINE, purged).await.unwrap();
    work.abort();
}
