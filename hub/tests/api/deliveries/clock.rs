//! Waits and leases of a clock that was wrong, and silence while it is stepped.

use serde_json::json;
use silo_e2e::clock::STEPS;
use silo_hub::internals::deliver::sink::{EventKind, Outcome, Trouble};
use silo_hub::internals::domain::backoff::LONGEST;
use silo_hub::internals::domain::sink::{SinkFilter, SinkName};
use silo_hub::internals::registry::{BeginSinks, ConfiguredSink, KeepSinks};
use silo_hub::internals::store::Queries;

use super::scripted::{Desk, Manner, Script, addresses, counts, event_sink, state_sink};
use crate::common::TestHub;

/// What the sink answers.
type Answer = fn() -> Outcome;

const DB: &str = "/silos/office/records/db";
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

fn was_sent(script: &Script) -> bool {
    // Both are emptied, which one of the two kinds uses.
    !script.asked().is_empty() | !script.told().is_empty()
}

#[tokio::test]
async fn no_wait_is_longer_than_its_maximum() {
    let troubles: [(&str, Answer); 2] = [
        ("of the sink", || {
            Outcome::Retry(Trouble::of_sink("it is away"))
        }),
        ("of the name", || {
            Outcome::Retry(Trouble::of_name("it is locked"))
        }),
    ];
    for is_state in [true, false] {
        for (whose, trouble) in troubles {
            for ahead in [400, 8 * HOUR, 2 * DAY, 500 * DAY] {
                for restarts in [false, true] {
                    let what = format!("{is_state} {whose} {ahead} {restarts}");
                    is_sent_after_the_longest_wait(is_state, trouble, ahead, restarts, &what).await;
                }
            }
        }
    }
}

/// A delivery fails while the clock is ahead, which is put right then, perhaps with a start of the hub.
async fn is_sent_after_the_longest_wait(
    is_state: bool,
    trouble: Answer,
    ahead: i64,
    restarts: bool,
    what: &str,
) {
    let (hub, open) = TestHub::start_in_parts().await;
    let sink = || {
        if is_state {
            state_sink("dns")
        } else {
            event_sink("mail", Manner::default())
        }
    };
    let (first, mut script) = sink();
    let mut desk = Desk::begin(&open, "a", vec![first]).await;
    hub.step(ahead);
    script.will([trouble()]);
    hub.put(DB).json(&json!({"ip": "10.0.0.5"})).await;
    desk.work().await;
    assert!(was_sent(&script), "{what}");
    assert_eq!(counts(&hub).await[2], 0, "{what}");
    hub.step(-ahead);
    if restarts {
        let (same, its_script) = sink();
        desk = Desk::begin(&open, "b", vec![same]).await;
        script = its_script;
    }
    hub.pass(LONGEST);
    desk.work().await;
    let waits = "it waits for the other clock";
    assert!(was_sent(&script), "{what}: {waits}");
    assert_eq!(counts(&hub).await[2], 1, "{what}");
}

#[tokio::test]
async fn gathered_changes_wait_at_most_the_digest_time() {
    let (hub, open) = TestHub::start_in_parts().await;
    let manner = Manner {
        gather: 60,
        ..Manner::default()
    };
    let (sink, script) = event_sink("mail", manner);
    let desk = Desk::begin(&open, "a", vec![sink]).await;
    hub.step(2 * DAY);
    hub.put(DB).json(&json!({"ip": "10.0.0.5"})).await;
    hub.step(-2 * DAY);
    hub.pass(60);
    desk.work().await;
    assert!(was_sent(&script));
}

#[tokio::test]
async fn a_retry_lifts_the_lease_of_a_dead_hub() {
    let (hub, open) = TestHub::start_in_parts().await;
    let (sink, script) = state_sink("dns");
    let dead = Desk::begin_beside(&open, "dead", vec![sink], false).await;
    let (sink, alive_script) = state_sink("dns");
    let alive = Desk::begin_beside(&open, "alive", vec![sink], false).await;
    hub.put(DB).json(&json!({"ip": "10.0.0.5"})).await;
    script.will_hang();
    tokio::select! {
        () = dead.work() => panic!("it was answered"),
        () = script.hung() => {}
    }
    alive.work().await;
    assert!(!was_sent(&alive_script), "the lease holds");
    let id = &super::scripted::deliveries(&hub, "state=pending").await[0]["id"];
    let retried = hub.post(&format!("/deliveries/{id}/retry")).await;
    assert_eq!(retried.status, 200, "{retried:?}");
    alive.work().await;
    assert!(was_sent(&alive_script));
}

