//! A signed request counts once: reads at one hub, writes at all.

use reqwest::Method;
use serde_json::json;
use silo_hub::internals::domain::revision::Revision;
use silo_hub::internals::domain::time::Time;
use silo_hub::internals::open_hub::OpenHub;
use silo_hub::internals::registry::NoteRestored;

use super::{NOW, Shot, Signer, assert_refused, ip, office};
use crate::common::{PAUSE, TestHub, dnsrecords, raw_status};
use crate::expiry::upkeep;
use crate::several_hubs::two_hubs;

const DB: &str = "/silos/office/records/db";

async fn assert_replayed(shot: &Shot, hub: &TestHub, from: &str) {
    let answer = shot.call(hub).seen_from(from).await;
    assert_refused(&answer, 401, "replay");
    shot.assert_signed(&answer);
}

#[tokio::test]
async fn a_read_counts_once() {
    let (hub, admin) = office().await;
    let shot = admin.sign(&hub, admin.draft(Method::GET, "/silos/office"));
    assert_eq!(shot.send(&hub).await.status, 200);
    assert_replayed(&shot, &hub, "192.0.2.1").await;
    // The nonce is spent for every other read too, but not for another token.
    let draft = || admin.draft(Method::GET, "/silos").nonce("mine");
    assert_eq!(admin.send(&hub, draft()).await.status, 200);
    assert_replayed(
        &admin.sign(&hub, draft().header("prefer", "x")),
        &hub,
        "192.0.2.1",
    )
    .await;
    let other = Signer::of(&hub.credential("read", &["office"], &[]).await);
    assert_eq!(other.send(&hub, draft()).await.status, 200);
}

/// A write of each kind, changing and not, accepted and refused.
fn writes(signer: &Signer, hub: &TestHub) -> Vec<(Shot, u16)> {
    let draft = |method, path| signer.draft(method, path);
    [
        (draft(Method::PUT, DB).json(&ip("10.0.0.6")), 200),
        (draft(Method::PUT, DB).json(&ip("10.0.0.6")), 200),
        (draft(Method::PUT, DB).json(&ip("nowhere")), 422),
        (draft(Method::PUT, DB), 422),
        (
            draft(Method::PUT, DB)
                .json(&ip("10.0.0.7"))
                .header("if-match", "\"0\""),
            412,
        ),
        (draft(Method::PUT, "/silos/new").json(&dnsrecords(&[])), 201),
        (draft(Method::PUT, "/silos/new").json(&dnsrecords(&[])), 200),
        (draft(Method::PUT, "/silos/office").content("{"), 400),
        (draft(Method::DELETE, "/silos/office/records/none"), 404),
        (
            draft(Method::DELETE, "/silos/office/records/db?what=1"),
            422,
        ),
        (draft(Method::PUT, "/no/such/route"), 404),
        (draft(Method::PATCH, "/silos/office"), 405),
        (draft(Method::DELETE, "/silos/new"), 204),
        (
            draft(Method::POST, "/tokens")
                .json(&json!({"name": "t", "role": "read", "silos": ["a"]})),
            201,
        ),
        (
            draft(Method::POST, "/tokens").json(&json!({"name": "t"})),
            422,
        ),
        (draft(Method::DELETE, "/tokens/aaaaaaaaaa"), 404),
        (draft(Method::POST, "/deliveries/1/retry"), 404),
        (draft(Method::DELETE, "/silos/office"), 204),
    ]
    .map(|(draft, status)| (signer.sign(hub, draft), status))
    .into()
}

#[tokio::test]
async fn a_write_counts_once_whatever_came_of_it_and_across_a_restart() {
    let (hub, admin) = office().await;
    let writes = writes(&admin, &hub);
    for (number, (shot, status)) in writes.iter().enumerate() {
        let answer = shot.send(&hub).await;
        assert_eq!(answer.status, *status, "{number}: {answer:?}");
        shot.assert_signed(&answer);
        assert_replayed(shot, &hub, &format!("192.0.2.{number}")).await;
    }
    let address = hub.address;
    let (home, settings) = hub.stop().await;
    let listener = std::net::TcpListener::bind(address).expect("the port is free again");
    let hub = TestHub::start_on(listener, home, settings).await;
    for (number, (shot, _)) in writes.iter().enumerate() {
        assert_replayed(shot, &hub, &format!("192.0.2.{number}")).await;
    }
    let silos = hub.get("/silos").await;
    assert_eq!(silos.json(), json!([]), "no replay wrote anything");
}

