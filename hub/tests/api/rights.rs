//! Who may do what: roles, silos, hostnames, and the ways to show a credential.

mod credentials;
mod other_sites;

use reqwest::Method;
use serde_json::{Value, json};

use crate::common::{Answer, TestHub, dnsrecords};

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

#[expect(clippy::too_many_lines, reason = "a table")]
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
        request("agents", Method::GET, "/silos/office/agents", None),
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
        request("home agents", Method::GET, "/silos/home/agents", None),
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
        request("records", Method::GET, "/silos/office/records", None),
        request("home records", Method::GET, "/silos/home/records", None),
        request("search", Method::GET, "/records", None),
        request(
            "patch db",
            Method::PATCH,
            "/silos/office/records",
            Some(json!({"set": [{"hostname": "db", "ip": "10.0.0.6"}]})),
        ),
        request(
            "patch nas-1",
            Method::PATCH,
            "/silos/office/records",
            Some(json!({"set": [], "remove": ["nas-1"]})),
        ),
        request(
            "patch both",
            Method::PATCH,
            "/silos/office/records",
            Some(json!({"set": [{"hostname": "nas-1", "ip": "10.0.0.6"}], "remove": ["db"]})),
        ),
        request(
            "revert",
            Method::POST,
            "/silos/office/revert",
            Some(json!({"revision": i64::MAX})),
        ),
        request("own token", Method::GET, "/token", None),
        request("version", Method::GET, "/version", None),
        request(
            "change token",
            Method::PATCH,
            "/tokens/aaaaaaaaaa",
            Some(json!({"name": "x"})),
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
        request("status", Method::GET, "/status", None),
    ]
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn each_role_may_do_what_its_silos_and_hostnames_allow() {
    const ANY: &[&str] = &["list", "search", "own token", "version"];
    const READ: &[&str] = &["read", "read db", "records", "history", "agents"];
    let with = |more: &[&'static str]| [ANY, READ, more].concat();
    let db: &[&'static str] = &["put db", "delete db", "patch db"];
    let nas: &[&'static str] = &["put nas-1", "delete nas-1", "patch nas-1"];
    let records: &[&'static str] = &[db, nas, &["patch both"]].concat();
    let whole: &[&'static str] = &["put", "delete", "revert"];
    let home: &[&'static str] = &[
        "read home",
        "read home db",
        "home records",
        "home history",
        "home agents",
    ];
    let write_home: &[&'static str] = &["put home", "put home db"];
    let admin: &[&'static str] = &[
        "tokens",
        "make token",
        "change token",
        "revoke token",
        "metrics",
        "status",
    ];
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
        ("read", vec!["home"], vec![], [ANY, home].concat()),
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
        ("write", vec!["OFFICE"], vec!["nas-*"], with(nas)),
        ("write", vec!["office"], vec!["db"], with(db)),
        ("write", vec!["office"], vec!["*"], with(records)),
        (
            "write",
            vec!["*"],
            vec!["nas-1", "NAS-*"],
            with(&[home, nas].concat()),
        ),
        ("write", vec!["off"], vec![], ANY.to_vec()),
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
                (true, "revoke token" | "change token", _) => 404,
                // No history begins there.
                (true, "revert", _) => 422,
                (true, "make token", _) => 201,
                (true, _, &Method::DELETE) => 204,
                (true, _, _) => 200,
                (false, "tokens" | "metrics" | "status", _) => 403,
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
    let without_id = |answer: &Answer| {
        let mut problem = answer.json();
        let id = problem["request_id"].take();
        assert!(id.is_string(), "{answer:?}");
        problem
    };
    let (hidden, missing) = (without_id(&answer), without_id(&missing));
    assert_eq!(hidden, missing, "hidden and missing look alike");
}
