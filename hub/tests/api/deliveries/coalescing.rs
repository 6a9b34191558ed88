//! A state sink has one open delivery for each hostname, however often that changes; what version
//! 0.1.0 left or still writes beside is merged.

use serde_json::{Value, json};
use silo_hub::internals::deliver::sink::{Outcome, Trouble};
use silo_hub::internals::registry::{
    BeginPublishing, EndPublishing, KeepSinks, Publishing, TakenUp,
};
use silo_hub::internals::store::DueName;
use silo_shared::silo::{Hostname, SiloId};
use sqlx::{AnyConnection, AssertSqlSafe, Connection, Row};

use super::scripted::{Desk, Script, addresses, counts, deliveries, state_sink};
use crate::common::{START_MS, TestHub, revision};

fn away() -> Outcome {
    Outcome::Retry(Trouble::of_sink("no answer"))
}

async fn put(hub: &TestHub, silo: &str, hostname: &str, ip: &str) -> i64 {
    let path = format!("/silos/{silo}/records/{hostname}");
    let answer = hub.put(&path).json(&json!({ "ip": ip })).await;
    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    revision(&answer.json())
}

/// `silo/hostname` of the deliveries in a state, each of which must have that hostname alone; sorted.
async fn names(hub: &TestHub, state: &str) -> Vec<String> {
    let name = |row: &Value| {
        let hostnames = row["hostnames"].as_array().unwrap();
        assert_eq!(hostnames.len(), 1, "{row}");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        format!("{}/{}", text(&row["silo"]), text(&hostnames[0]["hostname"]))
    };
    let rows = deliveries(hub, &format!("state={state}")).await;
    let mut names: Vec<String> = rows.iter().map(name).collect();
    names.sort();
    names
}

async fn count(connection: &mut AnyConnection, sql: &str) -> i64 {
    let row = sqlx::query(AssertSqlSafe(sql.to_owned()));
    row.fetch_one(connection).await.unwrap().get(0)
}

/// Not prepared: on MariaDB a statement that is prepared and given up once takes 40 ms, by a delayed ACK.
async fn execute(connection: &mut AnyConnection, sql: String) {
    let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await;
    done.unwrap();
}

#[tokio::test]
async fn changes_of_a_hostname_leave_one_open_delivery() {
    let (hub, open) = TestHub::start_in_parts().await;
    let (sink, script) = state_sink("dns");
    let desk = Desk::begin(&open, "a", vec![sink]).await;
    script.will(std::iter::repeat_n(away(), 1000));
    for last in 1..20 {
        put(&hub, "office", "db", &format!("10.0.0.{last}")).await;
        desk.work().await;
        hub.pass(1);
    }
    // Other ways to change it, and other hostnames in the same change.
    let silo = [("db", "10.0.1.1"), ("nas", "10.0.1.2"), ("web", "10.0.1.3")];
    hub.put_silo("office", &silo).await;
    put(&hub, "home", "db", "10.1.0.1").await;
    assert_eq!(
        names(&hub, "pending").await,
        ["home/db", "office/db", "office/nas", "office/web"]
    );
    hub.delete("/silos/office/records/web").await;
    hub.pass(1);
    let newest = put(&hub, "office", "db", "10.0.2.1").await;
    hub.delete("/silos/home").await;
    // Before the changes have the sink tried, which finishes what there is nothing to send of.
    assert_eq!(
        names(&hub, "pending").await,
        ["home/db", "office/db", "office/nas", "office/web"]
    );
    let pending = deliveries(&hub, "state=pending").await;
    let is_db = |row: &&Value| row["silo"] == "office" && row["hostnames"][0]["hostname"] == "db";
    let db = pending.iter().find(is_db).unwrap();
    let shown = ["revision", "at", "event", "why", "failing_since"].map(|key| db[key].clone());
    assert_eq!(
        shown,
        [
            json!(newest),
            json!("2026-01-02T03:04:25.678Z"),
            json!("change"),
            json!("no answer"),
            json!(crate::common::START),
        ],
        "of the newest change, and failing since the first: {db}"
    );
    assert!(db["attempts"].as_i64().unwrap() > 1, "{db}");
    let mut connection = hub.home.connect().await;
    for table in ["deliveries", "delivery_names"] {
        let rows = count(&mut connection, &format!("SELECT count(*) FROM {table}")).await;
        assert_eq!(rows, 4, "{table}");
    }

    // The receiver is back: one send and one delivery that is done for each.
    script.will_only([]);
    script.asked();
    hub.pass(3600);
    desk.work().await;
    let mut asked: Vec<_> = script.asked().into_iter().map(|asked| asked.name).collect();
    asked.dedup();
    asked.sort();
    asked.dedup();
    assert_eq!(asked, ["db.example", "nas.example"], "the others are gone");
    assert_eq!(counts(&hub).await, [0, 0, 4]);
    put(&hub, "office", "db", "10.0.2.2").await;
    desk.work().await;
    assert_eq!(counts(&hub).await, [0, 0, 5], "one more send");
}

