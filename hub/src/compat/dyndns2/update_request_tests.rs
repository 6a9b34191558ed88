//! What updates ask for, in every shape that clients send.

use super::*;

const CALLER: &str = "198.51.100.9";

fn read(query: &str) -> Result<UpdateRequest, NoAddress> {
    let mut params = Params::default();
    params.add(query.as_bytes());
    UpdateRequest::read(&params, || Ok(CALLER.parse().unwrap()))
}

fn said(query: &str, stored: Option<&str>) -> Result<String, NoAddress> {
    let stored = stored.map(|text| text.parse().unwrap());
    read(query)?
        .addresses(stored)
        .map(|addresses| addresses.to_string())
}

#[test]
fn whole_addresses_come_by_any_parameter_and_none_means_the_caller() {
    for (query, addresses) in [
        ("", CALLER),
        ("myip=", CALLER),
        ("myip=&myipv6=&myip6=&ip6lanprefix=", CALLER),
        ("myip=%20,%20", CALLER),
        ("myip=192.0.2.1", "192.0.2.1"),
        ("myip=2001:DB8:0::1", "2001:db8::1"),
        ("myip=2001%3Adb8%3A%3A1", "2001:db8::1"),
        ("myip=192.0.2.1,2001:db8::1", "192.0.2.1 2001:db8::1"),
        ("myip=2001:db8::1,%20192.0.2.1,", "192.0.2.1 2001:db8::1"),
        ("myip=192.0.2.1&myipv6=2001:db8::1", "192.0.2.1 2001:db8::1"),
        ("myip=192.0.2.1&myip6=2001:db8::1", "192.0.2.1 2001:db8::1"),
        ("myip=&myipv6=2001:db8::1", "2001:db8::1"),
        ("myip6=2001:db8::1&myipv6=2001:db8::1", "2001:db8::1"),
        ("myip=192.0.2.1&myip=192.0.2.1", "192.0.2.1"),
        ("myip=::ffff:192.0.2.1", "192.0.2.1"),
        // Spellings of other services, in any case, and out of a web page.
        (
            "myipv4=192.0.2.1&myipv6=2001:db8::1",
            "192.0.2.1 2001:db8::1",
        ),
        ("ipv4=192.0.2.1&ipv6=2001:db8::1", "192.0.2.1 2001:db8::1"),
        ("ip4=192.0.2.1&ip6=2001:db8::1", "192.0.2.1 2001:db8::1"),
        ("ip=192.0.2.1", "192.0.2.1"),
        ("addr=192.0.2.1", "192.0.2.1"),
        ("address=192.0.2.1", "192.0.2.1"),
        ("ipaddr=192.0.2.1", "192.0.2.1"),
        ("MyIP=192.0.2.1", "192.0.2.1"),
        ("IPADDR=192.0.2.1", "192.0.2.1"),
        ("system=dyndns&amp;myip=192.0.2.1", "192.0.2.1"),
        ("amp;amp;myip=192.0.2.1", "192.0.2.1"),
        ("ip=192.0.2.1&myip=192.0.2.1", "192.0.2.1"),
        // "I have no IPv4", as DS-Lite routers say it.
        ("myip=0.0.0.0,2001:db8::7", "2001:db8::7"),
        ("myip=192.0.2.1&myipv6=::", "192.0.2.1"),
        ("myip=0.0.0.0&myip=192.0.2.1", "192.0.2.1"),
        // The length of a single address, and brackets.
        ("myip=192.0.2.1/32", "192.0.2.1"),
        ("myip=192.0.2.1%2F32", "192.0.2.1"),
        ("myipv6=2001:db8::1/128", "2001:db8::1"),
        ("myipv6=[2001:db8::1]", "2001:db8::1"),
        ("myipv6=%5B2001:db8::1%5D/128", "2001:db8::1"),
        // A good value beside one that is none.
        ("myip=192.0.2.1,nonsense", "192.0.2.1"),
        ("myip=192.0.2.1&myipv6=<ip6addr>", "192.0.2.1"),
        ("myip=192.0.2.1&myipv6=fe80::1", "192.0.2.1"),
        ("myip=127.0.0.1,2001:db8::7", "2001:db8::7"),
        ("myip=192.0.2.1&myipv6=2001:db8::1/64", "192.0.2.1"),
        ("ip=nonsense&myip=192.0.2.1", "192.0.2.1"),
        // An unknown one beside a known one.
        ("myip=192.0.2.1&wanip=198.51.100.7", "192.0.2.1"),
        ("login=root&token=10", CALLER),
        (
            "system=dyndns&myip=192.0.2.1&wildcard=ON&mx=a&backmx=NO&offline=NO",
            "192.0.2.1",
        ),
    ] {
        assert_eq!(said(query, None).as_deref(), Ok(addresses), "{query}");
        // A machine that says its whole address means it, whatever its record's suffix.
        if !query.contains("ip6lanprefix") {
            assert_eq!(
                said(query, Some("::5")).as_deref(),
                Ok(addresses),
                "{query}"
            );
        }
    }
}

