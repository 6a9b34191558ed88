//! "Add a machine": the form, and the command that sets an agent up by an invitation.

use askama::Template;
use serde::Deserialize;
use silo_shared::agent_name::AgentKind;
use silo_shared::api::FieldError;
use silo_shared::credential::Secret;
use silo_shared::invitation::form::check_hub;

use crate::dashboard::field_errors::FieldErrors;
use crate::dashboard::layout::Chrome;
use crate::dashboard::when::When;
use crate::domain::hub_url::is_for_others;
use crate::domain::invitation::{CheckedInvitation, DEFAULT_SECONDS, Invitation, InvitationSpec};
use crate::domain::join_command;
use crate::domain::time::Time;
use crate::domain::token::Role;

/// The form.
#[derive(Debug, Template)]
#[template(path = "dashboard/add_machine.html")]
pub(in crate::dashboard) struct AddMachinePage {
    pub(in crate::dashboard) chrome: Chrome,
    pub(in crate::dashboard) silo: String,
    pub(in crate::dashboard) values: MachineForm,
    pub(in crate::dashboard) errors: FieldErrors,
}

/// The command.
#[derive(Debug, Template)]
#[template(path = "dashboard/add_machine_done.html")]
pub(in crate::dashboard) struct MachineInvitedPage {
    pub(in crate::dashboard) chrome: Chrome,
    pub(in crate::dashboard) silo: String,
    pub(in crate::dashboard) invitation: Invitation,
    /// Until when the invitation can be used.
    pub(in crate::dashboard) until: When,
    /// What gives the machine access. Shown this once.
    pub(in crate::dashboard) line: Secret,
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
    /// Where the machine finds the hub.
    pub(in crate::dashboard) url: String,
}

impl MachineForm {
    /// An invitation with the rights that the machine needs, and no more.
    pub(in crate::dashboard) fn invitation(
        &self,
        silo: &str,
        now: Time,
    ) -> Result<CheckedInvitation, FieldErrors> {
        let kind = AgentKind::parse(&self.kind);
        let name = self.name.trim();
        let missing = [
            (kind.is_none(), "kind", "choose what the machine does"),
            (
                name.is_empty(),
                "name",
                "the name of the machine, such as nas",
            ),
        ];
        let missing: Vec<FieldError> = missing
            .into_iter()
            .filter(|(is_missing, ..)| *is_missing)
            .map(|(_, field, detail)| FieldError {
                pointer: format!("/{field}"),
                detail: detail.to_owned(),
            })
            .collect();
        let Some(kind) = kind.filter(|_| missing.is_empty()) else {
            return Err(FieldErrors::new(missing));
        };
        let spec = InvitationSpec {
            name: Some(name.to_owned()),
            role: match kind {
                AgentKind::Upstream => Role::Write,
                AgentKind::Downstream => Role::Read,
            },
            silos: vec![silo.to_owned()],
            hostnames: (kind == AgentKind::Upstream).then(|| self.hostnames_or(name)),
            expires_after: DEFAULT_SECONDS,
            token_expires_at: None,
        };
        let hostnames = spec.hostnames.clone().unwrap_or_default();
        spec.check(now).map_err(|wrong| {
            let errors = wrong.into_iter().map(|wrong| {
                let hostname = wrong.index.and_then(|index| hostnames.get(index));
                let detail = match hostname.filter(|_| wrong.member == "hostnames") {
                    Some(hostname) => format!("{hostname}: {}", wrong.error),
                    None => wrong.error.to_string(),
                };
                FieldError {
                    pointer: wrong.pointer(),
                    detail,
                }
            });
            FieldErrors::new(errors.collect())
        })
    }

    /// The hostnames that were typed; without any, the machine's name is one.
    fn hostnames_or(&self, name: &str) -> Vec<String> {
        let typed = self
            .hostnames
            .split(|c: char| c.is_whitespace() || c == ',')
            .filter(|name| !name.is_empty())
            .map(str::to_owned);
        let typed: Vec<String> = typed.collect();
        if typed.is_empty() {
            vec![name.to_owned()]
        } else {
            typed
        }
    }
}

/// The URL that the form suggests: what the hub knows, else the origin at which the browser sees it, if others can use that.
pub(in crate::dashboard) fn hub_url(own: Option<String>, origin: &str) -> String {
    let of_browser = || {
        let is_usable = is_for_others(origin) && check_hub(origin).is_ok();
        is_usable.then(|| origin.to_owned())
    };
    own.or_else(of_browser).unwrap_or_default()
}

/// Why a URL was refused.
pub(in crate::dashboard) fn wrong_url() -> FieldErrors {
    FieldErrors::one(
        "url",
        "where the machine reaches this hub, such as http://10.0.0.1:8053 or https://hub.lan",
    )
}

impl MachineInvitedPage {
    fn agent(&self) -> AgentKind {
        join_command::agent(self.invitation.spec.role)
    }

    fn linux(&self) -> String {
        join_command::linux(self.agent(), self.line.expose())
    }

    fn windows(&self) -> String {
        join_command::windows(self.agent(), self.line.expose())
    }
}

#[cfg(test)]
#[path = "add_machine_tests.rs"]
mod tests;
