//! Tests of the units as values; `e2e/tests/e2e/install.rs` runs them.

use super::*;
use crate::install::job::Files;

fn job(agent: Agent) -> Job {
    Job {
        agent,
        program: Path::new("/usr/bin").join(agent.program()),
        arguments: Vec::new(),
        files: Files::default(),
    }
}

fn every(text: &str) -> Schedule {
    Schedule::Every(text.parse().unwrap())
}

fn package() -> Scope {
    Scope::System {
        package: Some(PathBuf::from("/usr/lib/systemd/system")),
    }
}

const WITHOUT_PACKAGE: Scope = Scope::System { package: None };

fn user() -> Scope {
    Scope::User {
        folder: PathBuf::from("/home/a/.config/systemd/user"),
    }
}

/// The items of a plan, one line each.
fn paths(plan: &Plan) -> Vec<String> {
    plan.items.iter().map(ToString::to_string).collect()
}

/// The contents of the file whose path ends so.
fn contents(plan: &Plan, end: &str) -> String {
    let found = plan.items.iter().find(|item| item.key().ends_with(end));
    found
        .unwrap_or_else(|| panic!("{end}: {:?}", paths(plan)))
        .text()
}

// Its paths are those of Unix.
#[cfg(unix)]
#[test]
fn what_is_written_depends_on_schedule_and_package() {
    let down = "/etc/systemd/system/silo-downstream";
    for (scope, schedule, expected) in [
        (
            package(),
            every("5m"),
            vec![
                "/etc/systemd/system/timers.target.wants/silo-downstream.timer -> /usr/lib/systemd/system/silo-downstream.timer".to_owned(),
            ],
        ),
        (
            package(),
            every("10m"),
            vec![
                format!("{down}.timer.d/silo-install.conf"),
                "/etc/systemd/system/timers.target.wants/silo-downstream.timer -> /usr/lib/systemd/system/silo-downstream.timer".to_owned(),
            ],
        ),
        (
            package(),
            Schedule::Watch,
            vec![
                "/etc/systemd/system/multi-user.target.wants/silo-downstream-watch.service -> /usr/lib/systemd/system/silo-downstream-watch.service".to_owned(),
            ],
        ),
        (
            WITHOUT_PACKAGE,
            every("5m"),
            vec![
                format!("{down}.service"),
                format!("{down}.timer"),
                format!("/etc/systemd/system/timers.target.wants/silo-downstream.timer -> {down}.timer"),
            ],
        ),
        (
            WITHOUT_PACKAGE,
            Schedule::Watch,
            vec![
                format!("{down}-watch.service"),
                format!("/etc/systemd/system/multi-user.target.wants/silo-downstream-watch.service -> {down}-watch.service"),
            ],
        ),
        (
            user(),
            Schedule::Watch,
            vec![
                "/home/a/.config/systemd/user/silo-downstream-watch.service".to_owned(),
                "/home/a/.config/systemd/user/default.target.wants/silo-downstream-watch.service -> /home/a/.config/systemd/user/silo-downstream-watch.service".to_owned(),
            ],
        ),
    ] {
        let plan = plan(&job(Agent::Downstream), schedule, &scope).unwrap();
        assert_eq!(paths(&plan), expected, "{scope:?} {schedule:?}");
        let unit = plan.unit.unwrap();
        assert!(expected.last().unwrap().ends_with(&unit), "{unit}");
    }
}

