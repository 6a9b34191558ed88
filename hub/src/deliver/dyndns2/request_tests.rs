use super::*;
use crate::deliver::test_sinks::addresses;
use crate::domain::delivery::UncertainFamilies;

const PLAIN: &str = "https://ddns.example.org/nic/update";

fn urls(endpoint: &Endpoint, wanted: &str, standing: ReceiverState) -> Vec<String> {
    let updates = endpoint.updates("db.example.net", &addresses(wanted), &standing);
    updates
        .unwrap()
        .iter()
        .map(|update| update.url.to_string())
        .collect()
}

fn endpoint(url: &str, ipv6: Ipv6) -> Endpoint {
    Endpoint {
        url: url.parse().unwrap(),
        ipv6,
    }
}

#[test]
fn ovh_requests_follow_its_guide() {
    let ovh = Endpoint::ovh();
    let base = "https://dns.eu.ovhapis.com/nic/update?system=dyndns&hostname=db.example.net&myip=";
    let both = [format!("{base}192.0.2.1"), format!("{base}2001:db8::1")];
    assert_eq!(urls(&ovh, "192.0.2.1", ReceiverState::Nothing), both[..1]);
    assert_eq!(
        urls(&ovh, "192.0.2.1 2001:db8::1", ReceiverState::Nothing),
        both
    );
    assert_eq!(urls(&ovh, "2001:db8::1", ReceiverState::Nothing), both[1..]);
}

#[test]
fn ipv6_is_sent_in_each_providers_form() {
    let both = "192.0.2.1 2001:db8::1";
    for (ipv6, wanted, queries) in [
        (Ipv6::Myip, both, &["myip=192.0.2.1,2001:db8::1"][..]),
        (Ipv6::Myip, "192.0.2.1", &["myip=192.0.2.1"]),
        (Ipv6::Myip, "2001:db8::1", &["myip=2001:db8::1"]),
        (Ipv6::Myipv6, both, &["myip=192.0.2.1&myipv6=2001:db8::1"]),
        (Ipv6::Myipv6, "192.0.2.1", &["myip=192.0.2.1"]),
        (
            Ipv6::Separate,
            both,
            &["myip=192.0.2.1", "myip=2001:db8::1"],
        ),
        (Ipv6::Off, both, &["myip=192.0.2.1"]),
        (Ipv6::Off, "2001:db8::1", &[]),
        (Ipv6::Myip, "", &[]),
    ] {
        let sent = urls(&endpoint(PLAIN, ipv6), wanted, ReceiverState::Nothing);
        let expected: Vec<String> = queries
            .iter()
            .map(|query| format!("{PLAIN}?hostname=db.example.net&{query}"))
            .collect();
        assert_eq!(sent, expected, "{ipv6:?} {wanted}");
    }
}

#[test]
fn no_request_makes_a_provider_take_the_hubs_own_address() {
    let endpoint = endpoint(PLAIN, Ipv6::Myipv6);
    let sent = endpoint.updates("a.b", &addresses("2001:db8::1"), &ReceiverState::Nothing);
    assert!(sent.unwrap_err().contains("no IPv4 address"));
}

#[test]
fn the_urls_own_query_stays() {
    for (url, expected) in [
        (
            "http://h/u?system=x",
            "http://h/u?system=x&hostname=db.example.net&myip=192.0.2.1",
        ),
        (
            "http://h/u?",
            "http://h/u?hostname=db.example.net&myip=192.0.2.1",
        ),
        (
            "http://h",
            "http://h/?hostname=db.example.net&myip=192.0.2.1",
        ),
    ] {
        let endpoint = endpoint(url, Ipv6::Myip);
        assert_eq!(
            urls(&endpoint, "192.0.2.1", ReceiverState::Nothing),
            [expected]
        );
    }
}

#[test]
fn what_the_provider_surely_holds_is_not_sent_again() {
    let (old, new) = ("192.0.2.1 2001:db8::1", "192.0.2.2 2001:db8::1");
    let published = |text| ReceiverState::Published(addresses(text));
    let replacing = |published, sent| ReceiverState::Replacing {
        published: addresses(published),
        sent: addresses(sent),
        unsure: UncertainFamilies::between(&addresses(published), &addresses(sent)),
    };
    let all = &["myip=192.0.2.2,2001:db8::1"][..];
    let each = &["myip=192.0.2.2", "myip=2001:db8::1"][..];
    let first = &["myip=192.0.2.2"][..];
    for (standing, wanted, as_list, as_each) in [
        (published(new), new, &[][..], &[][..]),
        // A combined request contains all present addresses, a separate one only what differs.
        (published(old), new, all, first),
        (published("2001:db8::1"), new, all, first),
        // The result of the earlier attempt is unknown: send again.
        (ReceiverState::Claimed(addresses(new)), new, all, each),
        (replacing(old, new), new, all, first),
        (replacing("192.0.2.9", new), new, all, each),
        // The address may have been replaced and then restored.
        (replacing(new, old), new, all, first),
        // A deletion is never sent, but an earlier request may have been.
        (replacing(new, ""), new, all, each),
        // The protocol can't remove an address that the record lost.
        (published(new), "192.0.2.2", &[], &[]),
    ] {
        for (ipv6, expected) in [(Ipv6::Myip, as_list), (Ipv6::Separate, as_each)] {
            let sent = urls(&endpoint("http://h/", ipv6), wanted, standing);
            let expected: Vec<String> = expected
                .iter()
                .map(|query| format!("http://h/?hostname=db.example.net&{query}"))
                .collect();
            assert_eq!(sent, expected, "{ipv6:?} {wanted} {standing:?}");
        }
    }
}

#[test]
fn an_unchanged_address_is_not_sent() {
    let endpoint = endpoint(PLAIN, Ipv6::Off);
    let published = ReceiverState::Published(addresses("192.0.2.1 2001:db8::1"));
    let sent = urls(&endpoint, "192.0.2.1 2001:db8::2", published);
    assert_eq!(sent, Vec::<String>::new());
}
