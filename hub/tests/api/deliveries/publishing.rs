//! State sinks are brought to what is true now.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use silo_hub::internals::deliver::sink::{
    Outcome, Publication, ReceiverState, Trouble, UncertainFamilies,
};
use silo_hub::internals::registry::{BeginPublishing, NoteRestored, Publishing};
use silo_hub::internals::sinks::SinkKind;
use silo_hub::internals::store::DueName;
use silo_shared::silo::{Hostname, SiloId};

use super::scripted::{Desk, addresses, counts, deliveries, state_sink};
use crate::common::{TestHub, text};

fn publication(hostname: &str, wanted: &[&str], standing: ReceiverState) -> Publication {
    Publication {
        login: None,
        silo: SiloId::parse("office").unwrap(),
        hostname: Hostname::parse(hostname).unwrap(),
        name: format!("{hostname}.example"),
        wanted: addresses(wanted),
        standing,
    }
}

fn claimed(ips: &[&str]) -> ReceiverState {
    ReceiverState::Claimed(addresses(ips))
}

fn published(ips: &[&str]) -> ReceiverState {
    ReceiverState::Published(addresses(ips))
}

fn away() -> Outcome {
    Outcome::Retry(Trouble::of_sink("no answer"))
}

async fn put(hub: &TestHub, hostname: &str, ip: &str) {
    let path = format!("/silos/office/records/{hostname}");
    let answer = hub.put(&path).json(&json!({ "ip": ip })).await;
    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
}

#[tokio::test]
async fn a_record_is_published_changed_and_removed_with_its_silo() {
    let (hub, open) = TestHub::start_in_parts().await;
    let (sink, script) = state_sink("dns");
    let desk = Desk::begin(&open, "a", vec![sink]).await;
    put(&hub, "db", "10.0.0.5").await;
    assert_eq!(counts(&hub).await, [1, 0, 0]);
    desk.work().await;
    let first = publication("db", &["10.0.0.5"], claimed(&["10.0.0.5"]));
    assert_eq!(script.asked(), [first]);
    assert_eq!(counts(&hub).await, [0, 0, 1]);

    put(&hub, "db", "10.0.0.5").await;
    desk.work().await;
    assert_eq!(script.asked(), [], "nothing changed");

    put(&hub, "db", "fd00::5").await;
    desk.work().await;
    let second = publication("db", &["10.0.0.5", "fd00::5"], published(&["10.0.0.5"]));
    assert_eq!(script.asked(), [second]);

    hub.delete("/silos/office").await;
    desk.work().await;
    let both = &["10.0.0.5", "fd00::5"];
    assert_eq!(script.asked(), [publication("db", &[], published(both))]);
    assert_eq!(counts(&hub).await, [0, 0, 3]);

    put(&hub, "db", "10.0.0.6").await;
    desk.work().await;
    let renewed = publication("db", &["10.0.0.6"], claimed(&["10.0.0.6"]));
    assert_eq!(
        script.asked(),
        [renewed],
        "a removed name is no longer ours"
    );
}

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
async fn claims_left_by_a_crash_are_settled_before_other_sends() {
    let (hub, open) = TestHub::start_in_parts().await;
    let (sink, _) = state_sink("dns");
    let name = sink.name.clone();
    drop(Desk::begin(&open, "a", vec![sink]).await);
    put(&hub, "db", "10.0.0.5").await;
    // A worker claims, and is gone before it writes down how it ended.
    let begin = || BeginPublishing {
        sink: name.clone(),
        owner: "a".to_owned(),
        lease_seconds: 60,
        takes_host_names_only: false,
        records: vec![(
            DueName {
                silo: SiloId::parse("office").unwrap(),
                hostname: Hostname::parse("db").unwrap(),
            },
            Ok("db.example".to_owned()),
        )],
    };
    let taken = open.registry.apply(begin()).await.unwrap();
    assert!(matches!(taken, Publishing::Names { names, .. } if names.len() == 1));
    put(&hub, "db", "10.0.0.6").await;

    let (sink, script) = state_sink("dns");
    let desk = Desk::begin_beside(&open, "b", vec![sink], false).await;
    desk.work().await;
    assert_eq!(
        script.asked(),
        [],
        "the lease of the dead worker still runs"
    );
    hub.pass(60);
    script.will([Outcome::Found(published(&["10.0.0.5"]))]);
    desk.work().await;
    let settle = publication("db", &["10.0.0.6"], claimed(&["10.0.0.5"]));
    let then = publication("db", &["10.0.0.6"], published(&["10.0.0.5"]));
    assert_eq!(script.asked(), [settle, then]);

    // The same in the middle of a replacement.
    put(&hub, "db", "10.0.0.7").await;
    open.registry
        .apply(BeginPublishing {
            owner: "c".to_owned(),
            ..begin()
        })
        .await
        .unwrap();
    put(&hub, "db", "10.0.0.6").await;
    hub.pass(60);
    desk.work().await;
    let standing = ReceiverState::Replacing {
        published: addresses(&["10.0.0.6"]),
        sent: addresses(&["10.0.0.7"]),
        unsure: UncertainFamilies {
            v4: true,
            v6: false,
        },
    };
    assert_eq!(script.asked(), [publication("db", &["10.0.0.6"], standing)]);
    assert_eq!(counts(&hub).await, [0, 0, 2]);
}

