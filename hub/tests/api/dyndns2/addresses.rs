//! Which addresses a host gets, and what else of its record a call leaves or moves.

use reqwest::Method;
use serde_json::{Value, json};
use silo_e2e::logs;

use super::{NAS, WorkerContext, lines};
use crate::common::{TestHub, revision, text};

#[tokio::test]
async fn the_callers_address_is_meant_where_none_is_sent() {
    let office = WorkerContext::on(TestHub::start_behind_a_proxy().await).await;
    for (query, from, said) in [
        ("hostname=nas", "198.51.100.1", "good 198.51.100.1"),
        ("hostname=nas&myip=", "198.51.100.1", "nochg 198.51.100.1"),
        ("hostname=nas&myip=", "2001:db8::9", "good 2001:db8::9"),
        (
            "hostname=nas&myip=&myipv6=&ip6lanprefix=",
            "::ffff:198.51.100.2",
            "good 198.51.100.2",
        ),
        // The device says that it has no IPv4: the address of its provider's gateway is not its own.
        (
            "hostname=nas&myip=&myipv6=2001:db8::9",
            "198.51.100.3",
            "nochg 2001:db8::9",
        ),
    ] {
        let answer = office.call(query).seen_from(from).await;
        assert_eq!(lines(&answer), said, "{query} from {from}");
    }
    assert_eq!(
        office.ips("nas").await,
        json!(["198.51.100.2", "2001:db8::9"])
    );
    // An untrusted peer's headers are ignored.
    let plain = WorkerContext::start().await;
    let answer = plain.call("hostname=nas").seen_from("198.51.100.1").await;
    assert_eq!((answer.status, answer.text()), (503, "911\n"));
    assert_eq!(plain.hub.get(super::NAS).await.status, 404);
}

#[tokio::test]
async fn an_omitted_address_is_only_set_if_plausible() {
    let office = WorkerContext::on(TestHub::start_behind_a_proxy().await).await;
    for (query, from) in [
        ("", "127.0.0.1"),
        ("", "fe80::1"),
        ("", "unknown"),
        ("", ""),
        ("&myip=", "198.51.100.1,"),
        ("&myip=127.0.0.1", "198.51.100.1"),
        ("&myip=fe80::1", "198.51.100.1"),
        ("&wanip=192.0.2.1", "198.51.100.1"),
    ] {
        let answer = office
            .call(&format!("hostname=nas{query}"))
            .seen_from(from)
            .await;
        assert_eq!(
            (answer.status, answer.text()),
            (503, "911\n"),
            "{query} from {from}"
        );
    }
    assert_eq!(office.hub.get(super::NAS).await.status, 404);
    let answer = office.call("hostname=nas").await;
    assert_eq!(answer.status, 503, "a proxy without a word");
    // One that a proxy names is taken though it is a proxy's too.
    let answer = office.call("hostname=nas").seen_from("10.0.0.1").await;
    assert_eq!(lines(&answer), "good 10.0.0.1");
}

/// A value is named by its parameter and the reason, once a request; what may be a password is not repeated.
#[tokio::test]
async fn values_that_are_not_used_are_logged_by_parameter_and_reason() {
    logs::keep();
    logs::is_secret("hush-hush-myip");
    let office = WorkerContext::start().await;
    for (query, status, said, logged) in [
        (
            "myip=198.51.100.71&myipv6=fe80::7171",
            200,
            "good 198.51.100.71",
            "left out beside what is set: myipv6: fe80::7171 is a link-local address, which other machines can't reach",
        ),
        (
            "myip=198.51.100.71&ipv6=hush-hush-myip&wanip=198.51.100.72",
            200,
            "nochg 198.51.100.71",
            "left out beside what is set: ipv6: no address; \"wanip\": unknown parameter",
        ),
        (
            "wan7171=198.51.100.72",
            503,
            "911",
            "nothing is set: no known parameter holds an address, but \"wan7171\" does: name it myip",
        ),
        (
            "myip=169.254.71.71",
            503,
            "911",
            "nothing is set: 169.254.71.71 is a link-local address, which other machines can't reach",
        ),
    ] {
        let answer = office.call(&format!("hostname=a,b&{query}")).await;
        let said = match status {
            200 => format!("{said}|{said}"),
            _ => said.to_owned(),
        };
        assert_eq!((answer.status, lines(&answer)), (status, said), "{query}");
        let found = logs::kept(&[logged, "silo=office token_id="]);
        assert_eq!(found.len(), 1, "{query}: {found:?}");
    }
    // That a device has none of a family is nothing to report.
    office
        .said("hostname=a&myip=0.0.0.0,2001:db8::7171&myipv6=::")
        .await;
    assert_eq!(logs::kept(&["dyndns2: ", "2001:db8::7171"]), [""; 0]);
    assert_eq!(logs::kept(&["left out", "0.0.0.0"]), [""; 0]);
}

#[tokio::test]
async fn a_slash_too_many_is_no_other_route() {
    let office = WorkerContext::on(TestHub::start_behind_a_proxy().await).await;
    for (path, status) in [
        ("//nic/update", 200),
        ("/nic//update", 200),
        ("/nic/update/", 200),
        ("//v3/update", 200),
        ("/v3//update", 200),
        ("/v3/update/", 200),
        ("///nic/update", 404),
        ("/nic/update//", 404),
        ("//silos", 404),
    ] {
        let target = format!("{path}?hostname=nas&myip=192.0.2.1");
        let call = office.hub.open_call(Method::GET, &target);
        if status == 404 {
            assert_eq!(call.await.status, 404, "{path}");
            continue;
        }
        let answer = call.login("any", &office.token).in_words().await;
        assert_eq!(answer.status, status, "{path}");
    }
}

