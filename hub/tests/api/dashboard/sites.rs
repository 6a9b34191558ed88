//! Cookies by scheme, host and port of the page, behind proxies too.

use super::{Browser, SIGN_IN, signed_in};
use crate::common::TestHub;

/// The digits of the database's id that the cookie's name has.
async fn digits(hub: &TestHub) -> String {
    let answer = hub.get("/version").await;
    let id = answer.header("silo-database").expect("every answer has it");
    id.trim_matches('"')[..8].to_owned()
}

#[tokio::test]
async fn the_cookie_is_named_after_database_and_port_and_is_for_pages_alone() {
    let hub = TestHub::start().await;
    let browser = Browser::of(&hub);
    let page = browser.post(SIGN_IN, &[("token", &hub.admin)]).await;
    let (name, value) = browser.session().expect("it is signed in");
    let port = hub.address.port();
    assert_eq!(name, format!("silo_{}_{port}", digits(&hub).await));
    assert_eq!(
        page.cookies(),
        [format!(
            "{name}={value}; Path=/dashboard; Max-Age=604800; HttpOnly; SameSite=Lax"
        )]
    );
    let (_, random) = value.split_once('.').expect("the token's id comes first");
    assert_eq!(random.len(), 43, "256 bits in base64");
    let page = browser.submit("/dashboard/sign-out", &[]).await;
    assert_eq!(
        page.cookies(),
        [format!(
            "{name}=; Path=/dashboard; Max-Age=0; HttpOnly; SameSite=Lax"
        )]
    );
}

#[tokio::test]
async fn behind_a_proxy_with_tls_the_cookie_is_secure() {
    let hub = TestHub::start_behind_a_proxy().await;
    let digits = digits(&hub).await;
    for (origin, proto, name) in [
        ("https://silo.lan", "https", "__Secure-silo_{}_443"),
        ("https://silo.lan:8443", "https", "__Secure-silo_{}_8443"),
        ("http://silo.lan", "http", "silo_{}_80"),
    ] {
        let browser = Browser::at(&hub, origin).header("x-forwarded-proto", proto);
        let page = browser.post(SIGN_IN, &[("token", &hub.admin)]).await;
        assert_eq!(page.status, 303, "{origin}: {}", page.text);
        let (found, _) = browser.session().expect("it is signed in");
        assert_eq!(found, name.replace("{}", &digits), "{origin}");
        let is_secure = page.cookies()[0].ends_with("; Secure");
        assert_eq!(is_secure, proto == "https", "{origin}");
        assert!(browser.is_signed_in().await);
        // The same browser sees another site on the other scheme.
        let other = origin.replace("https", "http");
        let other = Browser::at(&hub, &other).header("x-forwarded-proto", "http");
        if proto == "https" {
            other.set_cookie(&found, &browser.session().expect("it is signed in").1);
            assert!(!other.is_signed_in().await, "{origin}");
        }
    }
    // What a proxy that is not trusted says does not count.
    let hub = TestHub::start().await;
    let browser = Browser::at(&hub, "https://silo.lan").header("x-forwarded-proto", "https");
    let page = browser.post(SIGN_IN, &[("token", &hub.admin)]).await;
    assert_eq!(page.status, 403);
    for words in ["X-Forwarded-Proto", "trusted_proxies", "public_url"] {
        assert!(page.text.contains(words), "{}", page.text);
    }
}

#[tokio::test]
async fn public_url_names_the_page_where_the_proxy_does_not() {
    let hub = TestHub::start_with(|settings| {
        settings.public_url = Some("https://silo.lan".parse().expect("an origin"));
    })
    .await;
    let browser = Browser::at(&hub, "https://silo.lan");
    browser.sign_in(&hub.admin).await;
    let (name, _) = browser.session().expect("it is signed in");
    assert!(name.starts_with("__Secure-silo_") && name.ends_with("_443"));
    assert!(browser.is_signed_in().await);
    // The hub can still be used where it listens.
    let direct = signed_in(&hub).await;
    let (name, _) = direct.session().expect("it is signed in");
    assert!(name.starts_with("silo_"), "{name}");
}

