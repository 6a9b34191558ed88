//! Each word of a reply, and what makes the hub say it.

use reqwest::Method;
use serde_json::json;
use silo_hub::internals::open_hub::OpenHub;

use super::{WorkerContext, basic, lines};
use crate::common::TestHub;

#[tokio::test]
async fn good_and_nochg_name_the_addresses_of_each_host_in_request_order() {
    let office = WorkerContext::start().await;
    for (query, said) in [
        ("hostname=nas&myip=192.0.2.1", "good 192.0.2.1"),
        ("hostname=nas&myip=192.0.2.1", "nochg 192.0.2.1"),
        ("hostname=nas&myip=192.0.2.2", "good 192.0.2.2"),
        ("hostname=nas&myip=2001:db8::1", "good 2001:db8::1"),
        (
            "hostname=nas&myip=192.0.2.2,2001:db8::1",
            "nochg 192.0.2.2,2001:db8::1",
        ),
        (
            "hostname=nas&myip=2001:db8::2,192.0.2.2",
            "good 192.0.2.2,2001:db8::2",
        ),
        (
            "hostname=nas&myip=192.0.2.2&myipv6=2001:db8::3",
            "good 192.0.2.2,2001:db8::3",
        ),
        ("hostname=nas&myip6=2001:db8::3", "nochg 2001:db8::3"),
        // What old clients send besides.
        (
            "system=dyndns&hostname=zoo,nas,db&myip=192.0.2.2&wildcard=ON&mx=a.b&backmx=NO&offline=NO",
            "good 192.0.2.2|nochg 192.0.2.2|good 192.0.2.2",
        ),
        (
            "hostname=db,zoo,a.b.lan&myip=192.0.2.3",
            "good 192.0.2.3|good 192.0.2.3|good 192.0.2.3",
        ),
        (
            "hostname=twin,twin&myip=192.0.2.3",
            "good 192.0.2.3|nochg 192.0.2.3",
        ),
        ("hostname=NAS.&myip=192.0.2.2", "nochg 192.0.2.2"),
    ] {
        assert_eq!(office.said(query).await, said, "{query}");
    }
    assert_eq!(office.ips("nas").await, json!(["192.0.2.2", "2001:db8::3"]));
    assert_eq!(office.ips("db").await, json!(["192.0.2.3"]));
    assert_eq!(office.ips("a.b.lan").await, json!(["192.0.2.3"]));
}

#[tokio::test]
async fn words_of_wrong_hosts_and_addresses_stand_in_the_hosts_line() {
    let office = WorkerContext::start().await;
    office.hub.put_silo("office", &[("nas", "192.0.2.9")]).await;
    let limited = office.hub.credential("write", &["office"], &["nas*"]).await;
    let twenty = |name: &str| vec![name; 20].join(",");
    for (query, said) in [
        ("", "notfqdn"),
        ("hostname=", "notfqdn"),
        ("hostname=,&myip=192.0.2.1", "notfqdn"),
        ("myip=192.0.2.1", "notfqdn"),
        (
            "hostname=a..b,localhost,-x,10.0.0.1&myip=192.0.2.9",
            "notfqdn|notfqdn|notfqdn|notfqdn",
        ),
        (
            "hostname=n%C3%B6_%00,nas&myip=192.0.2.9",
            "notfqdn|nochg 192.0.2.9",
        ),
        (
            "hostname=db,nas,%20,nasty..x,home&myip=192.0.2.9",
            "nohost|nochg 192.0.2.9|notfqdn|nohost",
        ),
        ("hostname=nas,db&myip=nonsense", "dnserr|nohost"),
        ("hostname=nas&myip=0.0.0.0", "dnserr"),
        ("hostname=nas&myip=192.0.2.1,192.0.2.2", "dnserr"),
        ("hostname=nas&ip6lanprefix=2001:db8::/64", "dnserr"),
        (
            &format!("hostname={}&myip=192.0.2.9", twenty("nas")),
            &vec!["nochg 192.0.2.9"; 20].join("|"),
        ),
        (
            &format!("hostname={},nas&myip=192.0.2.9", twenty("nas")),
            "numhost",
        ),
        (
            &format!("hostname={}&hostname=db&myip=192.0.2.9", twenty("nas")),
            "numhost",
        ),
    ] {
        let path = format!("/nic/update?{query}");
        let answer = basic(&office.hub, Method::GET, &path, "", &limited).await;
        assert_eq!(answer.status, 200, "{query}: {answer:?}");
        assert_eq!(lines(&answer), said, "{query}");
    }
    assert_eq!(
        office.hub.history("office").await.len(),
        1,
        "nothing was changed"
    );
}

