//! Tokens: made, changed, rotated, revoked, and who may do so.

use reqwest::Method;
use serde_json::json;

use super::browser::Browser;
use crate::common::TestHub;

/// A token that was made on the page: its id and its credential.
async fn made(browser: &Browser, name: &str) -> (String, String) {
    let fields = [("name", name), ("role", "write"), ("silos", "office lab-*")];
    let shown = browser.post("/dashboard/tokens/new", &fields).await;
    assert_eq!(shown.status(), 201, "{shown:?}");
    let secret = shown.after("id=\"secret\">").to_owned();
    (secret.split('_').nth(1).unwrap().to_owned(), secret)
}

/// Whether the interface accepts a credential.
async fn is_valid(hub: &TestHub, credential: &str) -> bool {
    let answer = hub
        .open_call(Method::GET, "/token")
        .bearer(credential)
        .await;
    answer.status == 200
}

#[tokio::test]
async fn a_token_is_made_and_its_secret_is_shown_once() {
    let hub = TestHub::start().await;
    let browser = Browser::sign_in(&hub, &hub.admin).await;
    let form = browser.read("/dashboard/tokens/new").await;
    assert!(form.contains("Make the token"), "{form}");
    let fields = [
        ("name", "nas"),
        ("role", "write"),
        ("silos", "Office\r\nlab-*"),
        ("hostnames", "nas, nas-*"),
        ("expires_at", "2027-01-01"),
    ];
    let shown = browser.post("/dashboard/tokens/new", &fields).await;
    assert_eq!(shown.status(), 201, "{shown:?}");
    let secret = shown.after("id=\"secret\">").to_owned();
    let token = hub.open_call(Method::GET, "/token").bearer(&secret).await;
    let token = token.json();
    let rights = [
        &token["name"],
        &token["role"],
        &token["silos"],
        &token["hostnames"],
    ];
    let expected = json!(["nas", "write", ["office", "lab-*"], ["nas", "nas-*"]]);
    assert_eq!(json!(rights), expected);
    assert_eq!(token["expires_at"], "2027-01-01T00:00:00.000Z");
    let id = token["id"].as_str().unwrap();
    for path in [
        "/dashboard/tokens",
        &format!("/dashboard/tokens/{id}"),
        "/dashboard/audit",
        "/dashboard/system",
    ] {
        let page = browser.get(path).await;
        assert_eq!(page.status(), 200, "{path}");
        assert!(!page.html().contains(&secret[12..]), "{path}");
    }
    let audit = browser.read("/dashboard/audit?part=tokens").await;
    assert!(
        audit.contains("made nas") && audit.contains("dashboard"),
        "{audit}"
    );
}

#[tokio::test]
async fn a_secret_comes_back_as_a_file_and_nothing_else_does() {
    let hub = TestHub::start().await;
    let browser = Browser::sign_in(&hub, &hub.admin).await;
    let (_, secret) = made(&browser, "Anna's \"laptop\"").await;
    let fields = [("secret", &*secret), ("name", "Anna's \"laptop\"")];
    let file = browser.post("/dashboard/tokens/file", &fields).await;
    assert_eq!(file.status(), 200);
    assert_eq!(file.html(), format!("{secret}\n"));
    assert_eq!(file.header("content-type"), "application/octet-stream");
    let name = "attachment; filename=\"Anna-s--laptop.token\"";
    assert_eq!(file.header("content-disposition"), name);
    for wrong in ["", "<script>alert(1)</script>", &secret[1..]] {
        let refused = browser
            .post("/dashboard/tokens/file", &[("secret", wrong)])
            .await;
        assert_eq!(refused.status(), 400, "{wrong}");
        assert_eq!(refused.header("content-disposition"), "");
    }
}

