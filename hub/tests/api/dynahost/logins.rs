//! Logins that callers give for a DDNS provider, and the provider's requests made with them.

use std::sync::Arc;

use reqwest::Method;
use silo_e2e::provider::{PASSWORD, Provider, USERNAME};
use silo_hub::internals::open_hub::OpenHub;
use silo_hub::internals::open_sinks;

use super::{HERE, ok, start_with, update, update_from};
use crate::common::{Answer, TestHub};
use crate::deliveries::scripted::{Desk, counts, deliveries};

/// A hub with the sink `ovh` at a provider, and its workers.
async fn start(provider: &Provider) -> (TestHub, Arc<OpenHub>, Desk) {
    let sinks = format!(
        "- {{name: ovh, kind: dyndns2, url: {:?}, logins: dynahost}}\n",
        provider.url()
    );
    let (hub, open) = start_with(&sinks).await;
    let desk = desk(&hub, &open).await;
    (hub, open, desk)
}

async fn desk(hub: &TestHub, open: &OpenHub) -> Desk {
    let key = open.key().await.expect("the key is there");
    let sinks = open_sinks(&hub.settings).expect("the settings are good");
    let sinks = sinks.into_iter().map(|sink| sink.keyed(&key)).collect();
    Desk::begin(open, "a", sinks).await
}

/// The query of a caller with this login.
fn query(host: &str, login: &str, pass: &str) -> String {
    let encoded =
        |text: &str| -> String { url::form_urlencoded::byte_serialize(text.as_bytes()).collect() };
    format!(
        "backend=ovh&secid=one&host={host}&login={}&pass={}",
        encoded(login),
        encoded(pass)
    )
}

/// The page at a target below `/log`.
async fn log_of(hub: &TestHub, target: &str) -> Answer {
    let call = hub.open_call(Method::GET, target);
    call.seen_from(HERE).await
}

fn told(provider: &Provider) -> Vec<String> {
    let updates = provider.updates();
    assert!(
        updates.iter().all(|update| !update.is_repeat),
        "{updates:?}"
    );
    let words = updates
        .iter()
        .map(|update| format!("{} {:?}", update.hostname, update.addresses));
    words.collect()
}

#[tokio::test]
async fn the_provider_is_updated_only_when_the_address_changed() {
    let provider = Provider::start(&["nas.example.net"]);
    let (hub, open, desk) = start(&provider).await;
    let query = query("nas.example.net", USERNAME, PASSWORD);
    for _ in 0..3 {
        assert_eq!(update(&hub, &query).await, ok());
        desk.work().await;
    }
    assert_eq!(told(&provider), ["nas.example.net [192.0.2.7]"]);
    assert_eq!(counts(&hub).await, [0, 0, 1]);
    assert_eq!(update_from(&hub, &query, "192.0.2.8").await, ok());
    desk.work().await;
    // Whichever caller changes the record.
    hub.put("/silos/home/records/nas.example.net")
        .json(&serde_json::json!({"ip": "192.0.2.9"}))
        .await;
    desk.work().await;
    let all = [
        "nas.example.net [192.0.2.7]",
        "nas.example.net [192.0.2.8]",
        "nas.example.net [192.0.2.9]",
    ];
    assert_eq!(told(&provider), all);

    // Hosts without a login are not sent to the provider, after a change or a comparison.
    assert_eq!(update(&hub, "secid=one&host=web.example.net").await, ok());
    hub.put_silo("office", &[("nas.example.net", "10.0.0.5")])
        .await;
    hub.pass(86_401);
    desk.work().await;
    self::desk(&hub, &open).await.work().await;
    assert_eq!(told(&provider), all);
    assert_eq!(counts(&hub).await, [0, 0, 3]);
    assert_eq!(provider.requests(), 3);
}

