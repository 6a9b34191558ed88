//! A receiver that is away, refuses or asks to wait.

use std::time::Duration;

use serde_json::{Value, json};
use silo_hub::internals::deliver::sink::{Outcome, ReceiverState, Trouble};

use super::{away, claimed, publication, put};
use crate::common::TestHub;
use crate::deliveries::scripted::{Desk, counts, deliveries, state_sink};

#[tokio::test]
async fn changes_while_the_receiver_is_away_become_one() {
    let (hub, open) = TestHub::start_in_parts().await;
    let (sink, script) = state_sink("dns");
    let desk = Desk::begin(&open, "a", vec![sink]).await;
    script.will([away()]);
    hub.put_silo("office", &[("db", "10.0.0.1"), ("web", "10.0.1.1")])
        .await;
    desk.work().await;
    assert_eq!(
        script.asked().len(),
        1,
        "one is enough to see that it is away"
    );
    for last in 2..6 {
        put(&hub, "db", &format!("10.0.0.{last}")).await;
        desk.work().await;
    }
    assert_eq!(script.asked(), [], "held back as a whole");
    let shown = &deliveries(&hub, "state=pending").await[0];
    assert_eq!(shown["why"], "no answer");
    assert_eq!(shown["failing_since"], crate::common::START);
    assert_eq!(counts(&hub).await, [2, 0, 0], "one for each hostname");

    hub.pass(1);
    // Names that were not tried yet come first.
    script.will([Outcome::Done, Outcome::Found(ReceiverState::Nothing)]);
    desk.work().await;
    let asked = script.asked();
    let settle = publication("db", &["10.0.0.5"], claimed(&["10.0.0.1"]));
    let then = publication("db", &["10.0.0.5"], claimed(&["10.0.0.5"]));
    let web = publication("web", &["10.0.1.1"], claimed(&["10.0.1.1"]));
    assert_eq!(asked.len(), 3, "{asked:?}");
    for expected in [settle, then, web] {
        assert!(
            asked.contains(&expected),
            "{expected:?} is not in {asked:?}"
        );
    }
    assert_eq!(counts(&hub).await, [0, 0, 2]);
}

#[tokio::test]
async fn an_unavailable_sink_is_retried_with_backoff_up_to_hourly() {
    let (hub, open) = TestHub::start_in_parts().await;
    let (sink, script) = state_sink("dns");
    let desk = Desk::begin(&open, "a", vec![sink]).await;
    put(&hub, "db", "10.0.0.5").await;
    script.will(std::iter::repeat_n(away(), 2000));
    let mut waits = Vec::new();
    let mut since = 0;
    for second in 0..40_000 {
        desk.work().await;
        if !script.asked().is_empty() {
            waits.push(second - since);
            since = second;
        }
        if waits.len() == 16 {
            break;
        }
        // Whole seconds while waits are short, then minutes, to be quick.
        hub.pass(if second < 200 { 1 } else { 60 });
    }
    assert_eq!(waits.len(), 16, "{waits:?}");
    // 13 doublings: from the 14th on it is an hour, less a quarter at most for jitter.
    assert!((45..=60).contains(&waits[15]), "minutes: {waits:?}");
    assert_eq!(counts(&hub).await, [1, 0, 0], "it is retried without limit");
}

#[tokio::test]
async fn a_name_that_fails_holds_back_only_itself() {
    let (hub, open) = TestHub::start_in_parts().await;
    let (sink, script) = state_sink("dns");
    let desk = Desk::begin(&open, "a", vec![sink]).await;
    let trouble = Trouble::of_name("the name is locked").not_before(Duration::from_secs(1800));
    script.will([Outcome::Retry(trouble)]);
    hub.put_silo(
        "office",
        &[("db", "10.0.0.1"), ("web", "10.0.1.1"), ("xen", "10.0.2.1")],
    )
    .await;
    desk.work().await;
    assert_eq!(script.asked().len(), 2);
    let mut shown = deliveries(&hub, "").await;
    shown.sort_by_key(|row| row["hostnames"][0]["hostname"].to_string());
    let column = |of: fn(&Value) -> &Value| shown.iter().map(of).cloned().collect::<Vec<_>>();
    assert_eq!(column(|row| &row["state"]), ["pending", "done", "done"]);
    let name = &shown[0]["hostnames"][0];
    assert_eq!(name["hostname"], "db");
    assert_eq!(name["state"], "pending");
    assert_eq!(name["why"], "the name is locked");
    assert_eq!(name["next_try"], "2026-01-02T03:34:05.678Z");
    assert_eq!(shown[2]["hostnames"][0]["why"], "no name of this zone");
    hub.pass(1799);
    desk.work().await;
    assert_eq!(script.asked(), []);
    hub.pass(1);
    desk.work().await;
    assert_eq!(script.asked().len(), 1);
    assert_eq!(counts(&hub).await, [0, 0, 3]);
}

