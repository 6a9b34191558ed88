//! Which machine has applied which state.

use reqwest::Method;
use serde_json::json;

use super::browser::Browser;
use crate::common::{TestHub, revision};

/// A request of a downstream that has applied a revision.
async fn call(hub: &TestHub, credential: &str, silo: &str, name: &str, applied: i64) {
    let answer = hub
        .open_call(Method::GET, &format!("/silos/{silo}"))
        .bearer(credential)
        .header(
            "silo-agent",
            &format!("\"{name}\"; kind=downstream; version=\"0.2.0\""),
        )
        .header("silo-applied", &format!("\"{applied}\"; agent=\"{name}\""))
        .await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn an_agent_is_shown_with_what_it_lacks() {
    let hub = TestHub::start().await;
    let first = revision(&hub.put_silo("office", &[("db", "10.0.0.5")]).await.json());
    hub.put_silo("office", &[("db", "10.0.0.6")]).await;
    hub.pass(300);
    hub.put_silo("office", &[("db", "10.0.0.7"), ("nas", "10.0.0.8")])
        .await;
    let home = revision(&hub.put_silo("home", &[]).await.json());
    let reader = hub.credential("read", &["office"], &[]).await;
    call(&hub, &reader, "office", "<i>laptop", first).await;
    call(&hub, &hub.admin, "home", "server", home).await;
    let admin = Browser::sign_in(&hub, &hub.admin).await;
    let page = admin.get("/dashboard/agents").await;
    let text = page.text();
    assert!(text.contains("All 2 Behind 1 Silent 0 Current 1"), "{text}");
    assert!(text.contains("2 changes behind"), "{text}");
    assert!(text.contains("newest revision"), "{text}");
    assert!(text.contains("127.0.0.1"), "{text}");
    assert!(page.html().contains("&#60;i&#62;laptop") && !page.html().contains("<i>"));
    // Without a change of addresses.
    hub.put("/silos/office/records/db")
        .json(&json!({"comment": "x", "ip": "10.0.0.7"}))
        .await;
    assert!(
        admin
            .read("/dashboard/agents?state=behind")
            .await
            .contains("2 changes behind")
    );
    // A reader sees the silos that it may read, and no addresses.
    let of_reader = Browser::sign_in(&hub, &reader).await;
    let text = of_reader.read("/dashboard/agents").await;
    assert!(text.contains("All 1 Behind 1"), "{text}");
    assert!(
        !text.contains("127.0.0.1") && !text.contains("server"),
        "{text}"
    );
    let text = of_reader.read("/dashboard/agents?silo=home").await;
    assert!(text.contains("No agent matches"), "{text}");
    let text = of_reader.read("/dashboard/agents?silo=-").await;
    assert!(text.contains("All 0"), "{text}");
    // After two hours without a request.
    hub.pass(7201);
    let text = admin.read("/dashboard/agents?name=LAPTOP").await;
    assert!(text.contains("All 1 Behind 0 Silent 1 Current 0"), "{text}");
    assert!(
        text.contains("what changed since then is not applied there"),
        "{text}"
    );
}

#[tokio::test]
async fn ten_thousand_agents_come_in_pages_with_the_worst_first() {
    let hub = TestHub::start().await;
    let mut revisions = Vec::new();
    for silo in ["home", "office"] {
        let made = hub.put_silo(silo, &[("db", "10.0.0.5")]).await;
        revisions.push(revision(&made.json()));
    }
    let mut connection = hub.home.connect().await;
    for (silo, applied) in [("home", revisions[0]), ("office", revisions[1])] {
        for chunk in 0..50 {
            let rows: Vec<String> = (0..100)
                .map(|row| {
                    let number = chunk * 100 + row;
                    // One in a hundred is behind, and one in two hundred silent.
                    let applied = applied - i64::from(row == 7);
                    let seen = if row == 8 && chunk % 2 == 0 { 1 } else { crate::common::START_MS };
                    format!(
                        "('{silo}', 'agent-{number:05}', 'abcdefgh12', 'downstream', '0.2.0', {applied}, {seen}, '192.0.2.1')"
                    )
                })
                .collect();
            let insert = format!(
                "INSERT INTO agents (silo, name, token, kind, version, applied, last_seen, address) VALUES {}",
                rows.join(", ")
            );
            sqlx::raw_sql(sqlx::AssertSqlSafe(insert))
                .execute(&mut connection)
                .await
                .unwrap();
        }
    }
    let browser = Browser::sign_in(&hub, &hub.admin).await;
    let mut next = Some("/dashboard/agents".to_owned());
    // Each page looks at all agents: a few of the hundred pages show as much as all.
    for number in 1..=3 {
        let page = browser.get(&next.unwrap()).await;
        assert_eq!(page.status(), 200);
        let text = page.text();
        assert!(
            text.contains("All 10000 Behind 100 Silent 50 Current 9850"),
            "{text}"
        );
        assert_eq!(page.html().matches("data-label=\"Silo\"").count(), 100);
        let states = ["tag warn", "tag bad", "tag ok"];
        let has = states.map(|state| page.html().contains(state));
        let expected = match number {
            1 => [true, false, false],
            2 => [false, true, true],
            _ => [false, false, true],
        };
        assert_eq!(has, expected, "page {number}");
        next = page.next();
    }
    assert!(next.is_some());
    let text = browser
        .read("/dashboard/agents?silo=office&name=agent-04907")
        .await;
    assert!(text.contains("All 1 Behind 1"), "{text}");
}
