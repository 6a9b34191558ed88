use proptest::prelude::*;

use super::*;

#[path = "select_suffix_tests.rs"]
mod suffixes;

const BEST: Mode = Mode::Best {
    temporary: false,
    deprecated: false,
    link_local: false,
};

/// Parses `fd00::5 temporary` and the like.
fn candidate(text: &str) -> Candidate {
    let mut words = text.split(' ');
    let mut candidate = Candidate::from(words.next().unwrap().parse::<IpAddr>().unwrap());
    for word in words {
        match word {
            "temporary" => candidate.flags.temporary = true,
            "deprecated" => candidate.flags.deprecated = true,
            "unproven" => candidate.flags.unproven = true,
            "hubs" => candidate.is_hubs = true,
            seconds if seconds.parse::<u32>().is_ok() => {
                candidate.preferred_seconds = seconds.parse().unwrap();
            }
            other => panic!("no such flag: {other}"),
        }
    }
    candidate
}

fn rules(within: &[&str]) -> Rules {
    Rules {
        within: (!within.is_empty()).then(|| within.iter().map(|n| n.parse().unwrap()).collect()),
        suffix: None,
    }
}

fn select_text(found: &[&str], rules: &Rules, mode: Mode) -> String {
    let found: Vec<Candidate> = found.iter().map(|text| candidate(text)).collect();
    match select(&found, rules, mode, None) {
        Ok(selection) if selection.wrong.is_empty() => selection.chosen.to_string(),
        Ok(Selection { chosen, wrong, .. }) => format!("{chosen}, wrong: {wrong}"),
        Err(error) => format!("error: {error}"),
    }
}

#[test]
fn an_address_that_no_other_machine_can_use_fails_the_run() {
    for (found, expected) in [
        (&["10.0.0.5"][..], "10.0.0.5"),
        (&["10.0.0.5", "fd00::5"], "10.0.0.5 fd00::5"),
        (&["::ffff:10.0.0.5"], "10.0.0.5"),
        (&["fd00::5 temporary"], "fd00::5"),
        (&[], "error: no address was found"),
        (&["127.0.0.1"], "error: 127.0.0.1 is a loopback address"),
        (
            &["::ffff:127.0.0.1"],
            "error: 127.0.0.1 is a loopback address",
        ),
        (&["::1"], "error: ::1 is a loopback address"),
        (
            &["169.254.1.1"],
            "error: 169.254.1.1 is a link-local address",
        ),
        (&["fe80::1"], "error: fe80::1 is a link-local address"),
        (&["0.0.0.0"], "error: 0.0.0.0 is the unspecified address"),
        (&["::"], "error: :: is the unspecified address"),
        (&["224.0.0.1"], "error: 224.0.0.1 is a multicast address"),
        (&["ff02::1"], "error: ff02::1 is a multicast address"),
        (
            &["255.255.255.255"],
            "error: 255.255.255.255 is the broadcast address",
        ),
        (
            &["64:ff9b::7f00:1"],
            "error: 64:ff9b::7f00:1 is an IPv6 form of an IPv4 address that is not another machine's",
        ),
        (
            &["0.0.0.5"],
            "error: 0.0.0.5 is not the address of a machine (0.0.0.0/8)",
        ),
        (
            &["10.0.0.5", "::1"],
            "10.0.0.5, wrong: ::1 is a loopback address",
        ),
        (
            &["0.0.0.0", "fd00::5"],
            "fd00::5, wrong: 0.0.0.0 is the unspecified address",
        ),
    ] {
        assert_eq!(
            select_text(found, &rules(&[]), Mode::Stated),
            expected,
            "{found:?}"
        );
    }
}

