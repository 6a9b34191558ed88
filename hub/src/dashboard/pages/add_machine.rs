//! "Add a machine": the form, and the commands that set an agent up with a token of its own.

use askama::Template;
use serde::Deserialize;
use silo_shared::agent_name::AgentKind;
use silo_shared::credential::Credential;
use silo_shared::silo::Hostname;

use crate::dashboard::layout::Chrome;
use crate::domain::time::Time;
use crate::domain::token::{Role, TokenSpec};

/// The form.
#[derive(Debug, Template)]
#[template(path = "dashboard/add_machine.html")]
pub(in crate::dashboard) struct AddMachinePage {
    pub(in crate::dashboard) chrome: Chrome,
    pub(in crate::dashboard) silo: String,
    pub(in crate::dashboard) values: MachineForm,
    pub(in crate::dashboard) errors: MachineErrors,
}

/// The commands.
#[derive(Debug, Template)]
#[template(path = "dashboard/add_machine_done.html")]
pub(in crate::dashboard) struct MachineAddedPage {
    pub(in crate::dashboard) chrome: Chrome,
    pub(in crate::dashboard) machine: Machine,
    pub(in crate::dashboard) token_id: String,
    /// What gives the machine access. Shown this once.
    pub(in crate::dashboard) credential: Credential,
    pub(in crate::dashboard) hub: HubAddress,
    /// Whether the page itself may be read on the way.
    pub(in crate::dashboard) is_readable: bool,
}

/// What was typed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(in crate::dashboard) struct MachineForm {
    pub(in crate::dashboard) kind: String,
    pub(in crate::dashboard) name: String,
    pub(in crate::dashboard) hostnames: String,
}

/// What is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::dashboard) struct MachineErrors {
    pub(in crate::dashboard) kind: Option<String>,
    pub(in crate::dashboard) name: Option<String>,
    pub(in crate::dashboard) hostnames: Option<String>,
}

/// A machine to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::dashboard) struct Machine {
    kind: AgentKind,
    silo: String,
    name: String,
    /// The hostnames that it reports; empty for a downstream.
    hostnames: Vec<Hostname>,
}

/// Where the machine finds the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::dashboard) struct HubAddress {
    url: String,
    /// Whether other machines can reach it there.
    is_for_others: bool,
    /// The pin of the hub's own key.
    pin: Option<String>,
}

/// One command to paste.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    id: String,
    words: &'static str,
    command: String,
}

/// How a command is written for a system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum System {
    Linux,
    Windows,
}

impl MachineForm {
    /// The machine.
    pub(in crate::dashboard) fn machine(&self, silo: &str) -> Result<Machine, MachineErrors> {
        let mut errors = MachineErrors::default();
        let kind = AgentKind::parse(&self.kind);
        if kind.is_none() {
            errors.kind = Some("choose what the machine does".to_owned());
        }
        let name = self.name.trim();
        if name.is_empty() {
            errors.name = Some("the name of the machine, such as nas".to_owned());
        }
        let mut hostnames = Vec::new();
        if kind == Some(AgentKind::Upstream) {
            let typed: Vec<&str> = self
                .hostnames
                .split(|c: char| c.is_whitespace() || c == ',')
                .filter(|name| !name.is_empty())
                .collect();
            let typed = if typed.is_empty() { vec![name] } else { typed };
            for text in typed {
                match Hostname::parse(text) {
                    Ok(hostname) => hostnames.push(hostname),
                    Err(error) if errors.hostnames.is_none() => {
                        errors.hostnames = Some(format!("{text}: {error}"));
                    }
                    Err(_) => {}
                }
            }
        }
        match kind {
            Some(kind) if errors == MachineErrors::default() => Ok(Machine {
                kind,
                silo: silo.to_owned(),
                name: name.to_owned(),
                hostnames,
            }),
            _ => Err(errors),
        }
    }
}

impl Machine {
    /// A token with the rights that the machine needs, and no more.
    pub(in crate::dashboard) fn token(&self, now: Time) -> Result<TokenSpec, MachineErrors> {
        let hostnames = self.hostnames.iter().map(ToString::to_string);
        let spec = match self.kind {
            AgentKind::Downstream => TokenSpec {
                name: self.name.clone(),
                role: Role::Read,
                silos: vec![self.silo.clone()],
                hostnames: None,
                expires_at: None,
            },
            AgentKind::Upstream => TokenSpec {
                name: self.name.clone(),
                role: Role::Write,
                silos: vec![self.silo.clone()],
                hostnames: Some(hostnames.collect()),
                expires_at: None,
            },
        };
        spec.check(now).map_err(|wrong| {
            let mut errors = MachineErrors::default();
            for error in wrong {
                let place = match error.member {
                    "hostnames" => &mut errors.hostnames,
                    _ => &mut errors.name,
                };
                place.get_or_insert_with(|| error.error.to_string());
            }
            errors
        })
    }

