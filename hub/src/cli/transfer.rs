//! The commands that carry whole silos and databases: `silo …`, `backup`, `restore`.

use clap::Subcommand;
use silo_hub::open_hub::OpenHub;
use silo_hub::registry::{Actor, RevertSilo, Reverted};
use silo_hub::store::Via;
use silo_shared::silo::SiloId;

use super::{Failure, say};

#[derive(Debug, Subcommand)]
pub(super) enum SiloCommand {
    /// Set a silo's addresses to what they were at a revision
    Revert {
        /// The silo
        #[arg(value_parser = |text: &str| SiloId::parse(text).map_err(|error| error.to_string()))]
        id: SiloId,
        /// A revision, as the silo's history tells it
        revision: i64,
    },
}

/// The command line as the one who changes something.
fn actor(via: Via) -> Actor {
    Actor {
        via,
        token: None,
        client_ip: None,
    }
}

/// Carries out a `silo` command.
pub(super) async fn silo(hub: &OpenHub, command: SiloCommand) -> Result<(), Failure> {
    match command {
        SiloCommand::Revert { id, revision } => revert(hub, id, revision).await,
    }
}

async fn revert(hub: &OpenHub, id: SiloId, revision: i64) -> Result<(), Failure> {
    let command = RevertSilo {
        actor: actor(Via::Revert),
        id: id.clone(),
        revision,
    };
    let reverted = hub.registry.apply(command).await;
    match reverted.map_err(|error| Failure::Failed(format!("{id}: {error}")))? {
        Reverted::Changed { revision: new } => say(format_args!(
            "{id} is as it was at revision {revision}, now at revision {new}"
        )),
        Reverted::Unchanged { revision: last } => say(format_args!(
            "{id} is as it was at revision {revision} already: nothing changed, revision {last}"
        )),
        Reverted::Unknown { first, last } => Err(Failure::Failed(format!(
            "{id}: no revision {revision} is known: its history goes from {first} to {last}"
        ))),
    }
}
