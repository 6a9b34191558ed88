//! Signing in and out.

use reqwest::Method;
use serde_json::json;
use silo_hub::internals::settings::HubSettings;
use url::Url;

use super::{Browser, SIGN_IN, signed_in};
use crate::common::TestHub;

fn wrong() -> String {
    format!("silo_aaaaaaaaaa_{}", "x".repeat(43))
}

#[tokio::test]
async fn a_browser_is_led_to_the_sign_in_and_then_to_the_page_that_it_wanted() {
    let hub = TestHub::start().await;
    hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    let browser = Browser::of(&hub);
    let page = browser.get("/").await;
    assert_eq!((page.status, page.location()), (303, "/dashboard/"));
    assert_eq!(page.header("vary"), Some("Accept"));
    let page = browser.get("/dashboard").await;
    assert_eq!((page.status, page.location()), (308, "/dashboard/"));
    let page = browser.get("/dashboard/").await;
    assert_eq!((page.status, page.location()), (303, SIGN_IN));
    let wanted = "/dashboard/sign-in?next=%2Fdashboard%2F%3Fa%3Db";
    let page = browser.get("/dashboard/?a=b").await;
    assert_eq!((page.status, page.location()), (303, wanted));
    let page = browser.get(wanted).await;
    assert_eq!(page.status, 200);
    assert!(page.text.contains("autocomplete=\"current-password\""));
    assert!(
        page.text
            .contains("name=\"next\" value=\"/dashboard/?a=b\"")
    );
    let fields = [("token", hub.admin.as_str()), ("next", "/dashboard/?a=b")];
    let page = browser.post(SIGN_IN, &fields).await;
    assert_eq!((page.status, page.location()), (303, "/dashboard/?a=b"));
    let page = browser.get("/dashboard/").await;
    assert_eq!(page.status, 200);
    assert!(page.text.contains("office"), "{}", page.text);
    // Someone who is signed in has no use for the sign-in page.
    let page = browser.get(SIGN_IN).await;
    assert_eq!((page.status, page.location()), (303, "/dashboard/"));
    // Programs get what they always got.
    let greeting = hub.open_call(Method::GET, "/").await;
    assert_eq!(greeting.status, 200);
}

#[tokio::test]
async fn nothing_but_a_page_of_the_hub_follows_the_sign_in() {
    let hub = TestHub::start().await;
    let browser = Browser::of(&hub);
    let own = Url::parse(&format!("http://{}/", hub.address)).unwrap();
    for next in [
        "https://evil.test/",
        "//evil.test/",
        "//evil.test/dashboard/",
        "/\\evil.test/",
        "\\\\evil.test/",
        "/\t/evil.test",
        "javascript:alert(1)",
        "/dashboard/../u/key",
        "/dashboard/%2e%2e/silos",
        "/silos/office",
        "/dashboard/sign-out",
        "",
    ] {
        let fields = [("token", hub.admin.as_str()), ("next", next)];
        let page = browser.post(SIGN_IN, &fields).await;
        assert_eq!(page.status, 303, "{next}");
        let to = own.join(page.location()).unwrap();
        assert_eq!(to.host_str(), own.host_str(), "{next}");
        assert_eq!(to.path(), "/dashboard/", "{next}");
        let query: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
        let page = browser.get(&format!("{SIGN_IN}?next={query}")).await;
        assert_eq!(page.location(), "/dashboard/", "{next}");
    }
}