#[test]
fn a_prefix_is_put_before_the_suffix() {
    let lan = "ip6lanprefix=2001:db8:1:2::/64";
    for (query, stored, addresses) in [
        (lan.to_owned(), Some("::5"), "2001:db8:1:2::5"),
        (
            lan.replace('/', "%2F").replace(':', "%3A"),
            Some("::5"),
            "2001:db8:1:2::5",
        ),
        (format!("{lan}&suffix=::6"), None, "2001:db8:1:2::6"),
        (format!("{lan}&suffix=::6"), Some("::5"), "2001:db8:1:2::6"),
        (format!("{lan}&suffix="), Some("::5"), "2001:db8:1:2::5"),
        (
            format!("{lan}&myip=192.0.2.1"),
            Some("::5"),
            "192.0.2.1 2001:db8:1:2::5",
        ),
        // The router's own addresses are for hosts without suffix.
        (
            format!("{lan}&myip=192.0.2.1,2001:db8::1"),
            Some("::5"),
            "192.0.2.1 2001:db8:1:2::5",
        ),
        (
            format!("{lan}&myip=192.0.2.1,2001:db8::1"),
            None,
            "192.0.2.1 2001:db8::1",
        ),
        (format!("{lan}&myip=192.0.2.1"), None, "192.0.2.1"),
        (
            "ip6lanprefix=&myip=192.0.2.1&myipv6=2001:db8::1".to_owned(),
            Some("::5"),
            "192.0.2.1",
        ),
        (
            "suffix=::6&myip=192.0.2.1&myipv6=2001:db8::1".to_owned(),
            None,
            "192.0.2.1",
        ),
        (
            "ip6lanprefix=2001:db8:1::/48".to_owned(),
            Some("::2:0:0:0:5"),
            "2001:db8:1:2::5",
        ),
        (
            "ip6lanprefix=2001:db8:1:ff00::/56".to_owned(),
            Some("::12:0:0:0:5"),
            "2001:db8:1:ff12::5",
        ),
        (
            "ip6lanprefix=2001:db8:1:fff0::/60".to_owned(),
            Some("::2:0:0:0:5"),
            "2001:db8:1:fff2::5",
        ),
        // Bits of the suffix under the prefix, and of the prefix under the suffix, do not count.
        (
            "ip6lanprefix=2001:db8:1:2::9/64".to_owned(),
            Some("fe80::1:2:3:5"),
            "2001:db8:1:2:1:2:3:5",
        ),
        (
            "ip6lanprefix=::/0".to_owned(),
            Some("2001:db8::5"),
            "2001:db8::5",
        ),
        (
            "ip6lanprefix=2001:db8::7/128".to_owned(),
            Some("::5"),
            "2001:db8::7",
        ),
    ] {
        assert_eq!(said(&query, stored).as_deref(), Ok(addresses), "{query}");
    }
}

