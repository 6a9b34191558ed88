//! What goes wrong between the sink and its server, and in what words it is said.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use silo_e2e::dns::{DnsServer, OTHER_KEY, POLICY_ZONE, Program, ZONE};
use silo_hub::internals::deliver::rfc2136::Rfc2136;
use silo_hub::internals::deliver::sink::{Outcome, Reach, ReceiverState, UncertainFamilies};
use silo_hub::internals::domain::time::Clock;

use super::relay::{Relay, Way};
use super::{addresses, check, on_both, publish, publish_first, retried, sink, sink_at};

on_both!(
    wrong_keys_and_zones_are_told_apart,
    a_clock_that_is_off_is_said_with_the_difference,
    a_server_that_was_away_gets_it_when_it_is_back,
    an_answer_that_is_lost_does_no_harm,
    a_server_without_udp_is_asked_over_tcp,
    a_response_changed_on_the_way_is_ignored,
);

/// What the first publication of `db` says, which is not for the name alone.
async fn words(sink: &Rfc2136) -> String {
    let (reach, why) = retried(publish_first(sink, "db", "192.0.2.1").await);
    assert_eq!(reach, Reach::Sink, "{why}");
    why
}

async fn wrong_keys_and_zones_are_told_apart(program: Program) {
    let server = DnsServer::start(program);
    let at = format!("127.0.0.1:{}", server.port());
    let of = |from: &str, to: &str| sink(&server, &server.sink().replace(from, to));

    // The secret of another key under this name.
    let wrong = of("silo.secret", "other.secret");
    let why = format!("{at} has another secret for the key silo. (NOTAUTH, BADSIG)");
    assert_eq!(words(&wrong).await, why);
    assert_eq!(check(&wrong).await, Err(why));

    let wrong = of("name: silo.", "name: unknown.");
    let refused = |key: &str| {
        [
            format!("{at} does not know the key {key}, or not for this use (NOTAUTH, BADKEY)"),
            // Knot 3.4 does not tell the key from the zone.
            format!(
                "{at} is not the primary server of the zone {ZONE} (NOTAUTH), or does not accept the key {key}; the answer is not signed"
            ),
        ]
    };
    let why = words(&wrong).await;
    assert!(refused("unknown.").contains(&why), "{why}");
    assert_eq!(check(&wrong).await, Err(why));

    let wrong = of(&format!("zone: {ZONE}"), "zone: home.test");
    let why = format!("{at} is not the primary server of the zone home.test (NOTAUTH)");
    assert!(words(&wrong).await.starts_with(&why));
    assert!(check(&wrong).await.unwrap_err().starts_with(&why));

    // A key that the server knows, which may not update.
    let wrong = sink(&server, &server.sink().replace("silo.", OTHER_KEY.0));
    match program {
        Program::Bind => {
            let (reach, why) = retried(publish_first(&wrong, "db", "192.0.2.1").await);
            assert_eq!(reach, Reach::Name);
            let expected =
                format!("{at} does not allow the key other. to change or read db.{ZONE} (REFUSED)");
            assert!(why.starts_with(&expected), "{why}");
            assert!(check(&wrong).await.unwrap_err().contains("(REFUSED)"));
        }
        Program::Knot => {
            let why = words(&wrong).await;
            assert!(refused(OTHER_KEY.0).contains(&why), "{why}");
        }
    }
    assert_eq!(server.lookup(&format!("db.{ZONE}"), "A"), [""; 0]);
}

#[tokio::test]
async fn a_policy_for_single_names_refuses_only_the_others() {
    let server = DnsServer::start(Program::Bind);
    let keys = server.sink().replace(ZONE, POLICY_ZONE);
    let sink = sink(&server, &keys);
    let (reach, why) = retried(publish_first(&sink, "nas", "192.0.2.1").await);
    assert_eq!(reach, Reach::Name);
    assert!(
        why.contains(&format!("nas.{POLICY_ZONE} (REFUSED)")),
        "{why}"
    );
    assert_eq!(publish_first(&sink, "db", "192.0.2.1").await, Outcome::Done);
    let said = check(&sink).await.unwrap();
    assert!(said.contains("check that its policy covers"), "{said}");
}

async fn a_clock_that_is_off_is_said_with_the_difference(program: Program) {
    let server = DnsServer::start(program);
    let now = Clock::System.now();
    let millis = Arc::new(AtomicI64::new(0));
    let sink = sink_at(&server, Clock::Set(millis.clone()), &server.sink());
    for (seconds, word) in [(-600_i64, "ahead of"), (600, "behind")] {
        millis.store(now.plus_seconds(seconds).as_millis(), Ordering::Release);
        let why = words(&sink).await;
        let rest = why
            .strip_prefix("the clocks differ: the server's is ")
            .unwrap();
        let (by, rest) = rest.split_once(' ').unwrap();
        // Some seconds pass while the servers start on a busy machine.
        let by: i64 = by.parse().unwrap();
        assert!((540..=660).contains(&by), "{why}");
        assert_eq!(rest, format!("s {word} ours (NOTAUTH, BADTIME)"));
        assert_eq!(
            check(&sink).await.map_err(|why| why.contains("BADTIME")),
            Err(true)
        );
    }
    millis.store(now.as_millis(), Ordering::Release);
    assert_eq!(publish_first(&sink, "db", "192.0.2.1").await, Outcome::Done);
}

