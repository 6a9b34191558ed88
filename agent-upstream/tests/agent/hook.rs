//! `on_change`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::hub::{Answer, Hub};
use crate::run::Agent;

/// A hub whose record has the address that was last reported.
fn hub() -> (Hub, Arc<AtomicBool>) {
    let is_set = Arc::new(AtomicBool::new(false));
    let held = is_set.clone();
    let hub = Hub::start(move |request| match request.line.as_str() {
        "GET /ip" => Answer::ip("10.0.0.5"),
        line if line.starts_with("PUT") => {
            held.store(true, Ordering::SeqCst);
            Answer::record("db", &["10.0.0.5"], &crate::once::now())
        }
        _ if held.load(Ordering::SeqCst) => {
            Answer::record("db", &["10.0.0.5"], &crate::once::now())
        }
        _ => Answer::problem(404, "no such record"),
    });
    (hub, is_set)
}

/// An agent whose hook appends its input to `told`, and then does this.
fn agent(hub: &Hub, then: &str) -> Agent {
    let script = format!("cat >>told; env >>told.env; {then}");
    let script = serde_json::Value::from(script);
    Agent::new(&hub.url(), &format!("on_change: [sh, -c, {script}]\n"))
}

#[test]
fn the_hook_is_told_of_a_change_once() {
    let (hub, _) = hub();
    let mut agent = agent(&hub, "true");
    agent
        .run_again()
        .says("office: db set to 10.0.0.5, revision 42\n");
    let told = std::fs::read_to_string(agent.path("told")).expect("the hook ran");
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(
        told,
        serde_json::json!({"changes": [{
            "silo": "office", "hostname": "db", "before": [], "addresses": ["10.0.0.5"],
            "revision": 42,
        }]})
    );
    let variables = std::fs::read_to_string(agent.path("told.env")).expect("the hook ran");
    assert!(variables.contains("SILO_HOOK_SILO=office\n"), "{variables}");
    assert!(variables.contains("SILO_HOOK_REVISION=42\n"), "{variables}");
    assert!(!variables.contains("SILO_UPSTREAM"), "{variables}");
    // Nothing changed: it is not run again.
    std::fs::remove_file(agent.path("told")).expect("it is there");
    agent.run_again().says("office: db unchanged (10.0.0.5)\n");
    assert!(!agent.path("told").exists());
}

#[test]
fn a_hook_that_failed_is_owed_until_it_succeeds() {
    let (hub, _) = hub();
    let mut agent = agent(&hub, "test -e works");
    let ran = agent.run_again();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stdout.contains("db set to"), "{ran:?}");
    assert!(
        ran.stderr.contains("on_change") && ran.stderr.contains("failed"),
        "{ran:?}"
    );
    let mut agent = agent.args(["status"]);
    let said = agent.run_again();
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.stdout.contains("on_change has failed and is owed"),
        "{said:?}"
    );
    // Again, although nothing changes.
    let mut agent = Again::of(agent);
    assert_eq!(agent.once().code, Some(1));
    agent.0.write("works", "", 0o600);
    agent.once().says("office: db unchanged (10.0.0.5)\n");
    let told = std::fs::read_to_string(agent.0.path("told")).expect("the hook ran");
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines.iter().all(|line| *line == lines[0]), "{told}");
    agent.once();
    let told = std::fs::read_to_string(agent.0.path("told")).expect("the hook ran");
    assert_eq!(told.lines().count(), 3, "it is no longer owed");
}

/// An agent whose last argument was another command.
struct Again(Agent);

impl Again {
    fn of(agent: Agent) -> Self {
        Self(agent.without_last_argument())
    }

    fn once(&mut self) -> crate::run::Ran {
        self.0.run_again()
    }
}

#[test]
fn a_change_whose_answer_was_lost_is_told_once_it_is_known() {
    let is_made = AtomicBool::new(false);
    let hub = Hub::start(move |request| match request.line.as_str() {
        "GET /ip" => Answer::ip("10.0.0.5"),
        line if line.starts_with("PUT") => {
            is_made.store(true, Ordering::SeqCst);
            Answer::status(502, "text/html", "<html>")
        }
        _ if is_made.load(Ordering::SeqCst) => {
            Answer::record("db", &["10.0.0.5"], &crate::once::now())
        }
        _ => Answer::problem(404, "no such record"),
    });
    let mut agent = agent(&hub, "true");
    assert_eq!(agent.run_again().code, Some(1));
    assert!(!agent.path("told").exists());
    agent.run_again().says("office: db unchanged (10.0.0.5)\n");
    let told = std::fs::read_to_string(agent.path("told")).expect("the hook ran");
    assert!(told.contains(r#""addresses":["10.0.0.5"]"#), "{told}");
}

#[test]
fn a_refused_change_is_not_told() {
    let hub = Hub::start(|request| match request.line.as_str() {
        "GET /ip" => Answer::ip("10.0.0.5"),
        line if line.starts_with("PUT") => Answer::problem(403, "not yours"),
        _ => Answer::record("db", &["10.0.0.6"], &crate::once::now()),
    });
    let mut agent = agent(&hub, "true");
    assert_eq!(agent.run_again().code, Some(1));
    let left = std::fs::read_dir(agent.path("state")).expect("a folder");
    let is_hook =
        |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with("hook-");
    assert_eq!(left.flatten().filter(is_hook).count(), 0);
    assert!(!agent.path("told").exists());
}

#[test]
fn another_program_is_told_of_what_was_owed_to_the_one_before() {
    let (hub, _) = hub();
    let mut agent = agent(&hub, "false");
    assert_eq!(agent.run_again().code, Some(1));
    let config = std::fs::read_to_string(agent.path("upstream.yaml")).expect("a file");
    let line = config.find("on_change").expect("a hook");
    let edited = format!("{}on_change: [sh, -c, 'cat >>other']\n", &config[..line]);
    agent.write("upstream.yaml", &edited, 0o600);
    agent.run_again().says("office: db unchanged (10.0.0.5)\n");
    let told = std::fs::read_to_string(agent.path("other")).expect("the hook ran");
    assert!(told.contains(r#""addresses":["10.0.0.5"]"#), "{told}");
}

#[test]
fn a_hook_without_a_state_folder_runs_and_the_lack_is_told() {
    let (hub, _) = hub();
    let mut agent = agent(&hub, "true").without_state_dir();
    let file = agent.write("no-folder", "", 0o600);
    agent = agent.env("STATE_DIRECTORY", &file.display().to_string());
    let ran = agent.run_again();
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.stderr.contains("state folder") && ran.stderr.contains("on_change"),
        "{ran:?}"
    );
    assert!(agent.path("told").exists());
    let mut agent = agent.args(["check"]);
    assert_eq!(agent.run_again().code, Some(1));
}
