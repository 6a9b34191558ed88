//! Streams of events.
#![expect(
    clippy::unwrap_used,
    reason = "what fails here fails the test that called it"
)]

use std::sync::Arc;

use reqwest::{Method, Response};
use serde_json::{Value, json};
use silo_hub::internals::domain::revision::Revision;
use silo_hub::internals::open_hub::OpenHub;
use silo_hub::internals::registry::NoteRestored;

use crate::common::{DEADLINE, TestHub, client, revision};
use crate::expiry::upkeep;
use crate::several_hubs::two_hubs;
use crate::signing::Signer;

const OFFICE: &str = "/silos/office/events";

/// A stream that is read.
pub(crate) struct Stream {
    response: Response,
    unread: String,
}

/// What a stream tells.
#[derive(Debug, PartialEq)]
pub(crate) struct DeliveryResult {
    pub(crate) event: String,
    pub(crate) id: Option<i64>,
    pub(crate) data: Value,
}

pub(crate) fn told(event: &str, id: i64, data: Value) -> DeliveryResult {
    DeliveryResult {
        event: event.to_owned(),
        id: Some(id),
        data,
    }
}

impl Stream {
    pub(crate) async fn of(
        hub: &TestHub,
        credential: &str,
        path: &str,
        last: Option<&str>,
    ) -> Self {
        let url = format!("http://{}{path}", hub.address);
        let mut request = client().get(url).bearer_auth(credential);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        let header = |name| response.headers()[name].to_str().unwrap();
        assert_eq!(header("content-type"), "text/event-stream");
        assert_eq!(header("cache-control"), "private, no-cache");
        assert_eq!(header("x-accel-buffering"), "no");
        Self {
            response,
            unread: String::new(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.response.headers()[name].to_str().unwrap()
    }

    pub(crate) async fn begin(hub: &TestHub, path: &str) -> Self {
        Self::of(hub, &hub.admin, path, None).await
    }

    pub(crate) async fn resume(hub: &TestHub, path: &str, last: impl ToString) -> Self {
        Self::of(hub, &hub.admin, path, Some(&last.to_string())).await
    }

    /// The next event; `None` once the stream has ended.
    pub(crate) async fn next(&mut self) -> Option<DeliveryResult> {
        loop {
            if let Some((text, rest)) = self.unread.split_once("\n\n") {
                let text = text.to_owned();
                self.unread = rest.to_owned();
                if let Some(told) = parsed(&text) {
                    return Some(told);
                }
                continue;
            }
            let chunk = tokio::time::timeout(DEADLINE, self.response.chunk())
                .await
                .expect("something comes in time")
                .unwrap()?;
            self.unread.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    pub(crate) async fn tells(&mut self, expected: DeliveryResult) {
        assert_eq!(self.next().await, Some(expected));
    }
}

/// An event; `None`: a comment.
fn parsed(text: &str) -> Option<DeliveryResult> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    Some(DeliveryResult {
        event: field("event: ")?.to_owned(),
        id: field("id: ").map(|id| id.parse().unwrap()),
        data: serde_json::from_str(field("data: ").unwrap()).unwrap(),
    })
}

#[tokio::test]
async fn a_stream_sends_a_silos_state_and_every_change() {
    let hub = TestHub::start().await;
    let made = hub.put_silo("office", &[("db", "10.0.0.5")]).await.json();
    let mut stream = Stream::begin(&hub, OFFICE).await;
    stream.tells(told("silo", revision(&made), made)).await;
    hub.put_silo("other", &[]).await;
    let changed = hub.put_silo("office", &[("db", "10.0.0.6")]).await.json();
    stream
        .tells(told("silo", revision(&changed), changed))
        .await;
    hub.delete("/silos/office").await;
    let deleted = stream.next().await.unwrap();
    let id = deleted.id.unwrap();
    let name = |id| json!({"id": "office", "revision": id});
    assert_eq!(deleted, told("deleted", id, name(id)));
    let again = hub.put_silo("office", &[]).await.json();
    stream.tells(told("silo", revision(&again), again)).await;
}

#[tokio::test]
async fn a_resumed_stream_sends_what_changed_meanwhile() {
    let hub = TestHub::start().await;
    let first = hub.put_silo("office", &[("db", "10.0.0.5")]).await.json();
    hub.put_silo("office", &[("db", "10.0.0.6")]).await;
    let now = hub.put_silo("office", &[("db", "10.0.0.7")]).await.json();
    let mut stream = Stream::resume(&hub, OFFICE, revision(&first)).await;
    stream
        .tells(told("silo", revision(&now), now.clone()))
        .await;
    // Nothing is new: what comes next is the next change.
    let mut stream = Stream::resume(&hub, OFFICE, revision(&now)).await;
    hub.delete("/silos/office").await;
    let deleted = stream.next().await.unwrap();
    assert_eq!(deleted.event, "deleted");
    // Also a stream that is resumed only then.
    let mut stream = Stream::resume(&hub, OFFICE, revision(&now)).await;
    assert_eq!(stream.next().await, Some(deleted));
}

#[tokio::test]
async fn a_stream_resumed_too_late_gets_a_reset() {
    let (hub, open) = TestHub::start_in_parts().await;
    let old = hub.put_silo("gone", &[]).await.json();
    let office = hub.put_silo("office", &[]).await.json();
    hub.delete("/silos/gone").await;
    let last = i64::from(open.store.position().await.unwrap().revision);
    let reset = DeliveryResult {
        event: "reset".to_owned(),
        id: None,
        data: json!({ "revision": last }),
    };
    let state = |id| told("silo", id, office.clone());
    for last in [(last + 1).to_string(), "soon".to_owned(), "-1".to_owned()] {
        let mut stream = Stream::resume(&hub, OFFICE, last).await;
        assert_eq!(stream.next().await.as_ref(), Some(&reset));
        stream.tells(state(revision(&office))).await;
    }
    hub.pass(31 * 86_400);
    upkeep(&open, 0).purge().await.unwrap();
    for path in [OFFICE, "/events?full=1"] {
        let mut stream = Stream::resume(&hub, path, revision(&old)).await;
        assert_eq!(stream.next().await.as_ref(), Some(&reset));
        // The deletion was the last change.
        stream.tells(state(last)).await;
    }
    // From the purge on everything is known.
    let mut stream = Stream::resume(&hub, OFFICE, last).await;
    let changed = hub.put_silo("office", &[("db", "10.0.0.5")]).await.json();
    stream
        .tells(told("silo", revision(&changed), changed))
        .await;
}

/// How the feed floor comes to be above every silo's revision.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Raised {
    ByPurge,
    ByRestore,
    /// While the stream is open.
    UnderStream,
}

#[tokio::test]
async fn a_stream_gets_its_reset_once() {
    for raised in [Raised::ByPurge, Raised::ByRestore, Raised::UnderStream] {
        for (path, deleted) in [
            (OFFICE, false),
            (OFFICE, true),
            ("/events", false),
            ("/events?full=1", false),
        ] {
            let what = format!("{raised:?} {path} {deleted}");
            if deleted && raised == Raised::ByPurge {
                // Nothing is left to send.
                continue;
            }
            begins_anew_once(raised, path, deleted, &what).await;
        }
    }
}

async fn begins_anew_once(raised: Raised, path: &str, deleted: bool, what: &str) {
    let hub = TestHub::start().await;
    let open = Arc::new(OpenHub::open(&hub.settings, hub.clock()).await.unwrap());
    let old = hub.put_silo("gone", &[]).await.json();
    for silo in ["other", "office"] {
        hub.put_silo(silo, &[]).await;
    }
    hub.delete("/silos/gone").await;
    let last = i64::from(open.store.position().await.unwrap().revision);
    let mut stream = Stream::resume(&hub, path, last).await;
    if deleted {
        hub.delete(OFFICE.trim_end_matches("/events")).await;
        assert_eq!(stream.next().await.unwrap().event, "deleted", "{what}");
    }
    match raised {
        Raised::ByPurge => {
            hub.pass(31 * 86_400);
            upkeep(&open, 0).purge().await.unwrap();
        }
        Raised::ByRestore | Raised::UnderStream => {
            open.registry
                .apply(NoteRestored::after(Revision::NONE).unwrap())
                .await
                .unwrap();
        }
    }
    if raised != Raised::UnderStream {
        stream = Stream::resume(&hub, path, revision(&old)).await;
    }
    assert_eq!(stream.next().await.unwrap().event, "reset", "{what}");
    // The last of the state.
    let mut told = stream.next().await.unwrap();
    while told.data["id"] != "office" {
        told = stream.next().await.unwrap();
    }
    let mut stream = Stream::resume(&hub, path, told.id.unwrap()).await;
    let changed = hub.put_silo("office", &[("db", "10.0.0.5")]).await.json();
    let next = stream.next().await.unwrap();
    assert_eq!(
        (next.event.as_str(), next.id),
        ("silo", Some(revision(&changed))),
        "{what}"
    );
    Arc::into_inner(open).unwrap().close().await;
}

#[tokio::test]
async fn a_stream_sends_all_silos_that_the_token_may_read() {
    let hub = TestHub::start().await;
    let b = revision(&hub.put_silo("b", &[("db", "10.0.0.5")]).await.json());
    let secret = revision(&hub.put_silo("secret", &[]).await.json());
    let a = hub.put_silo("a", &[]).await.json();
    hub.put_silo("gone", &[]).await;
    hub.delete("/silos/gone").await;
    let name = |id: &str, revision| json!({"id": id, "revision": revision});
    let reader = hub.credential("read", &["a", "b", "gone"], &[]).await;
    let mut names = Stream::of(&hub, &reader, "/events", None).await;
    names.tells(told("silo", b, name("b", b))).await;
    let at = revision(&a);
    names.tells(told("silo", at, name("a", at))).await;
    let mut full = Stream::of(&hub, &reader, "/events?full=1", Some(&b.to_string())).await;
    full.tells(told("silo", at, a)).await;
    let gone = full.next().await.unwrap();
    assert_eq!(
        (gone.event.as_str(), &gone.data["id"]),
        ("deleted", &json!("gone"))
    );

    hub.put_silo("secret", &[("db", "10.0.0.6")]).await;
    let changed = hub.put_silo("b", &[("db", "10.0.0.6")]).await.json();
    let at = revision(&changed);
    full.tells(told("silo", at, changed)).await;
    names.tells(told("silo", at, name("b", at))).await;
    hub.delete("/silos/a").await;
    assert_eq!(names.next().await.unwrap().event, "deleted");
    // An admin hears of all.
    let mut all = Stream::begin(&hub, "/events").await;
    let mut heard = Vec::new();
    while heard.last() != Some(&json!("b")) {
        heard.push(all.next().await.unwrap().data["id"].clone());
    }
    assert_eq!(heard, ["secret", "b"]);
    assert!(secret > b);
}

#[tokio::test]
async fn more_silos_than_one_page_are_each_sent_once() {
    const SILOS: usize = 250;
    let hub = TestHub::start().await;
    for number in 0..SILOS {
        hub.put_silo(&format!("s{number:03}"), &[]).await;
    }
    let mut stream = Stream::begin(&hub, "/events").await;
    for number in 0..SILOS {
        let event = stream.next().await.unwrap();
        assert_eq!(event.data["id"], format!("s{number:03}"));
    }
    hub.put_silo("last", &[]).await;
    assert_eq!(stream.next().await.unwrap().data["id"], "last");
}

#[tokio::test]
async fn a_stream_sends_changes_of_another_hub() {
    let Some((a, b)) = two_hubs().await else {
        return;
    };
    a.put_silo("office", &[("db", "10.0.0.5")]).await;
    let mut streams = Vec::new();
    for path in [OFFICE, "/events?full=1"] {
        let mut stream = Stream::begin(&a, path).await;
        stream.next().await.unwrap();
        streams.push(stream);
    }
    let changed = b.put_silo("office", &[("db", "10.0.0.6")]).await.json();
    for mut stream in streams {
        stream
            .tells(told("silo", revision(&changed), changed.clone()))
            .await;
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_token_and_with_the_hub() {
    let hub = TestHub::start().await;
    hub.put_silo("office", &[]).await;
    let spec = json!({"name": "reader", "role": "read", "silos": ["office"]});
    let (id, credential) = hub.token(spec).await;
    let mut streams = Vec::new();
    for path in [OFFICE, "/events"] {
        let mut stream = Stream::of(&hub, &credential, path, None).await;
        assert_eq!(stream.next().await.unwrap().event, "silo");
        streams.push(stream);
    }
    let mut admins = Stream::begin(&hub, OFFICE).await;
    assert_eq!(admins.next().await.unwrap().event, "silo");
    hub.delete(&format!("/tokens/{id}")).await;
    for stream in &mut streams {
        assert_eq!(stream.next().await, None);
    }
    hub.stop().await;
    assert_eq!(admins.next().await, None);
}

#[tokio::test]
async fn what_no_stream_can_tell_is_refused() {
    let hub = TestHub::start().await;
    hub.put_silo("office", &[]).await;
    hub.put_silo("gone", &[]).await;
    hub.delete("/silos/gone").await;
    for path in ["/silos/none/events", "/silos/gone/events"] {
        assert_eq!(hub.get(path).await.status, 404, "{path}");
    }
    assert_eq!(hub.get("/silos/a%20b/events").await.status, 422);
    let answer = hub.get("/events?full=yes").await;
    assert_eq!(
        (answer.status, answer.pointers()),
        (422, vec!["/full".into()])
    );
    let stranger = hub.credential("read", &["other"], &[]).await;
    let ask = |path| hub.open_call(Method::GET, path);
    assert_eq!(ask(OFFICE).bearer(&stranger).await.status, 404);
    for path in [OFFICE, "/events"] {
        assert_eq!(ask(path).await.status, 401);
        assert_eq!(hub.post(path).await.status, 405);
        assert_eq!(hub.head(path).await.status, 200);
    }
}

#[tokio::test]
async fn a_stream_is_not_signed() {
    let hub = TestHub::start().await;
    let made = hub.put_silo("office", &[]).await.json();
    let admin = Signer::of(&hub.admin);
    let mut shot = admin.sign(&hub, admin.draft(Method::GET, OFFICE));
    let url = format!("http://{}{OFFICE}", hub.address);
    let request = client()
        .get(url)
        .headers(std::mem::take(&mut shot.head.headers));
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(!response.headers().contains_key("signature"));
    let mut stream = Stream {
        response,
        unread: String::new(),
    };
    stream.tells(told("silo", revision(&made), made)).await;
}

/// Sends a signed request as it was recorded; answers its status and, unless it is a stream, its content.
async fn play(hub: &TestHub, path: &str, headers: &reqwest::header::HeaderMap) -> (u16, String) {
    let url = format!("http://{}{path}", hub.address);
    let request = client().get(url).headers(headers.clone());
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    match status {
        200 => (status, String::new()),
        _ => (status, response.text().await.unwrap()),
    }
}

#[tokio::test]
async fn a_signed_stream_counts_once_across_a_restart() {
    let mut hub = TestHub::start().await;
    hub.put_silo("office", &[]).await;
    let admin = Signer::of(&hub.admin);
    let mut sent = Vec::new();
    for path in [OFFICE, "/events", "/events?full=1", "/silos/none/events"] {
        let shot = admin.sign(&hub, admin.draft(Method::GET, path));
        let (status, content) = play(&hub, path, &shot.head.headers).await;
        let expected = if path.contains("none") { 404 } else { 200 };
        assert_eq!(status, expected, "{path}: {content}");
        sent.push((path, shot.head));
    }
    for restarted in [false, true] {
        if restarted {
            hub = hub.restart().await;
        }
        for (path, head) in &sent {
            let mut headers = head.headers.clone();
            headers.insert("host", head.authority.parse().unwrap());
            let (status, content) = play(&hub, path, &headers).await;
            assert_eq!(status, 401, "{path} {restarted}: {content}");
            assert!(content.contains("/problems/replay"), "{content}");
        }
    }
}

#[tokio::test]
async fn a_signed_stream_at_one_hub_is_refused_at_another() {
    let Some((a, b)) = two_hubs().await else {
        return;
    };
    a.put_silo("office", &[]).await;
    let admin = Signer::of(&a.admin);
    for path in [OFFICE, "/events"] {
        let shot = admin.sign(&a, admin.draft(Method::GET, path));
        assert_eq!(play(&a, path, &shot.head.headers).await.0, 200);
        let mut headers = shot.head.headers.clone();
        headers.insert("host", shot.head.authority.parse().unwrap());
        let (status, content) = play(&b, path, &headers).await;
        assert_eq!(status, 401, "{path}: {content}");
        assert!(content.contains("/problems/replay"), "{content}");
    }
}
