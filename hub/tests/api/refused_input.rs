//! Input that is refused: which status, which place is named, and that nothing of it was applied.

use reqwest::Method;
use serde_json::json;

use crate::common::{Guarded, TestHub, dnsrecords};

const OFFICE: &str = "/silos/office";
const DB: &str = "/silos/office/records/db";

/// Hostnames that no silo takes.
fn wrong_hostnames() -> Vec<String> {
    let label = "a".repeat(63);
    let mut names: Vec<String> = [
        "",
        ".",
        ".db",
        "db..lan",
        "db lan",
        "db\n10.0.0.1 wpad",
        "db\r",
        "db\t",
        "db\0",
        "a#b",
        "*",
        "*.lan",
        "a/b",
        "a:b",
        "-a",
        "a-",
        "a.-b",
        "a-.b",
        "1234",
        "127.1",
        "10.0.0.5",
        "a.5",
        "0x7f",
        "a.0x1f",
        "0X7F",
        "localhost",
        "LocalHost.",
        "a.localhost",
        "broadcasthost",
        "ip6-localhost",
        "IP6-allnodes",
        "invalid",
        "a.invalid",
        "x.onion",
        "onion",
        "x.alt",
        "fd00::5",
        "b\u{200d}.lan",
        "a\u{ff0e}\u{ff0e}b",
        "\u{7f}",
    ]
    .map(str::to_owned)
    .to_vec();
    names.push("a".repeat(64));
    names.push(format!("{label}.{label}.{label}.{}", "a".repeat(62)));
    names.push("a.".repeat(5000));
    names
}

/// Addresses that no record takes.
const WRONG_ADDRESSES: &[&str] = &[
    "",
    " ",
    "db",
    "10.0.0",
    "10.0.0.256",
    "010.0.0.1",
    "10.0.0.5/24",
    " 10.0.0.5",
    "10.0.0.5 ",
    "10.0.0.5\n",
    "0x0a000005",
    "167772165",
    "fe80::1%eth0",
    "fd00::5%1",
    "fd00:::5",
    "[fd00::5]",
    "10.0.0.5:80",
    "0.0.0.0",
    "::",
    "::ffff:0.0.0.0",
    "224.0.0.1",
    "239.255.255.255",
    "ff02::1",
    "::ffff:224.0.0.1",
];

#[tokio::test]
async fn wrong_hostnames_are_named_by_record_and_field() {
    let guarded = Guarded::start().await;
    for name in wrong_hostnames() {
        let body = dnsrecords(&[("good", "10.0.0.1"), (&name, "10.0.0.2")]);
        let answer = guarded
            .refused(guarded.hub.put(OFFICE).json(&body), 422)
            .await;
        assert_eq!(answer.pointers(), ["/dnsrecords/1/hostname"], "{name:?}");
        assert_eq!(answer.json()["type"], "/problems/invalid");
    }
    guarded.check().await;
}

#[tokio::test]
async fn wrong_hostnames_of_the_path_are_refused() {
    let guarded = Guarded::start().await;
    for name in [
        "a+b",
        "-a",
        "1234",
        "127.1",
        "10.0.0.5",
        "a.0x1f",
        "localhost",
        "x.onion",
        "%20",
        "%00",
        "a%0Ab",
        "a%2Fb",
        "*",
        "ip6-x",
    ] {
        let path = format!("/silos/office/records/{name}");
        let record = json!({"ip": "10.0.0.1"});
        for call in [
            guarded.hub.put(&path).json(&record),
            guarded.hub.get(&path),
            guarded.hub.delete(&path),
        ] {
            guarded.refused(call, 422).await;
        }
    }
    guarded.check().await;
}

#[tokio::test]
async fn wrong_ids_are_refused() {
    let guarded = Guarded::start().await;
    let long = "a".repeat(64);
    for id in [
        "-a", "a-", ".a", "a.", "_", "a%20b", "%C3%A4", "a%0A", "a%2Fb", "a%00", "*", &long,
    ] {
        let path = format!("/silos/{id}");
        for call in [
            guarded.hub.put(&path).json(&dnsrecords(&[])),
            guarded.hub.get(&path),
            guarded.hub.delete(&path),
            guarded
                .hub
                .put(&format!("{path}/records/db"))
                .json(&json!({"ip": "10.0.0.1"})),
            guarded.hub.get(&format!("{path}/history")),
        ] {
            guarded.refused(call, 422).await;
        }
    }
    guarded.check().await;
}

