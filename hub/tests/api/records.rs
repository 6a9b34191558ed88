//! `/silos/{id}/records/{hostname}`: one hostname, its addresses and what it carries beside them.

use reqwest::Method;
use serde_json::{Value, json};

use crate::common::{START, TestHub, dnsrecords, raw_status, revision};

const DB: &str = "/silos/office/records/db";

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
async fn an_unchanged_put_moves_only_last_seen() {
    let hub = TestHub::start().await;
    let made = hub
        .put(DB)
        .json(&json!({"ips": ["10.0.0.5", "fd00::5"]}))
        .await;
    let silo = hub.get("/silos/office").await;
    let history = hub.history("office").await;
    let mut expected = made.json();
    for (seconds, last_seen, body) in [
        (
            60,
            "2026-01-02T03:05:05.678Z",
            json!({"ips": ["fd00::5", "10.0.0.5"]}),
        ),
        (60, "2026-01-02T03:06:05.678Z", json!({"ip": "10.0.0.5"})),
        (
            30,
            "2026-01-02T03:06:35.678Z",
            json!({"ip": "::ffff:10.0.0.5"}),
        ),
    ] {
        hub.pass(seconds);
        let again = hub.put(DB).json(&body).await;
        expected["last_seen"] = json!(last_seen);
        assert_eq!((again.status, again.json()), (200, expected.clone()));
        assert_eq!(again.etag(), made.etag());
        assert_eq!(hub.get(DB).await.json(), expected);
        assert_eq!(hub.get(DB).await.etag(), made.etag());
    }
    // A PUT of the whole silo names its records, too.
    hub.pass(25);
    hub.put("/silos/office").json(&silo.json()).await;
    expected["last_seen"] = json!("2026-01-02T03:07:00.678Z");
    assert_eq!(hub.get(DB).await.json(), expected);
    let after = hub.get("/silos/office").await;
    assert_eq!((&after.body, after.etag()), (&silo.body, silo.etag()));
    assert_eq!(hub.history("office").await, history);
}

#[tokio::test]
async fn last_seen_survives_a_restart() {
    let hub = TestHub::start().await;
    let made = hub.put(DB).json(&json!({"ip": "10.0.0.5"})).await;
    hub.pass(60);
    hub.put(DB).json(&json!({"ip": "10.0.0.5"})).await;
    let hub = hub.restart().await;
    let record = hub.get(DB).await;
    assert_eq!(record.json()["last_seen"], "2026-01-02T03:05:05.678Z");
    assert_eq!(record.etag(), made.etag());
}

#[tokio::test]
async fn a_record_or_one_family_can_be_removed() {
    let hub = TestHub::start().await;
    hub.put_silo(
        "office",
        &[("db", "10.0.0.5"), ("db", "fd00::5"), ("nas", "fd00::7")],
    )
    .await;
    assert_eq!(hub.delete(&format!("{DB}?family=6")).await.status, 204);
    assert_eq!(hub.get(DB).await.json()["ips"], json!(["10.0.0.5"]));
    assert_eq!(hub.delete(&format!("{DB}?family=6")).await.status, 404);
    let silo = hub.get("/silos/office").await;
    for wrong in ["5", "", "ipv4", "4%20"] {
        let answer = hub.delete(&format!("{DB}?family={wrong}")).await;
        assert_eq!(answer.status, 422, "family {wrong:?}");
    }
    assert_eq!(hub.get("/silos/office").await.body, silo.body);
    assert_eq!(hub.delete(DB).await.status, 204);
    assert_eq!(hub.get(DB).await.status, 404);
    assert_eq!(hub.delete(DB).await.status, 404);
    assert_eq!(hub.delete("/silos/none/records/db").await.status, 404);
    // The last one's removal leaves an empty silo.
    assert_eq!(
        hub.delete("/silos/office/records/nas?family=6")
            .await
            .status,
        204
    );
    let silo = hub.get("/silos/office").await;
    assert_eq!(silo.status, 200);
    assert_eq!(silo.json()["dnsrecords"], json!([]));
    let removed: Vec<_> = hub
        .history("office")
        .await
        .iter()
        .take(3)
        .map(|row| {
            (
                row["hostname"].clone(),
                row["old_ip"].clone(),
                row["new_ip"].clone(),
            )
        })
        .collect();
    assert_eq!(
        removed,
        [
            (json!("nas"), json!("fd00::7"), Value::Null),
            (json!("db"), json!("10.0.0.5"), Value::Null),
            (json!("db"), json!("fd00::5"), Value::Null),
        ]
    );
}