#[tokio::test]
async fn two_workers_never_send_at_the_same_time() {
    let (hub, open) = TestHub::start_in_parts().await;
    let (sink, first) = state_sink("dns");
    let one = Desk::begin_beside(&open, "one", vec![sink], false).await;
    let (sink, second) = state_sink("dns");
    let other = Desk::begin_beside(&open, "other", vec![sink], false).await;
    let mut asked = 0;
    for last in 1..30 {
        let silo: Vec<_> = (1..9)
            .map(|at| (format!("h{at}"), format!("10.0.{at}.{last}")))
            .collect();
        let silo: Vec<_> = silo.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        hub.put_silo("office", &silo).await;
        tokio::join!(one.work(), other.work());
        let mut names: Vec<String> = first
            .asked()
            .into_iter()
            .chain(second.asked())
            .map(|p| p.name)
            .collect();
        asked += names.len();
        names.sort();
        names.dedup();
        assert_eq!(asked, last * 8, "each once");
        assert_eq!(names.len(), 8);
    }
    assert_eq!(counts(&hub).await, [0, 0, 29 * 8], "one a send");
}

#[tokio::test]
async fn records_older_than_the_sink_are_published_and_lost_ones_restored() {
    let (hub, open) = TestHub::start_in_parts().await;
    hub.put_silo(
        "office",
        &[("db", "10.0.0.5"), ("web", "10.0.0.6"), ("xen", "10.0.0.7")],
    )
    .await;
    let (sink, script) = state_sink("dns");
    let desk = Desk::begin(&open, "a", vec![sink]).await;
    desk.work().await;
    let names = |asked: Vec<Publication>| asked.into_iter().map(|p| p.name).collect::<Vec<_>>();
    assert_eq!(names(script.asked()), ["db.example", "web.example"]);
    let shown = deliveries(&hub, "").await;
    assert_eq!((shown.len(), &shown[0]["event"]), (2, &json!("reconcile")));

    // A start that finds all as it is sends nothing.
    let (sink, script) = state_sink("dns");
    let desk = Desk::begin(&open, "a", vec![sink]).await;
    desk.work().await;
    assert_eq!(script.asked(), []);

    // After a restored copy all of it is doubtful; what the copy does not hold is to go.
    open.registry.apply(NoteRestored { past: 0 }).await.unwrap();
    desk.work().await;
    assert_eq!(names(script.asked()), ["db.example", "web.example"]);

    // A change of what the sink wants to hear of.
    let (mut sink, script) = state_sink("dns");
    sink.filter.hostnames = vec!["db".to_owned()];
    sink.fingerprint = "for db alone".to_owned();
    let desk = Desk::begin(&open, "a", vec![sink]).await;
    desk.work().await;
    let mut asked = script.asked();
    asked.sort_by(|a, b| a.name.cmp(&b.name));
    // Other settings may mean another receiver: nothing is sure to be there.
    let web = publication("web", &[], claimed(&["10.0.0.6"]));
    let db = publication("db", &["10.0.0.5"], claimed(&["10.0.0.5"]));
    assert_eq!(asked, [db, web]);
}

