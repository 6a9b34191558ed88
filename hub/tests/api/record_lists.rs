//! `GET /silos/{id}/records`: the records of a silo with all that they have.

use reqwest::Method;
use serde_json::{Value, json};

use crate::common::{TestHub, text};
use crate::wait::{answer, waiting};

const RECORDS: &str = "/silos/office/records";

/// Sets a record.
pub(crate) async fn set(hub: &TestHub, silo: &str, hostname: &str, body: Value) -> Value {
    let path = format!("/silos/{silo}/records/{hostname}");
    let made = hub.put(&path).json(&body).await;
    assert!(matches!(made.status, 200 | 201), "{made:?}");
    made.json()
}

/// The hostnames of a list.
pub(crate) fn names(list: &Value) -> Vec<String> {
    let list = list.as_array().expect("a list");
    list.iter()
        .map(|record| text(&record["hostname"]))
        .collect()
}

/// Every kind of record.
async fn filled(hub: &TestHub) -> Vec<Value> {
    let mut all = Vec::new();
    for (hostname, body) in [
        (
            "db",
            json!({"ips": ["10.0.0.5", "fd00::5"], "comment": "Rack 3", "expires_after": 86400}),
        ),
        (
            "nas-1",
            json!({"ip": "10.0.0.57", "notify": "ops@example.org"}),
        ),
        (
            "nas-2.lan",
            json!({"ip": "fd00::7", "ipv6_suffix": "::7", "comment": "100% Über_"}),
        ),
        ("web", json!({"ip": "192.0.2.7"})),
    ] {
        all.push(set(hub, "office", hostname, body).await);
    }
    set(hub, "other", "db", json!({"ip": "10.9.9.9"})).await;
    all
}

#[tokio::test]
async fn a_silos_records_are_listed_as_each_alone_is_shown() {
    let hub = TestHub::start().await;
    assert_eq!(hub.get(RECORDS).await.status, 404);
    hub.put_silo("office", &[]).await;
    assert_eq!(hub.get(RECORDS).await.text(), "[]");
    let all = filled(&hub).await;
    let list = hub.get(RECORDS).await;
    assert_eq!(list.status, 200);
    assert_eq!(list.json(), json!(all));
    assert_eq!(list.etag(), hub.get("/silos/office").await.etag());
    assert_eq!(list.header("content-type"), Some("application/json"));
    assert_eq!(list.header("cache-control"), Some("private, no-cache"));
    // A write without a change is seen here too.
    hub.pass(600);
    set(&hub, "office", "web", json!({"ip": "192.0.2.7"})).await;
    let seen = hub.get(RECORDS).await;
    assert_ne!(seen.json()[3]["last_seen"], all[3]["last_seen"]);
    assert_eq!(seen.etag(), list.etag());
    assert_eq!(
        seen.json()[3],
        hub.get("/silos/office/records/web").await.json()
    );
    hub.delete("/silos/office").await;
    assert_eq!(hub.get(RECORDS).await.status, 404);
}

#[tokio::test]
async fn mail_addresses_are_listed_for_writers_only() {
    let hub = TestHub::start().await;
    filled(&hub).await;
    for (role, hostnames, is_shown) in [
        ("read", &[][..], false),
        ("write", &[], true),
        ("write", &["db"], true),
    ] {
        let credential = hub.credential(role, &["office"], hostnames).await;
        for path in [RECORDS, "/records?hostname=nas-1"] {
            let list = hub.open_call(Method::GET, path).bearer(&credential).await;
            let is_there = list.text().contains("ops@example.org");
            assert_eq!(is_there, is_shown, "{role} {path}");
        }
    }
    let stranger = hub.credential("read", &["other"], &[]).await;
    let list = hub.open_call(Method::GET, RECORDS).bearer(&stranger).await;
    assert_eq!(list.status, 404);
}

#[tokio::test]
async fn a_text_is_searched_in_hostname_addresses_and_comment() {
    let hub = TestHub::start().await;
    filled(&hub).await;
    for (query, found) in [
        ("nas", &["nas-1", "nas-2.lan"][..]),
        ("NAS-1", &["nas-1"]),
        ("10.0.0.5", &["db", "nas-1"]),
        ("fd00::", &["db", "nas-2.lan"]),
        ("rack 3", &["db"]),
        ("%25", &["nas-2.lan"]),
        ("_", &["nas-2.lan"]),
        ("%C3%9Cber", &["nas-2.lan"]),
        ("", &["db", "nas-1", "nas-2.lan", "web"]),
        ("ops", &[]),
        ("86400", &[]),
        ("'", &[]),
    ] {
        for path in [
            format!("{RECORDS}?q={query}"),
            format!("/records?q={query}"),
        ] {
            let list = hub.get(&path).await;
            assert_eq!(list.status, 200, "{path}: {list:?}");
            let mut list = list.json();
            // The other silo's record is not of interest here.
            list.as_array_mut()
                .unwrap()
                .retain(|record| record["silo"] != "other");
            assert_eq!(names(&list), found, "{path}");
        }
    }
}