#[test]
fn within_restricts_only_families_of_its_networks() {
    for (found, within, expected) in [
        (&["10.0.0.5"][..], &["10.0.0.0/8"][..], "10.0.0.5"),
        (&["10.0.0.5"], &["10.0.0.5"], "10.0.0.5"),
        (
            &["10.0.0.6"],
            &["10.0.0.5"],
            "error: 10.0.0.6 is outside `within`",
        ),
        (
            &["192.0.2.1"],
            &["10.0.0.0/8"],
            "error: 192.0.2.1 is outside `within`",
        ),
        (&["10.0.0.5", "2001:db8::5"], &["10.0.0.0/8"], "10.0.0.5"),
        (
            &["10.0.0.5", "2001:db8::5"],
            &["10.0.0.0/8", "fd00::/8"],
            "10.0.0.5, wrong: 2001:db8::5 is outside `within`",
        ),
        (&["10.0.0.5", "fe80::5"], &["10.0.0.0/8"], "10.0.0.5"),
        (&["127.0.0.1", "fd00::5"], &["fd00::/8"], "fd00::5"),
        (
            &["2001:db8::5"],
            &["10.0.0.0/8"],
            "error: 2001:db8::5 is of a family without a network in `within`",
        ),
    ] {
        for mode in [Mode::Stated, Mode::Seen, BEST] {
            assert_eq!(
                select_text(found, &rules(within), mode),
                expected,
                "{found:?} {mode:?}"
            );
        }
    }
}

#[test]
fn loopback_and_link_local_addresses_seen_by_the_hub_are_ignored() {
    for (found, within, expected) in [
        (&["10.0.0.5", "fe80::5"][..], &[][..], "10.0.0.5"),
        (&["10.0.0.5", "::1"], &[], "10.0.0.5"),
        (&["127.0.0.1", "fd00::5"], &[], "fd00::5"),
        (&["169.254.0.1", "fd00::5"], &[], "fd00::5"),
        (&["fe80::5"], &[], "error: fe80::5 is a link-local address"),
        (
            &["127.0.0.1", "fe80::5"],
            &[],
            "error: 127.0.0.1 is a loopback address, fe80::5 is a link-local address",
        ),
        (
            &["10.0.0.5", "::"],
            &[],
            "10.0.0.5, wrong: :: is the unspecified address",
        ),
        (
            &["10.0.0.5", "ff02::1"],
            &[],
            "10.0.0.5, wrong: ff02::1 is a multicast address",
        ),
        (
            &["10.0.0.5", "fe80::5"],
            &["10.0.0.0/8", "fd00::/8"],
            "10.0.0.5",
        ),
    ] {
        let said = select_text(found, &rules(within), Mode::Seen);
        assert_eq!(said, expected, "{found:?} {within:?}");
    }
    let relay = select_text(&["192.0.2.1 hubs"], &rules(&[]), Mode::Seen);
    assert!(
        relay.starts_with("error: 192.0.2.1 is an address of the hub's URL"),
        "{relay}"
    );
    let one = select_text(&["192.0.2.1 hubs", "fd00::5"], &rules(&[]), Mode::Seen);
    assert!(
        one.starts_with("fd00::5, wrong: 192.0.2.1 is an address of the hub"),
        "{one}"
    );
}

#[test]
fn within_accepts_an_address_that_this_machine_does_not_have() {
    let own: [IpAddr; 2] = ["10.0.0.5".parse().unwrap(), "fd00::5".parse().unwrap()];
    for (within, ip, named) in [
        (&[][..], "10.0.0.1", false),
        (&["10.0.0.1"], "10.0.0.1", true),
        (&["10.0.0.0/8"], "10.0.0.1", false),
        (&["10.0.0.0/8", "10.0.0.1"], "10.0.0.1", true),
        (&["198.51.100.0/24"], "198.51.100.1", true),
        (&["198.51.100.0/24"], "10.0.0.1", false),
        (&["fd00::/64"], "fd00::1", false),
        (&["fd00::1"], "fd00::1", true),
    ] {
        assert_eq!(
            rules(within).name(ip.parse().unwrap(), &own),
            named,
            "{within:?} {ip}"
        );
    }
}

/// The address selected from `found` if the record has `held`.
fn chosen(found: &[&str], held: &str) -> String {
    let found: Vec<Candidate> = found.iter().map(|text| candidate(text)).collect();
    let held = held.parse().ok();
    let selection = select(&found, &rules(&[]), BEST, held).unwrap();
    selection.chosen.to_string()
}