#[tokio::test]
async fn a_refused_write_leaves_the_revision_where_it_was() {
    let (hub, admin) = office().await;
    let before = hub.get("/silos/office").await.etag();
    for body in [ip("10.0.0.5"), ip("nowhere")] {
        admin.put(&hub, DB, &body).await;
    }
    assert_eq!(hub.get("/silos/office").await.etag(), before);
    let next = hub.put_silo("next", &[]).await;
    let number = |tag: &str| tag.trim_matches('"').parse::<i64>().unwrap();
    assert_eq!(number(&next.etag()), number(&before) + 1, "none was taken");
}

#[tokio::test]
async fn a_write_to_one_hub_is_refused_at_another() {
    let Some((a, b)) = two_hubs().await else {
        return;
    };
    let admin = Signer::of(&a.admin);
    a.put_silo("office", &[("db", "10.0.0.5")]).await;
    for (shot, status) in writes(&admin, &a).into_iter().take(10) {
        assert_eq!(shot.send(&a).await.status, status);
        // As a balancer in front of both passes it on: with the host that the client named.
        let answer = shot.send(&b).await;
        assert_refused(&answer, 401, "replay");
        shot.assert_signed(&answer);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_breaks_no_batch() {
    const WRITES: usize = 40;
    let (hub, admin) = office().await;
    let replayed = admin.sign(&hub, admin.draft(Method::PUT, DB).json(&ip("10.0.0.6")));
    assert_eq!(replayed.send(&hub).await.status, 200);
    let mut answers = tokio::task::JoinSet::new();
    for number in 0..WRITES {
        let path = format!("/silos/office/records/h{number}");
        let shot = admin.sign(&hub, admin.draft(Method::PUT, &path).json(&ip("10.0.0.1")));
        // The same message twice at once: one of them counts.
        for call in [shot.call(&hub), shot.call(&hub), replayed.call(&hub)] {
            let call = call.seen_from(&format!("192.0.2.{}", number % 250));
            answers.spawn(async move { call.await });
        }
    }
    let answers = answers.join_all().await;
    let count = |status: u16| {
        answers
            .iter()
            .filter(|answer| answer.status == status)
            .count()
    };
    assert_eq!(
        (count(201), count(401)),
        (WRITES, 2 * WRITES),
        "{answers:?}"
    );
    assert_eq!(hub.history("office").await.len(), WRITES + 2);
}

#[tokio::test]
async fn nonces_are_stored_only_while_their_signature_is_valid() {
    let (hub, open) = TestHub::start_in_parts().await;
    let admin = Signer::of(&hub.admin);
    let upkeep = upkeep(&open, 0);
    // Made by a clock that is as far ahead as may be.
    let shot = admin.sign(
        &hub,
        admin
            .draft(Method::PUT, DB)
            .json(&ip("10.0.0.6"))
            .created(NOW + 300),
    );
    assert_eq!(shot.send(&hub).await.status, 201);
    let remembered = async || {
        let later = Time::from_millis(i64::MAX);
        open.store.has_signed_writes(later).await.unwrap()
    };
    hub.pass(599);
    upkeep.forget().await.unwrap();
    assert_refused(&admin_send(&hub, &shot).await, 401, "replay");
    // It is kept a while longer, for hubs whose clocks are behind, and for this one's.
    let mut minutes = 10;
    while remembered().await {
        minutes += 1;
        assert!(minutes <= 30, "it is never removed");
        hub.pass(60);
        upkeep.forget().await.unwrap();
    }
    assert!(minutes > 15, "{minutes}");
    assert_refused(&admin_send(&hub, &shot).await, 401, "clock");
}

#[tokio::test]
async fn a_replay_is_refused_before_its_content() {
    let (hub, admin) = office().await;
    let shot = admin.sign(&hub, admin.draft(Method::PUT, DB).json(&ip("10.0.0.6")));
    assert_eq!(shot.send(&hub).await.status, 200);
    let mut head = format!(
        "PUT {DB} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n",
        shot.head.authority,
        shot.content.len()
    );
    for (name, value) in &shot.head.headers {
        head += &format!("{name}: {}\r\n", value.to_str().unwrap());
    }
    let answer = hub.raw(head + "\r\n").await;
    assert_eq!(raw_status(&answer), 401, "{answer}");
    assert!(answer.contains("/problems/replay"), "{answer}");
}

async fn admin_send(hub: &TestHub, shot: &Shot) -> crate::common::Answer {
    let answer = shot.send(hub).await;
    shot.assert_signed(&answer);
    answer
}

/// A read, a write and a stream, all signed at a time.
fn all_kinds(signer: &Signer, hub: &TestHub, created: i64) -> Vec<Shot> {
    [
        signer.draft(Method::GET, "/silos/office"),
        signer.draft(Method::PUT, DB).json(&ip("10.0.0.9")),
        signer.draft(Method::GET, "/events"),
    ]
    .map(|draft| signer.sign(hub, draft.created(created)))
    .into()
}

#[tokio::test]
async fn requests_signed_before_a_restore_are_refused_by_running_and_restarted_hubs() {
    let (mut hub, admin) = office().await;
    let open = OpenHub::open(&hub.settings, hub.clock())
        .await
        .expect("it opens beside a serving hub");
    hub.pass(60);
    let older = all_kinds(&admin, &hub, NOW);
    open.registry
        .apply(NoteRestored::after(Revision::NONE).unwrap())
        .await
        .unwrap();
    open.close().await;
    for restarted in [false, true] {
        if restarted {
            hub = hub.restart().await;
            hub.pass(60);
        }
        // A write is judged in its transaction, whatever this hub knows yet.
        let mut refused = vec![&older[1], &older[0], &older[2]];
        if !restarted {
            let known = async || {
                let shot = admin.sign(&hub, admin.draft(Method::GET, "/silos/office"));
                shot.send(&hub).await.status == 401
            };
            assert_refused(&older[1].send(&hub).await, 401, "order");
            let waiting = async {
                while !known().await {
                    tokio::time::sleep(PAUSE).await;
                }
            };
            tokio::time::timeout(crate::common::DEADLINE, waiting)
                .await
                .expect("the hub learns of it in time");
            refused.remove(0);
        }
        for shot in refused {
            let answer = shot.send(&hub).await;
            assert_refused(&answer, 401, "order");
            shot.assert_signed(&answer);
        }
        let newer = all_kinds(&admin, &hub, NOW + 61);
        for shot in &newer[..2] {
            assert_eq!(shot.send(&hub).await.status, 200);
        }
    }
    // Not counted as wrong credentials, however many there are.
    for _ in 0..20 {
        let shot = admin.sign(&hub, admin.draft(Method::GET, "/silos/office"));
        assert_refused(&shot.send(&hub).await, 401, "order");
    }
}

#[tokio::test]
async fn a_restore_by_a_clock_far_ahead_refuses_nothing() {
    for (ahead, expected) in [(300, 401), (301, 200), (86_400, 200)] {
        let (hub, open) = TestHub::start_in_parts().await;
        hub.put_silo("office", &[("db", "10.0.0.5")]).await;
        let admin = Signer::of(&hub.admin);
        hub.pass(ahead);
        open.registry
            .apply(NoteRestored::after(Revision::NONE).unwrap())
            .await
            .unwrap();
        hub.pass(-ahead);
        let shot = admin.sign(&hub, admin.draft(Method::PUT, DB).json(&ip("10.0.0.6")));
        assert_eq!(shot.send(&hub).await.status, expected, "{ahead}");
    }
}
