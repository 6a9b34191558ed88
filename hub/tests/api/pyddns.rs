//! pyDDNS's clients, as `docs/pyddns.md` sets them up: the requests that they make, byte for byte, and
//! what they make of the answers.
//!
//! Recorded from pyDDNS's own programs (Python 3.11, requests 2.34): each request has a connection of its
//! own, and a PUT has no `Content-Type`.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use silo_e2e::stanza;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use crate::common::{DEADLINE, TestHub, printed, revision};

const PAGE: &str = include_str!("../../../docs/pyddns.md");

const HOSTNAMES: [&str; 2] = ["webserver", "dbserver"];

/// What a command of the page prints, with `silo-hub` told where this hub's data are.
async fn run(hub: &TestHub, name: &str, token: &str) -> String {
    let text = stanza(PAGE, name)
        .trim()
        .replace("10.0.0.1:8053", &hub.address.to_string())
        .replace(" --data-dir /var/lib/silo-hub", "")
        .replace("silo_…", token);
    let mut command = match text.strip_prefix("silo-hub ") {
        Some(arguments) => {
            let mut program = hub.home.program(&hub.settings);
            program.args(arguments.split(' '));
            program
        }
        None => return printed(&text).await,
    };
    let output = command.stdin(Stdio::null()).output();
    let output = output.await.expect("the command can be started");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}: {error}");
    String::from_utf8(output.stdout).expect("it prints UTF-8")
}

/// How a client's run ends.
#[derive(Debug, PartialEq, Eq)]
enum Ends {
    Unchanged,
    Pushed,
    /// With an exception.
    Raises(&'static str),
}

/// A machine with one of the clients.
struct Client<'a> {
    hub: &'a TestHub,
    /// Where it is: Linux has all of 127/8.
    from: Ipv4Addr,
    password: &'a str,
    silo: &'a str,
    hostnames: &'a [&'a str],
}

impl<'a> Client<'a> {
    fn new(hub: &'a TestHub, password: &'a str) -> Self {
        Self {
            hub,
            from: Ipv4Addr::new(127, 0, 0, 5),
            password,
            silo: "web",
            hostnames: &HOSTNAMES,
        }
    }

    /// One request on a separate connection; the client reads the given amount and disconnects.
    async fn exchange(&self, request: &str) -> (u16, Value) {
        let socket = TcpSocket::new_v4().expect("a socket can be made");
        let from = SocketAddr::from((self.from, 0));
        socket.bind(from).expect("the loopback has this address");
        let mut stream = socket.connect(self.hub.address).await.expect("it listens");
        let (head, body) = request.split_once("\r\n\r\n").expect("a head");
        for part in [&format!("{head}\r\n\r\n"), body] {
            stream.write_all(part.as_bytes()).await.expect("it reads");
        }
        let answer = tokio::time::timeout(DEADLINE, async {
            let mut answer = Vec::new();
            loop {
                if let Some(whole) = whole_answer(&answer) {
                    return whole;
                }
                let count = stream.read_buf(&mut answer).await.expect("it answers");
                let so_far = String::from_utf8_lossy(&answer);
                assert!(count > 0, "the hub closes the connection: {so_far}");
            }
        });
        answer.await.expect("the hub answers in time")
    }

    /// What every request begins with.
    fn head(&self, method: &str, path: &str) -> String {
        format!(
            "{method} {path} HTTP/1.1\r\n\
             Host: {}\r\n\
             User-Agent: python-requests/2.34.2\r\n\
             Accept-Encoding: gzip, deflate\r\n\
             Accept: */*\r\n\
             Connection: keep-alive\r\n",
            self.hub.address
        )
    }

    fn login(&self) -> String {
        let login = STANDARD.encode(format!("{}:{}", self.silo, self.password));
        format!("Authorization: Basic {login}\r\n")
    }

    async fn get_ip(&self) -> (u16, Value) {
        let head = self.head("GET", "/ip");
        self.exchange(&format!("{head}\r\n")).await
    }

    async fn get_silo(&self) -> (u16, Value) {
        let head = self.head("GET", &format!("/silos/{}", self.silo));
        let login = self.login();
        self.exchange(&format!("{head}{login}\r\n")).await
    }

    async fn put_silo(&self, ip: &str) -> (u16, Value) {
        let records = self
            .hostnames
            .iter()
            .map(|hostname| format!("{{\"hostname\": \"{hostname}\", \"ip\": \"{ip}\"}}"));
        let records = records.collect::<Vec<_>>().join(", ");
        let body = format!("{{\"id\": \"{}\", \"dnsrecords\": [{records}]}}", self.silo);
        let head = self.head("PUT", &format!("/silos/{}", self.silo));
        let (length, login) = (body.len(), self.login());
        self.exchange(&format!(
            "{head}Content-Length: {length}\r\n{login}\r\n{body}"
        ))
        .await
    }