#[tokio::test]
async fn a_missing_record_is_404() {
    let hub = TestHub::start().await;
    assert_eq!(hub.get(DB).await.status, 404);
    hub.put_silo("office", &[("nas", "10.0.0.7")]).await;
    assert_eq!(hub.get(DB).await.status, 404);
    assert_eq!(hub.get(DB).await.json()["type"], "/problems/not-found");
}

#[tokio::test]
async fn hostnames_of_the_path_fold_like_those_of_a_body() {
    let hub = TestHub::start().await;
    for (path, hostname) in [
        ("DB.Lan", "db.lan"),
        ("db.lan.", "db.lan"),
        ("b%C3%BCcher", "xn--bcher-kva"),
        ("_dmarc.lan", "_dmarc.lan"),
    ] {
        let path = format!("/silos/Office/records/{path}");
        let answer = hub.put(&path).json(&json!({"ip": "10.0.0.5"})).await;
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
        let place = format!("/silos/office/records/{hostname}");
        assert_eq!(answer.header("content-location"), Some(&*place));
        assert_eq!(answer.json()["hostname"], hostname);
        assert_eq!(hub.get(&path).await.body, hub.get(&place).await.body);
    }
}

#[tokio::test]
async fn attributes_are_kept_until_they_are_cleared() {
    let hub = TestHub::start().await;
    let all = json!({
        "comment": "rack 3",
        "notify": "ops@example.org",
        "ipv6_suffix": "::5",
        "expires_after": 1800,
    });
    let mut body = all.clone();
    body["ip"] = json!("10.0.0.5");
    let shown = |answer: &crate::common::Answer| {
        let record = answer.json();
        let names = ["comment", "notify", "ipv6_suffix", "expires_after"];
        let set = names
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), record.get(*name)?.clone())));
        Value::Object(set.collect())
    };
    let answer = hub.put(DB).json(&body).await;
    assert_eq!(answer.status, 201);
    assert_eq!(shown(&answer), all);
    // Left out: kept.
    let answer = hub.put(DB).json(&json!({"ip": "10.0.0.6"})).await;
    assert_eq!(shown(&answer), all);
    // A PUT of the silo keeps them while the hostname stays, and never shows them.
    let silo = hub
        .put_silo(
            "office",
            &[("db", "10.0.0.7"), ("db", "fd00::7"), ("nas", "10.0.0.9")],
        )
        .await;
    assert_eq!(
        silo.json()["dnsrecords"],
        dnsrecords(&[("db", "10.0.0.7"), ("db", "fd00::7"), ("nas", "10.0.0.9")])["dnsrecords"]
    );
    assert_eq!(shown(&hub.get(DB).await), all);
    // The removal of one family keeps them, too.
    assert_eq!(hub.delete(&format!("{DB}?family=4")).await.status, 204);
    assert_eq!(shown(&hub.get(DB).await), all);
    // `null` clears.
    let answer = hub
        .put(DB)
        .json(&json!({"comment": null, "expires_after": null}))
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["ips"], json!(["fd00::7"]));
    let rest = json!({"notify": "ops@example.org", "ipv6_suffix": "::5"});
    assert_eq!(shown(&answer), rest);
    assert_eq!(shown(&hub.get(DB).await), rest);
    // A hostname that went away comes back bare.
    hub.put_silo("office", &[("nas", "10.0.0.9")]).await;
    hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    assert_eq!(shown(&hub.get(DB).await), json!({}));
}

#[tokio::test]
async fn an_attribute_change_takes_a_revision_and_adds_no_history() {
    let hub = TestHub::start().await;
    let made = hub.put(DB).json(&json!({"ip": "10.0.0.5"})).await;
    let history = hub.history("office").await;
    let answer = hub.put(DB).json(&json!({"comment": "rack 3"})).await;
    assert_eq!(answer.status, 200);
    let number = revision(&answer.json());
    assert!(number > revision(&made.json()));
    assert_eq!(answer.etag(), format!("\"{number}-db\""));
    assert_eq!(answer.json()["ips"], json!(["10.0.0.5"]));
    let silo = hub.get("/silos/office").await;
    assert_eq!(revision(&silo.json()), number);
    assert_eq!(hub.history("office").await, history);
    // The same once more changes nothing.
    for body in [
        json!({"comment": "rack 3"}),
        json!({"comment": "rack 3", "ip": "10.0.0.5", "notify": null}),
    ] {
        let again = hub.put(DB).json(&body).await;
        assert_eq!(again.etag(), answer.etag());
    }
    assert_eq!(hub.get("/silos/office").await.body, silo.body);
}

