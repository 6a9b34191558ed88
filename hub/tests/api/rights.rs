//! Who may do what: roles, silos, hostnames, and the ways to show a credential.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};

use crate::common::{Call, TestHub, dnsrecords, raw_status};

/// What a 401 asks for.
const CHALLENGES: [&str; 2] = [
    "Basic realm=\"silo\", charset=\"UTF-8\"",
    "Bearer realm=\"silo\"",
];
const OFFICE: &str = "/silos/office";

/// One request of the table, made so that it would succeed for an admin again and again.
struct Request {
    name: &'static str,
    method: Method,
    path: &'static str,
    body: Option<Value>,
}

fn requests() -> Vec<Request> {
    let request = |name, method, path, body| Request {
        name,
        method,
        path,
        body,
    };
    let record = || Some(json!({"ip": "10.0.0.5"}));
    vec![
        request("list", Method::GET, "/silos", None),
        request("read", Method::GET, OFFICE, None),
        request("read db", Method::GET, "/silos/office/records/db", None),
        request("history", Method::GET, "/silos/office/history", None),
        request(
            "put",
            Method::PUT,
            OFFICE,
            Some(dnsrecords(&[("db", "10.0.0.5"), ("nas-1", "10.0.0.5")])),
        ),
        request("delete", Method::DELETE, OFFICE, None),
        request("put db", Method::PUT, "/silos/office/records/db", record()),
        request(
            "put nas-1",
            Method::PUT,
            "/silos/office/records/nas-1",
            record(),
        ),
        request(
            "delete db",
            Method::DELETE,
            "/silos/office/records/db",
            None,
        ),
        request(
            "delete nas-1",
            Method::DELETE,
            "/silos/office/records/nas-1",
            None,
        ),
        request("read home", Method::GET, "/silos/home", None),
        request("read home db", Method::GET, "/silos/home/records/db", None),
        request("home history", Method::GET, "/silos/home/history", None),
        request(
            "put home",
            Method::PUT,
            "/silos/home",
            Some(dnsrecords(&[("db", "10.0.0.5")])),
        ),
        request(
            "put home db",
            Method::PUT,
            "/silos/home/records/db",
            record(),
        ),
        request("tokens", Method::GET, "/tokens", None),
        request(
            "make token",
            Method::POST,
            "/tokens",
            Some(json!({"name": "x", "role": "admin"})),
        ),
        request("revoke token", Method::DELETE, "/tokens/aaaaaaaaaa", None),
        request("metrics", Method::GET, "/metrics", None),
    ]
}

