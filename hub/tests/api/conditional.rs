//! `If-Match` and `If-None-Match`.

use reqwest::Method;
use serde_json::json;

use crate::common::{TestHub, dnsrecords, revision};

const OFFICE: &str = "/silos/office";
const DB: &str = "/silos/office/records/db";
/// Headers that are not lists of entity tags.
const MALFORMED: &[&str] = &[
    "41",
    "\"41",
    "41\"",
    "\"41\" \"42\"",
    "w/\"41\"",
    "\"41\", *",
    "",
];

#[tokio::test]
async fn a_known_silo_is_not_sent_again() {
    let hub = TestHub::start().await;
    let tag = hub.put_silo("office", &[("db", "10.0.0.5")]).await.etag();
    for tags in [
        tag.clone(),
        format!("W/{tag}"),
        format!("\"x\", {tag}"),
        format!("\"a,b\" , W/{tag} ,\"y\""),
        "*".to_owned(),
    ] {
        let answer = hub.get(OFFICE).header("if-none-match", &tags).await;
        assert_eq!(answer.status, 304, "{tags}");
        assert_eq!(answer.etag(), tag);
        assert_eq!(answer.header("cache-control"), Some("private, no-cache"));
        assert_eq!(answer.header("vary"), Some("Accept"));
    }
    // A list may also come in several lines.
    let answer = hub
        .get(OFFICE)
        .header("if-none-match", "\"x\"")
        .header("if-none-match", &tag)
        .await;
    assert_eq!(answer.status, 304);
    for tags in ["\"x\"", "\"x\", W/\"y\"", "\"\""] {
        let answer = hub.get(OFFICE).header("if-none-match", tags).await;
        assert_eq!(answer.status, 200, "{tags}");
    }
    hub.put_silo("office", &[("db", "10.0.0.6")]).await;
    let answer = hub.get(OFFICE).header("if-none-match", &tag).await;
    assert_eq!(answer.status, 200);
    assert_ne!(answer.etag(), tag);
}

#[tokio::test]
async fn a_format_is_known_by_its_own_tag_only() {
    let hub = TestHub::start().await;
    let number = revision(&hub.put_silo("office", &[("db", "10.0.0.5")]).await.json());
    let formats = [("json", ""), ("hosts", "-hosts"), ("zone", "-zone")];
    for (asked, _) in formats {
        for (known, suffix) in formats {
            let answer = hub
                .get(&format!("{OFFICE}?format={asked}"))
                .header("if-none-match", &format!("\"{number}{suffix}\""))
                .await;
            let status = if asked == known { 304 } else { 200 };
            assert_eq!(answer.status, status, "asked {asked}, known {known}");
        }
    }
}

#[tokio::test]
async fn a_missing_silo_is_404_whatever_is_known() {
    let hub = TestHub::start().await;
    for tags in ["*", "\"41\""] {
        let answer = hub.get(OFFICE).header("if-none-match", tags).await;
        assert_eq!(answer.status, 404, "{tags}");
    }
}

#[tokio::test]
async fn malformed_tags_are_refused_and_change_nothing() {
    let hub = TestHub::start().await;
    let before = hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    let silo = dnsrecords(&[("db", "10.0.0.6")]);
    let record = json!({"ip": "10.0.0.6"});
    for tags in MALFORMED {
        for header in ["if-match", "if-none-match"] {
            for call in [
                hub.put(OFFICE).json(&silo),
                hub.put(DB).json(&record),
                hub.delete(OFFICE),
                hub.delete(DB),
            ] {
                let answer = call.header(header, tags).await;
                assert_eq!(answer.status, 400, "{header}: {tags}");
            }
        }
        for path in [OFFICE, DB] {
            for header in ["if-match", "if-none-match"] {
                let answer = hub.get(path).header(header, tags).await;
                assert_eq!(answer.status, 400, "{path} {header}: {tags}");
            }
        }
    }
    assert_eq!(hub.get(OFFICE).await.body, before.body);
}

