//! Silo ids, hostnames, addresses and globs: tables of cases, and properties over arbitrary text.

use super::*;
use proptest::prelude::*;

#[test]
fn silo_ids_follow_the_grammar() {
    for (given, stored) in [
        ("office", Ok("office")),
        ("Office", Ok("office")),
        ("a", Ok("a")),
        ("7", Ok("7")),
        ("a.b_c-d9", Ok("a.b_c-d9")),
        ("", Err(InvalidSiloId::Empty)),
        ("-a", Err(InvalidSiloId::Edge)),
        ("a-", Err(InvalidSiloId::Edge)),
        (".", Err(InvalidSiloId::Edge)),
        ("a/b", Err(InvalidSiloId::Character)),
        ("a b", Err(InvalidSiloId::Character)),
        ("ä", Err(InvalidSiloId::Character)),
        ("a\n", Err(InvalidSiloId::Character)),
    ] {
        assert_eq!(
            SiloId::parse(given).as_ref().map(SiloId::as_str),
            stored.as_ref().copied()
        );
    }
    assert!(SiloId::parse(&"a".repeat(63)).is_ok());
    assert_eq!(SiloId::parse(&"a".repeat(64)), Err(InvalidSiloId::TooLong));
}

#[test]
fn hostnames_follow_rfc_1123_and_the_refused_list() {
    use InvalidHostname as E;
    for (given, stored) in [
        ("db", Ok("db")),
        ("DB.Home.Arpa", Ok("db.home.arpa")),
        ("db.lan.", Ok("db.lan")),
        ("3com", Ok("3com")),
        ("_dmarc.lan", Ok("_dmarc.lan")),
        ("bücher.lan", Ok("xn--bcher-kva.lan")),
        ("BÜCHER", Ok("xn--bcher-kva")),
        ("1.a", Ok("1.a")),
        ("ip6", Ok("ip6")),
        ("localhost.lan", Ok("localhost.lan")),
        ("", Err(E::Empty)),
        (".", Err(E::Empty)),
        (".db", Err(E::EmptyLabel)),
        ("db..lan", Err(E::EmptyLabel)),
        ("db lan", Err(E::Character)),
        ("db\nwpad", Err(E::Character)),
        ("a_b", Ok("a_b")),
        ("My_PC.lan", Ok("my_pc.lan")),
        ("__a", Ok("__a")),
        ("a_.lan", Ok("a_.lan")),
        ("_", Ok("_")),
        ("_-a-_", Ok("_-a-_")),
        ("a_-.lan", Err(E::Hyphen)),
        ("-_a", Err(E::Hyphen)),
        ("my_1", Ok("my_1")),
        ("a#b", Err(E::Character)),
        ("*", Err(E::Character)),
        ("-a.lan", Err(E::Hyphen)),
        ("a-.lan", Err(E::Hyphen)),
        ("1234", Err(E::Number)),
        ("127.1", Err(E::Number)),
        ("10.0.0.5", Err(E::Number)),
        ("a.0x1f", Err(E::Number)),
        ("localhost", Err(E::Reserved)),
        ("LOCALHOST.", Err(E::Reserved)),
        ("a.localhost", Err(E::Reserved)),
        ("broadcasthost", Err(E::Reserved)),
        ("ip6-loopback", Err(E::Reserved)),
        ("x.onion", Err(E::Reserved)),
        ("x.alt", Err(E::Reserved)),
        ("x.invalid", Err(E::Reserved)),
        ("b\u{200d}.lan", Err(E::Idna)),
    ] {
        let parsed = Hostname::parse(given);
        assert_eq!(
            parsed.as_ref().map(Hostname::as_str),
            stored.as_ref().copied(),
            "hostname {given:?}"
        );
    }
    let label = "a".repeat(63);
    assert!(Hostname::parse(&label).is_ok());
    assert_eq!(Hostname::parse(&"a".repeat(64)), Err(E::LabelTooLong));
    assert!(Hostname::parse(&format!("{label}.{label}.{label}.{}", "a".repeat(61))).is_ok());
    assert_eq!(
        Hostname::parse(&format!("{label}.{label}.{label}.{}", "a".repeat(62))),
        Err(E::TooLong)
    );
}

