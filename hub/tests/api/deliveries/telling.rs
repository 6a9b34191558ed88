//! Event sinks get every change, in order.

use serde_json::json;
use silo_hub::internals::deliver::sink::{Event, EventKind, Outcome, Trouble};

use super::scripted::{Desk, Manner, addresses, counts, deliveries, event_sink};
use crate::common::{START_MS, TestHub, revision};

fn revisions(notified: &[Vec<Event>]) -> Vec<Vec<i64>> {
    notified
        .iter()
        .map(|events| events.iter().map(|event| event.revision.into()).collect())
        .collect()
}

#[tokio::test]
async fn every_change_is_sent_once_with_its_addresses() {
    let (hub, open) = TestHub::start_in_parts().await;
    hub.put_silo("office", &[("old", "10.0.0.1")]).await;
    let (sink, script) = event_sink("hook", Manner::default());
    let desk = Desk::begin(&open, "a", vec![sink]).await;
    let first = revision(
        &hub.put_silo("office", &[("db", "10.0.0.5"), ("db", "fd00::5")])
            .await
            .json(),
    );
    let path = "/silos/office/records/db";
    let body = json!({"ip": "10.0.0.6", "notify": "owner@example.net"});
    let second = revision(&hub.put(path).json(&body).await.json());
    hub.put(path).json(&json!({"comment": "a note"})).await;
    let third = hub.delete(path).await;
    assert_eq!(third.status, 204);
    desk.work().await;
    let told = script.told();
    assert_eq!(told.len(), 3, "one by one, changed attributes add no event");
    assert_eq!(revisions(&told)[..2], [vec![first], vec![second]]);
    let event = &told[0][0];
    assert_eq!(
        (event.kind, event.via.as_str()),
        (EventKind::Change, "rest")
    );
    let lines: Vec<String> = event
        .changes
        .iter()
        .map(|change| format!("{} {:?} {:?}", change.hostname, change.old, change.new))
        .collect();
    assert_eq!(
        lines,
        [
            "db None Some(10.0.0.5)",
            "db None Some(fd00::5)",
            "old Some(10.0.0.1) None"
        ]
    );
    assert_eq!(event.notify, []);
    // The record's own address also when the record goes.
    for event in [&told[1][0], &told[2][0]] {
        assert_eq!(event.notify.len(), 1, "{event:?}");
        assert_eq!(event.notify[0].1, "owner@example.net");
    }
    let ids: Vec<i64> = told.iter().flatten().map(|event| event.id).collect();
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    desk.work().await;
    assert!(script.told().is_empty());
    assert_eq!(counts(&hub).await, [0, 0, 3]);
}

#[tokio::test]
async fn several_records_that_change_at_once_are_one_event() {
    let (hub, open) = TestHub::start_in_parts().await;
    hub.put_silo("office", &[("old", "10.0.0.1"), ("db", "10.0.0.5")])
        .await;
    let (sink, script) = event_sink("hook", Manner::default());
    let desk = Desk::begin(&open, "a", vec![sink]).await;
    let patch = hub.call(reqwest::Method::PATCH, "/silos/office/records");
    let body = json!({"set": [{"hostname": "web", "ip": "10.0.0.7"}, {"hostname": "db", "ip": "10.0.0.6"},
        {"hostname": "nas", "ip": "10.0.0.8"}], "remove": ["old"]});
    assert_eq!(patch.json(&body).await.status, 200);
    desk.work().await;
    let told = script.told();
    assert_eq!((told.len(), told[0].len()), (1, 1));
    let changes = told[0][0].changes.iter();
    let changed: Vec<_> = changes.map(|change| change.hostname.to_string()).collect();
    assert_eq!(changed, ["db", "nas", "old", "web"]);
}

#[tokio::test]
async fn a_failing_message_keeps_its_id_and_its_place_and_is_given_up_at_last() {
    let (hub, open) = TestHub::start_in_parts().await;
    let (sink, script) = event_sink("hook", Manner::default());
    let desk = Desk::begin(&open, "a", vec![sink]).await;
    let busy = || Outcome::Retry(Trouble::of_name("it is busy"));
    hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    hub.put_silo("office", &[("db", "10.0.0.6")]).await;
    hub.put_silo("home", &[("nas", "10.1.0.6")]).await;
    script.will([busy(), Outcome::Done]);
    desk.work().await;
    let told = script.told();
    assert_eq!(
        told.len(),
        2,
        "the second of db waits for the first, nas does not"
    );
    assert_eq!(told[1][0].silo.as_str(), "home");
    hub.pass(1);
    script.will([busy()]);
    desk.work().await;
    let again = script.told();
    assert_eq!(again.len(), 1);
    assert_eq!(again[0][0].id, told[0][0].id);
    assert_eq!(
        again[0][0].notified,
        ["try 0"],
        "the recipients notified before"
    );
    let shown = &deliveries(&hub, "state=pending").await[1];
    assert_eq!(
        (&shown["attempts"], &shown["why"]),
        (&json!(2), &json!("it is busy"))
    );
    hub.pass(2);
    script.will([busy()]);
    desk.work().await;
    let third = script.told();
    assert_eq!(
        third.len(),
        2,
        "given up after three, the next one's turn comes"
    );
    assert!(third[1][0].id > told[0][0].id);
    assert_eq!(counts(&hub).await, [0, 1, 2]);
    hub.pass(100 * 86_400);
    desk.work().await;
    assert!(script.told().is_empty());
    let id = told[0][0].id;
    assert_eq!(
        hub.post(&format!("/deliveries/{id}/retry")).await.status,
        200
    );
    desk.work().await;
    assert_eq!(script.told()[0][0].id, id, "by hand");
    assert_eq!(counts(&hub).await, [0, 0, 3]);
}

