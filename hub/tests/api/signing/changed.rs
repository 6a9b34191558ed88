//! Changes to a signed request on the network path: each is refused, and nothing is written.

use reqwest::Method;
use silo_shared::signing::digest::content_digest;

use super::{Draft, NOW, Shot, Signer, assert_refused, ip, office};
use crate::common::TestHub;

const DB: &str = "/silos/office/records/db";

type Tamper = fn(&mut Shot);

fn draft(signer: &Signer) -> Draft {
    signer
        .draft(Method::PUT, DB)
        .json(&ip("10.0.0.6"))
        .header("if-match", "*")
        .header("silo-applied", "\"41\"; agent=\"a\"")
}

fn replace(shot: &mut Shot, name: &'static str, from: &str, to: &str) {
    let changed = shot.header(name).replace(from, to);
    assert_ne!(changed, shot.header(name), "{from} is there");
    shot.set(name, &changed);
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn a_changed_request_is_refused() {
    let (hub, admin) = office().await;
    let before = hub.get("/silos/office").await;
    let cases: &[(&str, Tamper, &str)] = &[
        (
            "method",
            |s| s.head.method = Method::DELETE,
            "the signature is wrong",
        ),
        (
            "method",
            |s| s.head.method = Method::GET,
            "the signature is wrong",
        ),
        (
            "path",
            |s| s.head.path = "/silos/office/records/nas".to_owned(),
            "the signature is wrong",
        ),
        (
            "query",
            |s| s.head.query = Some("family=6".to_owned()),
            "the signature is wrong",
        ),
        (
            "host",
            |s| s.head.authority = "other.example".to_owned(),
            "the signature is wrong",
        ),
        (
            "body",
            |s| s.content = ip("10.0.0.66").to_string().into(),
            "the content does not match",
        ),
        (
            "longer body",
            |s| s.content.push(b' '),
            "the content does not match",
        ),
        (
            "no body",
            |s| s.content.clear(),
            "the content does not match",
        ),
        (
            "body and digest",
            |s| {
                s.content = ip("10.0.0.66").to_string().into();
                let digest = content_digest(&s.content);
                s.set("content-digest", digest.to_str().unwrap());
            },
            "the signature is wrong",
        ),
        (
            "no digest",
            |s| {
                s.head.headers.remove("content-digest");
            },
            "the message lacks",
        ),
        (
            "two digests",
            |s| {
                let digest = s.header("content-digest").to_owned();
                s.add("content-digest", &digest);
            },
            "duplicate content-digest",
        ),
        (
            "type",
            |s| s.set("content-type", "application/problem+json"),
            "the signature is wrong",
        ),
        (
            "two types",
            |s| s.add("content-type", "application/json"),
            "duplicate content-type",
        ),
        (
            "precondition",
            |s| s.set("if-match", "\"41\""),
            "the signature is wrong",
        ),
        (
            "no precondition",
            |s| {
                s.head.headers.remove("if-match");
            },
            "the message lacks",
        ),
        (
            "two preconditions",
            |s| s.add("if-match", "*"),
            "duplicate if-match",
        ),
        (
            "added precondition",
            |s| s.set("if-none-match", "*"),
            "\"if-none-match\" is not signed",
        ),
        (
            "added preference",
            |s| s.set("prefer", "wait=1"),
            "\"prefer\" is not signed",
        ),
        (
            "applied",
            |s| s.set("silo-applied", "\"42\"; agent=\"a\""),
            "the signature is wrong",
        ),
        (
            "created",
            |s| {
                replace(
                    s,
                    "signature-input",
                    &NOW.to_string(),
                    &(NOW + 1).to_string(),
                )
            },
            "the signature is wrong",
        ),
        (
            "nonce",
            |s| replace(s, "signature-input", "nonce-", "nunce-"),
            "the signature is wrong",
        ),
        (
            "algorithm",
            |s| replace(s, "signature-input", "hmac-sha256", "ed25519"),
            "alg must be",
        ),
        (
            "no algorithm",
            |s| replace(s, "signature-input", ";alg=\"hmac-sha256\"", ""),
            "alg is missing",
        ),
        (
            "left out",
            |s| replace(s, "signature-input", " \"if-match\"", ""),
            "\"if-match\" is not signed",
        ),
        (
            "left out",
            |s| replace(s, "signature-input", "\"@query\" ", ""),
            "\"@query\" is not signed",
        ),
        (
            "order",
            |s| {
                replace(
                    s,
                    "signature-input",
                    "\"@method\" \"@authority\"",
                    "\"@authority\" \"@method\"",
                )
            },
            "the signature is wrong",
        ),
        (
            "no input",
            |s| {
                s.head.headers.remove("signature-input");
            },
            "Signature-Input: is missing",
        ),
        (
            "no signature",
            |s| {
                s.head.headers.remove("signature");
            },
            "Signature: is missing",
        ),
        (
            "two inputs",
            |s| {
                let input = s.header("signature-input").to_owned();
                s.add("signature-input", &input);
            },
            "duplicate signature-input",
        ),
        (
            "two signatures",
            |s| {
                let signature = s.header("signature").to_owned();
                s.add("signature", &signature);
            },
            "duplicate signature",
        ),
        (
            "a second signature",
            |s| {
                let input = format!("{}, sig2=();created=1", s.header("signature-input"));
                let signature = format!("{}, sig2=:AA==:", s.header("signature"));
                s.set("signature-input", &input);
                s.set("signature", &signature);
            },
            "exactly one signature",
        ),
        (
            "label",
            |s| {
                replace(s, "signature-input", "silo=", "sig1=");
                replace(s, "signature", "silo=", "sig1=");
            },
            "labelled silo",
        ),
        (
            "key",
            |s| {
                let key = format!("keyid=\"{}\"", s.signer.keyid);
                replace(s, "signature-input", &key, "keyid=\"aaaaaaaaaa\"");
            },
            "keyid is unknown",
        ),
        (
            "key",
            |s| {
                let key = format!("keyid=\"{}\"", s.signer.keyid);
                replace(s, "signature-input", &key, "keyid=\"\"");
            },
            "keyid is unknown",
        ),
        (
            "signature",
            |s| s.set("signature", "silo=:AAAA:"),
            "the signature is wrong",
        ),
        (
            "signature",
            |s| s.set("signature", "silo=::"),
            "the signature is wrong",
        ),
        (
            "signature",
            |s| s.set("signature", "garbage"),
            "Signature: ",
        ),
        (
            "input",
            |s| s.set("signature-input", "silo=(((("),
            "is not a dictionary",
        ),
    ];
    for (number, (what, tamper, said)) in cases.iter().enumerate() {
        let mut shot = admin.sign(&hub, draft(&admin));
        tamper(&mut shot);
        // Each from an address of its own: failures are counted.
        let answer = shot
            .call(&hub)
            .seen_from(&format!("192.0.2.{number}"))
            .await;
        assert_refused(&answer, 401, "unauthorized");
        assert!(
            answer.text().contains(&said.replace('"', "\\\"")),
            "{what}: {said}: {answer:?}"
        );
        assert!(answer.values("www-authenticate").len() == 2, "{answer:?}");
        // Only what the key made is answered under the key.
        let is_content = said.starts_with("the content");
        assert_eq!(
            answer.header("signature").is_some(),
            is_content,
            "{what}: {answer:?}"
        );
    }
    assert_eq!(
        hub.get("/silos/office").await.body,
        before.body,
        "nothing was written"
    );
    // Untouched it is taken, so that each refusal above was for what was changed.
    let answer = admin.send(&hub, draft(&admin)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn a_body_that_was_added_is_refused() {
    let (hub, admin) = office().await;
    let before = hub.get("/silos/office").await;
    for method in [Method::PUT, Method::DELETE, Method::GET] {
        let mut shot = admin.sign(&hub, admin.draft(method, "/silos/office"));
        shot.content = b"{\"dnsrecords\":[]}".to_vec();
        let answer = shot.send(&hub).await;
        assert_refused(&answer, 401, "unauthorized");
        assert!(answer.text().contains("content-digest"), "{answer:?}");
    }
    // Not even in chunks, whose length no header tells.
    let shot = admin.sign(&hub, admin.draft(Method::DELETE, "/silos/office"));
    let raw = format!(
        "DELETE /silos/office HTTP/1.1\r\nhost: {}\r\nconnection: close\r\nsignature: {}\r\nsignature-input: {}\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n",
        hub.address,
        shot.header("signature"),
        shot.header("signature-input"),
    );
    let answer = hub.raw(raw).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    assert_eq!(hub.get("/silos/office").await.body, before.body);
}

#[tokio::test]
async fn a_stripped_signature_leaves_nothing() {
    let (hub, admin) = office().await;
    let mut shot = admin.sign(&hub, admin.draft(Method::GET, "/silos/office"));
    shot.head.headers.remove("signature");
    shot.head.headers.remove("signature-input");
    let answer = shot.send(&hub).await;
    assert_refused(&answer, 401, "unauthorized");
    shot.assert_unsigned(&answer);
}

#[tokio::test]
async fn a_message_for_another_hub_is_refused() {
    let (hub, admin) = office().await;
    let other = TestHub::start().await;
    let shot = admin.sign(&hub, admin.draft(Method::GET, "/silos"));
    assert_refused(&shot.send(&other).await, 401, "unauthorized");
    // The host is compared as it is written, but for upper case.
    let mut shot = admin.sign(&hub, admin.draft(Method::GET, "/silos"));
    shot.head.authority = "localhost".to_owned();
    assert_refused(&shot.send(&hub).await, 401, "unauthorized");
    let raw = |hosts: &str, nonce: &str| {
        let draft = admin.draft(Method::GET, "/silos").nonce(nonce);
        let shot = admin.sign(&hub, draft);
        format!(
            "GET /silos HTTP/1.1\r\n{hosts}connection: close\r\nsignature: {}\r\nsignature-input: {}\r\n\r\n",
            shot.header("signature"),
            shot.header("signature-input"),
        )
    };
    let host = format!("host: {}\r\n", hub.address);
    let once = hub.raw(raw(&host, "one host")).await;
    assert!(once.starts_with("HTTP/1.1 200"), "{once}");
    for hosts in [
        format!("{host}{host}"),
        format!("{host}host: other.example\r\n"),
        String::new(),
    ] {
        let answer = hub.raw(raw(&hosts, "other hosts")).await;
        assert!(
            answer.starts_with("HTTP/1.1 401") || answer.starts_with("HTTP/1.1 400"),
            "{hosts}: {answer}"
        );
    }
}

#[tokio::test]
async fn bytes_that_are_no_text_are_refused() {
    let (hub, admin) = office().await;
    for field in [
        "signature",
        "signature-input",
        "content-type",
        "if-match",
        "host",
        "x-extra",
    ] {
        let shot = admin.sign(&hub, admin.draft(Method::GET, "/silos"));
        let mut request = b"GET /silos HTTP/1.1\r\nconnection: close\r\n".to_vec();
        for (name, value) in [
            ("host", shot.head.authority.as_str()),
            ("signature", shot.header("signature")),
            ("signature-input", shot.header("signature-input")),
        ] {
            if name != field {
                request.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
            }
        }
        request.extend_from_slice(field.as_bytes());
        request.extend_from_slice(b": \xff\xfe\r\n\r\n");
        let answer = hub.raw(request).await;
        // What is not signed may hold anything.
        let status = if field == "x-extra" { "200" } else { "401" };
        let status_line = format!("HTTP/1.1 {status}");
        let is_refused = answer.starts_with(&status_line);
        // Hosts of no text at all are refused further down already.
        assert!(
            is_refused || (field == "host" && answer.starts_with("HTTP/1.1 400")),
            "{field}: {answer}"
        );
    }
}

#[tokio::test]
async fn a_wrong_clock_is_reported_with_its_offset() {
    let (hub, admin) = office().await;
    for (created, said) in [
        (
            NOW - 301,
            "301 s before this hub's time, 2026-01-02T03:04:05.678Z",
        ),
        (
            NOW + 301,
            "300 s after this hub's time, 2026-01-02T03:04:05.678Z",
        ),
        (NOW + 400, "399 s after"),
        (0, "s before"),
        (-1, "s before"),
        (999_999_999_999_999, "s after"),
    ] {
        let draft = admin.draft(Method::GET, "/silos/office").created(created);
        let answer = admin.send(&hub, draft).await;
        assert_refused(&answer, 401, "clock");
        assert!(answer.text().contains(said), "{answer:?}");
        assert_eq!(answer.header("date"), Some("Fri, 02 Jan 2026 03:04:05 GMT"));
    }
    for created in [NOW - 299, NOW + 300] {
        let draft = admin.draft(Method::GET, "/silos/office").created(created);
        assert_eq!(admin.send(&hub, draft).await.status, 200);
    }
}

#[tokio::test]
async fn a_nonce_has_1_to_64_characters() {
    let (hub, admin) = office().await;
    for (nonce, status) in [
        ("", 401),
        (&"n".repeat(64), 200),
        (&"n".repeat(65), 401),
        ("a b~!", 200),
    ] {
        for method in [Method::GET, Method::PUT] {
            let draft = admin.draft(method.clone(), "/silos/office").nonce(nonce);
            let draft = if method == Method::PUT {
                draft.json(&crate::common::dnsrecords(&[]))
            } else {
                draft
            };
            let answer = admin.sign(&hub, draft).send(&hub).await;
            assert_eq!(answer.status, status, "{nonce}: {answer:?}");
        }
    }
}
