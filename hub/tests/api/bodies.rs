//! Bodies as a whole: invalid JSON, bodies that are too large or end early, and the largest accepted one.

use reqwest::Method;
use serde_json::json;

use crate::common::{Guarded, TestHub, dnsrecords, raw_status};

const OFFICE: &str = "/silos/office";
const DB: &str = "/silos/office/records/db";

#[tokio::test]
async fn a_body_that_is_not_json_is_refused() {
    let guarded = Guarded::start().await;
    let deep = format!("{{\"dnsrecords\":{}", "[".repeat(500_000));
    let deep_in_a_record = format!("{{\"ip\":{}", "{\"ip\":".repeat(150_000));
    for body in [
        b"{".to_vec(),
        b"{\"dnsrecords\":[],}".to_vec(),
        b"dnsrecords=[]".to_vec(),
        b"{\"dnsrecords\":[]} more".to_vec(),
        b"{'dnsrecords':[]}".to_vec(),
        b"{\"dnsrecords\":[{\"hostname\":\"\xff\",\"ip\":\"10.0.0.1\"}]}".to_vec(),
        b"{\"dnsrecords\":[{\"hostname\":\"\\ud800\",\"ip\":\"10.0.0.1\"}]}".to_vec(),
        b" ".to_vec(),
        b"\0".to_vec(),
        deep.into_bytes(),
        deep_in_a_record.into_bytes(),
    ] {
        for path in [OFFICE, DB] {
            let answer = guarded.hub.put(path).body(body.clone());
            let answer = guarded.refused(answer, 400).await;
            assert_eq!(answer.json()["type"], "/problems/malformed");
        }
    }
    guarded.refused(guarded.hub.put(OFFICE), 400).await;
    guarded.check().await;
}

#[tokio::test]
async fn a_silo_holds_at_most_10_000_records() {
    let guarded = Guarded::start().await;
    let names: Vec<String> = (0..10_001).map(|number| format!("h{number}")).collect();
    let rows: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), "10.0.0.1"))
        .collect();
    let answer = guarded
        .refused(guarded.hub.put(OFFICE).json(&dnsrecords(&rows)), 422)
        .await;
    let pointers = answer.pointers();
    assert_eq!(pointers.len(), 1);
    assert!(pointers[0].starts_with("/dnsrecords"), "{pointers:?}");
    guarded.check().await;

    let hub = TestHub::start().await;
    let full = hub.put_silo("full", &rows[..10_000]).await;
    assert_eq!(full.status, 201);
    // A hostname more, or a family more, is one too many.
    for (name, ip) in [("new", "10.0.0.2"), ("h1", "fd00::1")] {
        let path = format!("/silos/full/records/{name}");
        let answer = hub.put(&path).json(&json!({"ip": ip})).await;
        assert_eq!(answer.status, 422, "{name}");
    }
    assert_eq!(hub.get("/silos/full").await.body, full.body);
    let answer = hub
        .put("/silos/full/records/h1")
        .json(&json!({"ip": "10.0.0.2"}))
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(hub.delete("/silos/full/records/h1").await.status, 204);
    let answer = hub
        .put("/silos/full/records/new")
        .json(&json!({"ip": "10.0.0.2"}))
        .await;
    assert_eq!(answer.status, 201);
}

