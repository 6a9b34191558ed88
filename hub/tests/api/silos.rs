//! `/silos` and `/silos/{id}`: what a silo looks like, and how one is made, replaced and removed.

mod edited_documents;
mod formats;

use serde_json::{Value, json};

use crate::common::{START, START_MS, TestHub, dnsrecords, revision, text};

const UNSORTED: &[(&str, &str)] = &[
    ("nas.home.arpa", "10.0.0.7"),
    ("db", "fd00::5"),
    ("db", "10.0.0.5"),
    ("a-b", "10.0.0.1"),
    ("_x", "10.0.0.3"),
    ("a.b", "10.0.0.2"),
];

const SORTED: &[(&str, &str)] = &[
    ("_x", "10.0.0.3"),
    ("a-b", "10.0.0.1"),
    ("a.b", "10.0.0.2"),
    ("db", "10.0.0.5"),
    ("db", "fd00::5"),
    ("nas.home.arpa", "10.0.0.7"),
];

#[tokio::test]
async fn a_new_silo_is_answered_201_with_its_stored_form() {
    let hub = TestHub::start().await;
    let made = hub.put("/silos/office").json(&dnsrecords(UNSORTED)).await;
    assert_eq!(made.status, 201);
    assert_eq!(made.header("location"), Some("/silos/office"));
    assert_eq!(made.header("content-location"), Some("/silos/office"));
    assert_eq!(made.header("content-type"), Some("application/json"));
    let silo = made.json();
    let revision = revision(&silo);
    assert_eq!(made.etag(), format!("\"{revision}\""));
    assert_eq!(
        silo,
        json!({
            "id": "office",
            "dnsrecords": dnsrecords(SORTED)["dnsrecords"],
            "revision": revision,
            "updated_at": START,
        })
    );
    let read = hub.get("/silos/office").await;
    assert_eq!(read.status, 200);
    assert_eq!(read.body, made.body);
    assert_eq!(read.etag(), made.etag());
    assert_eq!(read.header("content-type"), Some("application/json"));
    assert_eq!(read.header("cache-control"), Some("private, no-cache"));
    assert_eq!(read.header("vary"), Some("Accept"));
    assert_eq!(read.header("preference-applied"), None);
}

#[tokio::test]
async fn a_new_database_begins_its_revisions_at_the_time_in_microseconds() {
    let hub = TestHub::start().await;
    let first = revision(&hub.put_silo("a", &[]).await.json());
    let begin = START_MS * 1000;
    assert!((begin..begin + 1000).contains(&first), "{first}");
    let mut last = first;
    for (id, ip) in [("b", "10.0.0.1"), ("a", "10.0.0.2"), ("b", "10.0.0.3")] {
        let next = revision(&hub.put_silo(id, &[("db", ip)]).await.json());
        assert!(next > last, "revisions grow over the whole hub");
        last = next;
    }
}

#[tokio::test]
async fn a_put_replaces_all_records() {
    let hub = TestHub::start().await;
    let old = hub.put_silo("office", UNSORTED).await;
    hub.pass(60);
    let new = hub
        .put("/silos/office")
        .json(&dnsrecords(&[("db", "10.0.0.6")]))
        .await;
    assert_eq!(new.status, 200);
    assert_eq!(new.header("location"), None);
    assert_eq!(new.header("content-location"), Some("/silos/office"));
    let silo = new.json();
    assert!(revision(&silo) > revision(&old.json()));
    assert_eq!(new.etag(), format!("\"{}\"", revision(&silo)));
    assert_eq!(silo["updated_at"], "2026-01-02T03:05:05.678Z");
    assert_eq!(
        silo["dnsrecords"],
        json!([{"hostname": "db", "ip": "10.0.0.6"}])
    );
    assert_eq!(hub.get("/silos/office").await.body, new.body);
    assert_eq!(
        hub.get("/silos/office/records/nas.home.arpa").await.status,
        404
    );
}