#[tokio::test]
async fn a_silo_is_replaced_only_with_its_current_etag() {
    let hub = TestHub::start().await;
    let stale = hub.put_silo("office", &[("db", "10.0.0.1")]).await.etag();
    let now = hub.put_silo("office", &[("db", "10.0.0.2")]).await;
    let tag = now.etag();
    let history = hub.history("office").await;
    let number = revision(&now.json());
    for (header, tags) in [
        ("if-match", stale.clone()),
        ("if-match", "\"x\"".to_owned()),
        // If-Match compares strongly (RFC 9110 section 13.1.1).
        ("if-match", format!("W/{tag}")),
        ("if-match", format!("\"{number}-hosts\"")),
        ("if-match", format!("\"{number}-db\"")),
        ("if-none-match", "*".to_owned()),
        ("if-none-match", tag.clone()),
        ("if-none-match", format!("\"x\", W/{tag}")),
    ] {
        for call in [
            hub.put(OFFICE).json(&dnsrecords(&[("db", "10.0.0.3")])),
            hub.delete(OFFICE),
        ] {
            let answer = call.header(header, &tags).await;
            assert_eq!(answer.status, 412, "{header}: {tags}");
            assert_eq!(answer.json()["type"], "/problems/precondition-failed");
        }
    }
    assert_eq!(hub.get(OFFICE).await.body, now.body);
    assert_eq!(hub.history("office").await, history);

    let put = |tags: String, ip: &str| {
        let body = dnsrecords(&[("db", ip)]);
        let call = hub.put(OFFICE).json(&body).header("if-match", &tags);
        async move { call.await }
    };
    let answer = put(format!("{stale}, {tag}"), "10.0.0.4").await;
    assert_eq!(answer.status, 200);
    assert_eq!(put(tag, "10.0.0.5").await.status, 412);
    assert_eq!(put("*".to_owned(), "10.0.0.5").await.status, 200);
    let answer = hub
        .put(OFFICE)
        .json(&dnsrecords(&[("db", "10.0.0.6")]))
        .header("if-none-match", &stale)
        .await;
    assert_eq!(answer.status, 200);
    let answer = hub.delete(OFFICE).header("if-match", &answer.etag()).await;
    assert_eq!(answer.status, 204);
}

#[tokio::test]
async fn if_match_makes_no_silo() {
    let hub = TestHub::start().await;
    for tags in ["*", "\"41\""] {
        for (path, body) in [(OFFICE, dnsrecords(&[])), (DB, json!({"ip": "10.0.0.5"}))] {
            let answer = hub.put(path).json(&body).header("if-match", tags).await;
            assert_eq!(answer.status, 412, "{path} {tags}");
        }
        for path in [OFFICE, DB] {
            let answer = hub.delete(path).header("if-match", tags).await;
            assert!(matches!(answer.status, 404 | 412), "{path} {tags}");
        }
    }
    assert_eq!(hub.get(OFFICE).await.status, 404);
    // Neither is the ETag of a deleted silo.
    let tag = hub.put_silo("office", &[]).await.etag();
    hub.delete(OFFICE).await;
    let answer = hub
        .put(OFFICE)
        .json(&dnsrecords(&[]))
        .header("if-match", &tag)
        .await;
    assert_eq!(answer.status, 412);
}

#[tokio::test]
async fn if_none_match_any_only_makes() {
    let hub = TestHub::start().await;
    for (path, body, other) in [
        (OFFICE, dnsrecords(&[("db", "10.0.0.5")]), dnsrecords(&[])),
        (
            "/silos/b/records/db",
            json!({"ip": "10.0.0.5"}),
            json!({"ip": "10.0.0.6"}),
        ),
    ] {
        let made = hub.put(path).json(&body).header("if-none-match", "*").await;
        assert_eq!(made.status, 201, "{path}");
        let again = hub
            .put(path)
            .json(&other)
            .header("if-none-match", "*")
            .await;
        assert_eq!(again.status, 412, "{path}");
        assert_eq!(hub.get(path).await.body, made.body);
    }
    // A new hostname in a silo that is there.
    let answer = hub
        .put("/silos/b/records/nas")
        .json(&json!({"ip": "10.0.0.7"}))
        .header("if-none-match", "*")
        .await;
    assert_eq!(answer.status, 201);
}

