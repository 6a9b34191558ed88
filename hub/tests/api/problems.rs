//! `/problems/…`: what the `type` of an error leads to.

use reqwest::Method;
use serde_json::json;

use crate::common::{TestHub, dnsrecords, text};

#[tokio::test]
async fn the_type_of_an_error_leads_to_a_page_about_it() {
    let hub = TestHub::start().await;
    hub.put_silo("office", &[]).await;
    let reader = hub.credential("read", &["office"], &[]).await;
    for call in [
        hub.get("/nothing"),
        hub.open_call(Method::GET, "/silos"),
        hub.put("/silos/office").body("{"),
        hub.put("/silos/office").json(&json!({})),
        hub.put("/silos/office").body("x".repeat(2 * 1024 * 1024)),
        hub.post("/silos"),
        hub.get("/tokens").bearer(&reader),
        hub.put("/silos/office")
            .json(&dnsrecords(&[("db", "10.0.0.9")]))
            .header("if-match", "\"0\""),
        hub.put("/silos/office")
            .header("content-type", "text/csv")
            .body("x"),
    ] {
        let problem = call.await.json();
        let kind = text(&problem["type"]);
        let slug = kind.strip_prefix("/problems/").unwrap();
        let page = |accept: &str| {
            let call = hub.open_call(Method::GET, &kind);
            call.header("accept", accept)
        };
        for accept in ["*/*", "text/plain", "application/json", ""] {
            let page = page(accept).await;
            assert_eq!(page.status, 200, "{kind}");
            let content_type = page.header("content-type");
            assert_eq!(content_type, Some("text/plain; charset=utf-8"), "{accept}");
            assert_eq!(page.header("vary"), Some("Accept"));
            let title = text(&problem["title"]);
            let status = problem["status"].to_string();
            for words in [slug, &title, &status] {
                assert!(page.text().contains(words), "{words}: {}", page.text());
            }
        }
        for accept in [
            "text/html",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        ] {
            let page = page(accept).await;
            assert_eq!(page.status, 200, "{kind}");
            let content_type = page.header("content-type");
            assert_eq!(content_type, Some("text/html; charset=utf-8"), "{accept}");
            assert!(page.text().starts_with("<!doctype html>"));
            let csp = page.header("content-security-policy").unwrap();
            assert!(csp.contains("default-src 'none'"), "{csp}");
        }
    }
}

#[tokio::test]
async fn an_unknown_problem_has_no_page() {
    let hub = TestHub::start().await;
    for path in [
        "/problems/none",
        "/problems/INVALID",
        "/problems/",
        "/problems",
        "/problems/invalid/more",
        "/problems/%3Cscript%3E",
        "/problems/%ff",
    ] {
        let answer = hub.open_call(Method::GET, path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.json()["type"], "/problems/not-found", "{path}");
    }
}
