//! Hubs that tell others, as processes of their own: killed again and again, two on one database, and
//! beside a receiver that hangs.

mod late_mail;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use reqwest::Method;
use serde_json::Value;
use silo_e2e::dns::{DnsServer, Program, ZONE};
use silo_e2e::http_server::{HttpServer, Response};
use silo_e2e::postgres::Postgres;
use silo_e2e::provider::{self, Provider};
use silo_e2e::smtp::{Security, SmtpServer};
use silo_e2e::webhook_receiver::{self, Message, Receiver};
use silo_e2e::{Caller, Hub, PATIENCE, binary, write_private};

use crate::clocks::WallClock;

/// A sink of the kind `webhook`.
fn hook(folder: &Path, receiver: &Receiver) -> String {
    write_private(&folder.join("hook.secret"), webhook_receiver::SECRET);
    format!(
        "  - name: hook\n    kind: webhook\n    url: {}\n    secret_file: hook.secret\n",
        receiver.url()
    )
}

/// A sink of the kind `dyndns2`, for records in `example.net`.
fn ddns(folder: &Path, provider: &Provider) -> String {
    write_private(&folder.join("provider.password"), provider::PASSWORD);
    format!(
        "  - name: ddns\n    kind: dyndns2\n    url: {}\n    username: {}\n    \
         password_file: provider.password\n    domain: example.net\n",
        provider.url(),
        provider::USERNAME
    )
}

/// A sink of the kind `email`, which gathers for a second.
fn mail(server: &SmtpServer) -> String {
    format!(
        "  - name: mail\n    kind: email\n    smtp: {{host: 127.0.0.1, port: {}, tls: none}}\n    \
         from: silo@example.net\n    to: [ops@example.net]\n    digest: 1s\n    \
         text: \"{{hostname}} {{old}} -> {{new}};\"\n",
        server.port()
    )
}

/// A sink of the kind `rfc2136`.
fn dns(server: &DnsServer) -> String {
    let own = format!("secret_file: {}/", server.folder().display());
    let keys = server.sink().replace("secret_file: ", &own);
    let keys: String = keys.lines().map(|line| format!("    {line}\n")).collect();
    format!("  - name: dns\n    kind: rfc2136\n{keys}")
}

/// A Plesk that keeps its zone in a file, with the worker that the hub's sink hands its jobs to.
struct Plesk {
    folder: PathBuf,
    worker: Child,
}

impl Plesk {
    /// The zone `example.com` has these names. Runs as root, as Plesk does.
    fn start(folder: &Path, hosts: &[String]) -> Self {
        let folder = folder.join("plesk");
        for name in ["", "zones", "spool", "spool/jobs", "spool/results", "state"] {
            let path = folder.join(name);
            std::fs::create_dir(&path).unwrap();
            let mode = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(&path, mode).unwrap();
        }
        let zone: String = hosts
            .iter()
            .map(|host| format!("{host}.example.com. A 10.255.0.1\n"))
            .collect();
        std::fs::write(folder.join("zones/example.com"), zone).unwrap();
        let script = include_str!("../../../hub/tests/plesk/fake_plesk.sh");
        let script = script.replace("@HERE@", &folder.display().to_string());
        let program = folder.join("plesk");
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let worker = Command::new(binary("silo-hub"))
            .args([
                "plesk-worker",
                "--owner",
                "root",
                "--domains",
                "example.com",
            ])
            .arg("--spool")
            .arg(folder.join("spool"))
            .arg("--state")
            .arg(folder.join("state"))
            .arg("--plesk")
            .arg(&program)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { folder, worker }
    }

    fn sink(&self) -> String {
        let spool = self.folder.join("spool");
        format!(
            "  - name: plesk\n    kind: plesk\n    spool: {}\n    zone: example.com\n",
            spool.display()
        )
    }

