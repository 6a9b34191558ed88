//! The hub as a service of Windows, which `scripts/test-windows` lets Wine's service manager run.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use silo_e2e::{Caller, binary, logs, until};
use tokio::sync::{Mutex, MutexGuard};

/// Wine's service manager takes any `service run` for the service that it is just starting.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// The hub's program in a folder below `C:\Program Files`, and the data directory that it chooses.
struct Machine {
    program: PathBuf,
    data: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

impl Machine {
    async fn new(name: &str) -> Self {
        assert!(
            std::env::var_os("SILO_TEST_FAKE_SCHTASKS").is_some(),
            "run this by scripts/test-windows: it would change the services of this machine"
        );
        let folder = |name: &str| PathBuf::from(std::env::var_os(name).unwrap());
        // The program runs several times in one prefix, and a log of before names another address.
        let name = &format!("{name}-{}", std::process::id());
        let own = folder("ProgramFiles").join("Silo service").join(name);
        fs::create_dir_all(&own).unwrap();
        let program = own.join("silo-hub.exe");
        fs::copy(binary("silo-hub"), &program).unwrap();
        Self {
            program,
            data: folder("ProgramData").join(r"Silo\hub").join(name),
            _turn: ONE_AT_A_TIME.lock().await,
        }
    }

    /// Exit code, output and messages.
    fn run(&self, words: &[&str]) -> (Option<i32>, String) {
        let Output {
            status,
            stdout,
            stderr,
        } = logs::run(Command::new(&self.program).args(words));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (status.code(), text(&stdout) + &text(&stderr))
    }

    /// What a command prints that shows a secret.
    fn output(&self, words: &[&str]) -> String {
        let ran = Command::new(&self.program).args(words).output().unwrap();
        logs::assert_clean("silo-hub", &String::from_utf8_lossy(&ran.stderr));
        assert!(ran.status.success(), "{}", self.log());
        String::from_utf8_lossy(&ran.stdout).into_owned()
    }

    fn succeeds(&self, words: &[&str]) -> String {
        let (code, said) = self.run(words);
        assert_eq!(code, Some(0), "{said}\n{}", self.log());
        said
    }

    fn log(&self) -> String {
        fs::read_to_string(self.data.join("hub.log")).unwrap_or_default()
    }

    /// Waits for the service to listen, and returns where.
    async fn url(&self) -> String {
        until("the service listens", async || {
            let log = self.log();
            let url = log
                .lines()
                .find_map(|line| line.split_once("listening on "));
            url.map(|(_, url)| url.trim_end().to_owned())
        })
        .await
    }
}

impl Drop for Machine {
    /// Also after a failure: the service would run on.
    fn drop(&mut self) {
        if self.data.exists() {
            self.run(&["service", "uninstall"]);
        }
    }
}

/// Wine's own user owns all files there, so that `service install` refuses the program; `sc` registers it here with the command
/// line that `service install` would give it.
#[tokio::test]
async fn the_hub_runs_as_a_service_and_is_stopped_and_removed() {
    let machine = Machine::new("run").await;
    let data = machine.data.to_str().unwrap();
    silo_shared::private_file::create_folder(&machine.data).unwrap();
    let command = format!(
        "\"{}\" service run --data-dir {data} --listen [::]:0",
        machine.program.display()
    );
    for words in [
        &["create", "silo-hub", "binPath=", &command, "start=", "auto"][..],
        &["start", "silo-hub"],
    ] {
        let ran = logs::run(Command::new("sc").args(words));
        assert!(ran.status.success(), "{words:?}: {ran:?}");
    }
    let url = machine.url().await;
    let token = fs::read_to_string(machine.data.join("admin.token")).unwrap();
    // `[::]` serves both families.
    let url = url.replace("[::]", "127.0.0.1");
    let admin = Caller::of(&url, token.trim());
    admin.put_ip("service", "db", "10.0.0.5").await.unwrap();
    // A command beside the running service.
    let made = machine.output(&[
        "token",
        "create",
        "--data-dir",
        data,
        "--name",
        "nas",
        "--role",
        "read",
        "--silo",
        "service",
    ]);
    assert!(made.contains("silo_"), "{made}");
    let (_, record) = admin.get("/silos/service/records/db").await;
    assert_eq!(record["ips"].to_string(), r#"["10.0.0.5"]"#);

    let said = machine.succeeds(&["service", "uninstall"]);
    assert!(said.contains("is stopped and removed"), "{said}");
    let host = url.strip_prefix("http://").unwrap();
    assert!(std::net::TcpStream::connect(host).is_err(), "it listens");
    let said = machine.succeeds(&["service", "uninstall"]);
    assert!(said.contains("nothing to remove"), "{said}");
    assert!(machine.data.join("hub.db").exists(), "the data stays");
}

#[tokio::test]
async fn what_a_service_must_not_have_is_refused() {
    let machine = Machine::new("refused").await;
    for (words, expected) in [
        (&["service", "run"][..], "only the service manager"),
        (
            &["service", "install", "--database", "mysql://u:p@h/d"],
            "every user can read the command line",
        ),
        // Of Wine's user, who is no administrator.
        (&["service", "install"], "silo-hub.exe: the program of"),
    ] {
        let (code, said) = machine.run(words);
        assert_eq!(code, Some(2), "{words:?}: {said}");
        assert!(said.contains(expected), "{words:?}: {said}");
    }
}
