//! The forms of records: what is accepted and refused, and how the last change is taken back.

use super::{Browser, Page, signed_in};
use crate::common::TestHub;

/// The value of an input, as the page has it.
fn value<'a>(page: &'a Page, id: &str) -> &'a str {
    let (_, rest) = page
        .text
        .split_once(&format!("id=\"{id}\""))
        .unwrap_or_else(|| panic!("no {id}: {}", page.text));
    let (_, rest) = rest.split_once("value=\"").expect("inputs have values");
    rest.split('"').next().expect("it ends")
}

/// A hidden value of the form that edits a record.
async fn tag(browser: &Browser, hostname: &str) -> String {
    let page = browser
        .get(&format!("/dashboard/silos/office?edit={hostname}"))
        .await;
    let (_, rest) = page
        .text
        .split_once("name=\"tag\" value=\"")
        .expect("a form");
    rest.split('"').next().expect("it ends").to_owned()
}

async fn undo(browser: &Browser) -> Page {
    let page = browser.get("/dashboard/silos/office").await;
    let (_, rest) = page
        .text
        .split_once("name=\"revision\" value=\"")
        .unwrap_or_else(|| panic!("nothing to undo: {}", page.text));
    let revision = rest.split('"').next().expect("it ends");
    let path = "/dashboard/silos/office/undo";
    browser.submit(path, &[("revision", revision)]).await
}

#[tokio::test]
async fn a_record_is_added_and_the_first_change_is_undone() {
    let hub = TestHub::start().await;
    let browser = signed_in(&hub).await;
    hub.put_silo("office", &[]).await;
    let fields = [
        ("hostname", "DB"),
        ("ip4", " 10.0.0.5 "),
        ("ip6", "fd00::5"),
        ("comment", "<b>in the cellar</b>"),
    ];
    let added = browser.submit("/dashboard/silos/office", &fields).await;
    assert_eq!(
        added.location(),
        "/dashboard/silos/office?notice=record-added#r-db",
        "{}",
        added.text
    );
    let record = hub.get("/silos/office/records/db").await.json();
    assert_eq!(record["ips"], serde_json::json!(["10.0.0.5", "fd00::5"]));
    assert_eq!(record["comment"], "<b>in the cellar</b>");
    let page = browser
        .get("/dashboard/silos/office?notice=record-added")
        .await;
    assert!(page.text.contains("The record is added."));
    assert!(page.text.contains("&#60;b&#62;in the cellar&#60;/b&#62;"));
    assert!(!page.text.contains("<b>"));
    let history = hub.get("/silos/office/history").await.json();
    assert_eq!(history[0]["via"], "dashboard");
    let undone = undo(&browser).await;
    assert_eq!(undone.location(), "/dashboard/silos/office?notice=undone");
    assert_eq!(hub.get("/silos/office/records/db").await.status, 404);
    let history = hub.get("/silos/office/history").await.json();
    assert_eq!(history[0]["via"], "revert");
}

