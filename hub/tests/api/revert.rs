//! Setting a silo to what it was, beside a running hub.

use reqwest::Method;
use serde_json::{Value, json};
use silo_hub::internals::domain::revision::Revision;
use silo_hub::internals::open_hub::OpenHub;
use silo_hub::internals::registry::{Actor, ApplyError, Refusal, RevertSilo, Reverted};
use silo_hub::internals::store::Via;
use silo_shared::silo::SiloId;

use crate::common::{TestHub, revision};
use crate::signing::Signer;

/// Sets a silo to what it was.
pub(crate) fn command(silo: &str, revision: i64) -> RevertSilo {
    RevertSilo {
        actor: Actor {
            via: Via::Revert,
            token: None,
            client_ip: None,
        },
        id: SiloId::parse(silo).expect("the tests name silos well"),
        revision: revision.into(),
        precondition: Default::default(),
        replayed: None,
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
        let before = Revision::from(revision(&hub.get("/silos/office").await.json()));
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
                revision: revision(&last).into()
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
            Reverted::Unknown {
                first: first.into(),
                last: last.into()
            },
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

#[tokio::test]
async fn a_revert_includes_what_was_written_after_its_replay() {
    let (hub, open) = TestHub::start_in_parts().await;
    let old = hub
        .put_silo("office", &[("db", "10.0.0.5"), ("web", "10.0.0.7")])
        .await
        .json();
    hub.put_silo("office", &[("db", "10.0.0.6")]).await;
    let command = command("office", revision(&old));
    let command = command.replayed(&open.store).await.unwrap();
    hub.put_silo("office", &[("db", "fd00::6"), ("nas", "10.0.0.8")])
        .await;
    hub.delete("/silos/office").await;
    let back = open.registry.apply(command).await.unwrap();
    assert!(matches!(back, Reverted::Changed { .. }), "{back:?}");
    assert_eq!(records(&hub).await, old["dnsrecords"]);
}

#[tokio::test]
async fn a_signed_revert_that_is_refused_is_no_write() {
    let hub = TestHub::start().await;
    let first = hub.put_silo("office", &[("db", "10.0.0.5")]).await.json();
    hub.put_silo("office", &[("db", "10.0.0.6")]).await;
    let credential = hub.credential("write", &["office"], &[]).await;
    let signer = Signer::of(&credential);
    let now = crate::signing::NOW;
    for (revision, created, status) in [
        (revision(&first) - 1, now + 5, 422),
        (revision(&first), now + 3, 200),
        (revision(&first), now + 2, 401),
    ] {
        let draft = signer.draft(Method::POST, "/silos/office/revert");
        let draft = draft.created(created).json(&json!({"revision": revision}));
        let answer = signer.send(&hub, draft).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
}

/// Records that stay as they are were named by no write of their machine.
#[tokio::test]
async fn a_revert_counts_as_sign_of_life_of_no_record_that_stays() {
    let (hub, open) = TestHub::start_in_parts().await;
    let first = hub
        .put_silo("office", &[("db", "10.0.0.5"), ("web", "10.0.0.7")])
        .await
        .json();
    hub.put_silo("office", &[("db", "10.0.0.5"), ("web", "10.0.0.8")])
        .await;
    hub.pass(60);
    let before = hub.get("/silos/office/records/db").await.json();
    revert(&open, "office", revision(&first)).await.unwrap();
    let after = hub.get("/silos/office/records/db").await.json();
    assert_eq!(after["last_seen"], before["last_seen"]);
}

/// Sends a revert.
async fn post(hub: &TestHub, body: Value) -> crate::common::Answer {
    hub.post("/silos/office/revert").json(&body).await
}

#[tokio::test]
async fn a_revert_by_rest_answers_the_silo() {
    let hub = TestHub::start().await;
    let none = post(&hub, json!({"revision": 1})).await;
    assert_eq!(none.status, 404, "{none:?}");
    let first = hub
        .put_silo("office", &[("db", "10.0.0.5"), ("db", "fd00::5")])
        .await;
    let number = revision(&first.json());
    let second = hub
        .put_silo("office", &[("db", "10.0.0.6"), ("web", "10.0.0.7")])
        .await;
    for (body, pointer) in [
        (json!({}), "/revision"),
        (json!({"revision": "x"}), "/revision"),
        (json!({"revision": number - 1}), "/revision"),
        (
            json!({"revision": revision(&second.json()) + 1}),
            "/revision",
        ),
        (json!({"revision": number, "dry_run": true}), "/dry_run"),
    ] {
        let answer = post(&hub, body.clone()).await;
        assert_eq!(
            (answer.status, answer.pointers()),
            (422, vec![pointer.to_owned()]),
            "{body}"
        );
    }
    for (tag, status) in [(first.etag(), 412), (second.etag(), 200)] {
        let call = hub.post("/silos/office/revert").header("if-match", &tag);
        let answer = call.json(&json!({"revision": number})).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    let now = hub.get("/silos/office").await;
    assert_eq!(now.json()["dnsrecords"], first.json()["dnsrecords"]);
    let same = post(&hub, json!({"revision": number})).await;
    assert_eq!(
        (same.status, same.header("silo-changed")),
        (200, Some("?0"))
    );
    assert_eq!(
        (same.body.clone(), same.etag()),
        (now.body.clone(), now.etag())
    );
    assert_eq!(same.header("content-location"), Some("/silos/office"));
    let present = post(&hub, json!({"revision": revision(&now.json())})).await;
    assert_eq!((present.status, &present.body), (200, &now.body));
    // A repeated one whose answer was lost.
    let call = hub
        .post("/silos/office/revert")
        .header("if-match", &second.etag());
    assert_eq!(call.json(&json!({"revision": number})).await.body, now.body);
    let admin = hub.admin.split('_').nth(1).unwrap().to_owned();
    let history = hub.history("office").await;
    assert_eq!(
        (&history[0]["via"], &history[0]["token"]),
        (&json!("revert"), &json!(admin))
    );
    hub.delete("/silos/office").await;
    let back = post(&hub, json!({"revision": number})).await;
    assert_eq!(
        (back.status, back.header("location")),
        (201, Some("/silos/office"))
    );
    assert_eq!(back.body, hub.get("/silos/office").await.body);
}
