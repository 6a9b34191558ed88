//! What is accepted as a form of the dashboard, and that nothing else is a credential there, nor the session elsewhere.

use reqwest::Method;
use silo_e2e::logs::is_secret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Browser, SIGN_IN, signed_in};
use crate::common::{DEADLINE, TestHub, raw_status};

const SIGN_OUT: &str = "/dashboard/sign-out";

#[tokio::test]
async fn every_form_needs_the_origin_of_its_page() {
    let hub = TestHub::start().await;
    let own = format!("http://{}", hub.address);
    let upper = own.replace("http", "HTTP");
    let tls = own.replace("http", "https");
    let browser = signed_in(&hub).await;
    let token = browser.form_token().await;
    for path in [
        SIGN_IN,
        "/dashboard/link",
        SIGN_OUT,
        "/dashboard/sign-out-everywhere",
        "/dashboard/theme",
    ] {
        for origin in [
            None,
            Some("null"),
            Some(""),
            Some("https://evil.test"),
            Some("http://127.0.0.1"),
            Some("http://127.0.0.1:1"),
            Some(tls.as_str()),
            Some(upper.as_str()),
            Some(&format!("{own}/")),
            Some(&format!("{own}, https://evil.test")),
        ] {
            let fields = [
                ("csrf", token.as_str()),
                ("token", hub.admin.as_str()),
                ("theme", "dark"),
            ];
            let page = browser.post_from(origin, path, &fields).await;
            assert_eq!(page.status, 403, "{path} {origin:?}");
            assert!(page.cookies().is_empty(), "{path} {origin:?}");
            assert!(page.text.contains("<h1>Not allowed</h1>"), "{}", page.text);
        }
    }
    assert!(browser.is_signed_in().await, "nothing of it was done");
    // Two are one too many.
    let more = [("origin", own.as_str()), ("origin", "https://evil.test")];
    let body = Some(format!("csrf={token}"));
    let page = browser.send(Method::POST, SIGN_OUT, &more, body).await;
    assert_eq!(page.status, 403);
    assert_eq!(
        browser.post(SIGN_OUT, &[("csrf", &token)]).await.status,
        303
    );
}

#[tokio::test]
async fn every_form_of_a_session_needs_the_token_of_its_forms() {
    let hub = TestHub::start().await;
    let (browser, other) = (signed_in(&hub).await, signed_in(&hub).await);
    let foreign = other.form_token().await;
    let (_, id) = browser.session().expect("it is signed in");
    for path in [SIGN_OUT, "/dashboard/sign-out-everywhere"] {
        for csrf in [
            None,
            Some(""),
            Some("x"),
            Some(foreign.as_str()),
            Some(&*id),
        ] {
            let mut fields = vec![("x", "y")];
            fields.extend(csrf.map(|csrf| ("csrf", csrf)));
            let page = browser.post(path, &fields).await;
            assert_eq!(page.status, 403, "{path} {csrf:?}");
            assert!(page.cookies().is_empty());
        }
    }
    assert!(browser.is_signed_in().await && other.is_signed_in().await);
}

#[tokio::test]
async fn a_form_without_a_session_or_with_the_credential_of_the_interface_is_refused() {
    let hub = TestHub::start().await;
    let browser = Browser::of(&hub);
    let page = browser.post(SIGN_OUT, &[]).await;
    assert_eq!(page.status, 403);
    for part in ["not signed in", "href=\"/dashboard/sign-in\""] {
        assert!(page.text.contains(part), "{}", page.text);
    }
    let bearer = format!("Bearer {}", hub.admin);
    let origin = format!("http://{}", hub.address);
    let more = [("authorization", bearer.as_str()), ("origin", &*origin)];
    let page = browser
        .send(Method::POST, SIGN_OUT, &more, Some("csrf=x".to_owned()))
        .await;
    assert_eq!(page.status, 403);
    let page = browser
        .send(Method::GET, "/dashboard/", &more[..1], None)
        .await;
    // Nothing that a script fetches leads to the sign-in page.
    assert_eq!((page.status, page.header("location")), (401, None));
    assert_eq!(page.header("www-authenticate"), None);
    // A proxy may add a credential of its own to the requests of someone who is signed in.
    browser.sign_in(&hub.admin).await;
    let basic = [("authorization", "Basic dXNlcjpwYXNzd29yZA==")];
    is_secret("dXNlcjpwYXNzd29yZA==");
    let page = browser.send(Method::GET, "/dashboard/", &basic, None).await;
    assert_eq!(page.status, 200);
}

#[tokio::test]
async fn the_interface_does_not_accept_the_session() {
    let hub = TestHub::start().await;
    hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    let browser = signed_in(&hub).await;
    let origin = format!("http://{}", hub.address);
    let token = browser.form_token().await;
    for (method, path) in [
        (Method::GET, "/silos"),
        (Method::GET, "/silos/office"),
        (Method::GET, "/events"),
        (Method::GET, "/tokens"),
        (Method::GET, "/status"),
        (Method::PUT, "/silos/office/records/db"),
        (Method::DELETE, "/silos/office"),
        (Method::POST, "/tokens"),
    ] {
        let more = [("origin", origin.as_str())];
        let body = (method != Method::GET).then(|| format!("csrf={token}"));
        let page = browser.send(method.clone(), path, &more, body).await;
        assert_eq!(page.status, 401, "{method} {path}: {}", page.text);
    }
    let (_, value) = browser.session().expect("it is signed in");
    let bearer = format!("Bearer {value}");
    let more = [("authorization", bearer.as_str())];
    let page = Browser::of(&hub)
        .send(Method::GET, "/silos", &more, None)
        .await;
    assert_eq!(page.status, 401);
}

