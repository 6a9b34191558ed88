//! `Silo-Database`: the id of the database. [`crate::common::Answer`] checks that every answer of these tests has it.

use reqwest::Method;
use reqwest::header::HeaderValue;
use silo_hub::internals::domain::revision::Revision;
use silo_hub::internals::open_hub::OpenHub;
use silo_hub::internals::registry::NoteRestored;
use silo_hub::internals::store::Queries;

use crate::common::{Answer, DEADLINE, PAUSE, TestHub, revision};
use crate::events::Stream;
use crate::several_hubs::two_hubs;
use crate::signing::{Signer, office};
use crate::transfer::{exported, import};

/// The id in an answer.
fn id(answer: &Answer) -> String {
    let value = answer.header("silo-database");
    value.expect("every answer names it").to_owned()
}

/// Asks until the id is another one, and returns the first answer with it.
async fn other_than(hub: &TestHub, former: &str) -> Answer {
    let asking = async {
        loop {
            let answer = hub.get("/silos/office").await;
            if id(&answer) != former {
                return answer;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(DEADLINE, asking)
        .await
        .expect("the hub learns of the new id in time")
}

/// The command line's `restored`, beside the hub.
async fn restored(hub: &TestHub) {
    let beside = OpenHub::open(&hub.settings, hub.clock())
        .await
        .expect("it opens beside the hub");
    note_restored(&beside).await;
    beside.close().await;
}

async fn note_restored(beside: &OpenHub) {
    let command = NoteRestored::after(Revision::NONE).expect("the system has random bytes");
    beside.registry.apply(command).await.expect("it is noted");
}

#[tokio::test]
async fn the_id_stays_with_the_database() {
    let hub = TestHub::start().await;
    let first = id(&hub.put_silo("office", &[("db", "10.0.0.5")]).await);
    let stream = Stream::begin(&hub, "/silos/office/events").await;
    assert_eq!(stream.header("silo-database"), first);
    drop(stream);
    let hub = hub.restart().await;
    assert_eq!(id(&hub.get("/silos/office").await), first);
    assert_eq!(id(&hub.get("/none").await), first);
}

#[tokio::test]
async fn a_signed_answer_has_a_signed_id() {
    let (hub, signer) = office().await;
    let shot = signer.sign(&hub, signer.draft(Method::GET, "/silos/office"));
    let mut answer = shot.send(&hub).await;
    shot.assert_signed(&answer);
    let covered = answer.header("signature-input").expect("it is signed");
    assert!(covered.contains("\"silo-database\""), "{covered}");
    // The id that signs is the id that is sent.
    let unsigned = hub.get("/silos/office").await;
    assert_eq!(id(&answer), id(&unsigned));
    let other = HeaderValue::from_static("\"00000000000000000000000000000000\"");
    answer.headers.insert("silo-database", other);
    shot.assert_forged(&answer);
    answer.headers.remove("silo-database");
    shot.assert_forged(&answer);
}

#[tokio::test]
async fn a_restored_database_has_a_new_id_and_no_answer_mixes_the_two() {
    let hub = TestHub::start().await;
    let before = hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    restored(&hub).await;
    let after = other_than(&hub, &id(&before)).await;
    assert_eq!(after.status, 200);
    // Several times, and known after a restart.
    let second = id(&after);
    restored(&hub).await;
    let third = id(&other_than(&hub, &second).await);
    assert_ne!(third, id(&before));
    let hub = hub.restart().await;
    assert_eq!(id(&hub.get("/silos/office").await), third);
}

#[tokio::test]
async fn an_import_keeps_the_id() {
    let (hub, open) = TestHub::start_in_parts().await;
    let before = id(&hub.put_silo("office", &[("db", "10.0.0.5")]).await);
    let export = exported(&open, false).await;
    let (other, others) = TestHub::start_in_parts().await;
    // Both databases may be copies of one.
    note_restored(&others).await;
    let own = id(&other.get("/silos").await);
    assert_ne!(own, before);
    import(&others, &export).await.expect("it is valid");
    assert_eq!(id(&other.get("/silos/office").await), own);
    assert_eq!(
        others
            .store
            .database_id()
            .await
            .expect("it is there")
            .map(|id| format!("\"{id}\"")),
        Some(own)
    );
}

#[tokio::test]
async fn a_database_that_lost_revisions_has_a_new_id() {
    let hub = TestHub::start().await;
    let before = hub.put_silo("office", &[("db", "10.0.0.5")]).await;
    let mut connection = hub.home.connect().await;
    sqlx::raw_sql("UPDATE counters SET value = value - 1 WHERE name = 'revision'")
        .execute(&mut connection)
        .await
        .expect("the counter can be set");
    let after = hub.put_silo("office", &[("db", "10.0.0.6")]).await;
    let after = (id(&after), revision(&after.json()));
    let before = (id(&before), revision(&before.json()));
    assert!(after.1 > before.1, "{after:?}");
    assert_ne!(id(&other_than(&hub, &before.0).await), before.0);
}

#[tokio::test]
async fn hubs_of_one_database_have_one_id() {
    let Some((a, b)) = two_hubs().await else {
        return;
    };
    let before = id(&a.put_silo("office", &[("db", "10.0.0.5")]).await);
    assert_eq!(id(&b.get("/silos").await), before);
    let admin = Signer::of(&a.admin);
    assert_eq!(id(&admin.get(&b, "/silos").await), before);
    restored(&a).await;
    let after = id(&other_than(&a, &before).await);
    assert_eq!(id(&other_than(&b, &before).await), after);
}
