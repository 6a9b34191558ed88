use std::net::TcpListener;
#[cfg(unix)]
use std::sync::Arc;
#[cfg(unix)]
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::header::HeaderValue;
#[cfg(unix)]
use silo_e2e::http_server::Identity;
use silo_e2e::http_server::{HttpServer, Response};

use super::*;

fn now() -> Time {
    Time::from_millis(784_111_777_000)
}
const PATIENT: Duration = Duration::from_secs(25);

fn client(url: &str, timeout: Duration, ca_file: Option<&Path>) -> HttpClient {
    HttpClient::new(&url.parse().unwrap(), USER_AGENT, timeout, ca_file).unwrap()
}

async fn get(client: &HttpClient, body_limit: usize) -> Result<HttpAnswer, String> {
    let request = client.request(Method::GET, client.url.clone());
    client.send(request, body_limit, now()).await
}

#[test]
fn retry_after_is_seconds_or_a_date_and_at_most_an_hour() {
    for (text, seconds) in [
        ("0", Some(0)),
        ("120", Some(120)),
        ("3601", Some(3600)),
        ("99999999999999999999999", Some(3600)),
        ("Sun, 06 Nov 1994 08:51:37 GMT", Some(120)),
        ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
        ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
        ("Mon, 07 Nov 1994 08:49:37 GMT", Some(3600)),
        ("soon", None),
        ("-5", None),
        ("", None),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_static(text));
        let wait = retry_after(&headers, now()).map(|wait| wait.as_secs());
        assert_eq!(wait, seconds, "{text:?}");
    }
    assert_eq!(retry_after(&HeaderMap::new(), now()), None);
}

#[test]
fn a_url_is_http_and_holds_no_login() {
    for good in ["http://h", "https://h:8443/a?b=c", "http://[::1]:1/"] {
        parse_url(good).unwrap();
    }
    for (bad, word) in [
        ("", "not a URL"),
        ("example.net/hook", "not a URL"),
        ("https://", "not a URL"),
        ("ftp://h/", "http://"),
        ("file:///etc/passwd", "http://"),
        ("https://me@h/", "user name"),
        ("https://:hush@h/", "password"),
        ("https://h/#top", "fragment"),
    ] {
        let error = parse_url(bad).unwrap_err();
        assert!(
            error.contains(word) && !error.contains("hush"),
            "{bad}: {error}"
        );
    }
}

#[tokio::test]
async fn a_response_is_read_only_up_to_the_limit() {
    let server = HttpServer::start(|_| Response::text(200, "x".repeat(100_000)));
    let client = client(&server.url("/"), PATIENT, None);
    assert_eq!(get(&client, 10).await.unwrap().body, b"xxxxxxxxxx");
    assert_eq!(get(&client, 200_000).await.unwrap().body.len(), 100_000);
}

#[tokio::test]
async fn connection_errors_omit_path_and_query() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let url = format!("http://{address}/path?token=hush");
    let error = get(&client(&url, Duration::from_millis(200), None), 10).await;
    let expected = format!("no answer from http://{address}: timed out");
    assert_eq!(error.unwrap_err(), expected);

    drop(silent);
    let refused = client(&url, PATIENT, None);
    for error in [
        get(&refused, 10).await.unwrap_err(),
        refused.check().await.unwrap_err(),
    ] {
        assert!(error.contains(&format!("http://{address}: ")), "{error}");
        assert!(
            error.contains("refused") && !error.contains("hush"),
            "{error}"
        );
    }

    let server = HttpServer::start(|_| Response::HangUp);
    let error = get(&client(&server.url("/?token=hush"), PATIENT, None), 10).await;
    let error = error.unwrap_err();
    assert!(!error.contains("hush") && !error.ends_with(": "), "{error}");
}

#[tokio::test]
async fn a_redirect_is_an_answer_like_others() {
    let server = HttpServer::start(|request| match request.target.as_str() {
        "/a" => Response::text(302, "").with_header("Location", "/b"),
        other => panic!("{other} was asked for"),
    });
    let answer = get(&client(&server.url("/a"), PATIENT, None), 10).await;
    assert_eq!(answer.unwrap().status, 302);
}

#[cfg(unix)]
#[tokio::test]
async fn a_check_connects_with_tls_and_sends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity::make(folder.path());
    let requests = Arc::<AtomicUsize>::default();
    let count = {
        let requests = Arc::clone(&requests);
        move |_| {
            requests.fetch_add(1, Ordering::SeqCst);
            Response::text(200, "")
        }
    };
    let server = HttpServer::start_tls(&identity, count.clone());
    let url = server.url("/nic/update?token=hush");

    let trusting = client(&url, PATIENT, Some(&identity.ca_file()));
    let words = trusting.check().await.unwrap();
    assert!(words.contains("its certificate is valid"), "{words}");
    assert!(words.contains(&server.url("")) && !words.contains("hush"));

    let error = client(&url, PATIENT, None).check().await.unwrap_err();
    assert!(error.contains("certificate"), "{error}");
    server.wait_for_ended_connections(2);

    let server = HttpServer::start(count);
    let plain = client(&server.url("/"), PATIENT, None);
    let words = plain.check().await.unwrap();
    assert!(words.contains("without TLS"), "{words}");
    server.wait_for_ended_connections(1);
    assert_eq!(requests.load(Ordering::SeqCst), 0);
}

#[test]
fn a_file_without_certificates_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let url: Url = "https://h/".parse().unwrap();
    let open = |file: &Path| HttpClient::new(&url, USER_AGENT, PATIENT, Some(file)).unwrap_err();
    let missing = folder.path().join("missing.pem");
    assert!(open(&missing).starts_with(&format!("ca_file: {}: ", missing.display())));
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "no certificate\n").unwrap();
    let expected = format!("ca_file: {}: holds no PEM certificate", empty.display());
    assert_eq!(open(&empty), expected);
}