#[tokio::test]
async fn a_wrong_token_is_refused_beside_the_field_and_is_not_shown_again() {
    let hub = TestHub::start().await;
    let browser = Browser::of(&hub);
    for token in [wrong(), "hunter2<b>".to_owned(), String::new()] {
        let fields = [("token", token.as_str()), ("next", "/dashboard/?x=1")];
        let page = browser.post(SIGN_IN, &fields).await;
        assert_eq!(page.status, 422, "{token}");
        assert!(page.text.contains("aria-invalid=\"true\""));
        assert!(page.text.contains("aria-describedby=\"token-error\""));
        assert!(page.text.contains("unknown, revoked or expired"));
        assert!(page.text.contains("value=\"/dashboard/?x=1\""));
        assert!(token.is_empty() || !page.text.contains(&token));
        assert!(page.cookies().is_empty());
        assert_eq!(page.header("www-authenticate"), None);
    }
    let metrics = hub.credential("metrics", &[], &[]).await;
    let page = browser.post(SIGN_IN, &[("token", &metrics)]).await;
    assert_eq!(page.status, 422);
    assert!(page.text.contains("reads no silos"), "{}", page.text);
    assert!(browser.session().is_none());
}

#[tokio::test]
async fn wrong_tokens_and_codes_count_as_failures_of_the_address() {
    let hub = TestHub::start_behind_a_proxy().await;
    let from = |ip: &str| Browser::of(&hub).header("x-forwarded-for", ip);
    let attacker = from("203.0.113.9");
    for time in 0..10 {
        let (path, field) = match time % 2 {
            0 => (SIGN_IN, "token"),
            _ => ("/dashboard/link", "code"),
        };
        let page = attacker.post(path, &[(field, "guess")]).await;
        assert_eq!(page.status, 422, "{time}");
    }
    for (path, field) in [(SIGN_IN, "token"), ("/dashboard/link", "code")] {
        let page = attacker.post(path, &[(field, "guess")]).await;
        assert_eq!(page.status, 429);
        assert!(page.header("retry-after").is_some());
        assert!(page.text.contains("too many wrong credentials"));
    }
    // They count together with those of the interface.
    let rest = hub.open_call(Method::GET, "/silos");
    let rest = rest.bearer(&wrong()).seen_from("203.0.113.9").await;
    assert_eq!(rest.status, 429);
    // A valid token is accepted all the same, as it is there; and others are not concerned.
    attacker.sign_in(&hub.admin).await;
    let other = from("203.0.113.10");
    assert_eq!(other.post(SIGN_IN, &[("token", "guess")]).await.status, 422);
    // A form without `Origin` was sent by no browser, and is not looked at.
    let page = other.post_from(None, SIGN_IN, &[("token", "guess")]).await;
    assert_eq!(page.status, 403);
}

#[tokio::test]
async fn made_up_session_ids_cost_a_bounded_number_of_statements() {
    let trusting = |settings: &mut HubSettings| {
        settings.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    };
    let (hub, open) = TestHub::start_in_parts_with(trusting).await;
    let from = |ip: &str| Browser::of(&hub).header("x-forwarded-for", ip);
    let valid = from("203.0.113.9");
    valid.sign_in(&hub.admin).await;
    assert!(valid.is_signed_in().await);
    let (name, value) = valid.session().expect("it is signed in");
    let (token, _) = value.split_once('.').expect("a token's id comes first");
    let attacker = from("203.0.113.9");
    let status = async |number: usize| {
        attacker.set_cookie(&name, &format!("{token}.{number:A<43}"));
        attacker.get("/dashboard/").await.status
    };
    let before = open.store.reads().statements;
    for number in 0..100 {
        let expected = if number < 10 { 303 } else { 429 };
        assert_eq!(status(number).await, expected, "{number}");
    }
    assert_eq!(open.store.reads().statements - before, 10);
    // One that was looked up once is not looked up again, and counts once.
    assert_eq!(status(3).await, 303);
    assert_eq!(open.store.reads().statements - before, 10);
    // They count together with wrong tokens.
    let rest = hub.open_call(Method::GET, "/silos");
    let rest = rest.bearer(&wrong()).seen_from("203.0.113.9").await;
    assert_eq!(rest.status, 429);
    // Who shares the address is not concerned, and can sign in.
    assert!(valid.is_signed_in().await);
    assert_eq!(attacker.get(SIGN_IN).await.status, 200);
    attacker.sign_in(&hub.admin).await;
    assert!(attacker.is_signed_in().await);
    hub.pass(60);
    assert_eq!(status(100).await, 303);
}

