//! What a signature is good for, and that every answer to one is signed.

use reqwest::Method;
use serde_json::json;

use super::{Signer, assert_refused, ip, office};
use crate::common::{DEADLINE, TestHub, dnsrecords};

const DB: &str = "/silos/office/records/db";

#[tokio::test]
async fn a_signed_request_has_the_rights_of_its_token() {
    let (hub, admin) = office().await;
    let read = admin.get(&hub, "/silos/office").await;
    assert_eq!(
        (read.status, read.body),
        (200, hub.get("/silos/office").await.body)
    );
    let written = admin.put(&hub, DB, &ip("10.0.0.6")).await;
    assert_eq!(written.status, 200);
    let replaced = admin
        .put(&hub, "/silos/new", &dnsrecords(&[("a", "10.0.0.1")]))
        .await;
    assert_eq!(replaced.status, 201);
    // The history names the token as it does otherwise.
    let row = &hub.history("office").await[0];
    assert_eq!(row["token"], admin.keyid.as_str());
    assert_eq!(
        (&row["via"], &row["new_ip"]),
        (&json!("rest"), &json!("10.0.0.6"))
    );
    let reader = Signer::of(&hub.credential("read", &["office"], &[]).await);
    assert_eq!(reader.get(&hub, "/silos/office").await.status, 200);
    assert_refused(
        &reader.put(&hub, DB, &ip("10.0.0.7")).await,
        403,
        "forbidden",
    );
    assert_refused(&reader.get(&hub, "/silos/new").await, 404, "not-found");
    assert_refused(&reader.get(&hub, "/tokens").await, 403, "forbidden");
}

/// `send` verifies the signature of each of these answers.
#[tokio::test]
async fn every_answer_is_signed() {
    let (hub, admin) = office().await;
    let tag = hub.get("/silos/office").await.etag();
    let draft = |method, path: &str| admin.draft(method, path);
    for (draft, status) in [
        (draft(Method::GET, "/silos"), 200),
        (draft(Method::GET, "/silos?limit=1&after=a"), 200),
        (draft(Method::GET, "/silos/office?format=hosts"), 200),
        (draft(Method::GET, "/silos/office?"), 200),
        (draft(Method::HEAD, "/silos/office"), 200),
        (draft(Method::HEAD, "/silos/none"), 404),
        (
            draft(Method::GET, "/silos/office").header("if-none-match", &tag),
            304,
        ),
        (draft(Method::GET, "/silos/office/history"), 200),
        (draft(Method::GET, "/silos/office/agents"), 200),
        (draft(Method::GET, DB), 200),
        (draft(Method::GET, "/tokens"), 200),
        (draft(Method::GET, "/metrics"), 200),
        (draft(Method::GET, "/ip"), 200),
        (draft(Method::GET, "/silos/none"), 404),
        (draft(Method::GET, "/no/such/route"), 404),
        (draft(Method::POST, "/silos/office"), 405),
        (draft(Method::PUT, DB).json(&ip("10.0.0.5")), 200),
        (
            draft(Method::PUT, DB)
                .json(&ip("10.0.0.5"))
                .header("if-match", "\"none\""),
            412,
        ),
        (draft(Method::PUT, DB).json(&ip("nowhere")), 422),
        (draft(Method::PUT, DB).content("{"), 400),
        (
            draft(Method::PUT, DB)
                .content("{}")
                .header("content-type", "text/xml"),
            415,
        ),
        (draft(Method::PUT, "/silos/-").json(&dnsrecords(&[])), 422),
        (
            draft(Method::PUT, "/silos/office").content(vec![b' '; 1024 * 1024 + 1]),
            413,
        ),
        (draft(Method::DELETE, "/silos/office/records/none"), 404),
        (draft(Method::DELETE, DB), 204),
        (
            draft(Method::POST, "/tokens")
                .json(&json!({"name": "t", "role": "read", "silos": ["office"]})),
            201,
        ),
        (draft(Method::DELETE, "/tokens/aaaaaaaaaa"), 404),
        (draft(Method::DELETE, "/silos/office"), 204),
    ] {
        let what = format!("{} {}", draft.method, draft.path);
        let answer = admin.send(&hub, draft).await;
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        let covers = answer.header("signature-input").unwrap();
        for (name, present) in [
            ("\"@status\"", true),
            ("\"content-digest\"", !answer.body.is_empty()),
            ("\"etag\"", answer.header("etag").is_some()),
            ("\"signature\";req", true),
            ("\"@query\";req", true),
        ] {
            assert_eq!(covers.contains(name), present, "{what}: {name}: {covers}");
        }
    }
}

