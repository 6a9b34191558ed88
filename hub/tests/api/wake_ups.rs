//! Wake-ups after a change by this hub, another program, an import or a restore.
#![expect(
    clippy::unwrap_used,
    reason = "what fails here fails the test that called it"
)]

use std::sync::Arc;

use serde_json::json;
use silo_hub::internals::feed::Feed;
use silo_hub::internals::invalidation::Invalidation;
use silo_hub::internals::open_hub::OpenHub;
use silo_hub::internals::registry::{DeleteSilo, EndSessionsOf};
use silo_hub::internals::store::Position;
use silo_shared::credential::TokenId;
use silo_shared::silo::SiloId;
use tokio::task::JoinHandle;

use crate::common::{DEADLINE, Home, Kind, PAUSE, TestHub, revision};
use crate::dashboard::Browser;
use crate::events::{Stream, told};
use crate::transfer::{exported, import};
use crate::wait::{answer, set_db, waiting};

const OFFICE: &str = "/silos/office";
const OFFICE_EVENTS: &str = "/silos/office/events";

/// Follows the database for a hub whose parts a test holds.
struct Following(JoinHandle<()>);

impl Following {
    /// From where the database is now.
    async fn begin(open: &OpenHub) -> Self {
        Self::from(open, open.store.position().await.unwrap())
    }