#[test]
fn a_drop_in_holds_program_and_flags_and_the_interval() {
    let mut job = job(Agent::Downstream);
    job.program = PathBuf::from("/opt/si lo/silo-downstream");
    job.arguments = vec!["--config=/etc/50%/$a.yaml".to_owned()];
    let plan = plan(&job, every("90m"), &package()).unwrap();
    assert_eq!(
        contents(&plan, "silo-downstream.service.d/silo-install.conf"),
        "# Written by `silo-downstream install`. To change it, run that again; `silo-downstream uninstall` removes it.\n\
         [Service]\n\
         ExecStart=\n\
         ExecStart=\"/opt/si lo/silo-downstream\" once --quiet \"--config=/etc/50%%/$$a.yaml\"\n"
    );
    assert_eq!(
        contents(&plan, "silo-downstream.timer.d/silo-install.conf"),
        "# Written by `silo-downstream install`. To change it, run that again; `silo-downstream uninstall` removes it.\n\
         [Unit]\n\
         Description=Runs the Silo downstream agent every 90m\n\
         \n\
         [Timer]\n\
         OnBootSec=\n\
         OnBootSec=30s\n\
         OnUnitInactiveSec=90min\n"
    );
}

// Its paths are those of Unix.
#[cfg(unix)]
#[test]
fn whole_units_are_the_packaged_ones_with_their_settings() {
    let plan = plan(&job(Agent::Downstream), every("5m"), &WITHOUT_PACKAGE).unwrap();
    let header = header(Agent::Downstream);
    let packaged = packaged(Agent::Downstream);
    assert_eq!(
        contents(&plan, "silo-downstream.service"),
        header.clone() + packaged.once
    );
    assert_eq!(
        contents(&plan, "silo-downstream.timer"),
        header.clone() + packaged.timer
    );
    let hourly = super::plan(&job(Agent::Downstream), every("1h"), &WITHOUT_PACKAGE).unwrap();
    let timer = contents(&hourly, "silo-downstream.timer");
    assert!(timer.contains("\nOnUnitInactiveSec=60min\n"), "{timer}");
    assert!(
        timer.contains("every 1h\n") && !timer.contains("5min"),
        "{timer}"
    );
    let watch = super::plan(&job(Agent::Downstream), Schedule::Watch, &WITHOUT_PACKAGE).unwrap();
    assert_eq!(
        contents(&watch, "silo-downstream-watch.service"),
        header + packaged.watch
    );
}

#[test]
fn the_upstream_of_the_system_gets_its_token_from_systemd() {
    let mut job = job(Agent::Upstream);
    job.arguments = vec![
        "--token-file=/etc/silo/100%".to_owned(),
        "--silo=a".to_owned(),
    ];
    job.files.token = Some(PathBuf::from("/etc/silo/100%"));
    for scope in [package(), WITHOUT_PACKAGE] {
        for schedule in [every("5m"), Schedule::Watch] {
            let plan = plan(&job, schedule, &scope).unwrap();
            let text: String = plan.items.iter().map(Item::text).collect();
            assert!(
                text.contains(" --quiet --silo=a --token-file=${CREDENTIALS_DIRECTORY}/token\n"),
                "{text}"
            );
            assert!(
                text.contains("\nLoadCredential=token:/etc/silo/100%%\n"),
                "{text}"
            );
            let is_own = scope == WITHOUT_PACKAGE;
            assert_eq!(text.contains("\nDynamicUser=yes\n"), is_own, "{text}");
            assert!(!text.contains("User=silo-upstream"), "{text}");
        }
    }
    let user = plan(&job, every("5m"), &user()).unwrap();
    let service = contents(&user, "silo-upstream.service");
    assert!(
        service.contains("\"--token-file=/etc/silo/100%%\""),
        "{service}"
    );
    assert!(!service.contains("LoadCredential"), "{service}");
}

#[test]
fn a_configuration_with_the_token_in_it_is_passed_by_systemd() {
    let mut job = job(Agent::Upstream);
    job.arguments = vec!["--config=/etc/silo/pyddns.yml".to_owned()];
    job.files.config = Some(PathBuf::from("/etc/silo/pyddns.yml"));
    job.files.has_inline_token = true;
    job.files.ca = Some(PathBuf::from("/etc/silo/ca.pem"));
    let text = contents(
        &plan(&job, every("5m"), &WITHOUT_PACKAGE).unwrap(),
        "silo-upstream.service",
    );
    let words = "--config=${CREDENTIALS_DIRECTORY}/config --ca-file=/etc/silo/ca.pem\n";
    assert!(text.contains(words), "{text}");
    assert!(
        text.contains("\nLoadCredential=config:/etc/silo/pyddns.yml\n"),
        "{text}"
    );
    // Root reads it itself.
    job.agent = Agent::Downstream;
    let text = contents(
        &plan(&job, every("5m"), &WITHOUT_PACKAGE).unwrap(),
        "silo-downstream.service",
    );
    assert!(text.contains("--config=/etc/silo/pyddns.yml\n"), "{text}");
    assert!(!text.contains("LoadCredential"), "{text}");
}

