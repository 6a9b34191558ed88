//! The wall clock is stepped, both ways and by any amount: nothing expires by it, nothing is lost by it, and nothing
//! waits for it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod purge;

use std::num::NonZeroU32;

use reqwest::Method;
use serde_json::json;
use silo_e2e::clock::STEPS;
use silo_hub::internals::domain::time::{Clock, Time};
use silo_hub::internals::upkeep::Upkeep;

use crate::common::{TestHub, revision};
use crate::expiry::upkeep;
use crate::signing::{Draft, NOW, Shot, Signer, assert_refused, ip};

const DB: &str = "/silos/office/records/db";
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

#[tokio::test]
async fn a_clock_step_does_not_count_as_unseen_time() {
    for step in STEPS {
        let (hub, open) = TestHub::start_in_parts().await;
        let upkeep = upkeep(&open, 0);
        let body = json!({"ip": "10.0.0.5", "expires_after": 4 * HOUR});
        for name in ["silent", "heard"] {
            let path = format!("/silos/office/records/{name}");
            hub.put(&path).json(&body).await;
        }
        let is_there = async |name: &str| {
            let path = format!("/silos/office/records/{name}");
            hub.get(&path).await.status == 200
        };
        upkeep.expire().await.unwrap();
        hub.pass(HOUR);
        upkeep.expire().await.unwrap();
        hub.step(step);
        upkeep.expire().await.unwrap();
        assert!(is_there("silent").await, "{step}");
        hub.pass(4 * HOUR - 1);
        let heard = hub
            .put("/silos/office/records/heard")
            .json(&json!({"ip": "10.0.0.5"}));
        assert_eq!(heard.await.status, 200);
        upkeep.expire().await.unwrap();
        assert!(is_there("silent").await, "{step}");
        // It is heard no longer by the new clock: the old one's times do not keep it.
        hub.pass(1);
        upkeep.expire().await.unwrap();
        assert!(!is_there("silent").await, "{step}");
        hub.pass(4 * HOUR - 2);
        upkeep.expire().await.unwrap();
        assert!(is_there("heard").await, "{step}");
        hub.pass(1);
        upkeep.expire().await.unwrap();
        assert!(!is_there("heard").await, "{step}");
    }
}

#[tokio::test]
async fn rows_from_a_clock_ahead_do_not_bind_a_start() {
    let hub = TestHub::start().await.restart_off_by(8 * HOUR).await;
    let body = json!({"ip": "10.0.0.5", "expires_after": 4 * HOUR});
    assert_eq!(hub.put(DB).json(&body).await.status, 201);
    let hub = hub.restart().await;
    let now = hub.get(DB).await;
    assert_eq!(now.status, 200);
    assert_eq!(
        hub.put(DB).json(&json!({"ip": "10.0.0.5"})).await.status,
        200
    );
    // What is noted counts, not what the other clock stored.
    assert_eq!(
        hub.get(DB).await.json()["last_seen"],
        "2026-01-02T03:04:05.678Z"
    );
    let hub = hub.restart().await;
    assert_eq!(
        hub.get(DB).await.json()["last_seen"],
        "2026-01-02T03:04:05.678Z",
        "it was written down over what the other clock stored"
    );
}

fn write(signer: &Signer, address: &str, created: i64) -> Draft {
    signer
        .draft(Method::PUT, DB)
        .json(&ip(address))
        .created(created)
}

#[tokio::test]
async fn writes_signed_by_a_clock_that_was_ahead_do_not_bind() {
    for step in STEPS.into_iter().filter(|step| *step > 0) {
        let hub = TestHub::start().await;
        let admin = Signer::of(&hub.admin);
        hub.step(step);
        assert_eq!(
            admin
                .send(&hub, write(&admin, "10.0.0.5", NOW + step))
                .await
                .status,
            201
        );
        hub.step(-step);
        let right = admin.send(&hub, write(&admin, "10.0.0.6", NOW)).await;
        assert_eq!(right.status, 200, "{step}: {right:?}");
        let hub = hub.restart().await;
        let right = admin.send(&hub, write(&admin, "10.0.0.7", NOW)).await;
        assert_eq!(right.status, 200, "{step}: {right:?}");
        // Among those that are possible the order holds.
        assert_eq!(
            admin
                .send(&hub, write(&admin, "10.0.0.8", NOW + 300))
                .await
                .status,
            200
        );
        assert_refused(
            &admin.send(&hub, write(&admin, "10.0.0.9", NOW + 299)).await,
            401,
            "order",
        );
    }
}

/// Time passes, with the upkeep that a hub does meanwhile.
async fn pass(hub: &TestHub, upkeep: &Upkeep, seconds: i64) {
    for _ in 0..seconds / 15 {
        hub.pass(15);
        upkeep.forget().await.unwrap();
    }
}

