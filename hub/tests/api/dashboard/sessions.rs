//! How long sessions last, and what ends them.

use std::sync::Arc;

use reqwest::Method;
use serde_json::json;
use silo_e2e::clock::STEPS;
use silo_hub::internals::domain::revision::Revision;
use silo_hub::internals::registry::{NoteRestored, NoteSessionUsed};
use silo_hub::internals::secrets::SessionId;
use silo_hub::internals::upkeep::{HeldTimes, Upkeep};
use sqlx::Row;

use super::links::{end_sessions, link};
use super::{Browser, beside, signed_in};
use crate::common::{Kind, START_MS, TestHub};
use crate::expiry::upkeep;
use crate::several_hubs::two_hubs;
use crate::transfer::{exported, import};

const HOUR: i64 = 3600;

/// The number of sessions that the database has.
async fn stored(hub: &TestHub) -> usize {
    let mut connection = hub.home.connect().await;
    let rows = sqlx::query("SELECT used_at FROM sessions").fetch_all(&mut connection);
    rows.await.expect("the table is there").len()
}

#[tokio::test]
async fn a_session_ends_when_it_is_idle_for_twelve_hours() {
    let hub = TestHub::start().await;
    let (used, idle) = (signed_in(&hub).await, signed_in(&hub).await);
    for _ in 0..3 {
        hub.pass(6 * HOUR - 1);
        assert!(used.is_signed_in().await);
        hub.pass(1);
    }
    assert!(!idle.is_signed_in().await);
    hub.pass(12 * HOUR - 1);
    assert!(!used.is_signed_in().await);
}

#[tokio::test]
async fn a_session_ends_after_seven_days_of_use() {
    let hub = TestHub::start().await;
    let browser = signed_in(&hub).await;
    for _ in 0..7 * 4 - 1 {
        hub.pass(6 * HOUR);
        assert!(browser.is_signed_in().await);
    }
    hub.pass(6 * HOUR - 1);
    assert!(browser.is_signed_in().await);
    hub.pass(1);
    assert!(!browser.is_signed_in().await);
}

#[tokio::test]
async fn use_is_stored_at_most_once_a_minute_and_no_id_is() {
    let hub = TestHub::start().await;
    let browser = signed_in(&hub).await;
    let stored = async || {
        let mut connection = hub.home.connect().await;
        let rows = sqlx::query("SELECT used_at, id_hash, secret FROM sessions")
            .fetch_all(&mut connection)
            .await
            .expect("the table is there");
        let [row] = rows.as_slice() else {
            panic!("one session")
        };
        let texts: [String; 2] = [row.get(1), row.get(2)];
        let (_, value) = browser.session().expect("it is signed in");
        for random in value.split('.').chain(hub.admin.splitn(3, '_').skip(2)) {
            assert!(!texts.concat().contains(random), "{texts:?}");
        }
        (row.get::<i64, _>(0) - START_MS) / 1000
    };
    for (passes, used) in [(0, 0), (30, 0), (29, 0), (1, 60), (59, 60), (100, 219)] {
        hub.pass(passes);
        assert!(browser.is_signed_in().await);
        assert_eq!(stored().await, used);
    }
}

#[tokio::test]
async fn use_is_stored_and_survives_a_restart() {
    let hub = TestHub::start().await;
    let browser = signed_in(&hub).await;
    let (name, value) = browser.session().expect("it is signed in");
    for _ in 0..5 {
        assert!(browser.is_signed_in().await);
        hub.pass(10);
    }
    hub.pass(11 * HOUR);
    assert!(browser.is_signed_in().await);
    let hub = hub.restart_off_by(22 * HOUR).await;
    let again = Browser::of(&hub);
    // The hub listens on another port now.
    let (hub_of_name, _) = name.rsplit_once('_').expect("a port");
    let new = format!("{hub_of_name}_{}", hub.address.port());
    again.set_cookie(&new, &value);
    assert!(again.is_signed_in().await);
}

