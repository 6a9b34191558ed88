//! `GET /token`, `GET /version` and `PATCH /tokens/{id}`.

use reqwest::Method;
use serde_json::{Value, json};
use silo_hub::internals::open_hub::OpenHub;
use silo_hub::internals::registry::{Actor, ChangeToken};
use silo_hub::internals::store::Via;
use silo_shared::credential::TokenId;

use crate::common::{DEADLINE, PAUSE, START, TestHub, dnsrecords, raw_status, text};
use crate::ended_tokens::Halfway;
use crate::events::Stream;
use crate::signing::Signer;
use crate::wait::{answer, waiting};

const DB: &str = "/silos/office/records/db";

#[tokio::test]
async fn each_token_can_read_itself_and_the_version() {
    let hub = TestHub::start().await;
    for spec in [
        json!({"name": "r", "role": "read", "silos": ["office", "lab-*"]}),
        json!({"name": "w", "role": "write", "silos": ["office"], "hostnames": ["nas-*"],
            "expires_at": "2027-01-01T00:00:00.000Z"}),
        json!({"name": "a", "role": "admin"}),
    ] {
        let (id, credential) = hub.token(spec.clone()).await;
        let own = hub
            .open_call(Method::GET, "/token")
            .bearer(&credential)
            .await;
        assert_eq!(own.status, 200, "{own:?}");
        assert_eq!(own.header("cache-control"), Some("private, no-cache"));
        let mut expected = json!({"id": id, "silos": [], "created_at": START, "expires_at": null,
            "last_used_at": START});
        for (name, value) in spec.as_object().unwrap() {
            expected[name] = value.clone();
        }
        assert_eq!(own.json(), expected);
        let listed = hub.get("/tokens").await.json();
        assert!(listed.as_array().unwrap().contains(&expected), "{listed}");
        let signed = Signer::of(&credential).get(&hub, "/token").await;
        assert_eq!(signed.json(), expected);
        let version = hub.open_call(Method::GET, "/version").bearer(&credential);
        assert_eq!(
            version.await.json(),
            json!({"version": env!("CARGO_PKG_VERSION"), "api": 1})
        );
    }
    for path in ["/token", "/version"] {
        assert_eq!(hub.open_call(Method::GET, path).await.status, 401, "{path}");
        assert_eq!(hub.head(path).await.status, 200, "{path}");
        assert_eq!(hub.put(path).await.allowed(), ["GET", "HEAD"], "{path}");
    }
}