#[tokio::test]
async fn what_is_no_form_is_refused() {
    let hub = TestHub::start().await;
    let origin = format!("http://{}", hub.address);
    for (kind, body, status) in [
        ("application/json", "{}".to_owned(), 400),
        ("multipart/form-data; boundary=x", "--x--".to_owned(), 400),
        ("text/plain", "token=x".to_owned(), 400),
        (
            "application/x-www-form-urlencoded; charset=UTF-8",
            "token=x".to_owned(),
            422,
        ),
        (
            "application/x-www-form-urlencoded",
            "token=a&token=b".to_owned(),
            400,
        ),
        (
            "application/x-www-form-urlencoded",
            format!("token={}", "x".repeat(8192)),
            413,
        ),
    ] {
        let request = reqwest::Client::new()
            .post(format!("{origin}{SIGN_IN}"))
            .header("origin", &origin)
            .header("content-type", kind)
            .body(body);
        let answer = request.send().await.expect("the hub answers");
        assert_eq!(answer.status(), status, "{kind}");
        let shown = answer.headers()["content-type"]
            .to_str()
            .unwrap()
            .to_owned();
        assert_eq!(shown, "text/html; charset=utf-8", "{kind}");
    }
    let browser = signed_in(&hub).await;
    // Who is signed in may send more, but not any amount.
    for (length, status) in [(70_000, 413), (60_000, 303)] {
        let long = "x".repeat(length);
        let page = browser.submit(SIGN_OUT, &[("comment", &long)]).await;
        assert_eq!(page.status, status, "{length}");
    }
    // No GET changes anything.
    browser.sign_in(&hub.admin).await;
    for path in [
        SIGN_OUT,
        "/dashboard/sign-out-everywhere",
        "/dashboard/theme?theme=dark",
    ] {
        let page = browser.get(path).await;
        assert_eq!(page.status, 405, "{path}");
        assert!(page.cookies().is_empty());
    }
    assert!(browser.is_signed_in().await);
}

#[tokio::test]
async fn a_form_whose_session_ends_while_it_arrives_does_nothing() {
    let hub = TestHub::start().await;
    let (slow, quick) = (signed_in(&hub).await, signed_in(&hub).await);
    let body = format!("csrf={}", slow.form_token().await);
    let (name, value) = slow.session().expect("it is signed in");
    let head = format!(
        "POST /dashboard/sign-out-everywhere HTTP/1.1\r\nHost: {0}\r\nOrigin: http://{0}\r\n\
         Cookie: {name}={value}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {1}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n",
        hub.address,
        body.len()
    );
    let mut stream = TcpStream::connect(hub.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    // The hub has found the session, and waits for the form.
    let asks = b"HTTP/1.1 100 Continue\r\n\r\n";
    let mut said = vec![0; asks.len()];
    let read = tokio::time::timeout(DEADLINE, stream.read_exact(&mut said));
    read.await.unwrap().unwrap();
    assert_eq!(said, asks);
    let page = quick.submit("/dashboard/sign-out-everywhere", &[]).await;
    assert_eq!(page.status, 303);
    let later = signed_in(&hub).await;
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = tokio::time::timeout(DEADLINE, stream.read_to_string(&mut answer));
    read.await.unwrap().unwrap();
    assert_eq!(raw_status(&answer), 403, "{answer}");
    assert!(answer.contains("your session has ended"), "{answer}");
    assert!(later.is_signed_in().await);
}

#[tokio::test]
async fn a_token_at_its_limit_of_requests_can_sign_in_and_out() {
    let hub = TestHub::start_with(|settings| {
        settings.limits.requests_per_minute = std::num::NonZeroU32::new(20);
    })
    .await;
    let token = hub.credential("read", &["office"], &[]).await;
    let (browser, other) = (Browser::of(&hub), Browser::of(&hub));
    browser.sign_in(&token).await;
    let csrf = browser.form_token().await;
    for _ in 0..19 {
        assert_eq!(browser.get("/dashboard/").await.status, 200);
    }
    let page = browser.get("/dashboard/").await;
    assert_eq!(page.status, 429);
    assert!(page.header("retry-after").is_some());
    assert!(page.text.contains("action=\"/dashboard/sign-out\""));
    // Pages and the interface count together.
    let rest = hub.open_call(Method::GET, "/silos").bearer(&token).await;
    assert_eq!(rest.status, 429);
    other.sign_in(&token).await;
    assert_eq!(browser.get(SIGN_IN).await.status, 303);
    let theme = [("theme", "dark")];
    assert_eq!(browser.post("/dashboard/theme", &theme).await.status, 303);
    let page = browser.post(SIGN_OUT, &[("csrf", &csrf)]).await;
    assert_eq!(page.status, 303, "{}", page.text);
    // It may sign in with another token, too.
    other.sign_in(&hub.admin).await;
    assert!(other.is_signed_in().await);
}
