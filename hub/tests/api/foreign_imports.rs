//! `silo import --from`: what pyDDNS and dynahost hold, taken over by the command line beside a running hub.

mod pyddns_database;

use std::path::{Path, PathBuf};

use serde_json::json;
use silo_e2e::stanza;
use sqlx::{AssertSqlSafe, Connection};

use crate::common::{TestHub, dnsrecords};

/// pyDDNS's answer to `GET /silos`, byte for byte as its server writes it: with a full stop between silos.
const PYDDNS: &str = "[\r\n{\"id\": \"web\", \"dnsrecords\": [\r\n{\"hostname\": \"webserver\", \"ip\": \"192.0.2.1\"}, \r\n{\"hostname\": \"DbServer\", \"ip\": \"192.0.2.2\"}\r\n]}.\r\n{\"id\": \"empty\", \"dnsrecords\": [\r\n\r\n]}\r\n]";

/// What dynahost's `create_db` makes, with two hosts of which one has had both families, and one without any.
const DYNAHOST: &str = "\
    CREATE TABLE hosts(id INTEGER PRIMARY KEY AUTOINCREMENT UNIQUE, host TEXT, last_ip TEXT);\
    CREATE INDEX hosts_host ON hosts (host);\
    CREATE TABLE log(id INTEGER PRIMARY KEY AUTOINCREMENT UNIQUE, host_id INTEGER, \
        mod_date DATETIME DEFAULT (datetime('now', 'localtime')), new_ip TEXT);\
    CREATE INDEX log_host ON log (host_id, mod_date);\
    INSERT INTO hosts(host, last_ip) VALUES \
        ('nas.dyn.example.net', '192.0.2.9'), ('pi.dyn.example.net', '2001:db8::7'), ('new.dyn.example.net', NULL);\
    INSERT INTO log(host_id, mod_date, new_ip) VALUES \
        (1, '2026-01-01 10:00:00', '192.0.2.7'), (2, '2026-01-01 11:00:00', '192.0.2.8'), \
        (1, '2026-01-01 12:00:00', '192.0.2.9'), (2, '2026-01-01 12:00:00', '2001:db8::7');";

/// Runs `silo import` with these arguments; answers exit code, output and errors.
async fn import(hub: &TestHub, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut program = hub.home.program(&hub.settings);
    // Local time is an hour ahead of UTC.
    program.env("TZ", "CET-1").args(["silo", "import"]);
    let output = program
        .args(arguments)
        .output()
        .await
        .expect("it can be started");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

fn file(hub: &TestHub, name: &str, content: &str) -> PathBuf {
    let file = hub.home.path().join(name);
    std::fs::write(&file, content).expect("a file can be written");
    file
}

/// A database file of dynahost's, after more statements.
async fn dynahost(hub: &TestHub, name: &str, more: &str) -> PathBuf {
    database(hub, name, &format!("{DYNAHOST}{more}")).await
}

/// A database file after these statements.
async fn database(hub: &TestHub, name: &str, statements: &str) -> PathBuf {
    let file = hub.home.path().join(name);
    sqlx::any::install_default_drivers();
    let url = format!("sqlite:{}?mode=rwc", file.display());
    let mut connection = sqlx::AnyConnection::connect(&url).await.expect("it opens");
    let statements = sqlx::raw_sql(AssertSqlSafe(statements.to_owned()));
    let done = statements.execute(&mut connection).await;
    done.expect("the statements are good");
    connection.close().await.expect("it closes");
    file
}

/// The arguments of a page's import, with this file.
fn of_page(page: &str, name: &str, file: &Path) -> Vec<String> {
    let line = stanza(page, "import").trim();
    let line = line.strip_prefix("silo-hub silo import --data-dir /var/lib/silo-hub ");
    let line = line.expect("the page imports").replace(name, of(file));
    line.split(' ').map(ToOwned::to_owned).collect()
}

fn of(path: &Path) -> &str {
    path.to_str().expect("a path of UTF-8")
}

#[tokio::test]
async fn pyddns_silos_come_once_and_newer_addresses_stay() {
    let hub = TestHub::start().await;
    let answer = file(&hub, "silos.json", PYDDNS);
    let page = include_str!("../../../docs/pyddns.md");
    let arguments = of_page(page, "silos.json", &answer);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    assert_eq!(arguments, ["--from", "pyddns", of(&answer)]);
    let (code, said, error) = import(&hub, &arguments).await;
    let words = "read 2 silos (2 new, 0 left unchanged) with 2 records, 0 history rows (0 new)\n";
    assert_eq!((code, &*said), (Some(0), words), "{error}");
    let expected = dnsrecords(&[("dbserver", "192.0.2.2"), ("webserver", "192.0.2.1")]);
    let stored = hub.get("/silos/web").await.json();
    assert_eq!(stored["dnsrecords"], expected["dnsrecords"]);
    assert_eq!(hub.get("/silos/empty").await.status, 200);
    // The upstreams have moved on: the old answer takes nothing back.
    let put = hub.put("/silos/web/records/webserver");
    assert_eq!(put.json(&json!({"ip": "192.0.2.77"})).await.status, 200);
    let before = hub.get("/silos/web").await.json();
    for _ in 0..2 {
        let (code, said, error) = import(&hub, &arguments).await;
        assert_eq!(code, Some(0), "{error}");
        assert!(said.contains("(0 new, 2 left unchanged)"), "{said}");
    }
    assert_eq!(hub.get("/silos/web").await.json(), before);
    // Records missing in an existing silo are a failure.
    hub.delete("/silos/web/records/dbserver").await;
    let (code, _, error) = import(&hub, &arguments).await;
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("web (dbserver)"), "{error}");
    // Answers to GET /silos/ID, one after the other, and standard JSON.
    let other = r#"{"id": "a", "dnsrecords": [{"hostname": "x}.y", "ip": "::1"}]}"#;
    let both =
        other.replace("x}.y", "x.y") + "\n" + &other.replace("x}.y", "z").replace("\"a\"", "\"b\"");
    let (code, said, error) =
        import(&hub, &["--from", "pyddns", of(&file(&hub, "two", &both))]).await;
    assert_eq!(code, Some(0), "{error}");
    assert!(said.starts_with("read 2 silos (2 new"), "{said}");
}