/// Takes up `db` of `office` as a worker does, and answers how to end that.
async fn take_up(
    hub: &silo_hub::internals::open_hub::OpenHub,
) -> impl Fn(Outcome) -> EndPublishing {
    let sink = "dns".parse().unwrap();
    let begin = BeginPublishing {
        sink,
        owner: "a".to_owned(),
        lease_seconds: 60,
        takes_host_names_only: false,
        records: vec![(db(), Ok("db.example".to_owned()))],
    };
    let taken = hub.registry.apply(begin).await.unwrap();
    let Publishing::Names { names, through } = taken else {
        panic!("it is taken up: {taken:?}");
    };
    let [name]: [TakenUp; 1] = names.try_into().unwrap();
    move |outcome| EndPublishing {
        sink: "dns".parse().unwrap(),
        owner: "a".to_owned(),
        ended: vec![(name.clone(), outcome)],
        through,
        jitter: 0,
    }
}

fn db() -> DueName {
    DueName {
        silo: SiloId::parse("office").unwrap(),
        hostname: Hostname::parse("db").unwrap(),
    }
}

#[tokio::test]
async fn a_change_while_it_is_sent_keeps_the_delivery_open() {
    let trouble = || Trouble::of_name("nohost");
    for (outcome, open_after) in [
        (Outcome::Done, [1, 0, 0]),
        (Outcome::Retry(trouble()), [1, 0, 0]),
        (Outcome::Failed(trouble()), [1, 0, 0]),
        (Outcome::Refused(trouble()), [1, 0, 0]),
    ] {
        let (hub, open) = TestHub::start_in_parts().await;
        let (sink, script) = state_sink("dns");
        let desk = Desk::begin(&open, "a", vec![sink]).await;
        put(&hub, "office", "db", "10.0.0.1").await;
        let end = take_up(&open).await;
        put(&hub, "office", "db", "10.0.0.2").await;
        let newest = put(&hub, "office", "db", "10.0.0.3").await;
        open.registry.apply(end(outcome.clone())).await.unwrap();
        assert_eq!(counts(&hub).await, open_after, "{outcome:?}");
        let pending = &deliveries(&hub, "state=pending").await[0];
        assert_eq!(pending["revision"], newest, "{outcome:?}");
        desk.work().await;
        let asked = script.asked();
        assert_eq!(asked.len(), 1, "{outcome:?} {asked:?}");
        assert_eq!(asked[0].wanted, addresses(&["10.0.0.3"]));
        assert_eq!(counts(&hub).await, [0, 0, 1], "{outcome:?}");
    }
}