#[tokio::test]
async fn a_clock_that_is_wrong_for_a_while_lets_no_replay_in() {
    for step in STEPS {
        let (hub, open) = TestHub::start_in_parts().await;
        let admin = Signer::of(&hub.admin);
        let upkeep = upkeep(&open, 0);
        // The hub has run for a while.
        pass(&hub, &upkeep, 1800).await;
        let now = NOW + 1800;
        let superseded = admin.sign(&hub, write(&admin, "10.0.0.5", now));
        assert_eq!(superseded.send(&hub).await.status, 201);
        let newest = write(&admin, "10.0.0.6", now + 1);
        assert_eq!(admin.send(&hub, newest).await.status, 200);
        let held_back = admin.sign(&hub, write(&admin, "10.0.0.7", now));
        let read = admin.sign(&hub, admin.draft(Method::GET, DB).created(now));
        assert_eq!(read.send(&hub).await.status, 200);
        hub.step(step);
        pass(&hub, &upkeep, 75).await;
        hub.step(-step);
        pass(&hub, &upkeep, 75).await;
        let refused = async |shot: &Shot, slug| {
            let answer = shot.send(&hub).await;
            assert_eq!(answer.status, 401, "{step}: {answer:?}");
            assert_refused(&answer, 401, slug);
        };
        refused(&superseded, "replay").await;
        refused(&held_back, "order").await;
        refused(&read, "replay").await;
        assert_eq!(
            hub.get(DB).await.json()["ips"],
            json!(["10.0.0.6"]),
            "{step}"
        );
        // And all of it is forgotten in the end.
        pass(&hub, &upkeep, 3000).await;
        let later = Time::from_millis(i64::MAX);
        assert!(
            !open.store.has_signed_writes(later).await.unwrap(),
            "{step}"
        );
    }
}

#[tokio::test]
async fn a_rotated_secret_outlives_a_clock_that_is_ahead_for_a_while() {
    let (hub, open) = TestHub::start_in_parts().await;
    let upkeep = upkeep(&open, 0);
    let (id, old) = hub
        .token(json!({"name": "nas", "role": "read", "silos": ["office"]}))
        .await;
    hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    let rotate = hub.post(&format!("/tokens/{id}/rotate"));
    assert_eq!(rotate.json(&json!({"overlap": HOUR})).await.status, 201);
    hub.step(500 * DAY);
    pass(&hub, &upkeep, 75).await;
    upkeep.purge().await.unwrap();
    hub.step(-500 * DAY);
    assert_eq!(hub.get("/silos/office").bearer(&old).await.status, 200);
    // It is removed once it has ended for a day, by both clocks.
    hub.pass(3 * DAY);
    for _ in 0..2 {
        upkeep.purge().await.unwrap();
        hub.pass(DAY);
    }
    upkeep.purge().await.unwrap();
    assert_eq!(hub.get("/silos/office").bearer(&old).await.status, 401);
}

#[tokio::test]
async fn the_request_limit_ignores_clock_steps() {
    for step in STEPS {
        let hub = TestHub::start_with(|settings| {
            settings.limits.requests_per_minute = NonZeroU32::new(6);
        })
        .await;
        let mut seconds = Vec::new();
        for _ in 0..8 {
            let answer = hub.get("/silos").await;
            if answer.status == 429 {
                seconds.push(
                    answer
                        .header("retry-after")
                        .unwrap()
                        .parse::<u64>()
                        .unwrap(),
                );
                hub.step(step);
            }
        }
        assert_eq!(seconds.len(), 2, "{step}: {seconds:?}");
        assert!(
            seconds.iter().all(|seconds| *seconds <= 10),
            "{step}: {seconds:?}"
        );
        hub.pass(10);
        assert_eq!(hub.get("/silos").await.status, 200, "{step}");
    }
}

#[tokio::test]
async fn revisions_grow_whatever_the_clock_shows() {
    let mut hub = TestHub::start().await;
    let mut last = 0;
    for (number, step) in STEPS.into_iter().chain([-3 * DAY]).enumerate() {
        hub.step(step);
        let address = format!("10.0.0.{}", number + 1);
        let answer = hub.put_silo("office", &[("db", &address)]).await;
        let new = revision(&answer.json());
        assert!(new > last, "{step}: {new} after {last}");
        hub = hub.restart_off_by(step).await;
        let answer = hub.put_silo("office", &[("db", "10.0.1.1")]).await;
        last = revision(&answer.json());
        assert!(last > new, "{step}: {last} after {new}");
    }
}

#[tokio::test]
async fn dates_follow_a_clock_that_is_stepped_back() {
    let hub = TestHub::start().await;
    for (step, date) in [
        (8 * HOUR, None),
        (-8 * HOUR, Some("Fri, 02 Jan 2026 03:04:05 GMT")),
        (-2 * DAY, Some("Wed, 31 Dec 2025 03:04:05 GMT")),
    ] {
        hub.step(step);
        for path in ["/ip", "/silos", "/silos/none"] {
            let answer = hub.get(path).await;
            // Where the clock did not go back, it is hyper's own, of the machine's clock.
            if let Some(date) = date {
                assert_eq!(answer.header("date"), Some(date), "{path}");
            }
            assert_eq!(answer.values("date").len(), 1, "{path}");
        }
    }
}

#[test]
fn both_clocks_are_read() {
    let clock = Clock::System;
    let before = clock.monotonic();
    assert!(clock.monotonic() >= before);
}