#[tokio::test]
async fn a_body_has_at_most_one_mebibyte() {
    let guarded = Guarded::start().await;
    let comment = |bytes: usize| {
        let frame = r#"{"dnsrecords":[],"updated_at":""}"#;
        let filled = format!(
            r#"{{"dnsrecords":[],"updated_at":"{}"}}"#,
            "x".repeat(bytes - frame.len())
        );
        assert_eq!(filled.len(), bytes);
        filled
    };
    for bytes in [1024 * 1024 + 1, 2 * 1024 * 1024] {
        for path in [OFFICE, DB] {
            let answer = guarded
                .refused(guarded.hub.put(path).body(comment(bytes)), 413)
                .await;
            assert_eq!(answer.json()["type"], "/problems/too-large");
        }
    }
    // Without Content-Length the hub finds out while it reads.
    let admin = guarded.hub.admin.clone();
    let mut request = format!(
        "PUT {OFFICE} HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {admin}\r\n\
         Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    );
    for _ in 0..32 {
        request.push_str(&format!("10000\r\n{}\r\n", " ".repeat(0x10000)));
    }
    request.push_str("0\r\n\r\n");
    let answer = guarded.hub.raw(&request).await;
    assert_eq!(raw_status(&answer), 413, "{answer}");
    assert!(answer.contains("application/problem+json"), "{answer}");
    // A length that is announced is refused before anything is sent.
    let request = format!(
        "PUT {OFFICE} HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {admin}\r\n\
         Content-Length: 99999999999\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    );
    let answer = guarded.hub.raw(&request).await;
    assert_eq!(raw_status(&answer), 413, "{answer}");
    guarded.check().await;

    let hub = TestHub::start().await;
    let answer = hub.put("/silos/most").body(comment(1024 * 1024)).await;
    assert_eq!(answer.status, 201);
}

#[tokio::test]
async fn a_chunked_body_is_as_good() {
    let hub = TestHub::start().await;
    let answer = hub
        .raw(format!(
            "PUT {DB} HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {}\r\n\
             Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
             8\r\n{{\"ip\":\"1\r\n9\r\n0.0.0.5\"}}\r\n0\r\n\r\n",
            hub.admin
        ))
        .await;
    assert_eq!(raw_status(&answer), 201, "{answer}");
    assert_eq!(hub.get(DB).await.json()["ips"], json!(["10.0.0.5"]));
}

#[tokio::test]
async fn a_body_that_breaks_off_changes_nothing() {
    let guarded = Guarded::start().await;
    let body = dnsrecords(&[("db", "10.0.0.6")]).to_string();
    let request = format!(
        "PUT {OFFICE} HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {}\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        guarded.hub.admin,
        body.len() + 1,
    );
    guarded.hub.broken_off(&request).await;
    guarded.check().await;
}

#[tokio::test]
async fn a_compressed_body_is_refused_with_415() {
    let guarded = Guarded::start().await;
    let hub = &guarded.hub;
    let silo = dnsrecords(&[("db", "10.0.0.6")]);
    let record = json!({"ip": "10.0.0.6"});
    let token = json!({"name": "t", "role": "read", "silos": ["office"]});
    let (id, _) = hub.token(token.clone()).await;
    let rotate = format!("/tokens/{id}/rotate");
    let calls = || {
        [
            hub.put(OFFICE).json(&silo),
            hub.put(DB).json(&record),
            hub.post("/tokens").json(&token),
            hub.post(&rotate).json(&json!({"overlap": 0})),
        ]
    };
    for coding in [
        "gzip",
        "GZIP",
        "x-gzip",
        "br",
        "deflate",
        "zstd",
        "identity, gzip",
        "gzip, identity",
        "nonsense",
        "identity;q=1",
    ] {
        for call in calls() {
            let call = call.header("content-encoding", coding);
            let answer = guarded.refused(call, 415).await;
            let kind = &answer.json()["type"];
            assert_eq!(kind, "/problems/content-encoding", "{coding}");
            assert_eq!(answer.header("accept-encoding"), Some("identity"));
        }
    }
    // In several fields, too.
    for call in calls() {
        let call = call
            .header("content-encoding", "identity")
            .header("content-encoding", "gzip");
        guarded.refused(call, 415).await;
    }
    // A form of a foreign protocol.
    let form = hub
        .call(Method::POST, "/nic/update")
        .header("content-type", "application/x-www-form-urlencoded")
        .header("content-encoding", "gzip")
        .body("hostname=db&myip=10.0.0.6");
    let reader = hub.credential("write", &["office"], &[]).await;
    let answer = guarded.refused(form.bearer(&reader), 415).await;
    assert_eq!(answer.header("accept-encoding"), Some("identity"));
    // Another kind of 415 must not name codings (RFC 9110 section 12.5.3).
    let call = hub.put(OFFICE).header("content-type", "text/csv").body("x");
    let answer = guarded.refused(call, 415).await;
    assert_eq!(answer.json()["type"], "/problems/media-type");
    assert_eq!(answer.header("accept-encoding"), None);
    // Who may not write hears that first.
    let reader = hub.credential("read", &["office"], &[]).await;
    let call = hub.put(OFFICE).json(&silo).bearer(&reader);
    let answer = call.header("content-encoding", "gzip").await;
    assert!(matches!(answer.status, 403 | 415), "{answer:?}");
    // Without content, there is no coding.
    for call in [hub.get(OFFICE), hub.head(OFFICE)] {
        assert_eq!(call.header("content-encoding", "gzip").await.status, 200);
    }
    guarded.check().await;
}

#[tokio::test]
async fn the_coding_identity_is_none() {
    let hub = TestHub::start().await;
    for coding in [
        "identity",
        "Identity",
        "identity, identity",
        " , identity",
        "",
    ] {
        let call = hub.put(DB).json(&json!({"ip": "10.0.0.5"}));
        let answer = call.header("content-encoding", coding).await;
        assert!(matches!(answer.status, 200 | 201), "{coding}: {answer:?}");
    }
}