#[tokio::test]
async fn wrong_addresses_are_named_by_record_and_field() {
    let guarded = Guarded::start().await;
    for ip in WRONG_ADDRESSES {
        let body = dnsrecords(&[("good", "10.0.0.1"), ("db", ip)]);
        let answer = guarded
            .refused(guarded.hub.put(OFFICE).json(&body), 422)
            .await;
        assert_eq!(answer.pointers(), ["/dnsrecords/1/ip"], "{ip:?}");
        let answer = guarded
            .refused(guarded.hub.put(DB).json(&json!({"ip": ip})), 422)
            .await;
        assert_eq!(answer.pointers(), ["/ip"], "{ip:?}");
        let answer = guarded
            .refused(
                guarded.hub.put(DB).json(&json!({"ips": ["10.0.0.1", ip]})),
                422,
            )
            .await;
        assert_eq!(answer.pointers(), ["/ips/1"], "{ip:?}");
    }
    guarded.check().await;
}

#[tokio::test]
async fn every_wrong_place_is_named() {
    let guarded = Guarded::start().await;
    let body = dnsrecords(&[("a b", "x"), ("ok", "10.0.0.1"), ("c", "::")]);
    let answer = guarded
        .refused(guarded.hub.put(OFFICE).json(&body), 422)
        .await;
    let mut pointers = answer.pointers();
    pointers.sort_unstable();
    assert_eq!(
        pointers,
        [
            "/dnsrecords/0/hostname",
            "/dnsrecords/0/ip",
            "/dnsrecords/2/ip"
        ]
    );
    guarded.check().await;
}

#[tokio::test]
async fn duplicates_are_named() {
    let guarded = Guarded::start().await;
    for (first, second) in [
        (("x", "10.0.0.1"), ("x", "10.0.0.2")),
        (("x", "10.0.0.1"), ("x", "10.0.0.1")),
        (("x", "10.0.0.1"), ("X.", "::ffff:10.0.0.3")),
        (("x", "fd00::1"), ("x", "fd00::2")),
        (("bücher", "10.0.0.1"), ("xn--bcher-kva", "10.0.0.2")),
    ] {
        let body = dnsrecords(&[first, ("y", "10.0.0.9"), second]);
        let answer = guarded
            .refused(guarded.hub.put(OFFICE).json(&body), 422)
            .await;
        let pointers = answer.pointers();
        assert_eq!(pointers.len(), 1, "{answer:?}");
        assert!(pointers[0].starts_with("/dnsrecords/2"), "{answer:?}");
    }
    for ips in [
        json!(["10.0.0.1", "10.0.0.2"]),
        json!(["fd00::1", "fd00::1"]),
        json!(["10.0.0.1", "::ffff:10.0.0.1"]),
    ] {
        let answer = guarded
            .refused(guarded.hub.put(DB).json(&json!({"ips": ips})), 422)
            .await;
        assert_eq!(answer.pointers(), ["/ips/1"]);
    }
    guarded.check().await;
}

#[tokio::test]
async fn a_body_for_another_silo_is_refused() {
    let guarded = Guarded::start().await;
    for id in [
        json!("home"),
        json!(""),
        json!(7),
        json!(null),
        json!(["office"]),
    ] {
        let body = json!({"id": id, "dnsrecords": []});
        let answer = guarded
            .refused(guarded.hub.put(OFFICE).json(&body), 422)
            .await;
        assert_eq!(answer.pointers(), ["/id"], "{id}");
    }
    guarded.check().await;
}

