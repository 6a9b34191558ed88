//! What keeps pages up to date: streams that end with their session, and the question after changes.

use reqwest::Client;
use serde_json::{Value, json};

use super::{Browser, signed_in};
use crate::common::{DEADLINE, Kind, TestHub, revision};
use crate::several_hubs::two_hubs;

/// A stream of a session that is read.
struct Stream {
    response: reqwest::Response,
    unread: String,
}

impl Stream {
    async fn of(hub: &TestHub, browser: &Browser, after: i64) -> Self {
        let (name, value) = browser.session().expect("it is signed in");
        let url = format!("http://{}/dashboard/events?after={after}", hub.address);
        let client: Client = crate::common::client();
        let request = client.get(url).header("host", browser.host());
        let request = request.header("cookie", format!("{name}={value}"));
        let response = request.send().await.expect("the hub answers");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            response,
            unread: String::new(),
        }
    }

    /// The next event and its data; `None`: the stream has ended.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((text, rest)) = self.unread.split_once("\n\n") {
                let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
                let told = field("event: ").map(|event| {
                    let data = field("data: ").expect("events have data");
                    (
                        event.to_owned(),
                        serde_json::from_str(data).expect("it is JSON"),
                    )
                });
                self.unread = rest.to_owned();
                if told.is_some() {
                    return told;
                }
                continue;
            }
            let chunk = tokio::time::timeout(DEADLINE, self.response.chunk());
            let chunk = chunk.await.expect("something comes in time");
            let chunk = chunk.ok().flatten()?;
            self.unread.push_str(&String::from_utf8_lossy(&chunk));
        }
    }
}

#[tokio::test]
async fn a_stream_names_what_its_session_may_read() {
    let hub = TestHub::start().await;
    let made = revision(&hub.put_silo("office", &[]).await.json());
    let token = hub.credential("read", &["office"], &[]).await;
    let browser = Browser::of(&hub);
    browser.sign_in(&token).await;
    let mut stream = Stream::of(&hub, &browser, made).await;
    hub.put_silo("secret", &[]).await;
    let changed = revision(&hub.put_silo("office", &[("db", "10.0.0.5")]).await.json());
    let told = (
        "silo".to_owned(),
        json!({"id": "office", "revision": changed}),
    );
    assert_eq!(stream.next().await, Some(told));
    hub.delete("/silos/office").await;
    let (event, data) = stream.next().await.expect("it goes on");
    assert_eq!((event.as_str(), &data["id"]), ("deleted", &json!("office")));
    // A revision that this database has never had.
    let mut stream = Stream::of(&hub, &browser, changed + 1_000_000).await;
    let (event, _) = stream.next().await.expect("it goes on");
    assert_eq!(event, "reset");
}

#[tokio::test]
async fn a_stream_ends_with_its_session_and_its_token() {
    let hub = TestHub::start().await;
    let made = revision(&hub.put_silo("office", &[]).await.json());
    let (id, token) = hub
        .token(json!({"name": "laptop", "role": "read", "silos": ["office"]}))
        .await;
    let browser = Browser::of(&hub);
    browser.sign_in(&token).await;
    let mut stream = Stream::of(&hub, &browser, made).await;
    let other = Browser::of(&hub);
    other.sign_in(&token).await;
    let mut others = Stream::of(&hub, &other, made).await;
    browser.submit("/dashboard/sign-out", &[]).await;
    assert_eq!(stream.next().await, None);
    // The other session of the token goes on, until the token is revoked.
    let changed = revision(&hub.put_silo("office", &[("db", "10.0.0.5")]).await.json());
    let told = (
        "silo".to_owned(),
        json!({"id": "office", "revision": changed}),
    );
    assert_eq!(others.next().await, Some(told));
    assert_eq!(hub.delete(&format!("/tokens/{id}")).await.status, 204);
    assert_eq!(others.next().await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_at_another_hub_ends_with_its_session() {
    let Some((a, b)) = two_hubs().await else {
        assert_eq!(Kind::chosen(), Kind::Sqlite);
        return;
    };
    let made = revision(&a.put_silo("office", &[]).await.json());
    // As behind a balancer: the browser sees one host.
    let at = |hub: &TestHub| Browser::at(hub, "http://silo.lan");
    let (here, there, other) = (at(&a), at(&b), at(&b));
    here.sign_in(&a.admin).await;
    let (name, value) = here.session().expect("it is signed in");
    there.set_cookie(&name, &value);
    other.sign_in(&b.admin).await;
    let mut stream = Stream::of(&b, &there, made).await;
    let mut others = Stream::of(&b, &other, made).await;
    let page = here.submit("/dashboard/sign-out", &[]).await;
    assert_eq!(page.status, 303);
    while let Some((event, _)) = stream.next().await {
        assert_eq!(event, "silo");
    }
    // The other session of the token goes on.
    let changed = revision(&a.put_silo("office", &[("db", "10.0.0.5")]).await.json());
    loop {
        let (_, data) = others.next().await.expect("it goes on");
        if data["revision"] == changed {
            break;
        }
    }
}

#[tokio::test]
async fn changes_are_told_to_those_who_ask() {
    let hub = TestHub::start().await;
    let made = revision(&hub.put_silo("office", &[]).await.json());
    let browser = signed_in(&hub).await;
    let ask = async |after: i64| -> Value {
        let page = browser
            .get(&format!("/dashboard/changes?after={after}"))
            .await;
        assert_eq!(page.status, 200, "{}", page.text);
        serde_json::from_str(&page.text).expect("it is JSON")
    };
    let none = json!({"revision": made, "reset": false, "changes": []});
    assert_eq!(ask(made).await, none);
    let changed = revision(&hub.put_silo("office", &[("db", "10.0.0.5")]).await.json());
    let one = json!({"id": "office", "revision": changed});
    let told = json!({"revision": changed, "reset": false, "changes": [one]});
    assert_eq!(ask(made).await, told);
    assert_eq!(ask(changed + 1_000_000).await["reset"], true);
    for query in ["", "?after=x"] {
        let page = browser.get(&format!("/dashboard/changes{query}")).await;
        assert_eq!(page.status, 422, "{query}");
    }
    // A script is told that it is signed out, and not led to a page.
    let signed_out = Browser::of(&hub);
    for path in ["/dashboard/changes?after=1", "/dashboard/events?after=1"] {
        assert_eq!(signed_out.get(path).await.status, 401, "{path}");
    }
}

#[tokio::test]
async fn assets_are_kept_for_ever_and_compressed() {
    let hub = TestHub::start().await;
    let browser = Browser::of(&hub);
    let page = browser.get("/dashboard/sign-in").await;
    let assets: Vec<&str> = page
        .text
        .split('"')
        .filter(|text| text.starts_with("/dashboard/assets/"))
        .collect();
    assert!(assets.len() >= 3, "{assets:?}");
    for path in assets {
        let asset = browser.get(path).await;
        assert_eq!(asset.status, 200, "{path}");
        let caching = "public, max-age=31536000, immutable";
        assert_eq!(asset.header("cache-control"), Some(caching), "{path}");
        assert_eq!(asset.header("vary"), Some("Accept-Encoding"), "{path}");
        assert_eq!(asset.header("content-encoding"), None, "{path}");
        let gzip = [("accept-encoding", "gzip, br")];
        let small = browser.send(reqwest::Method::GET, path, &gzip, None).await;
        assert_eq!(small.header("content-encoding"), Some("gzip"), "{path}");
    }
    assert_eq!(
        browser.get("/dashboard/assets/dashboard.css").await.status,
        404
    );
}
