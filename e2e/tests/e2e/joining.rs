//! `join` and `leave` of both agents against a real hub: from an invitation to a name in another machine's hosts file,
//! and away again.

mod kills;
mod leaving;
mod schedule;
mod secrecy;
mod trust;

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use reqwest::Method;
use serde_json::{Value, json};
use silo_e2e::interceptor::Interceptor;
use silo_e2e::{Caller, Hub, TRUSTS_LOOPBACK, binary, logs};

const HOSTS: &str = "127.0.0.1 localhost\n";

/// A hub, before it an interceptor, through which machines seem to come from 10.0.0.7.
struct Site {
    folder: tempfile::TempDir,
    hub: Hub,
    front: Interceptor,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("hub.yaml"), TRUSTS_LOOPBACK).unwrap();
        let hub = Hub::start_on_chosen(folder.path());
        let front = Interceptor::start(hub.url());
        Self { folder, hub, front }
    }

    fn admin(&self) -> Caller {
        Caller::new(&self.hub, &self.hub.admin_token())
    }

    /// The line of a new invitation.
    fn invite(&self, arguments: &[&str]) -> String {
        invite(&self.hub, arguments, &[&self.front.url()])
    }

    /// That of an upstream.
    fn invite_nas(&self) -> String {
        self.invite(&["--hostname", "nas"])
    }

    fn machine(&self, name: &str, program: &'static str) -> Machine {
        Machine::new(&self.folder.path().join(name), program)
    }

    /// Tokens that are valid, without the first one.
    async fn tokens(&self) -> Vec<Value> {
        let (status, tokens) = self.admin().get("/tokens").await;
        assert_eq!(status, 200);
        let tokens = tokens.as_array().unwrap().clone();
        tokens
            .into_iter()
            .filter(|token| token["role"] != "admin")
            .collect()
    }

    /// The state of the newest invitation, or of the only one.
    async fn state(&self, line: &str) -> String {
        let id = id_of(line);
        let (status, list) = self.admin().get("/invitations").await;
        assert_eq!(status, 200);
        let list = list.as_array().unwrap();
        let one = list.iter().find(|one| one["id"] == id.as_str()).unwrap();
        one["state"].as_str().unwrap().to_owned()
    }

    async fn record(&self, hostname: &str) -> (u16, Value) {
        let path = format!("/silos/home/records/{hostname}");
        self.admin().get(&path).await
    }
}

fn invite(hub: &Hub, arguments: &[&str], urls: &[&str]) -> String {
    let mut all = vec!["invite", "--silo", "home"];
    all.extend(arguments);
    for url in urls {
        all.extend(["--url", url]);
    }
    let output = hub.cli(&all);
    let said = said(&output);
    let from = said.find("silo-invite:").expect("it prints a line");
    let line = &said[from..];
    line[..line.find('\'').unwrap()].to_owned()
}

fn id_of(line: &str) -> String {
    let invitation = silo_shared::invitation::Invitation::parse(line).unwrap();
    invitation.key().id().to_string()
}

/// A machine that is to join: a folder with its configuration, and a hosts file.
struct Machine {
    folder: PathBuf,
    program: &'static str,
}

impl Machine {
    fn new(folder: &Path, program: &'static str) -> Self {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("hosts"), HOSTS).unwrap();
        Self {
            folder: folder.to_owned(),
            program,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A command with the flags that are this machine's.
    fn flags(&self, command: &mut Command) {
        command.arg("--config").arg(self.path("etc/silo.yaml"));
        command.arg("--state-dir").arg(self.path("state"));
        if self.program == "silo-downstream" {
            command.arg("--hosts-file").arg(self.path("hosts"));
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary(self.program));
        command.args(arguments);
        self.flags(&mut command);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        logs::run(&mut self.command(arguments))
    }

    /// Joins by a line on standard input.
    fn join(&self, line: &str, more: &[&str]) -> Output {
        let mut command = self.command(&[&["join", "-", "--no-schedule"], more].concat());
        logs::run(command.stdin(self.line(line)))
    }

    fn line(&self, line: &str) -> File {
        let file = self.folder.with_extension("line");
        fs::write(&file, format!("{line}\n")).unwrap();
        File::open(file).unwrap()
    }

    /// The names of the files beside the configuration.
    fn files(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path("etc")) else {
            return Vec::new();
        };
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).unwrap().permissions().mode() & 0o777
    }

    fn credential(&self) -> String {
        self.text("etc/silo.token").trim().to_owned()
    }
}

/// What `join` leaves beside the configuration.
const JOINED: [&str; 3] = ["silo.joined", "silo.token", "silo.yaml"];

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a command says on stdout; it must end well.
fn said(output: &Output) -> String {
    let complaint = text(&output.stderr);
    assert!(
        output.status.success(),
        "{}{complaint}",
        text(&output.stdout)
    );
    text(&output.stdout)
}

/// The complaint of a command that ends with this code.
fn complaint(output: &Output, code: i32) -> String {
    let both = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{both}");
    both
}

