//! An export carried from one kind of database to the others, by the command line.
//!
//! `SILO_TEST_ON` says which comes first after SQLite; with a server both are needed, by
//! `scripts/test --on postgres across_databases::`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use reqwest::Method;
use serde_json::{Value, json};
use silo_e2e::database::{Database, Kind};
use silo_e2e::{CLIENT, Caller, Hub, binary};

/// More than an export reads at once.
const MANY: usize = 1100;

/// The dynahost settings, with logins for a provider that does not exist.
const DYNAHOST: &str = "compat: {dynahost: {silo: dyn, hostnames: ['*.dyn']}}\n\
    sinks: [{name: ovh, kind: dyndns2, url: 'http://127.0.0.1:9/nic/update', logins: dynahost}]\n\
    trusted_proxies: [127.0.0.0/8]\n";

/// A data directory with the first hub's key, and a database.
struct Station {
    data_dir: PathBuf,
    database: Option<Database>,
}

impl Station {
    fn new(kind: Kind, folder: &Path, key: &Path) -> Self {
        std::fs::create_dir(folder).unwrap();
        std::fs::copy(key, folder.join("hub.key")).unwrap();
        Self {
            data_dir: folder.to_owned(),
            database: Database::create(kind),
        }
    }

    /// What the command line prints.
    fn cli(&self, input: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(binary("silo-hub"));
        command.env_remove("SILO_HUB_DATABASE");
        if let Some(database) = &self.database {
            command.env("SILO_HUB_DATABASE", database.url().as_str());
        }
        let mut child = command
            .args(arguments)
            .arg("--data-dir")
            .arg(&self.data_dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that fails may be gone before it has read everything, and says why.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }
}

async fn send(admin: &Caller, method: Method, path: &str, body: Value) {
    let sent = admin.request(method, path).json(&body).send().await;
    let status = sent.unwrap().status();
    assert!(status.is_success(), "{path}: {status}");
}

/// Everything that an export holds, with names and texts that databases sort and store unlike each other.
async fn fill(admin: &Caller) {
    for id in ["a-b", "ab", "a.c", "a_b", "a-c", "b", "0", "z9"] {
        let records: Vec<Value> = ["x-y", "xy", "x.a", "xn--nxasmq6b", "b", "a-1", "a1"]
            .iter()
            .map(|hostname| json!({"hostname": hostname, "ip": "10.0.0.5"}))
            .collect();
        let path = format!("/silos/{id}");
        send(admin, Method::PUT, &path, json!({"dnsrecords": records})).await;
    }
    let many: Vec<Value> = (0..MANY)
        .map(|number| json!({"hostname": format!("host-{number}"), "ip": "fd00::7"}))
        .collect();
    send(
        admin,
        Method::PUT,
        "/silos/many",
        json!({"dnsrecords": many}),
    )
    .await;
    let record = json!({
        "ips": ["10.0.0.6", "fd00:1:2:3:4:5:6:7"], "comment": "Gestell 3 «ä» 東 🗄\t\\ \"'\n--", "notify": "a@lan",
        "ipv6_suffix": "::5", "expires_after": 86_400,
    });
    send(admin, Method::PUT, "/silos/ab/records/x-y", record).await;
    send(admin, Method::DELETE, "/silos/ab/records/b", Value::Null).await;
    send(admin, Method::DELETE, "/silos/a-c", Value::Null).await;
    send(
        admin,
        Method::PUT,
        "/silos/empty",
        json!({"dnsrecords": []}),
    )
    .await;
    for name in ["東 🗄 ä", "a-b", "ab"] {
        let token = json!({
            "name": name, "role": "write", "silos": ["a-*", "ab"], "hostnames": ["x*"],
            "expires_at": "2099-01-01T00:00:00Z",
        });
        send(admin, Method::POST, "/tokens", token).await;
    }
}

/// The status of a call of dynahost's protocol, for a host with a secid and more.
async fn update(caller: &Caller, host: &str, secid: &str) -> u16 {
    let path = format!("/update?host={host}&secid={secid}");
    let request = caller.request(Method::GET, &path);
    let sent = request.header("x-forwarded-for", CLIENT).send().await;
    sent.unwrap().status().as_u16()
}

/// Update keys and hosts of dynahost; [`answer_as_before`] knows which of them count.
async fn fill_keys(source: &Hub, admin: &Caller) {
    for (hostname, key) in [("x-y", "ältere/key?a=b,c&%2F"), ("xy", "0123456789abcdef")] {
        let add = ["update-key", "add", "--silo", "ab", "--hostname", hostname];
        let added = source.cli(&[&add[..], &["--key", key]].concat());
        assert!(added.status.success(), "{added:?}");
    }
    let listed = String::from_utf8(source.cli(&["update-key", "list"]).stdout).unwrap();
    let revoked = listed.lines().find(|line| line.contains("hostname xy "));
    let revoked = revoked.unwrap().split(' ').next().unwrap();
    assert!(
        source
            .cli(&["update-key", "revoke", revoked])
            .status
            .success()
    );
    for (host, more) in [
        (
            "b.dyn",
            "&backend=ovh&login=user-quite2c9esecret&pass=%C3%A4-quite2c9esecret",
        ),
        ("a-b.dyn", ""),
    ] {
        assert_eq!(
            update(admin, host, &format!("secid-quite2c9esecret{more}")).await,
            200
        );
    }
    let opened = source.cli(&["update-key", "add", "--dynahost", "ab.dyn"]);
    assert!(opened.status.success(), "{opened:?}");
}

/// The keys, secids and rights of [`fill_keys`] count at another hub as they did at the first.
async fn answer_as_before(caller: &Caller) {
    for (key, status) in [
        ("%C3%A4ltere/key?a=b,c&%2F", 200),
        ("0123456789abcdef", 403),
    ] {
        let called = caller.request(Method::GET, &format!("/u/{key}"));
        let called = called.header("x-forwarded-for", CLIENT);
        assert_eq!(called.send().await.unwrap().status(), status, "{key}");
    }
    for (host, secid, status) in [
        ("b.dyn", "secid-quite2c9esecret", 200),
        ("b.dyn", "another", 403),
        ("a-b.dyn", "secid-quite2c9esecret", 200),
        ("ab.dyn", "whose-is-it", 200),
        ("ab.dyn", "secid-quite2c9esecret", 403),
    ] {
        assert_eq!(update(caller, host, secid).await, status, "{host} {secid}");
    }
    let (_, record) = caller.get("/silos/ab/records/x-y").await;
    assert_eq!(record["ips"][0], CLIENT);
}

#[tokio::test]
async fn an_export_goes_round_all_databases_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let way: &[Kind] = match Kind::chosen() {
        Kind::Sqlite => &[Kind::Sqlite],
        Kind::Postgres => &[Kind::Postgres, Kind::MariaDb, Kind::Sqlite],
        Kind::MariaDb => &[Kind::MariaDb, Kind::Postgres, Kind::Sqlite],
    };
    std::fs::write(folder.path().join("hub.yaml"), DYNAHOST).unwrap();
    let source = Hub::start(folder.path());
    let admin = Caller::new(&source, &source.admin_token());
    fill(&admin).await;
    let path = "/silos/ab";
    let (before, credential) = (admin.get(path).await, source.admin_token());
    fill_keys(&source, &admin).await;
    let key = source.data_dir().join("hub.key");
    let text = String::from_utf8(source.cli(&["silo", "export"]).stdout).unwrap();
    assert!(text.lines().count() > MANY, "{text}");
    assert_eq!(text.matches("\"token\":{").count(), 4);
    assert_eq!(text.matches("\"update_key\":{").count(), 2);
    assert_eq!(text.matches("\"dynahost\":{").count(), 3);
    assert!(
        !text.contains("quite2c9esecret"),
        "an export shows a secret"
    );
    assert_eq!(source.stop(), Some(0));

