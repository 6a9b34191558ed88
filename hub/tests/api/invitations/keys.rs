//! What the key of an invitation is good for: signing requests to its own path, each once.

use reqwest::Method;
use serde_json::json;
use silo_shared::credential::TokenId;
use silo_shared::invitation::{EphemeralKey, Exchange};
use silo_shared::signing::SigningKey;

use super::{Machine, home, invite};
use crate::common::{TestHub, text};
use crate::signing::{Signer, assert_refused};

#[tokio::test]
async fn an_invitations_key_is_no_credential() {
    let hub = home().await;
    let (_, line) = invite(&hub).await;
    let machine = Machine::with(&line);
    let key = machine.key.expose();
    for path in [machine.path(""), "/silos".to_owned(), "/token".to_owned()] {
        let ip = "192.0.2.50";
        let bearer = hub.open_call(Method::GET, &path).bearer(key).seen_from(ip);
        assert_refused(&bearer.await, 401, "unauthorized");
        let basic = hub
            .open_call(Method::GET, &path)
            .login("x", key)
            .seen_from(ip);
        assert_refused(&basic.await, 401, "unauthorized");
        let shot = machine
            .signer
            .sign(&hub, machine.signer.draft(Method::GET, &path));
        if path != machine.path("") {
            let refused = shot.call(&hub).seen_from(ip).await;
            assert_refused(&refused, 401, "unauthorized");
            shot.assert_unsigned(&refused);
        }
    }
    // Eight of these were counted.
    for status in [401, 401, 429] {
        let call = hub.open_call(Method::GET, &machine.path(""));
        let answer = call.bearer(key).seen_from("192.0.2.50").await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
    // The machine itself is answered, also from there.
    let machine = machine.seen_from("192.0.2.50");
    assert_eq!(machine.look(&hub).await.status, 200);
}

#[tokio::test]
async fn a_key_counts_for_its_own_invitation_and_for_redeeming_alone() {
    let hub = home().await;
    let (_, line) = invite(&hub).await;
    let (other, _) = invite(&hub).await;
    let machine = Machine::with(&line);
    let signer = &machine.signer;
    for path in [
        format!("/invitations/{other}"),
        "/invitations".to_owned(),
        "/invitations/aaaaaaaaaa".to_owned(),
        "/no/such/route".to_owned(),
    ] {
        let shot = signer.sign(&hub, signer.draft(Method::GET, &path));
        let answer = shot.send(&hub).await;
        assert_refused(&answer, 401, "unauthorized");
        shot.assert_unsigned(&answer);
    }
    // It may not even revoke its own.
    let shot = machine.shot(&hub, Method::DELETE, "", None);
    assert_refused(&machine.send(&hub, &shot).await, 403, "forbidden");
    // And no token may use an invitation.
    let admin = Signer::of(&hub.admin);
    assert_refused(&admin.get(&hub, &machine.path("")).await, 403, "forbidden");
    assert_refused(&hub.get(&machine.path("")).await, 403, "forbidden");
    for below in ["/redeem", "/confirm"] {
        let answer = hub.post(&machine.path(below)).json(&json!({})).await;
        assert_refused(&answer, 403, "forbidden");
    }
    let open = hub.open_call(Method::GET, &machine.path("")).await;
    assert_refused(&open, 401, "unauthorized");
    assert_eq!(machine.look(&hub).await.status, 200);
}

#[tokio::test]
async fn a_recorded_request_counts_once_also_after_a_restart() {
    let hub = home().await;
    let (_, line) = invite(&hub).await;
    let machine = Machine::with(&line);
    let own = EphemeralKey::generate().expect("there is randomness");
    let body = json!({"public_key": own.public().to_string()});
    let look = machine.shot(&hub, Method::GET, "", None);
    let redeem = machine.shot(&hub, Method::POST, "/redeem", Some(&body));
    assert_eq!(machine.send(&hub, &look).await.status, 200);
    let answer = machine.send(&hub, &redeem).await.json();
    let joined = machine.derive(own, &answer);
    for shot in [&look, &redeem] {
        let answer = shot.send(&hub).await;
        assert_refused(&answer, 401, "replay");
    }
    let confirm = machine.shot(&hub, Method::POST, "/confirm", Some(&joined.body()));
    assert_eq!(
        machine.send(&hub, &confirm).await.status,
        200,
        "nothing was replaced"
    );
    assert_refused(&confirm.send(&hub).await, 401, "replay");
    let home = hub.address;
    let hub = hub.restart().await;
    let mut shot = confirm.clone();
    // It was signed for the old port.
    shot.head.authority = home.to_string();
    assert_refused(&shot.send(&hub).await, 401, "replay");
}

#[tokio::test]
async fn what_was_changed_on_the_way_is_refused() {
    let hub = home().await;
    let (_, line) = invite(&hub).await;
    let machine = Machine::with(&line);
    let own = EphemeralKey::generate().expect("there is randomness");
    let theirs = EphemeralKey::generate().expect("there is randomness");
    let body = json!({"public_key": own.public().to_string()});
    let redeem = || machine.shot(&hub, Method::POST, "/redeem", Some(&body));
    let mut other_key = redeem();
    other_key.content = json!({"public_key": theirs.public().to_string()})
        .to_string()
        .into_bytes();
    let mut other_path = redeem();
    other_path.head.path = machine.path("/confirm");
    let mut unsigned = redeem();
    unsigned.head.headers.remove("signature");
    for shot in [other_key, other_path, unsigned] {
        assert_refused(&shot.send(&hub).await, 401, "unauthorized");
    }
    // An answer that was changed is not the hub's.
    let shot = redeem();
    let mut answer = shot.send(&hub).await;
    shot.assert_signed(&answer);
    let changed = answer.text().replace("home", "work");
    answer.body = changed.into_bytes();
    shot.assert_forged(&answer);
    // A late or early one is refused as always.
    for created in [-301, 301] {
        let mut machine = machine.clone();
        machine.clock += created;
        assert_refused(&machine.look(&hub).await, 401, "clock");
    }
}

#[tokio::test]
async fn an_invitation_to_another_hub_is_unknown() {
    let (hub, other) = (home().await, home().await);
    let (_, line) = invite(&hub).await;
    let machine = Machine::with(&line);
    let shot = machine.shot(&other, Method::GET, "", None);
    let answer = shot.send(&other).await;
    assert_refused(&answer, 401, "unauthorized");
    shot.assert_unsigned(&answer);
}

/// A new secret, derived by the token with this credential; the answer without it is checked.
async fn rotated(hub: &TestHub, old: &str) -> String {
    let signer = Signer::of(old);
    let id = text(&json!(old.split('_').nth(1)));
    let own = EphemeralKey::generate().expect("there is randomness");
    let body = json!({"public_key": own.public().to_string(), "overlap": 60});
    let draft = signer.draft(Method::POST, &format!("/tokens/{id}/rotate"));
    let answer = signer.send(hub, draft.json(&body)).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let answer = answer.json();
    assert_eq!(answer.get("secret"), None, "{answer}");
    let id = TokenId::parse(&id).expect("it is an id");
    let theirs = text(&answer["public_key"]).parse().expect("a public key");
    let old = silo_shared::credential::Credential::parse(old).expect("it is one");
    let exchange = Exchange {
        key: &SigningKey::of(&old),
        id,
        token: id,
        client: own.public(),
        hub: theirs,
    };
    let shared = own.agree(&theirs).expect("the hub's key is good");
    exchange.credential(&shared).expose().to_owned()
}

#[tokio::test]
async fn a_token_rotates_without_its_secret_being_sent() {
    let hub = home().await;
    let first = hub.credential("read", &["home"], &[]).await;
    let status = async |credential: &str| {
        let call = hub.open_call(Method::GET, "/silos/home");
        call.bearer(credential).await.status
    };
    // The first answer is lost: the old secret may do it again.
    let lost = rotated(&hub, &first).await;
    let second = rotated(&hub, &first).await;
    assert_eq!((status(&lost).await, status(&second).await), (401, 200));
    let third = rotated(&hub, &second).await;
    assert_eq!((status(&third).await, status(&second).await), (200, 200));
    hub.pass(60);
    assert_eq!((status(&third).await, status(&second).await), (200, 401));
    // Nobody else could derive it.
    let id = third.split('_').nth(1).expect("it has an id");
    let key = EphemeralKey::generate().expect("there is randomness");
    let key = key.public().to_string();
    for public_key in [json!(key), json!("short"), json!(1)] {
        let call = hub.post(&format!("/tokens/{id}/rotate"));
        let answer = call.json(&json!({ "public_key": public_key })).await;
        assert_eq!(
            (answer.status, answer.pointers()),
            (422, vec!["/public_key".to_owned()])
        );
    }
    assert_eq!(status(&third).await, 200);
}
