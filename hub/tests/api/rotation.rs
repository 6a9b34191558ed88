//! `POST /tokens/{id}/rotate`: a new secret for a token, while the old one counts for a time.

use reqwest::Method;
use serde_json::{Value, json};

use crate::common::{Answer, START, TestHub, text};
use crate::signing::Signer;

async fn rotate(hub: &TestHub, id: &str, credential: &str, body: &Value) -> Answer {
    let path = format!("/tokens/{id}/rotate");
    let call = hub.open_call(Method::POST, &path).bearer(credential);
    call.json(body).await
}

async fn status(hub: &TestHub, credential: &str) -> u16 {
    let call = hub.open_call(Method::GET, "/silos/office");
    call.bearer(credential).await.status
}

async fn signed_status(hub: &TestHub, credential: &str) -> u16 {
    let signer = Signer::of(credential);
    let shot = signer.sign(hub, signer.draft(Method::GET, "/silos/office"));
    // Its answer is signed by the same key, or not at all.
    shot.send(hub).await.status
}

async fn hub_with_token() -> (TestHub, String, String) {
    let hub = TestHub::start().await;
    hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    let spec = json!({"name": "nas", "role": "write", "silos": ["office"]});
    let (id, credential) = hub.token(spec).await;
    (hub, id, credential)
}

#[tokio::test]
async fn both_secrets_count_until_the_overlap_ends() {
    let (hub, id, old) = hub_with_token().await;
    let answer = rotate(&hub, &id, &old, &json!({"overlap": 100})).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let body = answer.json();
    assert_eq!((&body["id"], &body["name"]), (&json!(id), &json!("nas")));
    assert_eq!(body["created_at"], START);
    assert_eq!(body["old_secret_ends_at"], "2026-01-02T03:05:45.678Z");
    let new = text(&body["secret"]);
    assert!(new.starts_with(&format!("silo_{id}_")) && new != old);
    for (seconds, old_status) in [(0, 200), (99, 200), (1, 401)] {
        hub.pass(seconds);
        assert_eq!(status(&hub, &new).await, 200);
        assert_eq!(signed_status(&hub, &new).await, 200);
        assert_eq!(status(&hub, &old).await, old_status);
        assert_eq!(signed_status(&hub, &old).await, old_status);
    }
    let listed = hub.get("/tokens").await;
    assert!(!listed.text().contains("secret"), "{listed:?}");
    // Also after a restart, which knows it from the database alone.
    let hub = hub.restart().await;
    assert_eq!(status(&hub, &new).await, 200);
    let answer = rotate(&hub, &id, &new, &json!({})).await;
    assert_eq!(
        answer.json()["old_secret_ends_at"],
        "2026-01-03T03:04:05.678Z"
    );
    let hub = hub.restart().await;
    for credential in [&new, &text(&answer.json()["secret"])] {
        assert_eq!(status(&hub, credential).await, 200);
    }
    assert_eq!(status(&hub, &old).await, 401);
    assert_eq!(hub.delete(&format!("/tokens/{id}")).await.status, 204);
    assert_eq!(
        status(&hub, &new).await,
        401,
        "revoked with all its secrets"
    );
}

#[tokio::test]
async fn without_overlap_the_old_secret_ends_at_once() {
    let (hub, id, old) = hub_with_token().await;
    let answer = rotate(&hub, &id, &hub.admin, &json!({"overlap": 0})).await;
    assert_eq!(answer.status, 201);
    assert_eq!(status(&hub, &old).await, 401);
    assert_eq!(signed_status(&hub, &old).await, 401);
    let new = text(&answer.json()["secret"]);
    assert_eq!(signed_status(&hub, &new).await, 200);
}

#[tokio::test]
async fn a_second_rotation_ends_the_first_secret() {
    let (hub, id, first) = hub_with_token().await;
    let second = text(&rotate(&hub, &id, &first, &json!({})).await.json()["secret"]);
    let third = text(&rotate(&hub, &id, &second, &json!({})).await.json()["secret"]);
    for (credential, expected) in [(&first, 401), (&second, 200), (&third, 200)] {
        assert_eq!(status(&hub, credential).await, expected);
    }
}