#[tokio::test]
async fn a_token_sees_how_long_its_former_secret_is_valid() {
    let hub = TestHub::start().await;
    let (id, former) = hub.token(json!({"name": "a", "role": "admin"})).await;
    let rotated = hub.post(&format!("/tokens/{id}/rotate"));
    let rotated = rotated.json(&json!({"overlap": 60})).await.json();
    for credential in [&former, &text(&rotated["secret"])] {
        let own = hub
            .open_call(Method::GET, "/token")
            .bearer(credential)
            .await;
        assert_eq!(
            own.json()["old_secret_ends_at"],
            rotated["old_secret_ends_at"]
        );
    }
    hub.pass(61);
    let own = hub.open_call(Method::GET, "/token");
    let own = own.bearer(&text(&rotated["secret"])).await;
    assert_eq!(own.json().get("old_secret_ends_at"), None);
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_is_audited() {
    let hub = TestHub::start().await;
    let (id, credential) = hub
        .token(
            json!({"name": "nas", "role": "write", "silos": ["office"], "hostnames": ["nas"],
            "expires_at": "2027-01-01T00:00:00Z"}),
        )
        .await;
    let path = format!("/tokens/{id}");
    let own = async || {
        let own = hub
            .open_call(Method::GET, "/token")
            .bearer(&credential)
            .await;
        own.json()
    };
    let before = own().await;
    for (patch, changed) in [
        (json!({"name": "nas 2"}), json!({"name": "nas 2"})),
        (
            json!({"silos": ["Office", "lab-*"]}),
            json!({"silos": ["office", "lab-*"]}),
        ),
        (
            json!({"hostnames": ["NAS.", "db-*"]}),
            json!({"hostnames": ["nas", "db-*"]}),
        ),
        (json!({"hostnames": null}), json!({"hostnames": null})),
        (
            json!({"expires_at": "2028-01-01T00:00:00Z"}),
            json!({"expires_at": "2028-01-01T00:00:00.000Z"}),
        ),
        (json!({"expires_at": null}), json!({"expires_at": null})),
    ] {
        let mut expected = own().await;
        for (name, value) in changed.as_object().unwrap() {
            expected[name] = value.clone();
        }
        if expected["hostnames"].is_null() {
            expected.as_object_mut().unwrap().remove("hostnames");
        }
        let answer = hub.call(Method::PATCH, &path).json(&patch).await;
        assert_eq!(answer.status, 200, "{patch}: {answer:?}");
        assert_eq!(answer.json(), expected, "{patch}");
        assert_eq!(own().await, expected, "{patch}");
    }
    // What was read can be sent back; what changes nothing is not recorded.
    for patch in [own().await, json!({}), json!({"name": "nas 2"})] {
        let answer = hub.call(Method::PATCH, &path).json(&patch).await;
        assert_eq!(answer.status, 200, "{patch}: {answer:?}");
    }
    let back = hub.call(Method::PATCH, &path).json(&before).await;
    assert_eq!(back.json(), before);
    let admin = hub.admin.split('_').nth(1).unwrap().to_owned();
    let rows = hub.get("/audit").await.json();
    let rows: Vec<&Value> = rows.as_array().unwrap().iter().collect();
    let changes = rows.iter().filter(|row| row["event"] == "changed");
    assert_eq!(changes.count(), 7, "{rows:?}");
    assert_eq!(
        *rows[0],
        json!({"at": START, "event": "changed", "token": id, "by": admin, "via": "rest",
            "client_ip": "127.0.0.1", "count": 1})
    );
    let hub = hub.restart().await;
    let own = hub
        .open_call(Method::GET, "/token")
        .bearer(&credential)
        .await;
    assert_eq!(own.json()["silos"], before["silos"]);
}

#[tokio::test]
async fn a_wrong_patch_is_refused_whole() {
    let hub = TestHub::start().await;
    let (id, credential) = hub
        .token(json!({"name": "nas", "role": "write", "silos": ["office"]}))
        .await;
    let (admin, _) = hub.token(json!({"name": "a", "role": "admin"})).await;
    let before = hub.get("/tokens").await.json();
    for (token, patch, pointers) in [
        (&id, json!({"name": ""}), vec!["/name"]),
        (&id, json!({"name": null}), vec!["/name"]),
        (&id, json!({"silos": []}), vec!["/silos"]),
        (&id, json!({"silos": null}), vec!["/silos"]),
        (&id, json!({"silos": ["a", "a b", 3]}), vec!["/silos/2"]),
        (&id, json!({"silos": ["a", "a b"]}), vec!["/silos/1"]),
        (&id, json!({"hostnames": []}), vec!["/hostnames"]),
        (&id, json!({"hostnames": "db"}), vec!["/hostnames"]),
        (
            &id,
            json!({"expires_at": "2026-01-01T00:00:00Z"}),
            vec!["/expires_at"],
        ),
        (&id, json!({"expires_at": 5}), vec!["/expires_at"]),
        (&id, json!({"expires_in": 5}), vec!["/expires_in"]),
        (&id, json!({"revision": 5}), vec!["/revision"]),
        (&id, json!({"last_seen": "x"}), vec!["/last_seen"]),
        (&id, json!({"secret": "x", "name": "y"}), vec!["/secret"]),
        (&id, json!({"id": "aaaaaaaaaa"}), vec!["/id"]),
        (&id, json!({"role": "admin"}), vec!["/role"]),
        (&id, json!({"role": "king"}), vec!["/role"]),
        (
            &id,
            json!({"name": "", "silos": ["-"]}),
            vec!["/name", "/silos/0"],
        ),
        (&admin, json!({"silos": ["office"]}), vec!["/silos"]),
        (
            &admin,
            json!({"name": "new", "hostnames": ["db"]}),
            vec!["/hostnames"],
        ),
        (&admin, json!([]), vec![""]),
    ] {
        let call = hub.call(Method::PATCH, &format!("/tokens/{token}"));
        let answer = call.json(&patch).await;
        assert_eq!(answer.status, 422, "{patch}: {answer:?}");
        assert_eq!(answer.pointers(), pointers, "{patch}");
    }
    let path = format!("/tokens/{id}");
    let twice = hub
        .call(Method::PATCH, &path)
        .body(r#"{"name":"a","name":"b"}"#);
    assert_eq!(twice.await.status, 400);
    for gone in ["aaaaaaaaaa", "x"] {
        let call = hub.call(Method::PATCH, &format!("/tokens/{gone}"));
        assert_eq!(call.json(&json!({"name": "x"})).await.status, 404, "{gone}");
    }
    // No token may widen itself.
    let own = hub.open_call(Method::PATCH, &path).bearer(&credential);
    assert_eq!(own.json(&json!({"silos": ["*"]})).await.status, 403);
    let after = hub.get("/tokens").await.json();
    let specs = |list: &Value| {
        let mut list = list.clone();
        for token in list.as_array_mut().unwrap() {
            token["last_used_at"] = Value::Null;
        }
        list
    };
    assert_eq!(specs(&after), specs(&before));
}

#[tokio::test]
async fn an_expired_token_can_be_prolonged_and_a_revoked_one_can_not() {
    let hub = TestHub::start().await;
    let (id, credential) = hub
        .token(json!({"name": "r", "role": "read", "silos": ["office"],
            "expires_at": "2026-01-02T03:05:00Z"}))
        .await;
    hub.pass(600);
    let path = format!("/tokens/{id}");
    let patch = async |patch: Value| hub.call(Method::PATCH, &path).json(&patch).await.status;
    let own = async || {
        let own = hub
            .open_call(Method::GET, "/token")
            .bearer(&credential)
            .await;
        own.status
    };
    assert_eq!(
        (patch(json!({"name": "old"})).await, own().await),
        (200, 401)
    );
    let later = json!({"expires_at": "2026-02-01T00:00:00Z"});
    assert_eq!((patch(later.clone()).await, own().await), (200, 200));
    assert_eq!(hub.delete(&path).await.status, 204);
    assert_eq!((patch(later).await, own().await), (404, 401));
}

#[tokio::test]
async fn new_rights_count_at_once_for_what_has_begun_too() {
    let hub = TestHub::start().await;
    hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    let tag = hub.put_silo("lab", &[("db", "10.0.0.5")]).await.etag();
    let read = waiting(&hub, "/silos/lab", &tag, "wait=300").await;
    let (id, credential) = hub
        .token(json!({"name": "w", "role": "write", "silos": ["office", "lab"]}))
        .await;
    let mut stream = Stream::of(&hub, &credential, "/events", None).await;
    assert!(stream.next().await.is_some() && stream.next().await.is_some());
    let head = format!("PUT {DB} HTTP/1.1\r\nAuthorization: Bearer {credential}");
    let write = Halfway::begin(&hub, &head, r#"{"ip":"10.0.0.9"}"#).await;

    let tokens = hub.get("/tokens").await.json();
    let waits = |token: &&Value| token["name"] == "waiting";
    let reader = text(&tokens.as_array().unwrap().iter().find(waits).unwrap()["id"]);
    for token in [&id, &reader] {
        let call = hub.call(Method::PATCH, &format!("/tokens/{token}"));
        let narrowed = json!({"silos": ["office"], "hostnames": ["db"]});
        assert_eq!(call.json(&narrowed).await.status, 200);
    }
    // The stream of an idle hub ends; it can be made again, with the new rights.
    assert_eq!(stream.next().await, None);
    assert_eq!(raw_status(&write.end().await), 403);
    let made = hub.put_silo("lab", &[("db", "10.0.0.6")]).await;
    assert_eq!(made.status, 200);
    let read = answer(read).await;
    assert_eq!(read.status, 404, "{read:?}");
    for (method, path, body, status) in [
        (Method::GET, "/silos/lab", None, 404),
        (Method::GET, "/silos/office", None, 200),
        (Method::PUT, DB, Some(json!({"ip": "10.0.0.6"})), 200),
        (Method::PUT, "/silos/office", Some(dnsrecords(&[])), 403),
    ] {
        let mut call = hub.open_call(method.clone(), path).bearer(&credential);
        if let Some(body) = &body {
            call = call.json(body);
        }
        assert_eq!(call.await.status, status, "{method} {path}");
    }
}

#[tokio::test]
async fn another_programs_change_of_a_token_counts_here() {
    let hub = TestHub::start().await;
    hub.put_silo("office", &[]).await;
    let spec = json!({"name": "r", "role": "read", "silos": ["office"]});
    let (id, credential) = hub.token(spec).await;
    let read = async || {
        let call = hub.open_call(Method::GET, "/silos/office");
        call.bearer(&credential).await.status
    };
    assert_eq!(read().await, 200);
    let other = OpenHub::open(&hub.settings, hub.clock()).await.unwrap();
    let change = ChangeToken {
        actor: Actor {
            via: Via::Rest,
            token: None,
            client_ip: None,
        },
        id: TokenId::parse(&id).unwrap(),
        patch: silo_hub::internals::domain::token_patch::TokenPatch {
            silos: Some(vec!["lab".to_owned()]),
            ..Default::default()
        },
    };
    other.registry.apply(change).await.unwrap();
    let noticed = async {
        while read().await != 404 {
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(DEADLINE, noticed)
        .await
        .expect("this hub learns of it");
    other.close().await;
}
