//! What a `PUT` of a record sets, and what it leaves.

use serde_json::{Value, json};

use super::DB;
use crate::common::{START, TestHub, dnsrecords, raw_status, revision};

#[tokio::test]
async fn a_record_put_makes_a_missing_silo() {
    let hub = TestHub::start().await;
    let made = hub.put(DB).json(&json!({"ip": "10.0.0.5"})).await;
    assert_eq!(made.status, 201);
    assert_eq!(made.header("location"), Some(DB));
    assert_eq!(made.header("content-location"), Some(DB));
    let record = made.json();
    let number = revision(&record);
    assert_eq!(
        record,
        json!({
            "hostname": "db",
            "ips": ["10.0.0.5"],
            "revision": number,
            "updated_at": START,
            "last_seen": START,
        })
    );
    assert_eq!(made.etag(), format!("\"{number}-db\""));
    let read = hub.get(DB).await;
    assert_eq!((read.status, &read.body), (200, &made.body));
    assert_eq!(read.etag(), made.etag());
    let silo = hub.get("/silos/office").await.json();
    assert_eq!(revision(&silo), number);
    assert_eq!(
        silo["dnsrecords"],
        dnsrecords(&[("db", "10.0.0.5")])["dnsrecords"]
    );
}

#[tokio::test]
async fn a_record_put_leaves_the_others() {
    let hub = TestHub::start().await;
    hub.put_silo("office", &[("db", "10.0.0.5"), ("nas", "10.0.0.7")])
        .await;
    let nas = hub.get("/silos/office/records/nas").await;
    hub.pass(5);
    let answer = hub.put(DB).json(&json!({"ip": "10.0.0.6"})).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("location"), None);
    assert_eq!(answer.header("content-location"), Some(DB));
    let added = hub
        .put("/silos/office/records/api")
        .json(&json!({"ips": ["10.0.0.8"]}))
        .await;
    assert_eq!(added.status, 201);
    let silo = hub.get("/silos/office").await.json();
    assert_eq!(revision(&silo), revision(&added.json()));
    assert_eq!(
        silo["dnsrecords"],
        dnsrecords(&[("api", "10.0.0.8"), ("db", "10.0.0.6"), ("nas", "10.0.0.7")])["dnsrecords"]
    );
    // The record's own revision and time stand still while others change.
    let after = hub.get("/silos/office/records/nas").await;
    assert_eq!((&after.body, after.etag()), (&nas.body, nas.etag()));
    // Also through a PUT of the whole silo.
    hub.put_silo("office", &[("nas", "10.0.0.7")]).await;
    let after = hub.get("/silos/office/records/nas").await;
    assert_eq!(after.etag(), nas.etag());
    assert_eq!(after.json()["updated_at"], nas.json()["updated_at"]);
}

#[tokio::test]
async fn families_that_are_not_named_stay() {
    let hub = TestHub::start().await;
    for (body, ips) in [
        (json!({"ip": "fd00::5"}), json!(["fd00::5"])),
        (json!({"ip": "10.0.0.5"}), json!(["10.0.0.5", "fd00::5"])),
        (json!({"ips": ["fd00::6"]}), json!(["10.0.0.5", "fd00::6"])),
        (
            json!({"ip": "::ffff:10.0.0.7"}),
            json!(["10.0.0.7", "fd00::6"]),
        ),
        (
            json!({"ips": ["fd00::8", "10.0.0.8"]}),
            json!(["10.0.0.8", "fd00::8"]),
        ),
    ] {
        let answer = hub.put(DB).json(&body).await;
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
        assert_eq!(answer.json()["ips"], ips, "{body}");
        assert_eq!(hub.get(DB).await.json()["ips"], ips, "{body}");
    }
}

#[tokio::test]
async fn a_put_without_a_body_sets_the_callers_address() {
    let hub = TestHub::start_behind_a_proxy().await;
    let answer = hub.put(DB).seen_from("192.0.2.9").await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.json()["ips"], json!(["192.0.2.9"]));
    for (ip, ips) in [
        ("2001:db8::7", json!(["192.0.2.9", "2001:db8::7"])),
        ("::ffff:192.0.2.7", json!(["192.0.2.7", "2001:db8::7"])),
    ] {
        let answer = hub.put(DB).seen_from(ip).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json()["ips"], ips);
    }
    let before = hub.get(DB).await;
    for ip in [
        "::",
        "ff02::1",
        "224.0.0.1",
        "127.0.0.1",
        "::1",
        "fe80::1",
        "169.254.1.1",
        "unknown",
        "",
    ] {
        for call in [hub.put(DB), hub.put(DB).json(&json!({"ip": "caller"}))] {
            let answer = call.seen_from(ip).await;
            assert_eq!(
                (answer.status, answer.pointers()),
                (422, vec!["/ip".to_owned()]),
                "{ip}"
            );
        }
    }
    assert_eq!(hub.put(DB).await.status, 422, "a proxy without a word");
    assert_eq!(hub.get(DB).await.body, before.body);
    // Said in words, with attributes beside it.
    let body = json!({"ip": "caller", "comment": "the router"});
    let answer = hub.put(DB).json(&body).seen_from("192.0.2.10").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["ips"], json!(["192.0.2.10", "2001:db8::7"]));
    assert_eq!(answer.json()["comment"], "the router");
}

