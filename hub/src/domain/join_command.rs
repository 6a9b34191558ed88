//! The command that a person pastes on a machine to use an invitation there. The line comes by standard input, since other
//! users of a machine can read the arguments of programs.

use silo_shared::agent_name::AgentKind;

use super::token::Role;

/// The agent that uses an invitation to a token with this role.
pub fn agent(role: Role) -> AgentKind {
    match role {
        Role::Write => AgentKind::Upstream,
        _ => AgentKind::Downstream,
    }
}

/// For a shell of Linux. `line` has no character that a shell takes for its own.
pub fn linux(agent: AgentKind, line: &str) -> String {
    format!("printf %s '{line}' | sudo silo-{} join -", agent.as_str())
}

/// For PowerShell, as administrator.
pub fn windows(agent: AgentKind, line: &str) -> String {
    format!(
        "'{line}' | & \"C:\\Program Files\\Silo\\silo-{}.exe\" join -",
        agent.as_str()
    )
}