#[test]
fn every_prefix_length_keeps_only_its_bits() {
    let (ones, zeros) = (Ipv6Addr::from_bits(u128::MAX), Ipv6Addr::from_bits(0));
    for length in 0..=128_u8 {
        let net = |ip| Ipv6Net::new(ip, length).unwrap();
        assert_eq!(
            joined(net(ones), zeros).to_bits().leading_ones(),
            u32::from(length)
        );
        assert_eq!(
            joined(net(zeros), ones).to_bits().leading_zeros(),
            u32::from(length)
        );
        assert_eq!(joined(net(ones), ones), ones);
    }
}

#[test]
fn values_that_are_not_addresses_are_named() {
    for (query, stored, why) in [
        ("myip=nonsense", None, NoAddress::Address),
        ("myip=nonsense,0.0.0.0", None, NoAddress::Address),
        ("myip=0.0.0.0&myipv6=::", None, NoAddress::Address),
        ("myip=192.0.2.1/24", None, NoAddress::Address),
        ("myip=192.0.2.1/128", None, NoAddress::Address),
        ("myip=[192.0.2.1", None, NoAddress::Address),
        ("myip=192.0.2.1&ip=192.0.2.2", None, NoAddress::Two),
        ("ip6=2001:db8::1&MYIPV6=2001:db8::2", None, NoAddress::Two),
        ("myip=192.0.2.1%202001:db8::1", None, NoAddress::Address),
        ("myip=0.0.0.0", None, NoAddress::Address),
        ("myip=ff02::1", None, NoAddress::Address),
        ("myip=fe80::1%25eth0", None, NoAddress::Address),
        ("myip=2001:db8::1/64", None, NoAddress::Address),
        ("myip=<ipaddr>", None, NoAddress::Address),
        ("myip=192.0.2.1,192.0.2.2", None, NoAddress::Two),
        ("myip=2001:db8::1&myipv6=2001:db8::2", None, NoAddress::Two),
        ("ip6lanprefix=2001:db8::", Some("::5"), NoAddress::Prefix),
        (
            "ip6lanprefix=2001:db8::/129",
            Some("::5"),
            NoAddress::Prefix,
        ),
        ("ip6lanprefix=2001:db8::/-1", Some("::5"), NoAddress::Prefix),
        ("ip6lanprefix=192.0.2.0/24", Some("::5"), NoAddress::Prefix),
        ("ip6lanprefix=x&myip=192.0.2.1", None, NoAddress::Prefix),
        (
            "ip6lanprefix=2001:db8::/64,2001:db8:1::/64",
            Some("::5"),
            NoAddress::Prefix,
        ),
        ("ip6lanprefix=ff00::/8", Some("::5"), NoAddress::Prefix),
        (
            "ip6lanprefix=::/0",
            Some("::ffff:192.0.2.1"),
            NoAddress::Prefix,
        ),
        (
            "ip6lanprefix=2001:db8::/64&suffix=5",
            None,
            NoAddress::Suffix,
        ),
        (
            "ip6lanprefix=2001:db8::/64&suffix=::",
            None,
            NoAddress::Suffix,
        ),
        (
            "ip6lanprefix=2001:db8::/64&suffix=192.0.2.1",
            None,
            NoAddress::Suffix,
        ),
        (
            "ip6lanprefix=2001:db8::/64&suffix=::5,::6",
            None,
            NoAddress::Suffix,
        ),
        ("ip6lanprefix=2001:db8::/64", None, NoAddress::Half),
        ("myip=&ip6lanprefix=2001:db8::/64", None, NoAddress::Half),
        ("suffix=::5&myipv6=2001:db8::1", None, NoAddress::Half),
        (
            "ip6lanprefix=&myipv6=2001:db8::1",
            Some("::5"),
            NoAddress::Half,
        ),
    ] {
        assert!(!why.may_pass());
        assert_eq!(said(query, stored), Err(why), "{query}");
    }
}