#[tokio::test]
async fn a_session_ends_with_its_token_and_with_the_secret_that_it_was_made_from() {
    let hub = TestHub::start().await;
    let spec = json!({"name": "nas", "role": "write", "silos": ["office"]});
    let (id, token) = hub.token(spec.clone()).await;
    let browser = Browser::of(&hub);
    browser.sign_in(&token).await;
    let path = format!("/tokens/{id}/rotate");
    let rotated = hub.post(&path).json(&json!({"overlap": 100})).await;
    let secret = rotated.json()["secret"].as_str().unwrap().to_owned();
    let renewed = Browser::of(&hub);
    renewed.sign_in(&secret).await;
    // As the old secret itself, the session is valid until the overlap ends.
    assert!(browser.is_signed_in().await && renewed.is_signed_in().await);
    hub.pass(100);
    assert!(!browser.is_signed_in().await && renewed.is_signed_in().await);
    let rotated = hub.post(&path).json(&json!({"overlap": 0})).await;
    assert_eq!(rotated.status, 201);
    assert!(!renewed.is_signed_in().await);

    let (id, token) = hub.token(spec).await;
    let browser = Browser::of(&hub);
    browser.sign_in(&token).await;
    assert_eq!(hub.delete(&format!("/tokens/{id}")).await.status, 204);
    assert!(!browser.is_signed_in().await);

    let spec = json!({"name": "guest", "role": "read", "silos": ["office"],
        "expires_at": "2026-01-02T04:04:05Z"});
    let (_, token) = hub.token(spec).await;
    let browser = Browser::of(&hub);
    browser.sign_in(&token).await;
    assert!(browser.is_signed_in().await);
    hub.pass(HOUR);
    assert!(!browser.is_signed_in().await);
}

#[tokio::test]
async fn a_session_has_the_present_rights_of_its_token() {
    let hub = TestHub::start().await;
    hub.put_silo("office", &[]).await;
    hub.put_silo("home", &[]).await;
    let spec = json!({"name": "nas", "role": "read", "silos": ["office"]});
    let (id, token) = hub.token(spec).await;
    let browser = Browser::of(&hub);
    browser.sign_in(&token).await;
    let shown = async || {
        let page = browser.get("/dashboard/").await;
        assert_eq!(page.status, 200);
        ["office", "home"].map(|silo| page.text.contains(&format!(">{silo}<")))
    };
    assert_eq!(shown().await, [true, false]);
    let change = hub.call(Method::PATCH, &format!("/tokens/{id}"));
    let changed = change.json(&json!({"silos": ["home"]})).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    assert_eq!(shown().await, [false, true]);
}

#[tokio::test]
async fn of_twenty_one_sessions_the_oldest_ends() {
    let hub = TestHub::start().await;
    let other = hub.credential("read", &["office"], &[]).await;
    let apart = Browser::of(&hub);
    apart.sign_in(&other).await;
    let mut browsers = Vec::new();
    for _ in 0..20 {
        browsers.push(signed_in(&hub).await);
        hub.pass(1);
    }
    for browser in &browsers {
        assert!(browser.is_signed_in().await);
    }
    browsers.push(signed_in(&hub).await);
    for (number, browser) in browsers.iter().enumerate() {
        assert_eq!(browser.is_signed_in().await, number > 0, "{number}");
    }
    assert!(apart.is_signed_in().await);
}

#[tokio::test]
async fn of_thirty_sign_ins_at_once_twenty_sessions_remain() {
    let hub = TestHub::start().await;
    let browsers: Vec<_> = (0..30).map(|_| Browser::of(&hub)).collect();
    let all = browsers.iter().map(|browser| browser.sign_in(&hub.admin));
    futures_util::future::join_all(all).await;
    let mut valid = 0;
    for browser in &browsers {
        valid += usize::from(browser.is_signed_in().await);
    }
    assert_eq!((valid, stored(&hub).await), (20, 20));
}

#[tokio::test]
async fn a_step_of_the_clock_makes_no_session_endless() {
    for step in STEPS {
        let hub = TestHub::start().await;
        hub.step(step);
        let (used, unused) = (signed_in(&hub).await, signed_in(&hub).await);
        hub.step(-step);
        // Some hours more or less end none.
        let is_small = step.abs() <= 8 * HOUR;
        assert_eq!(used.is_signed_in().await, is_small, "{step}");
        hub.pass(12 * HOUR - 1);
        assert_eq!(used.is_signed_in().await, is_small, "{step}");
        hub.pass(8 * HOUR + 1);
        assert!(!unused.is_signed_in().await, "{step}");
        for _ in 0..7 * 2 {
            used.is_signed_in().await;
            hub.pass(11 * HOUR);
        }
        hub.pass(12 * HOUR);
        assert!(!used.is_signed_in().await, "{step}");
        hub.pass(24 * HOUR);
        end_sessions(&hub).await;
        assert_eq!(stored(&hub).await, 0, "{step}");
    }
}

