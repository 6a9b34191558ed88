//! State sinks are brought to what is true now.

mod claims;
mod failures;
mod settings;

use serde_json::json;
use silo_hub::internals::deliver::sink::{Outcome, Publication, ReceiverState, Trouble};
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