#[tokio::test]
async fn unchanged_put_keeps_the_revision_and_adds_no_history() {
    let hub = TestHub::start().await;
    let first = hub
        .put_silo("office", &[("db", "10.0.0.5"), ("nas", "fd00::7")])
        .await;
    let history = hub.history("office").await;
    hub.pass(60);
    for same in [
        [("db", "10.0.0.5"), ("nas", "fd00::7")],
        [("nas", "fd00::7"), ("db", "10.0.0.5")],
        [("DB.", "::ffff:10.0.0.5"), ("Nas", "FD00:0:0:0::7")],
    ] {
        let again = hub.put("/silos/office").json(&dnsrecords(&same)).await;
        assert_eq!(again.status, 200);
        assert_eq!(again.body, first.body);
        assert_eq!(again.etag(), first.etag());
    }
    assert_eq!(hub.get("/silos/office").await.body, first.body);
    assert_eq!(hub.history("office").await, history);
    let next = hub.put_silo("other", &[]).await;
    assert_eq!(revision(&next.json()), revision(&first.json()) + 1);
}

#[tokio::test]
async fn upper_case_ids_fold() {
    let hub = TestHub::start().await;
    let made = hub
        .put("/silos/OFFICE")
        .json(&json!({"id": "Office", "dnsrecords": []}))
        .await;
    assert_eq!(made.status, 201);
    assert_eq!(made.header("location"), Some("/silos/office"));
    assert_eq!(made.json()["id"], "office");
    assert_eq!(hub.get("/silos/oFFice").await.body, made.body);
    assert_eq!(hub.put_silo("office", &[]).await.status, 200);
    assert_eq!(hub.delete("/silos/OffICE").await.status, 204);
    assert_eq!(hub.get("/silos/office").await.status, 404);
}

#[tokio::test]
async fn hostnames_and_addresses_are_stored_in_one_spelling() {
    let hub = TestHub::start().await;
    let made = hub
        .put_silo(
            "office",
            &[
                ("DB.Lan.", "10.0.0.5"),
                ("bücher.lan", "FD00:0:0::5"),
                ("_sip._tcp", "::ffff:10.0.0.9"),
            ],
        )
        .await;
    assert_eq!(
        made.json()["dnsrecords"],
        dnsrecords(&[
            ("_sip._tcp", "10.0.0.9"),
            ("db.lan", "10.0.0.5"),
            ("xn--bcher-kva.lan", "fd00::5"),
        ])["dnsrecords"]
    );
}

#[tokio::test]
async fn a_body_needs_no_type_and_curls_own_is_as_good() {
    let hub = TestHub::start().await;
    let body = dnsrecords(&[("db", "10.0.0.5")]).to_string();
    let record = r#"{"ip":"10.0.0.6"}"#;
    for (number, kind) in [
        None,
        Some("application/x-www-form-urlencoded"),
        Some("application/json"),
        Some("Application/JSON; charset=utf-8"),
        Some("application/x-www-form-urlencoded; charset=UTF-8"),
    ]
    .into_iter()
    .enumerate()
    {
        let silo = hub.put(&format!("/silos/s{number}")).body(body.clone());
        let record = hub
            .put(&format!("/silos/r{number}/records/db"))
            .body(record);
        let (silo, record) = match kind {
            None => (silo.await, record.await),
            Some(kind) => (
                silo.header("content-type", kind).await,
                record.header("content-type", kind).await,
            ),
        };
        assert_eq!(silo.status, 201, "{kind:?}");
        assert_eq!(silo.json()["dnsrecords"][0]["ip"], "10.0.0.5");
        assert_eq!(record.status, 201, "{kind:?}");
        assert_eq!(record.json()["ips"], json!(["10.0.0.6"]));
    }
}

