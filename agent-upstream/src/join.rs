//! What is the upstream's own in `install`, `join` and `leave`.

use std::process::ExitCode;

use silo_shared::config::ConfigError;
use silo_shared::connection::Connection;
use silo_shared::install::{Agent, InstallFlags, install};
use silo_shared::join::Member;
use silo_shared::output::Output;
use silo_shared::program::DONE;

use crate::cli::{Cli, Flags};
use crate::settings::Settings;

/// Makes the schedule.
pub(crate) fn schedule(flags: &Flags, wanted: &InstallFlags, force: bool) -> ExitCode {
    let output = &flags.output;
    install(Agent::Upstream, wanted, force, output, |cli: &Cli| {
        let mut flags = cli.flags.clone();
        flags.connection.is_scheduled = true;
        flags.connection.is_of_service = true;
        Settings::load(&flags).map(drop)
    })
}

/// This program, as `join` and `leave` see it.
pub(crate) struct Upstream<'a>(pub(crate) &'a Flags);

impl Member<Cli> for Upstream<'_> {
    fn agent(&self) -> Agent {
        Agent::Upstream
    }

    /// Its state folder is of use, and not needed.
    fn is_able(&self, _: &Cli, _: &Output) -> Result<bool, ConfigError> {
        Ok(true)
    }

    fn install(&self, flags: &InstallFlags, force: bool) -> bool {
        schedule(self.0, flags, force) == DONE
    }

    fn connection(&self, cli: &Cli) -> Result<Connection, ConfigError> {
        let mut flags = cli.flags.clone();
        flags.connection.is_of_service = true;
        Ok(Settings::load(&flags)?.connection)
    }
}
