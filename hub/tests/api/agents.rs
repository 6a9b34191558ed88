//! The agents of a silo: what their requests say of them, and who is shown it.

#![expect(
    clippy::unwrap_used,
    reason = "what fails here fails the test that called it"
)]

mod removal;
mod storage;

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Row;

use crate::common::{Call, DEADLINE, PAUSE, START, TestHub, revision, text};
use crate::expiry::upkeep;
use crate::signing::{assert_refused, office};

const OFFICE: &str = "/silos/office";

const AGENTS: &str = "/silos/office/agents";

/// What an admin is shown.
async fn agents(hub: &TestHub) -> Vec<Value> {
    let answer = hub.get(AGENTS).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json().as_array().unwrap().clone()
}

async fn names(hub: &TestHub) -> Vec<String> {
    let agents = agents(hub).await;
    agents.iter().map(|agent| text(&agent["name"])).collect()
}

/// A request of an agent with a token.
fn ask(hub: &TestHub, credential: &str, agent: &str) -> Call {
    let call = hub.open_call(Method::GET, OFFICE).bearer(credential);
    call.header("silo-agent", agent)
}

/// A read token of the silo: its id and its credential.
async fn reader(hub: &TestHub) -> (String, String) {
    let spec = json!({"name": "reader", "role": "read", "silos": ["office"]});
    hub.token(spec).await
}

/// The stored agents, as `name last_seen applied`.
async fn stored(hub: &TestHub) -> Vec<(String, i64, Option<i64>)> {
    let mut connection = hub.home.connect().await;
    let rows = sqlx::query("SELECT name, last_seen, applied FROM agents ORDER BY name, token")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    rows.iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect()
}