#[test]
fn files_elsewhere_get_room_in_the_units_or_are_refused() {
    let with = |change: &dyn Fn(&mut Job)| {
        let mut job = job(Agent::Downstream);
        change(&mut job);
        plan(&job, every("5m"), &package())
            .map(|plan| plan.items.iter().map(Item::text).collect::<String>())
    };
    let none = with(&|job| job.files.hosts = Some(PathBuf::from("/etc/dnsmasq.d/hosts"))).unwrap();
    assert!(!none.contains("ReadWritePaths"), "{none}");
    let hosts = with(&|job| job.files.hosts = Some(PathBuf::from("/srv/my dns/hosts"))).unwrap();
    assert!(
        hosts.contains("\nReadWritePaths=\"/srv/my dns\"\n"),
        "{hosts}"
    );
    let state = with(&|job| job.files.state = Some(PathBuf::from("/srv/state"))).unwrap();
    assert!(state.contains("\nReadWritePaths=/srv/state\n"), "{state}");
    let usual = with(&|job| job.files.state = Some(PathBuf::from("/var/lib/silo"))).unwrap();
    assert!(!usual.contains("ReadWritePaths"), "{usual}");
    let home = with(&|job| job.files.token = Some(PathBuf::from("/root/token"))).unwrap();
    assert!(home.contains("\nProtectHome=read-only\n"), "{home}");
    let error = with(&|job| job.files.config = Some(PathBuf::from("/tmp/a.yaml"))).unwrap_err();
    assert!(error.to_string().starts_with("/tmp/a.yaml: "), "{error}");
    let mut upstream = job(Agent::Upstream);
    upstream.files.state = Some(PathBuf::from("/srv/state"));
    let error = plan(&upstream, every("5m"), &package())
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("/srv/state: "), "{error}");
}

#[test]
fn home_is_opened_once_in_a_whole_unit() {
    let mut job = job(Agent::Downstream);
    job.files.token = Some(PathBuf::from("/root/token"));
    let plan = plan(&job, Schedule::Watch, &WITHOUT_PACKAGE).unwrap();
    let text = contents(&plan, "silo-downstream-watch.service");
    assert_eq!(text.matches("ProtectHome=").count(), 1, "{text}");
}

#[test]
fn user_units_have_nothing_that_only_root_can_apply() {
    for (agent, schedule) in [
        (Agent::Upstream, every("5m")),
        (Agent::Upstream, Schedule::Watch),
        (Agent::Downstream, every("5m")),
        (Agent::Downstream, Schedule::Watch),
    ] {
        let plan = plan(&job(agent), schedule, &user()).unwrap();
        assert!(plan.notes.iter().any(|note| note.contains("linger")));
        assert_eq!(plan.manager, Manager::User);
        for item in &plan.items {
            let text = item.text();
            for line in text.lines() {
                let is_state = key(line) == "StateDirectory" && agent == Agent::Upstream;
                assert!(is_state || !SYSTEM_ONLY.contains(&key(line)), "{line}");
            }
            assert!(
                !text.contains("\n\n\n") && !text.contains("multi-user"),
                "{text}"
            );
        }
        let name = names(agent, schedule).pop().unwrap();
        let service = contents(&plan, &name);
        assert!(service.contains("\nNoNewPrivileges=yes\n"), "{service}");
    }
}
