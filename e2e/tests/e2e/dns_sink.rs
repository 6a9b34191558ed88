//! The sink `rfc2136` as a library, against BIND and Knot.

mod of_others;
mod relay;
mod trouble;

use silo_e2e::dns::{DnsServer, KEYS, LOCAL_ZONE, Program, REVERSE, ZONE};
use silo_hub::internals::deliver::rfc2136::Rfc2136;
use silo_hub::internals::deliver::sink::{
    Outcome, Publication, Reach, ReceiverState, StateSink, UncertainFamilies,
};
use silo_hub::internals::domain::time::Clock;
use silo_hub::internals::sinks::SinkSettings;
use silo_shared::silo::{Addresses, Hostname, SiloId};

/// Runs a test on each server.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod bind { $(#[tokio::test] async fn $name() { super::$name(silo_e2e::dns::Program::Bind).await; })+ }
        mod knot { $(#[tokio::test] async fn $name() { super::$name(silo_e2e::dns::Program::Knot).await; })+ }
    };
}
use on_both;

on_both!(
    names_and_pointers_follow_the_silo,
    every_algorithm_and_a_key_file_of_ones_own_sign,
    a_publication_that_was_cut_off_is_finished_or_settled,
    what_stands_there_is_observed,
    a_check_proves_server_zone_and_key_and_changes_nothing,
);

/// The sink of these settings, which lie in the server's folder.
fn sink_at(server: &DnsServer, clock: Clock, keys: &str) -> Rfc2136 {
    let text = format!("name: office\nkind: rfc2136\n{keys}");
    let list = vec![serde_yaml::from_str(&text).unwrap()];
    let list = SinkSettings::read_list(list, server.folder()).unwrap();
    Rfc2136::open(list[0].own(), clock).unwrap().0
}

/// The sink of these settings, with the machine's clock.
fn sink(server: &DnsServer, keys: &str) -> Rfc2136 {
    sink_at(server, Clock::System, keys)
}

fn addresses(text: &str) -> Addresses {
    text.split_whitespace()
        .map(|ip| ip.parse::<std::net::IpAddr>().unwrap())
        .collect()
}

async fn publish(
    sink: &Rfc2136,
    hostname: &str,
    standing: ReceiverState,
    wanted: Addresses,
) -> Outcome {
    let hostname = Hostname::parse(hostname).unwrap();
    let publication = Publication {
        login: None,
        silo: SiloId::parse("office").unwrap(),
        name: sink.published_name(&hostname).unwrap(),
        hostname,
        wanted,
        standing,
    };
    sink.publish(&publication).await
}

/// A first publication, as the worker asks for it.
async fn publish_first(sink: &Rfc2136, hostname: &str, wanted: &str) -> Outcome {
    let wanted = addresses(wanted);
    publish(sink, hostname, ReceiverState::Claimed(wanted), wanted).await
}

async fn check(sink: &Rfc2136) -> Result<String, String> {
    sink.check().await
}

/// The message of a retried failure, and what it concerns.
fn retried(outcome: Outcome) -> (Reach, String) {
    match outcome {
        Outcome::Retry(trouble) => (trouble.reach, trouble.why),
        other => panic!("{other:?}"),
    }
}

