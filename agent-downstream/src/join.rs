//! What is the downstream's own in `install`, `join` and `leave`.

use std::process::ExitCode;

use silo_shared::config::ConfigError;
use silo_shared::connection::Connection;
use silo_shared::install::{Agent, InstallFlags, install};
use silo_shared::join::Member;
use silo_shared::output::Output;
use silo_shared::program::DONE;

use crate::check;
use crate::cli::{Cli, Flags};
use crate::settings::Settings;

/// Makes the schedule.
pub(crate) fn schedule(flags: &Flags, wanted: &InstallFlags, force: bool) -> ExitCode {
    let output = &flags.output;
    install(Agent::Downstream, wanted, force, output, |cli: &Cli| {
        let mut flags = cli.flags.clone();
        flags.connection.is_scheduled = true;
        let settings = Settings::load(&flags)?;
        settings.some_silos()?;
        settings.check_state_folder()?;
        settings.connection().map(drop)
    })
}

/// This program, as `join` and `leave` see it.
pub(crate) struct Downstream<'a>(pub(crate) &'a Flags);

impl Member<Cli> for Downstream<'_> {
    fn agent(&self) -> Agent {
        Agent::Downstream
    }

    fn is_able(&self, cli: &Cli, output: &Output) -> Result<bool, ConfigError> {
        Ok(check::is_able(&Settings::of_flags(&cli.flags)?, output))
    }

    fn install(&self, flags: &InstallFlags, force: bool) -> bool {
        schedule(self.0, flags, force) == DONE
    }

    fn connection(&self, cli: &Cli) -> Result<Connection, ConfigError> {
        Settings::load(&cli.flags)?.connection()
    }
}
