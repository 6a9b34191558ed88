//! A hub that keeps DNS servers up to date: BIND and Knot, each by the same test.

use std::path::Path;

use reqwest::Method;
use serde_json::Value;
use silo_e2e::dns::{DnsServer, Program, REVERSE, ZONE};
use silo_e2e::{Caller, Hub, until};

/// A hub's configuration with one sink, whose keys are printed in the server's own folder.
fn configure(folder: &Path, server: &DnsServer, more: &str) {
    let keys = format!("{}{more}", server.sink());
    let own = server.folder().display();
    let keys = keys.replace("secret_file: ", &format!("secret_file: {own}/"));
    let keys: String = keys.lines().map(|line| format!("    {line}\n")).collect();
    let text = format!("sinks:\n  - name: dns\n    kind: rfc2136\n{keys}");
    std::fs::write(folder.join("hub.yaml"), text).unwrap();
}

async fn until_answers(server: &DnsServer, name: &str, kind: &str, answer: &[&str]) {
    let what = format!("{name} {kind} {answer:?}");
    until(&what, async || {
        (server.lookup(name, kind) == answer).then_some(())
    })
    .await;
}

async fn deliveries(admin: &Caller, state: &str) -> Vec<Value> {
    let (status, list) = admin.get(&format!("/deliveries?state={state}")).await;
    assert_eq!(status, 200, "{list}");
    list.as_array().unwrap().clone()
}

async fn put(admin: &Caller, hostname: &str, ip: &str) {
    let (status, body) = admin.put_ip("office", hostname, ip).await.unwrap();
    assert!(matches!(status, 200 | 201), "{body}");
}

async fn names_follow_the_silo(program: Program) {
    let mut server = DnsServer::start(program);
    let folder = tempfile::tempdir().unwrap();
    configure(
        folder.path(),
        &server,
        &format!("reverse: [{}]", REVERSE[0]),
    );
    let hub = Hub::start(folder.path());
    let admin = Caller::new(&hub, &hub.admin_token());
    let db = format!("db.{ZONE}");
    let pointer = format!("{db}.");
    put(&admin, "db", "192.0.2.10").await;
    put(&admin, "db", "2001:db8::10").await;
    until_answers(&server, &db, "A", &["192.0.2.10"]).await;
    until_answers(&server, &db, "AAAA", &["2001:db8::10"]).await;
    until_answers(&server, "10.2.0.192.in-addr.arpa", "PTR", &[&pointer]).await;

    put(&admin, "db", "192.0.2.11").await;
    until_answers(&server, &db, "A", &["192.0.2.11"]).await;
    until_answers(&server, "10.2.0.192.in-addr.arpa", "PTR", &[]).await;
    until_answers(&server, "11.2.0.192.in-addr.arpa", "PTR", &[&pointer]).await;

    // Away for a while: nothing is lost, and it comes right without a hand.
    server.stop();
    for last in 12..20 {
        put(&admin, "db", &format!("192.0.2.{last}")).await;
    }
    put(&admin, "web", "192.0.2.30").await;
    until("the trouble is shown", async || {
        let pending = deliveries(&admin, "pending").await;
        let is_shown = pending.iter().any(|delivery| {
            delivery["why"].is_string()
                && delivery["next_try"].is_string()
                && delivery["failing_since"].is_string()
        });
        is_shown.then_some(())
    })
    .await;
    server.start_again();
    until_answers(&server, &db, "A", &["192.0.2.19"]).await;
    until_answers(&server, &format!("web.{ZONE}"), "A", &["192.0.2.30"]).await;
    until("nothing is owed", async || {
        let pending = deliveries(&admin, "pending").await;
        pending.is_empty().then_some(())
    })
    .await;

    let gone = admin.request(Method::DELETE, "/silos/office").send().await;
    assert_eq!(gone.unwrap().status(), 204);
    until_answers(&server, &db, "A", &[]).await;
    until_answers(&server, &db, "AAAA", &[]).await;
    until_answers(&server, "19.2.0.192.in-addr.arpa", "PTR", &[]).await;
    assert_eq!(deliveries(&admin, "failed").await, [] as [Value; 0]);
}

