//! Several hubs on one database. An SQLite file is for one hub: there each of these tests shows that
//! the second one is refused, and ends.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use reqwest::Method;
use serde_json::{Value, json};
use silo_hub::internals::domain::time::Clock;
use silo_hub::internals::open_hub::OpenHub;
use silo_hub::internals::settings::HubSettings;

use crate::common::{DEADLINE, Home, Kind, PAUSE, START_MS, TestHub, listener, refusal, revision};
use crate::update_keys;

/// The settings of a hub at this home, with files of its own but the others' key.
fn settings_of(home: &Home, name: &str) -> HubSettings {
    let mut settings = home.settings_in(name);
    settings.key_file = Some(home.path().join("shared.key"));
    settings.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    settings
}

/// Two hubs on one database; only one, and proof that it stays alone, on SQLite.
pub(crate) async fn two_hubs() -> Option<(TestHub, TestHub)> {
    let home = Arc::new(Home::new());
    let a = TestHub::start_in(Arc::clone(&home), settings_of(&home, "a")).await;
    let mut settings = settings_of(&home, "b");
    if Kind::chosen() == Kind::Sqlite {
        settings.database = Some(silo_hub::internals::open_hub::database_url(&a.settings));
        let said = refusal(&settings).await;
        assert!(
            said.contains("another silo-hub serves this database"),
            "{said}"
        );
        return None;
    }
    let mut b = TestHub::start_in(home, settings).await;
    assert_eq!(b.admin, "", "a second hub makes no admin token");
    b.admin.clone_from(&a.admin);
    Some((a, b))
}