async fn a_server_that_was_away_gets_it_when_it_is_back(program: Program) {
    let mut server = DnsServer::start(program);
    let sink = sink(&server, &server.sink());
    assert_eq!(
        publish_first(&sink, "old", "192.0.2.1").await,
        Outcome::Done
    );
    server.stop();
    let at = format!("127.0.0.1:{} does not answer", server.port());
    assert!(words(&sink).await.starts_with(&at));
    assert!(check(&sink).await.unwrap_err().starts_with(&at));
    let published = ReceiverState::Published(addresses("192.0.2.1"));
    let (wanted, gone) = (addresses("192.0.2.2"), addresses(""));
    let (reach, _) = retried(publish(&sink, "old", published, gone).await);
    assert_eq!(reach, Reach::Sink);
    server.start_again();
    assert_eq!(server.lookup(&format!("old.{ZONE}"), "A"), ["192.0.2.1"]);
    let standing = ReceiverState::Replacing {
        published: addresses("192.0.2.1"),
        sent: gone,
        unsure: UncertainFamilies::BOTH,
    };
    assert_eq!(publish(&sink, "old", standing, wanted).await, Outcome::Done);
    assert_eq!(publish_first(&sink, "db", "192.0.2.1").await, Outcome::Done);
    assert_eq!(server.lookup(&format!("old.{ZONE}"), "A"), ["192.0.2.2"]);
    assert_eq!(server.lookup(&format!("db.{ZONE}"), "A"), ["192.0.2.1"]);
}

/// The sink behind a relay to the server.
fn behind(server: &DnsServer, relay: &Relay) -> Rfc2136 {
    let (from, to) = (server.port().to_string(), relay.port().to_string());
    sink(server, &server.sink().replace(&from, &to))
}

async fn an_answer_that_is_lost_does_no_harm(program: Program) {
    let server = DnsServer::start(program);
    let relay = Relay::start(server.port(), Way::LoseFirstAnswer, Way::Pass).await;
    let sink = behind(&server, &relay);
    // The second message meets what the first one wrote.
    assert_eq!(publish_first(&sink, "db", "192.0.2.1").await, Outcome::Done);
    assert_eq!(server.lookup(&format!("db.{ZONE}"), "A"), ["192.0.2.1"]);
    assert_eq!(relay.lost(), 1);
}

async fn a_server_without_udp_is_asked_over_tcp(program: Program) {
    let server = DnsServer::start(program);
    let relay = Relay::start(server.port(), Way::Silent, Way::Pass).await;
    let sink = behind(&server, &relay);
    assert_eq!(publish_first(&sink, "db", "192.0.2.1").await, Outcome::Done);
    assert_eq!(server.lookup(&format!("db.{ZONE}"), "A"), ["192.0.2.1"]);
}

async fn a_response_changed_on_the_way_is_ignored(program: Program) {
    let server = DnsServer::start(program);
    for forge in [Way::Flip, Way::Unsign] {
        // UDP can be forged from afar: TCP has the say.
        let relay = Relay::start(server.port(), forge, Way::Pass).await;
        let sink = behind(&server, &relay);
        assert_eq!(publish_first(&sink, "db", "192.0.2.1").await, Outcome::Done);
        let relay = Relay::start(server.port(), forge, forge).await;
        let sink = behind(&server, &relay);
        let why = words(&sink).await;
        assert!(
            why.ends_with("is not signed with the key silo. and was ignored"),
            "{why}"
        );
        let held = addresses("192.0.2.1");
        let outcome = publish(&sink, "db", ReceiverState::Claimed(held), addresses("")).await;
        assert!(matches!(outcome, Outcome::Retry(_)), "{outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_is_given_up_in_time() {
    let server = DnsServer::make(Program::Knot);
    let relay = Relay::start(server.port(), Way::Silent, Way::Silent).await;
    let sink = behind(&server, &relay);
    // Time is frozen during activity, and advances when idle.
    let begun = tokio::time::Instant::now();
    let why = words(&sink).await;
    assert!(why.contains("does not answer in time"), "{why}");
    // Twice 2 s over UDP, and 5 s over TCP.
    assert!(begun.elapsed() < Duration::from_secs(10));
}