#[tokio::test]
async fn a_body_that_was_lost_sets_nothing() {
    let hub = TestHub::start_behind_a_proxy().await;
    hub.put(DB).json(&json!({"ip": "10.0.0.5"})).await;
    let before = hub.get(DB).await;
    for head in [
        "Content-Type: application/json\r\n",
        "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 0\r\n",
        "Content-Length: 0\r\n",
        "Transfer-Encoding: chunked\r\n",
    ] {
        let end = if head.contains("chunked") {
            "0\r\n\r\n"
        } else {
            ""
        };
        let request = format!(
            "PUT {DB} HTTP/1.1\r\nHost: hub\r\nX-Forwarded-For: 192.0.2.7\r\nAuthorization: Bearer {}\r\n{head}Connection: close\r\n\r\n{end}",
            hub.admin
        );
        let answer = hub.raw(&request).await;
        assert_eq!(raw_status(&answer), 400, "{head}: {answer}");
    }
    assert_eq!(hub.get(DB).await.body, before.body);
}

#[tokio::test]
async fn both_families_can_be_named_exactly() {
    let hub = TestHub::start().await;
    for (body, ips) in [
        (
            json!({"ip4": "10.0.0.5", "ip6": "fd00::5"}),
            json!(["10.0.0.5", "fd00::5"]),
        ),
        (json!({"ip4": "10.0.0.6"}), json!(["10.0.0.6", "fd00::5"])),
        (json!({"ip4": "10.0.0.7", "ip6": null}), json!(["10.0.0.7"])),
        (json!({"ip6": null}), json!(["10.0.0.7"])),
        (json!({"ip6": "fd00::7"}), json!(["10.0.0.7", "fd00::7"])),
        (json!({"ip4": null}), json!(["fd00::7"])),
        (json!({"ip4": null, "ip6": "fd00::7"}), json!(["fd00::7"])),
    ] {
        let before = hub.get(DB).await;
        let answer = hub.put(DB).json(&body).await;
        assert!(matches!(answer.status, 200 | 201), "{body}: {answer:?}");
        assert_eq!(answer.json()["ips"], ips, "{body}");
        let same = before.status == 200 && before.etag() == answer.etag();
        let changed = if same { "?0" } else { "?1" };
        assert_eq!(answer.header("silo-changed"), Some(changed), "{body}");
    }
    let rows = hub.history("office").await;
    assert_eq!(rows[0]["old_ip"], "10.0.0.7");
    assert_eq!(rows[0]["new_ip"], Value::Null);
    let before = hub.get(DB).await;
    for (body, pointer) in [
        (json!({"ip4": null, "ip6": null}), "/ip6"),
        (json!({"ip4": "fd00::5"}), "/ip4"),
        (json!({"ip6": "10.0.0.5"}), "/ip6"),
        (json!({"ip4": 5}), "/ip4"),
        (json!({"ip": "10.0.0.5", "ip6": null}), "/ip4"),
        (json!({"ips": ["10.0.0.5"], "ip4": null}), "/ip4"),
    ] {
        let answer = hub.put(DB).json(&body).await;
        assert_eq!(
            (answer.status, answer.pointers()),
            (422, vec![pointer.to_owned()]),
            "{body}"
        );
    }
    // Nothing would be left.
    assert_eq!(hub.put(DB).json(&json!({"ip6": null})).await.status, 422);
    assert_eq!(hub.get(DB).await.body, before.body);
}

#[tokio::test]
async fn bodies_are_json_whatever_programs_call_them() {
    let hub = TestHub::start().await;
    let token = json!({"name": "nas", "role": "read", "silos": ["office"]}).to_string();
    for kind in [
        "application/json",
        "application/json; charset=utf-8",
        "application/vnd.api+json",
        "application/x-www-form-urlencoded",
        "text/plain",
        "text/plain;charset=UTF-8",
        "text/json",
        "application/octet-stream",
    ] {
        let put = |path: &str, body: &str| {
            let body = format!("\u{feff}{body}");
            hub.put(path).header("content-type", kind).body(body)
        };
        let answer = put(DB, r#"{"ip":"10.0.0.5"}"#).await;
        assert!(matches!(answer.status, 200 | 201), "{kind}: {answer:?}");
        let answer = put("/silos/office", r#"{"dnsrecords":[]}"#).await;
        assert_eq!(answer.status, 200, "{kind}");
        let call = hub.post("/tokens").header("content-type", kind);
        assert_eq!(call.body(token.clone()).await.status, 201, "{kind}");
    }
    for kind in [
        "text/html",
        "application/xml",
        "multipart/form-data; boundary=x",
        "image/png",
    ] {
        let call = hub
            .put(DB)
            .header("content-type", kind)
            .body(r#"{"ip":"10.0.0.5"}"#);
        assert_eq!(call.await.status, 415, "{kind}");
    }
    let form = hub
        .put(DB)
        .header("content-type", "text/plain")
        .body("ip=10.0.0.5")
        .await;
    assert_eq!(form.status, 400);
    assert!(form.text().contains("a form"), "{form:?}");
}
