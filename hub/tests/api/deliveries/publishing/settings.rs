//! Sinks that are added, changed and removed.

use std::sync::Arc;

use serde_json::json;
use silo_hub::internals::deliver::sink::Publication;
use silo_hub::internals::domain::revision::Revision;
use silo_hub::internals::registry::NoteRestored;
use silo_hub::internals::sinks::SinkKind;

use super::{away, claimed, publication, published, put};
use crate::common::TestHub;
use crate::deliveries::scripted::{Desk, counts, deliveries, state_sink};

#[tokio::test]
async fn records_older_than_the_sink_are_published_and_lost_ones_restored() {
    let (hub, open) = TestHub::start_in_parts().await;
    hub.put_silo(
        "office",
        &[("db", "10.0.0.5"), ("web", "10.0.0.6"), ("xen", "10.0.0.7")],
    )
    .await;
    let (sink, script) = state_sink("dns");
    let desk = Desk::begin(&open, "a", vec![sink]).await;
    desk.work().await;
    let names = |asked: Vec<Publication>| asked.into_iter().map(|p| p.name).collect::<Vec<_>>();
    assert_eq!(names(script.asked()), ["db.example", "web.example"]);
    let shown = deliveries(&hub, "").await;
    assert_eq!((shown.len(), &shown[0]["event"]), (2, &json!("reconcile")));

    // A start that finds all as it is sends nothing.
    let (sink, script) = state_sink("dns");
    let desk = Desk::begin(&open, "a", vec![sink]).await;
    desk.work().await;
    assert_eq!(script.asked(), []);

    // After a restored copy all of it is doubtful; what the copy does not hold is to go.
    open.registry
        .apply(NoteRestored::after(Revision::NONE).unwrap())
        .await
        .unwrap();
    desk.work().await;
    assert_eq!(names(script.asked()), ["db.example", "web.example"]);

    // A change of what the sink wants to hear of.
    let (mut sink, script) = state_sink("dns");
    sink.filter.hostnames = vec!["db".to_owned()];
    sink.fingerprint = "for db alone".to_owned();
    let desk = Desk::begin(&open, "a", vec![sink]).await;
    desk.work().await;
    let mut asked = script.asked();
    asked.sort_by(|a, b| a.name.cmp(&b.name));
    // Other settings may mean another receiver: nothing is sure to be there.
    let web = publication("web", &[], claimed(&["10.0.0.6"]));
    let db = publication("db", &["10.0.0.5"], claimed(&["10.0.0.5"]));
    assert_eq!(asked, [db, web]);
}

#[tokio::test]
async fn another_receiver_gets_everything_and_a_narrower_filter_only_takes_away() {
    let (hub, open) = TestHub::start_in_parts().await;
    let (sink, _) = state_sink("dns");
    let desk = Desk::begin(&open, "a", vec![sink]).await;
    hub.put_silo("office", &[("db", "10.0.0.5"), ("web", "10.0.0.6")])
        .await;
    desk.work().await;
    let (mut sink, script) = state_sink("dns");
    sink.filter.hostnames = vec!["db".to_owned()];
    let desk = Desk::begin(&open, "a", vec![sink]).await;
    desk.work().await;
    let web = publication("web", &[], published(&["10.0.0.6"]));
    assert_eq!(script.asked(), [web]);

    let (mut sink, script) = state_sink("dns");
    sink.filter.hostnames = vec!["db".to_owned()];
    sink.fingerprint = "at another server".to_owned();
    let desk = Desk::begin(&open, "a", vec![sink]).await;
    desk.work().await;
    let db = || publication("db", &["10.0.0.5"], claimed(&["10.0.0.5"]));
    assert_eq!(
        script.asked(),
        [db()],
        "though its ledger held it for published"
    );

    // Another kind under the same name has nothing of the first one's.
    let (mut sink, script) = state_sink("dns");
    sink.kind = SinkKind::Plesk;
    sink.fingerprint = "another kind".to_owned();
    put(&hub, "db", "10.0.0.5").await;
    let desk = Desk::begin(&open, "a", vec![sink]).await;
    desk.work().await;
    let both: Vec<_> = script
        .asked()
        .into_iter()
        .map(|asked| asked.standing)
        .collect();
    assert_eq!(both, [claimed(&["10.0.0.5"]), claimed(&["10.0.0.6"])]);
}

#[tokio::test]
async fn a_removed_sink_keeps_its_published_names() {
    let (hub, open) = TestHub::start_in_parts().await;
    let (sink, script) = state_sink("dns");
    let desk = Desk::begin(&open, "a", vec![sink]).await;
    script.will([away()]);
    put(&hub, "db", "10.0.0.5").await;
    desk.work().await;
    script.asked();
    drop(Desk::begin(&open, "b", Vec::new()).await);
    assert_eq!(
        deliveries(&hub, "").await[0]["why"],
        "no hub has this sink any more"
    );
    assert_eq!(counts(&hub).await, [0, 1, 0]);
    put(&hub, "db", "10.0.0.6").await;
    hub.pass(3600);
    desk.work().await;
    assert_eq!(script.asked(), []);
    assert_eq!(
        counts(&hub).await,
        [0, 1, 0],
        "nothing is written down for it"
    );

    // Beside a hub that still has it, one that does not leaves it alone.
    let (sink, script) = state_sink("dns");
    let desk = Desk::begin_beside(&open, "c", vec![sink], false).await;
    drop(Desk::begin_beside(&open, "d", Vec::new(), false).await);
    desk.work().await;
    assert_eq!(Arc::strong_count(&script), 2);
    assert_eq!(script.asked().len(), 1);
}