#[tokio::test]
async fn a_clock_that_is_ahead_for_a_while_ends_nothing_for_good() {
    let hub = TestHub::start().await;
    let browser = signed_in(&hub).await;
    let open = Arc::new(beside(&hub).await);
    let upkeep = upkeep(&open, 0);
    for _ in 0..3 {
        upkeep.end_sessions().await.expect("the database answers");
        hub.pass(601);
    }
    let (code, _) = link(&hub).await;
    for step in STEPS {
        hub.step(step);
        let is_small = step.abs() <= 8 * HOUR;
        assert_eq!(browser.is_signed_in().await, is_small, "{step}");
        upkeep.end_sessions().await.expect("the database answers");
        hub.step(-step);
        assert!(browser.is_signed_in().await, "{step}");
    }
    let guest = Browser::of(&hub);
    let page = guest.post("/dashboard/link", &[("code", &code)]).await;
    assert_eq!(page.status, 303);
    drop(upkeep);
    let open = Arc::into_inner(open).expect("nothing else has it");
    open.close().await;
}

#[tokio::test]
async fn a_hub_whose_clock_is_always_wrong_ends_no_session_of_others() {
    let hub = TestHub::start().await;
    let browser = signed_in(&hub).await;
    let open = Arc::new(beside(&hub).await);
    let newest = open.clock.now();
    for (step, newest) in [
        (13 * HOUR, None),
        (-13 * HOUR, None),
        (23 * HOUR, None),
        (-23 * HOUR, None),
        // Bounded by what was stored before it started.
        (500 * 24 * HOUR, Some(newest)),
        (-500 * 24 * HOUR, Some(newest)),
    ] {
        hub.step(step);
        let upkeep = Upkeep {
            held: Arc::new(HeldTimes::begin(open.clock.reading(), newest)),
            ..upkeep(&open, 0)
        };
        for _ in 0..3 {
            upkeep.end_sessions().await.expect("the database answers");
            hub.pass(601);
        }
        upkeep.end_sessions().await.expect("the database answers");
        hub.step(-step);
        assert!(browser.is_signed_in().await, "{step}");
    }
    let open = Arc::into_inner(open).expect("nothing else has it");
    open.close().await;
}

#[tokio::test]
async fn use_that_was_stored_a_moment_ago_is_not_stored_again() {
    let hub = TestHub::start().await;
    let browser = signed_in(&hub).await;
    let (_, value) = browser.session().expect("it is signed in");
    let id = SessionId::parse(&value).expect("it is an id");
    let open = beside(&hub).await;
    let used = async || {
        let session = open.store.session(id.token(), id.hash()).await;
        let session = session.expect("the database answers");
        (session.expect("it is there").used_at.as_millis() - START_MS) / 1000
    };
    for (passes, steps, expected) in [
        (59, 0, 0),
        (1, 0, 60),
        // Of a hub whose clock is behind.
        (0, -30, 60),
        (0, -270, 60),
        (0, -1, -241),
        (0, 360, 119),
        (1, 0, 119),
    ] {
        hub.pass(passes);
        hub.step(steps);
        let (token, hash) = (id.token(), id.hash());
        let noted = open.registry.apply(NoteSessionUsed { token, hash }).await;
        noted.expect("the database answers");
        assert_eq!(used().await, expected, "{passes} {steps}");
    }
    hub.pass(60);
    let pages = (0..8).map(|_| browser.get("/dashboard/"));
    for page in futures_util::future::join_all(pages).await {
        assert_eq!(page.status, 200);
    }
    assert_eq!(used().await, 180);
    open.close().await;
}

#[tokio::test]
async fn a_restore_and_an_import_end_all_sessions() {
    let hub = TestHub::start().await;
    let browser = signed_in(&hub).await;
    let open = beside(&hub).await;
    let restored = NoteRestored::after(Revision::NONE).expect("there is randomness");
    open.registry.apply(restored).await.expect("it is noted");
    assert!(!browser.is_signed_in().await);
    let browser = signed_in(&hub).await;
    let text = exported(&open, true).await;
    let (_, value) = browser.session().expect("it is signed in");
    let (_, random) = value.split_once('.').expect("a token's id comes first");
    assert!(
        !text.contains(random) && !text.contains("session"),
        "{text}"
    );
    import(&open, &text).await.expect("its own export is fine");
    assert!(!browser.is_signed_in().await);
    open.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_hubs_of_a_database_know_a_session_and_its_end() {
    let Some((a, b)) = two_hubs().await else {
        assert_eq!(Kind::chosen(), Kind::Sqlite);
        return;
    };
    // As behind a balancer: the browser sees one host.
    let at = |hub: &TestHub| Browser::at(hub, "http://silo.lan");
    let (first, second) = (at(&a), at(&b));
    first.sign_in(&a.admin).await;
    let (name, value) = first.session().expect("it is signed in");
    second.set_cookie(&name, &value);
    assert!(second.is_signed_in().await);
    let page = second.submit("/dashboard/sign-out", &[]).await;
    assert_eq!(page.status, 303);
    assert!(!first.is_signed_in().await);
}
