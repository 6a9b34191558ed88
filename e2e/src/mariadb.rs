//! A MariaDB server of the test's own, in a temporary folder, and replicas of it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::PATIENCE;
use crate::postgres::{free_port, is_root, run};

/// Where Debian's packages put the programs.
const FOLDERS: [&str; 2] = ["/usr/sbin", "/usr/bin"];

/// Who may do everything, also while the server is read-only; and whom the hub logs in as. Neither is replicated.
const USERS: &str = "SET SESSION sql_log_bin = 0;
CREATE OR REPLACE USER 'admin'@'127.0.0.1' IDENTIFIED BY '';
GRANT ALL PRIVILEGES ON *.* TO 'admin'@'127.0.0.1' WITH GRANT OPTION;
CREATE OR REPLACE USER 'silo'@'127.0.0.1' IDENTIFIED BY '';
GRANT ALL PRIVILEGES ON silo.* TO 'silo'@'127.0.0.1';
";

/// A running server. It writes a binary log with global transaction ids.
#[derive(Debug)]
pub struct MariaDb {
    server: Child,
    folder: tempfile::TempDir,
    port: u16,
}

impl MariaDb {
    /// Installs a server, starts it and waits until it answers.
    ///
    /// # Panics
    ///
    /// If MariaDB is not installed or does not start.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let path = folder.path();
        std::fs::write(path.join("users.sql"), USERS).expect("a file there can be written");
        let data = path.join("data");
        std::fs::create_dir(&data).expect("a folder there can be made");
        if is_root() {
            let user = user();
            run(Command::new("chown").args(["-R", user]).arg(path));
        }
        run(program("mariadb-install-db", path)
            .args(["--no-defaults", "--skip-test-db", "--skip-name-resolve"])
            .args([
                "--auth-root-authentication-method=socket",
                "--innodb-flush-method=nosync",
            ])
            .arg(format!("--datadir={}", data.display())));
        let port = free_port();
        let log = File::create(path.join("log")).expect("a file there can be made");
        let server = program("mariadbd", path)
            .arg("--no-defaults")
            .arg(format!("--datadir={}", data.display()))
            .arg(format!("--tmpdir={}", path.display()))
            .arg(format!("--init-file={}", path.join("users.sql").display()))
            .args(["--bind-address=127.0.0.1", "--skip-name-resolve"])
            .args(["--socket=mariadb.sock", "--pid-file=mariadb.pid"])
            .args(["--log-bin=bin", "--log-slave-updates"])
            .args([format!("--port={port}"), format!("--server-id={port}")])
            .args([
                "--innodb-flush-method=nosync",
                "--innodb-buffer-pool-size=32M",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the server can be started");
        let mut this = Self {
            server,
            folder,
            port,
        };
        this.wait();
        this
    }

    fn wait(&mut self) {
        let deadline = Instant::now() + PATIENCE * 2;
        while self.try_ask("SELECT 1").is_err() {
            let ended = self.server.try_wait().expect("a child can be asked");
            let log = || std::fs::read_to_string(self.folder.path().join("log"));
            assert!(ended.is_none(), "the server ended: {:?}", log());
            assert!(Instant::now() < deadline, "no answer: {:?}", log());
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }

    /// A new server that follows this one from its first transaction on, and is read-only.
    pub fn replica(&self) -> Self {
        let replica = Self::start();
        replica.ask("SET GLOBAL read_only = 1");
        replica.ask(&format!(
            "{}, MASTER_USE_GTID = slave_pos; START SLAVE",
            self.as_primary()
        ));
        replica
    }

    /// Has a primary, which is read-only already, follow the server that has taken its place.
    pub fn follow(&self, primary: &Self) {
        self.ask(&format!(
            "{}, MASTER_DEMOTE_TO_SLAVE = 1; START SLAVE",
            primary.as_primary()
        ));
    }

    fn as_primary(&self) -> String {
        let Self { port, .. } = self;
        format!(
            "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {port}, MASTER_USER = 'admin', \
             MASTER_PASSWORD = '', MASTER_CONNECT_RETRY = 1"
        )
    }

    /// Makes a replica the primary.
    pub fn promote(&self) {
        self.ask("STOP SLAVE; RESET SLAVE ALL; SET GLOBAL read_only = 0");
    }

    /// Ends the server as a crash would.
    pub fn kill(&mut self) {
        self.server.kill().expect("a running child can be killed");
        self.server.wait().expect("a child can be waited for");
    }

    /// What some statements answer, as an administrator.
    ///
    /// # Panics
    ///
    /// If the server refuses one.
    pub fn ask(&self, statements: &str) -> String {
        self.try_ask(statements)
            .unwrap_or_else(|error| panic!("{statements}: {error}"))
    }

    /// Like [`MariaDb::ask`]; what the client said where the server refused, or did not answer.
    pub fn try_ask(&self, statements: &str) -> Result<String, String> {
        let output = Command::new(path_of("mariadb"))
            .args(["--no-defaults", "--protocol=tcp", "--host=127.0.0.1"])
            .args(["--user=admin", "--batch", "--skip-column-names"])
            .arg(format!("--port={}", self.port))
            .arg(format!("--execute={statements}"))
            .stdin(Stdio::null())
            .output()
            .expect("the client can be started");
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        // Both fail when the test has ended it already, which is as well.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn path_of(name: &str) -> PathBuf {
    let mut paths = FOLDERS
        .map(|folder| Path::new(folder).join(name))
        .into_iter();
    let path = paths.find(|path| path.exists());
    path.unwrap_or_else(|| panic!("{name} is missing: install mariadb-server"))
}

/// Who the server runs as, since it refuses root. Without the service's package there is no user of its own.
fn user() -> &'static str {
    let known = Command::new("getent").args(["passwd", "mysql"]).output();
    if known.is_ok_and(|known| known.status.success()) {
        "mysql"
    } else {
        "postgres"
    }
}

/// A program of the server's, as the server's user, in a folder.
fn program(name: &str, folder: &Path) -> Command {
    let path = path_of(name);
    let mut command = if is_root() {
        let (user, group) = (format!("--reuid={}", user()), format!("--regid={}", user()));
        let mut command = Command::new("setpriv");
        command
            .args([&user, &group, "--clear-groups", "--"])
            .arg(path);
        command
    } else {
        Command::new(path)
    };
    command.current_dir(folder).env("TMPDIR", folder);
    command
}
