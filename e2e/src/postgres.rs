//! A PostgreSQL cluster of the test's own, in a temporary folder, which it may stop and start.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where Debian's packages put the programs of each version: `VERSION/bin`.
const VERSIONS: &str = "/usr/lib/postgresql";

/// A running (or stopped) cluster.
#[derive(Debug)]
pub struct Postgres {
    folder: tempfile::TempDir,
    port: u16,
}

/// Where a program of PostgreSQL's package lies, of the newest version that has a server, as `scripts/with-databases`
/// chooses it.
pub(crate) fn program_path(name: &str) -> PathBuf {
    let versions = std::fs::read_dir(VERSIONS).into_iter().flatten().flatten();
    let with_server = versions.filter(|version| version.path().join("bin/postgres").exists());
    let newest = with_server
        .filter_map(|version| version.file_name().to_str()?.parse::<u32>().ok())
        .max();
    let path = newest.map(|version| Path::new(VERSIONS).join(format!("{version}/bin/{name}")));
    path.filter(|path| path.exists())
        .unwrap_or_else(|| panic!("{VERSIONS}/VERSION/bin/{name} is missing: install postgresql"))
}

/// A port without a listener at this moment.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has free ports");
    listener
        .local_addr()
        .expect("a bound listener has an address")
        .port()
}

/// A program that runs as the user of PostgreSQL's package: the server and its poolers refuse root.
pub fn command_of_server(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    let user = [
        "--reuid=postgres",
        "--regid=postgres",
        "--clear-groups",
        "--",
    ];
    command.args(user).arg(program);
    command
}

impl Postgres {
    /// Makes a cluster and starts it.
    pub fn start() -> Self {
        let this = Self::in_new_folder();
        let arguments = [
            "--username=silo",
            "--auth=trust",
            "--locale=C.UTF-8",
            "--encoding=UTF8",
        ];
        run(this
            .program("initdb")
            .args(arguments)
            .arg("-D")
            .arg(this.data()));
        this.start_again();
        this
    }