    /// The address of a host in the zone.
    fn address(&self, host: &str) -> Vec<IpAddr> {
        let zone = std::fs::read_to_string(self.folder.join("zones/example.com")).unwrap();
        let start = format!("{host}.example.com. A ");
        let lines = zone.lines().filter_map(|line| line.strip_prefix(&start));
        lines.map(|ip| ip.trim().parse().unwrap()).collect()
    }
}

impl Drop for Plesk {
    fn drop(&mut self) {
        // Both fail when it has ended already, which is as well.
        let _ = self.worker.kill();
        let _ = self.worker.wait();
    }
}

/// A proxy could read the addresses, and the login of a provider where that is asked without TLS.
#[tokio::test]
async fn no_proxy_of_the_environment_is_told_anything() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    let provider = Provider::start(&["db.example.net"]);
    let seen = Arc::new(Mutex::new(Vec::new()));
    // One that would take everything.
    let proxy = HttpServer::start({
        let seen = Arc::clone(&seen);
        move |request| {
            seen.lock().unwrap().push(request.path().to_owned());
            Response::text(200, "good 10.0.0.5")
        }
    });
    let hook = hook(folder.path(), &receiver);
    configure(folder.path(), &[hook, ddns(folder.path(), &provider)]);
    let variables = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]
        .map(|name| format!("{name}={}", proxy.url("")));
    let mut wrapper = vec!["env", "-u", "no_proxy", "-u", "NO_PROXY"];
    wrapper.extend(variables.iter().map(String::as_str));
    let hub = Hub::start_under(&wrapper, folder.path());
    let caller = Caller::new(&hub, &hub.admin_token());
    caller.put_ip("office", "db", "10.0.0.5").await;
    settled(&caller).await;
    assert_eq!(receiver.taken().len(), 1);
    assert_eq!(provider.updates().len(), 1);
    assert_eq!(*seen.lock().unwrap(), [""; 0]);
}

pub(crate) fn configure(folder: &Path, sinks: &[String]) {
    std::fs::create_dir_all(folder).unwrap();
    let text = format!("sinks:\n{}", sinks.concat());
    std::fs::write(folder.join("hub.yaml"), text).unwrap();
}

pub(crate) async fn deliveries(caller: &Caller, filter: &str) -> Vec<Value> {
    let (status, list) = caller.get(&format!("/deliveries?{filter}")).await;
    assert_eq!(status, 200, "{list}");
    list.as_array().unwrap().clone()
}

