//! `GET /records`: the records of all silos that a token may read.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::common::{TestHub, text};
use crate::record_lists::set;
use crate::wait::{answer, waiting};

/// Silos and hostnames of a list, as `silo/hostname`.
fn places(list: &[Value]) -> Vec<String> {
    let place = |record: &Value| format!("{}/{}", text(&record["silo"]), text(&record["hostname"]));
    list.iter().map(place).collect()
}

async fn filled(hub: &TestHub) -> Vec<String> {
    let mut all = Vec::new();
    for silo in ["lab", "lab-1", "lab-2", "lab.x", "office", "other", "z"] {
        for (number, hostname) in ["db", "nas", "nas-1", "web.lan"].into_iter().enumerate() {
            let body = json!({"ip": format!("10.0.0.{}", number + silo.len()), "comment": silo});
            set(hub, silo, hostname, body).await;
            all.push(format!("{silo}/{hostname}"));
        }
    }
    hub.put_silo("empty", &[]).await;
    hub.put_silo("gone", &[("nas", "10.0.0.9")]).await;
    hub.delete("/silos/gone").await;
    all.sort_unstable_by_key(|place| place.replace('/', "\0"));
    all
}

#[tokio::test]
async fn each_token_finds_the_records_of_its_silos_by_pages() {
    let hub = TestHub::start().await;
    assert_eq!(hub.get("/records").await.text(), "[]");
    let all = filled(&hub).await;
    for (role, silos, expected) in [
        (
            "admin",
            &[][..],
            &["lab", "lab-1", "lab-2", "lab.x", "office", "other", "z"][..],
        ),
        (
            "read",
            &["*"],
            &["lab", "lab-1", "lab-2", "lab.x", "office", "other", "z"],
        ),
        ("read", &["lab*"], &["lab", "lab-1", "lab-2", "lab.x"]),
        ("read", &["lab-*", "z"], &["lab-1", "lab-2", "z"]),
        ("read", &["*-*"], &["lab-1", "lab-2"]),
        (
            "read",
            &["*b*", "office", "empty"],
            &["lab", "lab-1", "lab-2", "lab.x", "office"],
        ),
        ("write", &["office", "none", "gone", "empty"], &["office"]),
        ("read", &["none"], &[]),
    ] {
        let credential = hub.credential(role, silos, &[]).await;
        let of_token = |place: &&String| {
            let (silo, _) = place.split_once('/').unwrap();
            expected.contains(&silo)
        };
        let expected: Vec<String> = all.iter().filter(of_token).cloned().collect();
        for limit in [1, 2, 3, 5, 1000] {
            let pages = hub
                .walk_as(&credential, &format!("/records?limit={limit}"))
                .await;
            assert_eq!(places(&pages.concat()), expected, "{silos:?} {limit}");
        }
        for (query, filter) in [
            ("hostname=nas", "/nas"),
            ("hostname=NAS.&address=10.0.0.7", "office/nas"),
            ("hostname=none", "none"),
        ] {
            let mut found = expected.clone();
            found.retain(|place| place.ends_with(filter));
            for limit in [1, 2, 1000] {
                let path = format!("/records?{query}&limit={limit}");
                let pages = hub.walk_as(&credential, &path).await;
                assert_eq!(places(&pages.concat()), found, "{silos:?} {path}");
            }
        }
    }
    let one = hub.get("/records?hostname=db&q=office").await.json();
    let mut alone = hub.get("/silos/office/records/db").await.json();
    alone["silo"] = json!("office");
    assert_eq!(one, json!([alone]));
}

#[tokio::test]
async fn a_position_in_a_silo_that_is_out_of_reach_shows_nothing_of_it() {
    let hub = TestHub::start().await;
    filled(&hub).await;
    let credential = hub.credential("read", &["lab-1", "z"], &[]).await;
    for after in [
        "lab/db",
        "lab.x/a",
        "office",
        "other/web.lan",
        "lab-1/web.lan",
    ] {
        let path = format!("/records?after={after}");
        let list = hub.open_call(Method::GET, &path).bearer(&credential).await;
        let silos: BTreeSet<_> = list
            .json()
            .as_array()
            .unwrap()
            .iter()
            .map(|record| text(&record["silo"]))
            .collect();
        let readable = BTreeSet::from(["lab-1".to_owned(), "z".to_owned()]);
        assert!(silos.is_subset(&readable), "{after}: {silos:?}");
        let link = list.header("link").unwrap_or_default();
        assert!(
            !link.contains("office") && !link.contains("other"),
            "{link}"
        );
    }
    for (query, pointer) in [
        ("after=a/b/c", "/after"),
        ("after=", "/after"),
        ("after=office/", "/after"),
        ("address=10.0.0", "/address"),
        ("hostname=-", "/hostname"),
        ("limit=x", "/limit"),
        ("silo=office", "/silo"),
    ] {
        let answer = hub.get(&format!("/records?{query}")).await;
        assert_eq!(
            (answer.status, answer.pointers()),
            (422, vec![pointer.to_owned()]),
            "{query}"
        );
    }
}