#[tokio::test]
async fn another_receiver_gets_everything_and_a_narrower_filter_only_takes_away() {
    let (hub, open) = TestHub::start_in_parts().await;
    let (sink, _) = state_sink("dns");
    let desk = Desk::begin(&open, "a", vec![sink]).await;
    hub.put_silo("office", &[("db", "10.0.0.5"), ("web", "10.0.0.6")])
        .await;
    desk.work().await;
    let (mut sink, script) = state_sink("dns");
    sink.filter.hostnames = vec!["db".to_owned()];
    let desk = Desk::begin(&open, "a", vec![sink]).await;
    desk.work().await;
    let web = publication("web", &[], published(&["10.0.0.6"]));
    assert_eq!(script.asked(), [web]);

    let (mut sink, script) = state_sink("dns");
    sink.filter.hostnames = vec!["db".to_owned()];
    sink.fingerprint = "at another server".to_owned();
    let desk = Desk::begin(&open, "a", vec![sink]).await;
    desk.work().await;
    let db = || publication("db", &["10.0.0.5"], claimed(&["10.0.0.5"]));
    assert_eq!(
        script.asked(),
        [db()],
        "though its ledger held it for published"
    );

    // Another kind under the same name has nothing of the first one's.
    let (mut sink, script) = state_sink("dns");
    sink.kind = SinkKind::Plesk;
    sink.fingerprint = "another kind".to_owned();
    put(&hub, "db", "10.0.0.5").await;
    let desk = Desk::begin(&open, "a", vec![sink]).await;
    desk.work().await;
    let both: Vec<_> = script
        .asked()
        .into_iter()
        .map(|asked| asked.standing)
        .collect();
    assert_eq!(both, [claimed(&["10.0.0.5"]), claimed(&["10.0.0.6"])]);
}

