//! systemd units: those of the package with a drop-in, or whole ones where the package is not installed.
//!
//! All are made from the packaged units, so that their restrictions are the same.

use std::path::{Path, PathBuf};

use super::job::{Agent, Job};
use super::plan::{Item, Manager, Plan};
use super::quote::{systemd_argument, systemd_path, systemd_program, systemd_specifiers};
use super::schedule::{Interval, Schedule};
use super::{InstallError, text};

/// Where units are, and who runs them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// The system's manager.
    System {
        /// The folder with the package's units for this schedule; `None`: they are not installed.
        package: Option<PathBuf>,
    },
    /// A user's manager.
    User {
        /// The folder of the user's units.
        folder: PathBuf,
    },
}

/// The folder of the administrator's units (systemd.unit(5)).
const SYSTEM_UNITS: &str = "/etc/systemd/system";
/// The name of a drop-in.
const DROP_IN: &str = "silo-install.conf";
/// The folders that the units do not see, or see empty: `PrivateTmp=yes`.
const PRIVATE_FOLDERS: [&str; 2] = ["/tmp", "/var/tmp"];
/// The folders that `ProtectHome=yes` hides.
const HOME_FOLDERS: [&str; 3] = ["/home", "/root", "/run/user"];

const LINGER: &str =
    "user units run while this user is logged in; `loginctl enable-linger` lets them run always";

/// The settings that only the system's manager can apply.
const SYSTEM_ONLY: [&str; 26] = [
    "Wants",
    "After",
    "User",
    "Group",
    "CapabilityBoundingSet",
    "AmbientCapabilities",
    "ProtectSystem",
    "ReadOnlyPaths",
    "ReadWritePaths",
    "InaccessiblePaths",
    "ProtectHome",
    "PrivateTmp",
    "PrivateDevices",
    "PrivateUsers",
    "PrivateIPC",
    "ProtectClock",
    "ProtectControlGroups",
    "ProtectHostname",
    "ProtectKernelLogs",
    "ProtectKernelModules",
    "ProtectKernelTunables",
    "ProtectProc",
    "ProcSubset",
    "RemoveIPC",
    "KeyringMode",
    "StateDirectory",
];

/// The packaged units of one agent.
struct Packaged {
    once: &'static str,
    timer: &'static str,
    watch: &'static str,
}

fn packaged(agent: Agent) -> Packaged {
    match agent {
        Agent::Upstream => Packaged {
            once: include_str!("../../../packaging/systemd/silo-upstream.service"),
            timer: include_str!("../../../packaging/systemd/silo-upstream.timer"),
            watch: include_str!("../../../packaging/systemd/silo-upstream-watch.service"),
        },
        Agent::Downstream => Packaged {
            once: include_str!("../../../packaging/systemd/silo-downstream.service"),
            timer: include_str!("../../../packaging/systemd/silo-downstream.timer"),
            watch: include_str!("../../../packaging/systemd/silo-downstream-watch.service"),
        },
    }
}

/// The units that a schedule needs; the first one is started.
pub(super) fn names(agent: Agent, schedule: Schedule) -> Vec<String> {
    let name = agent.program();
    match schedule {
        Schedule::Every(_) => vec![format!("{name}.timer"), format!("{name}.service")],
        Schedule::Watch => vec![format!("{name}-watch.service")],
    }
}

/// One assignment in `[Service]`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Setting {
    key: &'static str,
    value: String,
}

impl Setting {
    fn new(key: &'static str, value: impl Into<String>) -> Self {
        Self {
            key,
            value: value.into(),
        }
    }

    fn line(&self) -> String {
        format!("{}={}\n", self.key, self.value)
    }
}

/// The units of a job, and the links that enable one of them.
pub(super) fn plan(job: &Job, schedule: Schedule, scope: &Scope) -> Result<Plan, InstallError> {
    let verb = match schedule {
        Schedule::Every(_) => "once",
        Schedule::Watch => "watch",
    };
    let names = names(job.agent, schedule);
    let settings = settings(job, verb, scope)?;
    let mut items = match scope {
        Scope::System { package: Some(_) } => drop_ins(job, schedule, &names, &settings),
        Scope::System { package: None } | Scope::User { .. } => {
            whole_units(job.agent, schedule, scope, &settings)
        }
    };
    let (unit_folder, link_folder) = match scope {
        Scope::System { package } => (
            package
                .clone()
                .unwrap_or_else(|| PathBuf::from(SYSTEM_UNITS)),
            PathBuf::from(SYSTEM_UNITS),
        ),
        Scope::User { folder } => (folder.clone(), folder.clone()),
    };
    let wanted_by = match (schedule, scope) {
        (Schedule::Every(_), _) => "timers.target.wants",
        (Schedule::Watch, Scope::System { .. }) => "multi-user.target.wants",
        (Schedule::Watch, Scope::User { .. }) => "default.target.wants",
    };
    items.push(Item::Link {
        path: link_folder.join(wanted_by).join(&names[0]),
        target: unit_folder.join(&names[0]),
    });
    let (manager, notes) = match scope {
        Scope::System { .. } => (Manager::System, Vec::new()),
        Scope::User { .. } => (Manager::User, vec![LINGER.to_owned()]),
    };
    Ok(Plan {
        manager,
        items,
        unit: names.into_iter().next(),
        notes,
    })
}