#[test]
fn of_several_prefixes_the_held_one_stays_while_it_is_renewed() {
    for (found, held, expected) in [
        // No address is held: the longest lifetime, then the lowest address.
        (
            &["2001:db8:a::5 1800", "2001:db8:b::5 1700"][..],
            "",
            "2001:db8:a::5",
        ),
        (
            &["2001:db8:a::5 1700", "2001:db8:b::5 1800"],
            "",
            "2001:db8:b::5",
        ),
        (&["2001:db8:b::5", "2001:db8:a::5"], "", "2001:db8:a::5"),
        // Half of the longest is enough, less is not.
        (
            &["2001:db8:a::5 1800", "2001:db8:b::5 900"],
            "2001:db8:b::5",
            "2001:db8:b::5",
        ),
        (
            &["2001:db8:a::5 1800", "2001:db8:b::5 899"],
            "2001:db8:b::5",
            "2001:db8:a::5",
        ),
        (
            &["2001:db8:a::5 1801", "2001:db8:b::5 900"],
            "2001:db8:b::5",
            "2001:db8:a::5",
        ),
        // Unlimited.
        (
            &["2001:db8:a::5", "2001:db8:b::5"],
            "2001:db8:b::5",
            "2001:db8:b::5",
        ),
        (
            &["2001:db8:a::5", "2001:db8:b::5 86400"],
            "2001:db8:b::5",
            "2001:db8:a::5",
        ),
        (
            &["2001:db8:a::5 86400", "2001:db8:b::5"],
            "2001:db8:a::5",
            "2001:db8:b::5",
        ),
        // Deprecated, missing, or with a smaller scope.
        (
            &["2001:db8:a::5 1800", "2001:db8:b::5 0 deprecated"],
            "2001:db8:b::5",
            "2001:db8:a::5",
        ),
        (
            &["2001:db8:a::5 1800", "2001:db8:b::5 1800"],
            "2001:db8:c::5",
            "2001:db8:a::5",
        ),
        (
            &["2001:db8:a::5 1800", "fd00::5"],
            "fd00::5",
            "2001:db8:a::5",
        ),
    ] {
        assert_eq!(chosen(found, held), expected, "{found:?} {held}");
    }
}

#[test]
fn two_routers_that_advertise_at_different_moments_do_not_make_the_address_flap() {
    const LIFETIME: u32 = 1800;
    // At most a third of the lifetime is between two advertisements (RFC 4861 section 6.2.1).
    for (every_a, every_b, shift) in [
        (600, 600, 300),
        (600, 400, 7),
        (200, 600, 599),
        (590, 610, 0),
    ] {
        let left = |at: u32, every: u32, shift: u32| LIFETIME - (at + shift) % every;
        let mut held = String::new();
        let mut changes = 0;
        for at in (0..20_000).step_by(60) {
            let a = format!("2001:db8:a::5 {}", left(at, every_a, 0));
            let b = format!("2001:db8:b::5 {}", left(at, every_b, shift));
            let next = chosen(&[&a, &b], &held);
            changes += u32::from(next != held);
            held = next;
        }
        assert_eq!(changes, 1, "{every_a} {every_b} {shift}: ends with {held}");
        // Its router has failed: the address changes once to the other prefix, and stays.
        let (dead, alive) = match held.as_str() {
            "2001:db8:a::5" => (held.clone(), "2001:db8:b::5"),
            _ => (held.clone(), "2001:db8:a::5"),
        };
        let mut changes = 0;
        for at in (0..LIFETIME).step_by(60) {
            let dead = format!("{dead} {}", LIFETIME - at);
            let alive = format!("{alive} {}", left(at, 600, shift));
            let next = chosen(&[&dead, &alive], &held);
            changes += u32::from(next != held);
            held = next;
        }
        assert_eq!((changes, held.as_str()), (1, alive));
    }
}

#[test]
fn a_family_counts_as_missing_if_no_address_of_it_was_found() {
    for (found, mode, v4, v6) in [
        (&["10.0.0.5"][..], Mode::Seen, false, true),
        (&["10.0.0.5", "fe80::5"], Mode::Seen, false, true),
        (&["10.0.0.5", "::"], Mode::Seen, false, false),
        (&["fd00::5"], BEST, true, false),
        (&["10.0.0.5", "fe80::5"], BEST, false, true),
        (&["10.0.0.5", "fd00::5 unproven"], BEST, false, false),
        (&["10.0.0.5", "fd00::5 deprecated"], BEST, false, false),
        (&["10.0.0.5", "fd00::5 temporary"], BEST, false, false),
    ] {
        let candidates: Vec<Candidate> = found.iter().map(|text| candidate(text)).collect();
        let selection = select(&candidates, &rules(&[]), mode, None).unwrap();
        let lacks = [Family::V4, Family::V6].map(|family| selection.lacks(family));
        assert_eq!(lacks, [v4, v6], "{found:?}");
    }
}