#[tokio::test]
async fn other_types_are_refused_and_change_nothing() {
    let hub = TestHub::start().await;
    let before = hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    let body = dnsrecords(&[("db", "10.0.0.6")]).to_string();
    for kind in [
        "text/html",
        "application/xml",
        "multipart/form-data; boundary=x",
        "json",
    ] {
        for (path, body) in [
            ("/silos/office", body.as_str()),
            ("/silos/office/records/db", r#"{"ip":"10.0.0.6"}"#),
        ] {
            let answer = hub
                .put(path)
                .header("content-type", kind)
                .body(body.to_owned())
                .await;
            assert_eq!(answer.status, 415, "{kind} {path}");
            assert_eq!(answer.json()["type"], "/problems/media-type");
        }
    }
    assert_eq!(hub.get("/silos/office").await.body, before.body);
}

#[tokio::test]
async fn a_deleted_silo_is_gone_and_leaves_its_history() {
    let hub = TestHub::start().await;
    let made = hub
        .put_silo("office", &[("db", "10.0.0.5"), ("db", "fd00::5")])
        .await;
    assert_eq!(hub.delete("/silos/office").await.status, 204);
    assert_eq!(hub.get("/silos/office").await.status, 404);
    assert_eq!(hub.get("/silos/office/records/db").await.status, 404);
    assert_eq!(hub.get("/silos").await.text(), "[]");
    let again = hub.delete("/silos/office").await;
    assert_eq!(again.status, 404);
    let rows = hub.history("office").await;
    let ips: Vec<_> = rows
        .iter()
        .map(|row| (row["old_ip"].clone(), row["new_ip"].clone()))
        .collect();
    assert_eq!(
        ips,
        [
            (json!("10.0.0.5"), Value::Null),
            (json!("fd00::5"), Value::Null),
            (Value::Null, json!("10.0.0.5")),
            (Value::Null, json!("fd00::5")),
        ]
    );
    assert!(revision(&rows[0]) > revision(&made.json()));
    let again = hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    assert_eq!(again.status, 201);
    assert!(revision(&again.json()) > revision(&rows[0]));
    assert_eq!(hub.history("office").await.len(), 5);
}

#[tokio::test]
async fn deleting_a_missing_silo_is_404() {
    let hub = TestHub::start().await;
    assert_eq!(hub.delete("/silos/none").await.status, 404);
    let next = revision(&hub.put_silo("a", &[]).await.json());
    assert_eq!(hub.delete("/silos/none").await.status, 404);
    assert_eq!(revision(&hub.put_silo("b", &[]).await.json()), next + 1);
}

#[tokio::test]
async fn the_longest_names_are_taken() {
    let hub = TestHub::start().await;
    let label = "a".repeat(63);
    let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
    assert_eq!(longest.len(), 253);
    for id in ["7", "a.b_c-d9", &label] {
        let made = hub
            .put_silo(id, &[(&label, "10.0.0.1"), (&longest, "fd00::1")])
            .await;
        assert_eq!(made.status, 201, "{id}");
        assert_eq!(made.json()["dnsrecords"][1]["hostname"], longest.as_str());
        let record = hub.get(&format!("/silos/{id}/records/{longest}")).await;
        assert_eq!(record.json()["ips"], json!(["fd00::1"]));
    }
}

#[tokio::test]
async fn hostnames_are_in_byte_order() {
    let hub = TestHub::start().await;
    let mut names = [
        "db", "db-0", "db0", "db.a", "db.0a", "_db", "a._db", "a-b", "a0", "ab", "10a", "9a", "z",
    ];
    let rows: Vec<_> = names.iter().map(|name| (*name, "10.0.0.5")).collect();
    let made = hub.put_silo("office", &rows).await;
    names.sort_unstable();
    let names_of = |silo: &serde_json::Value| -> Vec<String> {
        let rows = silo["dnsrecords"].as_array().unwrap();
        rows.iter().map(|row| text(&row["hostname"])).collect()
    };
    assert_eq!(names_of(&made.json()), names);
    // Also as they are read from the database, by a hub that has not made them.
    let hub = hub.restart().await;
    assert_eq!(names_of(&hub.get("/silos/office").await.json()), names);
    assert_eq!(hub.get("/silos/office").await.body, made.body);
    // And the rows of one revision in the history.
    let history: Vec<_> = hub
        .history("office")
        .await
        .iter()
        .map(|row| text(&row["hostname"]))
        .collect();
    let mut pages: Vec<_> = hub
        .walk("/silos/office/history?limit=2")
        .await
        .concat()
        .iter()
        .map(|row| text(&row["hostname"]))
        .collect();
    assert_eq!(pages, history);
    pages.sort_unstable();
    assert_eq!(pages, names);
}
