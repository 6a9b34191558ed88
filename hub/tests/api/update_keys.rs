//! Update keys: `/u/{key}`, and with `compat.sftdyn` `/{key}`.

mod forms;

use reqwest::Method;
use serde_json::json;
use silo_hub::internals::domain::update_key::{RawKey, UpdateKey};
use silo_hub::internals::open_hub::OpenHub;
use silo_hub::internals::registry::{AddUpdateKey, ApplyError, Refusal, RevokeUpdateKey};
use silo_hub::internals::secrets::random_id;
use silo_shared::silo::{Hostname, SiloId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::TestHub;
use crate::dashboard::Browser;

/// Adds an update key for a record of `office`; answers its id.
pub(crate) async fn add(
    open: &OpenHub,
    key: &str,
    hostname: &str,
) -> Result<UpdateKey, ApplyError> {
    let hub_key = open.key().await.expect("the key is there");
    let raw = RawKey::of(key.as_bytes()).expect("a key");
    let key = UpdateKey {
        id: random_id().expect("random bytes"),
        silo: SiloId::parse("office").expect("an id"),
        hostname: Hostname::parse(hostname).expect("a name"),
        created_at: open.clock.now(),
    };
    let command = AddUpdateKey {
        key: key.clone(),
        hash: hub_key.update_key_hash(&raw),
        hashed_by: hub_key.fingerprint(),
    };
    open.registry.apply(command).await.map(|()| key)
}

/// A hub behind a proxy that the tests are, which speaks sftdyn at its root or not.
pub(crate) async fn start(sftdyn: bool) -> (TestHub, std::sync::Arc<OpenHub>) {
    TestHub::start_in_parts_with(|settings| {
        settings.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
        settings.compat.sftdyn = sftdyn;
    })
    .await
}

/// Status and words of a bare request for a target, from an address.
async fn call(hub: &TestHub, method: &str, target: &str, from: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(hub.address).await.expect("it listens");
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: hub\r\nX-Forwarded-For: {from}\r\nConnection: close\r\n\r\n"
    );
    stream
        .write_all(request.as_bytes())
        .await
        .expect("it reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("it answers");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).expect("a status");
    assert!(
        head.to_ascii_lowercase().contains("content-length:"),
        "{head}"
    );
    (status.parse().expect("a number"), body.to_owned())
}

pub(crate) async fn get(hub: &TestHub, target: &str, from: &str) -> (u16, String) {
    call(hub, "GET", target, from).await
}

pub(crate) fn words(status: u16, text: &str) -> (u16, String) {
    (status, text.to_owned())
}

#[tokio::test]
async fn a_call_sets_the_record_to_where_it_comes_from() {
    let (hub, open) = start(false).await;
    add(&open, "0123456789abcdef", "nas").await.expect("a key");
    let target = "/u/0123456789abcdef";
    assert_eq!(get(&hub, target, "192.0.2.7").await, words(200, "OK"));
    assert_eq!(get(&hub, target, "192.0.2.7").await, words(200, "UPTODATE"));
    assert_eq!(get(&hub, target, "2001:db8::7").await, words(200, "OK"));
    let record = hub.get("/silos/office/records/nas").await.json();
    assert_eq!(record["ips"], json!(["192.0.2.7", "2001:db8::7"]));
    let history = hub.history("office").await;
    assert_eq!(history.len(), 2);
    assert!(
        history.iter().all(|row| row["via"] == "sftdyn"),
        "{history:?}"
    );
    assert_eq!(get(&hub, "/u/", "192.0.2.7").await, words(200, "192.0.2.7"));
    assert_eq!(call(&hub, "POST", target, "192.0.2.8").await.0, 405);
    assert_eq!(call(&hub, "HEAD", target, "192.0.2.8").await.0, 405);
    // Neither an image nor a link on another site's page sets a record.
    for (header, value) in [
        ("sec-fetch-site", "cross-site"),
        ("origin", "https://evil.example"),
        ("origin", "null"),
    ] {
        let cross = hub.open_call(Method::GET, target).header(header, value);
        let answer = cross.seen_from("192.0.2.9").await;
        assert_eq!(answer.status, 403, "{header}: {value}");
        assert_eq!(answer.json()["type"], "/problems/forbidden");
    }
    assert_eq!(hub.history("office").await, history);
}

#[tokio::test]
async fn a_key_is_the_raw_path_and_query() {
    let (hub, open) = start(false).await;
    for (at, (key, target)) in [
        (
            "path-and?query=with,commas&more",
            "path-and?query=with,commas&more",
        ),
        ("with%2Fslash-0123456789", "with%2Fslash-0123456789"),
        ("with/slash-0123456789", "with/slash-0123456789"),
        ("schlüssel-0123456789", "schl%C3%BCssel-0123456789"),
        ("with~!$'()*+;:@-0123", "with~!$'()*+;:@-0123"),
    ]
    .into_iter()
    .enumerate()
    {
        let hostname = format!("h{at}");
        add(&open, key, &hostname).await.expect("a key");
        let answer = get(&hub, &format!("/u/{target}"), "192.0.2.7").await;
        assert_eq!(answer, words(200, "OK"), "{key}");
        let record = hub.get(&format!("/silos/office/records/{hostname}")).await;
        assert_eq!(record.status, 200, "{key}");
    }
    // Nothing is decoded: these are other keys.
    for other in [
        "with/slash%2D0123456789",
        "path-and%3Fquery=with,commas&more",
    ] {
        let answer = get(&hub, &format!("/u/{other}"), "192.0.2.9").await;
        assert_eq!(answer, words(403, "BADKEY"), "{other}");
    }
}

#[tokio::test]
async fn keys_are_unique_and_a_revoked_key_is_invalid() {
    let (hub, open) = start(false).await;
    let key = add(&open, "0123456789abcdef", "nas").await.expect("a key");
    let again = add(&open, "0123456789abcdef", "db").await;
    assert!(matches!(again, Err(ApplyError::Refused(Refusal::KeyTaken))));
    open.registry
        .apply(RevokeUpdateKey(key.id))
        .await
        .expect("it is there");
    let answer = get(&hub, "/u/0123456789abcdef", "192.0.2.7").await;
    assert_eq!(answer, words(403, "BADKEY"));
    assert_eq!(hub.get("/silos/office").await.status, 404);
    let gone = open.registry.apply(RevokeUpdateKey(key.id)).await;
    assert!(matches!(
        gone,
        Err(ApplyError::Refused(Refusal::NoUpdateKey))
    ));
    add(&open, "0123456789abcdef", "db")
        .await
        .expect("free again");
}

#[tokio::test]
async fn after_ten_wrong_keys_nothing_is_looked_at() {
    for (sftdyn, before) in [(false, "/u/"), (true, "/")] {
        let (hub, open) = start(sftdyn).await;
        add(&open, "0123456789abcdef", "nas").await.expect("a key");
        for guess in 0..10 {
            let answer = get(&hub, &format!("{before}guess-{guess}"), "192.0.2.66").await;
            assert_eq!(answer, words(403, "BADKEY"));
        }
        let right = format!("{before}0123456789abcdef");
        assert_eq!(get(&hub, &right, "192.0.2.66").await, words(403, "BADKEY"));
        hub.pass(13);
        let call = hub.open_call(Method::GET, &right).in_words_of(&[403]);
        let answer = call.seen_from("192.0.2.66").await;
        assert_eq!(answer.text(), "BADKEY");
        assert_eq!(answer.header("retry-after"), Some("47"), "{before}");
        hub.pass(-13);
        assert_eq!(
            get(&hub, &right, "192.0.2.7").await,
            words(200, "OK"),
            "others continue"
        );
        hub.pass(60);
        assert_eq!(get(&hub, &right, "192.0.2.66").await, words(200, "OK"));
    }
}

/// A guess is answered immediately, even during a write; many concurrent ones count as at most ten.
#[tokio::test]
async fn wrong_keys_wait_for_no_writer_and_none_is_looked_at_behind_ten() {
    let (hub, open) = start(true).await;
    add(&open, "0123456789abcdef", "nas").await.expect("a key");
    let held = open.store.begin_write(&[]).await.expect("no other writer");
    for guess in 0..10 {
        let before = ["/u/", "/"][guess % 2];
        let answer = get(&hub, &format!("{before}guess-{guess}"), "192.0.2.66").await;
        assert_eq!(answer, words(403, "BADKEY"));
    }
    drop(held);
    let answer = get(&hub, "/u/0123456789abcdef", "192.0.2.66").await;
    assert_eq!(answer, words(403, "BADKEY"));
    assert_eq!(hub.get("/silos/office").await.status, 404);
}

#[tokio::test]
async fn an_address_that_no_machine_has_is_not_stored() {
    let (hub, open) = start(false).await;
    add(&open, "0123456789abcdef", "nas").await.expect("a key");
    for from in ["0.0.0.0", "::", "224.0.0.1", "ff02::1"] {
        let answer = get(&hub, "/u/0123456789abcdef", from).await;
        assert_eq!(answer, words(500, "FAIL"), "{from}");
    }
    assert_eq!(hub.get("/silos/office").await.status, 404);
}

#[tokio::test]
async fn requests_without_a_path_are_no_keys() {
    for sftdyn in [false, true] {
        let (hub, _open) = start(sftdyn).await;
        for (request, status) in [
            ("CONNECT hub:80", 404),
            ("OPTIONS *", 404),
            ("GET //", 404),
            ("GET http://hub", 200),
        ] {
            let more =
                "HTTP/1.1\r\nHost: hub\r\nX-Forwarded-For: 192.0.2.7\r\nConnection: close\r\n\r\n";
            let answer = hub.raw(format!("{request} {more}")).await;
            let status = format!("HTTP/1.1 {status} ");
            assert!(answer.starts_with(&status), "{request}: {answer}");
        }
    }
}

#[tokio::test]
async fn the_root_speaks_sftdyn_only_if_configured() {
    let (hub, open) = start(false).await;
    add(&open, "0123456789abcdef", "nas").await.expect("a key");
    assert_eq!(get(&hub, "/0123456789abcdef", "192.0.2.7").await.0, 404);
    assert!(get(&hub, "/", "192.0.2.7").await.1.contains("Silo"));

    let (hub, open) = start(true).await;
    add(&open, "a-key?with=query,and&more", "nas")
        .await
        .expect("a key");
    let answer = get(&hub, "/a-key?with=query,and&more", "192.0.2.7").await;
    assert_eq!(answer, words(200, "OK"));
    assert_eq!(get(&hub, "/", "192.0.2.7").await, words(200, "192.0.2.7"));
    let page = Browser::of(&hub).get("/").await;
    assert_eq!((page.status, page.location()), (303, "/dashboard/"));
    for known in ["/ping", "/ip", "/healthz"] {
        assert_eq!(get(&hub, known, "192.0.2.7").await.0, 200, "{known}");
    }
    // No guesses: what browsers ask for by themselves, and mistyped routes.
    for _ in 0..12 {
        for target in ["/favicon.ico", "/robots.txt", "/no/such/route"] {
            assert_eq!(get(&hub, target, "192.0.2.8").await.0, 404, "{target}");
        }
    }
    let answer = get(&hub, "/a-key?with=query,and&more", "192.0.2.8").await;
    assert_eq!(answer, words(200, "OK"));
}
