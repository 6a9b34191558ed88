//! Setting a silo to what it was, beside a running hub.

use serde_json::{Value, json};
use silo_hub::internals::open_hub::OpenHub;
use silo_hub::internals::registry::{Actor, ApplyError, Refusal, RevertSilo, Reverted};
use silo_hub::internals::store::Via;
use silo_shared::silo::SiloId;

use crate::common::{TestHub, revision};

/// Sets a silo to what it was.
pub(crate) fn command(silo: &str, revision: i64) -> RevertSilo {
    RevertSilo {
        actor: Actor {
            via: Via::Revert,
            token: None,
            client_ip: None,
        },
        id: SiloId::parse(silo).expect("the tests name silos well"),
        revision,
    }
}

pub(crate) async fn revert(
    open: &OpenHub,
    silo: &str,
    revision: i64,
) -> Result<Reverted, ApplyError> {
    open.registry.apply(command(silo, revision)).await
}

async fn records(hub: &TestHub) -> Value {
    hub.get("/silos/office").await.json()["dnsrecords"].clone()
}

#[tokio::test]
async fn every_state_that_ever_was_can_be_reverted_to() {
    let (hub, open) = TestHub::start_in_parts().await;
    let states: [&[(&str, &str)]; 6] = [
        &[("db", "10.0.0.5")],
        &[("db", "10.0.0.6"), ("db", "fd00::6"), ("web", "10.0.0.7")],
        &[("db", "fd00::6"), ("web", "10.0.0.7")],
        &[],
        &[("db", "10.0.0.5"), ("nas", "10.0.0.8")],
        &[("db", "10.0.0.6"), ("nas", "10.0.0.8")],
    ];
    let mut known = Vec::new();
    for state in states {
        let answer = hub.put_silo("office", state).await;
        // Another silo's changes in between are none of this one's.
        hub.put_silo("other", &[("db", &format!("10.1.0.{}", known.len() + 1))])
            .await;
        known.push((revision(&answer.json()), records(&hub).await));
    }
    let other = hub.get("/silos/other").await.json();
    for (old, state) in known.iter().chain(known.iter().rev()) {
        let before = revision(&hub.get("/silos/office").await.json());
        let changed = records(&hub).await != *state;
        match revert(&open, "office", *old).await.unwrap() {
            Reverted::Changed { revision } => assert!(changed && revision > before),
            Reverted::Unchanged { revision } => assert!(!changed && revision == before),
            refused => panic!("{old}: {refused:?}"),
        }
        assert_eq!(records(&hub).await, *state);
    }
    assert_eq!(hub.get("/silos/other").await.json(), other);
    let history = hub.history("office").await;
    assert_eq!(history[0]["via"], "revert");
    assert_eq!(history[0]["token"], Value::Null);
}

#[tokio::test]
async fn a_revert_to_the_present_state_writes_nothing() {
    let (hub, open) = TestHub::start_in_parts().await;
    let first = hub.put_silo("office", &[("db", "10.0.0.5")]).await.json();
    hub.put_silo("office", &[("db", "10.0.0.6")]).await;
    let last = hub.put_silo("office", &[("db", "10.0.0.5")]).await.json();
    let rows = hub.history("office").await;
    for old in [revision(&first), revision(&last)] {
        assert_eq!(
            revert(&open, "office", old).await.unwrap(),
            Reverted::Unchanged {
                revision: revision(&last)
            }
        );
    }
    assert_eq!(hub.history("office").await, rows);
    assert_eq!(hub.get("/silos/office").await.json(), last);
}

#[tokio::test]
async fn what_never_was_is_refused() {
    let (hub, open) = TestHub::start_in_parts().await;
    let first = revision(&hub.put_silo("office", &[("db", "10.0.0.5")]).await.json());
    let last = revision(&hub.put_silo("office", &[("db", "10.0.0.6")]).await.json());
    for old in [i64::MIN, -1, 0, first - 1, last + 1, i64::MAX] {
        assert_eq!(
            revert(&open, "office", old).await.unwrap(),
            Reverted::Unknown { first, last },
            "{old}"
        );
    }
    let refused = revert(&open, "home", first).await.unwrap_err();
    assert!(matches!(refused, ApplyError::Refused(Refusal::NoSilo)));
    assert_eq!(revision(&hub.get("/silos/office").await.json()), last);
}

#[tokio::test]
async fn a_revert_restores_a_deleted_silo_and_keeps_comments() {
    let (hub, open) = TestHub::start_in_parts().await;
    let old = hub
        .put_silo("office", &[("db", "10.0.0.5"), ("web", "10.0.0.7")])
        .await
        .json();
    hub.put("/silos/office/records/db")
        .json(&json!({"ip": "10.0.0.6", "comment": "rack 3"}))
        .await;
    revert(&open, "office", revision(&old)).await.unwrap();
    let record = hub.get("/silos/office/records/db").await.json();
    assert_eq!(
        (&record["ips"], &record["comment"]),
        (&json!(["10.0.0.5"]), &json!("rack 3"))
    );
    hub.delete("/silos/office").await;
    let back = revert(&open, "office", revision(&old)).await.unwrap();
    assert!(matches!(back, Reverted::Changed { .. }));
    assert_eq!(records(&hub).await, old["dnsrecords"]);
}
