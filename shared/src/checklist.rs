//! What `check` of both agents says: one line a thing, whether it is all right.

use std::fmt::Display;
use std::path::Path;

use crate::client::TokenVerdict;
use crate::connection::Connection;
use crate::output::Output;

/// The lines so far.
#[derive(Debug)]
pub struct Checklist<'a> {
    output: &'a Output,
    is_well: bool,
}

impl<'a> Checklist<'a> {
    /// Nothing is wrong yet.
    pub fn new(output: &'a Output) -> Self {
        Self {
            output,
            is_well: true,
        }
    }

    /// Whether all was well.
    pub fn is_well(&self) -> bool {
        self.is_well
    }

    /// Something is all right.
    pub fn ok(&self, what: impl Display, detail: impl Display) {
        self.output
            .mention(format_args!("ok      {what}: {detail}"));
    }

    /// Something is not.
    pub fn failed(&mut self, what: impl Display, detail: impl Display) {
        self.is_well = false;
        self.output.say(format_args!("FAILED  {what}: {detail}"));
    }

    /// The configuration was read, from this file if from any.
    pub fn configuration(&self, file: Option<&Path>) {
        match file {
            Some(file) => self.ok("configuration", file.display()),
            None => self.ok("configuration", "flags and environment alone"),
        }
    }

    /// How the credential is shown to the hub.
    pub fn authentication(&self, connection: &Connection) {
        self.ok("authentication", connection.explain_authentication());
    }

    /// What the hub's answers say of the token; without any, nothing is known.
    pub fn token(&mut self, verdicts: impl IntoIterator<Item = TokenVerdict>) {
        let verdicts: Vec<TokenVerdict> = verdicts.into_iter().collect();
        if verdicts.contains(&TokenVerdict::Refused) {
            self.failed(
                "token",
                "the hub does not know it: revoked, expired or mistyped?",
            );
        } else if verdicts.contains(&TokenVerdict::Accepted) {
            self.ok("token", "accepted");
        }
    }
}