#[test]
fn hostnames_tell_labels_and_underscores() {
    for (name, is_single, is_host) in [
        ("db", true, true),
        ("db.lan", false, true),
        ("my_pc", true, false),
        ("_a.lan", false, false),
    ] {
        let name = Hostname::parse(name).unwrap();
        assert_eq!(name.is_single_label(), is_single, "{name}");
        assert_eq!(name.is_dns_host_name(), is_host, "{name}");
    }
}

#[test]
fn addresses_have_one_of_each_family() {
    let (v4, v6): (IpAddr, IpAddr) = ("10.0.0.5".parse().unwrap(), "fd00::5".parse().unwrap());
    for ips in [&[][..], &[v4], &[v6], &[v4, v6]] {
        let mut addresses = Addresses::default();
        for ip in ips.iter().rev() {
            assert_eq!(addresses.set(*ip), None);
        }
        assert_eq!(addresses.iter().collect::<Vec<_>>(), ips);
        assert_eq!(addresses.is_empty(), ips.is_empty());
    }
    assert_eq!(Family::of(v4).to_string(), "IPv4");
    assert_eq!(Family::of(v6).to_string(), "IPv6");
}

#[test]
fn addresses_are_those_a_machine_can_have() {
    use InvalidAddress as E;
    for (given, stored) in [
        ("10.0.0.5", Ok("10.0.0.5")),
        ("fd00::5", Ok("fd00::5")),
        ("FD00:0:0::5", Ok("fd00::5")),
        ("::ffff:10.0.0.5", Ok("10.0.0.5")),
        ("127.0.0.1", Ok("127.0.0.1")),
        ("", Err(E::Syntax)),
        ("10.0.0", Err(E::Syntax)),
        ("010.0.0.1", Err(E::Syntax)),
        ("10.0.0.5/24", Err(E::Syntax)),
        (" 10.0.0.5", Err(E::Syntax)),
        ("fe80::1%eth0", Err(E::Zone)),
        ("0.0.0.0", Err(E::Unspecified)),
        ("::", Err(E::Unspecified)),
        ("::ffff:0.0.0.0", Err(E::Unspecified)),
        ("224.0.0.1", Err(E::Multicast)),
        ("ff02::1", Err(E::Multicast)),
    ] {
        assert_eq!(
            parse_address(given).map(|ip| ip.to_string()),
            stored.map(str::to_owned)
        );
    }
}

#[test]
fn globs_match_any_run_dots_included() {
    for (glob, name, matches) in [
        ("nas", "nas", true),
        ("nas", "nas1", false),
        ("nas-*", "nas-1", true),
        ("nas-*", "nas-", true),
        ("nas-*", "nas", false),
        ("*", "", true),
        ("*.lan", "a.b.lan", true),
        ("*.lan", "lan", false),
        ("a*b*c", "aXbYbZc", true),
        ("a*b*c", "ac", false),
        ("a*a", "a", false),
        ("*a*", "bab", true),
        ("", "", true),
        ("", "a", false),
    ] {
        assert_eq!(glob_matches(glob, name), matches, "{glob} against {name}");
    }
}

proptest! {
    #[test]
    fn a_parsed_hostname_parses_to_itself(text in "\\PC{0,40}") {
        if let Ok(name) = Hostname::parse(&text) {
            prop_assert_eq!(Hostname::parse(name.as_str()), Ok(name));
        }
    }

    #[test]
    fn a_glob_with_a_star_for_a_part_still_matches(a in "[a-c.]{0,6}", b in "[a-c.]{0,6}", c in "[a-c.]{0,6}") {
        let name = format!("{a}{b}{c}");
        let glob = format!("{a}*{c}");
        prop_assert!(glob_matches(&glob, &name));
    }
}