#[tokio::test]
async fn a_new_change_shortens_the_wait_of_what_failed() {
    let trouble = || Trouble::of_name("locked");
    for outcome in [
        Outcome::Retry(trouble().not_before(std::time::Duration::from_secs(1800))),
        Outcome::Failed(trouble()),
        Outcome::Refused(trouble()),
    ] {
        let (hub, open) = TestHub::start_in_parts().await;
        let (sink, script) = state_sink("dns");
        let desk = Desk::begin(&open, "a", vec![sink]).await;
        script.will([outcome.clone()]);
        put(&hub, "office", "db", "10.0.0.1").await;
        desk.work().await;
        assert_eq!(script.asked().len(), 1);
        put(&hub, "office", "db", "10.0.0.2").await;
        assert_eq!(counts(&hub).await, [1, 0, 0], "{outcome:?}");
        desk.work().await;
        assert_eq!(script.asked().len(), 1, "{outcome:?}");
        assert_eq!(counts(&hub).await, [0, 0, 1], "{outcome:?}");
    }
}

/// Later than those of the hub's own changes.
fn revision_of(delivery: i64) -> i64 {
    2_000_000_000_000_000 + delivery
}

/// Writes a delivery as version 0.1.0 does, and moves its counter.
async fn as_first_version(connection: &mut AnyConnection, id: i64, hostnames: &[(&str, i16)]) {
    let state = match hostnames.iter().find(|(_, state)| *state != 1) {
        Some((_, state)) => *state,
        None => 1,
    };
    execute(
        connection,
        format!(
            "INSERT INTO deliveries (id, sink, event, silo, revision, created_at, state, \
             attempts, next_at) VALUES ({id}, 'dns', 'change', 'office', {}, {START_MS}, \
             {state}, 0, 0)",
            revision_of(id)
        ),
    )
    .await;
    for (hostname, state) in hostnames {
        execute(
            connection,
            format!(
                "INSERT INTO delivery_names (delivery, hostname, sink, silo, state, attempts, \
                 next_at) VALUES ({id}, '{hostname}', 'dns', 'office', {state}, 3, 0)"
            ),
        )
        .await;
    }
    let counter = format!("UPDATE counters SET value = {id} WHERE name = 'deliveries'");
    execute(connection, counter).await;
}

async fn last_delivery(connection: &mut AnyConnection) -> i64 {
    let sql = "SELECT value FROM counters WHERE name = 'deliveries'";
    count(connection, sql).await
}

/// A hub with a sink that is away, and a connection to its database.
async fn with_a_sink_that_is_away() -> (TestHub, Desk, std::sync::Arc<Script>, AnyConnection) {
    let (hub, open) = TestHub::start_in_parts().await;
    hub.put_silo("office", &[("db", "10.0.0.1"), ("web", "10.0.0.2")])
        .await;
    let (sink, script) = state_sink("dns");
    let desk = Desk::begin(&open, "a", vec![sink]).await;
    script.will(std::iter::repeat_n(away(), 1000));
    desk.work().await;
    script.asked();
    let connection = hub.home.connect().await;
    (hub, desk, script, connection)
}

#[tokio::test]
async fn pending_deliveries_of_the_first_version_are_merged() {
    let (hub, desk, script, mut connection) = with_a_sink_that_is_away().await;
    let first = last_delivery(&mut connection).await + 1;
    let mut transaction = connection.begin().await.unwrap();
    for at in 0..1200 {
        let hostnames: &[_] = match at % 4 {
            0 => &[("db", 0)],
            1 => &[("db", 0), ("web", 0)],
            2 => &[("db", 1), ("web", 2)],
            _ => &[("db", 1), ("web", 1)],
        };
        as_first_version(&mut transaction, first + at, hostnames).await;
    }
    transaction.commit().await.unwrap();
    let newest_of_web = revision_of(first + 1198);
    hub.pass(1);
    desk.work().await;
    assert_eq!(names(&hub, "pending").await, ["office/db", "office/web"]);
    let pending = deliveries(&hub, "state=pending").await;
    let web = pending
        .iter()
        .find(|row| row["hostnames"][0]["hostname"] == "web");
    let web = web.unwrap();
    assert_eq!(web["revision"], newest_of_web, "{web}");
    assert!(web["attempts"].as_i64().unwrap() >= 3, "{web}");
    let open = "SELECT count(*) FROM delivery_names WHERE state <> 1";
    assert_eq!(count(&mut connection, open).await, 2);
    let orphans = "SELECT count(*) FROM delivery_names WHERE delivery NOT IN \
         (SELECT id FROM deliveries)";
    assert_eq!(count(&mut connection, orphans).await, 0);
    let empty = "SELECT count(*) FROM deliveries WHERE id NOT IN \
         (SELECT delivery FROM delivery_names)";
    assert_eq!(count(&mut connection, empty).await, 0);
    // What was done stays: 300 of both hostnames, and db's part of 300 others.
    assert_eq!(deliveries(&hub, "state=done").await.len(), 600);
    script.will_only([]);
    script.asked();
    hub.pass(3600);
    desk.work().await;
    assert_eq!(counts(&hub).await, [0, 0, 602]);
}