#[tokio::test]
async fn a_refused_record_keeps_what_was_typed() {
    let hub = TestHub::start().await;
    let browser = signed_in(&hub).await;
    hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    let long = "x".repeat(1001);
    for (hostname, ip4, ip6, comment, wrong) in [
        ("bad <b>name</b>", "10.0.0.6", "", "", "add-hostname"),
        ("localhost", "10.0.0.6", "", "", "add-hostname"),
        ("db", "10.0.0.6", "", "", "add-hostname"),
        ("web", "10.0.0.600", "", "", "add-ip4"),
        ("web", "fd00::6", "", "", "add-ip4"),
        ("web", "", "10.0.0.6", "", "add-ip6"),
        ("web", "", "", "", "add-ip4"),
        ("web", "", "", "only a comment", "add-ip4"),
        ("web", "caller", "", "", "add-ip4"),
        ("web", "10.0.0.6", "", long.as_str(), "add-comment"),
    ] {
        let fields = [
            ("hostname", hostname),
            ("ip4", ip4),
            ("ip6", ip6),
            ("comment", comment),
        ];
        let page = browser.submit("/dashboard/silos/office", &fields).await;
        assert_eq!(page.status, 422, "{fields:?}");
        let error = format!("id=\"{wrong}-error\"");
        assert!(page.text.contains(&error), "{fields:?}: {}", page.text);
        let named = format!("aria-describedby=\"{wrong}-error\"");
        assert!(page.text.contains(&named), "{fields:?}");
        assert_eq!(value(&page, "add-ip4"), ip4);
        assert_eq!(value(&page, "add-ip6"), ip6);
        assert!(!page.text.contains("<b>"));
        assert!(page.text.contains("id=\"add\" open"));
    }
    let silo = hub.get("/silos/office").await.json();
    assert_eq!(silo["dnsrecords"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_record_is_edited_in_its_place() {
    let hub = TestHub::start().await;
    let browser = signed_in(&hub).await;
    hub.put_silo("office", &[("db", "10.0.0.5"), ("db", "fd00::5")])
        .await;
    let page = browser.get("/dashboard/silos/office?edit=db&q=d").await;
    assert_eq!(value(&page, "edit-ip4"), "10.0.0.5");
    assert_eq!(value(&page, "edit-ip6"), "fd00::5");
    let known = tag(&browser, "db").await;
    let fields = |ip4: &'static str, tag: &str| {
        vec![
            ("ip4".to_owned(), ip4.to_owned()),
            ("comment".to_owned(), "x".to_owned()),
            ("tag".to_owned(), tag.to_owned()),
        ]
    };
    let save = async |fields: Vec<(String, String)>| {
        let fields: Vec<_> = fields
            .iter()
            .map(|(a, b)| (a.as_str(), b.as_str()))
            .collect();
        browser
            .submit("/dashboard/silos/office/db?q=d", &fields)
            .await
    };
    let refused = save(fields("10.0.0.x", &known)).await;
    assert_eq!(refused.status, 422);
    assert!(
        refused.text.contains("id=\"edit-ip4-error\""),
        "{}",
        refused.text
    );
    assert_eq!(value(&refused, "edit-ip4"), "10.0.0.x");
    let none = save(fields("", &known)).await;
    assert_eq!(none.status, 422, "{}", none.text);
    let saved = save(fields("10.0.0.6", &known)).await;
    assert_eq!(
        saved.location(),
        "/dashboard/silos/office?q=d&notice=record-saved#r-db"
    );
    let record = hub.get("/silos/office/records/db").await.json();
    assert_eq!(record["ips"], serde_json::json!(["10.0.0.6"]));
    assert_eq!(record["comment"], "x");
    // The form of before somebody else's change.
    let stale = save(fields("10.0.0.7", &known)).await;
    assert_eq!(stale.status, 412);
    assert!(stale.text.contains("it has 10.0.0.6 now"), "{}", stale.text);
    assert_eq!(value(&stale, "edit-ip4"), "10.0.0.7");
    let (_, rest) = stale
        .text
        .split_once("name=\"tag\" value=\"")
        .expect("a form");
    let fresh = rest.split('"').next().expect("it ends");
    assert_eq!(save(fields("10.0.0.7", fresh)).await.status, 303);
    // It was deleted meanwhile: what was typed is in the form that adds it.
    let known = tag(&browser, "db").await;
    hub.put_silo("office", &[("web", "10.0.0.1")]).await;
    let gone = save(fields("10.0.0.8", &known)).await;
    assert_eq!(gone.status, 412);
    assert_eq!(value(&gone, "add-ip4"), "10.0.0.8");
    assert_eq!(value(&gone, "add-hostname"), "db");
}

#[tokio::test]
async fn a_deleted_record_comes_back_unless_somebody_else_changed_the_silo() {
    let hub = TestHub::start().await;
    let browser = signed_in(&hub).await;
    let records = [("db", "10.0.0.5"), ("web", "10.0.0.6")];
    hub.put_silo("office", &records).await;
    let path = "/dashboard/silos/office/db/delete?sort=ipv4";
    let deleted = browser.submit(path, &[]).await;
    assert_eq!(
        deleted.location(),
        "/dashboard/silos/office?sort=ipv4&notice=record-deleted"
    );
    assert_eq!(hub.get("/silos/office/records/db").await.status, 404);
    assert_eq!(undo(&browser).await.status, 303);
    assert_eq!(hub.get("/silos/office/records/db").await.status, 200);
    assert_eq!(browser.submit(path, &[]).await.status, 303);
    let page = browser.get("/dashboard/silos/office").await;
    let (_, rest) = page
        .text
        .split_once("name=\"revision\" value=\"")
        .expect("an undo");
    let revision = rest.split('"').next().expect("it ends");
    hub.put_silo("office", &[("mail", "10.0.0.9")]).await;
    let undone = browser
        .submit("/dashboard/silos/office/undo", &[("revision", revision)])
        .await;
    assert_eq!(undone.status, 412);
    assert!(
        undone
            .text
            .contains("was changed by somebody else meanwhile"),
        "{}",
        undone.text
    );
    assert!(undone.text.contains("10.0.0.9"));
    assert_eq!(hub.get("/silos/office/records/mail").await.status, 200);
    // A comment takes a revision and no row of the history: then there is nothing to undo.
    let fields = [("comment", "x"), ("tag", &tag(&browser, "mail").await)];
    let settings = "/dashboard/silos/office/mail/settings";
    let saved = browser.submit(settings, &fields).await;
    assert_eq!(saved.status, 303, "{}", saved.text);
    let page = browser.get("/dashboard/silos/office").await;
    assert!(!page.text.contains(">Undo<"), "{}", page.text);
}

#[tokio::test]
async fn settings_are_judged_beside_their_fields() {
    let hub = TestHub::start().await;
    let browser = signed_in(&hub).await;
    hub.put_silo("office", &[("history", "10.0.0.5")]).await;
    // A hostname like a page has one of its own.
    let page = browser.get("/dashboard/silos/office/History").await;
    assert!(
        page.text.contains("<h1 class=\"mono\">history</h1>"),
        "{}",
        page.text
    );
    let path = "/dashboard/silos/office/History/settings";
    let known = tag(&browser, "history").await;
    for (expires, unit, notify, wrong) in [
        ("20", "minutes", "", "expires-error"),
        ("x", "days", "", "expires-error"),
        ("1", "days", "not a mail address", "notify-error"),
    ] {
        let fields = [
            ("expires", expires),
            ("unit", unit),
            ("notify", notify),
            ("tag", known.as_str()),
        ];
        let refused = browser.submit(path, &fields).await;
        assert_eq!(refused.status, 422, "{fields:?}: {}", refused.text);
        assert!(
            refused.text.contains(&format!("id=\"{wrong}\"")),
            "{fields:?}"
        );
        assert_eq!(value(&refused, "expires"), expires);
    }
    let fields = [
        ("expires", "2"),
        ("unit", "days"),
        ("notify", "ops@example.org"),
        ("tag", known.as_str()),
    ];
    let saved = browser.submit(path, &fields).await;
    assert_eq!(
        saved.location(),
        "/dashboard/silos/office/History?notice=record-saved"
    );
    let record = hub.get("/silos/office/records/history").await.json();
    assert_eq!(record["expires_after"], 2 * 86_400);
    assert_eq!(record["notify"], "ops@example.org");
    let page = browser.get(saved.location()).await;
    assert!(
        page.text.contains("after 2 days of silence"),
        "{}",
        page.text
    );
}

#[tokio::test]
async fn a_token_of_some_hostnames_edits_those_alone() {
    let hub = TestHub::start().await;
    hub.put_silo("office", &[("nas-1", "10.0.0.5"), ("db", "10.0.0.6")])
        .await;
    let token = hub.credential("write", &["office"], &["nas-*"]).await;
    let browser = Browser::of(&hub);
    browser.sign_in(&token).await;
    let page = browser.get("/dashboard/silos/office").await;
    assert!(page.text.contains("Edit nas-1") && !page.text.contains("Edit db"));
    for hidden in ["Delete this silo", ">Undo<", "Add a machine"] {
        assert!(!page.text.contains(hidden), "{hidden}");
    }
    let fields = [("hostname", "web"), ("ip4", "10.0.0.7")];
    let refused = browser.submit("/dashboard/silos/office", &fields).await;
    assert_eq!(refused.status, 403);
    assert!(
        refused
            .text
            .contains("this token may not write this record")
    );
    assert_eq!(value(&refused, "add-ip4"), "10.0.0.7");
    let fields = [("hostname", "nas-2"), ("ip4", "10.0.0.7")];
    assert_eq!(
        browser
            .submit("/dashboard/silos/office", &fields)
            .await
            .status,
        303
    );
}
