//! Lists: searched, sorted and cut into pages at the server.

use reqwest::Method;
use serde_json::json;

use super::signed_in;
use crate::common::TestHub;

/// The hostnames of the rows of a page, in their order.
fn rows(html: &str) -> Vec<String> {
    html.split("<tr id=\"r-")
        .skip(1)
        .filter_map(|row| row.split('"').next())
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn ten_thousand_records_are_shown_in_pages() {
    let hub = TestHub::start().await;
    let records: Vec<_> = (0..10_000_u32)
        .map(|index| {
            let ip = std::net::Ipv4Addr::from(0x0a00_0000 + (9_999 - index));
            json!({"hostname": format!("h{index:05}.example"), "ip": ip})
        })
        .collect();
    let put = hub
        .put("/silos/office")
        .json(&json!({"dnsrecords": records}));
    assert_eq!(put.await.status, 201);
    let browser = signed_in(&hub).await;
    for (query, first, number, extent) in [
        ("", "h00000.example", 100, "1–100 of 10\u{202f}000 records"),
        (
            "?page=100",
            "h09900.example",
            100,
            "9901–10\u{202f}000 of 10\u{202f}000 records",
        ),
        ("?page=101", "h09900.example", 100, "9901–"),
        ("?page=0", "h00000.example", 100, "1–100"),
        ("?order=desc", "h09999.example", 100, "1–100"),
        ("?sort=ipv4", "h09999.example", 100, "1–100"),
        (
            "?sort=ipv4&order=desc&page=2",
            "h00100.example",
            100,
            "101–200",
        ),
        (
            "?q=h0123",
            "h01230.example",
            10,
            "10 of 10\u{202f}000 records",
        ),
        (
            "?q=10.0.39.15",
            "h00000.example",
            1,
            "1 of 10\u{202f}000 records",
        ),
        ("?sort=color&page=x", "h00000.example", 100, "1–100"),
    ] {
        let page = browser
            .get(&format!("/dashboard/silos/office{query}"))
            .await;
        assert_eq!(page.status, 200, "{query}");
        let rows = rows(&page.text);
        assert_eq!(rows.first().map(String::as_str), Some(first), "{query}");
        assert_eq!(rows.len(), number, "{query}");
        assert!(page.text.contains(extent), "{query}");
    }
    let none = browser
        .get("/dashboard/silos/office?q=%3Cb%3Enothing")
        .await;
    assert!(none.text.contains("No record matches"));
    assert!(none.text.contains("value=\"&#60;b&#62;nothing\""));
    let page = browser
        .get("/dashboard/silos/office?q=h0123&sort=ipv4")
        .await;
    // Sorted once more: the other way round.
    assert!(
        page.text.contains("q=h0123&#38;sort=ipv4&#38;order=desc"),
        "{}",
        page.text
    );
    let next = browser.get("/dashboard/silos/office?page=2").await;
    assert!(
        next.text
            .contains("rel=\"next\" href=\"/dashboard/silos/office?page=3\"")
    );
    assert!(
        next.text
            .contains("rel=\"prev\" href=\"/dashboard/silos/office\"")
    );
}

#[tokio::test]
async fn silent_records_are_marked_and_can_be_shown_alone() {
    let hub = TestHub::start().await;
    for (hostname, expires_after) in [("quiet", json!(null)), ("cam", json!(7200))] {
        let body = json!({"ip": "10.0.0.5", "expires_after": expires_after});
        let put = hub.put(&format!("/silos/office/records/{hostname}"));
        put.json(&body).await;
    }
    let browser = signed_in(&hub).await;
    let page = browser.get("/dashboard/silos/office?show=silent").await;
    assert!(page.text.contains("No record matches"), "{}", page.text);
    hub.pass(5400);
    let page = browser.get("/dashboard/silos/office?show=silent").await;
    assert_eq!(rows(&page.text), ["cam"]);
    let first = browser.get("/dashboard/").await;
    assert!(
        first
            .text
            .contains("<strong>1 silent record</strong>: cam of office"),
        "{}",
        first.text
    );
    assert!(
        page.text.contains("silent, removed in 30 min"),
        "{}",
        page.text
    );
}

#[tokio::test]
async fn silos_and_records_of_all_silos_are_found() {
    let hub = TestHub::start().await;
    for index in 0..150 {
        let id = format!("silo-{index:03}");
        hub.put_silo(&id, &[("db", "10.0.0.5")]).await;
    }
    let browser = signed_in(&hub).await;
    let first = browser.get("/dashboard/").await;
    assert!(first.text.contains("id=\"s-silo-099\"") && !first.text.contains("id=\"s-silo-100\""));
    let second = browser.get("/dashboard/?after=silo-099").await;
    assert!(second.text.contains("id=\"s-silo-149\"") && !second.text.contains("rel=\"next\""));
    let found = browser.get("/dashboard/?q=10.0.0.5").await;
    assert_eq!(found.text.matches(">db</a>").count(), 100);
    let next = found
        .text
        .split_once("rel=\"next\" href=\"")
        .expect("a next page")
        .1;
    let next = next
        .split('"')
        .next()
        .expect("it ends")
        .replace("&#38;", "&");
    let rest = browser.get(&next).await;
    assert_eq!(rest.text.matches(">db</a>").count(), 50, "{}", rest.text);
    let none = browser.get("/dashboard/?q=nowhere").await;
    assert!(none.text.contains("No record matches"));
}

#[tokio::test]
async fn agents_are_counted_by_what_they_have_applied() {
    let hub = TestHub::start().await;
    let made = hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    for (agent, applied) in [
        ("a", made.etag()),
        ("b", made.etag()),
        ("c", "\"7\"".to_owned()),
    ] {
        let read = hub.get("/silos/office");
        let applied = format!("{applied}; agent=\"{agent}\"");
        read.header("silo-applied", &applied).await;
    }
    let browser = signed_in(&hub).await;
    let page = browser.get("/dashboard/").await;
    assert!(
        page.text.contains("2 of 3 at the newest revision"),
        "{}",
        page.text
    );
}

#[tokio::test]
async fn the_history_is_filtered_by_hostname_and_token() {
    let hub = TestHub::start().await;
    let token = hub.credential("write", &["office"], &[]).await;
    for index in 1..=120 {
        let body = json!({"ip": format!("10.0.0.{index}")});
        hub.put("/silos/office/records/nas").json(&body).await;
    }
    hub.open_call(Method::PUT, "/silos/office/records/db")
        .bearer(&token)
        .json(&json!({"ip": "10.1.0.1"}))
        .await;
    let browser = signed_in(&hub).await;
    let base = "/dashboard/silos/office/history";
    let count = |html: &str| html.matches("<tr id=\"c-").count();
    for (query, number, has_next) in [
        ("", 100, true),
        ("?hostname=nas", 100, true),
        ("?hostname=db", 1, false),
        ("?hostname=nowhere", 0, false),
        ("?token=a+write+token", 1, false),
        ("?token=first+admin", 100, true),
        ("?token=no-such-token", 0, false),
        ("?token=a+write+token&hostname=nas", 0, false),
    ] {
        let page = browser.get(&format!("{base}{query}")).await;
        assert_eq!(page.status, 200, "{query}");
        assert_eq!(count(&page.text), number, "{query}: {}", page.text);
        assert_eq!(page.text.contains("rel=\"next\""), has_next, "{query}");
    }
    let first = browser.get(base).await;
    assert!(first.text.contains("token a write token"), "{}", first.text);
    let next = first
        .text
        .split_once("rel=\"next\" href=\"")
        .expect("a next page")
        .1;
    let next = next
        .split('"')
        .next()
        .expect("it ends")
        .replace("&#38;", "&");
    assert_eq!(count(&browser.get(&next).await.text), 21);
    let wrong = browser.get(&format!("{base}?hostname=a+b")).await;
    assert_eq!(wrong.status, 422);
    assert!(wrong.text.contains("id=\"hostname-error\""));
    let record = browser.get("/dashboard/silos/office/nas?range=all").await;
    assert!(record.text.contains("120 times") && !record.text.contains("at least"));
    assert!(record.text.contains("All changes of nas"));
}