#[tokio::test]
async fn a_wrong_login_is_shown_and_does_not_block_other_hosts() {
    let provider = Provider::start(&["nas.example.net", "web.example.net"]);
    let (hub, _open, desk) = start(&provider).await;
    let mistyped = query("nas.example.net", USERNAME, "mistyped");
    assert_eq!(update(&hub, &mistyped).await, ok());
    desk.work().await;
    let failed = deliveries(&hub, "state=failed").await;
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(failed[0]["sink"], "ovh");
    let why = failed[0]["why"].as_str().expect("it says why");
    assert!(why.contains("login") && !why.contains("mistyped"), "{why}");
    assert_eq!(failed[0]["next_try"], serde_json::Value::Null);
    // Told again with the same, it is not sent again.
    assert_eq!(update(&hub, &mistyped).await.0, 403);
    desk.work().await;
    assert_eq!(provider.requests(), 1);

    let web = query("web.example.net", USERNAME, PASSWORD);
    assert_eq!(update(&hub, &web).await, ok());
    desk.work().await;
    assert_eq!(told(&provider), ["web.example.net [192.0.2.7]"]);

    let corrected = query("nas.example.net", USERNAME, PASSWORD);
    assert_eq!(update(&hub, &corrected).await, ok());
    desk.work().await;
    assert_eq!(provider.addresses("nas.example.net").len(), 1);
    assert_eq!(counts(&hub).await, [0, 0, 2]);
}

#[tokio::test]
async fn the_response_reports_that_the_provider_refused_the_login() {
    for (host, pass, words) in [
        ("nas.example.net", "mistyped", "(badauth)"),
        ("pi.example.net", PASSWORD, "(nohost)"),
    ] {
        let provider = Provider::start(&["nas.example.net"]);
        let (hub, _open, desk) = start(&provider).await;
        let given = query(host, USERNAME, pass);
        assert_eq!(update(&hub, &given).await, ok(), "not refused yet");
        desk.work().await;
        let (status, text) = update(&hub, &given).await;
        assert_eq!(status, 403, "{host}: {text}");
        assert!(text.contains("ovh") && text.contains(words), "{text}");
        assert!(!text.contains(pass), "{text}");
        // The record has the caller's address nevertheless.
        let moved = update_from(&hub, &given, "192.0.2.8").await;
        assert_eq!(moved, ok(), "{host}: it is tried again at a change");
        desk.work().await;
        let (status, text) = update_from(&hub, &given, "192.0.2.8").await;
        assert_eq!(status, 403, "{host}: {text}");
        let record = hub.get(&format!("/silos/home/records/{host}")).await;
        assert_eq!(record.json()["ips"], serde_json::json!(["192.0.2.8"]));

        let log = log_of(&hub, &format!("/log?secid=one&host={host}")).await;
        assert_eq!(log.status, 200);
        assert!(log.text().contains(words), "{}", log.text());

        // Who gives no login hears nothing of that of another caller, and nothing of it is said of other hosts.
        let plain = format!("secid=one&host={host}");
        assert_eq!(update(&hub, &plain).await, ok(), "{host}");
        assert_eq!(update(&hub, "secid=one&host=h1").await, ok());
        let log = log_of(&hub, "/log?secid=one&host=h1").await;
        assert!(!log.text().contains("refuse"), "{}", log.text());
    }
}

#[tokio::test]
async fn a_login_that_is_taken_again_is_not_complained_of() {
    let provider = Provider::start(&["nas.example.net"]);
    let (hub, _open, desk) = start(&provider).await;
    let host = "nas.example.net";
    let mistyped = query(host, USERNAME, "mistyped");
    assert_eq!(update(&hub, &mistyped).await, ok());
    desk.work().await;
    assert_eq!(update(&hub, &mistyped).await.0, 403);
    let corrected = query(host, USERNAME, PASSWORD);
    for _ in 0..2 {
        assert_eq!(update(&hub, &corrected).await, ok());
        desk.work().await;
    }
    let log = log_of(&hub, &format!("/log?secid=one&host={host}")).await;
    assert!(!log.text().contains("refuse"), "{}", log.text());
}

