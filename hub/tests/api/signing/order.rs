//! A delayed signed write can't undo a newer one.

use reqwest::Method;
use serde_json::json;

use super::{Draft, NOW, Signer, assert_refused, ip, office, slug};
use crate::common::{TestHub, dnsrecords};

const DB: &str = "/silos/office/records/db";
const NAS: &str = "/silos/office/records/nas";
const OFFICE: &str = "/silos/office";
const HOME: &str = "/silos/home/records/db";

fn write(signer: &Signer, path: &str, address: &str, created: i64) -> Draft {
    let body = if path.contains("records") {
        ip(address)
    } else {
        dnsrecords(&[("db", address)])
    };
    signer.draft(Method::PUT, path).json(&body).created(created)
}

fn remove(signer: &Signer, path: &str, created: i64) -> Draft {
    signer.draft(Method::DELETE, path).created(created)
}

#[tokio::test]
async fn an_older_write_after_a_newer_one_is_refused() {
    for (newer, older, refused) in [
        (DB, DB, true),
        (DB, NAS, false),
        (DB, HOME, false),
        (OFFICE, DB, true),
        (OFFICE, NAS, true),
        (OFFICE, OFFICE, true),
        (DB, OFFICE, true),
        (HOME, OFFICE, false),
        (OFFICE, HOME, false),
    ] {
        let (hub, admin) = office().await;
        let what = format!("{older} after {newer}");
        let held_back = admin.sign(&hub, write(&admin, older, "10.0.0.7", NOW));
        let answer = admin
            .send(&hub, write(&admin, newer, "10.0.0.8", NOW + 1))
            .await;
        assert!(matches!(answer.status, 200 | 201), "{what}: {answer:?}");
        let before = hub.get("/silos").await.body;
        let answer = held_back.send(&hub).await;
        held_back.assert_signed(&answer);
        if refused {
            assert_refused(&answer, 401, "order");
            assert_eq!(hub.get("/silos").await.body, before, "{what}");
            // And it is spent: it can't come back once the newer one is forgotten.
            assert_refused(&held_back.send(&hub).await, 401, "replay");
        } else {
            assert!(matches!(answer.status, 200 | 201), "{what}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn removals_have_an_order_too() {
    for (newer, older) in [(DB, DB), (DB, OFFICE), (OFFICE, DB), (OFFICE, OFFICE)] {
        let (hub, admin) = office().await;
        let held_back = admin.sign(&hub, remove(&admin, older, NOW));
        admin
            .send(&hub, write(&admin, newer, "10.0.0.8", NOW + 1))
            .await;
        assert_refused(&held_back.send(&hub).await, 401, "order");
        let held_back = admin.sign(&hub, write(&admin, older, "10.0.0.9", NOW + 2));
        assert_eq!(
            admin
                .send(&hub, remove(&admin, newer, NOW + 3))
                .await
                .status,
            204
        );
        assert_refused(&held_back.send(&hub).await, 401, "order");
    }
}

#[tokio::test]
async fn only_accepted_writes_of_the_same_key_count() {
    let (hub, admin) = office().await;
    let send = async |signer: &Signer, draft| signer.send(&hub, draft).await;
    // Refused ones, whichever way.
    let refused = |draft: Draft| draft.header("if-match", "\"0\"");
    assert_eq!(
        send(&admin, refused(write(&admin, DB, "10.0.0.6", NOW + 9)))
            .await
            .status,
        412
    );
    assert_eq!(
        send(&admin, write(&admin, DB, "nowhere", NOW + 9))
            .await
            .status,
        422
    );
    // Other keys, and none.
    let other = Signer::of(&hub.credential("write", &["office"], &[]).await);
    assert_eq!(
        send(&other, write(&other, DB, "10.0.0.7", NOW + 8))
            .await
            .status,
        200
    );
    assert_eq!(hub.put(DB).json(&ip("10.0.0.8")).await.status, 200);
    assert_eq!(
        send(&admin, write(&admin, DB, "10.0.0.9", NOW))
            .await
            .status,
        200
    );
    // Those of the same second, since signatures tell no less.
    assert_eq!(
        send(&admin, write(&admin, DB, "10.0.0.10", NOW))
            .await
            .status,
        200
    );
    // One that changed nothing is accepted as well.
    assert_eq!(
        send(&admin, write(&admin, DB, "10.0.0.10", NOW + 5))
            .await
            .status,
        200
    );
    let answer = send(&admin, write(&admin, DB, "10.0.0.11", NOW + 4)).await;
    assert_refused(&answer, 401, "order");
    // Reads have no order.
    assert_eq!(
        send(&admin, admin.draft(Method::GET, DB).created(NOW - 9))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn an_older_write_is_no_wrong_credential() {
    let (hub, admin) = office().await;
    admin
        .send(&hub, write(&admin, DB, "10.0.0.6", NOW + 1))
        .await;
    for _ in 0..15 {
        let answer = admin.send(&hub, write(&admin, DB, "10.0.0.7", NOW)).await;
        assert_eq!(slug(&answer), "order");
    }
    let wrong = hub
        .open_call(Method::GET, OFFICE)
        .bearer("silo_wrong")
        .await;
    assert_eq!(wrong.status, 401);
}

#[tokio::test]
async fn the_order_holds_across_hubs() {
    let Some((a, b)) = crate::several_hubs::two_hubs().await else {
        return;
    };
    a.put_silo("office", &[("db", "10.0.0.5")]).await;
    let admin = Signer::of(&a.admin);
    let send = async |hub: &TestHub, created| {
        admin
            .send(hub, write(&admin, DB, "10.0.0.6", created))
            .await
    };
    assert_eq!(send(&a, NOW + 1).await.status, 200);
    assert_refused(&send(&b, NOW).await, 401, "order");
    assert_eq!(send(&b, NOW + 2).await.status, 200);
    assert_refused(&send(&a, NOW + 1).await, 401, "order");
}

#[tokio::test]
async fn writes_to_a_token_have_an_order_of_their_own() {
    let (hub, admin) = office().await;
    let spec = || json!({"name": "nas", "role": "read", "silos": ["office"]});
    let nas = format!("/tokens/{}", hub.token(spec()).await.0);
    let other = format!("/tokens/{}", hub.token(spec()).await.0);
    let change = |path: &str, silos: &str, created| {
        let body = json!({"silos": [silos]});
        admin
            .draft(Method::PATCH, path)
            .json(&body)
            .created(created)
    };
    let widened = admin.sign(&hub, change(&nas, "*", NOW));
    let rotated = admin.draft(Method::POST, &format!("{nas}/rotate"));
    let rotated = admin.sign(&hub, rotated.json(&json!({})).created(NOW));
    let removed = admin.sign(&hub, admin.draft(Method::DELETE, &nas).created(NOW));
    let elsewhere = admin.sign(&hub, change(&other, "lab", NOW));
    let narrowed = admin.send(&hub, change(&nas, "lab", NOW + 1)).await;
    assert_eq!(narrowed.status, 200, "{narrowed:?}");
    for held_back in [widened, rotated, removed] {
        assert_refused(&held_back.send(&hub).await, 401, "order");
    }
    assert_eq!(elsewhere.send(&hub).await.status, 200);
    let tokens = hub.get("/tokens").await.json();
    let silos = |path: &str| {
        let id = path.rsplit('/').next();
        let mut all = tokens.as_array().unwrap().iter();
        all.find(|token| token["id"].as_str() == id).unwrap()["silos"].clone()
    };
    assert_eq!(silos(&nas), json!(["lab"]));
}