#[tokio::test]
async fn pages_hold_every_record_once() {
    let hub = TestHub::start().await;
    let mut all: Vec<String> = ["a0", "a-b", "a_b", "a.b", "a", "ab", "a--b", "z9"]
        .map(str::to_owned)
        .to_vec();
    for name in &all {
        set(
            &hub,
            "office",
            name,
            json!({"ip": "10.0.0.5", "comment": "c"}),
        )
        .await;
    }
    all.sort_unstable();
    for (query, expected) in [
        ("", all.clone()),
        ("&q=b", {
            let mut found = all.clone();
            found.retain(|name| name.contains('b'));
            found
        }),
    ] {
        for limit in [1, 2, 3, 7, 8, 9, 1000] {
            let pages = hub.walk(&format!("{RECORDS}?limit={limit}{query}")).await;
            assert_eq!(
                pages.len(),
                expected.len().div_ceil(limit),
                "{limit} {query}"
            );
            assert_eq!(names(&json!(pages.concat())), expected, "{limit} {query}");
        }
    }
    // What `after` names need not be there.
    let after = hub.get(&format!("{RECORDS}?after=a.a")).await.json();
    assert_eq!(names(&after), all[all.len() - 5..]);
    for (query, pointer) in [
        ("limit=0", "/limit"),
        ("limit=1001", "/limit"),
        ("after=-", "/after"),
        ("hostname=db", "/hostname"),
        ("q=a&page=2", "/page"),
    ] {
        let answer = hub.get(&format!("{RECORDS}?{query}")).await;
        assert_eq!(
            (answer.status, answer.pointers()),
            (422, vec![pointer.to_owned()]),
            "{query}"
        );
    }
    let long = "x".repeat(1001);
    assert_eq!(
        hub.get(&format!("{RECORDS}?q={long}")).await.pointers(),
        ["/q"]
    );
}

#[tokio::test]
async fn a_page_of_large_records_ends_before_its_limit() {
    let hub = TestHub::start().await;
    let comment = "\u{1f5a5}".repeat(1000);
    let set: Vec<_> = (0..220)
        .map(|number| json!({"hostname": format!("h{number:03}"), "ip": "10.0.0.5", "comment": comment}))
        .collect();
    let made = hub.call(Method::PATCH, RECORDS).json(&json!({"set": set}));
    assert_eq!(made.await.status, 201);
    let more = json!({"set": (220..440)
        .map(|number| json!({"hostname": format!("h{number:03}"), "ip": "10.0.0.5", "comment": comment}))
        .collect::<Vec<_>>()});
    assert_eq!(
        hub.call(Method::PATCH, RECORDS).json(&more).await.status,
        200
    );
    for path in [RECORDS, "/records"] {
        let pages = hub.walk(path).await;
        assert_eq!(pages.len(), 2, "{path}");
        assert_eq!(pages.concat().len(), 440, "{path}");
    }
}

#[tokio::test]
async fn a_list_is_conditional_and_waits() {
    let hub = TestHub::start().await;
    let tag = hub.put_silo("office", &[("db", "10.0.0.5")]).await.etag();
    let known = hub.get(RECORDS).header("if-none-match", &tag).await;
    assert_eq!((known.status, known.etag()), (304, tag.clone()));
    let wrong = hub.get(RECORDS).header("if-match", "\"1\"").await;
    assert_eq!(wrong.status, 412);
    let read = waiting(&hub, &format!("{RECORDS}?q=rack"), &tag, "wait=300").await;
    hub.put_silo("other", &[]).await;
    assert!(!read.is_finished());
    set(&hub, "office", "db", json!({"comment": "rack 3"})).await;
    let read = answer(read).await;
    assert_eq!(read.status, 200, "{read:?}");
    assert_eq!(read.header("preference-applied"), Some("wait=300"));
    assert_eq!(names(&read.json()), ["db"]);
    let over = hub
        .get(RECORDS)
        .header("if-none-match", &read.etag())
        .header("prefer", "wait=1")
        .await;
    assert_eq!(over.status, 304);
    assert_eq!(over.header("preference-applied"), Some("wait=1"));
}

/// A backup by REST keeps all that a record has.
#[tokio::test]
async fn what_was_listed_can_be_sent_back() {
    let hub = TestHub::start().await;
    let all = filled(&hub).await;
    for source in [RECORDS, "/records?q=&hostname="] {
        let source = source.trim_end_matches("&hostname=");
        let list = hub.get(source).await.json();
        let list = list.as_array().unwrap().to_vec();
        let list: Vec<_> = list
            .into_iter()
            .filter(|record| record["silo"] != "other")
            .collect();
        let same = hub
            .call(Method::PATCH, RECORDS)
            .json(&json!({"set": list}))
            .await;
        assert_eq!(
            (same.status, same.header("silo-changed")),
            (200, Some("?0")),
            "{same:?}"
        );
        hub.delete("/silos/office").await;
        let back = hub
            .call(Method::PATCH, RECORDS)
            .json(&json!({"set": list}))
            .await;
        assert_eq!(back.status, 201, "{back:?}");
        let known = [
            "hostname",
            "ips",
            "comment",
            "notify",
            "ipv6_suffix",
            "expires_after",
        ];
        let kept = |list: &[Value]| -> Vec<Vec<Value>> {
            let of = |record: &Value| known.map(|name| record[name].clone()).to_vec();
            list.iter().map(of).collect()
        };
        let now = hub.get(RECORDS).await.json();
        assert_eq!(kept(now.as_array().unwrap()), kept(&all), "{source}");
        assert_eq!(back.json(), now);
    }
}
