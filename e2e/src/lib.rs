//! Starts the real binaries for the end-to-end tests: each in a temporary folder, on a free port,
//! ended by process id when the test ends.

mod caller;
pub mod clock;
pub mod database;
pub mod dns;
pub mod forwarder;
pub mod fuzz;
pub mod http_server;
pub mod interceptor;
pub mod logs;
pub mod mariadb;
#[cfg(target_os = "linux")]
pub mod net_lab;
pub mod npm;
pub mod postgres;
pub mod provider;
pub mod relay;
pub mod smtp;
pub mod switch;
pub mod systemd;
pub mod template;
pub mod webhook_receiver;
mod wire;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

pub use caller::Caller;
use database::{Database, Kind};

/// How long a condition may take to come true before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How long a test waits before it looks at a condition again: to look without a pause takes the processor from what the
/// test waits for.
pub const PAUSE: Duration = Duration::from_millis(5);

/// Asks again and again until there is an answer, after a millisecond first, then less often.
///
/// # Panics
///
/// If there is none within twice [`PATIENCE`].
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE * 2;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Runs `body` for each case, at most `threads` of them at a time: for tables whose cases wait rather than compute.
///
/// # Panics
///
/// As `body` does, once the cases that were begun have ended.
pub fn for_each_on<T: Sync>(threads: usize, cases: &[T], body: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(cases.len()) {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if failed.load(Ordering::Relaxed) {
                        return;
                    }
                    let ran = std::panic::catch_unwind(AssertUnwindSafe(|| body(case)));
                    if let Err(panic) = ran {
                        failed.store(true, Ordering::Relaxed);
                        std::panic::resume_unwind(panic);
                    }
                }
            });
        }
    });
}

const ANY_PORT: &str = "127.0.0.1:0";

/// Where curl finds a configuration (`CURL_HOME`) by which it calls as if from [`CLIENT`], at a hub that trusts
/// the loopback as a proxy: a loopback address itself is none to publish.
pub const CURL_HOME: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/curl");
/// See [`CURL_HOME`].
pub const CLIENT: &str = "192.0.2.7";
/// The setting of a hub that trusts the loopback as a proxy.
pub const TRUSTS_LOOPBACK: &str = "trusted_proxies: [127.0.0.0/8]\n";

/// Where a binary of this workspace lies: beside this program, or above the folder of the tests.
pub fn binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a running program has a path");
    let folder = own.parent().expect("programs lie in <profile>");
    let folder = folder
        .parent()
        .filter(|_| folder.ends_with("deps"))
        .unwrap_or(folder);
    let path = folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(
        path.exists(),
        "{} is missing: run `cargo build --workspace` first",
        path.display()
    );
    path
}

/// A hub that runs as a process of its own.
#[derive(Debug)]
pub struct Hub {
    child: Child,
    data_dir: PathBuf,
    log: PathBuf,
    url: String,
    place: Place,
}

/// Paths outside the hub's data directory, which its command line needs too.
#[derive(Debug, Default)]
struct Place {
    database: Option<String>,
    key_file: Option<PathBuf>,
    /// Goes with the hub.
    _own: Option<Database>,
}

impl Place {
    /// A new database of the kind that `SILO_TEST_ON` names.
    fn chosen() -> Self {
        let own = Database::create(Kind::chosen());
        Self {
            database: own.as_ref().map(|own| own.url().to_string()),
            key_file: None,
            _own: own,
        }
    }

    /// A database on a server, which hubs with this key share.
    fn shared(database: &str, key_file: &Path) -> Self {
        Self {
            database: Some(database.to_owned()),
            key_file: Some(key_file.to_owned()),
            _own: None,
        }
    }

    /// Tells a command; the URL's password is not for the list of processes. A `hub.yaml` in the
    /// hub's folder is its configuration.
    fn tell(&self, command: &mut Command, folder: &Path) {
        let config = folder.join("hub.yaml");
        if config.exists() {
            command.arg("--config").arg(config);
        }
        command.env_remove("SILO_HUB_DATABASE");
        if let Some(database) = &self.database {
            command.env("SILO_HUB_DATABASE", database);
        }
        if let Some(key_file) = &self.key_file {
            command.arg("--key-file").arg(key_file);
        }
    }
}

