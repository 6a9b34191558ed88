//! Sends whose result is unknown, and workers that take turns.

use silo_hub::internals::deliver::sink::{Outcome, ReceiverState, Trouble, UncertainFamilies};
use silo_hub::internals::registry::{BeginPublishing, Publishing};
use silo_hub::internals::store::DueName;
use silo_shared::silo::{Hostname, SiloId};

use super::{claimed, publication, published, put};
use crate::common::TestHub;
use crate::deliveries::scripted::{Desk, addresses, counts, state_sink};

#[tokio::test]
async fn claims_left_by_a_crash_are_settled_before_other_sends() {
    let (hub, open) = TestHub::start_in_parts().await;
    let (sink, _) = state_sink("dns");
    let name = sink.name.clone();
    drop(Desk::begin(&open, "a", vec![sink]).await);
    put(&hub, "db", "10.0.0.5").await;
    // A worker claims, and is gone before it writes down how it ended.
    let begin = || BeginPublishing {
        sink: name.clone(),
        owner: "a".to_owned(),
        lease_seconds: 60,
        takes_host_names_only: false,
        records: vec![(
            DueName {
                silo: SiloId::parse("office").unwrap(),
                hostname: Hostname::parse("db").unwrap(),
            },
            Ok("db.example".to_owned()),
        )],
    };
    let taken = open.registry.apply(begin()).await.unwrap();
    assert!(matches!(taken, Publishing::Names { names, .. } if names.len() == 1));
    put(&hub, "db", "10.0.0.6").await;

    let (sink, script) = state_sink("dns");
    let desk = Desk::begin_beside(&open, "b", vec![sink], false).await;
    desk.work().await;
    assert_eq!(
        script.asked(),
        [],
        "the lease of the dead worker still runs"
    );
    hub.pass(60);
    script.will([Outcome::Found(published(&["10.0.0.5"]))]);
    desk.work().await;
    let settle = publication("db", &["10.0.0.6"], claimed(&["10.0.0.5"]));
    let then = publication("db", &["10.0.0.6"], published(&["10.0.0.5"]));
    assert_eq!(script.asked(), [settle, then]);

    // The same in the middle of a replacement.
    put(&hub, "db", "10.0.0.7").await;
    open.registry
        .apply(BeginPublishing {
            owner: "c".to_owned(),
            ..begin()
        })
        .await
        .unwrap();
    put(&hub, "db", "10.0.0.6").await;
    hub.pass(60);
    desk.work().await;
    let standing = ReceiverState::Replacing {
        published: addresses(&["10.0.0.6"]),
        sent: addresses(&["10.0.0.7"]),
        unsure: UncertainFamilies {
            v4: true,
            v6: false,
        },
    };
    assert_eq!(script.asked(), [publication("db", &["10.0.0.6"], standing)]);
    assert_eq!(counts(&hub).await, [0, 0, 2]);
}

#[tokio::test]
async fn two_workers_never_send_at_the_same_time() {
    let (hub, open) = TestHub::start_in_parts().await;
    let (sink, first) = state_sink("dns");
    let one = Desk::begin_beside(&open, "one", vec![sink], false).await;
    let (sink, second) = state_sink("dns");
    let other = Desk::begin_beside(&open, "other", vec![sink], false).await;
    let mut asked = 0;
    for last in 1..30 {
        let silo: Vec<_> = (1..9)
            .map(|at| (format!("h{at}"), format!("10.0.{at}.{last}")))
            .collect();
        let silo: Vec<_> = silo.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        hub.put_silo("office", &silo).await;
        tokio::join!(one.work(), other.work());
        let mut names: Vec<String> = first
            .asked()
            .into_iter()
            .chain(second.asked())
            .map(|p| p.name)
            .collect();
        asked += names.len();
        names.sort();
        names.dedup();
        assert_eq!(asked, last * 8, "each once");
        assert_eq!(names.len(), 8);
    }
    assert_eq!(counts(&hub).await, [0, 0, 29 * 8], "one a send");
}

#[tokio::test]
async fn what_may_have_arrived_is_not_forgotten_by_a_refusal_or_a_change_back() {
    let (hub, open) = TestHub::start_in_parts().await;
    let (sink, script) = state_sink("ddns");
    let desk = Desk::begin(&open, "a", vec![sink]).await;
    put(&hub, "db", "10.0.0.5").await;
    desk.work().await;
    script.asked();
    // The new address is sent and perhaps taken, but no answer comes.
    script.will([Outcome::Retry(Trouble::of_name("no answer"))]);
    put(&hub, "db", "10.0.0.6").await;
    desk.work().await;
    // Then it is refused: that says nothing of what was taken before.
    script.will([Outcome::Refused(Trouble::of_name("nohost"))]);
    hub.pass(10);
    desk.work().await;
    script.asked();
    put(&hub, "db", "10.0.0.5").await;
    script.will([Outcome::Retry(Trouble::of_name("no answer"))]);
    desk.work().await;
    hub.pass(10);
    desk.work().await;
    let asked = script.asked();
    assert_eq!(asked.len(), 2, "put back, until it surely is: {asked:?}");
    for asked in asked {
        assert_eq!(asked.wanted, addresses(&["10.0.0.5"]));
        let ReceiverState::Replacing { unsure, .. } = asked.standing else {
            panic!("{asked:?}");
        };
        assert!(unsure.v4 && !unsure.v6, "{unsure:?}");
    }
    desk.work().await;
    assert_eq!(script.asked(), []);
}
