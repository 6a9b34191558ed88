//! `install` and `uninstall` on Windows, with a `schtasks.exe` that writes down how it was called.
//!
//! `scripts/test-windows` puts that program into the system folder of the Wine prefix of its run and says so by
//! `SILO_TEST_FAKE_SCHTASKS`. Without it these tests fail, so that they never change the tasks of a real machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use silo_e2e::{binary, write_private};
use tokio::sync::MutexGuard;

use super::INSTALLED;

/// The task definitions of the unit tests.
const TASKS: [(&str, &str, &[&str], &str); 5] = [
    (
        "silo-downstream",
        "once --quiet",
        &["--every", "5m"],
        include_str!("../../../shared/src/install/tasks/downstream-every-5m.xml"),
    ),
    (
        "silo-downstream",
        "once --quiet",
        &["--every", "1d"],
        include_str!("../../../shared/src/install/tasks/downstream-every-1d.xml"),
    ),
    (
        "silo-downstream",
        "watch --quiet",
        &["--watch"],
        include_str!("../../../shared/src/install/tasks/downstream-watch.xml"),
    ),
    (
        "silo-upstream",
        "once --quiet",
        &[],
        include_str!("../../../shared/src/install/tasks/upstream-every-5m.xml"),
    ),
    (
        "silo-upstream",
        "watch --quiet",
        &["--watch"],
        include_str!("../../../shared/src/install/tasks/upstream-watch.xml"),
    ),
];

/// The user of Wine, who owns all files there. On Windows, what an elevated program makes belongs to Administrators.
const WINE_USER: &str = "S-1-5-21-0-0-0-1000";

/// An agent in a folder below `C:\Program Files`, with its configuration and token.
struct Machine {
    folder: PathBuf,
    program: PathBuf,
    fake: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Machine {
    fn new(name: &str, agent: &str) -> Self {
        assert!(
            std::env::var_os("SILO_TEST_FAKE_SCHTASKS").is_some(),
            "run this by scripts/test-windows: it would change the tasks of this machine"
        );
        let files = std::env::var_os("ProgramFiles").unwrap();
        let folder = Path::new(&files).join("Silo test").join(name);
        fs::create_dir_all(&folder).unwrap();
        let program = folder.join(format!("{agent}.exe"));
        fs::copy(binary(agent), &program).unwrap();
        write_private(
            &folder.join("token"),
            "silo_abcdefgh12_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        );
        let config = "hub: http://10.0.0.1:8053\ntoken_file: token\nsilo: home\n";
        let names = if agent == "silo-upstream" {
            "hostnames: [nas]\n"
        } else {
            ""
        };
        write_private(&folder.join("a & b.yaml"), &format!("{config}{names}"));
        Self {
            folder,
            program,
            fake: tempfile::tempdir().unwrap(),
            _turn: INSTALLED.blocking_lock(),
        }
    }

    fn run(&self, verb: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(&self.program);
        command.arg(verb).args(arguments);
        if verb == "install" {
            command.arg("--config").arg(self.folder.join("a & b.yaml"));
        }
        command.arg(format!("--trust-owner={WINE_USER}"));
        command.env("FAKE_SCHTASKS", self.fake.path());
        command.output().unwrap()
    }

    fn succeeds(&self, verb: &str, arguments: &[&str]) -> String {
        let Output {
            status,
            stdout,
            stderr,
        } = self.run(verb, arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(status.success(), "{} {}", text(&stdout), text(&stderr));
        text(&stdout)
    }

    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.fake.path().join("calls")).unwrap_or_default();
        fs::remove_file(self.fake.path().join("calls")).unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }
}

/// Between two tags of a task.
fn element<'a>(task: &'a str, name: &str) -> &'a str {
    let rest = task.split_once(&format!("<{name}>")).unwrap().1;
    rest.split_once(&format!("</{name}>")).unwrap().0
}

#[test]
fn each_task_is_made_changed_and_removed() {
    for (agent, verb, flags, golden) in TASKS {
        let machine = Machine::new(&verb[..4], agent);
        let name = format!(r"\Silo\{agent}");
        let printed = machine.succeeds("install", flags);
        assert!(printed.contains(&format!("wrote task {name}")), "{printed}");
        let calls = machine.calls();
        let made = calls.iter().position(|call| call.starts_with("/create"));
        let words: Vec<&str> = calls[made.unwrap()].split('\t').collect();
        assert_eq!(words[..4], ["/create", "/tn", &name, "/xml"], "{calls:?}");
        assert_eq!(words[5], "/f");
        assert!(!Path::new(words[4]).exists(), "the definition stays behind");
        assert_eq!(calls.last().unwrap(), &format!("/run\t/tn\t{name}"));

        let task = fs::read_to_string(machine.fake.path().join("task.xml")).unwrap();
        let command = format!("\"{}\"", machine.program.display());
        assert_eq!(element(&task, "Command"), command);
        let data = std::env::var("ProgramData").unwrap();
        let folder = agent.strip_prefix("silo-").unwrap();
        let arguments = format!(
            "{verb} \"--config={}\\a &amp; b.yaml\" --trust-owner={WINE_USER} --log-file={data}\\Silo\\{folder}\\{agent}.log",
            machine.folder.display()
        );
        assert_eq!(element(&task, "Arguments"), arguments);
        let mut expected = golden.to_owned();
        for part in ["Command", "Arguments"] {
            expected = expected.replace(element(golden, part), element(&task, part));
        }
        assert_eq!(task, expected);

        let printed = machine.succeeds("install", flags);
        assert!(printed.contains("unchanged"), "{printed}");
        assert!(
            machine
                .calls()
                .iter()
                .all(|call| call.starts_with("/query")),
            "the second one only looks"
        );
        machine.succeeds("install", &["--every", "1h"]);
        let calls = machine.calls();
        let at = |word: &str| calls.iter().position(|call| call.starts_with(word));
        // What runs with the old flags is ended.
        assert!(
            at("/end").is_some() && at("/end") < at("/create"),
            "{calls:?}"
        );
        machine.succeeds("uninstall", &[]);
        let calls = machine.calls();
        assert_eq!(
            calls.last().unwrap(),
            &format!("/delete\t/tn\t{name}\t/f"),
            "{calls:?}"
        );
        assert!(
            machine
                .succeeds("uninstall", &[])
                .contains("nothing to remove")
        );
        fs::remove_dir_all(&machine.folder).unwrap();
    }
}

/// Wine shows `/tmp` of Linux as `Z:\tmp`, in which everyone may write.
#[test]
fn a_configuration_that_others_can_change_is_refused() {
    let machine = Machine::new("refused", "silo-downstream");
    let elsewhere = tempfile::tempdir_in(r"Z:\tmp").unwrap();
    let config = elsewhere.path().join("other.yaml");
    fs::copy(machine.folder.join("a & b.yaml"), &config).unwrap();
    let output = Command::new(&machine.program)
        .args(["install", "--token-file"])
        .arg(machine.folder.join("token"))
        .arg("--config")
        .arg(&config)
        .env("FAKE_SCHTASKS", machine.fake.path())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(machine.calls().is_empty());
    fs::remove_dir_all(&machine.folder).unwrap();
}
