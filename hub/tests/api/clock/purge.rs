//! The retention while the wall clock is wrong or stepped: what is young stays, and what is old goes.

use std::time::Duration;

use serde_json::json;
use silo_e2e::clock::STEPS;
use silo_hub::internals::domain::time::Time;
use silo_hub::internals::open_hub::OpenHub;
use silo_hub::internals::registry::{BeginSinks, RevokeUpdateKey};
use silo_hub::internals::upkeep::{HeldTimes, Periods, Upkeep};
use sqlx::{AnyConnection, AssertSqlSafe, Row};

use super::DAY;
use crate::common::{DEADLINE, PAUSE, START_MS, TestHub};
use crate::deliveries::scripted::{Desk, state_sink};
use crate::expiry::upkeep;
use crate::update_keys::add;

/// What the retention removes, each with the rows that are left of it.
const KINDS: [(&str, &str); 7] = [
    ("history", "SELECT count(*) FROM history WHERE changed_at"),
    ("audit", "SELECT count(*) FROM audit WHERE happened_at"),
    (
        "tombstones",
        "SELECT count(*) FROM silos WHERE deleted = 1 AND updated_at",
    ),
    (
        "deliveries",
        "SELECT count(*) FROM deliveries WHERE created_at",
    ),
    (
        "revoked tokens",
        "SELECT count(*) FROM tokens WHERE name <> 'revoked' AND revoked_at",
    ),
    (
        "revoked update keys",
        "SELECT count(*) FROM update_keys WHERE revoked_at",
    ),
    ("sinks", "SELECT count(*) FROM sinks WHERE served_until"),
];

/// How many rows of each kind have a time in a range of seconds from the tests' beginning on.
async fn counts(connection: &mut AnyConnection, seconds: std::ops::Range<i64>) -> [i64; 7] {
    let [from, to] =
        [seconds.start, seconds.end].map(|at| Time::from_millis(START_MS).plus_seconds(at));
    let mut counts = [0; 7];
    for (count, (kind, sql)) in counts.iter_mut().zip(KINDS) {
        let (from, to) = (from.as_millis(), to.as_millis());
        let sql = format!("{sql} BETWEEN {from} AND {}", to - 1);
        let row = sqlx::query(AssertSqlSafe(sql))
            .fetch_one(&mut *connection)
            .await;
        *count = row.unwrap_or_else(|error| panic!("{kind}: {error}")).get(0);
    }
    counts
}

fn assert_all(counts: [i64; 7], are_there: bool, what: &str) {
    for ((kind, _), count) in KINDS.iter().zip(counts) {
        assert_eq!(count > 0, are_there, "{what}: {kind}: {count}");
    }
}

/// Stores something of each kind, by the present clock; the names end with `of`.
async fn store_each_kind(hub: &TestHub, open: &OpenHub, of: &str) {
    let (sink, _script) = state_sink(&format!("dns-{of}"));
    let desk = Desk::begin_beside(open, of, vec![sink], false).await;
    hub.put_silo(&format!("office-{of}"), &[("db", "10.0.0.5")])
        .await;
    let gone = format!("gone-{of}");
    hub.put_silo(&gone, &[]).await;
    hub.delete(&format!("/silos/{gone}")).await;
    desk.work().await;
    let (token, _) = hub
        .token(json!({"name": of, "role": "read", "silos": [gone]}))
        .await;
    hub.delete(&format!("/tokens/{token}")).await;
    let key = format!("a key that is long enough, {of}");
    let key = add(open, &key, "db").await.unwrap();
    open.registry.apply(RevokeUpdateKey(key.id)).await.unwrap();
}

/// Has every sink given up, as a start without them does where no other hub can have them.
async fn give_sinks_up(hub: &TestHub, open: &OpenHub) {
    hub.pass(600);
    let begin = BeginSinks {
        sinks: Vec::new(),
        alone: true,
    };
    let gone = open.registry.apply(begin).await.unwrap().gone;
    assert_eq!(gone.len(), 1, "{gone:?}");
}

/// The upkeep of a process that starts now, as `serve` makes it.
async fn started(open: &std::sync::Arc<OpenHub>) -> Upkeep {
    let newest = open.store.newest_time().await.unwrap();
    let held = HeldTimes::begin(open.clock.reading(), newest);
    Upkeep {
        held: held.into(),
        ..upkeep(open, 0)
    }
}

#[tokio::test]
async fn a_clock_step_purges_only_old_rows() {
    for step in STEPS {
        for at_start in [true, false] {
            let what = format!("{step} {at_start}");
            let (hub, open) = TestHub::start_in_parts().await;
            let mut connection = hub.home.connect().await;
            store_each_kind(&hub, &open, "a").await;
            give_sinks_up(&hub, &open).await;
            let mut left = async || counts(&mut connection, 0..DAY).await;
            assert_all(left().await, true, &what);
            let upkeep = if at_start {
                hub.step(step);
                started(&open).await
            } else {
                let upkeep = started(&open).await;
                hub.step(step);
                upkeep
            };
            // The first purge, and one a day before all is over.
            for pass in [600, 29 * DAY - 1200] {
                hub.pass(pass);
                upkeep.purge().await.unwrap();
                assert_all(left().await, true, &what);
            }
            // A clock that was set back comes to it as much later.
            hub.pass(2 * DAY + (-step).max(0));
            upkeep.purge().await.unwrap();
            assert_all(left().await, false, &what);
        }
    }
}

