//! Reads the configuration and the state of earlier runs, at the start and at SIGHUP, and starts the pollers.

use std::sync::Arc;

use silo_shared::fact::Fact;
use silo_shared::stay::service_manager;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::hosts_watch::HostsWatch;
use super::pace::Mode;
use super::poller::Poller;
use super::{Cause, FileState, MAX_ASKING, MAX_WAITING, Watch};
use crate::agent::{connect, writer};
use crate::agent_error::AgentError;
use crate::own;
use crate::pull::Fresh;
use crate::settings::Settings;
use crate::silo_pull::SiloPull;
use crate::state::StateError;
use crate::target::Target;
use crate::writer::Writer;

impl Watch {
    /// What the state folder says about the hosts file. A missing file is reported by the first write.
    pub(super) fn read_state(&mut self) {
        let Ok(target) = own::find(&self.writer.settings) else {
            return;
        };
        if let Err(error) = self.recover(&target) {
            self.write_failed(&error);
        }
        self.saved_status = self.writer.state.status(target.path()).unwrap_or_default();
        self.status = self.saved_status.clone();
        self.status.keep_only(&self.writer.settings.silos);
    }

    pub(super) fn recover(&self, target: &Target) -> Result<(), AgentError> {
        self.writer.recover_if_interrupted(target)
    }

    /// Starts a poller for each silo; those that ran before end.
    pub(super) fn start_pollers(&mut self) {
        // Dropping the tasks ends them, and frees them.
        self.pollers = JoinSet::new();
        let is_tls = self.connection.key().scheme() == "https";
        let slots = Arc::new(Semaphore::new(MAX_ASKING));
        for (at, pull) in self.pulls.iter().enumerate() {
            let waits = is_tls || at < MAX_WAITING;
            let poller = Poller {
                silo: pull.silo.clone(),
                generation: self.generation,
                mode: if waits { Mode::Waiting } else { Mode::Periodic },
                known: pull.fresh.clone(),
                applied: self.applied.get(&pull.silo).cloned(),
                client: self.client.subscribe(),
                answers: self.sender.clone(),
                slots: Arc::clone(&slots),
            };
            self.pollers.spawn(poller.run());
        }
    }

    /// Asks for each silo again, on new connections: those from before are probably dead, which nothing else says.
    pub(super) fn ask_again(&mut self) {
        // Reads the token again too.
        match connect(&self.writer.settings, &self.output) {
            Ok((connection, client)) => {
                self.connection = connection;
                self.client.send_replace(client);
            }
            Err(error) => tracing::info!("cannot make new connections: {error}"),
        }
        self.start_pollers();
    }

    /// Reads the configuration again. A broken one changes nothing.
    pub(super) fn reload(&mut self) {
        service_manager::reloading();
        match self.read_configuration() {
            Ok(()) => self
                .output
                .tell_unless_quiet(&Fact::new("reloaded", "configuration read again")),
            Err(error) => {
                let text = format!(
                    "the configuration was not read again, the previous one stays in use: {error}"
                );
                self.output
                    .tell_failure(&Fact::error(text).with("kind", "configuration"));
            }
        }
        service_manager::ready();
        self.status_line.clear();
        self.show_status();
    }

    pub(super) fn read_configuration(&mut self) -> Result<(), AgentError> {
        let settings = Settings::load(&self.flags)?;
        settings.check_state_folder()?;
        settings.some_silos()?;
        let (connection, client) = connect(&settings, &self.output)?;
        let mut new = writer(&settings, &connection, &client, &self.output)?;
        new.gate = self.writer.gate.clone();
        let mut pulls = remembered_pulls(&new)?;
        if new.hub == self.writer.hub {
            for pull in &mut pulls {
                let before = self.pulls.iter().find(|before| before.silo == pull.silo);
                let fresh = before.and_then(|before| before.fresh.clone());
                pull.fresh = fresh.or(pull.fresh.take());
            }
        } else {
            self.applied.clear();
        }
        if settings.hosts_file != self.writer.settings.hosts_file {
            self.hosts = HostsWatch::new(&settings.hosts_file);
            self.file = FileState::default();
            self.applied.clear();
        }
        self.generation += 1;
        (self.writer, self.connection, self.pulls) = (new, connection, pulls);
        self.client.send_replace(client);
        self.heard.clear();
        self.failing.clear();
        // Pollers that wait for a reply end with it.
        self.waiting.clear();
        self.read_state();
        self.start_pollers();
        self.want(Cause::News);
        Ok(())
    }
}

/// The silos of the configuration, with what is remembered of them: until the hub answers, the file is kept as that says.
pub(super) fn remembered_pulls(writer: &Writer) -> Result<Vec<SiloPull>, AgentError> {
    let pulls = writer.settings.silos.iter().map(|silo| {
        let known = writer.state.remembered(&writer.hub, silo)?;
        Ok(SiloPull {
            silo: silo.clone(),
            fresh: known.as_ref().map(Fresh::from),
            known,
        })
    });
    pulls
        .collect::<Result<_, StateError>>()
        .map_err(AgentError::from)
}