#[tokio::test]
async fn a_lease_of_a_clock_that_was_ahead_does_not_bind() {
    let (hub, open) = TestHub::start_in_parts().await;
    let (sink, script) = state_sink("dns");
    let dead = Desk::begin_beside(&open, "dead", vec![sink], false).await;
    let (sink, alive_script) = state_sink("dns");
    let alive = Desk::begin_beside(&open, "alive", vec![sink], false).await;
    hub.step(2 * DAY);
    hub.put(DB).json(&json!({"ip": "10.0.0.5"})).await;
    // It ends while it sends: the lease stays.
    script.will_hang();
    tokio::select! {
        () = dead.work() => panic!("it was answered"),
        () = script.hung() => {}
    }
    hub.step(-2 * DAY);
    alive.work().await;
    assert!(was_sent(&alive_script), "it waits for a dead one's lease");
}

#[tokio::test]
async fn the_daily_comparison_asks_the_receiver_for_what_it_has_lost() {
    let (hub, open) = TestHub::start_in_parts().await;
    let (sink, script) = state_sink("dns");
    let desk = Desk::begin(&open, "a", vec![sink]).await;
    hub.put(DB).json(&json!({"ip": "10.0.0.5"})).await;
    desk.work().await;
    assert_eq!(script.asked().len(), 1);

    script.will_hold(Ok(true));
    hub.pass(DAY);
    desk.work().await;
    assert_eq!(script.asked(), [], "it has everything");

    script.will_hold(Ok(false));
    hub.pass(DAY - 60);
    desk.work().await;
    assert_eq!(script.asked(), [], "it is not asked before a day is over");
    hub.pass(60);
    desk.work().await;
    let asked = script.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(asked[0].wanted, addresses(&["10.0.0.5"]));
    assert_eq!(counts(&hub).await, [0, 0, 2]);

    // It is away: it is asked again after an hour.
    script.will_hold(Err(Trouble::of_sink("it is away")));
    hub.pass(DAY);
    desk.work().await;
    assert_eq!(script.asked(), []);
    script.will_hold(Ok(false));
    hub.pass(HOUR);
    desk.work().await;
    assert_eq!(script.asked().len(), 1);
}

#[tokio::test]
async fn a_clock_step_reports_no_record_as_unseen() {
    for step in [
        400,
        8 * 3600,
        2 * DAY,
        500 * DAY,
        -400,
        -8 * 3600,
        -500 * DAY,
    ] {
        let (hub, open) = TestHub::start_in_parts().await;
        let manner = Manner {
            gather: 0,
            unseen_after: Some(7200),
        };
        let (sink, script) = event_sink("mail", manner);
        let desk = Desk::begin(&open, "a", vec![sink]).await;
        hub.put(DB).json(&json!({"ip": "10.0.0.5"})).await;
        desk.work().await;
        script.told();
        hub.pass(600);
        desk.work().await;
        hub.step(step);
        desk.work().await;
        hub.pass(7000);
        desk.work().await;
        assert!(script.told().is_empty(), "{step}");
        // Unseen and back are reported, whatever the old clock has stored.
        hub.pass(400);
        desk.work().await;
        let told = script.told();
        assert_eq!(told.len(), 1, "{step}");
        assert_eq!(told[0][0].kind, EventKind::Unseen, "{step}");
        hub.put(DB).json(&json!({"ip": "10.0.0.5"})).await;
        crate::expiry::upkeep(&open, 0).write_down().await.unwrap();
        hub.pass(60);
        desk.work().await;
        let told = script.told();
        assert_eq!(told.len(), 1, "{step}");
        assert_eq!(told[0][0].kind, EventKind::Back, "{step}");
    }
}

