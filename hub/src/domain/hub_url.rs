//! Whether other machines can reach the hub at a URL, and at which ones they may.

use std::net::IpAddr;

use url::{Host, Url};

/// Whether a URL names this machine in a way that others can use: neither a loopback address nor all addresses.
pub fn is_for_others(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else {
        return false;
    };
    match url.host() {
        Some(Host::Ipv4(ip)) => !ip.is_loopback() && !ip.is_unspecified(),
        Some(Host::Ipv6(ip)) => {
            let ip = IpAddr::V6(ip).to_canonical();
            !ip.is_loopback() && !ip.is_unspecified()
        }
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name != "localhost" && !name.ends_with(".localhost")
        }
        None => false,
    }
}

/// URLs at which others may reach a hub that listens at this URL, by this machine's addresses.
pub fn candidates(listening: &str, addresses: &[IpAddr]) -> Vec<String> {
    let Ok(url) = Url::parse(listening) else {
        return Vec::new();
    };
    let port = url.port();
    let is_v4_only = matches!(url.host(), Some(Host::Ipv4(_)));
    let usable = addresses.iter().filter(|ip| ip.is_ipv4() || !is_v4_only);
    let mut found: Vec<String> = usable
        .map(|ip| {
            let host = match ip {
                IpAddr::V4(ip) => ip.to_string(),
                IpAddr::V6(ip) => format!("[{ip}]"),
            };
            let port = port.map_or_else(String::new, |port| format!(":{port}"));
            format!("{}://{host}{port}", url.scheme())
        })
        .collect();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_one_machine_are_for_others() {
        for (url, expected) in [
            ("http://192.0.2.7:8053", true),
            ("https://hub.lan", true),
            ("http://[fd00::1]:8053", true),
            ("http://127.0.0.1:8053", false),
            ("http://127.9.9.9:8053", false),
            ("http://0.0.0.0:8053", false),
            ("http://[::]:8053", false),
            ("http://[::1]:8053", false),
            ("http://[::ffff:127.0.0.1]:8053", false),
            ("http://localhost:8053", false),
            ("http://hub.localhost", false),
            ("nonsense", false),
        ] {
            assert_eq!(is_for_others(url), expected, "{url}");
        }
    }

    #[test]
    fn candidates_have_scheme_and_port_of_the_listener() {
        let addresses = ["192.0.2.7", "fd00::1"].map(|ip| ip.parse().unwrap());
        for (listening, expected) in [
            ("http://0.0.0.0:8053", &["http://192.0.2.7:8053"][..]),
            (
                "https://[::]:8053",
                &["https://192.0.2.7:8053", "https://[fd00::1]:8053"],
            ),
            ("http://127.0.0.1:80", &["http://192.0.2.7"]),
            ("nonsense", &[]),
        ] {
            assert_eq!(candidates(listening, &addresses), expected, "{listening}");
        }
    }
}