#[tokio::test]
async fn a_record_is_guarded_by_its_own_tag() {
    let hub = TestHub::start().await;
    let stale = hub.put(DB).json(&json!({"ip": "10.0.0.1"})).await.etag();
    let now = hub.put(DB).json(&json!({"ip": "10.0.0.2"})).await;
    let silo = hub.get(OFFICE).await;
    let number = revision(&now.json());
    for (header, tags) in [
        ("if-match", stale.clone()),
        ("if-match", format!("\"{number}\"")),
        ("if-match", format!("\"{number}-nas\"")),
        ("if-match", format!("W/{}", now.etag())),
        ("if-none-match", "*".to_owned()),
        ("if-none-match", now.etag()),
    ] {
        for call in [
            hub.put(DB).json(&json!({"ip": "10.0.0.3"})),
            hub.put(DB).json(&json!({"comment": "rack 3"})),
            hub.delete(DB),
            hub.delete(&format!("{DB}?family=4")),
        ] {
            let answer = call.header(header, &tags).await;
            assert_eq!(answer.status, 412, "{header}: {tags}");
        }
    }
    assert_eq!(hub.get(OFFICE).await.body, silo.body);
    // Another hostname's change does not touch this one's tag.
    hub.put("/silos/office/records/nas")
        .json(&json!({"ip": "10.0.0.7"}))
        .await;
    let answer = hub
        .put(DB)
        .json(&json!({"ip": "10.0.0.3"}))
        .header("if-match", &now.etag())
        .await;
    assert_eq!(answer.status, 200);
    let answer = hub.delete(DB).header("if-match", &now.etag()).await;
    assert_eq!(answer.status, 412);
    let tag = hub.get(DB).await.etag();
    assert_eq!(hub.delete(DB).header("if-match", &tag).await.status, 204);
    assert_eq!(hub.call(Method::GET, DB).await.status, 404);
}

#[tokio::test]
async fn a_read_answers_only_while_if_match_holds() {
    let hub = TestHub::start().await;
    let stale = hub.put_silo("office", &[("db", "10.0.0.1")]).await.etag();
    hub.put_silo("office", &[("db", "10.0.0.2")]).await;
    for path in [
        OFFICE,
        "/silos/office?format=hosts",
        "/silos/office?format=zone",
        DB,
    ] {
        let now = hub.get(path).await;
        let tag = now.etag();
        let bare = tag.trim_matches('"');
        for (tags, holds) in [
            ("*".to_owned(), true),
            (tag.clone(), true),
            (format!("\"x\", {tag}"), true),
            (format!("W/{tag}, {tag}"), true),
            // If-Match compares strongly (RFC 9110 section 13.1.1).
            (format!("W/{tag}"), false),
            (stale.clone(), false),
            ("\"\"".to_owned(), false),
            // The tag of another representation.
            (format!("\"{bare}-x\""), false),
            (
                format!("\"{}-web\"", bare.split('-').next().unwrap()),
                false,
            ),
        ] {
            for method in [Method::GET, Method::HEAD] {
                let case = format!("{method} {path} If-Match: {tags}");
                let read = || hub.call(method.clone(), path).header("if-match", &tags);
                let answer = read().await;
                assert_eq!(answer.status, if holds { 200 } else { 412 }, "{case}");
                assert_eq!(answer.etag(), tag, "{case}");
                if !holds && method == Method::GET {
                    assert_eq!(answer.json()["type"], "/problems/precondition-failed");
                }
                // It is judged before If-None-Match (RFC 9110 section 13.2.2).
                for known in [tag.as_str(), "*", "\"x\""] {
                    let answer = read().header("if-none-match", known).await;
                    let status = match (holds, known) {
                        (false, _) => 412,
                        (true, "\"x\"") => 200,
                        (true, _) => 304,
                    };
                    assert_eq!(answer.status, status, "{case}, If-None-Match: {known}");
                }
            }
        }
    }
}