/// What differs from the packaged unit.
fn settings(job: &Job, verb: &str, scope: &Scope) -> Result<Vec<Setting>, InstallError> {
    let is_system = matches!(scope, Scope::System { .. });
    // The system's upstream does not run as root: systemd passes it what only root can read.
    let passes_secrets = is_system && job.agent == Agent::Upstream;
    let token = job.files.token.as_deref().filter(|_| passes_secrets);
    let has_inline_token = passes_secrets && job.files.has_inline_token;
    let config = job.files.config.as_deref().filter(|_| has_inline_token);
    let mut words = vec![systemd_program(text(&job.program)?)?];
    for word in job.words(verb) {
        let is_passed = (token.is_some() && word.starts_with("--token-file="))
            || (config.is_some() && word.starts_with("--config="));
        if !is_passed {
            words.push(systemd_argument(&word)?);
        }
    }
    let mut credentials = Vec::new();
    for (flag, name, file) in [
        ("--token-file", "token", token),
        ("--config", "config", config),
    ] {
        if let Some(file) = file {
            words.push(format!("{flag}=${{CREDENTIALS_DIRECTORY}}/{name}"));
            let path = systemd_specifiers(text(file)?);
            credentials.push(Setting::new("LoadCredential", format!("{name}:{path}")));
        }
    }
    // Relative paths in a configuration that is passed would begin at the folder of credentials.
    if config.is_some()
        && let Some(ca) = &job.files.ca
        && !job
            .arguments
            .iter()
            .any(|word| word.starts_with("--ca-file="))
    {
        words.push(systemd_argument(&format!("--ca-file={}", text(ca)?))?);
    }
    let mut settings = vec![Setting::new("ExecStart", words.join(" "))];
    settings.extend(credentials);
    if is_system {
        settings.extend(room(job)?);
    }
    Ok(settings)
}

/// What the restrictions of the system's units must leave open for these files.
fn room(job: &Job) -> Result<Vec<Setting>, InstallError> {
    let mut writable: Vec<&Path> = Vec::new();
    match (job.agent, job.files.state.as_deref()) {
        (_, None) => {}
        (agent, Some(state)) if state == agent.unit_state_dir() => {}
        // The unit's user can't write anywhere else.
        (Agent::Upstream, Some(state)) => {
            return Err(InstallError::StateOutsideUnit(state.to_owned()));
        }
        (Agent::Downstream, Some(state)) => writable.push(state),
    }
    // A file is replaced by a rename in its folder.
    if let Some(folder) = job.files.hosts.as_deref().and_then(Path::parent)
        && !folder.starts_with("/etc")
    {
        writable.push(folder);
    }
    let all = job.read_files().chain(writable.iter().copied());
    let is_in =
        |path: &Path, folders: &[&str]| folders.iter().any(|folder| path.starts_with(folder));
    let mut needs_home = false;
    for path in all {
        if is_in(path, &PRIVATE_FOLDERS) {
            return Err(InstallError::PrivateTmp(path.to_owned()));
        }
        needs_home |= is_in(path, &HOME_FOLDERS);
    }
    let mut settings = Vec::new();
    if needs_home {
        settings.push(Setting::new("ProtectHome", "read-only"));
    }
    for path in writable {
        settings.push(Setting::new("ReadWritePaths", systemd_path(text(path)?)?));
    }
    Ok(settings)
}

/// Drop-ins for the package's units; none for what the units do by themselves.
fn drop_ins(job: &Job, schedule: Schedule, names: &[String], settings: &[Setting]) -> Vec<Item> {
    let header = header(job.agent);
    let service = &names[names.len() - 1];
    let own = unit_texts(job.agent, schedule).service;
    let mut items = Vec::new();
    let is_as_packaged = settings.iter().all(|setting| own.contains(&setting.line()));
    if !is_as_packaged {
        let lines: String = settings.iter().map(Setting::line).collect();
        items.push(drop_in(
            service,
            format!("{header}[Service]\nExecStart=\n{lines}"),
        ));
    }
    if let Schedule::Every(interval) = schedule
        && interval != Interval::DEFAULT
    {
        // An empty assignment resets all times of the timer (systemd.timer(5)).
        let minutes = interval.minutes();
        let contents = format!(
            "{header}[Unit]\nDescription={}\n\n[Timer]\nOnBootSec=\nOnBootSec=30s\nOnUnitInactiveSec={minutes}min\n",
            timer_description(job.agent, interval)
        );
        items.push(drop_in(&names[0], contents));
    }
    items
}