async fn names_and_pointers_follow_the_silo(program: Program) {
    let server = DnsServer::start(program);
    let keys = format!("{}reverse: [{}, {}]", server.sink(), REVERSE[0], REVERSE[1]);
    let sink = sink(&server, &keys);
    let (db, first, second) = (
        format!("db.{ZONE}"),
        addresses("192.0.2.10 2001:db8::10"),
        addresses("192.0.2.11"),
    );
    let pointer = [format!("{db}.")];
    let v6_name = "0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";

    assert_eq!(
        publish_first(&sink, "db", "192.0.2.10 2001:db8::10").await,
        Outcome::Done
    );
    assert_eq!(server.lookup(&db, "A"), ["192.0.2.10"]);
    assert_eq!(server.lookup(&db, "AAAA"), ["2001:db8::10"]);
    assert_eq!(server.ttl(&db, "A"), Some(30));
    assert_eq!(server.lookup("10.2.0.192.in-addr.arpa", "PTR"), pointer);
    assert_eq!(server.lookup(v6_name, "PTR"), pointer);
    assert_eq!(server.ttl(v6_name, "PTR"), Some(30));

    let standing = ReceiverState::Published(first);
    assert_eq!(publish(&sink, "db", standing, second).await, Outcome::Done);
    assert_eq!(server.lookup(&db, "A"), ["192.0.2.11"]);
    assert_eq!(server.lookup(&db, "AAAA"), [""; 0]);
    assert_eq!(server.lookup("10.2.0.192.in-addr.arpa", "PTR"), [""; 0]);
    assert_eq!(server.lookup(v6_name, "PTR"), [""; 0]);
    assert_eq!(server.lookup("11.2.0.192.in-addr.arpa", "PTR"), pointer);

    // The deletion of what may have been replaced meanwhile takes the pointers of both.
    let third = addresses("192.0.2.12");
    assert_eq!(
        publish(&sink, "db", ReceiverState::Published(second), third).await,
        Outcome::Done
    );
    let standing = ReceiverState::Replacing {
        published: second,
        sent: third,
        unsure: UncertainFamilies::BOTH,
    };
    let gone = Addresses::default();
    assert_eq!(publish(&sink, "db", standing, gone).await, Outcome::Done);
    assert_eq!(server.lookup(&db, "ANY"), [""; 0]);
    assert_eq!(server.lookup("11.2.0.192.in-addr.arpa", "PTR"), [""; 0]);
    assert_eq!(server.lookup("12.2.0.192.in-addr.arpa", "PTR"), [""; 0]);
    assert_eq!(
        publish(&sink, "db", standing, gone).await,
        Outcome::Done,
        "again"
    );

    assert_eq!(server.lookup(&format!("ns.{ZONE}"), "A"), ["127.0.0.1"]);
    assert_eq!(server.lookup(&format!("taken.{ZONE}"), "A"), ["192.0.2.99"]);
}

async fn every_algorithm_and_a_key_file_of_ones_own_sign(program: Program) {
    let server = DnsServer::start(program);
    let base = format!("server: 127.0.0.1:{}\nzone: {ZONE}\n", server.port());
    for (number, (name, algorithm, _)) in KEYS.into_iter().enumerate() {
        // The name of a key is the same in any case.
        let upper = name.to_ascii_uppercase();
        for (way, key) in [
            format!("key: {{ name: {upper}, algorithm: {algorithm}, secret_file: {name}secret }}"),
            format!("key_file: {name}key"),
        ]
        .iter()
        .enumerate()
        {
            let host = format!("h{number}-{way}");
            let ip = format!("192.0.2.{}", 10 * number + way + 1);
            let sink = sink(&server, &format!("{base}{key}"));
            let outcome = publish_first(&sink, &host, &ip).await;
            assert_eq!(outcome, Outcome::Done, "{key}");
            let full = format!("{host}.{ZONE}");
            assert_eq!(server.lookup(&full, "A"), [ip]);
            assert_eq!(server.ttl(&full, "A"), Some(60), "the default");
        }
    }
    // By name, which may also resolve to an address without a listener.
    let by_name = server.sink().replace("127.0.0.1", "localhost");
    let outcome = publish_first(&sink(&server, &by_name), "by-name", "192.0.2.1").await;
    assert_eq!(outcome, Outcome::Done);
}

async fn a_publication_that_was_cut_off_is_finished_or_settled(program: Program) {
    let server = DnsServer::start(program);
    let sink = sink(&server, &server.sink());
    let (x, y) = (
        addresses("192.0.2.20 2001:db8::20"),
        addresses("192.0.2.21"),
    );
    let db = format!("db.{ZONE}");

    // Nothing was sent yet.
    let outcome = publish(&sink, "db", ReceiverState::Claimed(x), y).await;
    assert_eq!(outcome, Outcome::Found(ReceiverState::Nothing));
    // It was sent, and the response was lost.
    assert_eq!(
        publish(&sink, "db", ReceiverState::Claimed(x), x).await,
        Outcome::Done
    );
    assert_eq!(
        publish(&sink, "db", ReceiverState::Claimed(x), x).await,
        Outcome::Done
    );
    assert_eq!(
        publish(&sink, "db", ReceiverState::Nothing, x).await,
        Outcome::Done
    );
    for wanted in [y, Addresses::default()] {
        let outcome = publish(&sink, "db", ReceiverState::Claimed(x), wanted).await;
        assert_eq!(outcome, Outcome::Found(ReceiverState::Published(x)));
    }
    // Half of it, or more than it, is not it.
    for other in ["192.0.2.20", "2001:db8::20", "192.0.2.22 2001:db8::20"] {
        let outcome = publish(&sink, "db", ReceiverState::Claimed(addresses(other)), y).await;
        assert_eq!(outcome, Outcome::Found(ReceiverState::Nothing), "{other}");
    }
    assert_eq!(server.lookup(&db, "A"), ["192.0.2.20"], "only asked");
    let standing = ReceiverState::Replacing {
        published: x,
        sent: y,
        unsure: UncertainFamilies::BOTH,
    };
    assert_eq!(publish(&sink, "db", standing, y).await, Outcome::Done);
    assert_eq!(server.lookup(&db, "A"), ["192.0.2.21"]);
    assert_eq!(server.lookup(&db, "AAAA"), [""; 0]);

    // A wildcard's answer belongs to no name.
    let wild = format!("x.wild.{ZONE}");
    assert_eq!(server.lookup(&wild, "A"), ["192.0.2.77"]);
    let standing = ReceiverState::Claimed(addresses("192.0.2.77"));
    let outcome = publish(&sink, &wild, standing, Addresses::default()).await;
    assert_eq!(outcome, Outcome::Found(ReceiverState::Nothing));
    assert_eq!(
        publish_first(&sink, &wild, "192.0.2.23").await,
        Outcome::Done
    );
    assert_eq!(server.lookup(&wild, "A"), ["192.0.2.23"]);

    let outcome = publish(&sink, "none", ReceiverState::Nothing, Addresses::default()).await;
    assert_eq!(outcome, Outcome::Done);
}