#[tokio::test]
async fn another_login_is_used_at_once_and_guessing_by_way_of_the_hub_ends() {
    let provider = Provider::start(&["nas.example.net"]);
    let (hub, _open, desk) = start(&provider).await;
    let host = "nas.example.net";
    assert_eq!(update(&hub, &query(host, USERNAME, PASSWORD)).await, ok());
    desk.work().await;
    assert_eq!(told(&provider).len(), 1);
    for guess in 0..10 {
        let guess = query(host, USERNAME, &format!("guess-{guess}"));
        assert_eq!(update(&hub, &guess).await, ok());
    }
    desk.work().await;
    assert_eq!(provider.requests(), 2, "many become one");
    assert_eq!(told(&provider).len(), 1, "with the newest login");
    let more = query(host, USERNAME, "guess-10");
    assert_eq!(update(&hub, &more).await.0, 429);
}

#[tokio::test]
async fn what_a_backend_does_not_take_is_refused() {
    let provider = Provider::start(&["nas.example.net"]);
    let sinks = format!(
        "- {{name: ovh, kind: dyndns2, url: {0:?}, logins: dynahost, hostnames: ['*.example.net', nas]}}\n\
         - {{name: own, kind: dyndns2, url: {0:?}, logins: dynahost, domain: example.net}}\n",
        provider.url()
    );
    let (hub, open) = start_with(&sinks).await;
    let with =
        |backend: &str, host: &str| format!("backend={backend}&secid=s&login=a&pass=b&host={host}");
    for (backend, host, words) in [
        (
            "gandi",
            "nas.example.net",
            "backend: this hub has none called \"gandi\"",
        ),
        (
            "OVH",
            "nas.example.net",
            "backend: this hub has none called \"OVH\"",
        ),
        ("ovh", "h1", "backend: it does not take h1"),
        ("ovh", "nas", "host: not for ovh: it has no domain"),
    ] {
        let (status, text) = update(&hub, &with(backend, host)).await;
        assert_eq!(status, 400, "{backend} {host}: {text}");
        assert!(text.starts_with(words), "{text}");
    }
    assert!(open.store.dynahosts().await.expect("a list").is_empty());
    // The sink's own settings say what a single label is called there.
    let own = query("nas", USERNAME, PASSWORD).replace("backend=ovh", "backend=own");
    assert_eq!(update(&hub, &own).await, ok());
    desk(&hub, &open).await.work().await;
    assert_eq!(told(&provider), ["nas.example.net [192.0.2.7]"]);
}

#[tokio::test]
async fn logins_lie_sealed_in_the_database_and_go_with_the_hubs_key() {
    let provider = Provider::start(&["nas.example.net"]);
    let (hub, open, desk) = start(&provider).await;
    let query =
        query("nas.example.net", USERNAME, PASSWORD).replace("secid=one", "secid=hush-hush");
    assert_eq!(update(&hub, &query).await, ok());
    desk.work().await;
    for value in hub.home.dump().await {
        let text = String::from_utf8_lossy(&value);
        for secret in [USERNAME, PASSWORD, "hush-hush"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
    open.reset_key().await.expect("a new key is made");
    let binding = open.store.dynahosts().await.expect("a list").remove(0);
    assert_eq!(binding.login, None);
    assert!(binding.secid.is_some(), "the secid is not sealed");
    // This hub has the old key still, and says nothing of it to its callers.
    assert_eq!(update(&hub, &query).await.0, 500);
    assert_eq!(
        update(&hub, "secid=hush-hush&host=nas.example.net").await,
        ok()
    );
    let from = update_from(&hub, "secid=hush-hush&host=nas.example.net", "192.0.2.8").await;
    assert_eq!(from, ok());
    desk.work().await;
    assert_eq!(provider.requests(), 1, "no login is left");
}
