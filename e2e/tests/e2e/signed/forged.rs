//! Responses that an interceptor forges.

use silo_e2e::interceptor::Exchange;

use super::{Scene, assert_done, text};

/// A response made by the interceptor.
fn forged(status: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The hub's answer with one text in place of another, of the same length.
fn altered(exchange: &Exchange, from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    text(&exchange.answer).replace(from, to).into_bytes()
}

fn without(exchange: &Exchange, header: &str) -> Vec<u8> {
    let lines: Vec<_> = exchange.answer.split(|byte| *byte == b'\n').collect();
    let is_it = |line: &[u8]| {
        line.to_ascii_lowercase()
            .starts_with(format!("{header}:").as_bytes())
    };
    let kept: Vec<_> = lines.into_iter().filter(|line| !is_it(line)).collect();
    kept.join(&b'\n')
}

type Forgery = Box<dyn Fn(&Exchange) -> Vec<u8> + Send>;

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn forged_responses_to_a_downstream_change_nothing() {
    let scene = Scene::new().await;
    assert_done(&scene.downstream());
    let old = scene.interceptor.take().pop().unwrap();
    assert!(scene.hosts().contains("10.0.0.5 db"), "{}", scene.hosts());
    // A recorded 304, and a newer state that the interceptor withholds.
    assert_done(&scene.downstream());
    let unchanged = scene.interceptor.take().pop().unwrap();
    assert!(
        unchanged.answer.starts_with(b"HTTP/1.1 304"),
        "{}",
        text(&unchanged.answer)
    );
    scene
        .admin
        .put_ip("office", "db", "10.0.0.8")
        .await
        .unwrap();
    let before = scene.hosts();
    let silo = r#"{"id":"office","dnsrecords":[{"hostname":"db","ip":"10.6.6.6"}],"revision":9000000000000001,"updated_at":"2026-01-02T03:04:05.678Z"}"#;
    let problem = r#"{"type":"/problems/not-found","title":"t","status":404,"detail":"there is no such silo"}"#;
    let cases: Vec<(&str, Forgery)> = vec![
        (
            "answered 200 unsigned",
            Box::new(move |_| forged("200 OK", silo)),
        ),
        (
            "answered 304 unsigned",
            Box::new(|_| forged("304 Not Modified", "")),
        ),
        (
            "answered 404 unsigned",
            Box::new(move |_| forged("404 Not Found", problem)),
        ),
        (
            "answered 401 unsigned: the token is unknown, revoked or mistyped",
            Box::new(move |_| forged("401 Unauthorized", problem)),
        ),
        (
            "answered 502 unsigned: a proxy can't reach the hub, or the hub can't reach its database",
            Box::new(|_| forged("502 Bad Gateway", "")),
        ),
        (
            "status 302: a redirect, which is not followed",
            Box::new(|_| forged("302 Found\r\nlocation: http://x", "")),
        ),
        (
            "the content does not match Content-Digest",
            Box::new(|exchange| altered(exchange, "10.0.0.8", "10.6.6.6")),
        ),
        ("the answer is not from the hub: the signature is wrong", {
            let old = old.answer.clone();
            Box::new(move |_| old.clone())
        }),
        ("the answer is not from the hub: the signature is wrong", {
            let old = unchanged.answer.clone();
            Box::new(move |_| old.clone())
        }),
        (
            "the signature is wrong",
            Box::new(|exchange| altered(exchange, "HTTP/1.1 200", "HTTP/1.1 203")),
        ),
        (
            "answered 200 unsigned",
            Box::new(|exchange| {
                let stripped = without(exchange, "signature");
                without(
                    &Exchange {
                        request: Vec::new(),
                        answer: stripped,
                    },
                    "signature-input",
                )
            }),
        ),
        (
            "Signature: is missing",
            Box::new(|exchange| without(exchange, "signature")),
        ),
        (
            "is not written in the form of RFC 9651",
            Box::new(|exchange| altered(exchange, "\"content-digest\" ", "                 ")),
        ),
        (
            "the message lacks",
            Box::new(|exchange| without(exchange, "etag")),
        ),
    ];
    for (said, forgery) in cases {
        scene.interceptor.forge(forgery);
        let output = scene.downstream();
        let stderr = text(&output.stderr) + &text(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{said}: {stderr}");
        assert!(stderr.contains(said), "{said}: {stderr}");
        assert_eq!(scene.hosts(), before, "{said}");
    }
    // It was not stored either: once the interceptor forwards again, the newest state arrives.
    scene.interceptor.forge(|exchange| exchange.answer.clone());
    assert_done(&scene.downstream());
    assert!(scene.hosts().contains("10.0.0.8 db"), "{}", scene.hosts());
}

#[tokio::test]
async fn forged_responses_to_an_upstream_change_nothing() {
    let scene = Scene::new().await;
    let record = r#"{"hostname":"nas","ips":["10.0.0.7"],"revision":1,"updated_at":"2026-01-02T03:04:05.678Z","last_seen":"2099-01-02T03:04:05.678Z"}"#;
    // Which request's answer is forged, and how.
    let cases: Vec<(&str, &str, Forgery)> = vec![
        (
            "GET /ip",
            "answered 200 unsigned",
            Box::new(|_| forged("200 OK", r#"{"ip":"10.6.6.6"}"#)),
        ),
        (
            "GET /ip",
            "the content does not match",
            Box::new(|exchange| altered(exchange, "10.0.0.7", "10.6.6.6")),
        ),
        (
            "GET /silos/office/records/nas",
            "answered 200 unsigned",
            Box::new(move |_| forged("200 OK", record)),
        ),
        (
            "GET /silos/office/records/nas",
            "answered 404 unsigned",
            Box::new(|_| forged("404 Not Found", "")),
        ),
        (
            "PUT /silos/office/records/nas",
            "answered 200 unsigned",
            Box::new(move |_| forged("200 OK", record)),
        ),
    ];
    for (line, said, forgery) in cases {
        scene.interceptor.forge(move |exchange| {
            if exchange.line() == line {
                forgery(exchange)
            } else {
                exchange.answer.clone()
            }
        });
        let output = scene.upstream();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{line}: {stderr}");
        assert!(stderr.contains(said), "{line}: {said}: {stderr}");
        let lines: Vec<_> = scene
            .interceptor
            .take()
            .iter()
            .map(Exchange::line)
            .collect();
        assert_eq!(
            lines.last().map(String::as_str),
            Some(line),
            "it stops there: {lines:?}"
        );
        if !line.starts_with("PUT") {
            assert_eq!(
                scene.nas().await["status"],
                404,
                "{line}: nothing was written"
            );
        }
    }
    // The last write came through, and only its answer did not: the next run finds it so.
    scene.interceptor.forge(|exchange| exchange.answer.clone());
    assert_done(&scene.upstream());
    assert_eq!(scene.nas().await["ips"], serde_json::json!(["10.0.0.7"]));
}
