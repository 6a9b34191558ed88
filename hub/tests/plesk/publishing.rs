//! What a publication makes of a zone.

use silo_hub::internals::deliver::sink::{Outcome, Reach, ReceiverState};

use crate::bench::{Bench, addresses};

#[test]
fn a_change_replaces_what_info_shows_and_leaves_no_file_behind() {
    let bench = Bench::new();
    let standing = ReceiverState::Nothing;
    assert_eq!(
        bench.publish("db.example.com", "10.0.0.6", standing),
        Outcome::Waiting
    );
    assert_eq!(
        bench.publish("db.example.com", "10.0.0.6", standing),
        Outcome::Waiting
    );
    assert_eq!(bench.names("jobs").len(), 1);
    bench.once();
    assert_eq!(bench.names("results").len(), 1);
    assert_eq!(
        bench.publish("db.example.com", "10.0.0.6", standing),
        Outcome::Done
    );
    assert!(bench.names("jobs").is_empty());
    assert_eq!(bench.at_plesk("db.example.com"), ["A 10.0.0.6"]);
    assert_eq!(
        bench.calls(),
        [
            "--info example.com",
            "--del example.com -a db -ip 10.0.0.5",
            "--add example.com -a db -ip 10.0.0.6",
            "--info example.com",
        ]
    );
    bench.once();
    assert!(bench.names("results").is_empty(), "its job is gone");
    assert!(bench.calls().is_empty());
}

#[test]
fn existing_equal_addresses_are_kept() {
    let bench = Bench::new();
    let done = bench.round("db.example.com", "10.0.0.5", ReceiverState::Nothing);
    assert_eq!(done, Outcome::Done);
    assert_eq!(bench.calls(), ["--info example.com"]);
}

#[test]
fn an_address_added_concurrently_by_another_program_is_accepted() {
    let bench = Bench::new();
    bench.switch("hide-once", true);
    bench.set_zone(&["web.example.com. A 10.0.0.6"]);
    let all = ["--once", "--must-exist", "false"];
    bench.publish("web.example.com", "10.0.0.6", ReceiverState::Nothing);
    assert_eq!(bench.work(&all).code, Some(0));
    let done = bench.publish("web.example.com", "10.0.0.6", ReceiverState::Nothing);
    assert_eq!(done, Outcome::Done);
    assert_eq!(
        bench.changes(),
        ["--add example.com -a web -ip 10.0.0.6"],
        "which ends with 2"
    );
    assert_eq!(bench.at_plesk("web.example.com"), ["A 10.0.0.6"]);
}

#[test]
fn ipv6_is_added_changed_and_removed_in_plesks_form() {
    let bench = Bench::new();
    let both = addresses("10.0.0.5 fd00::6");
    let done = bench.round("db.example.com", "10.0.0.5 fd00::6", ReceiverState::Nothing);
    assert_eq!(done, Outcome::Done);
    assert_eq!(
        bench.at_plesk("db.example.com"),
        ["A 10.0.0.5", "AAAA fd00::6"]
    );
    assert_eq!(bench.changes(), ["--add example.com -aaaa db -ip fd00::6"]);

    bench.set_zone(&[
        "db.example.com. A 10.0.0.5",
        "db.example.com. AAAA FD00:0:0::6",
    ]);
    let published = ReceiverState::Published(both);
    let done = bench.round("db.example.com", "10.0.0.5 fd00::7", published);
    assert_eq!(done, Outcome::Done);
    assert_eq!(
        bench.changes(),
        [
            "--del example.com -aaaa db -ip FD00:0:0::6",
            "--add example.com -aaaa db -ip fd00::7",
        ]
    );
    let published = ReceiverState::Published(addresses("10.0.0.5 fd00::7"));
    let done = bench.round("db.example.com", "10.0.0.5", published);
    assert_eq!(done, Outcome::Done);
    assert_eq!(bench.at_plesk("db.example.com"), ["A 10.0.0.5"]);
}

#[test]
fn a_removed_record_removes_only_published_addresses() {
    let bench = Bench::new();
    bench.set_zone(&[
        "db.example.com. A 10.0.0.5",
        "db.example.com. AAAA fd00::99",
        "db.example.com. TXT mine",
    ]);
    let published = ReceiverState::Published(addresses("10.0.0.5"));
    assert_eq!(bench.round("db.example.com", "", published), Outcome::Done);
    assert_eq!(
        bench.at_plesk("db.example.com"),
        ["AAAA fd00::99", "TXT mine"]
    );
    assert_eq!(bench.changes(), ["--del example.com -a db -ip 10.0.0.5"]);
    // Nor does what never was ours, nor a name that is not there.
    assert_eq!(
        bench.round("example.com", "", ReceiverState::Nothing),
        Outcome::Done
    );
    assert_eq!(bench.round("web.example.com", "", published), Outcome::Done);
    assert!(bench.changes().is_empty());
}

