//! Names and pointers that others have put into the zone.

use silo_e2e::dns::{DnsServer, Program, REVERSE, ZONE};
use silo_hub::internals::deliver::sink::{Outcome, Reach, ReceiverState, UncertainFamilies};
use silo_shared::silo::Addresses;

use super::{addresses, on_both, publish, publish_first, retried, sink};

on_both!(
    a_name_that_holds_a_cname_is_left_alone,
    a_name_that_exists_is_taken_over_only_when_told_so,
    the_other_family_of_an_adopted_name_stays,
    pointers_of_others_stay,
);

/// The words of a failure that is shown as failed and concerns its name alone.
fn failed(outcome: Outcome) -> String {
    match outcome {
        Outcome::Failed(trouble) if trouble.reach == Reach::Name => trouble.why,
        other => panic!("{other:?}"),
    }
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
