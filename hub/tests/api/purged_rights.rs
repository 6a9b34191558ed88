//! What gave rights, once it has been over for the retention, and that no second first admin is made.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use reqwest::Method;
use serde_json::{Value, json};
use silo_hub::internals::domain::sink::{SinkFilter, SinkName};
use silo_hub::internals::registry::{BeginSinks, ConfiguredSink, KeepSinks, RevokeUpdateKey};
use silo_hub::internals::store::Queries;
use sqlx::{AssertSqlSafe, Connection};

use crate::common::{DEADLINE, PAUSE, TestHub};
use crate::expiry::upkeep;
use crate::transfer::{exported, import};
use crate::update_keys::add;

/// More than the retention of [`upkeep`].
const LONG: i64 = 31 * 86_400;

/// Runs statements past the hub, as another program would.
async fn sql(hub: &TestHub, statements: &str) {
    let mut connection = hub.home.connect().await;
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))
        .execute(&mut connection)
        .await
        .expect("the statement is right");
    connection.close().await.expect("it can be closed");
}

/// The exported lines of a kind.
fn lines(export: &str, kind: &str) -> Vec<Value> {
    let lines = export
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter_map(|line| line.get(kind).cloned()).collect()
}

#[tokio::test]
async fn what_gave_rights_is_purged_with_the_retention() {
    let (hub, open) = TestHub::start_in_parts().await;
    let spec = |name: &str| json!({"name": name, "role": "read", "silos": ["office"]});
    let mut expiring = spec("expiring");
    expiring["expires_at"] = json!("2026-01-02T04:00:00Z");
    let (revoked, revoked_secret) = hub.token(spec("revoked-one")).await;
    let (expired, expired_secret) = hub.token(expiring).await;
    let (_, kept_secret) = hub.token(spec("kept")).await;
    let rotate = format!("/tokens/{revoked}/rotate");
    assert_eq!(
        hub.post(&rotate).json(&json!({"overlap": 60})).await.status,
        201
    );
    let key = add(&open, "a key that is long enough", "db").await.unwrap();
    let before = exported(&open, true).await;
    let delete = format!("/tokens/{revoked}");
    assert_eq!(hub.delete(&delete).await.status, 204);
    open.registry.apply(RevokeUpdateKey(key.id)).await.unwrap();
    let sink = ConfiguredSink {
        name: SinkName::parse("old").unwrap(),
        kind: "webhook",
        is_state: false,
        takes: SinkFilter::default(),
        fingerprint: "0".repeat(64),
        tell_failures: None,
    };
    let begin = BeginSinks {
        sinks: vec![sink],
        alone: true,
    };
    open.registry.apply(begin).await.unwrap();

    // Nothing is old enough yet, and a sink that is promised stays whatever its age.
    hub.pass(LONG - 86_400);
    open.registry.apply(KeepSinks(Vec::new())).await.unwrap();
    upkeep(&open, 0).purge().await.unwrap();
    let export = exported(&open, true).await;
    assert!(export.contains("revoked-one") && export.contains("expiring"));
    assert_eq!(lines(&export, "update_key").len(), 1);
    assert_eq!(open.store.sinks().await.unwrap().len(), 1);

    hub.pass(2 * 86_400);
    upkeep(&open, 0).purge().await.unwrap();
    let export = exported(&open, true).await;
    assert!(
        !export.contains("revoked-one") && !export.contains("expiring"),
        "{export}"
    );
    assert_eq!(lines(&export, "update_key"), [] as [Value; 0]);
    assert_eq!(open.store.sinks().await.unwrap(), []);
    let stubs: Vec<_> = lines(&export, "token")
        .into_iter()
        .filter(|token| token["revoked_at"] != Value::Null)
        .map(|token| (token["id"].clone(), token["revoked_at"].clone()))
        .collect();
    let mut expected = [
        (json!(revoked), json!("2026-01-02T03:04:05.678Z")),
        (json!(expired), json!("2026-01-02T04:00:00.000Z")),
    ];
    expected.sort_by_key(|(id, _)| id.to_string());
    assert_eq!(stubs, expected);
    let listed = hub.get("/tokens").await.json();
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed}");

    // An export from before brings none of them back, here or where the stubs have been read in.
    import(&open, &export).await.expect("stubs can be read in");
    import(&open, &before).await.expect("it can be read in");
    hub.put_silo("office", &[]).await;
    for (credential, status) in [
        (&revoked_secret, 401),
        (&expired_secret, 401),
        (&kept_secret, 200),
    ] {
        let call = hub
            .open_call(Method::GET, "/silos/office")
            .bearer(credential);
        assert_eq!(call.await.status, status);
    }
}

#[tokio::test]
async fn that_a_token_was_made_is_remembered_without_it() {
    let hub = TestHub::start().await;
    let (home, settings) = hub.stop().await;
    // A database of version 0.1.0 does not have the fact; a hub that sees a token writes it down.
    let hub = TestHub::start_in(home, settings).await;
    sql(&hub, "DELETE FROM facts WHERE name = 'token_made'").await;
    let hub = hub.restart().await;
    assert_eq!(hub.get("/tokens").await.status, 200);
    let admin = hub.data("admin.token");
    std::fs::remove_file(&admin).unwrap();
    // However its row may go.
    sql(&hub, "DELETE FROM tokens").await;
    let hub = hub.restart().await;
    assert!(!admin.exists(), "a second first admin is made");
    hub.stop().await;
}

#[tokio::test]
async fn a_token_stops_that_a_hub_of_version_0_1_0_revokes() {
    let hub = TestHub::start().await;
    hub.put_silo("office", &[]).await;
    let reader = hub.credential("read", &["office"], &[]).await;
    let id = reader.split('_').nth(1).unwrap();
    let read = || hub.open_call(Method::GET, "/silos/office").bearer(&reader);
    assert_eq!(read().await.status, 200);
    // It moves the counter and does not say for which token.
    let revoke = format!(
        "BEGIN; UPDATE tokens SET revoked_at = 1 WHERE id = '{id}'; \
         UPDATE counters SET value = value + 1 WHERE name = 'tokens'; COMMIT"
    );
    sql(&hub, &revoke).await;
    let refused = async {
        while read().await.status == 200 {
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(DEADLINE, refused)
        .await
        .expect("the hub learns of it");
}