impl Hub {
    /// Starts a hub on a free port, with its data and its log in `folder`, and waits until it listens.
    pub fn start(folder: &Path) -> Self {
        Self::start_with(&[], folder, ANY_PORT, Place::default())
    }

    /// Like [`Hub::start`], on a new database of the kind that `SILO_TEST_ON` names.
    pub fn start_on_chosen(folder: &Path) -> Self {
        Self::start_with(&[], folder, ANY_PORT, Place::chosen())
    }

    /// Like [`Hub::start`], under another program such as `strace`, given with its arguments.
    pub fn start_under(wrapper: &[&str], folder: &Path) -> Self {
        Self::start_with(wrapper, folder, ANY_PORT, Place::default())
    }

    /// Like [`Hub::start_under`], at a known address.
    pub fn start_under_at(wrapper: &[&str], folder: &Path, listen: &str) -> Self {
        Self::start_with(wrapper, folder, listen, Place::default())
    }

    /// Like [`Hub::start`], one of several hubs on a database server that share a key.
    pub fn start_on(database: &str, key_file: &Path, folder: &Path) -> Self {
        Self::start_at(ANY_PORT, database, key_file, folder)
    }

    /// Like [`Hub::start_on`], under another program.
    pub fn start_on_under(
        wrapper: &[&str],
        database: &str,
        key_file: &Path,
        folder: &Path,
    ) -> Self {
        Self::start_with(wrapper, folder, ANY_PORT, Place::shared(database, key_file))
    }

    /// Like [`Hub::start_on`], at a known address, as a hub that a balancer names.
    pub fn start_at(listen: &str, database: &str, key_file: &Path, folder: &Path) -> Self {
        Self::start_with(&[], folder, listen, Place::shared(database, key_file))
    }

