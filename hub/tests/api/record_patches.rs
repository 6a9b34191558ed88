//! `PATCH /silos/{id}/records`: several records at once, all or none.

use reqwest::Method;
use serde_json::{Value, json};

use crate::common::{Answer, TestHub, dnsrecords, revision};
use crate::record_lists::{names, set};
use crate::signing::{Signer, slug};

const RECORDS: &str = "/silos/office/records";

async fn patch(hub: &TestHub, body: Value) -> Answer {
    hub.call(Method::PATCH, RECORDS).json(&body).await
}

#[tokio::test]
async fn a_patch_is_one_change_and_answers_what_changed() {
    let hub = TestHub::start().await;
    let first = json!({"set": [{"hostname": "Web.", "ips": ["10.0.0.7", "fd00::7"], "comment": "x"},
        {"hostname": "db", "ip": "10.0.0.5"}, {"hostname": "old", "ip": "10.0.0.9"}]});
    let made = patch(&hub, first).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.header("location"), Some("/silos/office"));
    assert_eq!(made.header("silo-changed"), Some("?1"));
    assert_eq!(names(&made.json()), ["db", "old", "web"]);
    let silo = hub.get("/silos/office").await;
    assert_eq!(made.etag(), silo.etag());
    for record in made.json().as_array().unwrap() {
        assert_eq!(revision(record), revision(&silo.json()));
    }
    hub.pass(100);
    let changed = patch(
        &hub,
        json!({
            "set": [
                {"hostname": "db", "ip": "10.0.0.5"},
                {"hostname": "web", "ip4": "10.0.0.8", "ip6": null, "comment": null},
                {"hostname": "nas", "ip": "caller", "notify": "ops@example.org"},
            ],
            "remove": ["OLD."],
        }),
    );
    // The caller of the tests is on this machine, whose address no record can have.
    assert_eq!(changed.await.pointers(), ["/set/2/ip"]);
    let changed = patch(
        &hub,
        json!({
            "set": [
                {"hostname": "db", "ip": "10.0.0.5"},
                {"hostname": "web", "ip4": "10.0.0.8", "ip6": null, "comment": null},
                {"hostname": "nas", "ip": "10.0.0.6", "notify": "ops@example.org"},
            ],
            "remove": ["OLD."],
        }),
    )
    .await;
    assert_eq!(
        (changed.status, changed.header("silo-changed")),
        (200, Some("?1"))
    );
    let list = changed.json();
    assert_eq!(names(&list), ["nas", "web"]);
    assert_eq!(list[0]["notify"], "ops@example.org");
    assert_eq!(
        (&list[1]["ips"], list[1].get("comment")),
        (&json!(["10.0.0.8"]), None)
    );
    let now = hub.get("/silos/office").await;
    assert_eq!(changed.etag(), now.etag());
    let expected = [("db", "10.0.0.5"), ("nas", "10.0.0.6"), ("web", "10.0.0.8")];
    assert_eq!(
        now.json()["dnsrecords"],
        dnsrecords(&expected)["dnsrecords"]
    );
    let mut rows: Vec<_> = hub
        .history("office")
        .await
        .into_iter()
        .filter(|row| row["revision"] == now.json()["revision"])
        .map(|row| {
            (
                row["hostname"].clone(),
                row["old_ip"].clone(),
                row["new_ip"].clone(),
            )
        })
        .collect();
    rows.sort_by_key(|row| json!(row).to_string());
    assert_eq!(
        json!(rows),
        json!([
            ["nas", null, "10.0.0.6"],
            ["old", "10.0.0.9", null],
            ["web", "10.0.0.7", "10.0.0.8"],
            ["web", "fd00::7", null],
        ])
    );
}

