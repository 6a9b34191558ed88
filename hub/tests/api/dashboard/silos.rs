//! The pages of silos: made, deleted, returned to an earlier state; and what a reader sees of them.

use super::{Browser, signed_in};
use crate::common::TestHub;

#[tokio::test]
async fn a_silo_is_made_once_and_its_name_is_judged() {
    let hub = TestHub::start().await;
    let browser = signed_in(&hub).await;
    let start = browser.get("/dashboard/").await;
    assert!(start.text.contains("The first name, in three steps"));
    let made = browser
        .submit("/dashboard/silos", &[("id", "Office")])
        .await;
    assert_eq!(made.status, 303, "{}", made.text);
    assert_eq!(made.location(), "/dashboard/silos/office?notice=silo-made");
    assert_eq!(hub.get("/silos/office").await.status, 200);
    let page = browser.get(made.location()).await;
    assert!(page.text.contains("The silo is made."), "{}", page.text);
    assert!(page.text.contains("No records yet"));
    for (id, why) in [
        ("office", "there is a silo of this name already"),
        ("my <b>office</b>", "my &#60;b&#62;office&#60;/b&#62;"),
        ("", "id=\"silo-id-error\""),
    ] {
        let refused = browser.submit("/dashboard/silos", &[("id", id)]).await;
        assert_eq!(refused.status, 422, "{id}");
        assert!(refused.text.contains(why), "{id}: {}", refused.text);
        assert!(refused.text.contains("aria-invalid=\"true\""), "{id}");
    }
}

#[tokio::test]
async fn a_silo_is_deleted_after_a_question() {
    let hub = TestHub::start().await;
    let browser = signed_in(&hub).await;
    let made = hub.put_silo("office", &[("db", "10.0.0.5")]).await.json();
    let asked = browser.get("/dashboard/silos/office/delete").await;
    assert!(
        asked.text.contains("is removed, with 1 record."),
        "{}",
        asked.text
    );
    // Changed since the question.
    hub.put_silo("office", &[("db", "10.0.0.6")]).await;
    let old = made["revision"].to_string();
    let path = "/dashboard/silos/office/delete";
    let refused = browser.submit(path, &[("revision", &old)]).await;
    assert_eq!(refused.status, 412);
    assert!(refused.text.contains("<h1>Changed meanwhile</h1>"));
    let now = hub.get("/silos/office").await.json()["revision"].to_string();
    let deleted = browser.submit(path, &[("revision", &now)]).await;
    assert_eq!(deleted.location(), "/dashboard/?notice=silo-deleted");
    assert_eq!(hub.get("/silos/office").await.status, 404);
    assert_eq!(browser.get("/dashboard/silos/office").await.status, 404);
    let history = hub.get("/silos/office/history").await.json();
    assert_eq!(history[0]["via"], "dashboard");
}

#[tokio::test]
async fn a_silo_returns_to_a_revision_after_a_preview() {
    let hub = TestHub::start().await;
    let browser = signed_in(&hub).await;
    let first = hub
        .put_silo("office", &[("db", "10.0.0.5"), ("nas", "10.0.0.7")])
        .await
        .json();
    let second = hub
        .put_silo("office", &[("db", "10.0.0.6"), ("web", "10.0.0.8")])
        .await
        .json();
    let (first, second) = (
        first["revision"].to_string(),
        second["revision"].to_string(),
    );
    let history = browser.get("/dashboard/silos/office/history").await;
    let link = format!("/dashboard/silos/office/revert?revision={first}");
    assert!(history.text.contains(&link), "{}", history.text);
    let preview = browser.get(&link).await;
    for words in [
        "3 records would change",
        "is removed",
        "comes back",
        "10.0.0.5",
        "10.0.0.6",
    ] {
        assert!(preview.text.contains(words), "{words}: {}", preview.text);
    }
    assert_eq!(
        hub.get("/silos/office").await.json()["revision"].to_string(),
        second
    );
    let path = "/dashboard/silos/office/revert";
    let stale = [("revision", first.as_str()), ("present", first.as_str())];
    let refused = browser.submit(path, &stale).await;
    assert_eq!(refused.status, 412);
    assert!(refused.text.contains("was changed by somebody else"));
    let fresh = [("revision", first.as_str()), ("present", second.as_str())];
    let reverted = browser.submit(path, &fresh).await;
    assert_eq!(
        reverted.location(),
        "/dashboard/silos/office/history?notice=reverted"
    );
    let records = hub.get("/silos/office").await.json()["dnsrecords"].to_string();
    assert!(
        records.contains("10.0.0.7") && !records.contains("web"),
        "{records}"
    );
    // A revision before the history, and nothing to change.
    let unknown = [("revision", "5"), ("present", second.as_str())];
    assert_eq!(browser.submit(path, &unknown).await.status, 422);
    let same = browser.get(&link).await;
    assert!(same.text.contains("Nothing would change"), "{}", same.text);
}

#[tokio::test]
async fn a_reader_sees_no_forms_and_nothing_of_others() {
    let hub = TestHub::start().await;
    hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    hub.put_silo("secret", &[("vault", "10.0.0.9")]).await;
    let token = hub.credential("read", &["office"], &[]).await;
    let browser = Browser::of(&hub);
    browser.sign_in(&token).await;
    let csrf = browser.form_token().await;
    for path in [
        "/dashboard/",
        "/dashboard/silos/office",
        "/dashboard/silos/office?edit=db",
        "/dashboard/silos/office/db",
        "/dashboard/silos/office/history",
        "/dashboard/?q=10.0.0",
    ] {
        let page = browser.get(path).await;
        assert_eq!(page.status, 200, "{path}");
        let main = page.text.split_once("<main").expect("it has a main part").1;
        assert!(!main.contains("method=\"post\""), "{path}: {main}");
        for hidden in [
            "secret",
            "vault",
            "Delete",
            "Revert",
            "Needs a hand",
            "/tokens",
        ] {
            assert!(!main.contains(hidden), "{path}: {hidden}");
        }
    }
    for path in [
        "/dashboard/silos/secret",
        "/dashboard/silos/secret/vault",
        "/dashboard/silos/secret/history",
    ] {
        assert_eq!(browser.get(path).await.status, 404, "{path}");
    }
    for path in [
        "/dashboard/silos/office/delete",
        "/dashboard/silos/office/revert?revision=1",
    ] {
        assert_eq!(browser.get(path).await.status, 403, "{path}");
    }
    for (path, fields) in [
        (
            "/dashboard/silos/office",
            &[("hostname", "x"), ("ip4", "10.0.0.1")][..],
        ),
        ("/dashboard/silos/office/db", &[("ip4", "10.0.0.1")]),
        ("/dashboard/silos/office/db/delete", &[]),
        ("/dashboard/silos/office/db/settings", &[("comment", "x")]),
        ("/dashboard/silos/office/undo", &[("revision", "1")]),
        (
            "/dashboard/silos/office/revert",
            &[("revision", "1"), ("present", "1")],
        ),
        ("/dashboard/silos/office/delete", &[("revision", "1")]),
        ("/dashboard/silos", &[("id", "office")]),
    ] {
        let mut all = vec![("csrf", csrf.as_str())];
        all.extend_from_slice(fields);
        let refused = browser.post(path, &all).await;
        assert!(
            matches!(refused.status, 403 | 422),
            "{path}: {}",
            refused.status
        );
    }
    assert_eq!(
        hub.get("/silos/office").await.json()["dnsrecords"][0]["ip"],
        "10.0.0.5"
    );
}