    fn from(open: &OpenHub, position: Position) -> Self {
        let feed = Feed {
            store: open.store.clone(),
            registry: open.registry.clone(),
            invalidation: Invalidation::new(open.view.clone(), open.bus.clone()),
            tokens: open.tokens.clone(),
            failures: open.failures.clone(),
            bus: open.bus.clone(),
            database_health: open.database_health.clone(),
            signed_not_before: open.signed_not_before.clone(),
            database_id: open.database_id.clone(),
            clock: open.clock.clone(),
        };
        Self(tokio::spawn(feed.follow(position)))
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn delete_office() -> DeleteSilo {
    DeleteSilo {
        actor: set_db("10.0.0.5").actor,
        id: SiloId::parse("office").unwrap(),
        precondition: Default::default(),
    }
}

/// What another program commits to `office`.
#[derive(Clone, Copy, Debug)]
enum Other {
    Changes,
    Deletes,
}

const OTHERS: [Other; 2] = [Other::Changes, Other::Deletes];

impl Other {
    async fn commits(self, other: &OpenHub) {
        match self {
            Self::Changes => {
                other.registry.apply(set_db("10.0.0.9")).await.unwrap();
            }
            Self::Deletes => {
                other.registry.apply(delete_office()).await.unwrap();
            }
        }
    }
}

/// Another program commits to `office`, then this hub commits to `other`, and only then learns of the first.
async fn commits_out_of_order(hub: &TestHub, open: &OpenHub, by: Other) -> Following {
    let other = OpenHub::open(&hub.settings, hub.clock()).await.unwrap();
    by.commits(&other).await;
    hub.put_silo("other", &[]).await;
    // Who was woken by this hub's commit has had a look by now.
    for _ in 0..20 {
        hub.get("/silos/other").await;
    }
    let following = Following::from(open, open.position);
    other.close().await;
    following
}

#[tokio::test]
async fn a_long_poll_wakes_for_an_older_commit_of_another_program() {
    for by in OTHERS {
        let (hub, open) = TestHub::start_in_parts().await;
        let tag = hub.put_silo("office", &[("nas", "10.0.0.7")]).await.etag();
        let read = waiting(&hub, OFFICE, &tag, "wait=300").await;
        let _following = commits_out_of_order(&hub, &open, by).await;
        let read = answer(read).await;
        match by {
            Other::Changes => {
                assert_eq!(read.status, 200, "{read:?}");
                assert!(read.text().contains("10.0.0.9"), "{read:?}");
            }
            Other::Deletes => assert_eq!(read.status, 404, "{read:?}"),
        }
    }
}

#[tokio::test]
async fn a_stream_sends_an_older_commit_of_another_program() {
    for by in OTHERS {
        for path in [OFFICE_EVENTS, "/events?full=1"] {
            let (hub, open) = TestHub::start_in_parts().await;
            hub.put_silo("office", &[("nas", "10.0.0.7")]).await;
            let mut stream = Stream::begin(&hub, path).await;
            assert_eq!(stream.next().await.unwrap().event, "silo");
            let _following = commits_out_of_order(&hub, &open, by).await;
            let event = loop {
                let event = stream.next().await.unwrap();
                if event.data["id"] == "office" {
                    break event;
                }
            };
            match by {
                Other::Changes => {
                    assert_eq!(event.event, "silo");
                    assert_eq!(event.data["dnsrecords"][0]["ip"], "10.0.0.9", "{event:?}");
                }
                Other::Deletes => assert_eq!(event.event, "deleted"),
            }
        }
    }
}

#[tokio::test]
async fn a_wait_checks_once_more_at_its_end() {
    // No task of this hub looks for other programs' changes.
    let (hub, open) = TestHub::start_in_parts().await;
    let tag = hub.put_silo("office", &[("nas", "10.0.0.7")]).await.etag();
    let read = waiting(&hub, OFFICE, &tag, "wait=3").await;
    let other = OpenHub::open(&hub.settings, hub.clock()).await.unwrap();
    let written = other.registry.apply(set_db("10.0.0.9")).await.unwrap();
    // The view learns of it, and those who wait for it do not.
    let id = SiloId::parse("office").unwrap();
    open.view.forget_older(&id, written.record.revision);
    let read = answer(read).await;
    assert_eq!(read.status, 200, "{read:?}");
    assert!(read.text().contains("10.0.0.9"), "{read:?}");
    other.close().await;
}

#[tokio::test]
async fn streams_of_all_silos_read_a_change_together() {
    const STREAMS: usize = 20;
    const CHANGES: u64 = 5;
    let (hub, open) = TestHub::start_in_parts().await;
    hub.put_silo("office", &[]).await;
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        let mut stream = Stream::begin(&hub, "/events").await;
        assert_eq!(stream.next().await.unwrap().event, "silo");
        streams.push(stream);
    }
    // What the streams began with was read by each of them.
    let mut before = None;
    for number in 0..=CHANGES {
        let ip = format!("10.0.1.{number}");
        let changed = revision(&hub.put_silo("office", &[("db", &ip)]).await.json());
        for stream in &mut streams {
            stream
                .tells(told(
                    "silo",
                    changed,
                    json!({"id": "office", "revision": changed}),
                ))
                .await;
        }
        before = before.or(Some(open.store.change_reads()));
    }
    let reads = open.store.change_reads() - before.unwrap();
    assert!(
        reads <= CHANGES + 1,
        "{reads} reads of {CHANGES} changes by {STREAMS} streams"
    );
}

#[tokio::test]
async fn an_import_into_an_empty_database_wakes_its_streams() {
    let (source, from) = TestHub::start_in_parts().await;
    let made = source
        .put_silo("office", &[("db", "10.0.0.5")])
        .await
        .json();
    // What is taken over is older than the database that takes it over.
    let text = exported(&from, false).await;
    let text = text.replace(&revision(&made).to_string(), "41");
    let hub = TestHub::start().await;
    let mut stream = Stream::begin(&hub, "/events?full=1").await;
    let open = OpenHub::open(&hub.settings, hub.clock()).await.unwrap();
    import(&open, &text).await.unwrap();
    let event = loop {
        let event = stream.next().await.unwrap();
        if event.event != "reset" {
            break event;
        }
    };
    let mut old = made;
    old["revision"] = json!(41);
    assert_eq!((event.event.as_str(), &event.data), ("silo", &old));
    // Below the feed floor the stream could not be resumed.
    assert!(event.id > Some(41), "{:?}", event.id);
    // From now on it hears of changes as before.
    let made = hub.put_silo("office", &[("db", "10.0.0.6")]).await.json();
    stream.tells(told("silo", revision(&made), made)).await;
    open.close().await;
}

#[tokio::test]
async fn a_stream_resumed_after_an_import_gets_a_reset() {
    let (source, from) = TestHub::start_in_parts().await;
    source.put_silo("office", &[("db", "10.0.0.5")]).await;
    let text = exported(&from, false).await;
    for silos in [&[][..], &["office"], &["other"]] {
        let (hub, open) = TestHub::start_in_parts().await;
        let mut last = open.position.revision;
        for silo in silos {
            last = revision(&hub.put_silo(silo, &[]).await.json()).into();
        }
        import(&open, &text).await.unwrap();
        for path in [OFFICE_EVENTS, "/events?full=1"] {
            let mut stream = Stream::resume(&hub, path, last).await;
            assert_eq!(stream.next().await.unwrap().event, "reset", "{silos:?}");
            while stream.next().await.unwrap().data["id"] != "office" {}
        }
    }
}

#[tokio::test]
async fn a_stream_resumed_after_a_restore_gets_a_reset() {
    if Kind::chosen() != Kind::Sqlite {
        return;
    }
    let home = Arc::new(Home::of_sqlite());
    let hub = TestHub::start_in(Arc::clone(&home), home.settings()).await;
    let saved = hub.put_silo("office", &[("db", "10.0.0.5")]).await.json();
    let file = home.path().join("backup");
    silo_hub::internals::backup::backup(&hub.settings, &file)
        .await
        .unwrap();
    let lost = revision(&hub.put_silo("office", &[("db", "10.0.0.6")]).await.json());
    let clock = hub.clock();
    let (home, settings) = hub.stop().await;
    silo_hub::internals::backup::restore(&settings, clock, &file)
        .await
        .unwrap();
    let hub = TestHub::start_in(home, settings).await;
    for path in [OFFICE_EVENTS, "/events?full=1"] {
        for last in [revision(&saved), lost] {
            let mut stream = Stream::resume(&hub, path, last).await;
            assert_eq!(stream.next().await.unwrap().event, "reset", "{path} {last}");
            let state = stream.next().await.unwrap();
            assert_eq!((state.event.as_str(), &state.data), ("silo", &saved));
            assert!(state.id > Some(lost), "{path} {last}: {:?}", state.id);
        }
    }
}

/// Waits until so many silos are watched.
async fn watched(open: &OpenHub, silos: usize) {
    let watched = async {
        while open.bus.watched_silos().len() != silos {
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(DEADLINE, watched)
        .await
        .expect("it comes to that in time");
}

#[tokio::test]
async fn a_commit_wakes_only_waiters_for_its_silo() {
    const READS: u64 = 5;
    let (hub, open) = TestHub::start_in_parts().await;
    let tag = hub.put_silo("office", &[]).await.etag();
    let _following = Following::begin(&open).await;
    let mut reads = Vec::new();
    for _ in 0..READS {
        reads.push(waiting(&hub, OFFICE, &tag, "wait=300").await);
    }
    watched(&open, 1).await;
    let before = open.bus.wake_ups();
    let other = OpenHub::open(&hub.settings, hub.clock()).await.unwrap();
    for number in 0..20 {
        let id = format!("other-{}", number % 3);
        hub.put_silo(&id, &[("db", &format!("10.0.1.{number}"))])
            .await;
        // What the feed tells of is another program's as well.
        let mut elsewhere = set_db(&format!("10.0.2.{number}"));
        elsewhere.id = SiloId::parse("elsewhere").unwrap();
        other.registry.apply(elsewhere).await.unwrap();
    }
    assert_eq!(open.bus.wake_ups(), before);
    assert!(reads.iter().all(|read| !read.is_finished()));
    hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    for read in reads {
        assert_eq!(answer(read).await.status, 200);
    }
    let given = open.bus.wake_ups() - before;
    // The feed tells of this hub's own commits too: a second wake-up is harmless.
    assert!((READS..=2 * READS).contains(&given), "{given}");
    watched(&open, 0).await;
    other.close().await;
}

#[tokio::test]
async fn disconnected_waiters_are_forgotten() {
    let (hub, open) = TestHub::start_in_parts().await;
    let tag = hub.put_silo("office", &[]).await.etag();
    hub.put_silo("other", &[]).await;
    let read = waiting(&hub, OFFICE, &tag, "wait=300").await;
    let stream = Stream::begin(&hub, "/silos/other/events").await;
    watched(&open, 2).await;
    drop(stream);
    watched(&open, 1).await;
    read.abort();
    watched(&open, 0).await;
    // A commit finds no waiter.
    let before = open.bus.wake_ups();
    hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    assert_eq!(open.bus.wake_ups(), before);
}

#[tokio::test]
async fn a_stream_ends_when_its_secret_does() {
    let hub = TestHub::start().await;
    let office = hub.put_silo("office", &[]).await.json();
    let spec = json!({"name": "rotates", "role": "read", "silos": ["office"]});
    let (id, rotates) = hub.token(spec.clone()).await;
    let (_, stays) = hub.token(spec).await;
    let (_, expires) = hub
        .token(json!({
            "name": "expires", "role": "read", "silos": ["office"],
            "expires_at": "2026-01-02T03:04:15.678Z",
        }))
        .await;
    let mut streams = Vec::new();
    for credential in [&rotates, &expires, &stays] {
        for path in [OFFICE_EVENTS, "/events"] {
            let mut stream = Stream::of(&hub, credential, path, None).await;
            assert_eq!(stream.next().await.unwrap().id, Some(revision(&office)));
            streams.push(stream);
        }
    }
    let rotate = hub
        .post(&format!("/tokens/{id}/rotate"))
        .json(&json!({"overlap": 0}));
    assert_eq!(rotate.await.status, 201);
    for stream in &mut streams[..2] {
        assert_eq!(stream.next().await, None);
    }
    hub.pass(10);
    for stream in &mut streams[2..4] {
        assert_eq!(stream.next().await, None);
    }
    let changed = hub.put_silo("office", &[("db", "10.0.0.5")]).await.json();
    for stream in &mut streams[4..] {
        assert_eq!(stream.next().await.unwrap().id, Some(revision(&changed)));
    }
}

#[tokio::test]
async fn the_end_of_sessions_by_another_program_is_learnt_as_a_change_of_their_token() {
    let (hub, open) = TestHub::start_in_parts().await;
    let following = Following::begin(&open).await;
    let browser = Browser::of(&hub);
    browser.sign_in(&hub.admin).await;
    let token = TokenId::parse(&hub.admin[5..15]).unwrap();
    let before = open.tokens.get(token).await.unwrap().unwrap();
    let other = OpenHub::open(&hub.settings, hub.clock()).await.unwrap();
    let actor = set_db("10.0.0.5").actor;
    let ended = other.registry.apply(EndSessionsOf { actor, token }).await;
    ended.unwrap();
    let learns = async {
        loop {
            let now = open.tokens.get(token).await.unwrap().unwrap();
            if !Arc::ptr_eq(&before, &now) {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    let learnt = tokio::time::timeout(DEADLINE, learns).await;
    learnt.expect("the hub learns of it");
    other.close().await;
    drop(following);
}