#[tokio::test]
async fn if_match_without_an_etag_only_accepts_any() {
    let hub = TestHub::start().await;
    let tag = hub.put_silo("office", &[("db", "10.0.0.1")]).await.etag();
    for path in [
        "/silos",
        "/silos/office/history",
        "/silos/office/agents",
        "/tokens",
        "/audit",
        "/deliveries",
        "/metrics",
        "/ping",
        "/ip",
    ] {
        for method in [Method::GET, Method::HEAD] {
            for (tags, status) in [("*", 200), (tag.as_str(), 412), ("\"\"", 412), ("41", 400)] {
                let answer = hub
                    .call(method.clone(), path)
                    .header("if-match", tags)
                    .await;
                assert_eq!(answer.status, status, "{method} {path} If-Match: {tags}");
            }
        }
    }
    // The stream does not start.
    for path in ["/events", "/silos/office/events"] {
        let answer = hub.get(path).header("if-match", &tag).await;
        assert_eq!(answer.status, 412, "{path}");
    }
}

/// What would fail without a condition fails as it does without (RFC 9110 section 13.2.1).
#[tokio::test]
async fn if_match_hides_no_other_error() {
    let hub = TestHub::start().await;
    hub.put_silo("office", &[("db", "10.0.0.1")]).await;
    let other = hub.credential("read", &["other"], &[]).await;
    for tags in ["*", "\"41\""] {
        for (path, status) in [
            ("/silos/none", 404),
            ("/silos/office/records/none", 404),
            ("/silos/office?format=xml", 422),
            ("/silos?limit=0", 422),
            ("/nothing", 404),
        ] {
            let answer = hub.get(path).header("if-match", tags).await;
            assert_eq!(answer.status, status, "{path} {tags}");
        }
        let answer = hub.open_call(Method::GET, OFFICE).header("if-match", tags);
        assert_eq!(answer.await.status, 401, "{tags}");
        let answer = hub.get(OFFICE).bearer(&other).header("if-match", tags);
        assert_eq!(answer.await.status, 404, "{tags}");
    }
}

#[tokio::test]
async fn if_match_is_judged_before_a_wait_and_after_it() {
    let hub = TestHub::start().await;
    let stale = hub.put_silo("office", &[("db", "10.0.0.1")]).await.etag();
    let tag = hub.put_silo("office", &[("db", "10.0.0.2")]).await.etag();
    // Were it not judged first, this would be answered after five minutes.
    let answer = hub
        .get(OFFICE)
        .header("if-match", &stale)
        .header("if-none-match", &tag)
        .header("prefer", "wait=300")
        .await;
    assert_eq!(answer.status, 412);
    assert_eq!(answer.header("preference-applied"), None);
    let answer = hub
        .get(OFFICE)
        .header("if-match", &tag)
        .header("if-none-match", &tag)
        .header("prefer", "wait=0")
        .await;
    assert_eq!(answer.status, 304);
}

#[tokio::test]
async fn a_target_without_an_entity_tag_matches_none() {
    let hub = TestHub::start().await;
    let (id, _) = hub
        .token(json!({"name": "nas", "role": "read", "silos": ["office"]}))
        .await;
    let path = format!("/tokens/{id}");
    let rotate = format!("{path}/rotate");
    let rename = json!({"name": "laptop"});
    for (name, value, status) in [
        ("if-match", "\"41\"", 412),
        ("if-match", "W/\"41\"", 412),
        ("if-none-match", "*", 412),
        ("if-match", "41", 400),
        ("if-none-match", "\"41\"", 200),
        ("if-match", "*", 200),
    ] {
        let changed = hub.call(Method::PATCH, &path).json(&rename);
        let changed = changed.header(name, value).await;
        assert_eq!(changed.status, status, "{name}: {value}");
        let rotated = hub.post(&rotate).json(&json!({})).header(name, value).await;
        let expected = if status == 200 { 201 } else { status };
        assert_eq!(rotated.status, expected, "{name}: {value}");
        if status != 200 {
            let removed = hub.delete(&path).header(name, value).await;
            assert_eq!(removed.status, status, "{name}: {value}");
        }
    }
    // What is not there is reported as missing.
    let missing = hub
        .delete("/tokens/aaaaaaaaaa")
        .header("if-match", "\"41\"");
    assert_eq!(missing.await.status, 404);
    let missing = hub.post("/deliveries/1/retry").header("if-match", "\"41\"");
    assert_eq!(missing.await.status, 404);
    assert_eq!(hub.delete(&path).header("if-match", "*").await.status, 204);
}
