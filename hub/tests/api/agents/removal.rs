//! When agents are removed.

use silo_hub::internals::open_hub::OpenHub;

use super::{AGENTS, OFFICE, ask, names, reader, stored};
use crate::common::TestHub;
use crate::expiry::upkeep;

const DAY: i64 = 86_400;

#[tokio::test]
async fn a_token_has_sixteen_names_and_the_oldest_goes() {
    let (hub, open) = TestHub::start_in_parts().await;
    let upkeep = upkeep(&open, 0);
    hub.put_silo("office", &[]).await;
    let (_, credential) = reader(&hub).await;
    let (_, other) = reader(&hub).await;
    assert_eq!(ask(&hub, &other, "\"other\"").await.status, 200);
    let name = |number: usize| format!("agent-{number:02}");
    let from = |first: usize, last: usize| -> Vec<String> {
        let names = (first..=last).map(name);
        names.chain(["other".to_owned()]).collect()
    };
    for number in 1..=20 {
        hub.pass(1);
        let agent = format!("\"{}\"", name(number));
        assert_eq!(ask(&hub, &credential, &agent).await.status, 200);
    }
    assert_eq!(names(&hub).await, from(5, 20));
    upkeep.write_agents().await.unwrap();
    assert_eq!(names(&hub).await, from(5, 20));
    // Those that a hub does not hold any more give way too.
    hub.pass(600);
    upkeep.write_agents().await.unwrap();
    for number in 21..=22 {
        hub.pass(1);
        let agent = format!("\"{}\"", name(number));
        assert_eq!(ask(&hub, &credential, &agent).await.status, 200);
    }
    upkeep.write_agents().await.unwrap();
    assert_eq!(names(&hub).await, from(7, 22));
    assert_eq!(stored(&hub).await.len(), 17);
}

#[tokio::test]
async fn agents_go_with_their_token() {
    let (hub, open) = TestHub::start_in_parts().await;
    let upkeep = upkeep(&open, 0);
    hub.put_silo("office", &[]).await;
    let (id, credential) = reader(&hub).await;
    for is_stored in [false, true] {
        let (id, credential) = if is_stored {
            reader(&hub).await
        } else {
            (id.clone(), credential.clone())
        };
        assert_eq!(ask(&hub, &credential, "\"laptop-7\"").await.status, 200);
        assert_eq!(names(&hub).await, ["laptop-7"]);
        if is_stored {
            upkeep.write_agents().await.unwrap();
            assert_eq!(stored(&hub).await.len(), 1);
        }
        assert_eq!(hub.delete(&format!("/tokens/{id}")).await.status, 204);
        assert!(names(&hub).await.is_empty());
        assert!(stored(&hub).await.is_empty());
        hub.pass(60);
        upkeep.write_agents().await.unwrap();
        assert!(stored(&hub).await.is_empty());
    }
}

#[tokio::test]
async fn agents_go_with_their_silo() {
    let (hub, open) = TestHub::start_in_parts().await;
    let upkeep = upkeep(&open, 0);
    hub.put_silo("office", &[]).await;
    hub.put_silo("other", &[]).await;
    let asks = async |silo: &str| {
        let call = hub.get(&format!("/silos/{silo}"));
        let answer = call.header("silo-agent", "\"laptop-7\"").await;
        assert_eq!(answer.status, 200);
    };
    for is_stored in [false, true] {
        asks("office").await;
        asks("other").await;
        if is_stored {
            hub.pass(60);
            upkeep.write_agents().await.unwrap();
            assert_eq!(stored(&hub).await.len(), 2);
        }
        assert_eq!(hub.delete(OFFICE).await.status, 204);
        assert_eq!(hub.get(AGENTS).await.status, 404);
        hub.put_silo("office", &[]).await;
        assert!(names(&hub).await.is_empty());
        let others = hub.get("/silos/other/agents").await.json();
        assert_eq!(others.as_array().unwrap().len(), 1);
    }
    // Another hub has noted one before the silo was deleted, and writes it later.
    asks("office").await;
    let beside = OpenHub::open(&hub.settings, hub.clock()).await.unwrap();
    let delete = silo_hub::internals::registry::DeleteSilo {
        actor: silo_hub::internals::registry::Actor {
            via: silo_hub::internals::store::Via::Cli,
            token: None,
            client_ip: None,
        },
        id: "office".parse().unwrap(),
        precondition: silo_hub::internals::domain::precondition::Precondition::default(),
    };
    beside.registry.apply(delete).await.unwrap();
    beside.close().await;
    hub.pass(60);
    upkeep.write_agents().await.unwrap();
    assert_eq!(stored(&hub).await.len(), 1);
}

#[tokio::test]
async fn agents_go_after_the_retention() {
    let (hub, open) = TestHub::start_in_parts().await;
    let upkeep = upkeep(&open, 0);
    hub.put_silo("office", &[]).await;
    let (_, credential) = reader(&hub).await;
    assert_eq!(ask(&hub, &credential, "\"old\"").await.status, 200);
    upkeep.write_agents().await.unwrap();
    hub.pass(DAY);
    assert_eq!(ask(&hub, &credential, "\"young\"").await.status, 200);
    upkeep.write_agents().await.unwrap();
    // Thirty days after the first one, and a second.
    hub.pass(29 * DAY);
    upkeep.purge().await.unwrap();
    assert_eq!(stored(&hub).await.len(), 2);
    hub.pass(1);
    upkeep.purge().await.unwrap();
    upkeep.write_agents().await.unwrap();
    assert_eq!(names(&hub).await, ["young"]);
    assert_eq!(stored(&hub).await.len(), 1);
}
