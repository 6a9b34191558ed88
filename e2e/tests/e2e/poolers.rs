//! A pooler between hub and PostgreSQL, and a server without a free connection.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use silo_e2e::postgres::{Postgres, command_of_server, free_port};
use silo_e2e::{Caller, Hub, PATIENCE, PAUSE, binary, until};

/// A running PgBouncer before one database.
struct PgBouncer {
    child: Child,
    port: u16,
    log: PathBuf,
}

impl PgBouncer {
    /// Starts one with these settings for a database that is reached without a password.
    fn start(postgres: &Postgres, settings: &str) -> Self {
        let folder = postgres.folder();
        let port = free_port();
        let at = folder.display();
        let config = format!(
            "[databases]\nsilo = host=127.0.0.1 port={} user=silo\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir = {at}\nauth_type = any\nlogfile = {at}/pgbouncer-{port}.log\n{settings}\n",
            postgres.port()
        );
        let file = folder.join(format!("pgbouncer-{port}.ini"));
        std::fs::write(&file, config).unwrap();
        let program = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"];
        let program = program.into_iter().find(|path| Path::new(path).exists());
        let program = program.expect("pgbouncer is installed");
        let child = command_of_server(Path::new(program))
            .arg(file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let this = Self {
            child,
            port,
            log: folder.join(format!("pgbouncer-{port}.log")),
        };
        let deadline = std::time::Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = std::fs::read_to_string(&this.log).unwrap_or_default();
            assert!(std::time::Instant::now() < deadline, "{log}");
            std::thread::sleep(PAUSE);
        }
        this
    }

    fn url(&self) -> String {
        format!("postgres://silo@127.0.0.1:{}/silo", self.port)
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        // It fails when the pooler has ended already, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The setting that the hub's page names.
fn printed_setting() -> String {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/several-hubs.md");
    let page = std::fs::read_to_string(page).unwrap();
    silo_e2e::stanza(&page, "ini").to_owned()
}

/// Runs a hub that is expected to end by itself.
fn serve(database: &str, folder: &Path) -> Output {
    Command::new(binary("silo-hub"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(folder.join("data"))
        .env("SILO_HUB_DATABASE", database)
        .stdin(Stdio::null())
        .output()
        .expect("the hub can be started")
}

/// A hub that does not start on this database says so.
fn is_refused(database: &str, folder: &Path, words: &str) {
    let refused = serve(database, folder);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains(words), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hubs_work_behind_pgbouncer_with_a_session_each_and_refuse_another_mode() {
    let folder = tempfile::tempdir().unwrap();
    let postgres = Postgres::start();
    postgres.database("silo");

    let settings = printed_setting();
    let (ignored, mode) = ("ignore_startup_parameters", "pool_mode = session");
    assert!(
        settings.contains(ignored) && settings.contains(mode),
        "{settings}"
    );
    let unknowing = PgBouncer::start(&postgres, mode);
    is_refused(&unknowing.url(), folder.path(), ignored);
    for (number, other) in ["transaction", "statement"].into_iter().enumerate() {
        let other = settings.replace(mode, &format!("pool_mode = {other}"));
        for size in ["", "default_pool_size = 1", "server_round_robin = 1"] {
            let pooler = PgBouncer::start(&postgres, &format!("{other}\n{size}"));
            let folder = folder.path().join(format!("{number}{size}"));
            std::fs::create_dir_all(&folder).unwrap();
            is_refused(&pooler.url(), &folder, mode);
        }
    }

    let pooler = PgBouncer::start(&postgres, &settings);
    let key = folder.path().join("hub.key");
    let [one, two] =
        ["one", "two"].map(|name| Hub::start_on(&pooler.url(), &key, &folder.path().join(name)));
    let admin = Caller::new(&one, &one.admin_token());
    let other = admin.at(two.url());
    for last in 1..=20 {
        let ip = format!("10.0.0.{last}");
        let (status, _) = admin.put_ip("office", "db", &ip).await.unwrap();
        assert!(matches!(status, 200 | 201), "{status}");
        until("the other hub shows it", async || {
            let (_, record) = other.get("/silos/office/records/db").await;
            (record["ips"][0] == ip.as_str()).then_some(())
        })
        .await;
    }
    for hub in [one, two] {
        assert!(!hub.log().contains(" ERROR "), "{}", hub.log());
        assert_eq!(hub.stop(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_a_free_connection_is_named_and_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let postgres = Postgres::start();
    postgres.database("silo");
    postgres.ask("silo", "CREATE ROLE hub LOGIN");
    postgres.ask("silo", "ALTER DATABASE silo OWNER TO hub");
    let database = format!("postgres://hub@127.0.0.1:{}/silo", postgres.port());
    let key = folder.path().join("hub.key");
    let hub = Hub::start_on(&database, &key, &folder.path().join("one"));
    let admin = Caller::new(&hub, &hub.admin_token());
    assert_eq!(
        admin.put_ip("office", "db", "10.0.0.1").await.unwrap().0,
        201
    );

    postgres.ask("silo", "ALTER ROLE hub CONNECTION LIMIT 0");
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'hub'";
    postgres.ask("silo", end);
    let why = "the server has no connection left for this user";
    until("the hub is not ready", async || {
        (admin.get("/readyz").await.0 == 503 && hub.log().contains(why)).then_some(())
    })
    .await;
    assert_eq!(
        admin.put_ip("office", "db", "10.0.0.2").await.unwrap().0,
        503
    );
    assert_eq!(admin.get("/healthz").await.0, 200);
    is_refused(
        &database,
        &folder.path().join("two"),
        "raise its max_connections",
    );

    postgres.ask("silo", "ALTER ROLE hub CONNECTION LIMIT -1");
    until("the hub is ready", async || {
        (admin.get("/readyz").await.0 == 200).then_some(())
    })
    .await;
    assert_eq!(
        admin.put_ip("office", "db", "10.0.0.2").await.unwrap().0,
        200
    );
}