#[test]
fn what_the_operator_can_put_right_may_pass() {
    let implausible = |ip: &str, what| NoAddress::Implausible(ip.parse().unwrap(), what);
    let unknown = |name: &str| NoAddress::Unknown(name.to_owned());
    for (query, why) in [
        (
            "myip=127.0.0.1",
            implausible("127.0.0.1", "a loopback address"),
        ),
        ("myip=::1", implausible("::1", "a loopback address")),
        (
            "myip=169.254.1.1",
            implausible("169.254.1.1", "a link-local address"),
        ),
        (
            "myip=fe80::1",
            implausible("fe80::1", "a link-local address"),
        ),
        (
            "myip=nonsense,fe80::1",
            implausible("fe80::1", "a link-local address"),
        ),
        (
            "myip=fe80::1,nonsense",
            implausible("fe80::1", "a link-local address"),
        ),
        ("wanip=198.51.100.7", unknown("wanip")),
        ("WanIP=198.51.100.7", unknown("wanip")),
        ("myip=&dnsto=198.51.100.7", unknown("dnsto")),
        ("myip=nonsense&dnsto=2001:db8::1", unknown("dnsto")),
    ] {
        assert!(why.may_pass());
        assert_eq!(said(query, None), Err(why), "{query}");
    }
    let mut params = Params::default();
    params.add(b"hostname=nas");
    let unnamed = NoCallerAddress::Unnamed("127.0.0.1".parse().unwrap());
    let read = UpdateRequest::read(&params, || Err(unnamed));
    assert_eq!(read, Err(NoAddress::Caller(unnamed)));
    params.add(b"myip=192.0.2.1");
    assert!(UpdateRequest::read(&params, || Err(unnamed)).is_ok());
}

#[test]
fn what_is_left_out_is_named_without_its_value_where_that_is_no_address() {
    for (query, left_out) in [
        ("myip=192.0.2.1&myipv6=&a=b", ""),
        ("myip=0.0.0.0,2001:db8::7&myipv6=::", ""),
        (
            "myip=192.0.2.1&myipv6=s3cret-Passw0rd",
            "myipv6: no address",
        ),
        (
            "myip=192.0.2.1&ip=4bea92410b3146d0cfe4bea92410b314",
            "ip: no address",
        ),
        (
            "ipaddr=2001:db8::1/64&myip=192.0.2.1,fe80::1",
            "myip: fe80::1 is a link-local address, which other machines can't reach; \
             ipaddr: 2001:db8::1/64 is not a usable address",
        ),
        (
            "myip=192.0.2.1&WanIP=198.51.100.7&pass%0Aword=hush",
            "\"wanip\": unknown parameter",
        ),
        (
            "myip=192.0.2.1,a,b,c,d,e,f",
            "myip: no address; myip: no address; myip: no address; myip: no address; and 2 more",
        ),
    ] {
        let found = read(query).unwrap().left_out;
        assert_eq!(found.to_string(), left_out, "{query}");
        assert_eq!(found.is_empty(), left_out.is_empty(), "{query}");
    }
    let long = format!("myip=192.0.2.1,{}", "1.".repeat(1000));
    let found = read(&long).unwrap().left_out.to_string();
    assert!(found.len() < 100, "{found}");
    let long = format!("myip=192.0.2.1&{}=10.0.0.1", "x".repeat(1000));
    let found = read(&long).unwrap().left_out.to_string();
    assert!(found.len() < 120, "{found}");
}

#[test]
fn hostnames_come_in_order_and_empty_ones_are_none() {
    let mut params = Params::default();
    params.add(b"hostname=b,a,,%20c&myip=&hostname=d");
    params.add(b"hostname=e");
    assert_eq!(params.hostnames(), ["b", "a", "c", "d", "e"]);
    assert!(Params::default().hostnames().is_empty());
}