#[tokio::test]
async fn each_role_may_do_what_its_silos_and_hostnames_allow() {
    const READ: &[&str] = &["list", "read", "read db", "history"];
    let with = |more: &[&'static str]| [READ, more].concat();
    let records: &[&'static str] = &["put db", "put nas-1", "delete db", "delete nas-1"];
    let whole: &[&'static str] = &["put", "delete"];
    let home: &[&'static str] = &["read home", "read home db", "home history"];
    let write_home: &[&'static str] = &["put home", "put home db"];
    let admin: &[&'static str] = &["tokens", "make token", "revoke token", "metrics"];
    let hub = TestHub::start().await;
    for (role, silos, hostnames, allowed) in [
        (
            "admin",
            vec![],
            vec![],
            with(&[records, whole, home, write_home, admin].concat()),
        ),
        ("read", vec!["office"], vec![], with(&[])),
        ("read", vec!["*"], vec![], with(home)),
        ("read", vec!["home"], vec![], [&["list"], home].concat()),
        (
            "write",
            vec!["office"],
            vec![],
            with(&[records, whole].concat()),
        ),
        (
            "write",
            vec!["o*", "nothing"],
            vec![],
            with(&[records, whole].concat()),
        ),
        (
            "write",
            vec!["*"],
            vec![],
            with(&[records, whole, home, write_home].concat()),
        ),
        (
            "write",
            vec!["OFFICE"],
            vec!["nas-*"],
            with(&["put nas-1", "delete nas-1"]),
        ),
        (
            "write",
            vec!["office"],
            vec!["db"],
            with(&["put db", "delete db"]),
        ),
        ("write", vec!["office"], vec!["*"], with(records)),
        (
            "write",
            vec!["*"],
            vec!["nas-1", "NAS-*"],
            with(&[home, &["put nas-1", "delete nas-1"]].concat()),
        ),
        ("write", vec!["off"], vec![], vec!["list"]),
    ] {
        let credential = hub.credential(role, &silos, &hostnames).await;
        for Request {
            name,
            method,
            path,
            body,
        } in requests()
        {
            // Everything is there again before each request.
            hub.put_silo("office", &[("db", "10.0.0.5"), ("nas-1", "10.0.0.5")])
                .await;
            hub.put_silo("home", &[("db", "10.0.0.5")]).await;
            let before = hub.get(OFFICE).await;
            let may = allowed.contains(&name);
            let status = match (may, name, &method) {
                (true, "revoke token", _) => 404,
                (true, "make token", _) => 201,
                (true, _, &Method::DELETE) => 204,
                (true, _, _) => 200,
                (false, "tokens" | "metrics", _) => 403,
                // A silo that may not be read is as good as none.
                (false, _, &Method::GET) => 404,
                (false, _, _) => 403,
            };
            let mut call = hub.open_call(method.clone(), path).bearer(&credential);
            if let Some(body) = body {
                call = call.json(&body);
            }
            let answer = call.await;
            let case = format!("{role} {silos:?} {hostnames:?}: {name}");
            assert_eq!(answer.status, status, "{case}: {answer:?}");
            if !may {
                assert_eq!(hub.get(OFFICE).await.body, before.body, "{case}");
            }
        }
    }
}

#[tokio::test]
async fn only_the_open_routes_need_no_credential() {
    let hub = TestHub::start().await;
    hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    for Request {
        name,
        method,
        path,
        body,
    } in requests()
    {
        let mut call = hub.open_call(method, path);
        if let Some(body) = &body {
            call = call.json(body);
        }
        let answer = call.await;
        assert_eq!(answer.status, 401, "{name}");
        assert_eq!(answer.json()["type"], "/problems/unauthorized");
        assert_eq!(answer.values("www-authenticate"), CHALLENGES, "{name}");
    }
    let head = hub.open_call(Method::HEAD, OFFICE).await;
    assert_eq!(head.status, 401);
    assert_eq!(head.values("www-authenticate"), CHALLENGES);
}

/// A browser shows a password prompt for a Basic challenge, also when a script of a page asked.
#[tokio::test]
async fn a_browsers_fetch_gets_only_a_bearer_challenge() {
    let hub = TestHub::start_behind_a_proxy().await;
    hub.put_silo("office", &[]).await;
    for (number, (headers, expected)) in [
        (&[][..], &CHALLENGES[..]),
        (&[("sec-fetch-mode", "navigate")], &CHALLENGES),
        (
            &[
                ("sec-fetch-mode", "navigate"),
                ("sec-fetch-dest", "document"),
            ],
            &CHALLENGES,
        ),
        (
            &[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")],
            &CHALLENGES,
        ),
        (&[("sec-fetch-dest", "document")], &CHALLENGES),
        (&[("sec-fetch-mode", "cors")], &CHALLENGES[1..]),
        (&[("sec-fetch-mode", "same-origin")], &CHALLENGES[1..]),
        (&[("sec-fetch-mode", "no-cors")], &CHALLENGES[1..]),
        (
            &[("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")],
            &CHALLENGES[1..],
        ),
        (&[("sec-fetch-dest", "empty")], &CHALLENGES[1..]),
    ]
    .into_iter()
    .enumerate()
    {
        let wrong = format!("silo_aaaaaaaaaa_{}", "x".repeat(43));
        let signature = "silo=(\"@method\");created=1;keyid=\"abcdefgh12\"";
        for call in [
            hub.open_call(Method::GET, OFFICE),
            hub.open_call(Method::HEAD, OFFICE),
            hub.open_call(Method::PUT, OFFICE).json(&dnsrecords(&[])),
            hub.open_call(Method::GET, OFFICE).bearer(&wrong),
            hub.open_call(Method::GET, OFFICE).login("x", "y"),
            hub.open_call(Method::GET, OFFICE)
                .header("signature-input", signature),
        ] {
            // Each row from an address of its own: failures are counted.
            let mut call = call.seen_from(&format!("192.0.2.{number}"));
            for (name, value) in headers {
                call = call.header(name, value);
            }
            let answer = call.await;
            assert_eq!(answer.status, 401, "{headers:?}: {answer:?}");
            let challenges = answer.values("www-authenticate");
            assert_eq!(challenges, expected, "{headers:?}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_token_that_reads_a_silo_reads_all_of_it() {
    let hub = TestHub::start().await;
    let made = hub
        .put_silo("office", &[("db", "10.0.0.5"), ("nas-1", "10.0.0.7")])
        .await;
    let limited = hub.credential("write", &["office"], &["nas-*"]).await;
    let read = |path: &'static str| hub.open_call(Method::GET, path).bearer(&limited);
    assert_eq!(read(OFFICE).await.body, made.body);
    assert_eq!(read("/silos/office/records/db").await.status, 200);
    assert_eq!(
        read("/silos/office/history")
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[tokio::test]
async fn a_hostname_glob_matches_any_run_dots_included() {
    let hub = TestHub::start().await;
    let credential = hub
        .credential("write", &["office"], &["nas-*", "*.lan", "exact"])
        .await;
    for (hostname, status) in [
        ("nas-1", 201),
        ("nas-a.b.c", 201),
        ("a.b.lan", 201),
        ("EXACT.", 201),
        ("nas", 403),
        ("xnas-1", 403),
        ("lan", 403),
        ("a.lan.x", 403),
        ("exact.x", 403),
        ("db", 403),
    ] {
        let answer = hub
            .open_call(Method::PUT, &format!("/silos/office/records/{hostname}"))
            .bearer(&credential)
            .json(&json!({"ip": "10.0.0.5"}))
            .await;
        assert_eq!(answer.status, status, "{hostname}");
    }
}

#[tokio::test]
async fn rights_are_judged_before_preconditions_and_presence() {
    let hub = TestHub::start().await;
    let tag = hub.put_silo("office", &[("db", "10.0.0.5")]).await.etag();
    let reader = hub.credential("read", &["office"], &[]).await;
    let stranger = hub.credential("write", &["home"], &[]).await;
    let limited = hub.credential("write", &["office"], &["nas-*"]).await;
    let silo = dnsrecords(&[]);
    let record = json!({"ip": "10.0.0.6"});
    for credential in [&reader, &stranger, &limited] {
        for path in [OFFICE, "/silos/none"] {
            let db = format!("{path}/records/db");
            for call in [
                hub.open_call(Method::PUT, path).json(&silo),
                hub.open_call(Method::DELETE, path),
                hub.open_call(Method::PUT, &db).json(&record),
                hub.open_call(Method::DELETE, &db),
            ] {
                let answer = call
                    .bearer(credential)
                    .header("if-match", "\"stale\"")
                    .await;
                // The limited token has its rights in the one silo it names.
                assert_eq!(answer.status, 403, "{path}");
            }
        }
        let answer = hub
            .open_call(Method::PUT, OFFICE)
            .json(&silo)
            .bearer(credential)
            .header("if-none-match", "*")
            .await;
        assert_eq!(answer.status, 403);
    }
    // A conditional read without permission reveals nothing either.
    let answer = hub
        .open_call(Method::GET, OFFICE)
        .bearer(&stranger)
        .header("if-none-match", &tag)
        .await;
    assert_eq!(answer.status, 404);
    let missing = hub
        .open_call(Method::GET, "/silos/none")
        .bearer(&stranger)
        .await;
    assert_eq!(answer.body, missing.body, "hidden and missing look alike");
}

#[tokio::test]
async fn basic_shows_the_credential_with_any_user_name() {
    let hub = TestHub::start().await;
    hub.put_silo("office", &[]).await;
    for user in ["", "silo", "office", "nas@example.org", "ü"] {
        for scheme in ["Basic", "basic", "BASIC"] {
            let text = STANDARD.encode(format!("{user}:{}", hub.admin));
            let answer = hub
                .open_call(Method::GET, OFFICE)
                .header("authorization", &format!("{scheme} {text}"))
                .await;
            assert_eq!(answer.status, 200, "{scheme} {user:?}");
        }
    }
    // Old routers and browsers send Latin-1.
    let latin = [b"n\xfc:".as_slice(), hub.admin.as_bytes()].concat();
    let answer = hub
        .open_call(Method::GET, OFFICE)
        .header(
            "authorization",
            &format!("Basic {}", STANDARD.encode(latin)),
        )
        .await;
    assert_eq!(answer.status, 200);
    for scheme in ["bearer", "BEARER"] {
        let answer = hub
            .open_call(Method::GET, OFFICE)
            .header("authorization", &format!("{scheme} {}", hub.admin))
            .await;
        assert_eq!(answer.status, 200, "{scheme}");
    }
}

#[tokio::test]
async fn every_other_way_to_show_a_credential_is_401() {
    let hub = TestHub::start_behind_a_proxy().await;
    let admin = hub.admin.clone();
    let id = admin.split('_').nth(1).unwrap().to_owned();
    let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
    let mut flipped = admin.clone();
    let last = flipped.pop().unwrap();
    flipped.push(if last == 'A' { 'B' } else { 'A' });
    let cases = [
        String::new(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        admin.clone(),
        format!("Bearer {id}"),
        format!("Bearer silo_{id}_"),
        format!("Bearer silo_{id}_{}", "A".repeat(43)),
        format!("Bearer {flipped}"),
        format!("Bearer {admin}x"),
        format!("Bearer {}", &admin[..admin.len() - 1]),
        format!("Bearer {}", admin.to_uppercase()),
        format!("Bearer {admin}, Bearer {admin}"),
        format!("Token {admin}"),
        basic(&admin),
        basic(&format!("{admin}:")),
        basic(&format!("{admin}:x")),
        format!("Basic {admin}"),
        "Basic !!!".to_owned(),
    ];
    for (number, value) in cases.iter().enumerate() {
        let answer = hub
            .open_call(Method::GET, "/silos")
            .seen_from(&format!("192.0.2.{number}"))
            .header("authorization", value)
            .await;
        assert_eq!(answer.status, 401, "{value:?}");
        let secret = &admin[16..];
        assert!(!answer.text().contains(secret), "{answer:?}");
    }
    // In the query it is none.
    let answer = hub
        .open_call(
            Method::GET,
            &format!("/silos?access_token={admin}&token={admin}"),
        )
        .await;
    assert_eq!(answer.status, 401);
}

#[tokio::test]
async fn two_authorization_headers_are_401() {
    let hub = TestHub::start().await;
    let line = format!("Authorization: Bearer {}\r\n", hub.admin);
    let wrong = "Authorization: Bearer x\r\n";
    for (lines, status) in [
        (line.clone(), 200),
        (line.repeat(2), 401),
        (format!("{line}{wrong}"), 401),
        (format!("{wrong}{line}"), 401),
    ] {
        let answer = hub
            .raw(format!(
                "GET /silos HTTP/1.1\r\nHost: hub\r\n{lines}Connection: close\r\n\r\n"
            ))
            .await;
        assert_eq!(raw_status(&answer), status, "{answer}");
    }
}

#[tokio::test]
async fn writes_of_other_sites_pages_are_refused() {
    let hub = TestHub::start().await;
    let before = hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    let here = format!("http://{}", hub.address);
    let writes = || -> Vec<Call> {
        vec![
            hub.put(OFFICE).json(&dnsrecords(&[("db", "10.0.0.5")])),
            hub.put("/silos/office/records/db")
                .json(&json!({"ip": "10.0.0.5"})),
        ]
    };
    let own = hub.admin.split('_').nth(1).expect("a credential has an id");
    let harmful = || -> Vec<Call> {
        vec![
            hub.put(OFFICE).json(&dnsrecords(&[])),
            hub.put("/silos/office/records/db")
                .json(&json!({"ip": "10.0.0.6"})),
            hub.delete(OFFICE),
            hub.delete("/silos/office/records/db"),
            hub.post("/tokens")
                .json(&json!({"name": "x", "role": "admin"})),
            hub.post(&format!("/tokens/{own}/rotate")).json(&json!({})),
            hub.delete(&format!("/tokens/{own}")),
            hub.post("/deliveries/1/retry"),
            // Forms need no leave of the browser (CORS): they are what other sites can send.
            hub.put(OFFICE)
                .header("content-type", "application/x-www-form-urlencoded")
                .body("{\"dnsrecords\":[]}"),
            hub.get("/nic/update?hostname=db&myip=10.0.0.6"),
            hub.post("/nic/update?hostname=db&myip=10.0.0.6"),
            hub.get("/v3/update?hostname=db&myip=10.0.0.6"),
        ]
    };
    let elsewhere = "http://evil.example".to_owned();
    let other_port = format!("http://{}:1", hub.address.ip());
    for (header, value) in [
        ("sec-fetch-site", "cross-site"),
        ("origin", elsewhere.as_str()),
        ("origin", "https://hub.example"),
        ("origin", other_port.as_str()),
        ("origin", "null"),
    ] {
        for call in harmful() {
            let answer = call.header(header, value).await;
            assert_eq!(answer.status, 403, "{header}: {value}");
        }
        assert_eq!(
            hub.get(OFFICE).header(header, value).await.status,
            200,
            "{header}: {value}"
        );
    }
    for (header, value) in [
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-site", "none"),
        ("origin", here.as_str()),
    ] {
        for call in writes() {
            assert_eq!(
                call.header(header, value).await.status,
                200,
                "{header}: {value}"
            );
        }
    }
    assert_eq!(hub.get(OFFICE).await.body, before.body);
    assert_eq!(hub.get("/tokens").await.json().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_link_that_a_browser_follows_over_plain_http_writes_nothing() {
    let hub = TestHub::start().await;
    let before = hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    let writer = hub.credential("write", &["office"], &[]).await;
    // It says of no page, and sends the password that it keeps.
    let followed = || {
        hub.open_call(Method::GET, "/nic/update?hostname=db&myip=10.0.0.6")
            .bearer(&writer)
            .header("upgrade-insecure-requests", "1")
    };
    assert_eq!(followed().await.status, 403);
    assert_eq!(hub.get(OFFICE).await.body, before.body);
    // Over TLS it would have said that the address was typed.
    let typed = followed().header("sec-fetch-site", "none").await;
    assert_eq!(typed.text(), "good 10.0.0.6\n");
}
