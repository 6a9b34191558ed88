//! A fuzz target: takes bytes and panics if an invariant is violated. The package `silo-fuzz` runs it under libFuzzer;
//! the test below runs it briefly.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use silo_shared::silo::{Addresses, check_address};

use super::update_request::{Params, UpdateRequest};

/// The addresses of an update are usable, and stay the same when they are sent as whole addresses.
///
/// The input is the query and, after a newline, a form body.
pub fn dyndns2(data: &[u8]) {
    let mut params = Params::default();
    for part in data.splitn(2, |byte| *byte == b'\n') {
        params.add(part);
    }
    for host in params.hostnames() {
        assert!(!host.is_empty() && !host.contains(','), "{host:?}");
        assert_eq!(host.trim(), host);
    }
    let caller = IpAddr::from(Ipv4Addr::new(192, 0, 2, 1));
    let Ok(update_request) = UpdateRequest::read(&params, || Ok(caller)) else {
        return;
    };
    let stored = Ipv6Addr::from_bits(5);
    for stored in [None, Some(stored)] {
        let Ok(addresses) = update_request.addresses(stored) else {
            continue;
        };
        assert!(!addresses.is_empty());
        for ip in addresses.iter() {
            assert_eq!(check_address(ip), Ok(ip));
        }
        assert_eq!(sent_whole(addresses, caller), addresses);
    }
}

fn sent_whole(addresses: Addresses, caller: IpAddr) -> Addresses {
    let whole = addresses.to_string().replace(' ', ",");
    let query = format!("myip={whole}");
    let mut params = Params::default();
    params.add(query.as_bytes());
    let update_request =
        UpdateRequest::read(&params, || Ok(caller)).expect("addresses can be sent");
    update_request
        .addresses(None)
        .expect("whole addresses need no prefix")
}

#[cfg(test)]
mod tests {
    use silo_e2e::fuzz::try_target;

    #[test]
    fn an_update_wishes_addresses_of_machines() {
        try_target("dyndns2", super::dyndns2);
    }
}
