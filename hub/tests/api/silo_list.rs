//! `/silos`: the list, its order and its pages.

use reqwest::Method;
use tokio::task::JoinSet;

use serde_json::json;

use crate::common::{TestHub, text};

#[tokio::test]
async fn the_list_is_in_byte_order_of_the_ids() {
    let hub = TestHub::start().await;
    assert_eq!(hub.get("/silos").await.text(), "[]");
    let mut ids = ["b", "a0", "a-b", "a_b", "a.b", "a", "zz", "0", "ab"];
    for id in ids {
        hub.put_silo(id, &[("db", "10.0.0.5")]).await;
    }
    ids.sort_unstable();
    let answer = hub.get("/silos").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.next_link(), None);
    let list = answer.json();
    let listed: Vec<_> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|silo| text(&silo["id"]))
        .collect();
    assert_eq!(listed, ids);
    for silo in list.as_array().unwrap() {
        let path = format!("/silos/{}", text(&silo["id"]));
        assert_eq!(hub.get(&path).await.json(), *silo);
    }
}

#[tokio::test]
async fn pages_follow_the_byte_order_too() {
    let hub = TestHub::start().await;
    let mut ids = [
        "a0", "a-b", "a_b", "a.b", "a1b", "a", "ab", "a--b", "a_0", "10", "9", "z",
    ];
    for id in ids {
        hub.put_silo(id, &[]).await;
    }
    ids.sort_unstable();
    for limit in [1, 5] {
        let pages = hub.walk(&format!("/silos?limit={limit}")).await.concat();
        let listed: Vec<_> = pages.iter().map(|silo| text(&silo["id"])).collect();
        assert_eq!(listed, ids, "limit {limit}");
    }
}

#[tokio::test]
async fn pages_of_the_list_hold_every_silo_once() {
    let hub = TestHub::start().await;
    let ids: Vec<String> = (0..7).map(|number| format!("s{number}")).collect();
    for id in &ids {
        hub.put_silo(id, &[]).await;
    }
    for limit in [1, 2, 3, 6, 7, 8, 1000] {
        let pages = hub.walk(&format!("/silos?limit={limit}")).await;
        assert_eq!(pages.len(), ids.len().div_ceil(limit), "limit {limit}");
        assert!(pages.iter().all(|page| page.len() <= limit));
        let listed: Vec<_> = pages
            .concat()
            .iter()
            .map(|silo| text(&silo["id"]))
            .collect();
        assert_eq!(listed, ids, "limit {limit}");
    }
    let after = hub.get("/silos?after=s4").await.json();
    assert_eq!(after[0]["id"], "s5");
    assert_eq!(after.as_array().unwrap().len(), 2);
    // What `after` names need not be there.
    assert_eq!(hub.get("/silos?after=s55").await.json()[0]["id"], "s6");
    assert_eq!(hub.get("/silos?after=zzz").await.text(), "[]");
}

#[tokio::test]
async fn pages_hold_only_the_silos_that_the_token_reads() {
    let hub = TestHub::start().await;
    for id in ["a1", "b1", "a2", "b2", "a3", "c"] {
        hub.put_silo(id, &[]).await;
    }
    let reader = hub.credential("read", &["a*", "c"], &[]).await;
    for limit in [1, 2, 4, 10] {
        let pages = hub.walk_as(&reader, &format!("/silos?limit={limit}")).await;
        assert_eq!(pages.len(), 4_usize.div_ceil(limit), "limit {limit}");
        let listed: Vec<_> = pages
            .concat()
            .iter()
            .map(|silo| text(&silo["id"]))
            .collect();
        assert_eq!(listed, ["a1", "a2", "a3", "c"], "limit {limit}");
    }
    let stranger = hub.credential("read", &["x"], &[]).await;
    let answer = hub.open_call(Method::GET, "/silos").bearer(&stranger).await;
    assert_eq!(answer.text(), "[]");
}

#[tokio::test]
async fn a_page_of_large_silos_ends_before_its_limit() {
    let hub = TestHub::start().await;
    let names: Vec<String> = (0..5000).map(|number| format!("{number:060}x")).collect();
    let records: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), "10.100.100.100"))
        .collect();
    let mut bytes = 0;
    for id in ["a", "b", "c", "d"] {
        bytes += hub.put_silo(id, &records).await.body.len();
    }
    assert!(
        bytes > 1536 * 1024,
        "the test needs larger silos than {bytes}"
    );
    let pages = hub.walk("/silos").await;
    assert!(pages.len() > 1);
    let listed: Vec<_> = pages
        .concat()
        .iter()
        .map(|silo| text(&silo["id"]))
        .collect();
    assert_eq!(listed, ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn a_page_holds_1000_silos_by_default() {
    const SILOS: usize = 1003;
    let hub = TestHub::start().await;
    let numbers: Vec<_> = (0..SILOS).collect();
    // Few enough at once that a busy database takes them in time.
    for some in numbers.chunks(50) {
        let mut puts = JoinSet::new();
        for number in some {
            let call = hub.put(&format!("/silos/s{number:04}/records/db"));
            let call = call.json(&json!({"ip": "10.0.0.5"}));
            puts.spawn(async move { call.await.status });
        }
        assert!(puts.join_all().await.iter().all(|status| *status == 201));
    }
    let pages = hub.walk("/silos").await;
    let lengths: Vec<_> = pages.iter().map(Vec::len).collect();
    assert_eq!(lengths, [1000, 3]);
    // Whatever is passed over, the silos behind it are found.
    let reader = hub.credential("read", &["s0999", "s1*"], &[]).await;
    let pages = hub.walk_as(&reader, "/silos?limit=3").await;
    let ids: Vec<Vec<_>> = pages
        .iter()
        .map(|page| page.iter().map(|silo| text(&silo["id"])).collect())
        .collect();
    assert_eq!(ids, [["s0999", "s1000", "s1001"].as_slice(), &["s1002"]]);
}