#[tokio::test]
async fn two_pasted_lines_bring_a_name_from_one_machine_to_the_other() {
    let site = Site::new();
    let line = site.invite_nas();
    let nas = site.machine("nas", "silo-upstream");
    let first = said(&nas.join(&line, &[]));
    for words in [
        "invites this machine to report nas in home",
        "joined: token ",
        "home: nas set to 10.0.0.7",
        "to undo this: silo-upstream leave --config=",
    ] {
        assert!(first.contains(words), "{words}: {first}");
    }
    assert_eq!(nas.files(), JOINED);
    assert_eq!(
        (nas.mode("etc/silo.token"), nas.mode("etc/silo.yaml")),
        (0o600, 0o644)
    );
    let url = site.front.url();
    let configuration = nas.text("etc/silo.yaml");
    let (_, settings) = configuration.split_once('\n').unwrap();
    assert_eq!(
        settings,
        format!(
            "hub: \"{url}\"\ntoken_file: \"silo.token\"\nsilo: \"home\"\nhostnames: [\"nas\"]\n"
        )
    );
    let (_, record) = site.record("nas").await;
    assert_eq!(record["ips"], json!(["10.0.0.7"]));
    assert_eq!(site.state(&line).await, "used");

    let laptop = site.machine("laptop", "silo-downstream");
    said(&laptop.join(&site.invite(&["--read"]), &[]));
    assert_eq!(laptop.files(), JOINED);
    let hosts = laptop.text("hosts");
    assert!(
        hosts.starts_with(HOSTS) && hosts.contains("\n10.0.0.7 nas\n"),
        "{hosts}"
    );

    // What was agreed on is not among what passed, nor what anything of it was.
    let passed: Vec<u8> = site
        .front
        .take()
        .into_iter()
        .flat_map(|exchange| [exchange.request, exchange.answer].concat())
        .collect();
    for credential in [nas.credential(), laptop.credential()] {
        let secret = &credential.as_bytes()[16..];
        assert!(!passed.windows(secret.len()).any(|run| run == secret));
    }
    // The tokens are those of the lines, and can do nothing else.
    let tokens = site.tokens().await;
    assert_eq!(tokens.len(), 2, "{tokens:?}");
    let of_nas = site.admin().with(&nas.credential());
    assert_eq!(
        of_nas.put_ip("home", "other", "10.0.0.9").await.unwrap().0,
        403
    );
    let path = format!("/tokens/{}", &laptop.credential()[5..15]);
    let revoked = of_nas.request(Method::DELETE, &path).send().await.unwrap();
    assert_eq!(revoked.status(), 403);
    let of_laptop = site.admin().with(&laptop.credential());
    assert_eq!(
        of_laptop.put_ip("home", "nas", "10.0.0.9").await.unwrap().0,
        403
    );
}

#[tokio::test]
async fn the_same_line_again_does_nothing_here_and_is_refused_elsewhere() {
    let site = Site::new();
    let line = site.invite_nas();
    let nas = site.machine("nas", "silo-upstream");
    said(&nas.join(&line, &[]));
    let before = (nas.credential(), nas.text("etc/silo.joined"));
    let again = said(&nas.join(&line, &[]));
    assert!(
        again.contains("has joined by this invitation already"),
        "{again}"
    );
    assert_eq!((nas.credential(), nas.text("etc/silo.joined")), before);
    let other = site.machine("other", "silo-upstream");
    let refused = complaint(&other.join(&line, &[]), 1);
    assert!(
        refused.contains("answered 410") && refused.contains("ask for a new one"),
        "{refused}"
    );
    assert_eq!(other.files(), [""; 0]);
    assert_eq!(site.tokens().await.len(), 1);

    // A new invitation for a machine that has joined needs --force, and says what becomes of the first token.
    let second = site.invite_nas();
    let refused = complaint(&nas.join(&second, &[]), 1);
    assert!(
        refused.contains("silo.token has a token already"),
        "{refused}"
    );
    assert_eq!(site.state(&second).await, "open");
    let forced = nas.join(&second, &["--force"]);
    said(&forced);
    let former = before.0[5..15].to_owned();
    let note = format!("`silo-hub token revoke {former}`");
    assert!(text(&forced.stderr).contains(&note), "{forced:?}");
    assert_ne!(nas.credential(), before.0);
}