#[tokio::test]
async fn wrong_types_are_named() {
    let guarded = Guarded::start().await;
    for (body, pointer) in [
        (json!([]), ""),
        (json!("office"), ""),
        (json!(null), ""),
        (json!({}), "/dnsrecords"),
        (json!({"dnsrecords": null}), "/dnsrecords"),
        (json!({"dnsrecords": {}}), "/dnsrecords"),
        (json!({"dnsrecords": "db"}), "/dnsrecords"),
        (json!({"dnsrecords": [7]}), "/dnsrecords/0"),
        (json!({"dnsrecords": [["db", "10.0.0.1"]]}), "/dnsrecords/0"),
        (json!({"dnsrecords": [null]}), "/dnsrecords/0"),
        (
            json!({"dnsrecords": [{"ip": "10.0.0.1"}]}),
            "/dnsrecords/0/hostname",
        ),
        (
            json!({"dnsrecords": [{"hostname": "db"}]}),
            "/dnsrecords/0/ip",
        ),
        (
            json!({"dnsrecords": [{"hostname": 7, "ip": "10.0.0.1"}]}),
            "/dnsrecords/0/hostname",
        ),
        (
            json!({"dnsrecords": [{"hostname": "db", "ip": 7}]}),
            "/dnsrecords/0/ip",
        ),
        (
            json!({"dnsrecords": [{"hostname": "db", "ip": null}]}),
            "/dnsrecords/0/ip",
        ),
        (
            json!({"dnsrecords": [{"hostname": "db", "ip": ["10.0.0.1"]}]}),
            "/dnsrecords/0/ip",
        ),
    ] {
        let answer = guarded
            .refused(guarded.hub.put(OFFICE).json(&body), 422)
            .await;
        assert_eq!(answer.pointers(), [pointer], "{body}");
    }
    guarded.check().await;
}

#[tokio::test]
async fn wrong_record_bodies_are_named() {
    let guarded = Guarded::start().await;
    for (body, pointer) in [
        (json!([]), ""),
        (json!("10.0.0.1"), ""),
        (json!({"ip": 7}), "/ip"),
        (json!({"ip": null}), "/ip"),
        (json!({"ip": ["10.0.0.1"]}), "/ip"),
        (json!({"ips": "10.0.0.1"}), "/ips"),
        (json!({"ips": null}), "/ips"),
        (json!({"ips": []}), "/ips"),
        (json!({"ips": [], "comment": "x"}), "/ips"),
        (json!({"ips": [7]}), "/ips/0"),
        (json!({"ip": "10.0.0.1", "comment": 7}), "/comment"),
        (
            json!({"ip": "10.0.0.1", "comment": "x".repeat(100_000)}),
            "/comment",
        ),
        (json!({"ip": "10.0.0.1", "notify": "no-address"}), "/notify"),
        // Not every database holds this character.
        (json!({"ip": "10.0.0.1", "comment": "a\u{0}b"}), "/comment"),
        (
            json!({"ip": "10.0.0.1", "notify": "a@b\r\nBcc: c@d"}),
            "/notify",
        ),
        (json!({"ip": "10.0.0.1", "notify": "a@b, c@d"}), "/notify"),
        (json!({"ip": "10.0.0.1", "notify": ["a@b"]}), "/notify"),
        (
            json!({"ip": "10.0.0.1", "ipv6_suffix": "10.0.0.1"}),
            "/ipv6_suffix",
        ),
        (json!({"ip": "10.0.0.1", "ipv6_suffix": 5}), "/ipv6_suffix"),
        (
            json!({"ip": "10.0.0.1", "expires_after": 1799}),
            "/expires_after",
        ),
        (
            json!({"ip": "10.0.0.1", "expires_after": 0}),
            "/expires_after",
        ),
        (
            json!({"ip": "10.0.0.1", "expires_after": -1800}),
            "/expires_after",
        ),
        (
            json!({"ip": "10.0.0.1", "expires_after": 1e300}),
            "/expires_after",
        ),
        (
            json!({"ip": "10.0.0.1", "expires_after": 1800.5}),
            "/expires_after",
        ),
        (
            json!({"ip": "10.0.0.1", "expires_after": i64::MAX}),
            "/expires_after",
        ),
        (
            json!({"ip": "10.0.0.1", "expires_after": "1800"}),
            "/expires_after",
        ),
        (json!({"expires_after": 5}), "/expires_after"),
    ] {
        let answer = guarded.refused(guarded.hub.put(DB).json(&body), 422).await;
        assert_eq!(answer.pointers(), [pointer], "{body}");
    }
    // Neither, or both.
    for body in [
        json!({}),
        json!({"other": 1}),
        json!({"ip": "10.0.0.1", "ips": ["10.0.0.1"]}),
    ] {
        guarded.refused(guarded.hub.put(DB).json(&body), 422).await;
    }
    guarded.check().await;
}

