//! More than ten wrong credentials a minute from one address.

use reqwest::Method;
use silo_e2e::clock::STEPS;
use silo_hub::internals::domain::failures::AddressFailures;
use silo_hub::internals::registry::ShareFailures;

use crate::common::{Answer, TestHub};
use crate::expiry::upkeep;

fn wrong() -> String {
    format!("silo_aaaaaaaaaa_{}", "x".repeat(43))
}

async fn fail(hub: &TestHub, ip: &str) -> Answer {
    hub.open_call(Method::GET, "/silos")
        .bearer(&wrong())
        .seen_from(ip)
        .await
}

async fn fail_times(hub: &TestHub, ip: &str, times: usize) {
    for time in 0..times {
        assert_eq!(
            fail(hub, ip).await.status,
            401,
            "{ip}, failure {}",
            time + 1
        );
    }
}

fn assert_limited(answer: &Answer) {
    assert_eq!(answer.status, 429, "{answer:?}");
    assert_eq!(answer.json()["type"], "/problems/too-many-failures");
    let wait = answer.header("retry-after").expect("it tells when");
    let seconds: u64 = wait.parse().expect("a number of seconds");
    assert!((1..=60).contains(&seconds), "{answer:?}");
}

#[tokio::test]
async fn the_eleventh_failure_is_429_while_a_valid_token_is_accepted() {
    let hub = TestHub::start().await;
    hub.put_silo("office", &[]).await;
    let fail = || hub.open_call(Method::GET, "/silos").bearer(&wrong());
    for time in 1..=10 {
        let answer = fail().await;
        assert_eq!(answer.status, 401, "failure {time}");
        assert!(answer.values("www-authenticate").len() == 2);
    }
    for _ in 0..3 {
        assert_limited(&fail().await);
        assert_eq!(hub.get("/silos/office").await.status, 200);
        // A request without a credential is not a failure.
        assert_eq!(hub.open_call(Method::GET, "/silos").await.status, 401);
        assert_eq!(hub.open_call(Method::GET, "/ping").await.status, 200);
    }
    // A refused permission of a valid token is not a wrong credential.
    let reader = hub.credential("read", &["office"], &[]).await;
    let answer = hub
        .open_call(Method::DELETE, "/silos/office")
        .bearer(&reader)
        .await;
    assert_eq!(answer.status, 403);
    let answer = hub
        .open_call(Method::GET, "/silos/none")
        .bearer(&reader)
        .await;
    assert_eq!(answer.status, 404);
}

#[tokio::test]
async fn the_limit_ends_with_its_minute() {
    let hub = TestHub::start_behind_a_proxy().await;
    fail_times(&hub, "192.0.2.1", 10).await;
    let limited = fail(&hub, "192.0.2.1").await;
    assert_limited(&limited);
    let seconds: i64 = limited.header("retry-after").unwrap().parse().unwrap();
    hub.pass(seconds);
    fail_times(&hub, "192.0.2.1", 10).await;
    assert_limited(&fail(&hub, "192.0.2.1").await);
}

#[tokio::test]
async fn each_address_is_counted_for_itself() {
    let hub = TestHub::start_behind_a_proxy().await;
    fail_times(&hub, "192.0.2.1", 10).await;
    assert_limited(&fail(&hub, "192.0.2.1").await);
    // The same one in another spelling.
    assert_limited(&fail(&hub, "::ffff:192.0.2.1").await);
    fail_times(&hub, "192.0.2.2", 10).await;
}

#[tokio::test]
async fn ipv6_is_counted_by_64() {
    let hub = TestHub::start_behind_a_proxy().await;
    for host in 1..=10 {
        fail_times(&hub, &format!("2001:db8:0:1:{host}::{host}"), 1).await;
    }
    assert_limited(&fail(&hub, "2001:db8:0:1:ffff::1").await);
    fail_times(&hub, "2001:db8:0:2::1", 10).await;
}

#[tokio::test]
async fn requests_without_or_with_a_valid_credential_are_not_counted() {
    let hub = TestHub::start().await;
    let reader = hub.credential("read", &["office"], &[]).await;
    for _ in 0..15 {
        assert_eq!(hub.open_call(Method::GET, "/silos").await.status, 401);
        let answer = hub.open_call(Method::GET, "/tokens").bearer(&reader).await;
        assert_eq!(answer.status, 403);
    }
    let answer = hub.open_call(Method::GET, "/silos").bearer(&wrong()).await;
    assert_eq!(answer.status, 401);
}