#[tokio::test]
async fn what_can_not_be_finished_is_refused_before_anything_is_redeemed() {
    let site = Site::new();
    let (write, read) = (site.invite_nas(), site.invite(&["--read"]));
    let nas = site.machine("nas", "silo-upstream");
    let laptop = site.machine("laptop", "silo-downstream");
    let run = |machine: &Machine, line: &str, more: &[&str], code: i32, words: &str| {
        let complaint = complaint(&machine.join(line, more), code);
        assert!(complaint.contains(words), "{words}: {complaint}");
    };
    // The other program's.
    run(&nas, &read, &[], 2, "run `silo-downstream join` with it");
    run(&laptop, &write, &[], 2, "run `silo-upstream join` with it");
    // A line that is cut, and what is no line.
    run(
        &nas,
        &write[..write.len() - 1],
        &[],
        2,
        "copy the whole line",
    );
    run(&nas, "hello", &[], 2, "silo-invite:1:");
    // What the invitation says.
    for flag in [
        "--hub=http://h",
        "--silo=x",
        "--hostnames=x",
        "--token-file=x",
    ] {
        run(&nas, &write, &[flag], 2, "the invitation says this");
    }
    // Another configuration.
    fs::create_dir(nas.path("etc")).unwrap();
    fs::write(
        nas.path("etc/silo.yaml"),
        "hub: http://other\ntoken: silo_hush\n",
    )
    .unwrap();
    run(&nas, &write, &[], 1, "silo.yaml is there and differs");
    assert_eq!(nas.files(), ["silo.yaml"]);
    // A hosts file that can't be used.
    fs::write(laptop.path("hosts"), "# BEGIN silo home\n").unwrap();
    run(&laptop, &read, &[], 1, "nothing was asked of the hub");
    // A folder that others can write to.
    fs::set_permissions(nas.path("etc"), PermissionsExt::from_mode(0o777)).unwrap();
    run(&nas, &write, &["--force"], 2, "is writable by everyone");
    fs::set_permissions(nas.path("etc"), PermissionsExt::from_mode(0o755)).unwrap();
    for line in [&write, &read] {
        assert_eq!(site.state(line).await, "open");
    }
    let asked = site.front.take();
    assert!(
        asked
            .iter()
            .all(|exchange| !exchange.line().starts_with("POST"))
    );
    said(&nas.join(&write, &["--force"]));
    assert!(nas.text("etc/silo.yaml").contains("hostnames: [\"nas\"]"));
}

#[tokio::test]
async fn a_dry_run_shows_all_and_changes_nothing() {
    let site = Site::new();
    let line = site.invite_nas();
    let nas = site.machine("nas", "silo-upstream");
    let shown = said(&nas.join(&line, &["--dry-run"]));
    for words in ["report nas in home", "would write ", "hostnames: [\"nas\"]"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    assert_eq!(nas.files(), [""; 0]);
    assert_eq!(site.state(&line).await, "open");
}

#[tokio::test]
async fn a_line_is_read_from_a_file_or_an_argument_or_is_asked_for() {
    let site = Site::new();
    let by_file = site.machine("by-file", "silo-upstream");
    let line = site.invite_nas();
    // As PowerShell writes it.
    let utf16: Vec<u8> = format!("\u{feff}{line}\r\n")
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    fs::write(by_file.path("line"), utf16).unwrap();
    let file = by_file.path("line").display().to_string();
    said(&by_file.run(&["join", "--no-schedule", "--invitation-file", &file]));

    let by_argument = site.machine("by-argument", "silo-upstream");
    let line = site.invite_nas();
    let joined = by_argument.run(&["join", "--no-schedule", &line]);
    said(&joined);
    assert!(text(&joined.stderr).contains("other users of this machine can read arguments"));

    let asked = site.machine("asked", "silo-upstream");
    let line = site.invite_nas();
    let mut command = asked.command(&["join", "--no-schedule"]);
    said(&logs::run(command.stdin(asked.line(&line))));
}

#[tokio::test]
async fn an_invitation_that_was_revoked_or_is_unknown_leaves_nothing() {
    let site = Site::new();
    let nas = site.machine("nas", "silo-upstream");
    let revoked = site.invite_nas();
    said(&site.hub.cli(&["invite", "revoke", &id_of(&revoked)]));
    let refused = complaint(&nas.join(&revoked, &[]), 1);
    assert!(
        refused.contains("410") && refused.contains("revoked"),
        "{refused}"
    );
    let other = Site::new();
    let foreign = invite(&other.hub, &["--hostname", "nas"], &[&site.front.url()]);
    let refused = complaint(&nas.join(&foreign, &[]), 1);
    assert!(
        refused.contains("the hub does not know this invitation"),
        "{refused}"
    );
    assert_eq!(nas.files(), [""; 0]);
    assert_eq!(site.tokens().await.len(), 0);
}

#[tokio::test]
async fn of_two_machines_at_once_exactly_one_joins() {
    for round in 0..5 {
        let site = Site::new();
        let line = site.invite_nas();
        let machines = ["one", "two"].map(|name| site.machine(name, "silo-upstream"));
        let outputs: Vec<Output> = std::thread::scope(|scope| {
            let runs: Vec<_> = machines
                .iter()
                .map(|machine| scope.spawn(|| machine.join(&line, &[])))
                .collect();
            runs.into_iter().map(|run| run.join().unwrap()).collect()
        });
        let joined: Vec<bool> = outputs
            .iter()
            .map(|output| output.status.success())
            .collect();
        assert_eq!(
            joined.iter().filter(|joined| **joined).count(),
            1,
            "{round}: {outputs:?}"
        );
        for (machine, joined) in machines.iter().zip(joined) {
            let files = machine.files();
            if joined {
                assert_eq!(files, JOINED);
            } else {
                assert_eq!(files, [""; 0], "{outputs:?}");
            }
        }
        assert_eq!(site.tokens().await.len(), 1);
    }
}