    fn in_new_folder() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let this = Self {
            folder,
            port: free_port(),
        };
        // PostgreSQL refuses root: everything then runs as the package's own user.
        if is_root() {
            run(Command::new("chown")
                .arg("postgres")
                .arg(this.folder.path()));
        }
        this
    }

    /// Starts a stopped cluster and waits until it answers.
    pub fn start_again(&self) {
        let options = format!(
            "-p {} -h 127.0.0.1 -k {}",
            self.port,
            self.folder.path().display()
        );
        run(self
            .program("pg_ctl")
            .args(["start", "--wait", "-o", &options, "-D"])
            .arg(self.data())
            .arg("-l")
            .arg(self.folder.path().join("log")));
    }

    /// Stops the cluster as an administrator in a hurry would: its clients lose their connections.
    pub fn stop(&self) {
        run(self
            .program("pg_ctl")
            .args(["stop", "--wait", "-m", "fast", "-D"])
            .arg(self.data()));
    }

    /// Changes a setting of the whole server that needs no restart.
    pub fn set(&self, name: &str, value: &str) {
        self.ask("postgres", &format!("ALTER SYSTEM SET {name} = {value}"));
        self.ask("postgres", "SELECT pg_reload_conf()");
    }

    /// Serves TLS with a new self-signed certificate for the loopback that was made at a time, such as `2020-01-01`, for
    /// ten days; returns its file.
    pub fn serve_tls(&self, made_at: &str) -> PathBuf {
        let (key, cert) = (
            self.data().join("server.key"),
            self.data().join("server.crt"),
        );
        run(Command::new("faketime")
            .args([made_at, "openssl", "req", "-x509", "-newkey", "rsa:2048"])
            .args(["-nodes", "-days", "10", "-subj", "/CN=db.lan"])
            .args(["-addext", "subjectAltName=IP:127.0.0.1"])
            .args(["-addext", "basicConstraints=critical,CA:false"])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&cert));
        if is_root() {
            run(Command::new("chown").arg("postgres").args([&key, &cert]));
        }
        self.set("ssl", "on");
        let copy = self.folder.path().join("ca.crt");
        std::fs::copy(cert, &copy).expect("a certificate can be copied");
        copy
    }

    /// A new server that follows this one, as `pg_basebackup -R` makes it.
    pub fn standby(&self) -> Self {
        let standby = Self::in_new_folder();
        let port = self.port.to_string();
        run(standby
            .program("pg_basebackup")
            .args([
                "--write-recovery-conf",
                "--checkpoint=fast",
                "-h",
                "127.0.0.1",
            ])
            .args(["-p", &port, "-U", "silo", "-D"])
            .arg(standby.data()));
        standby.start_again();
        standby
    }

    /// Makes a standby the primary.
    pub fn promote(&self) {
        run(self
            .program("pg_ctl")
            .args(["promote", "--wait", "-D"])
            .arg(self.data()));
    }

    /// Has a stopped server follow another one when it starts again.
    pub fn follow(&self, primary: &Self) {
        let statement = format!(
            "primary_conninfo = 'host=127.0.0.1 port={} user=silo'\n",
            primary.port
        );
        let settings = self.data().join("postgresql.auto.conf");
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .open(settings)
            .expect("a cluster has settings");
        std::io::Write::write_all(&mut file, statement.as_bytes()).expect("they can be added to");
        std::fs::write(self.data().join("standby.signal"), "").expect("a cluster has a folder");
    }

    /// What one statement answers.
    pub fn ask(&self, database: &str, statement: &str) -> String {
        let output = self
            .program("psql")
            .args([
                "-h",
                "127.0.0.1",
                "-p",
                &self.port.to_string(),
                "-U",
                "silo",
            ])
            .args([
                "--no-psqlrc",
                "--tuples-only",
                "--no-align",
                "--dbname",
                database,
            ])
            .args(["--command", statement])
            .output()
            .expect("psql can be started");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{statement}: {error}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stops the cluster as a crash would: what it has not sent to a standby stays with it.
    pub fn stop_at_once(&self) {
        run(self
            .program("pg_ctl")
            .args(["stop", "--wait", "-m", "immediate", "-D"])
            .arg(self.data()));
    }

    /// The URL of a new database.
    pub fn database(&self, name: &str) -> String {
        let port = self.port.to_string();
        run(self
            .program("createdb")
            .args(["-h", "127.0.0.1", "-p", &port, "-U", "silo", name]));
        format!("postgres://silo@127.0.0.1:{port}/{name}")
    }

    /// Like [`Postgres::database`], with its files in another folder, which belongs to the server's user.
    pub fn database_in(&self, name: &str, folder: &Path) -> String {
        let port = self.port.to_string();
        let server = ["-h", "127.0.0.1", "-p", &port, "-U", "silo"];
        let statement = format!("CREATE TABLESPACE {name} LOCATION '{}'", folder.display());
        run(self.program("psql").args(server).args([
            "--no-psqlrc",
            "--dbname=postgres",
            "--command",
            &statement,
        ]));
        run(self
            .program("createdb")
            .args(server)
            .args(["--tablespace", name, name]));
        format!("postgres://silo@127.0.0.1:{port}/{name}")
    }

    /// The folder of the cluster and its log, in which the server's user may write.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn program(&self, name: &str) -> Command {
        let mut command = command_of_server(&program_path(name));
        command.current_dir(self.folder.path());
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // It fails when the test has stopped the cluster already, which is as well.
        let _ = self
            .program("pg_ctl")
            .args(["stop", "-m", "immediate", "-D"])
            .arg(self.data())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

pub(crate) fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().expect("id is there");
    output.stdout == b"0\n"
}

pub(crate) fn run(command: &mut Command) {
    // No pipes: a server that goes on would keep them open.
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let status = status.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}