#[tokio::test]
async fn errors_in_a_pyddns_response_are_named_and_nothing_is_imported() {
    let hub = TestHub::start().await;
    for (answer, words) in [
        ("", "the file: is empty"),
        ("{\"message\":", "the file is not JSON: EOF"),
        ("[{}]", "[0].id: is missing or not a string"),
        (r#"[{"id": "web"}]"#, "web.dnsrecords: is not a list"),
        (r#"[{"id": "/", "dnsrecords": []}]"#, "[0].id: a silo id"),
        (
            r#"{"id": "web", "dnsrecords": [{"hostname": "a", "ip": "None"}]}"#,
            "web.dnsrecords[0].ip: \"None\": not an IPv4 or IPv6 address",
        ),
        (
            r#"{"id": "web", "dnsrecords": [{"hostname": "a", "ip": "10.0.0.1"}, {"ip": "10.0.0.1"}]}"#,
            "web.dnsrecords[1].hostname: is missing",
        ),
        (
            r#"{"id": "web", "dnsrecords": [{"hostname": "a b", "ip": "10.0.0.1"}]}"#,
            "web.dnsrecords[0].hostname: \"a b\"",
        ),
        (
            r#"{"id": "web", "dnsrecords": [{"hostname": "a", "ip": "10.0.0.1"}, {"hostname": "A", "ip": "10.0.0.2"}]}"#,
            "web.dnsrecords[1]: this hostname has another address already",
        ),
        (
            r#"[{"id": "web", "dnsrecords": []}, {"id": "WEB", "dnsrecords": []}]"#,
            "web: duplicate silo",
        ),
    ] {
        let answer = file(&hub, "wrong.json", answer);
        let (code, said, error) = import(&hub, &["--from", "pyddns", of(&answer)]).await;
        assert_eq!((code, &*said), (Some(1), ""), "{words}");
        assert!(error.contains(words), "{words}: {error}");
        assert!(error.contains("wrong.json"), "{error}");
    }
    assert_eq!(hub.get("/silos/web").await.status, 404);
    let database = dynahost(&hub, "dynahost.db", "").await;
    for arguments in [
        ["--from", "pyddns", "--silo", "home", "x.json"].as_slice(),
        &["--from", "dynahost", of(&database)],
        &["--from", "other", "x.json"],
        &["--silo", "home", "x.json"],
    ] {
        let (code, _, error) = import(&hub, arguments).await;
        assert_eq!(code, Some(2), "{arguments:?}: {error}");
    }
}

#[tokio::test]
async fn dynahosts_history_is_imported_once_without_bindings() {
    let hub = TestHub::start().await;
    let database = dynahost(&hub, "dynahost.db", "").await;
    let page = include_str!("../../../docs/dynahost.md");
    let arguments = of_page(page, "dynahost.db", &database);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    assert_eq!(arguments[..4], ["--from", "dynahost", "--silo", "home"]);
    let (code, said, error) = import(&hub, &arguments).await;
    let words = "read 1 silos (1 new, 0 left unchanged) with 2 records, 5 history rows (5 new)\n";
    assert_eq!((code, &*said), (Some(0), words), "{error}");
    let stored = hub.get("/silos/home").await.json();
    let expected = dnsrecords(&[
        ("nas.dyn.example.net", "192.0.2.9"),
        ("pi.dyn.example.net", "2001:db8::7"),
    ]);
    assert_eq!(stored["dnsrecords"], expected["dnsrecords"]);
    let history = hub.history("home").await;
    let row = |at: usize, member: &str| history[at][member].clone();
    assert_eq!(history.len(), 5, "{history:?}");
    // Newest first; one address took the place of the other.
    assert_eq!(row(4, "at"), "2026-01-01T09:00:00.000Z", "in UTC");
    assert_eq!(row(4, "new_ip"), "192.0.2.7");
    assert_eq!(row(0, "hostname"), "pi.dyn.example.net");
    assert!(
        history
            .iter()
            .any(|row| row["old_ip"] == "192.0.2.8" && row["new_ip"].is_null())
    );
    assert!(
        history.iter().all(|row| row["via"] == "dynahost"),
        "{history:?}"
    );
    // Again, after a later change: nothing more, and nothing back.
    let put = hub.put("/silos/home/records/nas.dyn.example.net");
    assert_eq!(put.json(&json!({"ip": "192.0.2.99"})).await.status, 200);
    let (before, rows) = (
        hub.get("/silos/home").await.json(),
        hub.history("home").await,
    );
    for _ in 0..2 {
        let (code, said, error) = import(&hub, &arguments).await;
        assert_eq!(code, Some(0), "{error}");
        assert!(said.contains("(0 new, 1 left unchanged)"), "{said}");
        assert!(said.contains("5 history rows (0 new)"), "{said}");
    }
    assert_eq!(hub.get("/silos/home").await.json(), before);
    assert_eq!(hub.history("home").await, rows);
    // No host is bound.
    let mut list = hub.home.program(&hub.settings);
    let listed = list
        .args(["update-key", "list"])
        .output()
        .await
        .expect("it starts");
    assert!(
        listed.status.success() && listed.stdout.is_empty(),
        "{listed:?}"
    );
}

#[tokio::test]
async fn errors_in_a_dynahost_database_are_named_and_nothing_is_imported() {
    let hub = TestHub::start().await;
    let no_database = file(&hub, "text.db", "this is a text and not a database");
    let arguments = ["--from", "dynahost", "--silo", "home", of(&no_database)];
    let (code, _, error) = import(&hub, &arguments).await;
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("not a dynahost database"), "{error}");
    for (at, (more, words)) in [
        (
            "DROP TABLE log;",
            "not a dynahost database: no such table: log",
        ),
        (
            "UPDATE log SET new_ip = 'unknown' WHERE id = 3;",
            "row 3 of log: \"unknown\": not an",
        ),
        (
            "UPDATE log SET new_ip = NULL WHERE id = 3;",
            "row 3 of log: \"\": not an",
        ),
        (
            "UPDATE log SET host_id = 9 WHERE id = 2;",
            "row 2 of log: no host 9",
        ),
        (
            "UPDATE log SET mod_date = 'x' WHERE id = 1;",
            "row 1 of log: mod_date is not a valid time",
        ),
        (
            "UPDATE log SET mod_date = '2999-01-01 00:00:00' WHERE id = 1;",
            "row 1 of log: mod_date is not a valid time, or is in the future",
        ),
        (
            "UPDATE hosts SET host = 'a b' WHERE id = 1;",
            "row 1 of hosts: \"a b\"",
        ),
        (
            "UPDATE hosts SET last_ip = 'x' WHERE id = 1;",
            "row 1 of hosts: \"x\"",
        ),
        (
            "UPDATE hosts SET host = 'PI.dyn.example.net' WHERE id = 1;",
            "row 2 of hosts: duplicate hostname pi.dyn.example.net",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let database = dynahost(&hub, &format!("wrong{at}.db"), more).await;
        let arguments = ["--from", "dynahost", "--silo", "home", of(&database)];
        let (code, said, error) = import(&hub, &arguments).await;
        assert_eq!((code, &*said), (Some(1), ""), "{words}: {error}");
        assert!(error.contains(words), "{words}: {error}");
    }
    assert_eq!(hub.get("/silos/home").await.status, 404);
}