    /// A run of the upstream.
    async fn upstream(&self) -> Ends {
        let (status, answer) = self.get_ip().await;
        let Some(ip) = answer["ip"].as_str().filter(|_| status == 200) else {
            return Ends::Raises("HTTP request error");
        };
        // The status is not looked at.
        let Some(records) = self.get_silo().await.1["dnsrecords"].as_array().cloned() else {
            return Ends::Raises("KeyError: 'dnsrecords'");
        };
        let changed = records.iter().any(|record| {
            let hostname = record["hostname"].as_str().expect("a hostname");
            self.hostnames.contains(&hostname) && record["ip"] != ip
        });
        if !changed {
            return Ends::Unchanged;
        }
        match self.put_silo(ip).await.0 {
            200 => Ends::Pushed,
            _ => Ends::Raises("Unable to call the server"),
        }
    }

    /// The lines that a run of the downstream writes.
    async fn downstream(&self) -> Result<Vec<String>, &'static str> {
        let (status, answer) = self.get_silo().await;
        if status != 200 {
            return Err("HTTP request error");
        }
        let records = answer["dnsrecords"]
            .as_array()
            .ok_or("Malformed response")?;
        let lines = records.iter().filter_map(|record| {
            let hostname = record["hostname"].as_str().expect("a hostname");
            let ip = record["ip"].as_str().expect("an address");
            let wanted = self.hostnames.contains(&hostname);
            wanted.then(|| format!("{ip}\t{hostname}"))
        });
        Ok(lines.collect())
    }
}

/// Status and JSON of an answer, once it is there as long as it says.
fn whole_answer(answer: &[u8]) -> Option<(u16, Value)> {
    let text = std::str::from_utf8(answer).expect("the answer is UTF-8");
    let (head, body) = text.split_once("\r\n\r\n")?;
    let head = head.to_ascii_lowercase();
    let length = head.split("\r\ncontent-length: ").nth(1);
    let length = length.and_then(|rest| rest.lines().next()?.parse().ok());
    let length: usize = length.unwrap_or_else(|| panic!("no Content-Length: {head}"));
    assert!(!head.contains("transfer-encoding"), "{head}");
    assert!(!head.contains("content-encoding"), "{head}");
    assert!(body.len() <= length, "more than {length} bytes: {body}");
    (body.len() == length).then(|| {
        let status = head
            .strip_prefix("http/1.1 ")
            .and_then(|rest| rest.get(..3));
        let status = status.and_then(|status| status.parse().ok());
        (
            status.unwrap_or_else(|| panic!("no status: {head}")),
            serde_json::from_str(body).expect("every answer is JSON"),
        )
    })
}

fn records(pairs: &[(&str, &str)]) -> Value {
    crate::common::dnsrecords(pairs)["dnsrecords"].clone()
}

async fn stored(hub: &TestHub) -> Value {
    hub.get("/silos/web").await.json()["dnsrecords"].clone()
}

#[tokio::test]
async fn an_upstream_and_a_downstream_work_as_the_page_sets_them_up() {
    let hub = TestHub::start().await;
    let token = run(&hub, "upstream-token", "").await.trim().to_owned();
    let mut upstream = Client::new(&hub, &token);

    // What the page's file says.
    let config = stanza(PAGE, "config").replace("silo_…", &token);
    for line in [
        "endpoint: http://10.0.0.1:8053",
        &format!("username: {}", upstream.silo),
        &format!("password: {token}"),
        &format!("silo_id: {}", upstream.silo),
        "getIpFrom: ServerApi",
    ] {
        assert!(config.lines().any(|of| of == line), "{line}");
    }
    let listed = config.lines().filter_map(|line| line.strip_prefix("- "));
    assert_eq!(listed.collect::<Vec<_>>(), HOSTNAMES);

    let missing = Ends::Raises("KeyError: 'dnsrecords'");
    assert_eq!(upstream.upstream().await, missing);
    assert_eq!(hub.get("/silos/web").await.status, 404, "nothing is made");

    run(&hub, "first-silo", &token).await;
    assert_eq!(upstream.upstream().await, Ends::Pushed);
    let five = records(&[("dbserver", "127.0.0.5"), ("webserver", "127.0.0.5")]);
    assert_eq!(stored(&hub).await, five);
    let before = hub.get("/silos/web").await;
    assert_eq!(upstream.upstream().await, Ends::Unchanged);
    let (status, answer) = upstream.put_silo("127.0.0.5").await;
    assert_eq!(status, 200);
    assert_eq!(answer, before.json(), "equal addresses are not a change");

    upstream.from = Ipv4Addr::new(127, 0, 0, 6);
    assert_eq!(upstream.upstream().await, Ends::Pushed);
    let six = records(&[("dbserver", "127.0.0.6"), ("webserver", "127.0.0.6")]);
    assert_eq!(stored(&hub).await, six);
    let history = hub.history("web").await;
    assert_eq!(history.len(), 6, "{history:?}");
    assert_eq!(history[0]["old_ip"], "127.0.0.5");
    assert_eq!(history[0]["client_ip"], "127.0.0.6");

    let reader = run(&hub, "downstream-token", "").await.trim().to_owned();
    let mut downstream = Client::new(&hub, &reader);
    let lines = ["127.0.0.6\tdbserver", "127.0.0.6\twebserver"];
    assert_eq!(downstream.downstream().await.unwrap(), lines);
    downstream.hostnames = &HOSTNAMES[1..];
    assert_eq!(downstream.downstream().await.unwrap(), lines[..1]);
    downstream.silo = "elsewhere";
    assert_eq!(downstream.downstream().await, Err("HTTP request error"));
}