#[tokio::test]
async fn unseen_records_are_searched_once_a_minute_despite_clock_steps() {
    // Each less than what counts as a step.
    for step in [0, -30, -59, 59] {
        let (hub, open) = TestHub::start_in_parts().await;
        let manner = Manner {
            gather: 0,
            unseen_after: Some(7200),
        };
        let (sink, script) = event_sink("mail", manner);
        let desk = Desk::begin(&open, "a", vec![sink]).await;
        hub.put(DB).json(&json!({"ip": "10.0.0.5"})).await;
        hub.pass(7200);
        desk.work().await;
        script.told();
        hub.step(step);
        hub.pass(60);
        desk.work().await;
        assert_eq!(script.told().len(), 1, "{step}");
    }
}

#[tokio::test]
async fn the_daily_comparison_does_not_wait_for_a_clock_that_was_ahead() {
    for ahead in [2 * DAY, 500 * DAY, -2 * DAY] {
        let (hub, open) = TestHub::start_in_parts().await;
        let (sink, _script) = state_sink("dns");
        let name = sink.name.clone();
        let desk = Desk::begin(&open, "a", vec![sink]).await;
        hub.step(ahead);
        desk.work().await;
        let compared = async || {
            let known = open.store.sink(&name).await.unwrap().unwrap();
            known.reconciled_at
        };
        assert_eq!(compared().await, open.clock.now(), "{ahead}");
        hub.step(-ahead);
        hub.pass(DAY);
        desk.work().await;
        assert_eq!(compared().await, open.clock.now(), "{ahead}");
    }
}

/// A sink as some hub is configured with it.
fn configured(fingerprint: &str) -> ConfiguredSink {
    ConfiguredSink {
        name: SinkName::parse("dns").unwrap(),
        kind: "rfc2136",
        is_state: true,
        takes: SinkFilter::default(),
        fingerprint: fingerprint.to_owned(),
        tell_failures: None,
    }
}

#[tokio::test]
async fn a_sink_waits_a_day_for_its_hub_with_any_clock() {
    for step in [0].into_iter().chain(STEPS) {
        let (hub, open) = TestHub::start_in_parts().await;
        let begin = async |fingerprint: &str| {
            let begin = BeginSinks {
                sinks: vec![configured(fingerprint)],
                alone: false,
            };
            open.registry.apply(begin).await.unwrap().differing
        };
        let gone = async || {
            let keep = KeepSinks(Vec::new());
            open.registry.apply(keep).await.unwrap().0
        };
        hub.step(step);
        assert_eq!(begin("one").await, [], "{step}");
        hub.step(-step);
        // Another hub begins with other settings: one that is at work is in the way, the rest of a wrong clock is not.
        let in_the_way = begin("another").await;
        assert_eq!(in_the_way.is_empty(), step != 0, "{step}");
        hub.step(step);
        begin("one").await;
        hub.step(-step);
        if step == 0 {
            assert_eq!(gone().await, [], "{step}");
            // Another hub without this sink does not give it up while this one is away for a few minutes.
            hub.pass(180);
            assert_eq!(gone().await, [], "{step}");
            hub.pass(DAY - 181);
            assert_eq!(gone().await, [], "{step}");
            hub.pass(1);
        } else if step < 0 {
            hub.pass(DAY);
        }
        assert_eq!(gone().await.len(), 1, "{step}: it is never given up");
    }
}

#[tokio::test]
async fn a_hub_continues_to_serve_a_sink_when_its_clock_is_corrected() {
    for step in STEPS {
        let (hub, open) = TestHub::start_in_parts().await;
        let begin = BeginSinks {
            sinks: vec![configured("one")],
            alone: false,
        };
        hub.step(step);
        open.registry.apply(begin).await.unwrap();
        hub.step(-step);
        let name = SinkName::parse("dns").unwrap();
        for seconds in [60, 60] {
            hub.pass(seconds);
            let keep = KeepSinks(vec![name.clone()]);
            assert_eq!(open.registry.apply(keep).await.unwrap().0, [], "{step}");
            let known = open.store.sink(&name).await.unwrap().unwrap();
            let promised = open.clock.now().plus_seconds(180);
            assert_eq!(known.served_until, promised, "{step}");
        }
    }
}