#[tokio::test]
async fn only_the_token_itself_and_admins_rotate() {
    let (hub, id, old) = hub_with_token().await;
    let other = hub.credential("write", &["*"], &[]).await;
    assert_eq!(rotate(&hub, &id, &other, &json!({})).await.status, 403);
    let path = format!("/tokens/{id}/rotate");
    assert_eq!(
        hub.open_call(Method::POST, &path)
            .json(&json!({}))
            .await
            .status,
        401
    );
    for overlap in [
        json!(-1),
        json!("1"),
        json!(1.5),
        json!(90 * 86_400 + 1),
        json!(null),
    ] {
        let answer = rotate(&hub, &id, &old, &json!({"overlap": overlap})).await;
        assert_eq!(
            (answer.status, answer.pointers()),
            (422, vec!["/overlap".to_owned()])
        );
    }
    for body in [json!({"overlab": 0}), json!({"overlap": 0, "overlab": 0})] {
        let answer = rotate(&hub, &id, &old, &body).await;
        assert_eq!(
            (answer.status, answer.pointers()),
            (422, vec!["/overlab".to_owned()])
        );
    }
    assert_eq!(status(&hub, &old).await, 200, "nothing was rotated");
    assert_eq!(
        hub.post("/tokens/aaaaaaaaaa/rotate")
            .json(&json!({}))
            .await
            .status,
        404
    );
    assert_eq!(
        hub.post("/tokens/nonsense/rotate")
            .json(&json!({}))
            .await
            .status,
        404
    );
    assert_eq!(hub.get(&path).await.allowed(), ["POST"]);
    assert_eq!(status(&hub, &old).await, 200, "nothing was rotated");

    assert_eq!(hub.delete(&format!("/tokens/{id}")).await.status, 204);
    assert_eq!(rotate(&hub, &id, &hub.admin, &json!({})).await.status, 404);
}

#[tokio::test]
async fn an_old_secret_rotates_again_until_the_new_one_is_used() {
    for is_signed in [false, true] {
        let (hub, id, old) = hub_with_token().await;
        let by = async |credential: &str| {
            if !is_signed {
                return rotate(&hub, &id, credential, &json!({})).await;
            }
            let signer = Signer::of(credential);
            let draft = signer.draft(Method::POST, &format!("/tokens/{id}/rotate"));
            signer.send(&hub, draft.json(&json!({}))).await
        };
        let used = async |credential: &str| {
            if is_signed {
                signed_status(&hub, credential).await
            } else {
                status(&hub, credential).await
            }
        };
        // The responses are lost, and with them the secrets.
        let lost = text(&by(&old).await.json()["secret"]);
        let lost_too = text(&by(&old).await.json()["secret"]);
        assert_eq!(used(&lost).await, 401, "it ends with the next one");
        assert_eq!(used(&old).await, 200);
        let new = by(&old).await;
        assert_eq!(new.status, 201);
        let new = text(&new.json()["secret"]);
        assert_eq!(used(&lost_too).await, 401);
        // The received one is used; from then on the old one can't be used to lock its owner out.
        assert_eq!(used(&new).await, 200);
        let refused = by(&old).await;
        assert_eq!(refused.status, 403, "{refused:?}");
        assert_eq!(used(&old).await, 200, "it counts until the overlap ends");
        assert_eq!(used(&new).await, 200);
        let hub = hub.restart().await;
        assert_eq!(rotate(&hub, &id, &old, &json!({})).await.status, 403);
        assert_eq!(rotate(&hub, &id, &new, &json!({})).await.status, 201);
    }
}

#[tokio::test]
async fn a_token_revokes_itself_by_its_present_secret() {
    let (hub, id, old) = hub_with_token().await;
    let revoke = |credential: &str| {
        let call = hub.open_call(Method::DELETE, &format!("/tokens/{id}"));
        call.bearer(credential)
    };
    let other = hub.credential("write", &["*"], &[]).await;
    assert_eq!(revoke(&other).await.status, 403);
    let new = text(&rotate(&hub, &id, &old, &json!({})).await.json()["secret"]);
    assert_eq!(revoke(&old).await.status, 403);
    assert_eq!(revoke(&new).await.status, 204);
    assert_eq!(status(&hub, &new).await, 401);
}

#[tokio::test]
async fn an_export_contains_only_the_current_secret() {
    let (hub, id, old) = hub_with_token().await;
    let new = text(&rotate(&hub, &id, &old, &json!({})).await.json()["secret"]);
    let file = hub.home.path().join("export.jsonl");
    let mut program = hub.home.program(&hub.settings);
    let output = program.args(["silo", "export"]).output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    std::fs::write(&file, &output.stdout).unwrap();
    let key = hub.data("hub.key");

    let other = crate::common::Home::new();
    let mut settings = other.settings();
    settings.key_file = Some(key);
    let mut program = other.program(&settings);
    let output = program
        .args(["silo", "import"])
        .arg(&file)
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let moved = TestHub::start_in(std::sync::Arc::new(other), settings).await;
    assert_eq!(status(&moved, &new).await, 200);
    assert_eq!(status(&moved, &old).await, 401);
}