#[tokio::test]
async fn what_a_hub_of_the_first_version_writes_beside_is_merged_later() {
    let (hub, desk, script, mut connection) = with_a_sink_that_is_away().await;
    for _ in 0..3 {
        let next = last_delivery(&mut connection).await + 1;
        as_first_version(&mut connection, next, &[("db", 0), ("web", 0)]).await;
        put(&hub, "office", "db", &format!("10.0.9.{}", next % 200 + 1)).await;
        hub.pass(3600);
        desk.work().await;
        assert_eq!(names(&hub, "pending").await, ["office/db", "office/web"]);
    }
    script.will_only([]);
    script.asked();
    // It also sends: what changes meanwhile must not be done when it writes down the end.
    let through = last_delivery(&mut connection).await;
    put(&hub, "office", "db", "10.0.9.250").await;
    execute(
        &mut connection,
        format!(
            "UPDATE delivery_names SET state = 1, why = NULL, failing_since = NULL \
             WHERE sink = 'dns' AND silo = 'office' AND hostname = 'db' AND state IN (0, 2) \
             AND delivery <= {through}"
        ),
    )
    .await;
    assert_eq!(names(&hub, "pending").await, ["office/db", "office/web"]);
    hub.pass(3600);
    desk.work().await;
    let asked = script.asked();
    let db = asked.iter().rfind(|asked| asked.name == "db.example");
    assert_eq!(db.unwrap().wanted, addresses(&["10.0.9.250"]), "{asked:?}");
    assert_eq!(counts(&hub).await, [0, 0, 2]);
}

#[tokio::test]
async fn abandoned_deliveries_are_enqueued_again_if_the_sink_returns_and_purged_otherwise() {
    for is_back in [true, false] {
        let (hub, open) = TestHub::start_in_parts().await;
        let (sink, script) = state_sink("dns");
        let name = sink.name.clone();
        let desk = Desk::begin(&open, "a", vec![sink]).await;
        script.will([Outcome::Refused(Trouble::of_name("nohost")), away()]);
        put(&hub, "office", "db", "10.0.0.1").await;
        desk.work().await;
        put(&hub, "office", "web", "10.0.0.2").await;
        desk.work().await;
        assert_eq!(counts(&hub).await, [1, 1, 0]);
        // No hub has served it for a day, so another one takes the sink for gone.
        hub.pass(86_400);
        let (gone, _) = open.registry.apply(KeepSinks(Vec::new())).await.unwrap();
        assert_eq!(gone, [(name.clone(), 1)]);
        assert_eq!(counts(&hub).await, [0, 2, 0]);
        let mut why: Vec<_> = deliveries(&hub, "").await;
        why.sort_by_key(|row| row["why"].to_string());
        let why: Vec<_> = why.iter().map(|row| row["why"].clone()).collect();
        assert_eq!(why, ["no hub has this sink any more", "nohost"]);
        script.asked();
        if is_back {
            let (_, back) = open.registry.apply(KeepSinks(vec![name])).await.unwrap();
            assert_eq!(back.len(), 1);
            hub.pass(3600);
            desk.work().await;
            assert_eq!(script.asked().len(), 2);
            assert_eq!(counts(&hub).await, [0, 0, 2]);
        } else {
            hub.pass(31 * 86_400);
            crate::expiry::upkeep(&open, 0).purge().await.unwrap();
            assert_eq!(counts(&hub).await, [0, 0, 0]);
        }
    }
}
