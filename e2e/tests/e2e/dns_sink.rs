//! The sink `rfc2136` as a library, against BIND and Knot.

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
    a_name_that_holds_a_cname_is_left_alone,
    a_name_that_exists_is_taken_over_only_when_told_so,
    the_other_family_of_an_adopted_name_stays,
    pointers_of_others_stay,
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

/// The words of a failure that is shown as failed and concerns its name alone.
fn failed(outcome: Outcome) -> String {
    match outcome {
        Outcome::Failed(trouble) if trouble.reach == Reach::Name => trouble.why,
        other => panic!("{other:?}"),
    }
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

async fn a_name_that_holds_a_cname_is_left_alone(program: Program) {
    let server = DnsServer::start(program);
    let alias = format!("alias.{ZONE}");
    let adopting = format!("{}adopt: true", server.sink());
    for keys in [server.sink(), adopting] {
        let sink = sink(&server, &keys);
        let why = failed(publish_first(&sink, "alias", "192.0.2.30").await);
        assert!(why.starts_with("name holds a CNAME"), "{why}");
        // The CNAME points to a name that has the very address.
        let why = failed(publish_first(&sink, "alias", "127.0.0.1").await);
        assert!(why.starts_with("name holds a CNAME"), "{why}");
        let published = ReceiverState::Published(addresses("192.0.2.30"));
        let why = failed(publish(&sink, "alias", published, addresses("192.0.2.31")).await);
        assert!(why.starts_with("name holds a CNAME"), "{why}");
        let outcome = publish(&sink, "alias", published, Addresses::default()).await;
        assert_eq!(outcome, Outcome::Done, "ours is gone");
        assert_eq!(server.lookup(&alias, "CNAME"), [format!("ns.{ZONE}.")]);
    }
    server.change(&[&format!("update delete {alias} CNAME")]);
    let sink = sink(&server, &server.sink());
    assert_eq!(
        publish_first(&sink, "alias", "192.0.2.30").await,
        Outcome::Done
    );
}

async fn a_name_that_exists_is_taken_over_only_when_told_so(program: Program) {
    let server = DnsServer::start(program);
    let taken = format!("taken.{ZONE}");
    let plain = sink(&server, &server.sink());
    for wanted in ["192.0.2.40", "192.0.2.99 2001:db8::99", "2001:db8::99"] {
        let why = failed(publish_first(&plain, "taken", wanted).await);
        assert!(
            why.starts_with("name exists: taken.office.home.arpa is already 192.0.2.99"),
            "{why}"
        );
    }
    assert_eq!(server.lookup(&taken, "A"), ["192.0.2.99"]);
    assert_eq!(server.lookup(&taken, "AAAA"), [""; 0]);

    // An answer of many addresses does not fit into UDP.
    let many = (1..=60).map(|n| format!("update add many.{ZONE} 60 A 192.0.2.{n}"));
    let many: Vec<String> = many.collect();
    server.change(&many.iter().map(String::as_str).collect::<Vec<_>>());
    let why = failed(publish_first(&plain, "many", "192.0.2.40").await);
    assert!(
        why.contains(" is already 192.0.2.1, 192.0.2.2, 192.0.2.3, 192.0.2.4, …, which"),
        "{why}"
    );

    let adopting = sink(&server, &format!("{}adopt: true", server.sink()));
    assert_eq!(
        publish_first(&adopting, "taken", "2001:db8::99").await,
        Outcome::Done
    );
    assert_eq!(server.lookup(&taken, "AAAA"), ["2001:db8::99"]);
    assert_eq!(
        server.lookup(&taken, "A"),
        ["192.0.2.99"],
        "the other family is not ours"
    );
    assert_eq!(
        publish_first(&adopting, "many", "192.0.2.40").await,
        Outcome::Done
    );
    assert_eq!(server.lookup(&format!("many.{ZONE}"), "A"), ["192.0.2.40"]);
}

/// `adopt` takes over the families that the record has, one after the other, and only ever removes these.
async fn the_other_family_of_an_adopted_name_stays(program: Program) {
    let server = DnsServer::start(program);
    let adopting = sink(&server, &format!("{}adopt: true", server.sink()));
    let [v4, v6] = ["192.0.2.41", "2001:db8::41"].map(addresses);
    let both = addresses("192.0.2.41 2001:db8::41");
    let gone = Addresses::default();
    let (others_v4, others_v6) = ("192.0.2.88", "2001:db8::88");
    // What is published one after the other, and which A and AAAA records the name has then.
    type Case<'a> = (&'a str, &'a [Addresses], &'a [&'a str], &'a [&'a str]);
    let cases: [Case<'_>; 8] = [
        ("first", &[v6], &[others_v4], &["2001:db8::41"]),
        ("first-v4", &[v4], &["192.0.2.41"], &[others_v6]),
        (
            "changed",
            &[v6, addresses("2001:db8::42")],
            &[others_v4],
            &["2001:db8::42"],
        ),
        ("grown", &[v6, both], &["192.0.2.41"], &["2001:db8::41"]),
        ("shrunk", &[both, v6], &[], &["2001:db8::41"]),
        ("moved", &[v6, v4], &["192.0.2.41"], &[]),
        ("gone", &[v6, gone], &[others_v4], &[]),
        ("gone-both", &[both, gone], &[], &[]),
    ];
    for (host, steps, a, aaaa) in cases {
        let name = format!("{host}.{ZONE}");
        server.change(&[
            &format!("update add {name} 60 A {others_v4}"),
            &format!("update add {name} 60 AAAA {others_v6}"),
        ]);
        let mut standing = ReceiverState::Claimed(steps[0]);
        for wanted in steps {
            let outcome = publish(&adopting, host, standing, *wanted).await;
            assert_eq!(outcome, Outcome::Done, "{host}");
            standing = ReceiverState::Published(*wanted);
        }
        assert_eq!(server.lookup(&name, "A"), a, "{host}");
        assert_eq!(server.lookup(&name, "AAAA"), aaaa, "{host}");
    }
    // A change that was cut off: the family that may have been sent is ours.
    let name = format!("cut.{ZONE}");
    server.change(&[
        &format!("update add {name} 60 A {others_v4}"),
        &format!("update add {name} 60 AAAA {others_v6}"),
    ]);
    let standing = ReceiverState::Replacing {
        published: v6,
        sent: addresses("2001:db8::42"),
        unsure: UncertainFamilies::between(&v6, &addresses("2001:db8::42")),
    };
    assert_eq!(publish(&adopting, "cut", standing, v6).await, Outcome::Done);
    assert_eq!(server.lookup(&name, "A"), [others_v4]);
    let standing = ReceiverState::Replacing {
        published: v6,
        sent: both,
        unsure: UncertainFamilies::between(&v6, &both),
    };
    assert_eq!(publish(&adopting, "cut", standing, v6).await, Outcome::Done);
    assert_eq!(server.lookup(&name, "A"), [""; 0]);
    assert_eq!(server.lookup(&name, "AAAA"), ["2001:db8::41"]);
}

async fn pointers_of_others_stay(program: Program) {
    let server = DnsServer::start(program);
    let printer = [format!("printer.{ZONE}.")];
    let reverse = "50.2.0.192.in-addr.arpa";
    server.change(&[&format!("update add {reverse} 60 PTR {}", printer[0])]);
    let keys = format!("{}reverse: [{}]", server.sink(), REVERSE[0]);
    let with_pointers = sink(&server, &keys);
    // 2001:db8::50 has no reverse zone here, so it has no pointer.
    let both = "192.0.2.50 2001:db8::50";
    assert_eq!(
        publish_first(&with_pointers, "db", both).await,
        Outcome::Done
    );
    assert_eq!(server.lookup(reverse, "PTR"), printer);
    let published = ReceiverState::Published(addresses(both));
    let gone = Addresses::default();
    assert_eq!(
        publish(&with_pointers, "db", published, gone).await,
        Outcome::Done
    );
    assert_eq!(server.lookup(reverse, "PTR"), printer);

    // A pointer that others put beside ours stays when ours goes.
    assert_eq!(
        publish_first(&with_pointers, "db", "192.0.2.51").await,
        Outcome::Done
    );
    let reverse = "51.2.0.192.in-addr.arpa";
    server.change(&[&format!("update add {reverse} 60 PTR {}", printer[0])]);
    let published = ReceiverState::Published(addresses("192.0.2.51"));
    assert_eq!(
        publish(&with_pointers, "db", published, gone).await,
        Outcome::Done
    );
    assert_eq!(server.lookup(reverse, "PTR"), printer);

    // A reverse zone that the server does not have holds back nothing but this.
    let keys = format!("{}reverse: [100.51.198.in-addr.arpa]", server.sink());
    let wrong = sink(&server, &keys);
    let (reach, why) = retried(publish_first(&wrong, "db", "198.51.100.1").await);
    assert_eq!(reach, Reach::Name);
    assert!(
        why.starts_with("PTR: ") && why.contains("100.51.198.in-addr.arpa (NOTAUTH)"),
        "{why}"
    );
    assert_eq!(server.lookup(&format!("db.{ZONE}"), "A"), ["198.51.100.1"]);
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
