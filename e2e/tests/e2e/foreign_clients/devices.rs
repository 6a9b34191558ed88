//! Devices that can't be run here, by the requests that they make, and plain curl.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use silo_e2e::PATIENCE;

use super::PAGE;
use super::home::{Home, said};

/// The request as the box sends it: placeholders filled in as they are, nothing escaped.
fn fritzbox(home: &Home, user: &str, domain: &str, values: [&str; 3]) -> String {
    let url = home.filled("fritzbox").trim().to_owned();
    let mut url = url
        .replace("<username>", user)
        .replace("<pass>", &home.token)
        .replace("<domain>", domain);
    for (name, value) in ["<ipaddr>", "<ip6addr>", "<ip6lanprefix>"]
        .iter()
        .zip(values)
    {
        assert!(url.contains(name), "{url}");
        url = url.replace(name, value);
    }
    let (host, target) = url
        .strip_prefix("http://")
        .and_then(|rest| rest.split_once('/'))
        .unwrap();
    let login = STANDARD.encode(format!("{user}:{}", home.token));
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!(
        "GET /{target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Basic {login}\r\n\
         User-Agent: Fritz!Box DDNS/1.0.1\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    body.to_owned()
}

#[tokio::test]
async fn a_fritzbox_sets_itself_and_the_machines_behind_it() {
    let home = Home::start("198.51.100.7");
    // The page's command that tells the host part.
    let commands = PAGE
        .split("```sh\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap());
    let suffix = commands
        .filter(|text| text.contains("ipv6_suffix"))
        .collect::<Vec<_>>();
    assert_eq!(suffix.len(), 1);
    let suffix = suffix[0]
        .replace("10.0.0.1:8053", &home.relay().address())
        .replace("silo_…", &home.token);
    assert!(shell(&suffix).contains("\"ipv6_suffix\":\"::5\""));
    let values = ["192.0.2.7", "2001:db8:ff::1", "2001:db8:1:2::/64"];
    for word in ["good", "nochg"] {
        let lines = fritzbox(&home, "home", "router,nas", values);
        assert_eq!(
            lines,
            format!("{word} 192.0.2.7,2001:db8:ff::1\n{word} 192.0.2.7,2001:db8:1:2::5\n")
        );
    }
    assert_eq!(
        home.ips("router").await,
        json!(["192.0.2.7", "2001:db8:ff::1"])
    );
    assert_eq!(
        home.ips("nas").await,
        json!(["192.0.2.7", "2001:db8:1:2::5"])
    );
    for (prefix, expected) in [
        ("2001:db8:2::/48", "2001:db8:2::5"),
        ("2001:db8:2:300::/56", "2001:db8:2:300::5"),
        ("2001:db8:2:340::/60", "2001:db8:2:340::5"),
        ("2001:db8:2:345::/64", "2001:db8:2:345::5"),
    ] {
        let lines = fritzbox(&home, "home", "nas", ["", "", prefix]);
        assert_eq!(lines, format!("good {expected}\n"), "{prefix}");
        assert_eq!(
            home.ips("nas").await,
            json!(["192.0.2.7", expected]),
            "{prefix}"
        );
    }
    // The line has no IPv6 at the moment, and the user name is a mail address.
    let lines = fritzbox(
        &home,
        "a b@example.org",
        "router,nas",
        ["192.0.2.8", "", ""],
    );
    assert_eq!(lines, "good 192.0.2.8\ngood 192.0.2.8\n");
    assert_eq!(
        home.ips("nas").await,
        json!(["192.0.2.8", "2001:db8:2:345::5"])
    );
    home.check_log();
}

/// What a command of the page prints.
fn shell(command: &str) -> String {
    let output = Command::new("sh").args(["-ec", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn curl_and_routers_with_one_field_set_a_record() {
    let home = Home::start("198.51.100.7");
    let curl = home.filled("curl");
    assert_eq!(shell(&curl), "good 192.0.2.7\n");
    assert_eq!(shell(&curl), "nochg 192.0.2.7\n");
    assert_eq!(home.ips("nas").await, json!(["192.0.2.7"]));

    let url = home.filled("router");
    let router = format!("curl '{}'", url.trim());
    assert_eq!(shell(&router), "good 198.51.100.7\n");
    assert_eq!(home.ips("router").await, json!(["198.51.100.7"]));

    shell(&home.filled("curl-static"));
    assert_eq!(home.ips("cam").await, json!(["10.0.0.9"]));
    home.check_log();
}

/// ddns-scripts puts the options into the URL, user name and password percent-encoded, and gives it to curl.
#[tokio::test]
async fn openwrt_sets_a_record() {
    let home = Home::start("198.51.100.7");
    let config = home.filled("openwrt");
    let option = |name: &str| {
        let found = config.lines().find_map(|line| {
            let value = line.trim().strip_prefix(&format!("option {name} '"))?;
            value.strip_suffix('\'')
        });
        found
            .unwrap_or_else(|| panic!("no {name} in {config}"))
            .to_owned()
    };
    for (address, said) in [
        ("10.1.0.7", "good 10.1.0.7\n"),
        ("10.1.0.7", "nochg 10.1.0.7\n"),
        ("2001:db8::7", "good 2001:db8::7\n"),
    ] {
        let url = option("update_url")
            .replace("[USERNAME]", &url_encoded(&option("username")))
            .replace("[PASSWORD]", &url_encoded(&option("password")))
            .replace("[DOMAIN]", &option("domain"))
            .replace("[IP]", address);
        assert_eq!(shell(&format!("curl -sS '{url}'")), said);
    }
    assert_eq!(home.ips("router").await, json!(["10.1.0.7", "2001:db8::7"]));
    home.check_log();
}

/// All but letters and digits.
fn url_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