#[tokio::test]
async fn badauth_is_401_with_a_basic_challenge() {
    let office = WorkerContext::start().await;
    let query = "/nic/update?hostname=nas&myip=192.0.2.1";
    let (id, revoked) = office
        .hub
        .token(json!({"name": "r", "role": "write", "silos": ["office"]}))
        .await;
    office.hub.delete(&format!("/tokens/{id}")).await;
    let bare = || office.hub.open_call(Method::GET, query).in_words();
    let by = |password: &str| basic(&office.hub, Method::GET, query, "office", password);
    for (name, call) in [
        ("none", bare()),
        ("browser", bare().header("sec-fetch-mode", "cors")),
        ("wrong", by(&format!("silo_aaaaaaaaaa_{}", "x".repeat(43)))),
        ("revoked", by(&revoked)),
        ("empty", by("")),
        ("bearer", bare().bearer("silo_aaaaaaaaaa_x")),
        // An admin does not say which silo by Bearer.
        ("no silo", bare().bearer(&office.hub.admin)),
    ] {
        let answer = call.await;
        assert_eq!(answer.status, 401, "{name}: {answer:?}");
        assert_eq!(answer.text(), "badauth\n", "{name}");
        assert_eq!(
            answer.header("www-authenticate"),
            Some("Basic realm=\"silo\", charset=\"UTF-8\""),
            "{name}"
        );
    }
    // A token in the URL is not a credential.
    let path = format!("{query}&username=x&password={}", office.token);
    let answer = office.hub.open_call(Method::GET, &path).in_words().await;
    assert_eq!(answer.status, 401);
    assert_eq!(office.hub.get("/silos/office").await.status, 404);
}

/// The failures are those of REST: the same limit counts both.
#[tokio::test]
async fn too_many_failures_are_911_and_never_429() {
    let office = WorkerContext::on(TestHub::start_behind_a_proxy().await).await;
    let path = "/nic/update?hostname=nas&myip=192.0.2.1";
    let wrong = format!("silo_aaaaaaaaaa_{}", "x".repeat(43));
    let fail = |from: &'static str| {
        basic(&office.hub, Method::GET, path, "office", &wrong).seen_from(from)
    };
    for _ in 0..5 {
        assert_eq!(fail("198.51.100.1").await.status, 401);
        let rest = office.hub.open_call(Method::GET, "/silos").bearer(&wrong);
        assert_eq!(rest.seen_from("198.51.100.1").await.status, 401);
    }
    let limited = fail("198.51.100.1").await;
    assert_eq!((limited.status, limited.text()), (503, "911\n"));
    let seconds: i64 = limited.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{limited:?}");
    let rest = office.hub.open_call(Method::GET, "/silos").bearer(&wrong);
    assert_eq!(rest.seen_from("198.51.100.1").await.status, 429);
    // A valid token is always honoured, a missing one no failure, another address another matter.
    let answer = office
        .call("hostname=nas&myip=192.0.2.1")
        .seen_from("198.51.100.1")
        .await;
    assert_eq!(lines(&answer), "good 192.0.2.1");
    let bare = office.hub.open_call(Method::GET, path).in_words();
    assert_eq!(bare.seen_from("198.51.100.1").await.status, 401);
    assert_eq!(fail("198.51.100.2").await.status, 401);
    office.hub.pass(seconds);
    assert_eq!(fail("198.51.100.1").await.status, 401);
}

/// A missing permission is not a wrong credential.
#[tokio::test]
async fn nohost_and_an_unnamed_silo_are_no_failures() {
    let office = WorkerContext::start().await;
    let reader = office.hub.credential("read", &["office"], &[]).await;
    let admin = office.hub.admin.clone();
    let path = "/nic/update?hostname=nas&myip=192.0.2.1";
    for _ in 0..15 {
        let answer = basic(&office.hub, Method::GET, path, "office", &reader).await;
        assert_eq!(lines(&answer), "nohost");
        let answer = basic(&office.hub, Method::GET, path, "nowhere", &admin).await;
        assert_eq!(answer.status, 401, "{answer:?}");
    }
}

#[tokio::test]
async fn trouble_with_the_database_is_911_and_the_next_try_succeeds() {
    let office = WorkerContext::start().await;
    office.said("hostname=nas&myip=192.0.2.1").await;
    let other = OpenHub::open(&office.hub.settings, office.hub.clock())
        .await
        .unwrap();
    let held = other.store.begin_write(&[]).await.unwrap();
    let answer = office.call("hostname=nas,db&myip=192.0.2.2").await;
    assert_eq!((answer.status, answer.text()), (503, "911\n"));
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!(seconds > 0);
    drop(held);
    other.close().await;
    assert_eq!(
        office.said("hostname=nas,db&myip=192.0.2.2").await,
        "good 192.0.2.2|good 192.0.2.2"
    );
}

#[tokio::test]
async fn a_full_silo_is_dnserr() {
    let office = WorkerContext::start().await;
    let records: Vec<_> = (0..10_000)
        .map(|number| json!({"hostname": format!("h{number}"), "ip": "10.0.0.1"}))
        .collect();
    let made = office
        .hub
        .put("/silos/office")
        .json(&json!({"dnsrecords": records}))
        .await;
    assert_eq!(made.status, 201);
    assert_eq!(
        office.said("hostname=h0,new&myip=192.0.2.1").await,
        "good 192.0.2.1|dnserr"
    );
}