#[test]
fn the_best_of_several_is_taken() {
    for (found, within, expected) in [
        (&["10.0.0.5", "10.0.0.4"][..], &[][..], "10.0.0.5"),
        (&["127.0.0.1", "10.0.0.5", "169.254.0.1"], &[], "10.0.0.5"),
        (&["fd00::5", "2001:db8::5", "fe80::5"], &[], "2001:db8::5"),
        (&["2001:db8::5", "fd00::5"], &["fd00::/8"], "fd00::5"),
        (&["10.1.0.5", "192.0.2.5"], &["192.0.2.0/24"], "192.0.2.5"),
        (&["2001:db8::9", "2001:db8::5"], &[], "2001:db8::5"),
        (
            &["2001:db8::5 temporary", "2001:db8::9"],
            &[],
            "2001:db8::9",
        ),
        (&["2001:db8::5 deprecated", "fd00::5"], &[], "fd00::5"),
        (&["2001:db8::5 unproven", "10.0.0.5"], &[], "10.0.0.5"),
        (&["10.0.0.5", "fe80::5"], &[], "10.0.0.5"),
        (
            &[
                "2001:db8::5 temporary",
                "2001:db8::6 deprecated",
                "2001:db8::7 unproven",
                "fe80::5",
            ],
            &[],
            "error: 2001:db8::5 is temporary, 2001:db8::6 is deprecated, 2001:db8::7 is not yet known \
             to be unique on its link, fe80::5 is a link-local address",
        ),
    ] {
        assert_eq!(
            select_text(found, &rules(within), BEST),
            expected,
            "{found:?}"
        );
    }
}

#[test]
fn explicitly_allowed_temporary_addresses_sort_last() {
    let all = Mode::Best {
        temporary: true,
        deprecated: true,
        link_local: true,
    };
    for (found, expected) in [
        (&["2001:db8::5 temporary", "2001:db8::9"][..], "2001:db8::9"),
        (&["2001:db8::5 temporary", "fd00::5"], "2001:db8::5"),
        (&["2001:db8::5 deprecated", "fe80::5"], "fe80::5"),
        (&["2001:db8::5 deprecated"], "2001:db8::5"),
        (&["fe80::5"], "fe80::5"),
        (
            &["fe80::5 unproven"],
            "error: fe80::5 is not yet known to be unique on its link",
        ),
        (
            &["169.254.0.1"],
            "error: 169.254.0.1 is a link-local address",
        ),
    ] {
        assert_eq!(select_text(found, &rules(&[]), all), expected, "{found:?}");
    }
}

proptest! {
    #[test]
    fn prefix_and_suffix_each_keep_their_bits(found: u128, host: u128, prefix_len in 1u8..=127) {
        let host_bits = 128 - u32::from(prefix_len);
        let host = host & (u128::MAX >> prefix_len);
        let suffix = Suffix::new(Ipv6Addr::from_bits(host), prefix_len).unwrap();
        let once = suffix.behind(Ipv6Addr::from_bits(found));
        prop_assert_eq!(once.to_bits() >> host_bits, found >> host_bits);
        prop_assert_eq!(once.to_bits() & (u128::MAX >> prefix_len), host);
        prop_assert_eq!(suffix.behind(once), once);
    }

    #[test]
    fn a_chosen_address_was_found_and_is_within(
        found in proptest::collection::vec((any::<u128>(), any::<bool>(), any::<bool>()), 0..6),
    ) {
        let found: Vec<Candidate> = found
            .into_iter()
            .map(|(bits, temporary, deprecated)| Candidate {
                flags: Flags { temporary, deprecated, unproven: false },
                ..Candidate::from(IpAddr::V6(Ipv6Addr::from_bits(bits)))
            })
            .collect();
        let rules = rules(&["0.0.0.0/0", "2000::/3", "fc00::/7"]);
        if let Ok(Selection { chosen, .. }) = select(&found, &rules, BEST, None) {
            for ip in chosen.iter() {
                let candidate = found.iter().find(|candidate| candidate.ip == ip).unwrap();
                prop_assert!(!candidate.flags.temporary && !candidate.flags.deprecated);
                prop_assert!(check_kind(ip, false).is_ok());
            }
            let mut reversed = found.clone();
            reversed.reverse();
            if chosen.v4.is_none() {
                let again = select(&reversed, &rules, BEST, None);
                prop_assert_eq!(again.map(|again| again.chosen), Ok(chosen));
            }
        }
    }
}
