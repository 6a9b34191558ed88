//! When agents are stored, and what other hubs and the command line show.

use serde_json::{Value, json};
use silo_hub::internals::open_hub::OpenHub;

use super::{AGENTS, agents, ask, names, reader, stored};
use crate::common::{DEADLINE, PAUSE, START, TestHub, revision};
use crate::expiry::upkeep;
use crate::several_hubs::two_hubs;

#[tokio::test]
async fn an_agent_is_stored_at_most_once_a_minute_and_shown_at_once() {
    let (hub, open) = TestHub::start_in_parts().await;
    let upkeep = upkeep(&open, 0);
    let made = hub.put_silo("office", &[]).await;
    let (_, credential) = reader(&hub).await;
    let asks = async |applied: &str| {
        let call = ask(&hub, &credential, "\"laptop-7\"; kind=downstream");
        assert_eq!(call.header("silo-applied", applied).await.status, 200);
        upkeep.write_agents().await.unwrap();
    };
    let start = crate::common::START_MS;
    asks("\"1\"").await;
    assert_eq!(
        stored(&hub).await,
        [("laptop-7".to_owned(), start, Some(1))]
    );
    for seconds in [20, 40, 59] {
        hub.pass(if seconds == 59 { 19 } else { 20 });
        asks(&format!("\"{seconds}\"")).await;
        assert_eq!(agents(&hub).await[0]["revision"], seconds);
        assert_eq!(stored(&hub).await[0].1, start, "{seconds}");
    }
    hub.pass(1);
    upkeep.write_agents().await.unwrap();
    let written = |seconds: i64| [("laptop-7".to_owned(), start + seconds * 1000, Some(59))];
    assert_eq!(stored(&hub).await, written(59));
    // What a request does not say stays known, also to a hub that has forgotten it.
    hub.pass(600);
    upkeep.write_agents().await.unwrap();
    assert_eq!(ask(&hub, &credential, "\"laptop-7\"").await.status, 200);
    upkeep.write_agents().await.unwrap();
    assert_eq!(stored(&hub).await, written(660));
    let listed = agents(&hub).await;
    assert_eq!(listed[0]["kind"], "downstream");
    // All that is left is stored at the end.
    asks(&made.etag()).await;
    assert_eq!(stored(&hub).await[0].2, Some(59));
    upkeep.write_all_down().await.unwrap();
    assert_eq!(stored(&hub).await[0].2, Some(revision(&made.json())));
}

#[tokio::test]
async fn without_its_database_a_hub_serves_agents_and_stores_them_later() {
    let (hub, open) = TestHub::start_in_parts().await;
    let upkeep = upkeep(&open, 0);
    hub.put_silo("office", &[]).await;
    let (_, credential) = reader(&hub).await;
    assert_eq!(ask(&hub, &credential, "\"first\"").await.status, 200);
    let other = OpenHub::open(&hub.settings, hub.clock()).await.unwrap();
    let held = other.store.begin_write(&[]).await.unwrap();
    assert_eq!(ask(&hub, &credential, "\"second\"").await.status, 200);
    assert!(upkeep.write_agents().await.is_err());
    assert_eq!(names(&hub).await, ["first", "second"]);
    drop(held);
    other.close().await;
    upkeep.write_agents().await.unwrap();
    assert_eq!(stored(&hub).await.len(), 2);
}

#[tokio::test]
async fn hubs_of_one_database_show_the_same_agents() {
    let Some((a, b)) = two_hubs().await else {
        return;
    };
    let made = a.put_silo("office", &[]).await;
    let (_, credential) = reader(&a).await;
    let same = async |wanted: Value| {
        let shown = async {
            loop {
                let of_a = agents(&a).await;
                let of_b = b.get(AGENTS).await;
                if of_b.status == 200 && of_b.json() == json!(of_a) && wanted == of_a[0]["revision"]
                {
                    return;
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::time::timeout(DEADLINE, shown).await.unwrap();
    };
    let call = ask(&a, &credential, "\"laptop-7\"; kind=downstream");
    let answer = call.header("silo-applied", &made.etag()).await;
    assert_eq!(answer.status, 200);
    same(json!(revision(&made.json()))).await;
    // The other one later, which does not say what it has applied.
    for hub in [&a, &b] {
        hub.pass(61);
    }
    let later = async {
        while ask(&b, &credential, "\"laptop-7\"").await.status != 200 {
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(DEADLINE, later).await.unwrap();
    same(json!(revision(&made.json()))).await;
    assert_eq!(agents(&a).await[0]["last_seen"], "2026-01-02T03:05:06.678Z");
    for hub in [a, b] {
        hub.stop().await;
    }
}

#[tokio::test]
async fn the_command_line_lists_what_is_stored() {
    let hub = TestHub::start().await;
    let made = hub.put_silo("office", &[]).await;
    let (id, credential) = reader(&hub).await;
    let call = ask(
        &hub,
        &credential,
        "\"laptop 7\"; kind=downstream; version=\"0.2.0\"",
    );
    assert_eq!(call.header("silo-applied", &made.etag()).await.status, 200);
    // It stores them when it stops.
    let (home, settings) = hub.stop().await;
    let list = async |words: &[&str]| {
        let mut program = home.program(&settings);
        let output = program.args(["agent", "list"]).args(words).output();
        let output = tokio::time::timeout(DEADLINE, output)
            .await
            .unwrap()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (
            output.status.code(),
            said,
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let applied = revision(&made.json());
    let line = format!(
        "office  laptop 7  downstream  0.2.0  applied {applied}  current  seen {START}  from 127.0.0.1  token {id}\n"
    );
    for words in [&[][..], &["--silo", "office"]] {
        assert_eq!(list(words).await, (Some(0), line.clone(), String::new()));
    }
    let (code, said, _) = list(&["--json"]).await;
    let document: Value = serde_json::from_str(&said).unwrap();
    let wanted = json!({
        "silo": "office", "name": "laptop 7", "kind": "downstream", "version": "0.2.0", "revision": applied,
        "behind": false, "last_seen": START, "address": "127.0.0.1", "token": id,
    });
    assert_eq!((code, document), (Some(0), wanted));
    let (code, _, said) = list(&["--silo", "none"]).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("there is no silo none"), "{said}");
}