#[tokio::test]
async fn wrong_queries_are_refused() {
    let guarded = Guarded::start().await;
    let history = "/silos/office/history";
    for (path, query) in [
        ("/silos", "limit=0"),
        ("/silos", "limit=1001"),
        ("/silos", "limit=-1"),
        ("/silos", "limit=many"),
        ("/silos", "limit="),
        ("/silos", "limit=1.5"),
        ("/silos", "limit=99999999999999999999"),
        ("/silos", "after=-a"),
        ("/silos", "after=a%2Fb"),
        (history, "limit=0"),
        (history, "limit=1001"),
        (history, "limit=x"),
        (history, "hostname=a%20b"),
        (history, "hostname=%ff"),
        (history, "cursor=nonsense"),
        (history, "cursor=AAAA"),
        (OFFICE, "format=xml"),
        (OFFICE, "format="),
    ] {
        let call = guarded.hub.get(&format!("{path}?{query}"));
        let answer = guarded.refused(call, 422).await;
        let name = query.split('=').next().unwrap_or_default();
        assert_eq!(answer.pointers(), [format!("/{name}")], "{path}?{query}");
    }
    for path in [
        "/silos?unknown=1",
        "/silos/office?x",
        "/silos/office/history?%ff=%ff",
        "/tokens?expires_in=5",
        "/events?since=5",
    ] {
        let call = guarded.hub.call(Method::GET, path);
        guarded.refused(call, 422).await;
    }
    let call = guarded.hub.put(&format!("{DB}?ip=10.0.0.9"));
    guarded.refused(call, 422).await;
    // A monitor may keep caches out.
    assert_eq!(guarded.hub.get("/healthz?1795226983").await.status, 200);
    guarded.check().await;
}

#[tokio::test]
async fn unknown_members_are_refused() {
    let guarded = Guarded::start().await;
    let hub = &guarded.hub;
    let token = json!({"name": "nas", "role": "read", "silos": ["office"]});
    let with = |mut body: serde_json::Value, member: &str, value: serde_json::Value| {
        body[member] = value;
        body
    };
    let silo = dnsrecords(&[("db", "10.0.0.9")]);
    let mut entry = silo.clone();
    entry["dnsrecords"][0]["ttl"] = json!(60);
    for (call, pointer) in [
        (
            hub.post("/tokens")
                .json(&with(token.clone(), "expires_in", json!(60))),
            "/expires_in",
        ),
        (
            hub.post("/tokens").json(&with(token, "a/b~", json!(60))),
            "/a~1b~0",
        ),
        (
            hub.put(OFFICE).json(&with(silo, "coment", json!("x"))),
            "/coment",
        ),
        (hub.put(OFFICE).json(&entry), "/dnsrecords/0/ttl"),
        (
            hub.put(DB).json(&json!({"ip": "10.0.0.9", "coment": "x"})),
            "/coment",
        ),
        (
            hub.put(DB)
                .json(&json!({"ip": "10.0.0.9", "hostname": "nas"})),
            "/hostname",
        ),
    ] {
        let answer = guarded.refused(call, 422).await;
        assert_eq!(answer.pointers(), [pointer]);
    }
    let twice = hub
        .put(DB)
        .body("{\"ip\":\"10.0.0.8\",\"ip\":\"10.0.0.9\"}");
    guarded.refused(twice, 400).await;
    guarded.check().await;
}

#[tokio::test]
async fn odd_names_in_bodies_never_reach_hosts_lines() {
    let hub = TestHub::start().await;
    hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    for name in [
        "db\n10.0.0.9 bank",
        "db\r10.0.0.9 bank",
        "db 10.0.0.9",
        "db#",
        "db\u{2028}x",
        "db\u{85}x",
    ] {
        let answer = hub
            .put(OFFICE)
            .json(&dnsrecords(&[(name, "10.0.0.5")]))
            .await;
        assert_eq!(answer.status, 422, "{name:?}");
    }
    assert_eq!(
        hub.get("/silos/office?format=hosts").await.text(),
        "10.0.0.5 db\n"
    );
}