    fn is_upstream(&self) -> bool {
        self.kind == AgentKind::Upstream
    }

    fn program(&self) -> &'static str {
        match self.kind {
            AgentKind::Upstream => "silo-upstream",
            AgentKind::Downstream => "silo-downstream",
        }
    }

    /// The file with the token.
    fn token_file(&self, system: System) -> String {
        let kind = self.kind.as_str();
        match system {
            System::Linux => format!("/etc/silo/{kind}.token"),
            System::Windows => format!("\"C:\\Program Files\\Silo\\{kind}.token\""),
        }
    }

    /// A command of the agent. The token is in a file: every user of a machine can read command lines.
    fn run(&self, system: System, command: &str, hub: &HubAddress) -> String {
        let program = match system {
            System::Linux => format!("sudo {}", self.program()),
            System::Windows => {
                format!("\"C:\\Program Files\\Silo\\{}.exe\"", self.program())
            }
        };
        let names: Vec<_> = self.hostnames.iter().map(ToString::to_string).collect();
        let names = if names.is_empty() {
            String::new()
        } else {
            format!(" --hostnames {}", names.join(","))
        };
        format!(
            "{program} {command} --hub {} --token-file {} --silo {}{names}",
            hub.url,
            self.token_file(system),
            self.silo
        )
    }

    /// The commands after the token's file was written.
    fn set_up(&self, system: System, hub: &HubAddress) -> Vec<Step> {
        let step = |id: &str, words, command| Step {
            id: format!("{}-{id}", system.as_str()),
            words,
            command: self.run(system, command, hub),
        };
        let mut steps = Vec::new();
        match self.kind {
            AgentKind::Downstream => steps.push(step(
                "try",
                "See what would change in the hosts file, without changing it:",
                "diff",
            )),
            AgentKind::Upstream => steps.push(step(
                "try",
                "See which address would be reported, without reporting it:",
                "check",
            )),
        }
        steps.push(step(
            "install",
            "Let the machine run it from now on:",
            "install --watch",
        ));
        steps
    }

    /// The command that makes the token's file, which its owner alone can read.
    fn file_command(&self, system: System) -> String {
        let file = self.token_file(system);
        match system {
            System::Linux => format!(
                "sudo install -d -m 755 /etc/silo && sudo install -m 600 /dev/null {file} && sudo tee {file} >/dev/null"
            ),
            System::Windows => {
                // The upstream runs as LOCAL SERVICE.
                let service = if self.is_upstream() {
                    " *S-1-5-19:R"
                } else {
                    ""
                };
                format!(
                    "type nul >{file}\nicacls {file} /inheritance:r /grant *S-1-5-18:R *S-1-5-32-544:F{service}\nnotepad {}",
                    file.replace(".token", ".token.")
                )
            }
        }
    }
}

impl System {
    fn as_str(self) -> &'static str {
        match self {
            Self::Linux => "linux",
            Self::Windows => "windows",
        }
    }
}

impl HubAddress {
    /// Of the origin at which the browser sees the hub.
    pub(in crate::dashboard) fn of(origin: &str, is_here: bool, pin: Option<String>) -> Self {
        // It becomes a part of a command. Anything else is no address that an agent could use.
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._:/[]".contains(c);
        let is_usable = !is_here && origin.chars().all(is_plain);
        Self {
            url: if is_usable {
                origin.to_owned()
            } else {
                "http://HUB:8053".to_owned()
            },
            is_for_others: is_usable,
            pin: pin.filter(|_| origin.starts_with("https:")),
        }
    }
}

impl MachineAddedPage {
    fn linux_file(&self) -> String {
        self.machine.file_command(System::Linux)
    }

    fn windows_file(&self) -> String {
        self.machine.file_command(System::Windows)
    }

    fn linux(&self) -> Vec<Step> {
        self.machine.set_up(System::Linux, &self.hub)
    }

    fn windows(&self) -> Vec<Step> {
        self.machine.set_up(System::Windows, &self.hub)
    }

    fn file_name(&self) -> String {
        super::tokens::file_name(&self.machine.name)
    }
}

#[cfg(test)]
#[path = "add_machine_tests.rs"]
mod tests;