async fn what_stands_there_is_observed(program: Program) {
    let server = DnsServer::start(program);
    let sink = sink(&server, &server.sink());
    let observe = async |label: &str| {
        let name = format!("{label}.{ZONE}");
        let observed = sink.observe(&name).await.unwrap();
        observed.map_err(|trouble| trouble.why)
    };
    assert_eq!(observe("taken").await, Ok(addresses("192.0.2.99")));
    server.change(&[&format!("update add taken.{ZONE} 60 AAAA 2001:db8::99")]);
    assert_eq!(
        observe("taken").await,
        Ok(addresses("192.0.2.99 2001:db8::99"))
    );
    server.change(&[&format!("update add taken.{ZONE} 60 A 192.0.2.98")]);
    let why = observe("taken").await.unwrap_err();
    assert!(
        why.contains("several") && why.contains("192.0.2.98, 192.0.2.99"),
        "{why}"
    );
    assert_eq!(observe("alias").await, Err("name holds a CNAME".to_owned()));
    assert_eq!(observe("none").await, Ok(Addresses::default()));
    assert_eq!(observe("x.wild").await, Ok(Addresses::default()));
}

async fn a_check_proves_server_zone_and_key_and_changes_nothing(program: Program) {
    let server = DnsServer::start(program);
    let before = server.lookup(ZONE, "SOA");
    let keys = format!("{}reverse: [{}]", server.sink(), REVERSE[0]);
    let said = check(&sink(&server, &keys)).await.unwrap();
    let port = server.port();
    assert_eq!(
        said,
        format!(
            "127.0.0.1:{port} accepts updates of {ZONE}, {} with the key silo.",
            REVERSE[0]
        )
    );
    let keys = server.sink() + "reverse: [100.51.198.in-addr.arpa]";
    let why = check(&sink(&server, &keys)).await.unwrap_err();
    assert!(
        why.contains("not the primary server of the zone 100.51.198.in-addr.arpa"),
        "{why}"
    );
    assert_eq!(
        server.lookup(ZONE, "SOA"),
        before,
        "the serial is unchanged"
    );
}

#[tokio::test]
async fn binds_session_key_is_read_again_at_each_send() {
    let mut server = DnsServer::make(Program::Bind);
    let keys = format!(
        "server: 127.0.0.1:{}\nzone: {LOCAL_ZONE}\nkey_file: session.key",
        server.port()
    );
    let sink = sink(&server, &keys);
    let (reach, why) = retried(publish_first(&sink, "db", "192.0.2.60").await);
    assert_eq!(reach, Reach::Sink);
    let expected = "session.key: not there yet (BIND writes it when it starts)";
    assert!(
        why.starts_with("key_file: ") && why.ends_with(expected),
        "{why}"
    );

    server.start_again();
    let first = std::fs::read(server.session_key()).unwrap();
    assert_eq!(
        publish_first(&sink, "db", "192.0.2.60").await,
        Outcome::Done
    );
    let said = check(&sink).await.unwrap();
    assert!(
        said.ends_with("accepts updates of local.home.arpa with the key local-ddns."),
        "{said}"
    );
    server.stop();
    server.start_again();
    assert_ne!(std::fs::read(server.session_key()).unwrap(), first);
    let published = ReceiverState::Published(addresses("192.0.2.60"));
    let outcome = publish(&sink, "db", published, addresses("192.0.2.61")).await;
    assert_eq!(outcome, Outcome::Done);
    assert_eq!(
        server.lookup(&format!("db.{LOCAL_ZONE}"), "A"),
        ["192.0.2.61"]
    );
}