/// Why the page says one silo for each upstream, IPv4, and small letters.
#[tokio::test]
async fn an_upstream_knows_no_other_hostnames_and_no_ipv6() {
    let hub = TestHub::start().await;
    let token = hub.credential("write", &["web"], &[]).await;
    let mut upstream = Client::new(&hub, &token);
    hub.put_silo("web", &[("webserver", "192.0.2.1"), ("other", "10.0.0.9")])
        .await;
    assert_eq!(upstream.upstream().await, Ends::Pushed);
    let mine = records(&[("dbserver", "127.0.0.5"), ("webserver", "127.0.0.5")]);
    assert_eq!(stored(&hub).await, mine, "others' records are gone");

    for _ in 0..2 {
        let ipv6 = hub.put("/silos/web/records/webserver");
        assert_eq!(ipv6.json(&json!({"ip": "fd00::5"})).await.status, 200);
        assert_eq!(upstream.upstream().await, Ends::Pushed);
        assert_eq!(stored(&hub).await, mine, "the IPv6 address is gone");
    }

    // Attributes other than addresses are kept.
    let comment = hub.put("/silos/web/records/webserver");
    let comment = comment.json(&json!({"ip": "127.0.0.5", "comment": "rack 3"}));
    assert_eq!(comment.await.status, 200);
    upstream.from = Ipv4Addr::new(127, 0, 0, 6);
    assert_eq!(upstream.upstream().await, Ends::Pushed);
    let record = hub.get("/silos/web/records/webserver").await.json();
    assert_eq!(record["comment"], "rack 3");

    upstream.hostnames = &["WebServer"];
    upstream.from = Ipv4Addr::new(127, 0, 0, 7);
    assert_eq!(upstream.upstream().await, Ends::Unchanged, "never found");
    assert_eq!(upstream.downstream().await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn refused_requests_change_nothing_and_are_errors_for_the_clients() {
    let hub = TestHub::start().await;
    let silo = hub
        .put_silo(
            "web",
            &[("webserver", "192.0.2.1"), ("dbserver", "192.0.2.1")],
        )
        .await
        .json();
    let reader = hub.credential("read", &["web"], &[]).await;
    let named = hub.credential("write", &["web"], &HOSTNAMES).await;
    let other = hub.credential("write", &["office"], &[]).await;
    let wrong = "silo_aaaaaaaaaa_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
    for (password, get, put, ends) in [
        (&*reader, 200, 403, "Unable to call the server"),
        (&*named, 200, 403, "Unable to call the server"),
        (&*other, 404, 403, "KeyError: 'dnsrecords'"),
        (wrong, 401, 401, "KeyError: 'dnsrecords'"),
        ("cumuli123", 401, 401, "KeyError: 'dnsrecords'"),
    ] {
        let client = Client::new(&hub, password);
        assert_eq!(client.upstream().await, Ends::Raises(ends), "{password}");
        assert_eq!(client.get_silo().await.0, get, "{password}");
        assert_eq!(client.put_silo("10.0.0.1").await.0, put, "{password}");
        assert_eq!(client.downstream().await.is_ok(), get == 200, "{password}");
    }
    assert_eq!(hub.get("/silos/web").await.json(), silo);

    // The body must be for the silo of the path, and of names and addresses.
    let token = hub.credential("write", &["web"], &[]).await;
    let client = Client::new(&hub, &token);
    assert_eq!(client.put_silo("300.0.0.1").await.0, 422);
    assert_eq!(hub.get("/silos/web").await.json(), silo);
    // The one answer that a client misreads, and why the page makes the silo first.
    hub.delete("/silos/web").await;
    let (status, made) = client.put_silo("10.0.0.1").await;
    assert_eq!(status, 201);
    assert!(revision(&made) > revision(&silo));
}