#[tokio::test]
async fn a_long_poll_is_signed_and_its_answer_too() {
    let (hub, admin) = office().await;
    let tag = hub.get("/silos/office").await.etag();
    let poll = |tag: &str| {
        let draft = admin
            .draft(Method::GET, "/silos/office")
            .header("if-none-match", tag)
            .header("prefer", "wait=300");
        admin.sign(&hub, draft)
    };
    let shot = poll(&tag);
    let call = shot.call(&hub);
    let waiting = tokio::spawn(async move { call.await });
    hub.put_silo("office", &[("db", "10.0.0.9")]).await;
    let answer = tokio::time::timeout(DEADLINE, waiting)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(answer.status, 200);
    shot.assert_signed(&answer);
    // What it waits for is signed as well.
    let mut shot = poll(&tag);
    shot.set("prefer", "wait=1");
    let answer = shot.send(&hub).await;
    assert_refused(&answer, 401, "unauthorized");
}

#[tokio::test]
async fn a_signed_read_takes_its_format_only_from_the_query() {
    let (hub, admin) = office().await;
    for path in ["/silos/office", "/ip"] {
        let draft = admin
            .draft(Method::GET, path)
            .header("accept", "text/plain");
        let answer = admin.send(&hub, draft).await;
        assert_eq!(
            answer.header("content-type"),
            Some("application/json"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_signed_request_must_name_the_address() {
    let (hub, admin) = office().await;
    let answer = admin.send(&hub, admin.draft(Method::PUT, DB)).await;
    assert_refused(&answer, 422, "invalid");
    assert_eq!(answer.pointers(), ["/ip"]);
    assert!(answer.text().contains("a relay could"), "{answer:?}");
}

#[tokio::test]
async fn a_signature_and_authorization_together_are_400() {
    let (hub, admin) = office().await;
    let shot = admin.sign(&hub, admin.draft(Method::GET, "/silos/office"));
    let answer = shot.call(&hub).bearer(&hub.admin).await;
    assert_refused(&answer, 400, "malformed");
    shot.assert_unsigned(&answer);
}

#[tokio::test]
async fn routes_without_credentials_ignore_signatures() {
    let (hub, admin) = office().await;
    for path in ["/ping", "/healthz", "/readyz", "/"] {
        let mut shot = admin.sign(&hub, admin.draft(Method::GET, path));
        shot.set("signature", "no signature");
        let answer = shot.send(&hub).await;
        assert_eq!(answer.status, 200, "{path}");
        shot.assert_unsigned(&answer);
    }
    // Not so at /ip, where a forged answer would be reported.
    let mut shot = admin.sign(&hub, admin.draft(Method::GET, "/ip"));
    shot.set("signature", "no signature");
    assert_refused(&shot.send(&hub).await, 401, "unauthorized");
    // dyndns2 knows passwords alone.
    let shot = admin.sign(&hub, admin.draft(Method::GET, "/nic/update?hostname=db"));
    let answer = shot.call(&hub).in_words().await;
    assert_eq!((answer.status, answer.text()), (401, "badauth\n"));
    let answer = shot.call(&hub).bearer(&hub.admin).in_words().await;
    assert_eq!(
        (answer.status, answer.text()),
        (401, "badauth\n"),
        "an admin needs a user name"
    );
}

#[tokio::test]
async fn a_token_that_ended_signs_no_more() {
    let hub = TestHub::start().await;
    let spec =
        json!({"name": "t", "role": "write", "silos": ["a"], "expires_at": "2026-01-02T04:00:00Z"});
    let (id, expiring) = hub.token(spec.clone()).await;
    let (revoked_id, revoked) = hub.token(spec).await;
    let (expiring, revoked) = (Signer::of(&expiring), Signer::of(&revoked));
    assert_eq!(expiring.get(&hub, "/silos").await.status, 200);
    assert_eq!(revoked.get(&hub, "/silos").await.status, 200);
    hub.delete(&format!("/tokens/{revoked_id}")).await;
    for signer in [
        &revoked,
        &revoked.posing_as(&id),
        &revoked.posing_as("aaaaaaaaaa"),
        &revoked.posing_as(""),
    ] {
        let shot = signer.sign(&hub, signer.draft(Method::GET, "/silos"));
        let answer = shot.send(&hub).await;
        assert_refused(&answer, 401, "unauthorized");
        shot.assert_unsigned(&answer);
    }
    hub.pass(3600);
    let draft = expiring
        .draft(Method::GET, "/silos")
        .created(super::NOW + 3600);
    let answer = expiring.sign(&hub, draft).send(&hub).await;
    assert_refused(&answer, 401, "unauthorized");
}
