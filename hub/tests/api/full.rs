//! A server's database that has no room left.

use serde_json::json;
use sqlx::Connection;

use crate::common::{DEADLINE, Kind, TestHub, revision};

/// How many bytes a table in memory may take: the least that can be set.
const ROOM: u32 = 16_384;

/// SQLite and PostgreSQL are filled by a disk that is really full, in the end-to-end tests.
#[tokio::test]
async fn a_full_mariadb_table_is_reported_as_a_full_disk() {
    if Kind::chosen() != Kind::MariaDb {
        return;
    }
    let hub = TestHub::start().await;
    let first = hub.put_silo("office", &[("db", "10.0.0.1")]).await;
    // The server's own error for a table that can't grow, without a disk to fill.
    let mut connection = hub.home.connect().await;
    let limit = format!("SET SESSION max_heap_table_size = {ROOM}");
    for statement in [limit.as_str(), "ALTER TABLE history ENGINE = MEMORY"] {
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned()))
            .execute(&mut connection)
            .await
            .unwrap();
    }
    let put = async |number: usize| {
        let ip = format!("10.0.{}.2", number % 250);
        hub.put("/silos/office/records/db")
            .json(&json!({ "ip": ip }))
            .await
    };
    let mut written = 1;
    let refused = loop {
        let answer = put(written).await;
        if answer.status != 200 {
            break answer;
        }
        written += 1;
        assert!(written < 1000, "the table does not get full");
    };
    assert_eq!(refused.status, 503, "{refused:?}");
    assert_eq!(refused.json()["type"], "/problems/unavailable");
    assert_eq!(hub.get("/silos/office").await.status, 200);
    let mut program = hub.home.program(&hub.settings);
    let first = revision(&first.json()).to_string();
    program.args(["silo", "revert", "office", &first]);
    let output = tokio::time::timeout(DEADLINE, program.output())
        .await
        .expect("it ends in time")
        .expect("it can be run");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    let server = Kind::MariaDb.server().unwrap();
    let at = format!("127.0.0.1:{}", server.port().unwrap());
    assert!(
        said.contains("the disk of the database mysql://") && said.contains(&at),
        "{said}"
    );
    assert!(said.contains("is full"), "{said}");
    sqlx::raw_sql("ALTER TABLE history ENGINE = InnoDB")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    assert_eq!(put(written).await.status, 200);
    assert_eq!(hub.history("office").await.len(), written + 1);
}
