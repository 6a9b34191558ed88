//! Valid requests, and the replies to invalid ones.

use reqwest::Method;
use serde_json::json;

#[cfg(unix)]
use super::start_with;
use super::{HERE, STATUSES, compat, get, ok, start, update, update_from, wrong};
use crate::common::TestHub;

#[tokio::test]
async fn a_call_sets_the_record_to_where_it_comes_from() {
    let (hub, _open) = start().await;
    let query = "secid=Tr0ub4dor%263&host=nas.example.net&backend=&login=&pass=&email=";
    assert_eq!(update(&hub, query).await, ok());
    let first = hub.get("/silos/home/records/nas.example.net").await.json();
    assert_eq!(first["ips"], json!([HERE]));

    hub.pass(100);
    let post = hub
        .open_call(Method::POST, "/update")
        .in_words_of(STATUSES)
        .header("content-type", "application/x-www-form-urlencoded")
        .seen_from(HERE)
        .body("secid=Tr0ub4dor%263&host=NAS.example.net");
    let answer = post.await;
    assert_eq!((answer.status, answer.text()), (200, "OK"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let same = hub.get("/silos/home/records/nas.example.net").await.json();
    assert_eq!(same["revision"], first["revision"], "nothing changed");
    assert_ne!(same["last_seen"], first["last_seen"], "but it was seen");

    // The other family is added, from query and body together, and without any Content-Type.
    let post = hub
        .open_call(Method::POST, "/update?host=nas.example.net")
        .in_words_of(STATUSES)
        .seen_from("2001:db8::7")
        .header(
            "content-type",
            "application/x-www-form-urlencoded; charset=utf-8",
        )
        .body("secid=Tr0ub4dor%263");
    assert_eq!(post.await.text(), "OK");
    let both = hub.get("/silos/home/records/nas.example.net").await.json();
    assert_eq!(both["ips"], json!([HERE, "2001:db8::7"]));
    let history = hub.history("home").await;
    assert_eq!(history.len(), 2);
    for row in &history {
        assert_eq!(row["via"], "dynahost", "{row}");
        assert_eq!(row["token"].as_str().map(str::len), Some(10), "{row}");
    }
    assert_eq!(history[1]["client_ip"], HERE);
}

#[tokio::test]
async fn only_a_trusted_proxy_sets_the_client_address() {
    let (hub, _open) = start().await;
    let call = hub
        .open_call(Method::GET, "/update?secid=s&host=nas")
        .in_words_of(STATUSES)
        .header("x-real-ip", "198.51.100.1");
    let answer = call.await;
    assert_eq!(answer.status, 400);
    assert!(
        answer.text().contains("names no valid client"),
        "{answer:?}"
    );
    for from in ["127.0.0.1", "fe80::1", "unknown", ""] {
        let (status, words) = update_from(&hub, "secid=s&host=nas", from).await;
        assert_eq!(status, 400, "{from}: {words}");
    }
    assert_eq!(hub.get("/silos/home/records/nas").await.status, 404);
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let (hub, _open) = start().await;
    for (query, status, words) in [
        ("host=nas", 400, "secid: it is missing"),
        ("secid=&host=nas", 400, "secid: it is missing"),
        ("secid=s", 400, "host: it is missing"),
        ("secid=s&host=", 400, "host: it is missing"),
        ("secid=s&host=a..b", 400, "host: "),
        ("secid=s&host=nas&host=h1", 400, "host: it is given twice"),
        ("secid=%ff&host=nas", 400, "secid: it is not UTF-8"),
        ("secid=s&host=db", 403, "host: db is not served here"),
        ("secid=s&host=example.net", 403, "host: example.net is not"),
        ("secid=s&host=nas&login=a&pass=b", 400, "backend: "),
        ("secid=s&host=nas&backend=ovh", 400, "login: it is missing"),
        (
            "secid=s&host=nas&backend=ovh&login=a",
            400,
            "pass: it is missing",
        ),
        (
            "secid=s&host=nas&backend=ovh&login=a&pass=b",
            400,
            "backend: this hub has none called \"ovh\"",
        ),
        ("secid=s&host=nas&email=a@example.net", 400, "email: "),
    ] {
        let answer = update(&hub, query).await;
        assert_eq!(answer.0, status, "{query}: {answer:?}");
        assert!(answer.1.starts_with(words), "{query}: {answer:?}");
    }
    let long = format!("secid={}&host=nas", "x".repeat(1025));
    let answer = update(&hub, &long).await;
    assert_eq!(
        answer,
        (400, "secid: it has at most 1024 bytes\n".to_owned())
    );
    for method in [Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let head = method == Method::HEAD;
        let call = hub.open_call(method, "/update?secid=s&host=nas");
        let answer = if head {
            call
        } else {
            call.in_words_of(STATUSES)
        }
        .await;
        assert_eq!(answer.status, 405, "{answer:?}");
        assert_eq!(answer.allowed(), ["GET", "POST"]);
    }
    let json = hub
        .open_call(Method::POST, "/update")
        .in_words_of(STATUSES)
        .json(&json!({"secid": "s", "host": "nas"}));
    assert_eq!(json.await.status, 415);
    let cross = hub
        .open_call(Method::GET, "/update?secid=s&host=nas")
        .in_words_of(STATUSES)
        .header("sec-fetch-site", "cross-site");
    assert_eq!(cross.await.status, 403);
    assert_eq!(hub.get("/silos/home").await.status, 404, "nothing was set");
    // None of that was a guess.
    assert_eq!(update(&hub, "secid=s&host=nas").await, ok());
}

/// Requests of unknown callers.
#[tokio::test]
async fn a_form_has_at_most_64_kib() {
    let (hub, _open) = start().await;
    let post = |length: usize| {
        let begins = "secid=s&host=nas&more=";
        hub.open_call(Method::POST, "/update")
            .in_words_of(&[200, 413])
            .seen_from(HERE)
            .body(format!("{begins}{}", "x".repeat(length - begins.len())))
    };
    let answer = post(64 * 1024 + 1).await;
    assert_eq!(
        (answer.status, answer.text()),
        (413, "a body has at most 65536 bytes here\n")
    );
    assert_eq!(post(64 * 1024).await.text(), "OK");
}

#[tokio::test]
async fn it_is_spoken_only_where_it_is_switched_on() {
    let hub = TestHub::start().await;
    for target in ["/update?secid=s&host=nas", "/log?secid=s&host=nas"] {
        assert_eq!(hub.open_call(Method::GET, target).await.status, 404);
        assert_eq!(hub.open_call(Method::POST, target).await.status, 404);
    }
    // Beside sftdyn's root the routes are no keys.
    let (hub, _open) = TestHub::start_in_parts_with(|settings| {
        settings.compat = compat("{sftdyn: true, dynahost: {silo: home, hostnames: [nas]}}");
        settings.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    })
    .await;
    assert_eq!(
        get(&hub, "/update?secid=s&host=nas", HERE).await.text(),
        "OK"
    );
}

#[tokio::test]
async fn after_ten_failures_nothing_is_looked_at() {
    let (hub, _open) = start().await;
    let right = "secid=right&host=nas";
    assert_eq!(update(&hub, right).await, ok());
    for guess in 0..10 {
        let target = match guess % 2 {
            0 => format!("/update?secid=guess-{guess}&host=nas"),
            _ => format!("/log?secid=guess-{guess}&host=nas"),
        };
        let answer = get(&hub, &target, "192.0.2.66").await;
        assert_eq!((answer.status, answer.text().to_owned()), wrong());
    }
    for target in ["/update", "/log", "/update?secid=right&host=nas"] {
        let answer = get(&hub, target, "192.0.2.66").await;
        assert_eq!(answer.status, 429, "{target}");
        let seconds: u64 = answer
            .header("retry-after")
            .and_then(|text| text.parse().ok())
            .expect("it tells when");
        assert!((1..=60).contains(&seconds));
    }
    assert_eq!(update(&hub, right).await, ok(), "others continue");
    hub.pass(60);
    assert_eq!(update_from(&hub, right, "192.0.2.66").await, ok());
}

#[tokio::test]
async fn many_guesses_at_once_are_not_all_looked_at() {
    let (hub, _open) = start().await;
    assert_eq!(update(&hub, "secid=right&host=nas").await, ok());
    let guesses = (0..40).map(|guess| {
        let query = format!("secid=guess-{guess}&host=nas");
        let hub = &hub;
        async move { update_from(hub, &query, "192.0.2.66").await.0 }
    });
    let mut statuses = Vec::new();
    let mut running: Vec<_> = guesses.map(Box::pin).collect();
    // All are sent before any is answered.
    std::future::poll_fn(|context| {
        running.retain_mut(|guess| match guess.as_mut().poll(context) {
            std::task::Poll::Ready(status) => {
                statuses.push(status);
                false
            }
            std::task::Poll::Pending => true,
        });
        if running.is_empty() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    let looked_at = statuses.iter().filter(|status| **status == 403).count();
    assert!((10..=12).contains(&looked_at), "{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, 403 | 429)));
}

#[cfg(unix)]
#[tokio::test]
async fn an_email_is_the_records_notify_where_a_mail_sink_allows_it() {
    let sinks = "- {name: mail, kind: email, sendmail: /bin/false, from: silo@example.net, \
                 silos: [home], allow_to: ['*@example.net']}\n\
                 - {name: other, kind: email, sendmail: /bin/false, from: silo@example.net, \
                 silos: [office], allow_to: ['*@example.org']}\n";
    let (hub, _open) = start_with(sinks).await;
    let query = "secid=s&host=nas&email=Ann%40example.net";
    assert_eq!(update(&hub, query).await, ok());
    let notify = async || {
        let record = hub.get("/silos/home/records/nas").await.json();
        record["notify"].clone()
    };
    assert_eq!(notify().await, "Ann@example.net");
    for other in [
        "ann@example.org",
        "no-address",
        "a%0ab@example.net",
        "@example.net",
    ] {
        let (status, words) = update(&hub, &format!("secid=s&host=nas&email={other}")).await;
        assert_eq!(status, 400, "{other}");
        assert!(
            words.starts_with("email: ") && words.contains("allow_to"),
            "{words}"
        );
    }
    assert_eq!(update(&hub, "secid=s&host=nas").await, ok());
    assert_eq!(notify().await, "Ann@example.net", "left out, it is kept");
}