    let mut carried = text.clone();
    for (number, kind) in way.iter().enumerate() {
        let station = Station::new(*kind, &folder.path().join(format!("at-{number}")), &key);
        let said = station.cli(&carried, &["silo", "import", "-"]);
        assert!(said.starts_with("read 11 silos (11 new, "), "{said}");
        carried = station.cli("", &["silo", "export"]);
        for (line, (got, wanted)) in (1..).zip(carried.lines().zip(text.lines())) {
            assert_eq!(got, wanted, "line {line} after {kind:?}");
        }
        assert_eq!(carried, text, "after {kind:?}");
        let again = station.cli(&text, &["silo", "import", "-"]);
        assert!(again.contains("(0 new, 0 changed)"), "{again}");
        assert!(
            again.ends_with("4 tokens (0 new), 2 update keys (0 new), 3 dynahost hosts (0 new)\n"),
            "{again}"
        );
        assert_eq!(station.cli("", &["silo", "export"]), text);

        // Tokens stay valid there.
        let database = match &station.database {
            Some(database) => database.url().to_string(),
            None => format!("sqlite:{}/hub.db", station.data_dir.display()),
        };
        let serving = folder.path().join(format!("serving-{number}"));
        std::fs::create_dir_all(&serving).unwrap();
        std::fs::write(serving.join("hub.yaml"), DYNAHOST).unwrap();
        let hub = Hub::start_on(&database, &key, &serving);
        let caller = Caller::new(&hub, &credential);
        assert_eq!(caller.get(path).await, before);
        answer_as_before(&caller).await;
    }
}
