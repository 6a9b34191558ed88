//! Documents that are read, edited and put back.

use serde_json::{Value, json};

use crate::common::{START, TestHub, dnsrecords, revision};

#[tokio::test]
async fn a_read_document_can_be_edited_and_put() {
    let hub = TestHub::start().await;
    hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    let read = hub.get("/silos/office").await;
    let mut silo = read.json();
    let rows = silo["dnsrecords"].as_array_mut().unwrap();
    rows.push(json!({"hostname": "nas", "ip": "10.0.0.7"}));
    let written = hub
        .put("/silos/office")
        .header("if-match", &read.etag())
        .json(&silo)
        .await;
    assert_eq!(written.status, 200);
    assert_eq!(
        written.json()["dnsrecords"],
        dnsrecords(&[("db", "10.0.0.5"), ("nas", "10.0.0.7")])["dnsrecords"]
    );
    assert!(revision(&written.json()) > revision(&read.json()));
}

#[tokio::test]
async fn a_bodys_revision_must_be_the_present_one() {
    let hub = TestHub::start().await;
    let put = |revision: Value, ip: &str| {
        let mut body = dnsrecords(&[("db", ip)]);
        body["updated_at"] = json!("never");
        body["revision"] = revision;
        hub.put("/silos/office").json(&body)
    };
    assert_eq!(put(json!(7), "10.0.0.5").await.status, 412, "there is none");
    let made = put(Value::Null, "10.0.0.5").await;
    assert_eq!(made.status, 201);
    assert_eq!(made.json()["updated_at"], START);
    assert_eq!(made.header("silo-changed"), Some("?1"));
    let first = made.json()["revision"].clone();
    let second = put(first.clone(), "10.0.0.6").await;
    assert_eq!(second.status, 200);
    // Its response was lost, and it is repeated: the state is unchanged.
    let again = put(first.clone(), "10.0.0.6").await;
    assert_eq!((again.status, again.etag()), (200, second.etag()));
    assert_eq!(again.header("silo-changed"), Some("?0"));
    // Another writer was faster.
    let late = put(first, "10.0.0.7").await;
    assert_eq!((late.status, late.etag()), (412, second.etag()));
    let beyond = put(json!(revision(&second.json()) + 1), "10.0.0.6").await;
    assert_eq!(beyond.status, 412);
    for wrong in [json!("x"), json!(1.5), json!({})] {
        let answer = put(wrong, "10.0.0.7").await;
        assert_eq!(
            (answer.status, answer.pointers()),
            (422, vec!["/revision".to_owned()])
        );
    }
    assert_eq!(hub.get("/silos/office").await.etag(), second.etag());
}

/// A script's loop: read, edit, write, without `If-Match`.
#[tokio::test]
async fn documents_that_are_edited_and_put_back_lose_no_write() {
    const WRITERS: usize = 8;
    let hub = TestHub::start().await;
    hub.put_silo("office", &[]).await;
    let writer = async |number: usize| {
        loop {
            let mut silo = hub.get("/silos/office").await.json();
            let rows = silo["dnsrecords"].as_array_mut().unwrap();
            rows.push(json!({"hostname": format!("h{number}"), "ip": "10.0.0.7"}));
            match hub.put("/silos/office").json(&silo).await.status {
                200 => return,
                status => assert_eq!(status, 412),
            }
        }
    };
    futures_util::future::join_all((0..WRITERS).map(writer)).await;
    let silo = hub.get("/silos/office").await.json();
    assert_eq!(silo["dnsrecords"].as_array().unwrap().len(), WRITERS);
}

#[tokio::test]
async fn a_repeated_conditional_write_whose_answer_was_lost_is_answered() {
    let hub = TestHub::start().await;
    hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    for path in ["/silos/office", "/silos/office/records/db"] {
        let tag = hub.get(path).await.etag();
        let body = |ip: &str| {
            if path.contains("records") {
                json!({"ip": ip})
            } else {
                dnsrecords(&[("db", ip)])
            }
        };
        let put = |ip: &str| hub.put(path).header("if-match", &tag).json(&body(ip));
        let first = put("10.0.0.6").await;
        assert_eq!(
            (first.status, first.header("silo-changed")),
            (200, Some("?1")),
            "{path}"
        );
        let again = put("10.0.0.6").await;
        assert_eq!(
            (again.status, again.header("silo-changed")),
            (200, Some("?0")),
            "{path}"
        );
        assert_eq!(again.etag(), first.etag(), "{path}");
        let other = put("10.0.0.7").await;
        assert_eq!((other.status, other.etag()), (412, first.etag()), "{path}");
        // Not so where something else is asked for, too.
        let none = put("10.0.0.6").header("if-none-match", "*").await;
        assert_eq!(none.status, 412, "{path}");
        // A proxy that compresses has changed the present tag.
        for changed in [
            format!("W/{}", first.etag()),
            first.etag().replace("\"", "") + "-gzip",
        ] {
            let changed = if changed.starts_with("W/") {
                changed
            } else {
                format!("\"{changed}\"")
            };
            let call = hub
                .put(path)
                .header("if-match", &changed)
                .json(&body("10.0.0.8"));
            let answer = call.await;
            assert_eq!(answer.status, 412, "{path} {changed}");
            assert!(answer.text().contains("proxy"), "{answer:?}");
        }
        hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    }
}