/// A request reads about 10 000 records, whatever it looks for.
#[tokio::test]
async fn a_search_reads_a_bounded_number_of_records() {
    let (hub, open) = TestHub::start_in_parts().await;
    let large: Vec<_> = (0..6000)
        .map(|number| json!({"hostname": format!("h{number:04}"), "ip": "10.0.0.5"}))
        .collect();
    for silo in ["a", "b", "c"] {
        let patch = hub.call(Method::PATCH, &format!("/silos/{silo}/records"));
        assert_eq!(patch.json(&json!({"set": large})).await.status, 201);
    }
    set(&hub, "c", "needle", json!({"ip": "10.0.0.6"})).await;
    for query in ["q=needle", "address=10.0.0.6"] {
        let before = open.store.reads().rows;
        let first = hub.get(&format!("/records?{query}")).await;
        let read = open.store.reads().rows - before;
        assert!((10_000..=11_500).contains(&read), "{query}: {read}");
        assert_eq!(first.text(), "[]", "{query}");
        let pages = hub.walk(&format!("/records?{query}")).await;
        assert_eq!(places(&pages.concat()), ["c/needle"], "{query}");
        assert_eq!(pages.len(), 2, "{query}");
        // Records that do not match move the place where it ends, but are nothing to the page.
        let more = format!("0-{}", query.len());
        set(&hub, "b", &more, json!({"ip": "10.0.0.5"})).await;
        let again = hub.get(&format!("/records?{query}")).await;
        assert_ne!(again.header("link"), first.header("link"), "{query}");
        assert_eq!(again.etag(), first.etag(), "{query}");
    }
    // Of a hostname, the database returns only what is found.
    let before = open.store.reads().rows;
    let found = hub.get("/records?hostname=needle").await.json();
    assert_eq!(places(found.as_array().unwrap()), ["c/needle"]);
    let read = open.store.reads().rows - before;
    assert!(read <= 3, "{read}");
}

#[tokio::test]
async fn lists_of_several_silos_are_conditional_and_wait() {
    let hub = TestHub::start().await;
    hub.put_silo("a", &[("db", "10.0.0.5")]).await;
    hub.put_silo("b", &[("db", "10.0.0.5")]).await;
    let spec = json!({"name": "waiting", "role": "read", "silos": ["*"]});
    let credential = hub.token(spec).await.1;
    for (number, path) in ["/records?hostname=db", "/silos", "/silos?limit=2"]
        .into_iter()
        .enumerate()
    {
        let first = hub.open_call(Method::GET, path).bearer(&credential).await;
        let tag = first.etag();
        let known = hub.open_call(Method::GET, path).bearer(&credential);
        let known = known.header("if-none-match", &tag).await;
        assert_eq!((known.status, known.etag()), (304, tag.clone()), "{path}");
        // What is not in the page is nothing to it.
        if path != "/silos" {
            let read = waiting(&hub, path, &tag, "wait=2").await;
            let other = format!("10.0.1.{}", number + 1);
            hub.put_silo("zz", &[("web", &other)]).await;
            let read = answer(read).await;
            assert_eq!((read.status, read.etag()), (304, tag.clone()), "{path}");
        }
        let read = waiting(&hub, path, &tag, "wait=300").await;
        let made = hub
            .put_silo("b", &[("db", &format!("10.0.0.{}", number + 6))])
            .await;
        let read = answer(read).await;
        assert_eq!(read.status, 200, "{path}: {read:?}");
        assert_eq!(read.header("preference-applied"), Some("wait=300"));
        let revision = made.json()["revision"].to_string();
        assert!(read.text().contains(&revision), "{path}: {read:?}");
        assert_ne!(read.etag(), tag);
        let now = hub.get(path).header("if-match", &tag).await;
        assert_eq!(now.status, 412, "{path}");
    }
}

/// A read of all silos that waits looks at its records only after a change of a silo that its token may read.
#[tokio::test]
async fn a_search_that_waits_is_repeated_only_for_silos_in_reach() {
    let (hub, open) = TestHub::start_in_parts().await;
    for number in 0..200 {
        hub.put_silo(&format!("in-{number}"), &[("db", "10.0.0.5")])
            .await;
    }
    let credential = hub.credential("read", &["in-*"], &[]).await;
    let first = hub
        .open_call(Method::GET, "/records")
        .bearer(&credential)
        .await;
    let tag = first.etag();
    let read = |wait| {
        let call = hub.open_call(Method::GET, "/records").bearer(&credential);
        call.header("if-none-match", &tag).header("prefer", wait)
    };
    let before = open.store.reads().rows;
    assert_eq!(read("wait=0").await.status, 304);
    let once = open.store.reads().rows - before;
    let call = read("wait=3");
    let waiting = tokio::spawn(async move { call.await });
    let writes = async {
        for number in 0..400 {
            let ip = format!("10.0.{}.1", number % 200);
            hub.put_silo("out", &[("db", &ip)]).await;
            if waiting.is_finished() {
                break;
            }
        }
    };
    let before = open.store.reads().rows;
    writes.await;
    assert_eq!(answer(waiting).await.status, 304);
    // At its begin and at its end.
    let rows = open.store.reads().rows - before;
    assert!(rows <= 2 * once, "{rows}, {once} at once");
}
