//! The `Host` field of HTTP/1.1 requests (RFC 9112 section 3.2).

use crate::common::{TestHub, raw_status};

#[tokio::test]
async fn a_request_has_one_host_that_can_be_one() {
    let hub = TestHub::start().await;
    for (version, hosts, status) in [
        ("1.1", &["hub"][..], 200),
        ("1.1", &["hub:8053"], 200),
        ("1.1", &["hub:"], 200),
        ("1.1", &["192.0.2.7:80"], 200),
        ("1.1", &["[fd00::5]"], 200),
        ("1.1", &["[::ffff:192.0.2.7]:8053"], 200),
        ("1.1", &["a_b.example.net"], 200),
        ("1.1", &["xn--bcher-kva.example."], 200),
        ("1.1", &["a%20b"], 200),
        ("1.1", &[], 400),
        ("1.1", &[""], 400),
        ("1.1", &[":8053"], 400),
        ("1.1", &["hub", "hub"], 400),
        ("1.1", &["hub", "other"], 400),
        ("1.1", &["hub, other"], 400),
        ("1.1", &["hub other"], 400),
        ("1.1", &["hub/path"], 400),
        ("1.1", &["hub?query"], 400),
        ("1.1", &["user@hub"], 400),
        ("1.1", &["http://hub"], 400),
        ("1.1", &["hub:port"], 400),
        ("1.1", &["hub:+80"], 400),
        ("1.1", &["hub:65536"], 400),
        ("1.1", &["hub:80:80"], 400),
        ("1.1", &["fd00::5"], 400),
        ("1.1", &["[fd00::5"], 400),
        ("1.1", &["[hub]"], 400),
        ("1.1", &["[fd00::5]x"], 400),
        ("1.1", &["a%2"], 400),
        ("1.1", &["a%zz"], 400),
        ("1.1", &["h\u{fc}b"], 400),
        ("1.1", &["hub\\x"], 400),
        ("1.0", &[], 200),
        ("1.0", &["hub"], 200),
        ("1.0", &["hub", "hub"], 400),
        ("1.0", &["hub/path"], 400),
    ] {
        for path in ["/ping", "http://hub/ping"] {
            let mut request = format!("GET {path} HTTP/{version}\r\nConnection: close\r\n");
            for host in hosts {
                request += &format!("Host: {host}\r\n");
            }
            let answer = hub.raw(request.clone() + "\r\n").await;
            let told = answer
                .split_once(' ')
                .and_then(|(_, rest)| rest.get(..3)?.parse().ok());
            assert_eq!(told, Some(status), "{request:?}: {answer}");
        }
    }
}

#[tokio::test]
async fn routes_of_every_kind_want_a_host() {
    let hub = TestHub::start().await;
    for line in [
        "GET /",
        "GET /silos",
        "PUT /silos/office",
        "GET /nic/update",
        "GET /u/key",
        "GET /no/such/route",
    ] {
        let request = format!("{line} HTTP/1.1\r\nConnection: close\r\n\r\n");
        let answer = hub.raw(request).await;
        assert_eq!(raw_status(&answer), 400, "{line}: {answer}");
        assert!(answer.contains("/problems/malformed"), "{line}: {answer}");
    }
}