/// Waits until nothing is pending.
pub(crate) async fn settled(caller: &Caller) {
    let deadline = Instant::now() + PATIENCE * 4;
    loop {
        let pending = deliveries(caller, "state=pending&limit=3").await;
        if pending.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "still owed: {pending:#?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// What the hostnames of `office` hold.
async fn silo(caller: &Caller) -> BTreeMap<String, IpAddr> {
    let (_, silo) = caller.get("/silos/office").await;
    let pair = |record: &Value| {
        let text = |key: &str| record[key].as_str().unwrap().to_owned();
        (text("hostname"), text("ip").parse().unwrap())
    };
    silo["dnsrecords"]
        .as_array()
        .unwrap()
        .iter()
        .map(pair)
        .collect()
}

/// Every change of the history came, in order for each hostname, repeats aside.
fn told_in_order(history: &[Value], messages: &[Message]) {
    let mut seen = std::collections::HashSet::new();
    let mut told: HashMap<String, Vec<Value>> = HashMap::new();
    for message in messages
        .iter()
        .filter(|message| seen.insert(message.id.clone()))
    {
        for change in message.body["changes"].as_array().unwrap() {
            let hostname = change["hostname"].as_str().unwrap().to_owned();
            told.entry(hostname)
                .or_default()
                .push(change["new_ip"].clone());
        }
    }
    let mut happened: HashMap<String, Vec<Value>> = HashMap::new();
    for row in history.iter().rev() {
        let hostname = row["hostname"].as_str().unwrap().to_owned();
        happened
            .entry(hostname)
            .or_default()
            .push(row["new_ip"].clone());
    }
    assert_eq!(told, happened);
}

async fn history(caller: &Caller) -> Vec<Value> {
    let mut rows = Vec::new();
    let mut next = Some("/silos/office/history?limit=1000".to_owned());
    while let Some(path) = next {
        let answer = caller.request(Method::GET, &path).send().await.unwrap();
        let link = answer
            .headers()
            .get("link")
            .map(|link| link.to_str().unwrap().to_owned());
        next = link.map(|link| link[1..link.find('>').unwrap()].to_owned());
        rows.extend(answer.json::<Vec<Value>>().await.unwrap());
    }
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hubs_on_one_database_tell_each_change_once_and_in_order() {
    let postgres = Postgres::start();
    two_hubs_tell_each_change_once(&postgres.database("silo"), 0).await;
}

/// The clock of the second hub is ahead by so many seconds.
pub(crate) async fn two_hubs_tell_each_change_once(database: &str, ahead: i64) {
    let folder = tempfile::tempdir().unwrap();
    let clock = WallClock::off_by(folder.path(), ahead);
    let key = folder.path().join("hub.key");
    let receiver = Receiver::start();
    let start = |name: &str, wrapper: &[&str]| {
        let folder = folder.path().join(name);
        configure(&folder, &[hook(&folder_made(&folder), &receiver)]);
        Hub::start_on_under(wrapper, database, &key, &folder)
    };
    let hubs = [start("one", &[]), start("other", &clock.wrapper())];
    let admin = Caller::new(&hubs[0], &hubs[0].admin_token());
    let callers = [admin.clone(), admin.at(hubs[1].url())];
    let mut writers = Vec::new();
    for writer in 0..8_usize {
        let caller = callers[writer % 2].clone();
        writers.push(tokio::spawn(async move {
            for round in 1..26 {
                let ip = format!("10.0.{writer}.{round}");
                let (status, body) = caller
                    .put_ip("office", &format!("w{writer}"), &ip)
                    .await
                    .unwrap();
                assert!(matches!(status, 200 | 201), "{body}");
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    settled(&admin).await;
    let messages = receiver.taken();
    assert_eq!(messages.len(), 200, "once each");
    told_in_order(&history(&admin).await, &messages);
    for hub in hubs {
        assert!(
            !hub.log().contains("another hub on this database"),
            "{}",
            hub.log()
        );
        assert_eq!(hub.stop(), Some(0));
    }
}

fn folder_made(folder: &Path) -> std::path::PathBuf {
    std::fs::create_dir_all(folder).unwrap();
    folder.to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_hangs_holds_up_no_write() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    configure(folder.path(), &[hook(folder.path(), &receiver)]);
    let hub = Hub::start(folder.path());
    let admin = Caller::new(&hub, &hub.admin_token());
    receiver.hold();
    admin.put_ip("office", "db", "10.0.0.1").await.unwrap();
    receiver.wait_for_arrivals(1);
    // Few enough that a busy machine is through before the hub tries the first again.
    for last in 2..50 {
        admin
            .put_ip("office", "db", &format!("10.0.0.{last}"))
            .await
            .unwrap();
    }
    assert_eq!(receiver.messages(), [], "the first is still held");
    receiver.release();
    settled(&admin).await;
    told_in_order(&history(&admin).await, &receiver.taken());
    assert_eq!(receiver.taken().len(), 49);
}

/// A thousand changes of so many hosts were delivered by each sink.
async fn all_done(caller: &Caller, hosts: usize) {
    for sink in ["hook", "ddns", "mail", "dns", "plesk"] {
        let done = deliveries(caller, &format!("sink={sink}&state=done&limit=1000")).await;
        if matches!(sink, "hook" | "mail") {
            assert_eq!(done.len(), 1000, "{sink}");
            continue;
        }
        // A state sink has one for each send, and what changed meanwhile became one.
        let mut told: Vec<&str> = done
            .iter()
            .map(|row| row["hostnames"][0]["hostname"].as_str().unwrap())
            .collect();
        told.sort_unstable();
        told.dedup();
        assert_eq!(told.len(), hosts, "{sink}");
    }
}

/// Each change is in a mail.
fn all_mailed(history: &[Value], smtp: &SmtpServer) {
    let mails: String = smtp
        .mails()
        .iter()
        .map(|mail| mail.part("text/plain").to_owned())
        .collect();
    for row in history {
        let text = |key: &str| row[key].as_str().unwrap_or("none").to_owned();
        let line = format!(
            "{} {} -> {};",
            text("hostname"),
            text("old_ip"),
            text("new_ip")
        );
        assert!(mails.contains(&line), "no mail of {line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_killed_among_a_thousand_changes_leaves_nothing_untold() {
    const HOSTS: usize = 10;
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    let names: Vec<String> = (0..HOSTS)
        .map(|host| format!("h{host}.example.net"))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let provider = Provider::start(&names);
    let smtp = SmtpServer::start(Security::None, false);
    let server = DnsServer::start(Program::Bind);
    let hosts: Vec<String> = (0..HOSTS).map(|host| format!("h{host}")).collect();
    let plesk = Plesk::start(folder.path(), &hosts);
    let sinks = [
        dns(&server),
        plesk.sink(),
        hook(folder.path(), &receiver),
        ddns(folder.path(), &provider),
        mail(&smtp),
    ];
    configure(folder.path(), &sinks);
    let mut hub = Hub::start(folder.path());
    let token = hub.admin_token();
    let mut change = 0;
    for kill in 1..=10 {
        let caller = Caller::new(&hub, &token);
        for _ in 0..100 {
            let hostname = format!("h{}", change % HOSTS);
            let ip = format!("10.{kill}.{}.{}", change / 250, change % 250 + 1);
            let (status, body) = caller.put_ip("office", &hostname, &ip).await.unwrap();
            assert!(matches!(status, 200 | 201), "{body}");
            change += 1;
        }
        if kill % 3 != 0 {
            // Sometimes in the middle of the work, sometimes once some of it is done.
            receiver.wait_for_taken(change / 2);
        }
        hub.kill();
        hub = Hub::start(folder.path());
    }
    let caller = Caller::new(&hub, &token);
    settled(&caller).await;
    assert_eq!(deliveries(&caller, "state=failed").await, [] as [Value; 0]);
    all_done(&caller, HOSTS).await;
    let history = history(&caller).await;
    assert_eq!(history.len(), 1000);
    told_in_order(&history, &receiver.taken());
    for (hostname, ip) in silo(&caller).await {
        let stands = provider.addresses(&format!("{hostname}.example.net"));
        assert_eq!(stands, [ip], "{hostname}");
        let stands = server.lookup(&format!("{hostname}.{ZONE}"), "A");
        assert_eq!(stands, [ip.to_string()], "{hostname}");
        assert_eq!(plesk.address(&hostname), [ip], "{hostname}");
    }
    let repeats = provider
        .updates()
        .iter()
        .filter(|update| update.is_repeat)
        .count();
    assert!(
        repeats <= 10 * HOSTS,
        "once more after a crash at most: {repeats}"
    );
    all_mailed(&history, &smtp);
}

#[tokio::test]
async fn the_printed_script_counts_changes_from_the_history() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::start(folder.path());
    let admin = Caller::new(&hub, &hub.admin_token());
    for last in 1..4 {
        admin
            .put_ip("office", "nas", &format!("10.0.0.{last}"))
            .await
            .unwrap();
        admin
            .put_ip("office", "db", &format!("10.0.1.{}", last / 3))
            .await
            .unwrap();
    }
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/deliveries.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, rest) = page.split_once("<!-- run: changes -->\n```sh\n").unwrap();
    let script = rest.split_once("```").unwrap().0;
    let output = Command::new("sh")
        .args(["-euc", script])
        .env("HUB", hub.url())
        .env("TOKEN", hub.admin_token())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let words: Vec<&str> = lines.split_whitespace().collect();
    assert_eq!(words, ["2", "nas", "1", "db"], "{lines}");
}