#[tokio::test]
async fn what_needs_a_hand_shows_as_failed_and_heals_by_itself() {
    let (hub, open) = TestHub::start_in_parts().await;
    let (sink, script) = state_sink("dns");
    let desk = Desk::begin(&open, "a", vec![sink]).await;
    script.will([Outcome::Failed(Trouble::of_name("name exists"))]);
    put(&hub, "db", "10.0.0.5").await;
    desk.work().await;
    script.asked();
    assert_eq!(counts(&hub).await, [0, 1, 0]);
    hub.pass(3599);
    desk.work().await;
    assert_eq!(script.asked(), []);
    hub.pass(1);
    desk.work().await;
    let renewed = publication("db", &["10.0.0.5"], claimed(&["10.0.0.5"]));
    assert_eq!(script.asked(), [renewed]);
    assert_eq!(counts(&hub).await, [0, 0, 1]);
}

#[tokio::test]
async fn a_refused_name_waits_for_a_hand_or_the_next_change() {
    let (hub, open) = TestHub::start_in_parts().await;
    let (sink, script) = state_sink("dns");
    let desk = Desk::begin(&open, "a", vec![sink]).await;
    let refused = || Outcome::Refused(Trouble::of_name("nohost"));
    script.will([refused(), refused()]);
    put(&hub, "db", "10.0.0.5").await;
    desk.work().await;
    assert_eq!(script.asked().len(), 1);
    let delivery = deliveries(&hub, "state=failed").await[0].clone();
    assert_eq!(delivery["why"], "nohost");
    assert_eq!(delivery["next_try"], json!(null));
    hub.pass(100 * 86_400);
    desk.work().await;
    assert_eq!(
        script.asked(),
        [],
        "not by itself, the daily comparison included"
    );

    let id = delivery["id"].as_i64().unwrap();
    let retried = hub.post(&format!("/deliveries/{id}/retry")).await;
    assert_eq!(
        (retried.status, &retried.json()["state"]),
        (200, &json!("pending"))
    );
    desk.work().await;
    assert_eq!(script.asked().len(), 1, "by hand");
    assert_eq!(counts(&hub).await, [0, 1, 0]);

    put(&hub, "db", "10.0.0.6").await;
    desk.work().await;
    assert_eq!(script.asked().len(), 1, "at the next change");
    assert_eq!(counts(&hub).await, [0, 0, 1]);
}

#[tokio::test]
async fn a_sink_that_refuses_us_waits_for_other_settings() {
    let (hub, open) = TestHub::start_in_parts().await;
    let (sink, script) = state_sink("dns");
    let desk = Desk::begin(&open, "a", vec![sink]).await;
    script.will([Outcome::Refused(Trouble::of_sink("badauth"))]);
    hub.put_silo("office", &[("db", "10.0.0.1"), ("web", "10.0.1.1")])
        .await;
    desk.work().await;
    hub.pass(100 * 86_400);
    put(&hub, "db", "10.0.0.2").await;
    desk.work().await;
    assert_eq!(script.asked().len(), 1, "not even for a change");

    let (sink, script) = state_sink("dns");
    let desk = Desk::begin(&open, "a", vec![sink]).await;
    desk.work().await;
    assert_eq!(script.asked(), [], "a mere restart changes nothing");
    let (mut sink, script) = state_sink("dns");
    sink.fingerprint = "with another password".to_owned();
    let desk = Desk::begin(&open, "a", vec![sink]).await;
    desk.work().await;
    assert_eq!(script.asked().len(), 2);
    assert_eq!(counts(&hub).await, [0, 0, 2], "one for each hostname");
}

#[tokio::test]
async fn a_failure_of_the_receiver_may_be_caused_by_one_name() {
    let (hub, open) = TestHub::start_in_parts().await;
    let (sink, script) = state_sink("dns");
    let desk = Desk::begin(&open, "a", vec![sink]).await;
    hub.put_silo(
        "office",
        &[("a", "10.0.0.1"), ("b", "10.0.0.2"), ("c", "10.0.0.3")],
    )
    .await;
    let mut names = Vec::new();
    script.will([away(), Outcome::Done, away(), Outcome::Done]);
    for _ in 0..4 {
        desk.work().await;
        names.extend(script.asked().into_iter().map(|asked| asked.name));
        hub.pass(10);
    }
    assert_eq!(names[..2], ["a.example", "b.example"], "{names:?}");
    assert_eq!(counts(&hub).await, [0, 0, 3], "{names:?}");
}

#[tokio::test]
async fn waiting_names_are_polled_with_backoff() {
    let (hub, open) = TestHub::start_in_parts().await;
    let (sink, script) = state_sink("plesk");
    let desk = Desk::begin(&open, "a", vec![sink]).await;
    put(&hub, "db", "10.0.0.5").await;
    script.will(std::iter::repeat_n(Outcome::Waiting, 100));
    for _ in 0..60 {
        desk.work().await;
        hub.pass(1);
    }
    let asked = script.asked().len();
    assert!((8..20).contains(&asked), "{asked} times in a minute");
    assert_eq!(
        deliveries(&hub, "state=pending").await[0]["why"],
        json!(null)
    );
}