#[tokio::test]
async fn sessions_that_have_ended_are_no_wrong_credentials() {
    let hub = TestHub::start().await;
    let token = hub.credential("read", &["office"], &[]).await;
    let browsers: Vec<Browser> = (0..12).map(|_| Browser::of(&hub)).collect();
    for browser in &browsers {
        browser.sign_in(&token).await;
    }
    let page = browsers[0]
        .submit("/dashboard/sign-out-everywhere", &[])
        .await;
    assert_eq!(page.status, 303);
    for browser in &browsers {
        assert!(!browser.is_signed_in().await);
    }
    let rest = hub.open_call(Method::GET, "/silos").bearer(&wrong()).await;
    assert_eq!(rest.status, 401);
}

#[tokio::test]
async fn each_sign_in_makes_a_new_id_and_ends_the_former_session() {
    let hub = TestHub::start().await;
    let browser = signed_in(&hub).await;
    let former = browser.copy();
    browser.sign_in(&hub.admin).await;
    assert_ne!(former.session(), browser.session());
    assert!(browser.is_signed_in().await);
    assert!(!former.is_signed_in().await);
    // An id that someone else has chosen is not taken over.
    let planted = Browser::of(&hub);
    let (name, value) = browser.session().expect("it is signed in");
    let token = value.split('.').next().expect("a token's id");
    let chosen = format!("{token}.{}", "A".repeat(43));
    planted.set_cookie(&name, &chosen);
    assert!(!planted.is_signed_in().await);
    planted.sign_in(&hub.admin).await;
    assert_ne!(planted.session().expect("it is signed in").1, chosen);
    let victim = Browser::of(&hub);
    victim.set_cookie(&name, &chosen);
    assert!(!victim.is_signed_in().await);
}

#[tokio::test]
async fn signing_out_ends_one_session_and_everywhere_all_of_the_token() {
    let hub = TestHub::start().await;
    let (id, token) = hub.token(json!({"name": "tv", "role": "admin"})).await;
    let [a, b, c] = [(); 3].map(|()| Browser::of(&hub));
    for browser in [&a, &b, &c] {
        browser.sign_in(&token).await;
    }
    let other = signed_in(&hub).await;
    let kept = a.copy();
    let page = a.submit("/dashboard/sign-out", &[]).await;
    assert_eq!(page.status, 303);
    assert_eq!(page.location(), "/dashboard/sign-in?notice=signed-out");
    assert_eq!(a.session(), None, "the cookie is removed");
    let page = a.get(page.location()).await;
    assert!(page.text.contains("You are signed out."));
    assert!(!kept.is_signed_in().await, "and it is not valid any more");
    assert!(b.is_signed_in().await && c.is_signed_in().await);
    let page = b.submit("/dashboard/sign-out-everywhere", &[]).await;
    assert_eq!(page.status, 303);
    assert!(!b.is_signed_in().await && !c.is_signed_in().await);
    assert!(other.is_signed_in().await);
    // The token itself is as it was.
    let own = hub.open_call(Method::GET, "/token").bearer(&token).await;
    assert_eq!(own.json()["id"], id);
}

#[tokio::test]
async fn a_hub_with_the_dashboard_switched_off_has_no_pages() {
    let hub = TestHub::start_with(|settings| settings.dashboard = false).await;
    let browser = Browser::of(&hub);
    for path in ["/dashboard", "/dashboard/", SIGN_IN] {
        let page = browser.get(path).await;
        assert_eq!(page.status, 404, "{path}");
        assert_eq!(
            page.header("content-type"),
            Some("application/problem+json")
        );
    }
    assert_eq!(browser.get("/").await.status, 200);
}