#[tokio::test]
async fn a_silo_lists_its_agents_to_those_who_may_read_it() {
    let hub = TestHub::start_behind_a_proxy().await;
    let made = hub.put_silo("office", &[("db", "10.0.0.5")]).await.json();
    let (id, credential) = reader(&hub).await;
    assert!(agents(&hub).await.is_empty());
    let downstream = "\"laptop-7\"; kind=downstream; version=\"0.2.0\"";
    let asked = ask(&hub, &credential, downstream).seen_from("192.0.2.7");
    assert_eq!(asked.await.status, 200);
    let of_admin = json!([{
        "name": "laptop-7", "kind": "downstream", "version": "0.2.0", "revision": null, "behind": null,
        "last_seen": START, "address": "192.0.2.7", "token": id,
    }]);
    assert_eq!(json!(agents(&hub).await), of_admin);
    // What it has applied, from another address, and by HEAD.
    hub.pass(2);
    let head = hub.open_call(Method::HEAD, OFFICE).bearer(&credential);
    let applied = format!("\"{}-hosts\"; agent=\"laptop-7\"", revision(&made));
    let asked = head
        .header("silo-applied", &applied)
        .seen_from("2001:db8::7");
    assert_eq!(asked.await.status, 200);
    let listed = hub.open_call(Method::GET, AGENTS).bearer(&credential).await;
    assert_eq!(listed.header("cache-control"), Some("private, no-cache"));
    assert_eq!(
        listed.json(),
        json!([{
            "name": "laptop-7", "kind": "downstream", "version": "0.2.0", "revision": revision(&made),
            "behind": false, "last_seen": "2026-01-02T03:04:07.678Z",
        }])
    );
    assert_eq!(agents(&hub).await[0]["address"], "2001:db8::7");
    // A change leaves it behind.
    hub.put_silo("office", &[("db", "10.0.0.6")]).await;
    assert_eq!(agents(&hub).await[0]["behind"], true);
    let stranger = hub.credential("read", &["other"], &[]).await;
    for (call, status) in [
        (hub.head(AGENTS), 200),
        (hub.open_call(Method::GET, AGENTS).bearer(&stranger), 404),
        (hub.get("/silos/none/agents"), 404),
        (hub.open_call(Method::GET, AGENTS), 401),
        (hub.post(AGENTS), 405),
        (hub.get("/silos/office/agents?after=a"), 422),
        (hub.get("/silos/office/agents?cursor=a"), 422),
    ] {
        let answer = call.await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
}

#[tokio::test]
async fn every_request_for_a_silo_that_is_there_counts() {
    let hub = TestHub::start().await;
    hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    let tag = hub.get(OFFICE).await.etag();
    let db = "/silos/office/records/db";
    let put = json!({"ip": "10.0.0.5"});
    let known = |call: Call| call.header("if-none-match", &tag);
    for (number, (call, counts)) in [
        (hub.get(OFFICE), true),
        (hub.head(OFFICE), true),
        (known(hub.get(OFFICE)), true),
        (known(hub.get(OFFICE)).header("prefer", "wait=1"), true),
        (hub.get(db), true),
        (hub.put(db).json(&put), true),
        (hub.delete("/silos/office/records/db?family=6"), false),
        (hub.get("/silos/office/records/none"), false),
        (hub.get("/silos/none"), false),
        (hub.get("/silos"), false),
        (hub.get("/ping"), false),
        (hub.open_call(Method::GET, OFFICE), false),
        (hub.get("/silos/office?format=none"), false),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("agent-{number}");
        let agent = format!("\"{name}\"; kind=upstream");
        let status = call.header("silo-agent", &agent).await.status;
        let is_listed = names(&hub).await.contains(&name);
        assert_eq!(is_listed, counts, "{number}: {status}");
    }
}

#[tokio::test]
async fn a_wrong_value_fails_no_request_and_is_not_listed() {
    let hub = TestHub::start().await;
    hub.put_silo("office", &[]).await;
    let (_, credential) = reader(&hub).await;
    for wrong in [
        "",
        "laptop-7",
        "\"\"",
        "\"a\", \"b\"",
        "\"a\"; kind=other",
        "\"a\"; version=1",
    ] {
        assert_eq!(ask(&hub, &credential, wrong).await.status, 200, "{wrong}");
    }
    for wrong in ["41", "\"x\"", "\"41\"; agent=a", "\"99999999999999999999\""] {
        let call = ask(&hub, &credential, "\"laptop-7\"");
        let answer = call.header("silo-applied", wrong).await;
        assert_eq!(answer.status, 200, "{wrong}");
        let listed = agents(&hub).await;
        assert_eq!(listed.len(), 1, "{wrong}: {listed:?}");
        assert_eq!(listed[0]["revision"], json!(null), "{wrong}");
    }
}

#[tokio::test]
async fn a_signed_request_signs_what_it_says_of_its_agent() {
    let (hub, signer) = office().await;
    let draft = || signer.draft(Method::GET, OFFICE);
    let agent = "\"laptop-7\"; kind=downstream";
    let answer = signer.send(&hub, draft().header("silo-agent", agent)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(names(&hub).await, ["laptop-7"]);
    for name in ["silo-agent", "silo-applied"] {
        let mut shot = signer.sign(&hub, draft());
        shot.set(name, "\"41\"");
        assert_refused(&shot.send(&hub).await, 401, "unauthorized");
    }
    assert_eq!(names(&hub).await, ["laptop-7"]);
}

#[tokio::test]
async fn a_waiting_agent_is_listed_while_it_waits() {
    let hub = TestHub::start().await;
    let tag = hub.put_silo("office", &[]).await.etag();
    let (_, credential) = reader(&hub).await;
    let waits = ask(&hub, &credential, "\"laptop-7\"; kind=downstream")
        .header("if-none-match", &tag)
        .header("silo-applied", &tag)
        .header("prefer", "wait=300");
    let waits = tokio::spawn(async move { waits.await });
    let listed = async {
        while names(&hub).await.is_empty() {
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(DEADLINE, listed).await.unwrap();
    assert_eq!(agents(&hub).await[0]["behind"], false);
    assert!(!waits.is_finished());
    hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    assert_eq!(waits.await.unwrap().status, 200);
    assert_eq!(agents(&hub).await[0]["behind"], true);
}

#[tokio::test]
async fn a_long_list_has_pages() {
    let (hub, open) = TestHub::start_in_parts().await;
    let upkeep = upkeep(&open, 0);
    hub.put_silo("office", &[]).await;
    let mut wanted = Vec::new();
    for number in 0..7 {
        let (id, credential) = reader(&hub).await;
        for name in ["same", "twin b", "twin"] {
            assert_eq!(
                ask(&hub, &credential, &format!("\"{name}\"")).await.status,
                200
            );
            wanted.push((name.to_owned(), id.clone()));
        }
        // Some are stored, some are not, and some are both.
        if number == 3 {
            upkeep.write_agents().await.unwrap();
            hub.pass(600);
            upkeep.write_agents().await.unwrap();
            assert_eq!(ask(&hub, &credential, "\"same\"").await.status, 200);
        }
    }
    wanted.sort();
    for limit in [1, 2, 5, 20, 21, 22] {
        let pages = hub.walk(&format!("{AGENTS}?limit={limit}")).await;
        assert!(pages.iter().all(|page| page.len() <= limit), "{limit}");
        let of = |agent: &Value| (text(&agent["name"]), text(&agent["token"]));
        let listed: Vec<_> = pages.concat().iter().map(of).collect();
        assert_eq!(listed, wanted, "{limit}");
    }
}