/// Asks until an answer is as wanted.
async fn until<C: IntoFuture>(
    call: impl Fn() -> C,
    wanted: impl Fn(&C::Output) -> bool,
) -> C::Output {
    let asking = async {
        loop {
            let answer = call().await;
            if wanted(&answer) {
                return answer;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(DEADLINE, asking)
        .await
        .expect("the other hub learns of it in time")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hubs_that_begin_at_once_on_an_empty_database_agree() {
    const HUBS: usize = 3;
    if Kind::chosen() == Kind::Sqlite {
        return at_once_on_one_file().await;
    }
    for _ in 0..5 {
        let home = Arc::new(Home::new());
        let starts: Vec<_> = (0..HUBS)
            .map(|number| {
                let settings = settings_of(&home, &format!("hub{number}"));
                tokio::spawn(TestHub::start_in(Arc::clone(&home), settings))
            })
            .collect();
        let mut hubs = Vec::new();
        for start in starts {
            hubs.push(start.await.expect("each hub comes up"));
        }
        // A loser may have removed its file only after it had been read: what counts is what is valid.
        let mut valid = Vec::new();
        for hub in &hubs {
            let answer = hub.get("/tokens").await;
            if answer.status == 200 {
                assert_eq!(answer.json().as_array().unwrap().len(), 1);
                valid.push(hub.admin.clone());
            }
        }
        assert_eq!(valid.len(), 1, "there is one admin token between them");
        let files: Vec<_> = hubs
            .iter()
            .filter_map(|hub| std::fs::read_to_string(hub.data("admin.token")).ok())
            .collect();
        assert_eq!(files, [format!("{}\n", valid[0])]);
        // One key and one counter: each takes the token, and no revision is given out twice.
        let mut last = 0;
        for (number, hub) in hubs.iter_mut().enumerate() {
            hub.admin.clone_from(&valid[0]);
            let made = hub.put_silo(&format!("s{number}"), &[]).await.json();
            assert!(revision(&made) > last);
            last = revision(&made);
        }
        for hub in hubs {
            hub.stop().await;
        }
    }
}

/// Of hubs that begin at once on one SQLite file, one serves.
async fn at_once_on_one_file() {
    let home = Arc::new(Home::of_sqlite());
    let settings = home.settings();
    let stops: Vec<_> = (0..2)
        .map(|_| tokio::sync::Notify::new())
        .map(Arc::new)
        .collect();
    let mut runs = tokio::task::JoinSet::new();
    for stop in &stops {
        let stop = Arc::clone(stop);
        let clock = Clock::Set(Arc::new(AtomicI64::new(START_MS)));
        let run = silo_hub::internals::run(listener(), settings.clone(), clock, async move {
            stop.notified().await;
        });
        runs.spawn(run);
    }
    let mut ended = async || {
        let run = tokio::time::timeout(DEADLINE, runs.join_next());
        let run = run.await.expect("a run ends in time");
        run.expect("there is one more").expect("no run panics")
    };
    let said = ended().await.expect_err("one is refused").to_string();
    assert!(
        said.contains("another silo-hub serves this database"),
        "{said}"
    );
    stops.iter().for_each(|stop| stop.notify_one());
    ended()
        .await
        .expect("the other one serves until it is stopped");
}

#[tokio::test]
async fn a_write_on_one_hub_is_read_on_the_other() {
    let Some((a, b)) = two_hubs().await else {
        return;
    };
    let made = a.put_silo("office", &[("db", "10.0.0.5")]).await;
    let read = until(|| b.get("/silos/office"), |answer| answer.status == 200).await;
    assert_eq!((&read.body, read.etag()), (&made.body, made.etag()));
    // Also where the other one holds an older state in memory, and in both directions.
    let changed = b.put_silo("office", &[("db", "10.0.0.6")]).await;
    assert!(revision(&changed.json()) > revision(&made.json()));
    let read = until(
        || a.get("/silos/office"),
        |answer| answer.etag() == changed.etag(),
    )
    .await;
    assert_eq!(read.body, changed.body);
    assert_eq!(a.delete("/silos/office").await.status, 204);
    until(|| b.get("/silos/office"), |answer| answer.status == 404).await;
    assert_eq!(a.history("office").await, b.history("office").await);
}

#[tokio::test]
async fn a_condition_holds_against_what_the_other_one_wrote() {
    let Some((a, b)) = two_hubs().await else {
        return;
    };
    let old = a.put_silo("office", &[("db", "10.0.0.5")]).await;
    let new = b.put_silo("office", &[("db", "10.0.0.6")]).await;
    // Not the state that this hub may still hold in memory decides, but the database.
    let refused = a
        .put("/silos/office")
        .header("if-match", &old.etag())
        .json(&json!({"dnsrecords": []}))
        .await;
    assert_eq!(refused.status, 412, "{refused:?}");
    let taken = a
        .put("/silos/office")
        .header("if-match", &new.etag())
        .json(&json!({"dnsrecords": []}))
        .await;
    assert_eq!(taken.status, 200, "{taken:?}");
}

#[tokio::test]
async fn a_waiting_read_wakes_when_the_other_hub_writes() {
    let Some((a, b)) = two_hubs().await else {
        return;
    };
    let old = a.put_silo("office", &[("db", "10.0.0.5")]).await;
    until(|| b.get("/silos/office"), |answer| answer.status == 200).await;
    let call = b
        .get("/silos/office")
        .header("if-none-match", &old.etag())
        .header("prefer", "wait=300");
    let read = tokio::spawn(async move { call.await });
    let new = a.put_silo("office", &[("db", "10.0.0.6")]).await;
    let read = tokio::time::timeout(DEADLINE, read)
        .await
        .expect("it wakes in time")
        .unwrap();
    assert_eq!((read.status, &read.body), (200, &new.body));
}

#[tokio::test]
async fn a_token_revoked_on_one_stops_on_the_other() {
    let Some((a, b)) = two_hubs().await else {
        return;
    };
    a.put_silo("office", &[]).await;
    let spec = json!({"name": "reader", "role": "read", "silos": ["office"]});
    let (id, credential) = a.token(spec).await;
    let ask = || {
        b.open_call(Method::GET, "/silos/office")
            .bearer(&credential)
    };
    until(ask, |answer| answer.status == 200).await;
    // Other rights count there, too.
    for (silos, status) in [("lab", 404), ("off*", 200)] {
        let patch = a.call(Method::PATCH, &format!("/tokens/{id}"));
        assert_eq!(patch.json(&json!({"silos": [silos]})).await.status, 200);
        until(ask, |answer| answer.status == status).await;
    }
    assert_eq!(a.delete(&format!("/tokens/{id}")).await.status, 204);
    until(ask, |answer| answer.status == 401).await;
}

#[tokio::test]
async fn wrong_credentials_are_counted_together() {
    let Some((a, b)) = two_hubs().await else {
        return;
    };
    let open = OpenHub::open(&a.settings, a.clock())
        .await
        .expect("it opens beside a serving hub");
    update_keys::add(&open, "a-key-that-is-right", "nas")
        .await
        .expect("it is new");
    open.close().await;
    let wrong = format!("silo_aaaaaaaaaa_{}", "x".repeat(43));
    let guess = |hub: &TestHub, ip: &str| {
        hub.open_call(Method::GET, "/silos")
            .bearer(&wrong)
            .seen_from(ip)
    };
    for _ in 0..3 {
        assert_eq!(guess(&b, "192.0.2.1").await.status, 401);
    }
    for _ in 0..7 {
        assert_eq!(guess(&a, "192.0.2.1").await.status, 401);
    }
    // A right key is refused unlooked-at once both know of all ten.
    for hub in [&a, &b] {
        let key = |ip| update_keys::get(hub, "/u/a-key-that-is-right", ip);
        until(|| key("192.0.2.1"), |(status, _)| *status == 403).await;
        assert_eq!(key("192.0.2.2").await.0, 200);
        assert_eq!(guess(hub, "192.0.2.1").await.status, 429);
    }
    // The minute ends at all of them.
    for hub in [&a, &b] {
        hub.pass(60);
        assert_eq!(guess(hub, "192.0.2.1").await.status, 401);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_on_both_hubs_lose_nothing() {
    const WRITES: usize = 60;
    let Some((a, b)) = two_hubs().await else {
        return;
    };
    let mut writes = tokio::task::JoinSet::new();
    for number in 0..WRITES {
        for (name, hub) in [("a", &a), ("b", &b)] {
            let call = hub
                .put(&format!("/silos/office/records/{name}{number}"))
                .json(&json!({"ip": "10.0.0.5"}));
            writes.spawn(async move { call.await });
        }
    }
    let mut revisions: Vec<_> = writes
        .join_all()
        .await
        .iter()
        .map(|answer| {
            assert_eq!(answer.status, 201, "{answer:?}");
            revision(&answer.json())
        })
        .collect();
    revisions.sort_unstable();
    revisions.dedup();
    assert_eq!(
        revisions.len(),
        2 * WRITES,
        "no revision is given out twice"
    );
    let last = revisions.pop();
    for hub in [&a, &b] {
        let read = until(
            || hub.get("/silos/office"),
            |answer| answer.status == 200 && Some(revision(&answer.json())) == last,
        )
        .await;
        let records = read.json()["dnsrecords"].as_array().map(Vec::len);
        assert_eq!(records, Some(2 * WRITES));
    }
    let rows: Vec<Value> = a.history("office").await;
    assert_eq!(rows.len(), 2 * WRITES);
}