fn drop_in(unit: &str, contents: String) -> Item {
    let path = Path::new(SYSTEM_UNITS)
        .join(format!("{unit}.d"))
        .join(DROP_IN);
    Item::File { path, contents }
}

fn timer_description(agent: Agent, interval: Interval) -> String {
    let kind = match agent {
        Agent::Upstream => "upstream",
        Agent::Downstream => "downstream",
    };
    match interval.minutes() {
        5 => format!("Runs the Silo {kind} agent every five minutes"),
        _ => format!("Runs the Silo {kind} agent every {interval}"),
    }
}

fn header(agent: Agent) -> String {
    let name = agent.program();
    format!(
        "# Written by `{name} install`. To change it, run that again; `{name} uninstall` removes it.\n"
    )
}

/// The packaged units of a schedule.
struct UnitTexts {
    service: &'static str,
    timer: Option<&'static str>,
}

fn unit_texts(agent: Agent, schedule: Schedule) -> UnitTexts {
    let packaged = packaged(agent);
    match schedule {
        Schedule::Every(_) => UnitTexts {
            service: packaged.once,
            timer: Some(packaged.timer),
        },
        Schedule::Watch => UnitTexts {
            service: packaged.watch,
            timer: None,
        },
    }
}

/// Units that need no package.
fn whole_units(agent: Agent, schedule: Schedule, scope: &Scope, settings: &[Setting]) -> Vec<Item> {
    let folder = match scope {
        Scope::System { .. } => Path::new(SYSTEM_UNITS),
        Scope::User { folder } => folder,
    };
    let names = names(agent, schedule);
    let texts = unit_texts(agent, schedule);
    let file = |name: &str, contents: String| Item::File {
        path: folder.join(name),
        contents,
    };
    let service = match scope {
        Scope::System { .. } => system_service(texts.service, settings),
        Scope::User { .. } => user_service(agent, texts.service, settings),
    };
    let service_name = &names[names.len() - 1];
    let mut items = vec![file(service_name, header(agent) + &service)];
    if let (Schedule::Every(interval), Some(timer)) = (schedule, texts.timer) {
        let timer = timer
            .replace(
                "OnUnitInactiveSec=5min",
                &format!("OnUnitInactiveSec={}min", interval.minutes()),
            )
            .replace(
                &timer_description(agent, Interval::DEFAULT),
                &timer_description(agent, interval),
            );
        items.push(file(&names[0], header(agent) + &timer));
    }
    items
}

/// The key of an assignment; a comment belongs to the line that follows it.
fn key(line: &str) -> &str {
    line.split('=').next().unwrap_or_default()
}

/// A packaged service with these settings, and with a user that systemd makes where the package brings one.
fn system_service(packaged: &str, settings: &[Setting]) -> String {
    let mut out = String::new();
    for line in packaged.lines() {
        match key(line) {
            "User" => out.push_str("DynamicUser=yes\n"),
            "Group" => {}
            "ExecStart" => out.extend(settings.iter().map(Setting::line)),
            // Given a second time: the last one would count, which a reader may miss.
            "ProtectHome" if settings.iter().any(|setting| setting.key == "ProtectHome") => {}
            _ => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out
}

/// A packaged service with what a user's manager can apply.
fn user_service(agent: Agent, packaged: &str, settings: &[Setting]) -> String {
    let mut out = String::new();
    let mut comments = String::new();
    for line in packaged.lines() {
        let is_left_out = SYSTEM_ONLY.contains(&key(line));
        match key(line) {
            _ if line.starts_with('#') => {
                comments.push_str(line);
                comments.push('\n');
                continue;
            }
            "ExecStart" => out.extend(settings.iter().map(Setting::line)),
            "WantedBy" => out.push_str("WantedBy=default.target\n"),
            // The downstream's state folder is configured: its default belongs to root.
            "StateDirectory" | "StateDirectoryMode" if agent == Agent::Upstream => {
                out.push_str(line);
                out.push('\n');
            }
            "StateDirectoryMode" => {}
            _ if is_left_out => {}
            _ => {
                out.push_str(&comments);
                out.push_str(line);
                out.push('\n');
            }
        }
        comments.clear();
    }
    // What was left out may have been all of a paragraph.
    while out.contains("\n\n\n") {
        out = out.replace("\n\n\n", "\n\n");
    }
    out
}

#[cfg(test)]
#[path = "units_tests.rs"]
mod tests;
