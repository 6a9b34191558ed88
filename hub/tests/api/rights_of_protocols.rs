//! One table: every way to write, under every kind of credential. No foreign route gives more right than
//! the token or the key that it is shown.
//!
//! A new protocol is one more [`Row`].

use reqwest::Method;
use serde_json::{Value, json};
use silo_hub::internals::registry::OpenDynahost;
use silo_hub::internals::secrets::random_id;
use silo_shared::silo::{Hostname, SiloId};

use crate::common::{Call, START_MS, TestHub, dnsrecords};
use crate::dynahost::{STATUSES, compat};
use crate::update_keys::add;

/// What is written, by every row.
const SILO: &str = "office";
const HOSTNAME: &str = "db";
/// The update key that may.
const KEY: &str = "an-update-key-of-office-db";

/// The dynahost secid that may, and one that may set another hostname.
const SECID: &str = "a-secid-of-office-db";
const OTHER_SECID: &str = "a-secid-of-office-nas-1";

/// The columns: what is shown.
const SHOWN: [&str; 11] = [
    "nothing",
    "wrong credential",
    "read token",
    "write token of another silo",
    "write token of all silos' other hostnames",
    "write token of other hostnames",
    "write token of the hostname",
    "write token of the silo",
    "expired token",
    "revoked token",
    "admin token",
];