    fn start_with(wrapper: &[&str], folder: &Path, listen: &str, place: Place) -> Self {
        std::fs::create_dir_all(folder).expect("a folder in a temporary folder can be made");
        let data_dir = folder.join("data");
        let log = folder.join("hub.log");
        let hub = binary("silo-hub");
        let mut command = match wrapper {
            [] => Command::new(hub),
            [program, arguments @ ..] => {
                let mut command = Command::new(program);
                command.args(arguments).arg(hub);
                command
            }
        };
        command
            .args(["serve", "--listen", listen, "--data-dir"])
            .arg(&data_dir);
        place.tell(&mut command, folder);
        let child = command
            .env("RUST_LOG", logs::EVERYTHING)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("the log can be made"))
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start the hub under {wrapper:?}: {error}"));
        let mut hub = Self {
            child,
            data_dir,
            log,
            url: String::new(),
            place,
        };
        hub.url = hub.wait_for_address();
        hub
    }

    fn wait_for_address(&mut self) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let lines = BufReader::new(File::open(&self.log).expect("the log was made")).lines();
            for line in lines.map_while(Result::ok) {
                if let Some((_, address)) = line.split_once("listening on ") {
                    return address.trim().to_owned();
                }
            }
            if let Some(status) = self.child.try_wait().expect("a child can be asked") {
                panic!("the hub ended with {status}:\n{}", self.log());
            }
            assert!(
                Instant::now() < deadline,
                "the hub does not listen:\n{}",
                self.log()
            );
            std::thread::sleep(PAUSE);
        }
    }

    /// The hub's URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The hub's data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The first admin token.
    pub fn admin_token(&self) -> String {
        let file = self.data_dir.join("admin.token");
        std::fs::read_to_string(file)
            .expect("the first start writes it")
            .trim()
            .to_owned()
    }

    /// Everything that the hub has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("the log was made")
    }

    /// Kills the hub as a crash would, and waits until it is gone.
    pub fn kill(mut self) {
        self.child.kill().expect("a running child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// Asks the hub to stop, and returns its exit code.
    pub fn stop(mut self) -> Option<i32> {
        self.signal("TERM");
        self.child.wait().expect("a child can be waited for").code()
    }

    /// The process id of the hub itself, also when it runs under another program.
    pub fn pid(&self) -> u32 {
        let children = format!("/proc/{0}/task/{0}/children", self.child.id());
        let own = std::fs::read_link(format!("/proc/{}/exe", self.child.id()));
        if own.is_ok_and(|path| path == binary("silo-hub")) {
            return self.child.id();
        }
        let text = std::fs::read_to_string(children).expect("a tracer has children");
        text.split_whitespace()
            .next()
            .and_then(|pid| pid.parse().ok())
            .expect("the hub runs")
    }

    /// Tells the hub to reload its certificate.
    pub fn hang_up(&self) {
        self.signal("HUP");
    }

    fn signal(&self, name: &str) {
        let done = Command::new("kill")
            .args(["-s", name, &self.pid().to_string()])
            .status();
        assert!(done.expect("kill is there").success(), "cannot send {name}");
    }

    /// Runs the hub's command line on the same data directory, database and key.
    pub fn cli(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(binary("silo-hub"));
        command
            .args(arguments)
            .arg("--data-dir")
            .arg(&self.data_dir);
        let folder = self.data_dir.parent().unwrap_or(&self.data_dir);
        self.place.tell(&mut command, folder);
        let output = command.stdin(Stdio::null()).output();
        let output = output.expect("the hub's command line can be started");
        if let ["update-key", "add", rest @ ..] = arguments {
            let printed = String::from_utf8_lossy(&output.stdout);
            // One word is a key, else it tells something.
            Some(printed.trim())
                .filter(|text| !text.contains(' '))
                .into_iter()
                .for_each(logs::is_secret);
            let given = rest.iter().skip_while(|word| **word != "--key").nth(1);
            given.into_iter().for_each(|key| logs::is_secret(key));
        }
        logs::assert_clean("the command line", &String::from_utf8_lossy(&output.stderr));
        output
    }

    /// Makes a token by the command line and returns its credential.
    pub fn token(&self, arguments: &[&str]) -> String {
        let output = self.cli(&[&["token", "create"], arguments].concat());
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout)
            .expect("a credential is ASCII")
            .trim()
            .to_owned()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        // Both fail when the hub was stopped by the test already, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            return;
        }
        if let Ok(key) = std::fs::read_to_string(self.data_dir.join("hub.key")) {
            logs::is_secret(key.trim());
        }
        // The log is gone when a test's folder is.
        if let Ok(log) = std::fs::read(&self.log) {
            logs::assert_clean("the hub", &String::from_utf8_lossy(&log));
        }
    }
}

/// An nginx with a server of the test's own.
#[derive(Debug)]
pub struct Nginx {
    child: Child,
}

impl Nginx {
    /// Starts nginx with this `http` block, and waits until `port` takes connections.
    pub fn start(folder: &Path, http: &str, port: u16) -> Self {
        let at = folder.display();
        let temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {at}/{kind};"))
            .join(" ");
        let config = format!(
            "daemon off; pid {at}/nginx.pid; error_log {at}/nginx.log;\n\
             events {{ worker_connections 1024; }}\nhttp {{ access_log off; {temp}\n{http}\n}}\n"
        );
        let file = folder.join("nginx.conf");
        std::fs::write(&file, config).expect("a file in a temporary folder can be written");
        let program = ["/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/bin/nginx"];
        let program = program.into_iter().find(|path| Path::new(path).exists());
        let child = Command::new(program.expect("nginx is installed"))
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx can be started");
        let deadline = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "nginx does not listen");
            std::thread::sleep(PAUSE);
        }
        Self { child }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGTERM, so that the master ends its workers.
        let _ = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        let _ = self.child.wait();
    }
}

/// Writes a file of mode 0600, such as a token file.
pub fn write_private(path: &Path, text: &str) {
    std::fs::write(path, text).expect("a file in a temporary folder can be written");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
            .expect("its owner can set a file's mode");
    }
}

/// The block of a documentation's page that begins with three backticks and this name.
pub fn stanza<'a>(page: &'a str, name: &str) -> &'a str {
    let rest = page.split_once(&format!("```{name}\n"));
    let rest = rest.unwrap_or_else(|| panic!("the page has no {name}")).1;
    rest.split_once("```").expect("the block ends").0
}
