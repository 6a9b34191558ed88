//! Tests of writing and removing, in a folder, with programs of the system that only note how they are called.

use std::cell::RefCell;

use super::*;
use crate::install::plan::Manager;

/// Notes the calls. Tasks are kept as Task Scheduler keeps them: with other words.
#[derive(Debug, Default)]
struct Noted {
    calls: RefCell<Vec<String>>,
    tasks: RefCell<BTreeMap<String, String>>,
    stopped: bool,
    is_gone: bool,
    fails: Option<&'static str>,
}

impl Commands for Noted {
    fn run(&self, words: &[&str]) -> Result<String, InstallError> {
        let call = words.join(" ");
        let failed = || InstallError::Command {
            command: call.clone(),
            cause: "no".to_owned(),
        };
        let mut tasks = self.tasks.borrow_mut();
        let said = match words {
            ["schtasks", "/query", "/tn", name, "/xml"] => {
                return tasks.get(*name).cloned().ok_or_else(failed);
            }
            ["schtasks", "/create", "/tn", name, "/xml", file, "/f"] => {
                let bytes = fs::read(file).unwrap();
                tasks.insert((*name).to_owned(), format!("{} bytes", bytes.len()));
                self.calls.borrow_mut().push(format!("create {name}"));
                return Ok(String::new());
            }
            ["schtasks", "/delete", "/tn", name, "/f"] => {
                tasks.remove(*name);
                Ok(String::new())
            }
            ["systemctl", "is-active", ..] if self.stopped => Err(failed()),
            ["systemctl", "stop", ..] if self.is_gone => Err(failed()),
            ["systemctl", "show", ..] if self.is_gone => return Ok("not-found\n".to_owned()),
            _ if self.fails.is_some_and(|fails| call.contains(fails)) => Err(failed()),
            _ => Ok(String::new()),
        };
        self.calls.borrow_mut().push(call);
        said
    }
}

struct Fixture {
    folder: tempfile::TempDir,
    commands: Noted,
}

impl Fixture {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            commands: Noted::default(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn system(&self, force: bool) -> System<'_> {
        System {
            root: None,
            record: self.path("record/a.json"),
            commands: &self.commands,
            force,
        }
    }

    /// Both halves of `install`.
    fn install(&self, plan: &Plan) -> (Done, Option<String>) {
        let system = self.system(false);
        let done = system.install(plan).unwrap();
        let started = system.start(plan, &done).unwrap();
        (done, started)
    }

    fn calls(&self) -> Vec<String> {
        self.commands.calls.take()
    }

    /// A unit `name`, a drop-in in a folder of its own, and a link to the unit.
    fn units(&self, name: &str, contents: &str) -> Plan {
        Plan {
            manager: Manager::System,
            items: vec![
                Item::File {
                    path: self.path(&format!("units/{name}.d/x.conf")),
                    contents: contents.to_owned(),
                },
                Item::Link {
                    path: self.path(&format!("units/wants/{name}")),
                    target: PathBuf::from(name),
                },
            ],
            unit: Some(name.to_owned()),
            notes: Vec::new(),
        }
    }

    /// What is in the folder.
    fn tree(&self) -> Vec<String> {
        fn add(folder: &Path, base: &Path, into: &mut Vec<String>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                into.push(path.strip_prefix(base).unwrap().display().to_string());
                if path.is_dir() && !path.is_symlink() {
                    add(&path, base, into);
                }
            }
        }
        let mut found = Vec::new();
        add(self.folder.path(), self.folder.path(), &mut found);
        found.sort();
        found
    }
}

#[test]
fn twice_is_once_and_uninstall_leaves_nothing() {
    let fixture = Fixture::new();
    let before = fixture.tree();
    let plan = fixture.units("a.timer", "one\n");
    let (done, started) = fixture.install(&plan);
    assert_eq!((done.wrote.len(), done.removed.len()), (2, 0));
    assert_eq!(started.as_deref(), Some("a.timer"));
    let calls = ["systemctl daemon-reload", "systemctl restart a.timer"];
    assert_eq!(fixture.calls(), calls);
    let conf = fixture.path("units/a.timer.d/x.conf");
    assert_eq!(fs::read_to_string(&conf).unwrap(), "one\n");
    let after = fixture.tree();
    assert!(
        !after.iter().any(|path| path.ends_with(".tmp")),
        "{after:?}"
    );

    assert_eq!(fixture.install(&plan), (Done::default(), None));
    assert_eq!(fixture.calls(), ["systemctl is-active --quiet a.timer"]);
    assert_eq!(fixture.tree(), after);

    let removed = fixture.system(false).uninstall().unwrap().unwrap();
    assert_eq!(removed.removed.len(), 2);
    assert_eq!(
        fixture.calls(),
        ["systemctl stop a.timer", "systemctl daemon-reload"]
    );
    assert_eq!(fixture.tree(), before);
    assert_eq!(fixture.system(false).uninstall().unwrap(), None);
}