#[tokio::test]
async fn a_refused_form_comes_back_with_the_reasons_and_the_text() {
    let hub = TestHub::start().await;
    let browser = Browser::sign_in(&hub, &hub.admin).await;
    let fields = [
        ("name", "<i>nas</i>"),
        ("role", "read"),
        ("silos", "office a/b"),
        ("expires_at", "soon"),
    ];
    let shown = browser.post("/dashboard/tokens/new", &fields).await;
    assert_eq!(shown.status(), 422, "{shown:?}");
    let text = shown.text();
    assert!(text.contains("a/b: neither a name nor a glob"), "{text}");
    assert!(text.contains("not a day such as 2027-01-01"), "{text}");
    assert!(shown.html().contains("office a/b</textarea>"), "{shown:?}");
    assert!(!shown.html().contains("<i>"), "{shown:?}");
    assert!(shown.html().contains("aria-invalid=\"true\""), "{shown:?}");
    assert_eq!(hub.get("/tokens").await.json().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_token_is_changed_and_keeps_what_is_refused() {
    let hub = TestHub::start().await;
    let browser = Browser::sign_in(&hub, &hub.admin).await;
    let (id, secret) = made(&browser, "nas").await;
    let page = format!("/dashboard/tokens/{id}");
    let fields = [
        ("name", "<b>NAS</b>"),
        ("silos", "home"),
        ("hostnames", "nas"),
        ("expires_at", "2027-02-03T04:05:06Z"),
    ];
    let to = browser.submit(&page, &fields).await;
    assert_eq!(to, format!("{page}?notice=token-changed"));
    let token = hub.open_call(Method::GET, "/token").bearer(&secret).await;
    let token = token.json();
    assert_eq!(token["name"], "<b>NAS</b>");
    assert_eq!(token["silos"], json!(["home"]));
    assert_eq!(token["expires_at"], "2027-02-03T04:05:06.000Z");
    let list = browser.get("/dashboard/tokens").await;
    assert!(list.html().contains("&#60;b&#62;NAS"), "{list:?}");
    // The same form with one wrong field.
    let fields = [("name", "nas"), ("silos", ""), ("hostnames", "nas")];
    let refused = browser.post(&page, &fields).await;
    assert_eq!(refused.status(), 422, "{refused:?}");
    assert!(
        refused
            .text()
            .contains("a read or write token names its silos"),
        "{refused:?}"
    );
    // An admin has no silos, and its form none either.
    let admin = hub.admin.split('_').nth(1).unwrap();
    let own = format!("/dashboard/tokens/{admin}");
    assert!(!browser.get(&own).await.html().contains("name=\"silos\""));
    let to = browser
        .submit(&own, &[("name", "first"), ("expires_at", "")])
        .await;
    assert!(to.contains("token-changed"), "{to}");
    for missing in ["aaaaaaaaaa", "x", "%ff"] {
        let status = browser
            .get(&format!("/dashboard/tokens/{missing}"))
            .await
            .status();
        assert!(matches!(status, 400 | 404), "{missing}: {status}");
    }
}

#[tokio::test]
async fn a_rotated_token_has_a_new_secret_and_its_old_sessions_end_with_the_old_one() {
    let hub = TestHub::start().await;
    let browser = Browser::sign_in(&hub, &hub.admin).await;
    let (id, old) = made(&browser, "nas").await;
    let of_token = Browser::sign_in(&hub, &old).await;
    let page = format!("/dashboard/tokens/{id}/rotate");
    assert!(
        browser
            .read(&page)
            .await
            .contains("The present secret ends")
    );
    let shown = browser.post(&page, &[("overlap", "0")]).await;
    assert_eq!(shown.status(), 201, "{shown:?}");
    let new = shown.after("id=\"secret\">").to_owned();
    assert!(is_valid(&hub, &new).await && !is_valid(&hub, &old).await);
    assert_eq!(of_token.get("/dashboard/agents").await.status(), 303);
    // Of itself, with time to replace it.
    let of_token = Browser::sign_in(&hub, &new).await;
    let shown = of_token.post(&page, &[("overlap", "3600")]).await;
    assert_eq!(shown.status(), 201, "{shown:?}");
    assert!(is_valid(&hub, &new).await);
    assert_eq!(of_token.get("/dashboard/agents").await.status(), 200);
    for wrong in ["x", "-1", "99999999"] {
        let refused = browser.post(&page, &[("overlap", wrong)]).await;
        assert_eq!(refused.status(), 422, "{wrong}");
    }
}

#[tokio::test]
async fn a_revoked_token_and_its_sessions_end_after_a_question() {
    let hub = TestHub::start().await;
    let browser = Browser::sign_in(&hub, &hub.admin).await;
    let (id, secret) = made(&browser, "<u>nas</u>").await;
    let of_token = Browser::sign_in(&hub, &secret).await;
    let page = format!("/dashboard/tokens/{id}/revoke");
    let asked = browser.get(&page).await;
    assert!(asked.html().contains("&#60;u&#62;nas"), "{asked:?}");
    assert!(is_valid(&hub, &secret).await);
    let to = browser.submit(&page, &[]).await;
    assert_eq!(to, "/dashboard/tokens?notice=token-revoked");
    assert!(!is_valid(&hub, &secret).await);
    assert_eq!(of_token.get("/dashboard/agents").await.status(), 303);
    assert_eq!(
        of_token.post("/dashboard/tokens/new", &[]).await.status(),
        403
    );
    assert_eq!(browser.post(&page, &[]).await.status(), 404);
    // Of itself.
    let (id, secret) = made(&browser, "own").await;
    let of_token = Browser::sign_in(&hub, &secret).await;
    let to = of_token
        .submit(&format!("/dashboard/tokens/{id}/revoke"), &[])
        .await;
    assert_eq!(to, "/dashboard/sign-in");
    assert!(!is_valid(&hub, &secret).await);
}

#[tokio::test]
async fn a_reader_sees_its_own_token_and_no_button_that_it_may_not_press() {
    let hub = TestHub::start().await;
    hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    let spec = json!({"name": "anna", "role": "read", "silos": ["office"]});
    let (id, secret) = hub.token(spec).await;
    let other = json!({"name": "other", "role": "read", "silos": ["office"]});
    let (other, _) = hub.token(other).await;
    let reader = Browser::sign_in(&hub, &secret).await;
    let own = format!("/dashboard/tokens/{id}");
    assert_eq!(
        reader.get("/dashboard/tokens").await.header("location"),
        own
    );
    let page = reader.get(&own).await;
    assert_eq!(page.status(), 200);
    assert!(page.html().contains(&format!("{own}/rotate")), "{page:?}");
    assert!(!page.html().contains("Save"), "{page:?}");
    assert_eq!(reader.get("/dashboard/agents").await.status(), 200);
    for path in [
        "/dashboard/deliveries",
        "/dashboard/audit",
        "/dashboard/system",
        "/dashboard/tokens/new",
        "/dashboard/silos/office/add-machine",
        &format!("/dashboard/tokens/{other}"),
        &format!("/dashboard/tokens/{other}/revoke"),
    ] {
        assert_eq!(reader.get(path).await.status(), 403, "{path}");
    }
    let fields = [("name", "x"), ("role", "admin"), ("kind", "downstream")];
    for path in [
        "/dashboard/deliveries/1/retry",
        "/dashboard/tokens/new",
        &own,
        &format!("/dashboard/tokens/{other}"),
        &format!("/dashboard/tokens/{other}/rotate"),
        &format!("/dashboard/tokens/{other}/revoke"),
        "/dashboard/silos/office/add-machine",
        "/dashboard/invitations/aaaaaaaa12/revoke",
        "/dashboard/system/backup",
    ] {
        assert_eq!(reader.post(path, &fields).await.status(), 403, "{path}");
    }
    assert_eq!(hub.get("/tokens").await.json().as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn wrong_credentials_and_long_lists_come_in_pages() {
    let hub = TestHub::start().await;
    let browser = Browser::sign_in(&hub, &hub.admin).await;
    for number in 0..101 {
        let spec = json!({"name": format!("token {number}"), "role": "read", "silos": ["a"]});
        hub.token(spec).await;
    }
    let first = browser.get("/dashboard/tokens").await;
    let next = first.next().unwrap();
    let second = browser.get(&next).await;
    let rows = |html: &str| html.matches("<tr>").count() - 1;
    assert_eq!((rows(first.html()), rows(second.html())), (100, 2));
    let first = browser.get("/dashboard/audit").await;
    let next = first.next().unwrap();
    let second = browser.get(&next).await;
    assert_eq!((rows(first.html()), rows(second.html())), (100, 2));
}