#[tokio::test]
async fn an_update_sent_to_the_root_is_answered_with_the_route() {
    let hub = TestHub::start().await;
    for query in [
        "host=nas",
        "hostname=nas&myip=192.0.2.1",
        "myip=192.0.2.1",
        "HOST=nas",
    ] {
        let answer = hub.open_call(Method::GET, &format!("/?{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.text().contains("/nic/update"), "{answer:?}");
    }
    assert_eq!(hub.open_call(Method::GET, "/?a=b").await.status, 200);
}

#[tokio::test]
async fn the_prefix_is_put_before_the_records_suffix() {
    let office = WorkerContext::start().await;
    office
        .set("nas", json!({"ip": "10.0.0.5", "ipv6_suffix": "::5"}))
        .await;
    office
        .set(
            "cam",
            json!({"ip": "10.0.0.6", "ipv6_suffix": "::2:0:0:0:6"}),
        )
        .await;
    let router = "myip=192.0.2.1&myipv6=2001:db8:ff::1";
    for (query, said) in [
        (
            format!("hostname=router,nas&{router}&ip6lanprefix=2001:db8:1:2::/64"),
            "good 192.0.2.1,2001:db8:ff::1|good 192.0.2.1,2001:db8:1:2::5",
        ),
        (
            format!("hostname=router,nas&{router}&ip6lanprefix=2001:db8:1:2::/64"),
            "nochg 192.0.2.1,2001:db8:ff::1|nochg 192.0.2.1,2001:db8:1:2::5",
        ),
        (
            "hostname=cam&ip6lanprefix=2001:db8:1::/48".to_owned(),
            "good 2001:db8:1:2::6",
        ),
        (
            "hostname=cam&ip6lanprefix=2001:db8:1:ff00::/56".to_owned(),
            "good 2001:db8:1:ff02::6",
        ),
        (
            "hostname=cam&ip6lanprefix=2001:db8:1:fff0::/60".to_owned(),
            "good 2001:db8:1:fff2::6",
        ),
        (
            "hostname=new&ip6lanprefix=2001:db8:1:2::/64&suffix=::7".to_owned(),
            "good 2001:db8:1:2::7",
        ),
        (
            "hostname=nas&ip6lanprefix=2001:db8:1:3::/64&suffix=::8".to_owned(),
            "good 2001:db8:1:3::8",
        ),
        // Without IPv6 at the moment nothing is guessed.
        (
            format!("hostname=nas&{router}&ip6lanprefix="),
            "nochg 192.0.2.1",
        ),
    ] {
        assert_eq!(office.said(&query).await, said, "{query}");
    }
    assert_eq!(
        office.ips("nas").await,
        json!(["192.0.2.1", "2001:db8:1:3::8"])
    );
    assert_eq!(
        office.ips("cam").await,
        json!(["10.0.0.6", "2001:db8:1:fff2::6"])
    );
    let nas = office.hub.get(NAS).await.json();
    assert_eq!(nas["ipv6_suffix"], "::5", "suffix= is for one request");
}

#[tokio::test]
async fn a_change_has_the_history_revision_and_tag_of_any_other() {
    let office = WorkerContext::on(TestHub::start_behind_a_proxy().await).await;
    let before = office.hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    let answer = office
        .call("hostname=nas&myip=192.0.2.1,2001:db8::1")
        .seen_from("198.51.100.1")
        .await;
    assert_eq!(lines(&answer), "good 192.0.2.1,2001:db8::1");
    let after = office.hub.get("/silos/office").await;
    assert!(revision(&after.json()) > revision(&before.json()));
    let rows = office.hub.history("office").await;
    assert_eq!(rows.len(), 3, "{rows:?}");
    let id = office.token.split('_').nth(1).unwrap();
    for (row, ip) in rows.iter().zip(["192.0.2.1", "2001:db8::1"]) {
        assert_eq!(row["via"], "dyndns2");
        assert_eq!(row["new_ip"], ip);
        assert_eq!(row["old_ip"], Value::Null);
        assert_eq!(row["token"], id);
        assert_eq!(row["client_ip"], "198.51.100.1");
    }
    // Unchanged: only last_seen moves.
    let seen = text(&office.hub.get(NAS).await.json()["last_seen"]);
    office.hub.pass(60);
    office.said("hostname=nas&myip=192.0.2.1").await;
    assert_eq!(office.hub.get("/silos/office").await.etag(), after.etag());
    assert_eq!(office.hub.history("office").await, rows);
    assert_ne!(office.hub.get(NAS).await.json()["last_seen"], seen);
}

#[tokio::test]
async fn attributes_and_the_other_family_stay() {
    let office = WorkerContext::start().await;
    office
        .set(
            "nas",
            json!({"ips": ["10.0.0.5", "fd00::5"], "comment": "rack 3", "expires_after": 3600}),
        )
        .await;
    office.said("hostname=nas&myip=192.0.2.1").await;
    let nas = office.hub.get(NAS).await.json();
    assert_eq!(nas["ips"], json!(["192.0.2.1", "fd00::5"]));
    assert_eq!(nas["comment"], "rack 3");
    assert_eq!(nas["expires_after"], 3600);
}
