//! After a receiver's outage: a new change, and an answer, shorten the waits that the outage has left.

use std::time::Duration;

use serde_json::json;
use silo_hub::internals::deliver::sink::{Outcome, Trouble};

use super::scripted::{Desk, Manner, Script, counts, event_sink, state_sink};
use crate::common::TestHub;

/// What the sink answers.
type Answer = fn() -> Outcome;

const DB: &str = "/silos/office/records/db";
const WEB: &str = "/silos/home/records/web";

fn away() -> Outcome {
    Outcome::Retry(Trouble::of_sink("no answer"))
}

fn busy() -> Outcome {
    Outcome::Retry(Trouble::of_name("it is busy"))
}

async fn put(hub: &TestHub, path: &str, ip: &str) {
    let answer = hub.put(path).json(&json!({ "ip": ip })).await;
    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
}

/// How often the sink was called since the last call.
fn sent(script: &Script) -> usize {
    // A sink uses one of the two.
    script.asked().len() + script.told().len()
}

/// A hub with one sink.
async fn start(is_state: bool) -> (TestHub, Desk, std::sync::Arc<Script>) {
    let (hub, open) = TestHub::start_in_parts().await;
    let (sink, script) = if is_state {
        state_sink("dns")
    } else {
        event_sink("mail", Manner::default())
    };
    let desk = Desk::begin(&open, "a", vec![sink]).await;
    (hub, desk, script)
}

/// The receiver is away until the next try is most of an hour off; then it answers again. Event sinks of these
/// tests give up a message after three tries, so each round has one of its own.
async fn outage(hub: &TestHub, desk: &Desk, script: &Script) {
    script.will(std::iter::repeat_n(away(), 200));
    for round in 0..14 {
        put(hub, DB, &format!("10.0.1.{}", round + 1)).await;
        hub.pass(3600);
        desk.work().await;
        assert_eq!(sent(script), 1, "{round}");
    }
    script.will_only([]);
}

#[tokio::test]
async fn a_change_after_an_outage_is_sent_within_seconds() {
    for is_state in [true, false] {
        for path in [DB, WEB] {
            let (hub, desk, script) = start(is_state).await;
            outage(&hub, &desk, &script).await;
            hub.pass(30);
            desk.work().await;
            assert_eq!(sent(&script), 0, "state {is_state}: nothing asks for it");
            put(&hub, path, "10.0.0.9").await;
            hub.pass(5);
            desk.work().await;
            assert!(
                sent(&script) > 0,
                "state {is_state} {path}: it waits for the old back-off"
            );
            assert_eq!(counts(&hub).await[0], 0, "state {is_state} {path}: pending");
        }
    }
}

#[tokio::test]
async fn changes_cause_one_try_in_five_seconds_at_most() {
    for is_state in [true, false] {
        let (hub, desk, script) = start(is_state).await;
        outage(&hub, &desk, &script).await;
        script.will(std::iter::repeat_n(away(), 200));
        let given_up = counts(&hub).await[1];
        let mut tries = 0;
        for second in 0..60 {
            put(&hub, DB, &format!("10.0.2.{}", second + 1)).await;
            hub.pass(1);
            desk.work().await;
            tries += sent(&script);
        }
        assert!((6..=12).contains(&tries), "state {is_state}: {tries}");
        assert_eq!(
            counts(&hub).await[1],
            given_up,
            "state {is_state}: given up"
        );
    }
}

#[tokio::test]
async fn a_change_does_not_shorten_the_receivers_retry_delay() {
    for is_state in [true, false] {
        let (hub, desk, script) = start(is_state).await;
        let wait = Duration::from_secs(1800);
        script.will([Outcome::Retry(Trouble::of_sink("not now").not_before(wait))]);
        put(&hub, DB, "10.0.0.5").await;
        desk.work().await;
        assert_eq!(sent(&script), 1);
        put(&hub, WEB, "10.0.0.6").await;
        hub.pass(1799);
        desk.work().await;
        assert_eq!(sent(&script), 0, "state {is_state}");
        hub.pass(1);
        desk.work().await;
        assert_eq!(sent(&script), 2, "state {is_state}");

        script.will([Outcome::Refused(Trouble::of_sink("never again"))]);
        put(&hub, DB, "10.0.0.7").await;
        desk.work().await;
        assert_eq!(sent(&script), 1);
        put(&hub, WEB, "10.0.0.8").await;
        hub.pass(86_400);
        desk.work().await;
        assert_eq!(sent(&script), 0, "state {is_state}: refused for good");
    }
}

#[tokio::test]
async fn names_that_wait_are_due_once_one_that_failed_is_taken() {
    let troubles: [(&str, Answer); 2] = [
        ("retried", busy),
        ("failed", || {
            Outcome::Failed(Trouble::of_name("a page for people"))
        }),
    ];
    for (what, trouble) in troubles {
        let (hub, desk, script) = start(true).await;
        let names = ["a", "b", "c"].map(|name| format!("/silos/office/records/{name}"));
        for path in &names {
            put(&hub, path, "10.0.0.5").await;
        }
        script.will(std::iter::repeat_n(trouble(), 42));
        for round in 0..14 {
            hub.pass(if round == 0 { 0 } else { 3600 });
            desk.work().await;
        }
        assert_eq!(sent(&script), 42, "{what}");
        hub.pass(30);
        desk.work().await;
        assert_eq!(sent(&script), 0, "{what}");
        put(&hub, &names[0], "10.0.0.7").await;
        desk.work().await;
        assert_eq!(counts(&hub).await, [0, 0, 3], "{what}: the others wait");
    }
}

#[tokio::test]
async fn messages_that_wait_are_due_once_one_that_failed_is_taken() {
    let (hub, desk, script) = start(false).await;
    put(&hub, WEB, "10.0.0.5").await;
    script.will([busy()]);
    desk.work().await;
    hub.pass(1);
    put(&hub, DB, "10.0.0.5").await;
    script.will([busy(), busy()]);
    desk.work().await;
    assert_eq!(sent(&script), 3, "the first twice");
    hub.pass(1);
    desk.work().await;
    assert_eq!(
        sent(&script),
        2,
        "the first waits for its own time, an hour at worst"
    );
    assert_eq!(counts(&hub).await, [0, 0, 2]);
}

#[tokio::test]
async fn a_success_without_an_earlier_failure_hurries_no_other_name() {
    for is_state in [true, false] {
        let (hub, desk, script) = start(is_state).await;
        put(&hub, WEB, "10.0.0.5").await;
        script.will([busy()]);
        desk.work().await;
        for last in 1..9 {
            put(&hub, DB, &format!("10.0.0.{last}")).await;
            desk.work().await;
        }
        assert_eq!(sent(&script), 9, "state {is_state}");
        assert_eq!(counts(&hub).await, [1, 0, 8], "state {is_state}");
    }
}

#[tokio::test]
async fn an_outage_after_an_answer_is_a_new_one() {
    for is_state in [true, false] {
        let (hub, desk, script) = start(is_state).await;
        outage(&hub, &desk, &script).await;
        put(&hub, WEB, "10.0.0.5").await;
        hub.pass(3600);
        script.will([Outcome::Done, away()]);
        desk.work().await;
        assert_eq!(sent(&script), 2, "state {is_state}");
        hub.pass(1);
        desk.work().await;
        assert!(sent(&script) > 0, "state {is_state}: it waits for an hour");
    }
}