#[test]
fn what_was_stopped_is_started_again() {
    let mut fixture = Fixture::new();
    let plan = fixture.units("a.timer", "one\n");
    fixture.system(false).install(&plan).unwrap();
    fixture.commands.stopped = true;
    let again = fixture.install(&plan);
    assert_eq!(again, (Done::default(), Some("a.timer".to_owned())));
}

#[test]
fn another_schedule_replaces_the_first_one() {
    let fixture = Fixture::new();
    fixture
        .system(false)
        .install(&fixture.units("a.timer", "one\n"))
        .unwrap();
    fixture.calls();
    let watch = fixture.units("a-watch.service", "two\n");
    let (done, _) = fixture.install(&watch);
    assert_eq!((done.wrote.len(), done.removed.len()), (2, 2));
    assert_eq!(
        fixture.calls(),
        [
            "systemctl stop a.timer",
            "systemctl daemon-reload",
            "systemctl restart a-watch.service"
        ]
    );
    let tree = fixture.tree();
    assert!(
        !tree.iter().any(|path| path.contains("a.timer")),
        "{tree:?}"
    );
    fixture.system(false).uninstall().unwrap().unwrap();
    assert_eq!(fixture.tree(), Vec::<String>::new());
}

#[test]
fn a_folder_that_both_agents_use_goes_with_the_last_one() {
    let fixture = Fixture::new();
    let first = fixture.units("a.timer", "one\n");
    let second = fixture.units("b.timer", "one\n");
    let other = || System {
        record: fixture.path("record/b.json"),
        ..fixture.system(false)
    };
    fixture.system(false).install(&first).unwrap();
    other().install(&second).unwrap();
    fixture.system(false).uninstall().unwrap().unwrap();
    assert!(fixture.path("units/wants/b.timer").is_symlink());
    other().uninstall().unwrap().unwrap();
    assert_eq!(fixture.tree(), Vec::<String>::new());
}

#[test]
fn an_edited_file_is_refused_with_the_difference() {
    let fixture = Fixture::new();
    let plan = fixture.units("a.timer", "one\n");
    fixture.system(false).install(&plan).unwrap();
    let conf = fixture.path("units/a.timer.d/x.conf");
    fs::write(&conf, "one\nmine\n").unwrap();
    let tree = fixture.tree();
    fixture.calls();
    let other = fixture.units("b.timer", "one\n");
    for (refused, sign) in [
        (fixture.system(false).install(&plan).unwrap_err(), "-mine"),
        (fixture.system(false).install(&other).unwrap_err(), "+mine"),
        (fixture.system(false).uninstall().unwrap_err(), "+mine"),
    ] {
        assert!(matches!(&refused.error, InstallError::Edited(paths) if *paths == [conf.clone()]));
        assert!(refused.error.to_string().contains("--force"));
        let text = &refused.differences[0].text;
        assert!(text.contains(sign) && text.contains("x.conf"), "{text}");
    }
    assert_eq!(fixture.tree(), tree);
    assert_eq!(fs::read_to_string(&conf).unwrap(), "one\nmine\n");
    assert_eq!(fixture.calls(), Vec::<String>::new());
    fixture.system(true).install(&plan).unwrap();
    assert_eq!(fs::read_to_string(&conf).unwrap(), "one\n");
    fs::write(&conf, "mine\n").unwrap();
    fixture.system(true).uninstall().unwrap().unwrap();
    assert_eq!(fixture.tree(), Vec::<String>::new());
}

#[test]
fn a_foreign_file_at_our_path_is_refused_and_an_equal_one_is_taken_over() {
    let fixture = Fixture::new();
    let plan = fixture.units("a.timer", "one\n");
    let folder = fixture.path("units/a.timer.d");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("x.conf"), "theirs\n").unwrap();
    let refused = fixture.system(false).install(&plan).unwrap_err();
    assert!(refused.differences[0].text.contains("-theirs"));
    fs::write(folder.join("x.conf"), "one\n").unwrap();
    let done = fixture.system(false).install(&plan).unwrap();
    assert_eq!(done.wrote.len(), 1);
    fixture.system(false).uninstall().unwrap();
    // Their folder stays.
    assert_eq!(fixture.tree(), ["units", "units/a.timer.d"]);
}

#[test]
fn a_removed_file_is_written_again_and_need_not_be_removed_twice() {
    let fixture = Fixture::new();
    let plan = fixture.units("a.timer", "one\n");
    fixture.system(false).install(&plan).unwrap();
    let link = fixture.path("units/wants/a.timer");
    fs::remove_file(&link).unwrap();
    let done = fixture.system(false).install(&plan).unwrap();
    assert_eq!(done.wrote, [plan.items[1].clone()]);
    fs::remove_file(&link).unwrap();
    let done = fixture.system(false).uninstall().unwrap().unwrap();
    assert_eq!(done.removed, [plan.items[0].clone()]);
    assert_eq!(fixture.tree(), Vec::<String>::new());
}

