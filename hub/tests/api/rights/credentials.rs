//! The ways to show a credential, and the answer to a request without a valid one.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;

use super::{CHALLENGES, OFFICE};
use crate::common::{TestHub, dnsrecords, raw_status};

/// A browser shows a password prompt for a Basic challenge, also when a script of a page asked.
#[tokio::test]
async fn a_browsers_fetch_gets_only_a_bearer_challenge() {
    let hub = TestHub::start_behind_a_proxy().await;
    hub.put_silo("office", &[]).await;
    for (number, (headers, expected)) in [
        (&[][..], &CHALLENGES[..]),
        (&[("sec-fetch-mode", "navigate")], &CHALLENGES),
        (
            &[
                ("sec-fetch-mode", "navigate"),
                ("sec-fetch-dest", "document"),
            ],
            &CHALLENGES,
        ),
        (
            &[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")],
            &CHALLENGES,
        ),
        (&[("sec-fetch-dest", "document")], &CHALLENGES),
        (&[("sec-fetch-mode", "cors")], &CHALLENGES[1..]),
        (&[("sec-fetch-mode", "same-origin")], &CHALLENGES[1..]),
        (&[("sec-fetch-mode", "no-cors")], &CHALLENGES[1..]),
        (
            &[("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")],
            &CHALLENGES[1..],
        ),
        (&[("sec-fetch-dest", "empty")], &CHALLENGES[1..]),
    ]
    .into_iter()
    .enumerate()
    {
        let wrong = format!("silo_aaaaaaaaaa_{}", "x".repeat(43));
        let signature = "silo=(\"@method\");created=1;keyid=\"abcdefgh12\"";
        for call in [
            hub.open_call(Method::GET, OFFICE),
            hub.open_call(Method::HEAD, OFFICE),
            hub.open_call(Method::PUT, OFFICE).json(&dnsrecords(&[])),
            hub.open_call(Method::GET, OFFICE).bearer(&wrong),
            hub.open_call(Method::GET, OFFICE).login("x", "y"),
            hub.open_call(Method::GET, OFFICE)
                .header("signature-input", signature),
        ] {
            // Each row from an address of its own: failures are counted.
            let mut call = call.seen_from(&format!("192.0.2.{number}"));
            for (name, value) in headers {
                call = call.header(name, value);
            }
            let answer = call.await;
            assert_eq!(answer.status, 401, "{headers:?}: {answer:?}");
            let challenges = answer.values("www-authenticate");
            assert_eq!(challenges, expected, "{headers:?}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn basic_shows_the_credential_with_any_user_name() {
    let hub = TestHub::start().await;
    hub.put_silo("office", &[]).await;
    for user in ["", "silo", "office", "nas@example.org", "ü"] {
        for scheme in ["Basic", "basic", "BASIC"] {
            let text = STANDARD.encode(format!("{user}:{}", hub.admin));
            let answer = hub
                .open_call(Method::GET, OFFICE)
                .header("authorization", &format!("{scheme} {text}"))
                .await;
            assert_eq!(answer.status, 200, "{scheme} {user:?}");
        }
    }
    // Old routers and browsers send Latin-1.
    let latin = [b"n\xfc:".as_slice(), hub.admin.as_bytes()].concat();
    let answer = hub
        .open_call(Method::GET, OFFICE)
        .header(
            "authorization",
            &format!("Basic {}", STANDARD.encode(latin)),
        )
        .await;
    assert_eq!(answer.status, 200);
    for scheme in ["bearer", "BEARER"] {
        let answer = hub
            .open_call(Method::GET, OFFICE)
            .header("authorization", &format!("{scheme} {}", hub.admin))
            .await;
        assert_eq!(answer.status, 200, "{scheme}");
    }
}

#[tokio::test]
async fn every_other_way_to_show_a_credential_is_401() {
    let hub = TestHub::start_behind_a_proxy().await;
    let admin = hub.admin.clone();
    let id = admin.split('_').nth(1).unwrap().to_owned();
    let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
    let mut flipped = admin.clone();
    let last = flipped.pop().unwrap();
    flipped.push(if last == 'A' { 'B' } else { 'A' });
    let cases = [
        String::new(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        admin.clone(),
        format!("Bearer {id}"),
        format!("Bearer silo_{id}_"),
        format!("Bearer silo_{id}_{}", "A".repeat(43)),
        format!("Bearer {flipped}"),
        format!("Bearer {admin}x"),
        format!("Bearer {}", &admin[..admin.len() - 1]),
        format!("Bearer {}", admin.to_uppercase()),
        format!("Bearer {admin}, Bearer {admin}"),
        format!("Token {admin}"),
        basic(&admin),
        basic(&format!("{admin}:")),
        basic(&format!("{admin}:x")),
        format!("Basic {admin}"),
        "Basic !!!".to_owned(),
    ];
    for (number, value) in cases.iter().enumerate() {
        let answer = hub
            .open_call(Method::GET, "/silos")
            .seen_from(&format!("192.0.2.{number}"))
            .header("authorization", value)
            .await;
        assert_eq!(answer.status, 401, "{value:?}");
        let secret = &admin[16..];
        assert!(!answer.text().contains(secret), "{answer:?}");
    }
    // In the query it is none.
    let answer = hub
        .open_call(
            Method::GET,
            &format!("/silos?access_token={admin}&token={admin}"),
        )
        .await;
    assert_eq!(answer.status, 401);
}

#[tokio::test]
async fn two_authorization_headers_are_401() {
    let hub = TestHub::start().await;
    let line = format!("Authorization: Bearer {}\r\n", hub.admin);
    let wrong = "Authorization: Bearer x\r\n";
    for (lines, status) in [
        (line.clone(), 200),
        (line.repeat(2), 401),
        (format!("{line}{wrong}"), 401),
        (format!("{wrong}{line}"), 401),
    ] {
        let answer = hub
            .raw(format!(
                "GET /silos HTTP/1.1\r\nHost: hub\r\n{lines}Connection: close\r\n\r\n"
            ))
            .await;
        assert_eq!(raw_status(&answer), status, "{answer}");
    }
}