#[test]
fn the_zones_own_name_and_names_deeper_in_it_have_their_labels() {
    let bench = Bench::new();
    bench.set_zone(&["example.com. A 10.0.0.1", "a.b.example.com. A 10.0.0.2"]);
    for name in ["example.com", "a.b.example.com"] {
        assert_eq!(
            bench.round(name, "10.0.0.6", ReceiverState::Nothing),
            Outcome::Done
        );
        assert_eq!(bench.at_plesk(name), ["A 10.0.0.6"]);
    }
    assert!(
        bench
            .changes()
            .contains(&"--del example.com -a  -ip 10.0.0.1".to_owned())
    );
}

#[test]
fn a_domain_not_in_domains_is_refused_by_name() {
    let bench = Bench::new();
    let name = "db.example.net";
    let publish = || bench.publish_in("example.net", name, "10.0.0.6", ReceiverState::Nothing);
    assert_eq!(publish(), Outcome::Waiting);
    let ran = bench.once();
    assert!(
        ran.stderr
            .contains("db.example.net: example.net is not in the worker's --domains")
    );
    let Outcome::Failed(trouble) = publish() else {
        panic!("a domain that is not allowed");
    };
    assert_eq!(trouble.reach, Reach::Sink);
    assert_eq!(trouble.why, "example.net is not in the worker's --domains");
    assert!(bench.calls().is_empty(), "Plesk was not even asked");
}