#[test]
fn after_a_run_that_failed_in_between_uninstall_finds_everything() {
    let mut fixture = Fixture::new();
    let plan = fixture.units("a.timer", "one\n");
    fixture.commands.fails = Some("restart");
    let done = fixture.system(false).install(&plan).unwrap();
    let error = fixture.system(false).start(&plan, &done).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("`systemctl restart a.timer` failed")
    );
    assert!(!error.is_usage());
    fixture.system(false).uninstall().unwrap().unwrap();
    assert_eq!(fixture.tree(), Vec::<String>::new());
    // In the folder of the second one is a file: only the first one can be written.
    fs::create_dir(fixture.path("units")).unwrap();
    fs::write(fixture.path("units/wants"), "").unwrap();
    fixture.system(false).install(&plan).unwrap_err();
    fixture.commands.is_gone = true;
    assert!(fixture.path("units/a.timer.d/x.conf").exists());
    fixture.system(false).uninstall().unwrap().unwrap();
    assert_eq!(fixture.tree(), ["units", "units/wants"]);
}

#[test]
fn under_a_root_nothing_is_called_and_no_link_leads_out() {
    let fixture = Fixture::new();
    let root = fixture.path("image");
    fs::create_dir(&root).unwrap();
    let system = || System {
        root: Some(&root),
        ..fixture.system(false)
    };
    let file = |path: &str| Plan {
        manager: Manager::System,
        items: vec![Item::File {
            path: PathBuf::from(path),
            contents: "one\n".to_owned(),
        }],
        unit: Some("a.timer".to_owned()),
        notes: Vec::new(),
    };
    system().install(&file("/etc/a")).unwrap();
    assert!(root.join("etc/a").exists());
    system().install(&file("/etc/a")).unwrap();
    system().uninstall().unwrap().unwrap();
    assert!(!root.join("etc").exists());
    assert_eq!(fixture.calls(), Vec::<String>::new());
    let outside = fixture.path("outside");
    fs::create_dir(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, root.join("etc")).unwrap();
    let error = system().install(&file("/etc/a")).unwrap_err().error;
    assert!(matches!(&error, InstallError::Escapes(_)), "{error}");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

/// Debian's cron compares the time of its folder in whole seconds.
#[test]
fn each_change_of_cron_s_folder_is_at_another_second() {
    let fixture = Fixture::new();
    let root = fixture.path("image");
    let folder = root.join("etc/cron.d");
    fs::create_dir_all(&folder).unwrap();
    let system = || System {
        root: Some(&root),
        ..fixture.system(false)
    };
    let plan = |contents: &str| Plan {
        manager: Manager::Cron,
        items: vec![Item::File {
            path: PathBuf::from("/etc/cron.d/a"),
            contents: contents.to_owned(),
        }],
        unit: None,
        notes: Vec::new(),
    };
    let second = || {
        let modified = fs::metadata(&folder).unwrap().modified().unwrap();
        modified
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_secs()
    };
    let mut seconds = vec![second()];
    for contents in ["one\n", "two\n", "three\n"] {
        system().install(&plan(contents)).unwrap();
        seconds.push(second());
    }
    system().uninstall().unwrap();
    seconds.push(second());
    assert!(seconds.windows(2).all(|two| two[0] < two[1]), "{seconds:?}");
}

#[test]
fn a_task_is_compared_with_how_it_was_registered() {
    let fixture = Fixture::new();
    let task = |contents: &str| Plan {
        manager: Manager::TaskScheduler,
        items: vec![Item::Task {
            name: r"\Silo\a".to_owned(),
            contents: contents.to_owned(),
        }],
        unit: None,
        notes: Vec::new(),
    };
    let (_, started) = fixture.install(&task("<one/>"));
    assert_eq!(started.as_deref(), Some(r"\Silo\a"));
    assert_eq!(
        fixture.calls(),
        [r"create \Silo\a", r"schtasks /run /tn \Silo\a"]
    );
    assert_eq!(fixture.tree(), ["record", "record/a.json"]);
    assert_eq!(fixture.install(&task("<one/>")), (Done::default(), None));
    fixture.system(false).install(&task("<two/>2")).unwrap();
    assert_eq!(
        fixture.calls(),
        [r"schtasks /end /tn \Silo\a", r"create \Silo\a"],
        "what runs with the old flags is ended first"
    );
    // Someone edits it in the console.
    fixture
        .commands
        .tasks
        .borrow_mut()
        .insert(r"\Silo\a".to_owned(), "other".to_owned());
    for refused in [
        fixture.system(false).install(&task("<two/>2")).unwrap_err(),
        fixture.system(false).uninstall().unwrap_err(),
    ] {
        assert!(
            matches!(refused.error, InstallError::Edited(_)),
            "{:?}",
            refused.error
        );
    }
    fixture.calls();
    fixture.system(true).uninstall().unwrap().unwrap();
    assert_eq!(
        fixture.calls(),
        [
            r"schtasks /end /tn \Silo\a",
            r"schtasks /delete /tn \Silo\a /f"
        ]
    );
    assert!(fixture.commands.tasks.borrow().is_empty());
}
