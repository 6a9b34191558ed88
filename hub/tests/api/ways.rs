//! Reads of silos, which go past the router unless a request has something for it or for a layer: the answers are the
//! same.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use crate::common::TestHub;

/// The answer to a read, without the time, its headers in order.
async fn read(hub: &TestHub, target: &str, headers: &str) -> (Vec<String>, String) {
    let request =
        format!("GET {target} HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n{headers}\r\n");
    let answer = hub.raw(request).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<String> = head.lines().map(str::to_owned).collect();
    lines.retain(|line| !line.starts_with("date: "));
    lines.sort();
    (lines, body.to_owned())
}

#[tokio::test]
async fn a_silo_is_read_alike_with_and_without_the_router() {
    let hub = TestHub::start().await;
    let tag = hub.put_silo("office", &[("db", "10.0.0.5")]).await.etag();
    hub.put_silo("empty", &[]).await;
    let admin = format!("Authorization: Bearer {}\r\n", hub.admin);
    let other = hub.credential("read", &["other"], &[]).await;
    let other = format!("Authorization: Bearer {other}\r\n");
    let known = format!("{admin}If-None-Match: {tag}\r\n");
    let waits = format!("{admin}If-None-Match: \"1\"\r\nPrefer: wait=60\r\n");
    let fetch = "Sec-Fetch-Mode: cors\r\n".to_owned();
    let text = format!("{admin}Accept: text/plain\r\n");
    let content = format!("{admin}Content-Length: 2\r\n\r\n{{}}");
    for (status, plain, encoded, headers) in [
        (200, "/silos/office", "/silos/%6Fffice", &admin),
        (200, "/silos/Office", "/silos/%4Fffice", &admin),
        (
            200,
            "/silos/office?format=zone",
            "/silos/%6fffice?format=zone",
            &admin,
        ),
        (200, "/silos/office", "/silos/%6Fffice", &text),
        (200, "/silos/office", "/silos/%6Fffice", &waits),
        (200, "/silos/office", "/silos/%6Fffice", &content),
        (
            200,
            "/silos/empty?format=hosts",
            "/silos/%65mpty?format=hosts",
            &admin,
        ),
        (304, "/silos/office", "/silos/%6Fffice", &known),
        (401, "/silos/office", "/silos/%6Fffice", &fetch),
        (404, "/silos/office", "/silos/%6Fffice", &other),
        (404, "/silos/nowhere", "/silos/%6Eowhere", &admin),
        (
            422,
            "/silos/office?format=xml",
            "/silos/%6Fffice?format=xml",
            &admin,
        ),
        (422, "/silos/of*ice", "/silos/%6Ff*ice", &admin),
    ] {
        let past = read(&hub, plain, headers).await;
        assert!(
            past.0
                .iter()
                .any(|line| line.starts_with(&format!("HTTP/1.1 {status} ")))
        );
        let other = read(&hub, encoded, headers).await;
        assert_eq!(without_id(&past), without_id(&other), "{plain}");
        if status < 400 {
            let layered = format!("If-Match: *\r\n{headers}");
            assert_eq!(past, read(&hub, plain, &layered).await, "{plain}");
        }
    }
}

/// An answer without the id of its request, which a problem has in a field and in its body.
fn without_id((head, body): &(Vec<String>, String)) -> (Vec<String>, String) {
    let id = head
        .iter()
        .find_map(|line| line.strip_prefix("silo-request: "));
    let Some(id) = id else {
        return (head.clone(), body.clone());
    };
    let head = head.iter().map(|line| line.replace(id, "ID"));
    (head.collect(), body.replace(id, "ID"))
}