#[tokio::test]
async fn a_tunnel_past_a_proxy_on_the_hubs_machine_is_a_site_of_its_own() {
    let hub = TestHub::start_with(|settings| {
        settings.public_url = Some("https://silo.lan".parse().expect("an origin"));
        settings.trusted_proxies = vec!["127.0.0.1/32".parse().expect("a network")];
    })
    .await;
    // The proxy passes no host on, or the one in the address bar.
    let inner = format!("http://{}", hub.address);
    for host in [inner.as_str(), "https://silo.lan"] {
        for (name, value) in [
            ("x-forwarded-for", "203.0.113.9"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "for=203.0.113.9"),
        ] {
            let browser = Browser::at(&hub, host).header(name, value);
            let fields = [("token", hub.admin.as_str())];
            let page = browser
                .post_from(Some("https://silo.lan"), SIGN_IN, &fields)
                .await;
            assert_eq!(page.status, 303, "{host} {name}: {}", page.text);
            let (name, _) = browser.session().expect("it is signed in");
            assert!(name.starts_with("__Secure-silo_") && name.ends_with("_443"));
        }
    }
    // Through the tunnel, past it.
    let direct = signed_in(&hub).await;
    let (name, _) = direct.session().expect("it is signed in");
    assert!(name.starts_with("silo_"), "{name}");
    assert!(direct.is_signed_in().await);
}

#[tokio::test]
async fn two_hubs_on_one_host_name_do_not_sign_each_other_out() {
    let (a, b) = (TestHub::start().await, TestHub::start().await);
    // A browser sends all cookies of a host name to each of its ports.
    let (at_a, at_b) = (signed_in(&a).await, signed_in(&b).await);
    for (from, to) in [(&at_a, &at_b), (&at_b, &at_a)] {
        let (name, value) = from.session().expect("it is signed in");
        to.set_cookie(&name, &value);
    }
    assert!(at_a.is_signed_in().await && at_b.is_signed_in().await);
    // Signing out at one of them removes the cookie of that one alone.
    let page = at_a.submit("/dashboard/sign-out", &[]).await;
    let removed = page.cookies()[0]
        .split('=')
        .next()
        .expect("a name")
        .to_owned();
    assert!(removed.ends_with(&format!("_{}", a.address.port())));
    assert!(!at_a.is_signed_in().await && at_b.is_signed_in().await);
}

#[tokio::test]
async fn a_cookie_of_the_same_name_that_another_service_has_set_does_no_harm() {
    let hub = TestHub::start().await;
    let browser = signed_in(&hub).await;
    let (name, value) = browser.session().expect("it is signed in");
    let stranger = Browser::of(&hub);
    for planted in ["x", "", "a=b", "aaaaaaaaaa.bbbb"] {
        // As browsers send it: the cookie of the longer path first.
        stranger.set_cookie(&name, &format!("{planted}; {name}={value}"));
        assert!(stranger.is_signed_in().await, "{planted}");
    }
}

#[tokio::test]
async fn of_two_valid_sessions_that_a_browser_shows_neither_counts() {
    let hub = TestHub::start().await;
    let (own, planted) = (signed_in(&hub).await, signed_in(&hub).await);
    let (name, value) = own.session().expect("it is signed in");
    let (_, other) = planted.session().expect("it is signed in");
    let victim = Browser::of(&hub);
    victim.set_cookie(&name, &format!("{other}; {name}={value}"));
    assert!(!victim.is_signed_in().await);
    // Neither has ended by it.
    assert!(own.is_signed_in().await && planted.is_signed_in().await);
    victim.set_cookie(&name, &format!("{value}; {name}={value}"));
    assert!(victim.is_signed_in().await);
    // One that has ended does not count.
    planted.submit("/dashboard/sign-out", &[]).await;
    victim.set_cookie(&name, &format!("{other}; {name}={value}"));
    assert!(victim.is_signed_in().await);
}

#[tokio::test]
async fn the_sign_in_page_warns_on_plain_http_to_another_machine_alone() {
    let hub = TestHub::start_behind_a_proxy().await;
    let port = hub.address.port();
    for (origin, proto, warns) in [
        (format!("http://127.0.0.1:{port}"), "http", false),
        (format!("http://localhost:{port}"), "http", false),
        ("http://silo.lan".to_owned(), "http", true),
        ("http://10.0.0.5:8053".to_owned(), "http", true),
        ("https://silo.lan".to_owned(), "https", false),
    ] {
        for path in [SIGN_IN, "/dashboard/link"] {
            let browser = Browser::at(&hub, &origin).header("x-forwarded-proto", proto);
            let page = browser.get(path).await;
            assert_eq!(page.status, 200);
            for words in [
                "can read the token and the session",
                "Other services on this host name",
            ] {
                assert_eq!(page.text.contains(words), warns, "{origin} {path}");
            }
        }
    }
}