#[tokio::test]
async fn a_revoked_tokens_use_is_counted() {
    let hub = TestHub::start().await;
    let (id, credential) = hub
        .token(serde_json::json!({"name": "r", "role": "read", "silos": ["office"]}))
        .await;
    hub.delete(&format!("/tokens/{id}")).await;
    let read = || hub.open_call(Method::GET, "/silos").bearer(&credential);
    for _ in 0..10 {
        assert_eq!(read().await.status, 401);
    }
    assert_limited(&read().await);
}

#[tokio::test]
async fn shared_counts_are_kept_for_minutes() {
    let (hub, open) = TestHub::start_in_parts().await;
    let upkeep = upkeep(&open, 0);
    // More than one statement carries.
    let of = |times| -> Vec<AddressFailures> {
        let began = open.clock.now();
        (1..=100)
            .map(|host| AddressFailures {
                ip: [192, 0, 2, host].into(),
                began,
                times,
            })
            .collect()
    };
    let counted = async |version| {
        let mut counted = open.store.failures_since(version).await.unwrap();
        counted.sort_by_key(|failures| failures.ip);
        counted
    };
    let first = of(3);
    open.registry
        .apply(ShareFailures(first.clone()))
        .await
        .unwrap();
    assert_eq!(counted(0).await, first);
    let version = open.store.position().await.unwrap().failures;
    hub.pass(59);
    let more = of(2)[..10].to_vec();
    open.registry.apply(ShareFailures(more)).await.unwrap();
    let added: Vec<_> = first[..10]
        .iter()
        .map(|failures| AddressFailures {
            times: 5,
            ..*failures
        })
        .collect();
    assert_eq!(counted(version).await, added, "what is new since");
    hub.pass(1);
    let next_minute = of(1)[..1].to_vec();
    open.registry
        .apply(ShareFailures(next_minute.clone()))
        .await
        .unwrap();
    assert_eq!(counted(0).await[..2], [next_minute[0], added[1]]);
    hub.pass(540);
    upkeep.forget().await.unwrap();
    assert_eq!(counted(0).await.len(), 100);
    let mut seconds = 0;
    while counted(0).await.len() == 100 {
        seconds += 10;
        assert!(seconds <= 1800, "they are never removed");
        hub.pass(10);
        upkeep.forget().await.unwrap();
    }
    assert_eq!(counted(0).await, next_minute);
}

#[tokio::test]
async fn counts_from_a_clock_ahead_lock_no_address_out_and_are_forgotten() {
    for step in STEPS.into_iter().filter(|step| *step > 0) {
        let (hub, open) = TestHub::start_in_parts().await;
        let upkeep = upkeep(&open, 0);
        let of = |host: u8, times| AddressFailures {
            ip: [192, 0, 2, host].into(),
            began: open.clock.now(),
            times,
        };
        let counted = async || {
            let mut counted = open.store.failures_since(0).await.unwrap();
            counted.sort_by_key(|failures| failures.ip);
            counted
        };
        let share = async |failures: Vec<AddressFailures>| {
            let share = ShareFailures(failures);
            open.registry.apply(share).await.unwrap();
        };
        hub.step(step);
        share(vec![of(1, 10), of(2, 10)]).await;
        hub.step(-step);
        // The next failure of an address takes the place of what the other clock counted.
        let next = of(1, 1);
        share(vec![next]).await;
        assert_eq!(counted().await[0], next, "{step}");
        // The rest goes within minutes, not once the clock has got there.
        let mut seconds = 0;
        while !counted().await.is_empty() {
            seconds += 60;
            assert!(
                seconds <= 1800,
                "{step}: they are kept: {:?}",
                counted().await
            );
            hub.pass(60);
            upkeep.forget().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_clock_that_is_wrong_for_a_while_forgets_no_failures() {
    for step in STEPS {
        let (hub, open) = TestHub::start_in_parts().await;
        let upkeep = upkeep(&open, 0);
        for _ in 0..20 {
            hub.pass(60);
            upkeep.forget().await.unwrap();
        }
        let failures = AddressFailures {
            ip: [192, 0, 2, 1].into(),
            began: open.clock.now(),
            times: 9,
        };
        let share = ShareFailures(vec![failures]);
        open.registry.apply(share).await.unwrap();
        hub.step(step);
        hub.pass(15);
        upkeep.forget().await.unwrap();
        hub.step(-step);
        upkeep.forget().await.unwrap();
        let counted = open.store.failures_since(0).await.unwrap();
        assert_eq!(counted, [failures], "{step}");
    }
}