#[tokio::test]
async fn a_patch_without_effect_only_counts_as_seen() {
    let hub = TestHub::start().await;
    set(
        &hub,
        "office",
        "db",
        json!({"ip": "10.0.0.5", "expires_after": 3600}),
    )
    .await;
    let silo = hub.get("/silos/office").await;
    let before = hub.get("/silos/office/records/db").await.json();
    hub.pass(1000);
    for body in [
        json!({"set": [{"hostname": "db", "ip": "10.0.0.5"}]}),
        json!({"set": [{"hostname": "db", "expires_after": 3600}], "remove": []}),
        json!({"set": []}),
        json!({"remove": []}),
    ] {
        let same = patch(&hub, body.clone()).await;
        assert_eq!((same.status, same.text()), (200, "[]"), "{body}");
        assert_eq!(
            (same.etag(), same.header("silo-changed")),
            (silo.etag(), Some("?0"))
        );
    }
    let after = hub.get("/silos/office/records/db").await.json();
    assert_ne!(after["last_seen"], before["last_seen"]);
    assert_eq!(hub.get("/silos/office").await.body, silo.body);
    // Nothing makes no silo.
    let none = hub
        .call(Method::PATCH, "/silos/none/records")
        .json(&json!({"set": []}));
    assert_eq!(none.await.status, 404);
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn each_wrong_place_is_named_and_nothing_is_applied() {
    let hub = TestHub::start().await;
    set(&hub, "office", "db", json!({"ip": "10.0.0.5"})).await;
    let silo = hub.get("/silos/office").await;
    let good = || json!({"hostname": "new", "ip": "10.0.0.6"});
    for (body, pointers) in [
        (json!({}), &["/set"][..]),
        (json!([]), &[""]),
        (json!({"set": {}}), &["/set"]),
        (json!({"set": [good()], "remove": "db"}), &["/remove"]),
        (json!({"sets": [good()], "remove": []}), &["/sets"]),
        (json!({"set": ["db", good()]}), &["/set/0"]),
        (
            json!({"set": [good(), {"ip": "10.0.0.7"}]}),
            &["/set/1/hostname"],
        ),
        (
            json!({"set": [good(), {"hostname": "-", "ip": "10.0.0.7"}]}),
            &["/set/1/hostname"],
        ),
        (json!({"set": [good(), {"hostname": "a"}]}), &["/set/1/ip"]),
        (
            json!({"set": [good(), {"hostname": "a", "ip": "x"}]}),
            &["/set/1/ip"],
        ),
        (
            json!({"set": [{"hostname": "a", "ips": ["10.0.0.1", "10.0.0.2"]}]}),
            &["/set/0/ips/1"],
        ),
        (
            json!({"set": [{"hostname": "a", "ip": "10.0.0.1", "ip6": null}]}),
            &["/set/0/ip4"],
        ),
        (
            json!({"set": [{"hostname": "a", "ip4": null, "ip6": null}]}),
            &["/set/0/ip6"],
        ),
        (
            json!({"set": [{"hostname": "a", "ip": "10.0.0.1", "ttl": 5}]}),
            &["/set/0/ttl"],
        ),
        (
            json!({"set": [{"hostname": "a", "ip": "10.0.0.1", "expires_after": 5}]}),
            &["/set/0/expires_after"],
        ),
        (
            json!({"set": [{"hostname": "a", "ip": "10.0.0.1", "silo": "other"}]}),
            &["/set/0/silo"],
        ),
        (
            json!({"set": [good(), {"hostname": "NEW.", "ip": "10.0.0.7"}]}),
            &["/set/1/hostname"],
        ),
        (json!({"set": [good()], "remove": ["new"]}), &["/remove/0"]),
        (json!({"remove": ["db", "db"]}), &["/remove/1"]),
        (
            json!({"remove": ["db", 5, "a b"]}),
            &["/remove/1", "/remove/2"],
        ),
        // What only the stored state shows.
        (
            json!({"set": [good(), {"hostname": "a", "comment": "x"}]}),
            &["/set/1/ip"],
        ),
        (
            json!({"set": [good(), {"hostname": "db", "ip4": null}]}),
            &["/set/1/ip"],
        ),
        (
            json!({"set": [good()], "remove": ["db", "none"]}),
            &["/remove/1"],
        ),
    ] {
        let answer = patch(&hub, body.clone()).await;
        assert_eq!(answer.status, 422, "{body}: {answer:?}");
        assert_eq!(answer.pointers(), pointers, "{body}: {answer:?}");
        assert_eq!(hub.get("/silos/office").await.body, silo.body, "{body}");
    }
    let twice = r#"{"set":[{"hostname":"a","ip":"10.0.0.6","ip":"10.0.0.7"}]}"#;
    let answer = hub.call(Method::PATCH, RECORDS).body(twice).await;
    assert_eq!(answer.status, 400);
    let missing = hub.call(Method::PATCH, "/silos/none/records");
    assert_eq!(missing.json(&json!({"remove": ["db"]})).await.status, 404);
    assert_eq!(hub.history("office").await.len(), 1);
}

#[tokio::test]
async fn a_silo_never_gets_more_records_than_it_may_have() {
    let hub = TestHub::start().await;
    let many = |from: usize, to: usize| -> Vec<Value> {
        let record = |number| json!({"hostname": format!("h{number:05}"), "ip": "10.0.0.5"});
        (from..to).map(record).collect()
    };
    let too_many = patch(&hub, json!({"set": many(0, 10_000), "remove": ["x"]})).await;
    assert_eq!(
        (too_many.status, too_many.pointers()),
        (422, vec![String::new()])
    );
    assert_eq!(
        patch(&hub, json!({"set": many(0, 10_000)})).await.status,
        201
    );
    let silo = hub.get("/silos/office").await.etag();
    for (body, status) in [
        (json!({"set": many(10_000, 10_001)}), 422),
        (
            json!({"set": [{"hostname": "h00000", "ip": "fd00::5"}]}),
            422,
        ),
        (
            json!({"set": many(10_000, 10_002), "remove": ["h00000"]}),
            422,
        ),
        (
            json!({"set": many(10_000, 10_001), "remove": ["h00000"]}),
            200,
        ),
    ] {
        let answer = patch(&hub, body).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(hub.get("/silos/office").await.etag() == silo, status == 422);
    }
}

#[tokio::test]
async fn each_hostname_needs_the_right_to_write_it() {
    let hub = TestHub::start().await;
    let silo = hub
        .put_silo("office", &[("db", "10.0.0.5"), ("nas-1", "10.0.0.6")])
        .await;
    let limited = hub.credential("write", &["office"], &["nas-*"]).await;
    let send = async |body: &Value, tag: Option<&str>| {
        let mut call = hub
            .open_call(Method::PATCH, RECORDS)
            .bearer(&limited)
            .json(body);
        if let Some(tag) = tag {
            call = call.header("if-match", tag);
        }
        call.await
    };
    for (body, pointers) in [
        (
            json!({"set": [{"hostname": "db", "ip": "10.0.0.7"}]}),
            &["/set/0/hostname"][..],
        ),
        (
            json!({"set": [{"hostname": "nas-2", "ip": "10.0.0.7"}], "remove": ["db"]}),
            &["/remove/0"],
        ),
        // Also before what else is wrong, and before what is there.
        (
            json!({"set": [{"hostname": "db", "ip": "x"}, {"hostname": "new"}], "remove": ["y"]}),
            &["/set/0/hostname", "/set/1/hostname", "/remove/0"],
        ),
    ] {
        for tag in [None, Some("\"1\"")] {
            let answer = send(&body, tag).await;
            assert_eq!(
                (answer.status, slug(&answer)),
                (403, "forbidden".to_owned()),
                "{body}"
            );
            assert_eq!(answer.pointers(), pointers, "{body}");
        }
    }
    assert_eq!(hub.get("/silos/office").await.body, silo.body);
    let allowed = json!({"set": [{"hostname": "nas-2", "ip": "10.0.0.7"}], "remove": ["nas-1"]});
    assert_eq!(send(&allowed, None).await.status, 200);
    for (role, silos) in [("read", "office"), ("write", "lab")] {
        let credential = hub.credential(role, &[silos], &[]).await;
        let call = hub.open_call(Method::PATCH, RECORDS).bearer(&credential);
        assert_eq!(call.body("{").await.status, 403, "{role} {silos}");
    }
}

#[tokio::test]
async fn if_match_is_judged_by_the_silos_tag() {
    let hub = TestHub::start().await;
    let body = |ip: &str| json!({"set": [{"hostname": "db", "ip": ip}], "remove": []});
    let send = async |header: &str, tag: &str, body: &Value| {
        let call = hub.call(Method::PATCH, RECORDS).header(header, tag);
        call.json(body).await
    };
    assert_eq!(send("if-match", "*", &body("10.0.0.5")).await.status, 412);
    let made = send("if-none-match", "*", &body("10.0.0.5")).await;
    assert_eq!(made.status, 201);
    assert_eq!(
        send("if-none-match", "*", &body("10.0.0.6")).await.status,
        412
    );
    set(&hub, "office", "old", json!({"ip": "10.0.0.9"})).await;
    let refused = send("if-match", &made.etag(), &body("10.0.0.6")).await;
    let tag = hub.get("/silos/office").await.etag();
    assert_eq!((refused.status, refused.etag()), (412, tag.clone()));
    for body in [
        json!({"set": [{"hostname": "none", "comment": "x"}]}),
        json!({"set": [{"hostname": "db", "ip": "10.0.0.6"}], "remove": ["none"]}),
    ] {
        let stale = send("if-match", &made.etag(), &body).await;
        assert_eq!((stale.status, stale.etag()), (412, tag.clone()), "{body}");
        let refused = send("if-match", &tag, &body).await;
        assert!([404, 422].contains(&refused.status), "{body}: {refused:?}");
    }
    let number = revision(&hub.get("/silos/office").await.json());
    for (number, status) in [
        (json!(number - 1), 412),
        (json!(number), 200),
        (json!("x"), 422),
    ] {
        let body = json!({"set": [{"hostname": "seen", "ip": "10.0.0.1"}], "revision": number});
        let answer = patch(&hub, body).await;
        assert_eq!(answer.status, status, "{number}: {answer:?}");
    }
    let tag = hub.get("/silos/office").await.etag();
    // A repeated one whose answer was lost.
    let change = json!({"set": [{"hostname": "db", "ip": "10.0.0.6"}], "remove": ["old"]});
    let changed = send("if-match", &tag, &change).await;
    let again = send("if-match", &tag, &change).await;
    assert_eq!((changed.status, again.status), (200, 200));
    assert_eq!(
        (again.etag(), again.header("silo-changed")),
        (changed.etag(), Some("?0"))
    );
}

#[tokio::test]
async fn a_signed_patch_runs_once_and_in_order() {
    let hub = TestHub::start().await;
    let credential = hub.credential("write", &["office"], &[]).await;
    let signer = Signer::of(&credential);
    let now = crate::signing::NOW;
    let draft = |ip: &str, created: i64| {
        let draft = signer.draft(Method::PATCH, RECORDS).created(created);
        draft.json(&json!({"set": [{"hostname": "db", "ip": ip}]}))
    };
    let shot = signer.sign(&hub, draft("10.0.0.5", now));
    let made = shot.send(&hub).await;
    assert_eq!(made.status, 201, "{made:?}");
    shot.assert_signed(&made);
    let replayed = shot.send(&hub).await;
    assert_eq!(
        (replayed.status, slug(&replayed)),
        (401, "replay".to_owned())
    );
    let record = signer
        .draft(Method::PUT, "/silos/office/records/db")
        .created(now + 2);
    let record = record.json(&json!({"ip": "10.0.0.6"}));
    assert_eq!(signer.send(&hub, record).await.status, 200);
    let late = signer.send(&hub, draft("10.0.0.7", now + 1)).await;
    assert_eq!((late.status, slug(&late)), (401, "order".to_owned()));
    assert_eq!(
        signer.send(&hub, draft("10.0.0.8", now + 3)).await.status,
        200
    );
    let held_back = signer
        .draft(Method::PUT, "/silos/office/records/web")
        .created(now + 2);
    let held_back = signer
        .send(&hub, held_back.json(&json!({"ip": "10.0.0.9"})))
        .await;
    assert_eq!(
        (held_back.status, slug(&held_back)),
        (401, "order".to_owned())
    );
}

#[tokio::test]
async fn an_answer_that_is_larger_than_a_page_is_left_out() {
    let hub = TestHub::start().await;
    let comment = "x".repeat(900);
    for part in [0..600, 600..1200] {
        let set: Vec<_> = part
            .map(|n| json!({"hostname": format!("h{n}"), "ip": "10.0.0.5", "comment": comment}))
            .collect();
        let made = patch(&hub, json!({"set": set})).await;
        let entries = made.json().as_array().map(Vec::len);
        assert_eq!(entries, Some(600), "{}", made.status);
    }
    let set: Vec<_> = (0..1200)
        .map(|n| json!({"hostname": format!("h{n}"), "ip": "10.0.0.6"}))
        .collect();
    let changed = patch(&hub, json!({"set": set})).await;
    assert_eq!((changed.status, changed.text().len()), (204, 0));
    assert_eq!(changed.header("silo-changed"), Some("?1"));
    assert_eq!(changed.header("preference-applied"), None);
    assert_eq!(hub.get("/silos/office").await.etag(), changed.etag());
}
