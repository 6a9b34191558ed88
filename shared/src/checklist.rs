//! The output of `check` in both agents: one line, or one event `check`, per check.

use std::fmt::Display;
use std::path::Path;

use crate::client::TokenVerdict;
use crate::connection::Connection;
use crate::fact::Fact;
use crate::output::Output;

/// The output and the result so far.
#[derive(Debug)]
pub struct Checklist<'a> {
    output: &'a Output,
    is_ok: bool,
}

impl<'a> Checklist<'a> {
    /// No check has failed yet.
    pub fn new(output: &'a Output) -> Self {
        Self {
            output,
            is_ok: true,
        }
    }

    /// Whether every check passed.
    pub fn is_ok(&self) -> bool {
        self.is_ok
    }

    /// A check passed.
    pub fn ok(&self, what: impl Display, detail: impl Display) {
        let text = format!("ok      {what}: {detail}");
        self.output
            .tell_unless_quiet(&fact(true, &what, &detail, text));
    }

    /// A check failed.
    pub fn failed(&mut self, what: impl Display, detail: impl Display) {
        self.is_ok = false;
        let text = format!("FAILED  {what}: {detail}");
        self.output.tell(&fact(false, &what, &detail, text));
    }

    /// The configuration was read, from this file if there is one.
    pub fn configuration(&self, file: Option<&Path>) {
        match file {
            Some(file) => self.ok("configuration", file.display()),
            None => self.ok("configuration", "flags and environment only"),
        }
    }

    /// How the agent authenticates.
    pub fn authentication(&self, connection: &Connection) {
        if let [hub] = connection.hubs() {
            return self.ok("authentication", hub.explain_authentication());
        }
        for hub in connection.hubs() {
            let words = format_args!("{}: {}", hub.url, hub.explain_authentication());
            self.ok("authentication", words);
        }
    }

    /// Whether the hub accepted the token; prints nothing without verdicts.
    pub fn token(&mut self, verdicts: impl IntoIterator<Item = TokenVerdict>) {
        let verdicts: Vec<TokenVerdict> = verdicts.into_iter().collect();
        if verdicts.contains(&TokenVerdict::Refused) {
            self.failed(
                "token",
                "unknown to the hub: revoked, expired or mistyped; create a new one with `silo-hub token create`",
            );
        } else if verdicts.contains(&TokenVerdict::Accepted) {
            self.ok("token", "accepted");
        }
    }
}

fn fact(is_ok: bool, what: &impl Display, detail: &impl Display, text: String) -> Fact {
    Fact::new("check", text)
        .with("ok", is_ok)
        .with("what", what.to_string())
        .with("detail", detail.to_string())
}
