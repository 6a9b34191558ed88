//! Several machines, several hubs, and what happens in between.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use silo_shared::invitation::EphemeralKey;

use super::{Machine, home, invite, listed};
use crate::common::Kind;
use crate::several_hubs::two_hubs;
use crate::signing::assert_refused;

#[tokio::test]
async fn of_two_machines_the_later_one_counts_and_both_are_recorded() {
    let hub = home().await;
    let (id, line) = invite(&hub).await;
    let first = Machine::with(&line)
        .seen_from("192.0.2.1")
        .redeem(&hub)
        .await;
    let second = Machine::with(&line)
        .seen_from("192.0.2.2")
        .redeem(&hub)
        .await;
    assert_ne!(first.id(), second.id());
    let refused = first.confirm(&hub).await;
    assert_refused(&refused, 409, "invitation-replaced");
    assert!(
        refused
            .text()
            .contains("another machine redeemed this invitation")
    );
    let rows = hub.walk("/audit").await.concat();
    let row = &rows[0];
    assert_eq!(
        (
            &row["event"],
            &row["invitation"],
            &row["client_ip"],
            &row["other_ip"]
        ),
        (
            &json!("replaced"),
            &json!(id),
            &json!("192.0.2.1"),
            &json!("192.0.2.2")
        )
    );
    assert_eq!(second.confirm(&hub).await.status, 200);
    // Also after the second one has its token.
    assert_refused(&first.confirm(&hub).await, 410, "invitation-used");
    let rows = hub.walk("/audit").await.concat();
    assert_eq!(rows[0]["event"], "replaced");
    assert_eq!(rows[0]["other_ip"], "192.0.2.2");
    assert_eq!(
        (first.status(&hub).await, second.status(&hub).await),
        (401, 200)
    );
    assert_eq!(listed(&hub).await["address"], "192.0.2.2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_machines_at_once_exactly_one_confirms() {
    let hub = home().await;
    let (_, line) = invite(&hub).await;
    let machines: Vec<_> = (0..8).map(|_| Machine::with(&line)).collect();
    let redeemed = join_all(machines.iter().map(|machine| machine.redeem(&hub))).await;
    let confirming = redeemed.into_iter().map(async |joined| {
        let status = joined.confirm(&hub).await.status;
        (joined, status)
    });
    let joined = join_all(confirming).await;
    let mut confirmed = 0;
    for (joined, status) in &joined {
        match status {
            200 => confirmed += 1,
            status => assert!(matches!(status, 409 | 410), "{status}"),
        }
        let expected = if *status == 200 { 200 } else { 401 };
        assert_eq!(joined.status(&hub).await, expected);
    }
    assert_eq!(confirmed, 1);
    assert_eq!(hub.walk("/tokens").await.concat().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_step_may_be_at_another_hub_of_the_database() {
    let Some((a, b)) = two_hubs().await else {
        assert_eq!(Kind::chosen(), Kind::Sqlite);
        return;
    };
    a.put_silo("home", &[("nas", "10.0.0.5")]).await;
    let (id, line) = invite(&a).await;
    let machine = Machine::with(&line);
    assert_eq!(machine.look(&b).await.status, 200);
    let joined = machine.redeem(&a).await;
    // A request that one hub has received counts at no other one.
    let shot = machine.shot(&b, Method::POST, "/confirm", Some(&joined.body()));
    assert_eq!(machine.send(&b, &shot).await.status, 200);
    assert_refused(&shot.send(&a).await, 401, "replay");
    assert_eq!(joined.confirm(&a).await.status, 200);
    assert_eq!(joined.status(&b).await, 200);
    assert_eq!(joined.status(&a).await, 200);
    // A revocation counts at all of them at once.
    let (other, line) = invite(&a).await;
    assert_ne!(other, id);
    let machine = Machine::with(&line);
    assert_eq!(machine.look(&b).await.status, 200);
    assert_eq!(a.delete(&format!("/invitations/{other}")).await.status, 204);
    assert_refused(&machine.look(&b).await, 410, "invitation-revoked");
}

/// Each answer is lost with the hub that sent it, and the machine tries again.
#[tokio::test]
async fn a_hub_that_restarts_after_each_step_and_loses_its_answers_makes_one_token() {
    let hub = home().await;
    let (_, line) = invite(&hub).await;
    let hub = hub.restart().await;
    let machine = Machine::with(&line);
    assert_eq!(machine.look(&hub).await.status, 200);
    let lost = machine.redeem(&hub).await;
    let hub = hub.restart().await;
    // The machine did not learn of the first token: it redeems again.
    let joined = machine.redeem(&hub).await;
    let hub = hub.restart().await;
    assert_eq!(joined.confirm(&hub).await.status, 200);
    let hub = hub.restart().await;
    assert_eq!(joined.status(&hub).await, 200);
    assert_eq!(joined.confirm(&hub).await.status, 200);
    assert_refused(&lost.confirm(&hub).await, 410, "invitation-used");
    assert_eq!(lost.status(&hub).await, 401);
    assert_eq!(hub.walk("/tokens").await.concat().len(), 2);
}

/// The private key of the machine ends with the request: an answer to an earlier one is of no use.
#[tokio::test]
async fn each_redemption_has_keys_of_its_own() {
    let hub = home().await;
    let (_, line) = invite(&hub).await;
    let machine = Machine::with(&line);
    let own = EphemeralKey::generate().expect("there is randomness");
    let body = json!({"public_key": own.public().to_string()});
    let first = machine.post(&hub, "/redeem", &body).await.json();
    let second = machine.post(&hub, "/redeem", &body).await.json();
    assert_ne!(first["public_key"], second["public_key"]);
    assert_ne!(first["token_id"], second["token_id"]);
    let joined = machine.derive(own, &second);
    assert_eq!(joined.confirm(&hub).await.status, 200);
}
