//! Headers of every page and error; themes; what the metrics and other sites see.

use reqwest::Method;
use silo_hub::internals::cors::Origin;

use super::{Browser, Page, SIGN_IN, signed_in};
use crate::common::TestHub;

fn assert_safe(page: &Page, what: &str) {
    for (name, value) in [
        (
            "content-security-policy",
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
             connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; \
             frame-ancestors 'none'",
        ),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(page.header(name), Some(value), "{what}: {name}");
    }
    for name in ["access-control-allow-origin", "www-authenticate"] {
        assert_eq!(page.header(name), None, "{what}: {name}");
    }
    if page.header("content-type") == Some("text/html; charset=utf-8") {
        let text = &page.text;
        for (inline, part) in [
            ("style attribute", " style="),
            ("style", "<style"),
            ("handler", " onclick="),
        ] {
            assert!(!text.contains(part), "{what}: inline {inline}");
        }
        for script in text.split("<script").skip(1) {
            assert!(script.starts_with(" src=\"/dashboard/"), "{what}: {script}");
        }
    }
}

#[tokio::test]
async fn every_page_and_error_has_the_headers_against_framing_and_caching() {
    let hub = TestHub::start_with(|settings| {
        settings.cors_origins = vec!["https://home.lan".parse::<Origin>().expect("an origin")];
    })
    .await;
    let (stranger, user) = (Browser::of(&hub), signed_in(&hub).await);
    for (path, for_stranger, for_user) in [
        ("/dashboard", 308, 308),
        ("/dashboard/", 303, 200),
        (SIGN_IN, 200, 303),
        ("/dashboard/link", 200, 200),
        ("/dashboard/link.js", 200, 200),
        ("/dashboard/none", 404, 404),
        ("/dashboard/a/b/c", 404, 404),
        ("/dashboard/sign-out", 405, 405),
    ] {
        for (browser, status) in [(&stranger, for_stranger), (&user, for_user)] {
            let page = browser.get(path).await;
            assert_eq!(page.status, status, "{path}");
            assert_safe(&page, path);
            let head = browser.send(Method::HEAD, path, &[], None).await;
            assert_eq!(head.text, "", "{path}");
            assert_safe(&head, path);
        }
    }
    for path in ["/dashboard/sign-out", SIGN_IN, "/dashboard/none"] {
        assert_safe(&stranger.post(path, &[]).await, path);
        assert_safe(&stranger.post_from(None, path, &[]).await, path);
    }
    // A hub's own sites are of no use to pages of others, whatever they may do at the interface.
    let more = [
        ("origin", "https://home.lan"),
        ("access-control-request-method", "POST"),
    ];
    let page = stranger.send(Method::OPTIONS, SIGN_IN, &more, None).await;
    assert_eq!(page.status, 405);
    assert_safe(&page, "a preflight");
    let page = user
        .send(Method::GET, "/dashboard/", &more[..1], None)
        .await;
    assert_eq!(page.status, 200);
    assert_safe(&page, "a fetch of another site");
    // A request without a valid host.
    let answer = hub
        .raw("GET /dashboard/ HTTP/1.1\r\nConnection: close\r\n\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    for header in ["x-frame-options: deny", "cache-control: no-store"] {
        assert!(answer.to_ascii_lowercase().contains(header), "{answer}");
    }
}

#[tokio::test]
async fn the_theme_is_a_cookie_that_a_form_sets() {
    let hub = TestHub::start().await;
    let stranger = Browser::of(&hub);
    assert!(
        stranger
            .get(SIGN_IN)
            .await
            .text
            .contains("data-theme=\"system\"")
    );
    let fields = [("theme", "dark"), ("next", "/dashboard/link")];
    let page = stranger.post("/dashboard/theme", &fields).await;
    assert_eq!((page.status, page.location()), (303, "/dashboard/link"));
    let cookies = page.cookies();
    assert_eq!(
        cookies,
        ["silo_theme=dark; Path=/dashboard; Max-Age=31536000; HttpOnly; SameSite=Lax"]
    );
    assert!(
        stranger
            .get(SIGN_IN)
            .await
            .text
            .contains("data-theme=\"dark\"")
    );
    let missing = stranger.get("/dashboard/none").await;
    assert!(missing.text.contains("data-theme=\"dark\""));
    stranger.set_cookie("silo_theme", "\"><script>");
    assert!(
        stranger
            .get(SIGN_IN)
            .await
            .text
            .contains("data-theme=\"system\"")
    );
    let user = signed_in(&hub).await;
    // From the page of an error, and from one that was loaded before the sign-in.
    let missing = user.get("/dashboard/none").await;
    assert_eq!(missing.status, 404);
    assert!(missing.text.contains("action=\"/dashboard/sign-out\""));
    let csrf = super::browser::form_token(&missing.text);
    for csrf in [Some(csrf.as_str()), Some("of another session"), None] {
        let mut fields = vec![("theme", "dark"), ("next", "/dashboard/none")];
        fields.extend(csrf.map(|csrf| ("csrf", csrf)));
        let page = user.post("/dashboard/theme", &fields).await;
        assert_eq!((page.status, page.location()), (303, "/dashboard/none"));
    }
    let fields = [("theme", "light"), ("next", "https://evil.test/")];
    let page = user.submit("/dashboard/theme", &fields).await;
    assert_eq!((page.status, page.location()), (303, "/dashboard/"));
    let page = user.get("/dashboard/").await;
    assert!(page.text.contains("data-theme=\"light\""));
}

#[tokio::test]
async fn metrics_have_one_route_for_all_pages() {
    let hub = TestHub::start().await;
    let browser = Browser::of(&hub);
    for path in [
        "/dashboard/",
        SIGN_IN,
        "/dashboard/made-up",
        "/dashboard/a/b",
    ] {
        browser.get(path).await;
    }
    let metrics = hub.get("/metrics").await;
    let routes: std::collections::BTreeSet<&str> = metrics
        .text()
        .lines()
        .filter_map(|line| line.split_once("route=\"")?.1.split('"').next())
        .filter(|route| route.contains("dash") || route.contains("made"))
        .collect();
    assert_eq!(routes.into_iter().collect::<Vec<_>>(), ["/dashboard"]);
}

#[tokio::test]
async fn while_the_database_is_away_pages_say_so_and_then_go_on() {
    let hub = TestHub::start().await;
    let browser = signed_in(&hub).await;
    let csrf = browser.form_token().await;
    let mut connection = hub.home.connect().await;
    let mut rename = async |from: &str, to: &str| {
        let rename = format!("ALTER TABLE {from} RENAME TO {to}");
        let renamed = sqlx::query(sqlx::AssertSqlSafe(rename));
        renamed.execute(&mut connection).await.expect("it is there");
    };
    rename("sessions", "gone").await;
    for path in ["/dashboard/", SIGN_IN, "/dashboard/none"] {
        let page = browser.get(path).await;
        assert_eq!(page.status, 503, "{path}");
        assert!(page.text.contains("<h1>Not available</h1>"), "{path}");
        assert!(!page.text.contains("sessions"), "{}", page.text);
        assert_safe(&page, path);
    }
    let form = [("csrf", csrf.as_str())];
    let page = browser.post("/dashboard/sign-out", &form).await;
    assert_eq!(page.status, 503);
    assert!(page.cookies().is_empty());
    assert_safe(&page, "a form");
    rename("gone", "sessions").await;
    assert!(browser.is_signed_in().await);
}