/// A way to write.
struct Row {
    name: &'static str,
    /// The request that sets the record to an address, with the credential in the way that the protocol
    /// has; the admin's token would do it.
    request: fn(&TestHub, credential: Option<&str>, ip: &str) -> Call,
    /// A column each: the status, the word, and `+` with the silo that changes.
    expected: [&'static str; SHOWN.len()],
    /// Whether the credential is a token's, whose rights REST tells.
    by_token: bool,
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn rows() -> Vec<Row> {
    const DYNDNS2: [&str; SHOWN.len()] = [
        "401 badauth",
        "401 badauth",
        "200 nohost",
        // One silo is the token's own, whatever the user name.
        "200 good +home",
        "200 nohost",
        "200 nohost",
        "200 good +office",
        "200 good +office",
        "401 badauth",
        "401 badauth",
        "200 good +office",
    ];
    vec![
        Row {
            name: "PUT of a record",
            request: |hub, credential, ip| {
                let path = format!("/silos/{SILO}/records/{HOSTNAME}");
                let call = hub.open_call(Method::PUT, &path);
                bearer(call.json(&json!({"ip": ip})), credential)
            },
            expected: [
                "401 unauthorized",
                "401 unauthorized",
                "403 forbidden",
                "403 forbidden",
                "403 forbidden",
                "403 forbidden",
                "200 +office",
                "200 +office",
                "401 unauthorized",
                "401 unauthorized",
                "200 +office",
            ],
            by_token: true,
        },
        Row {
            name: "PUT of a silo",
            request: |hub, credential, ip| {
                let call = hub.open_call(Method::PUT, &format!("/silos/{SILO}"));
                bearer(call.json(&dnsrecords(&[(HOSTNAME, ip)])), credential)
            },
            expected: [
                "401 unauthorized",
                "401 unauthorized",
                "403 forbidden",
                "403 forbidden",
                "403 forbidden",
                "403 forbidden",
                "403 forbidden",
                "200 +office",
                "401 unauthorized",
                "401 unauthorized",
                "200 +office",
            ],
            by_token: true,
        },
        Row {
            name: "dyndns2 GET /nic/update",
            request: |hub, credential, ip| dyndns2(hub, Method::GET, "/nic/update", credential, ip),
            expected: DYNDNS2,
            by_token: true,
        },
        Row {
            name: "dyndns2 POST /nic/update",
            request: |hub, credential, ip| {
                dyndns2(hub, Method::POST, "/nic/update", credential, ip)
            },
            expected: DYNDNS2,
            by_token: true,
        },
        Row {
            name: "dyndns2 GET /v3/update",
            request: |hub, credential, ip| dyndns2(hub, Method::GET, "/v3/update", credential, ip),
            expected: DYNDNS2,
            by_token: true,
        },
        Row {
            name: "dyndns2 POST /v3/update",
            request: |hub, credential, ip| dyndns2(hub, Method::POST, "/v3/update", credential, ip),
            expected: DYNDNS2,
            by_token: true,
        },
        Row {
            name: "a credential as update key",
            request: |hub, credential, _| {
                let path = format!("/u/{}", credential.unwrap_or_default());
                bearer(update_key(hub, &path), credential)
            },
            expected: [
                "200 address",
                "403 BADKEY",
                "403 BADKEY",
                "403 BADKEY",
                "403 BADKEY",
                "403 BADKEY",
                "403 BADKEY",
                "403 BADKEY",
                "403 BADKEY",
                "403 BADKEY",
                "403 BADKEY",
            ],
            by_token: true,
        },
        Row {
            name: "an update key, with a credential beside it",
            request: |hub, credential, _| bearer(update_key(hub, &format!("/u/{KEY}")), credential),
            expected: ["200 OK +office"; SHOWN.len()],
            by_token: false,
        },
        Row {
            name: "a credential as dynahost secid",
            request: |hub, credential, _| {
                let secid = credential.unwrap_or_default();
                bearer(dynahost(hub, Method::GET, HOSTNAME, secid), credential)
            },
            expected: by_secid("400 secid:", "403 this"),
            by_token: true,
        },
        Row {
            name: "dynahost secid of another hostname, with a credential beside it",
            request: |hub, credential, _| {
                let call = dynahost(hub, Method::GET, HOSTNAME, OTHER_SECID);
                bearer(call, credential)
            },
            expected: ["403 this"; SHOWN.len()],
            by_token: false,
        },
        Row {
            name: "dynahost secid, for a hostname that the protocol may not touch",
            request: |hub, credential, _| {
                bearer(dynahost(hub, Method::GET, "web", SECID), credential)
            },
            expected: ["403 host:"; SHOWN.len()],
            by_token: false,
        },
        Row {
            name: "dynahost secid by GET, with a credential beside it",
            request: |hub, credential, _| {
                bearer(dynahost(hub, Method::GET, HOSTNAME, SECID), credential)
            },
            expected: ["200 OK +office"; SHOWN.len()],
            by_token: false,
        },
        Row {
            name: "dynahost secid by POST, with a credential beside it",
            request: |hub, credential, _| {
                bearer(dynahost(hub, Method::POST, HOSTNAME, SECID), credential)
            },
            expected: ["200 OK +office"; SHOWN.len()],
            by_token: false,
        },
    ]
}

/// One answer where nothing is shown, and one for all else.
fn by_secid(nothing: &'static str, anything: &'static str) -> [&'static str; SHOWN.len()] {
    let mut expected = [anything; SHOWN.len()];
    expected[0] = nothing;
    expected
}

fn bearer(call: Call, credential: Option<&str>) -> Call {
    match credential {
        Some(credential) => call.bearer(credential),
        None => call,
    }
}

fn dyndns2(hub: &TestHub, method: Method, path: &str, credential: Option<&str>, ip: &str) -> Call {
    let query = format!("hostname={HOSTNAME}&myip={ip}");
    let call = match method {
        Method::GET => hub.open_call(method, &format!("{path}?{query}")),
        _ => hub
            .open_call(method, path)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(query),
    };
    match credential {
        Some(credential) => call.login(SILO, credential),
        None => call,
    }
    .in_words()
}

fn update_key(hub: &TestHub, path: &str) -> Call {
    hub.open_call(Method::GET, path)
        .seen_from("192.0.2.7")
        .in_words_of(&[200, 403, 500])
}

fn dynahost(hub: &TestHub, method: Method, hostname: &str, secid: &str) -> Call {
    let query = format!("secid={secid}&host={hostname}");
    let call = match method {
        Method::GET => hub.open_call(method, &format!("/update?{query}")),
        _ => hub.open_call(method, "/update").body(query),
    };
    call.seen_from("192.0.2.7").in_words_of(STATUSES)
}

/// Binds the hostnames of the rows to their secids.
async fn bind(hub: &TestHub, open: &silo_hub::internals::open_hub::OpenHub) {
    for (hostname, secid) in [(HOSTNAME, SECID), ("nas-1", OTHER_SECID)] {
        let command = OpenDynahost {
            silo: SiloId::parse(SILO).expect("an id"),
            hostname: Hostname::parse(hostname).expect("a name"),
            id: random_id().expect("random bytes"),
        };
        open.registry.apply(command).await.expect("it is opened");
        let first = dynahost(hub, Method::GET, hostname, secid).await;
        assert_eq!(first.text(), "OK", "{first:?}");
    }
}

/// What each column shows.
async fn credentials(hub: &TestHub) -> [Option<String>; SHOWN.len()] {
    let other = ["nas-*", "dbx", "d"];
    let write = json!({"name": "a token", "role": "write", "silos": [SILO]});
    let mut expiring = write.clone();
    let end = jiff::Timestamp::from_millisecond(START_MS + 60_000).expect("a time");
    expiring["expires_at"] = json!(end.to_string());
    let expired = hub.token(expiring).await.1;
    let (id, revoked) = hub.token(write).await;
    assert_eq!(hub.delete(&format!("/tokens/{id}")).await.status, 204);
    hub.pass(120);
    let wrong = format!("silo_aaaaaaaaaa_{}", "x".repeat(43));
    [
        None,
        Some(wrong),
        Some(hub.credential("read", &[SILO], &[]).await),
        Some(hub.credential("write", &["home"], &[]).await),
        Some(hub.credential("write", &["*"], &other).await),
        Some(hub.credential("write", &[SILO], &other).await),
        Some(hub.credential("write", &[SILO], &[HOSTNAME]).await),
        Some(hub.credential("write", &[SILO], &[]).await),
        Some(expired),
        Some(revoked),
        Some(hub.admin.clone()),
    ]
}

/// Every silo that there is.
async fn silos(hub: &TestHub) -> Vec<Value> {
    hub.walk("/silos").await.concat()
}

/// A hub with every protocol, and what the rows may change in it.
async fn start(compat_keys: &str) -> TestHub {
    let (hub, open) = TestHub::start_in_parts_with(|settings| {
        settings.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
        settings.compat = compat(compat_keys);
    })
    .await;
    for silo in [SILO, "home"] {
        hub.put_silo(silo, &[(HOSTNAME, "192.0.2.1"), ("nas-1", "192.0.2.1")])
            .await;
    }
    add(&open, KEY, HOSTNAME).await.expect("a key");
    bind(&hub, &open).await;
    hub
}

#[tokio::test]
async fn no_route_gives_more_right_than_its_token_or_key() {
    let hub = start("{dynahost: {silo: office, hostnames: [db, 'nas-*']}}").await;
    let credentials = credentials(&hub).await;
    let mut wrong = Vec::new();
    for (row, number) in rows().iter().zip(1..) {
        for (column, credential) in credentials.iter().enumerate() {
            let case = format!("{}, {}", row.name, SHOWN[column]);
            // An address of its own, so that each write is a change and no failure counts for another.
            let ip = format!("198.51.{number}.{}", column + 1);
            let before = silos(&hub).await;
            let call = (row.request)(&hub, credential.as_deref(), &ip);
            let answer = call.seen_from(&ip).await;
            let after = silos(&hub).await;
            let mut said = answer.status.to_string();
            let word = match answer.header("content-type") {
                Some("application/problem+json") => {
                    let kind = answer.json()["type"].as_str().map(str::to_owned);
                    kind.and_then(|kind| Some(kind.strip_prefix("/problems/")?.to_owned()))
                }
                Some("application/json") => None,
                _ => answer.text().split_whitespace().next().map(str::to_owned),
            };
            if let Some(word) = word {
                said += if word == ip { " address" } else { " " };
                said += if word == ip { "" } else { &word };
            }
            for silo in &after {
                if !before.contains(silo) {
                    let id = silo["id"].as_str().expect("an id");
                    said += &format!(" +{id}");
                    // What changes is what this token may change by REST: an impossible precondition is
                    // judged after the right.
                    let rest = format!("/silos/{id}/records/{HOSTNAME}");
                    let rest = hub.open_call(Method::PUT, &rest).json(&json!({"ip": ip}));
                    let rest = bearer(rest, credential.as_deref());
                    let rest = rest.header("if-match", "\"never\"").await;
                    assert!(!row.by_token || rest.status == 412, "{case}: {rest:?}");
                    assert!(silo.to_string().contains(&ip), "{case}: {silo}");
                }
            }
            assert_eq!(after.len(), 2, "{case}: no silo comes or goes");
            if said != row.expected[column] {
                wrong.push(format!("{case}: {said}, not {}", row.expected[column]));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `PUT` of REST has both, which shows that the headers count at all.
#[tokio::test]
async fn foreign_routes_have_neither_signatures_nor_preconditions() {
    let hub = start("{sftdyn: true, dynahost: {silo: office, hostnames: [db, 'nas-*']}}").await;
    let admin = SHOWN.len() - 1;
    let mut calls: Vec<_> = rows()
        .into_iter()
        .map(|row| (row.name, row.request, row.expected[admin]))
        .collect();
    calls.push((
        "an update key at the root",
        |hub, _, _| update_key(hub, &format!("/{KEY}")),
        "200 OK",
    ));
    calls.push(("the root", |hub, _, _| update_key(hub, "/"), "200 address"));
    for (name, request, expected) in calls {
        let usual = expected.split(' ').next().expect("a status");
        let is_rest = name.starts_with("PUT");
        for (headers, refused) in [
            (&[("if-match", "\"never\"")][..], "412"),
            // A signature beside a token.
            (&[("signature", "x"), ("signature-input", "x")], "400"),
        ] {
            let mut call = request(&hub, Some(&hub.admin), "198.51.100.7");
            for (header, value) in headers {
                call = call.header(header, value);
            }
            let answer = call.await;
            let wanted = if is_rest { refused } else { usual };
            assert_eq!(
                answer.status.to_string(),
                wanted,
                "{name} {headers:?}: {answer:?}"
            );
        }
    }
}