async fn names_of_others_are_taken_over_or_left(program: Program) {
    let server = DnsServer::start(program);
    let folder = tempfile::tempdir().unwrap();
    configure(folder.path(), &server, "");
    let hub = Hub::start(folder.path());
    let admin = Caller::new(&hub, &hub.admin_token());
    let nas = format!("nas.{ZONE}");
    server.change(&[&format!("update add {nas} 60 A 192.0.2.50")]);
    put(&admin, "nas", "192.0.2.51").await;
    put(&admin, "alias", "192.0.2.52").await;
    put(&admin, "db", "192.0.2.53").await;
    until_answers(&server, &format!("db.{ZONE}"), "A", &["192.0.2.53"]).await;
    until("two names are refused", async || {
        let failed = deliveries(&admin, "failed").await;
        (failed.len() == 2).then_some(())
    })
    .await;
    let failed = deliveries(&admin, "failed").await;
    let why = |at: usize| failed[at]["why"].as_str().unwrap();
    assert!(why(0).starts_with("name holds a CNAME"), "{}", why(0));
    assert!(why(1).starts_with("name exists"), "{}", why(1));
    assert_eq!(server.lookup(&nas, "A"), ["192.0.2.50"], "left alone");

    // Another program sets it to the silo's addresses: now it can be taken over.
    server.change(&[
        &format!("update delete {nas} A"),
        &format!("update add {nas} 60 A 192.0.2.51"),
    ]);
    let adopted = hub.cli(&["sink", "adopt", "dns"]);
    let said = String::from_utf8_lossy(&adopted.stdout).into_owned();
    assert!(adopted.status.success(), "{adopted:?}");
    assert!(said.contains("1 names taken over"), "{said}");
    put(&admin, "nas", "192.0.2.54").await;
    until_answers(&server, &nas, "A", &["192.0.2.54"]).await;

    let checked = hub.cli(&["check-config", "--connect"]);
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success(), "{checked:?}");
    assert!(said.contains("sink dns: rfc2136: "), "{said}");

    let cleaned = hub.cli(&["sink", "clean", "dns"]);
    assert!(cleaned.status.success(), "{cleaned:?}");
    assert_eq!(server.lookup(&nas, "A"), [] as [&str; 0]);
    assert_eq!(server.lookup(&format!("db.{ZONE}"), "A"), [] as [&str; 0]);
    assert_eq!(server.lookup(&format!("taken.{ZONE}"), "A"), ["192.0.2.99"]);
    assert_eq!(hub.cli(&["sink", "clean", "other"]).status.code(), Some(2));
}

/// Before, neither of them did anything: by the ledger everything was published.
async fn what_a_restored_server_has_lost_is_published_again(program: Program) {
    let mut server = DnsServer::start(program);
    let folder = tempfile::tempdir().unwrap();
    configure(
        folder.path(),
        &server,
        &format!("reverse: [{}]", REVERSE[0]),
    );
    let hub = Hub::start(folder.path());
    let admin = Caller::new(&hub, &hub.admin_token());
    let [db, web, others] = ["db", "web", "others"].map(|host| format!("{host}.{ZONE}"));
    let pointer = format!("{db}.");
    put(&admin, "db", "192.0.2.10").await;
    put(&admin, "web", "2001:db8::20").await;
    let is_right = async |server: &DnsServer| {
        until_answers(server, &db, "A", &["192.0.2.10"]).await;
        until_answers(server, &web, "AAAA", &["2001:db8::20"]).await;
        until_answers(server, "10.2.0.192.in-addr.arpa", "PTR", &[&pointer]).await;
    };
    is_right(&server).await;
    until("nothing is owed", async || {
        let pending = deliveries(&admin, "pending").await;
        pending.is_empty().then_some(())
    })
    .await;

    // By hand.
    server.restore();
    assert_eq!(server.lookup(&db, "A"), [] as [&str; 0]);
    let published = hub.cli(&["sink", "publish", "dns"]);
    let said = String::from_utf8_lossy(&published.stdout).into_owned();
    assert!(published.status.success(), "{published:?}");
    assert!(said.contains("everything is published"), "{said}");
    is_right(&server).await;

    // By the comparison, which comes daily and at each start. What others have there stays.
    server.restore();
    server.change(&[
        &format!("update add {db} 60 A 192.0.2.99"),
        &format!("update add {web} 60 A 192.0.2.98"),
        &format!("update add {others} 60 A 192.0.2.97"),
    ]);
    put(&admin, "others", "192.0.2.30").await;
    assert_eq!(hub.stop(), Some(0));
    let hub = Hub::start(folder.path());
    let admin = admin.at(hub.url());
    is_right(&server).await;
    assert_eq!(server.lookup(&web, "A"), ["192.0.2.98"]);
    assert_eq!(server.lookup(&others, "A"), ["192.0.2.97"]);
    let published = hub.cli(&["sink", "publish", "dns"]);
    assert_eq!(published.status.code(), Some(1), "{published:?}");
    let why = String::from_utf8_lossy(&published.stderr).into_owned();
    assert!(why.contains("1 names could not be published"), "{why}");
    assert_eq!(server.lookup(&others, "A"), ["192.0.2.97"]);

    // While the server is away, the command says so; the hub continues by itself.
    server.stop();
    let published = hub.cli(&["sink", "publish", "dns"]);
    assert_eq!(published.status.code(), Some(1), "{published:?}");
    server.restore();
    is_right(&server).await;
    let unknown = hub.cli(&["sink", "publish", "other"]);
    assert_eq!(unknown.status.code(), Some(2));
    drop(admin);
}

mod bind {
    use super::*;

    #[tokio::test]
    async fn what_a_restored_server_has_lost_is_published_again() {
        super::what_a_restored_server_has_lost_is_published_again(Program::Bind).await;
    }

    #[tokio::test]
    async fn names_follow_the_silo() {
        super::names_follow_the_silo(Program::Bind).await;
    }

    #[tokio::test]
    async fn names_of_others_are_taken_over_or_left() {
        super::names_of_others_are_taken_over_or_left(Program::Bind).await;
    }
}

mod knot {
    use super::*;

    #[tokio::test]
    async fn what_a_restored_server_has_lost_is_published_again() {
        super::what_a_restored_server_has_lost_is_published_again(Program::Knot).await;
    }

    #[tokio::test]
    async fn names_follow_the_silo() {
        super::names_follow_the_silo(Program::Knot).await;
    }

    #[tokio::test]
    async fn names_of_others_are_taken_over_or_left() {
        super::names_of_others_are_taken_over_or_left(Program::Knot).await;
    }
}