#[tokio::test]
async fn rows_from_a_clock_ahead_do_not_keep_later_rows() {
    for step in STEPS.into_iter().filter(|step| *step > 0) {
        let (hub, open) = TestHub::start_in_parts().await;
        let mut connection = hub.home.connect().await;
        let upkeep = upkeep(&open, 0);
        hub.step(step);
        store_each_kind(&hub, &open, "ahead").await;
        give_sinks_up(&hub, &open).await;
        hub.step(-step);
        store_each_kind(&hub, &open, "later").await;
        give_sinks_up(&hub, &open).await;
        let what = step.to_string();
        let ahead = step..step + DAY;
        assert_all(counts(&mut connection, ahead.clone()).await, true, &what);
        if step > 30 * DAY {
            hub.pass(31 * DAY);
            upkeep.purge().await.unwrap();
            let later = counts(&mut connection, 0..DAY).await;
            assert_all(later, false, &format!("{what}, later"));
            assert_all(counts(&mut connection, ahead.clone()).await, true, &what);
        }
        // What the clock stored is kept for longer by as much as it was ahead.
        hub.pass(31 * DAY + step);
        upkeep.purge().await.unwrap();
        assert_all(counts(&mut connection, 0..ahead.end).await, false, &what);
    }
}

/// Rows of the history and the audit by themselves, with these keys and this time.
async fn insert_rows(connection: &mut AnyConnection, keys: std::ops::Range<i64>, at: Time) {
    let at = at.as_millis();
    let keys: Vec<_> = keys.collect();
    for some in keys.chunks(1000) {
        let history = some
            .iter()
            .map(|key| format!("({key}, 'old', 'h', 4, {at}, NULL, '10.0.0.1', 'rest')"));
        let audit = some.iter().map(|key| format!("({key}, {at}, 'made', 1)"));
        for (head, rows) in [
            (
                "INSERT INTO history \
                 (revision, silo, hostname, family, changed_at, old_ip, new_ip, via) VALUES ",
                history.collect::<Vec<_>>(),
            ),
            (
                "INSERT INTO audit (id, happened_at, event, times) VALUES ",
                audit.collect(),
            ),
        ] {
            let sql = format!("{head}{}", rows.join(", "));
            let done = sqlx::query(AssertSqlSafe(sql)).execute(&mut *connection);
            done.await.unwrap();
        }
    }
}

/// A key beyond those that the audit of a new hub has.
const FIRST: i64 = 10_000;

async fn rows_between(connection: &mut AnyConnection, keys: std::ops::Range<i64>) -> [i64; 2] {
    let mut counts = [0; 2];
    for (count, (table, key)) in counts
        .iter_mut()
        .zip([("history", "revision"), ("audit", "id")])
    {
        let (from, to) = (keys.start, keys.end - 1);
        let sql = format!("SELECT count(*) FROM {table} WHERE {key} BETWEEN {from} AND {to}");
        let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(&mut *connection);
        *count = row.await.unwrap().get(0);
    }
    counts
}

#[tokio::test]
async fn pages_from_a_clock_ahead_do_not_keep_later_rows() {
    let (hub, open) = TestHub::start_in_parts().await;
    let mut connection = hub.home.connect().await;
    let start = Time::from_millis(START_MS);
    insert_rows(&mut connection, FIRST..FIRST + 100, start).await;
    let ahead = start.plus_seconds(500 * DAY);
    insert_rows(&mut connection, FIRST + 100..FIRST + 2000, ahead).await;
    insert_rows(&mut connection, FIRST + 2000..FIRST + 2700, start).await;
    hub.pass(31 * DAY);
    upkeep(&open, 0).purge().await.unwrap();
    assert_eq!(
        rows_between(&mut connection, FIRST..FIRST + 100).await,
        [0, 0]
    );
    assert_eq!(
        rows_between(&mut connection, FIRST + 100..FIRST + 2000).await,
        [1900, 1900]
    );
    assert_eq!(
        rows_between(&mut connection, FIRST + 2000..FIRST + 2700).await,
        [0, 0]
    );
}

#[tokio::test]
async fn rows_from_a_clock_behind_are_kept_as_long_as_earlier_rows() {
    for step in STEPS.into_iter().filter(|step| *step < 0) {
        let (hub, open) = TestHub::start_in_parts().await;
        let mut connection = hub.home.connect().await;
        let start = Time::from_millis(START_MS);
        insert_rows(&mut connection, FIRST..FIRST + 1, start).await;
        let behind = start.plus_seconds(step);
        insert_rows(&mut connection, FIRST + 1..FIRST + 2, behind).await;
        let upkeep = upkeep(&open, 0);
        for (passed, left) in [(30 * DAY, 1), (1, 0)] {
            hub.pass(passed);
            upkeep.purge().await.unwrap();
            let found = rows_between(&mut connection, FIRST..FIRST + 2).await;
            assert_eq!(found, [2 * left; 2], "{step} {passed}");
        }
    }
}

#[tokio::test]
async fn a_hub_started_years_ahead_purges_only_what_was_already_old() {
    let hub = TestHub::start_with(|settings| settings.retention_days = 30).await;
    hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    let mut connection = hub.home.connect().await;
    let old = Time::from_millis(START_MS).plus_seconds(-31 * DAY);
    insert_rows(&mut connection, FIRST..FIRST + 1, old).await;
    let periods = Periods {
        first_purge: Duration::from_millis(5),
        ..Periods::default()
    };
    let hub = hub.restart_with(500 * DAY, periods).await;
    let purged = async {
        while rows_between(&mut connection, FIRST..FIRST + 1).await[0] > 0 {
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(DEADLINE, purged).await.unwrap();
    assert_eq!(hub.history("office").await.len(), 1);
}