#[tokio::test]
async fn what_may_have_arrived_is_not_forgotten_by_a_refusal_or_a_change_back() {
    let (hub, open) = TestHub::start_in_parts().await;
    let (sink, script) = state_sink("ddns");
    let desk = Desk::begin(&open, "a", vec![sink]).await;
    put(&hub, "db", "10.0.0.5").await;
    desk.work().await;
    script.asked();
    // The new address is sent and perhaps taken, but no answer comes.
    script.will([Outcome::Retry(Trouble::of_name("no answer"))]);
    put(&hub, "db", "10.0.0.6").await;
    desk.work().await;
    // Then it is refused: that says nothing of what was taken before.
    script.will([Outcome::Refused(Trouble::of_name("nohost"))]);
    hub.pass(10);
    desk.work().await;
    script.asked();
    put(&hub, "db", "10.0.0.5").await;
    script.will([Outcome::Retry(Trouble::of_name("no answer"))]);
    desk.work().await;
    hub.pass(10);
    desk.work().await;
    let asked = script.asked();
    assert_eq!(asked.len(), 2, "put back, until it surely is: {asked:?}");
    for asked in asked {
        assert_eq!(asked.wanted, addresses(&["10.0.0.5"]));
        let ReceiverState::Replacing { unsure, .. } = asked.standing else {
            panic!("{asked:?}");
        };
        assert!(unsure.v4 && !unsure.v6, "{unsure:?}");
    }
    desk.work().await;
    assert_eq!(script.asked(), []);
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

#[tokio::test]
async fn a_name_of_two_silos_belongs_to_the_first() {
    let (hub, open) = TestHub::start_in_parts().await;
    let (sink, script) = state_sink("dns");
    let desk = Desk::begin(&open, "a", vec![sink]).await;
    put(&hub, "db", "10.0.0.5").await;
    desk.work().await;
    hub.put_silo("home", &[("db", "10.9.9.9")]).await;
    desk.work().await;
    assert_eq!(script.asked().len(), 1);
    let failed = &deliveries(&hub, "state=failed").await[0];
    assert_eq!(failed["silo"], "home");
    assert_eq!(
        failed["why"],
        "db.example is published for db of the silo office already"
    );
    hub.delete("/silos/office").await;
    desk.work().await;
    hub.pass(3600);
    desk.work().await;
    let asked = script.asked();
    assert_eq!(
        asked.last().unwrap().wanted,
        addresses(&["10.9.9.9"]),
        "{asked:?}"
    );
    assert_eq!(counts(&hub).await, [0, 0, 3]);
}

#[tokio::test]
async fn a_removed_sink_keeps_its_published_names() {
    let (hub, open) = TestHub::start_in_parts().await;
    let (sink, script) = state_sink("dns");
    let desk = Desk::begin(&open, "a", vec![sink]).await;
    script.will([away()]);
    put(&hub, "db", "10.0.0.5").await;
    desk.work().await;
    script.asked();
    drop(Desk::begin(&open, "b", Vec::new()).await);
    assert_eq!(
        deliveries(&hub, "").await[0]["why"],
        "no hub has this sink any more"
    );
    assert_eq!(counts(&hub).await, [0, 1, 0]);
    put(&hub, "db", "10.0.0.6").await;
    hub.pass(3600);
    desk.work().await;
    assert_eq!(script.asked(), []);
    assert_eq!(
        counts(&hub).await,
        [0, 1, 0],
        "nothing is written down for it"
    );

    // Beside a hub that still has it, one that does not leaves it alone.
    let (sink, script) = state_sink("dns");
    let desk = Desk::begin_beside(&open, "c", vec![sink], false).await;
    drop(Desk::begin_beside(&open, "d", Vec::new(), false).await);
    desk.work().await;
    assert_eq!(Arc::strong_count(&script), 2);
    assert_eq!(script.asked().len(), 1);
}

#[tokio::test]
async fn names_that_dns_takes_for_none_of_a_host_are_left_out_unless_they_are_published() {
    let (hub, open) = TestHub::start_in_parts().await;
    let (sink, script) = state_sink("dns");
    let desk = Desk::begin(&open, "a", vec![sink]).await;
    put(&hub, "old_pc", "10.0.0.1").await;
    desk.work().await;
    assert_eq!(script.asked().len(), 1, "while the sink takes any name");
    script.takes_host_names_only();
    put(&hub, "my_pc", "10.0.0.5").await;
    put(&hub, "old_pc", "10.0.0.2").await;
    put(&hub, "nas", "10.0.0.7").await;
    desk.work().await;
    let asked: Vec<_> = script.asked().into_iter().map(|asked| asked.name).collect();
    assert_eq!(asked, ["old_pc.example", "nas.example"]);
    let all = deliveries(&hub, "").await;
    let of = |name: &str| {
        all.iter()
            .find(|delivery| delivery["hostnames"][0]["hostname"] == name)
    };
    let left_out = of("my_pc").unwrap();
    assert_eq!(left_out["state"], "done", "{left_out}");
    assert!(
        text(&left_out["hostnames"][0]["why"]).contains('_'),
        "{left_out}"
    );
    hub.delete("/silos/office").await;
    desk.work().await;
    let asked: Vec<_> = script.asked().into_iter().map(|asked| asked.name).collect();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(
        asked.contains(&"old_pc.example".to_owned()),
        "what is ours is removed: {asked:?}"
    );
}