#[tokio::test]
async fn a_hostname_that_always_fails_does_not_block_others() {
    let (hub, open) = TestHub::start_in_parts().await;
    let (sink, script) = event_sink("hook", Manner::default());
    let desk = Desk::begin(&open, "a", vec![sink]).await;
    let stuck = || Outcome::Retry(Trouble::of_name("no"));
    // More than are looked at together.
    for round in 0..600 {
        let ip = format!("10.0.{}.{}", round / 250, round % 250 + 1);
        hub.put_silo("office", &[("db", &ip)]).await;
    }
    hub.put_silo("home", &[("nas", "10.9.0.1")]).await;
    script.will([stuck()]);
    desk.work().await;
    let told = script.told();
    assert_eq!(told.len(), 2);
    assert_eq!(told[1][0].silo.as_str(), "home");
}

#[tokio::test]
async fn a_message_that_fails_the_whole_receiver_is_sent_last() {
    let (hub, open) = TestHub::start_in_parts().await;
    let (sink, script) = event_sink("hook", Manner::default());
    let desk = Desk::begin(&open, "a", vec![sink]).await;
    hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    hub.put_silo("home", &[("nas", "10.1.0.6")]).await;
    script.will([Outcome::Retry(Trouble::of_sink("status 500"))]);
    desk.work().await;
    assert_eq!(script.told().len(), 1, "held back as a whole");
    hub.pass(1);
    desk.work().await;
    let told = script.told();
    let silos: Vec<_> = told.iter().map(|told| told[0].silo.as_str()).collect();
    assert_eq!(silos, ["home", "office"]);
}

#[tokio::test]
async fn a_burst_becomes_one_message() {
    let (hub, open) = TestHub::start_in_parts().await;
    let manner = Manner {
        gather: 60,
        unseen_after: None,
    };
    let (sink, script) = event_sink("mail", manner);
    let desk = Desk::begin(&open, "a", vec![sink]).await;
    for last in 1..6 {
        hub.put_silo("office", &[("db", &format!("10.0.0.{last}"))])
            .await;
        desk.work().await;
        hub.pass(10);
    }
    assert!(script.told().is_empty());
    hub.pass(10);
    desk.work().await;
    let told = script.told();
    assert_eq!((told.len(), told[0].len()), (1, 5));
    assert_eq!(counts(&hub).await, [0, 0, 5]);
}

#[tokio::test]
async fn a_new_sink_gets_no_earlier_events() {
    let (hub, open) = TestHub::start_in_parts().await;
    hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    let (sink, script) = event_sink("hook", Manner::default());
    let desk = Desk::begin(&open, "a", vec![sink]).await;
    desk.work().await;
    assert!(script.told().is_empty());
    assert_eq!(counts(&hub).await, [0, 0, 0]);
}

#[tokio::test]
async fn unseen_and_back_are_each_reported_once() {
    let (hub, open) = TestHub::start_in_parts().await;
    let manner = Manner {
        gather: 0,
        unseen_after: Some(7200),
    };
    let (sink, script) = event_sink("mail", manner);
    let desk = Desk::begin(&open, "a", vec![sink]).await;
    let path = "/silos/office/records/nas";
    let body = json!({"ip": "10.0.0.7", "notify": "owner@example.net"});
    hub.put(path).json(&body).await;
    desk.work().await;
    script.told();
    hub.pass(7200);
    desk.work().await;
    assert!(script.told().is_empty(), "not a moment early");
    hub.pass(100);
    desk.work().await;
    let told = script.told();
    assert_eq!(told.len(), 1);
    let event = &told[0][0];
    assert_eq!(
        (event.kind, event.changes[0].new),
        (EventKind::Unseen, addresses(&["10.0.0.7"]).iter().next())
    );
    assert_eq!(event.last_seen.unwrap().as_millis(), START_MS);
    assert_eq!(event.notify[0].1, "owner@example.net");
    hub.pass(86_400);
    desk.work().await;
    assert!(script.told().is_empty(), "once");

    // Unchanged: only last_seen moves, which the hub writes down.
    hub.put(path).json(&json!({"ip": "10.0.0.7"})).await;
    let held = silo_hub::internals::upkeep::HeldTimes::begin(open.clock.reading(), None);
    let upkeep = silo_hub::internals::upkeep::Upkeep {
        held: held.into(),
        store: open.store.clone(),
        registry: open.registry.clone(),
        tokens: open.tokens.clone(),
        refused: open.refused.clone(),
        clock: open.clock.clone(),
        since: open.clock.now(),
        retention_days: 400,
    };
    upkeep.write_down().await.unwrap();
    hub.pass(60);
    desk.work().await;
    let told = script.told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0][0].kind, EventKind::Back);
    hub.pass(7400);
    desk.work().await;
    assert_eq!(script.told()[0][0].kind, EventKind::Unseen, "and again");
    assert_eq!(counts(&hub).await, [0, 0, 4]);
    // A record that is removed while unseen is reported as removed, and nothing after that.
    hub.delete(path).await;
    hub.pass(60);
    desk.work().await;
    let told = script.told();
    assert_eq!((told.len(), told[0][0].kind), (1, EventKind::Change));
}
