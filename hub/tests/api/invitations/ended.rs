//! Invitations that have ended, and how they end.

use serde_json::{Value, json};
use silo_hub::internals::domain::revision::Revision;
use silo_hub::internals::open_hub::OpenHub;
use silo_hub::internals::registry::NoteRestored;
use silo_shared::invitation::EphemeralKey;

use super::{Joined, Machine, home, invite, listed};
use crate::common::TestHub;
use crate::expiry::upkeep;
use crate::signing::assert_refused;
use crate::transfer::{exported, import};

/// The parts of another program on the database of a hub, with its clock.
async fn beside(hub: &TestHub) -> OpenHub {
    OpenHub::open(&hub.settings, hub.clock())
        .await
        .expect("the database can be opened beside the hub")
}

/// Each request of the exchange is refused with this problem, and the refusal is signed.
async fn assert_ended(hub: &TestHub, joined: &Joined, slug: &str) {
    let machine = &joined.machine;
    assert_refused(&machine.look(hub).await, 410, slug);
    let own = EphemeralKey::generate().expect("there is randomness");
    let body = json!({"public_key": own.public().to_string()});
    let redeemed = machine.post(hub, "/redeem", &body).await;
    assert_refused(&redeemed, 410, slug);
    if slug != "invitation-used" {
        assert_refused(&joined.confirm(hub).await, 410, slug);
        assert_eq!(joined.status(hub).await, 401);
    }
    let path = format!("/invitations/{}", machine.id());
    assert_refused(&hub.delete(&path).await, 404, "not-found");
}

/// A machine that has redeemed a new invitation.
async fn redeemed(hub: &TestHub) -> Joined {
    let (_, line) = invite(hub).await;
    Machine::with(&line).redeem(hub).await
}

#[tokio::test]
async fn an_invitation_counts_once() {
    let hub = home().await;
    let joined = redeemed(&hub).await;
    assert_eq!(joined.confirm(&hub).await.status, 200);
    assert_ended(&hub, &joined, "invitation-used").await;
    assert_eq!(joined.status(&hub).await, 200);
    // The token is revoked by itself.
    let revoked = hub.delete(&format!("/tokens/{}", joined.id())).await;
    assert_eq!(revoked.status, 204);
    assert_ended(&hub, &joined, "invitation-used").await;
}

#[tokio::test]
async fn an_invitation_expires() {
    let hub = home().await;
    let mut joined = redeemed(&hub).await;
    hub.pass(3599);
    joined.machine.clock += 3599;
    assert_eq!(joined.machine.look(&hub).await.status, 200);
    hub.pass(1);
    joined.machine.clock += 1;
    assert_ended(&hub, &joined, "invitation-expired").await;
    assert_eq!(listed(&hub).await["state"], "expired");
}

#[tokio::test]
async fn an_admin_revokes_an_invitation() {
    let hub = home().await;
    let joined = redeemed(&hub).await;
    let path = format!("/invitations/{}", joined.machine.id());
    assert_eq!(hub.delete(&path).await.status, 204);
    assert_ended(&hub, &joined, "invitation-revoked").await;
    let one = listed(&hub).await;
    assert_eq!(
        (&one["state"], &one["token"]),
        (&json!("revoked"), &Value::Null)
    );
    let rows = hub.walk("/audit").await.concat();
    assert_eq!(
        (&rows[0]["event"], &rows[0]["invitation"]),
        (&json!("revoked"), &one["id"])
    );
    for wrong in ["/invitations/aaaaaaaaaa", "/invitations/nonsense"] {
        assert_refused(&hub.delete(wrong).await, 404, "not-found");
    }
}

#[tokio::test]
async fn a_restore_ends_open_and_pending_invitations() {
    let hub = home().await;
    let mut pending = redeemed(&hub).await;
    let (_, line) = invite(&hub).await;
    let mut open = Machine::with(&line);
    let mut used = redeemed(&hub).await;
    assert_eq!(used.confirm(&hub).await.status, 200);
    let other = beside(&hub).await;
    let restored = NoteRestored::after(Revision::NONE).expect("there is randomness");
    other.registry.apply(restored).await.expect("it is noted");
    other.close().await;
    // What was signed before is refused; a second later it is signed again.
    hub.pass(1);
    for machine in [&mut pending.machine, &mut open, &mut used.machine] {
        machine.clock += 1;
    }
    assert_refused(&open.look(&hub).await, 410, "invitation-revoked");
    assert_ended(&hub, &pending, "invitation-revoked").await;
    // Its answer may have been lost meanwhile.
    assert_eq!(used.confirm(&hub).await.status, 200);
}

#[tokio::test]
async fn an_export_has_no_invitations_and_an_import_ends_them() {
    let hub = home().await;
    let joined = redeemed(&hub).await;
    let other = beside(&hub).await;
    let text = exported(&other, true).await;
    let id = joined.machine.id().to_string();
    assert!(
        !text.contains(&id) && !text.contains("nas.lan") && !text.contains("invit"),
        "{text}"
    );
    assert_eq!(joined.machine.look(&hub).await.status, 200);
    import(&other, &text).await.expect("its own export is fine");
    other.close().await;
    assert_ended(&hub, &joined, "invitation-revoked").await;
}

#[tokio::test]
async fn a_new_key_of_the_hub_ends_invitations() {
    let hub = home().await;
    let joined = redeemed(&hub).await;
    let other = beside(&hub).await;
    other.reset_key().await.expect("a new key is made");
    other.close().await;
    // This hub still has the old key in its memory.
    assert_ended(&hub, &joined, "invitation-revoked").await;
    let hub = hub.restart().await;
    assert_eq!(listed(&hub).await["state"], "revoked");
    let machine = &joined.machine;
    let shot = machine.shot(&hub, reqwest::Method::GET, "", None);
    let answer = shot.send(&hub).await;
    assert_refused(&answer, 401, "unauthorized");
    shot.assert_unsigned(&answer);
}

#[tokio::test]
async fn an_invitation_is_removed_a_day_after_its_end() {
    const DAY: i64 = 86_400;
    const MINUTE: i64 = 60;
    let (hub, open) = TestHub::start_in_parts().await;
    hub.put_silo("home", &[("nas", "10.0.0.5")]).await;
    let upkeep = upkeep(&open, 0);
    let mut joined = redeemed(&hub).await;
    assert_eq!(joined.confirm(&hub).await.status, 200);
    let kept = async || hub.walk("/invitations").await.concat().len();
    let pass = async |seconds: i64| {
        for _ in 0..seconds / MINUTE {
            hub.pass(MINUTE);
            upkeep.forget().await.expect("the database answers");
        }
    };
    pass(DAY).await;
    assert_eq!(kept().await, 1);
    joined.machine.clock += DAY;
    assert_eq!(joined.confirm(&hub).await.status, 200);
    // A while longer, since the clocks of several hubs may differ.
    pass(15 * MINUTE).await;
    assert_eq!(kept().await, 0);
    joined.machine.clock += 15 * MINUTE;
    let shot = joined.machine.shot(&hub, reqwest::Method::GET, "", None);
    assert_refused(&shot.send(&hub).await, 401, "unauthorized");
    assert_eq!(joined.status(&hub).await, 200, "the token stays");
}