#[test]
fn a_name_missing_in_plesk_is_refused_unless_configured() {
    let bench = Bench::new();
    let name = "web.example.com";
    let Outcome::Failed(trouble) = bench.round(name, "10.0.0.6", ReceiverState::Nothing) else {
        panic!("a name that must exist");
    };
    assert_eq!(trouble.reach, Reach::Name);
    assert!(
        trouble.why.starts_with("Plesk does not have this name"),
        "{}",
        trouble.why
    );
    assert!(bench.changes().is_empty());

    assert_eq!(
        bench.publish(name, "10.0.0.6", ReceiverState::Nothing),
        Outcome::Waiting
    );
    let ran = bench.work(&["--once", "--must-exist", "false"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(
        bench.publish(name, "10.0.0.6", ReceiverState::Nothing),
        Outcome::Done
    );
    assert_eq!(bench.at_plesk(name), ["A 10.0.0.6"]);
}

#[test]
fn a_name_removed_by_the_worker_may_return_but_not_one_removed_by_others() {
    let bench = Bench::new();
    let name = "db.example.com";
    let published = ReceiverState::Published(addresses("10.0.0.5"));
    assert_eq!(
        bench.round(name, "10.0.0.5", ReceiverState::Nothing),
        Outcome::Done
    );
    assert_eq!(bench.round(name, "", published), Outcome::Done);
    assert!(bench.at_plesk(name).is_empty());
    assert_eq!(
        bench.round(name, "10.0.0.6", ReceiverState::Nothing),
        Outcome::Done
    );
    assert_eq!(bench.at_plesk(name), ["A 10.0.0.6"]);

    bench.set_zone(&["example.com. A 10.0.0.1"]);
    let published = ReceiverState::Published(addresses("10.0.0.6"));
    let refused = bench.round(name, "10.0.0.7", published);
    assert!(matches!(refused, Outcome::Failed(_)), "{refused:?}");
    // Removing it in the silo does not make that one ours.
    assert_eq!(bench.round(name, "", published), Outcome::Done);
    let refused = bench.round(name, "10.0.0.7", ReceiverState::Nothing);
    assert!(matches!(refused, Outcome::Failed(_)), "{refused:?}");
    assert!(bench.at_plesk(name).is_empty());
    // Nor is an address that another program adds afterwards, even if it was ours once.
    bench.set_zone(&["db.example.com. A 10.0.0.6"]);
    assert_eq!(bench.round(name, "", ReceiverState::Nothing), Outcome::Done);
    assert_eq!(bench.at_plesk(name), ["A 10.0.0.6"]);
    bench.calls();
}

#[test]
fn an_alias_is_not_touched() {
    let bench = Bench::new();
    let Outcome::Failed(trouble) =
        bench.round("www.example.com", "10.0.0.6", ReceiverState::Nothing)
    else {
        panic!("a CNAME");
    };
    assert!(trouble.why.contains("CNAME"), "{}", trouble.why);
    assert!(bench.changes().is_empty());
}

#[test]
fn a_failing_plesk_is_reported_and_retried() {
    let bench = Bench::new();
    let name = "db.example.com";
    let trouble = |outcome| match outcome {
        Outcome::Retry(trouble) => trouble,
        other => panic!("{other:?}"),
    };
    let fail = |arguments: &[&str]| {
        assert_eq!(
            bench.publish(name, "10.0.0.6", ReceiverState::Nothing),
            Outcome::Waiting
        );
        assert_eq!(bench.work(arguments).code, Some(1));
        trouble(bench.publish(name, "10.0.0.6", ReceiverState::Nothing))
    };
    let away = fail(&["--once", "--plesk", "/nowhere/plesk"]);
    assert_eq!(away.reach, Reach::Sink);
    assert!(
        away.why
            .starts_with("cannot run /nowhere/plesk: No such file"),
        "{}",
        away.why
    );

    bench.switch("fail--info", true);
    let info = fail(&["--once"]);
    assert_eq!(info.reach, Reach::Sink);
    assert_eq!(
        info.why,
        "plesk --info ended with exit code 1: Error: the license has expired"
    );
    bench.switch("fail--info", false);

    bench.switch("block--info", true);
    let slow = fail(&["--once", "--deadline", "1"]);
    assert_eq!(
        slow.why,
        "plesk --info did not end within 1 s and was killed"
    );
    bench.switch("block--info", false);

    bench.switch("fail--del", true);
    let del = fail(&["--once"]);
    assert_eq!(del.reach, Reach::Name);
    assert!(
        del.why.starts_with("plesk --del ended with exit code 1"),
        "{}",
        del.why
    );
    assert_eq!(bench.at_plesk(name), ["A 10.0.0.5"]);
    bench.switch("fail--del", false);

    assert_eq!(
        bench.round(name, "10.0.0.6", ReceiverState::Nothing),
        Outcome::Done
    );
    assert_eq!(bench.at_plesk(name), ["A 10.0.0.6"]);
    bench.calls();
}

#[test]
fn a_plesk_success_without_the_change_is_a_failure() {
    let bench = Bench::new();
    for verb in ["ignore--add", "ignore--del"] {
        bench.switch(verb, true);
        bench.publish("db.example.com", "10.0.0.6", ReceiverState::Nothing);
        assert_eq!(bench.work(&["--once"]).code, Some(1));
        let outcome = bench.publish("db.example.com", "10.0.0.6", ReceiverState::Nothing);
        let Outcome::Retry(trouble) = outcome else {
            panic!("{verb}: {outcome:?}");
        };
        assert_eq!(trouble.reach, Reach::Name);
        assert_eq!(trouble.why, "plesk succeeded, but does not show the change");
        bench.switch(verb, false);
        bench.set_zone(&["db.example.com. A 10.0.0.5"]);
    }
    let done = bench.round("db.example.com", "10.0.0.6", ReceiverState::Nothing);
    assert_eq!(done, Outcome::Done);
    bench.calls();
}

#[test]
fn several_addresses_of_a_family_become_the_one_that_is_wanted() {
    let bench = Bench::new();
    bench.set_zone(&[
        "db.example.com. A 10.0.0.5",
        "db.example.com. A 10.0.0.6",
        "db.example.com. A 10.0.0.7",
        "other.example.com. A 10.0.0.5",
    ]);
    assert_eq!(
        bench.round("db.example.com", "10.0.0.6", ReceiverState::Nothing),
        Outcome::Done
    );
    assert_eq!(bench.at_plesk("db.example.com"), ["A 10.0.0.6"]);
    assert_eq!(bench.at_plesk("other.example.com"), ["A 10.0.0.5"]);
    bench.calls();
}

#[test]
fn a_hundred_names_that_are_right_cost_one_listing() {
    let bench = Bench::new();
    let names: Vec<String> = (0..100).map(|n| format!("h{n}.example.com")).collect();
    let lines: Vec<String> = names
        .iter()
        .map(|name| format!("{name}. A 10.0.0.5"))
        .collect();
    bench.set_zone(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    for name in &names {
        assert_eq!(
            bench.publish(name, "10.0.0.5", ReceiverState::Nothing),
            Outcome::Waiting
        );
    }
    bench.once();
    for name in &names {
        assert_eq!(
            bench.publish(name, "10.0.0.5", ReceiverState::Nothing),
            Outcome::Done
        );
    }
    assert_eq!(bench.calls(), ["--info example.com"]);
}