#[tokio::test]
async fn attributes_without_an_address_make_no_record() {
    let hub = TestHub::start().await;
    let answer = hub.put(DB).json(&json!({"comment": "rack 3"})).await;
    assert_eq!(answer.status, 422);
    assert_eq!(hub.get("/silos/office").await.status, 404);
    hub.put_silo("office", &[]).await;
    let silo = hub.get("/silos/office").await;
    let answer = hub.put(DB).json(&json!({"expires_after": 3600})).await;
    assert_eq!(answer.status, 422);
    assert_eq!(hub.get("/silos/office").await.body, silo.body);
}

#[tokio::test]
async fn the_mail_address_is_shown_to_writers_and_admins_only() {
    let hub = TestHub::start().await;
    let body = json!({"ip": "10.0.0.5", "notify": "ops@example.org", "comment": "rack 3"});
    hub.put(DB).json(&body).await;
    for (role, shown) in [("read", false), ("write", true), ("admin", true)] {
        let silos: &[&str] = if role == "admin" { &[] } else { &["office"] };
        let credential = hub.credential(role, silos, &[]).await;
        let answer = hub.open_call(Method::GET, DB).bearer(&credential).await;
        assert_eq!(answer.json()["comment"], "rack 3", "{role}");
        assert_eq!(answer.json().get("notify").is_some(), shown, "{role}");
    }
}

#[tokio::test]
async fn a_record_is_read_conditionally() {
    let hub = TestHub::start().await;
    let made = hub.put(DB).json(&json!({"ip": "10.0.0.5"})).await;
    let tag = made.etag();
    for tags in [
        tag.clone(),
        format!("W/{tag}"),
        format!("\"x\", {tag}"),
        "*".to_owned(),
    ] {
        let answer = hub.get(DB).header("if-none-match", &tags).await;
        assert_eq!(answer.status, 304, "{tags}");
        assert_eq!(answer.etag(), tag);
        assert_eq!(
            answer.header("cache-control"),
            made.header("cache-control"),
            "a 304 has the Cache-Control of a 200 (RFC 9110 section 15.4.5)"
        );
    }
    let number = revision(&made.json());
    for tags in [format!("\"{number}\""), "\"x\"".to_owned()] {
        let answer = hub.get(DB).header("if-none-match", &tags).await;
        assert_eq!(answer.status, 200, "{tags}");
    }
    assert_eq!(
        hub.get("/silos/office/records/none")
            .header("if-none-match", "*")
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn texts_of_any_script_come_back_as_they_were_given() {
    let hub = TestHub::start().await;
    let longest = "\u{1f5a5}".repeat(1000);
    let comments = [
        "Küche, Straße, ÄÖÜ",
        "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467} \u{1f680}",
        "u\u{308} is not \u{fc}",
        "日本語 עברית \t \" ' \\ % _ ? $1",
        " spaces around  ",
        "",
        &longest,
    ];
    let path = |number: usize| format!("/silos/office/records/h{number}");
    for (number, comment) in comments.iter().enumerate() {
        let body = json!({"ip": "10.0.0.5", "comment": comment});
        let made = hub.put(&path(number)).json(&body).await;
        assert_eq!(made.status, 201, "{made:?}");
        assert_eq!(made.json()["comment"], *comment);
    }
    let names = ["Gerät \u{1f680} Ü".to_owned(), "\u{1f511}".repeat(100)];
    for name in &names {
        hub.token(json!({"name": name, "role": "admin"})).await;
    }
    let hub = hub.restart().await;
    for (number, comment) in comments.iter().enumerate() {
        let record = hub.get(&path(number)).await.json();
        assert_eq!(record["comment"], *comment, "{record}");
    }
    let tokens = hub.get("/tokens").await.json();
    for name in &names {
        let mut tokens = tokens.as_array().unwrap().iter();
        assert!(tokens.any(|token| token["name"] == **name), "{name}");
    }
}

#[tokio::test]
async fn a_deletion_reports_that_it_changed_the_silo() {
    let hub = TestHub::start().await;
    for path in [DB, "/silos/office"] {
        hub.put_silo("office", &[("db", "10.0.0.5"), ("nas", "10.0.0.6")])
            .await;
        let answer = hub.delete(path).await;
        assert_eq!(answer.status, 204, "{path}: {answer:?}");
        assert_eq!(answer.header("silo-changed"), Some("?1"), "{path}");
        let again = hub.delete(path).await;
        assert_eq!(again.status, 404, "{path}: {again:?}");
        assert_eq!(again.header("silo-changed"), None, "{path}");
    }
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
