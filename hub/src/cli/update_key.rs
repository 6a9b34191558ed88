//! `silo-hub update-key`: secret URLs that set one record to the caller's address.

use clap::Subcommand;
use silo_hub::domain::update_key::{RawKey, STRONG, UpdateKey};
use silo_hub::open_hub::{OpenError, OpenHub};
use silo_hub::registry::{AddUpdateKey, RevokeUpdateKey};
use silo_hub::secrets::{new_update_key, random_id};
use silo_shared::credential::TokenId;
use silo_shared::silo::{Hostname, SiloId};

use super::{Failure, parse_id, say};

#[derive(Debug, Subcommand)]
pub(super) enum UpdateKeyCommand {
    /// Make an update key and print it, this once
    Add {
        /// The silo that it writes to
        #[arg(long)]
        silo: SiloId,
        /// The one record that it sets
        #[arg(long)]
        hostname: Hostname,
        /// The key, such as one that a router has already [default: 128 random bits]
        #[arg(long)]
        key: Option<String>,
        /// Take a key of less than 16 characters, which can be guessed
        #[arg(long, requires = "key")]
        weak: bool,
    },
    /// List the update keys that were not revoked, without the keys themselves
    List,
    /// Revoke an update key
    Revoke {
        /// The update key's id
        #[arg(value_parser = parse_id)]
        id: TokenId,
    },
}

pub(super) async fn update_key(hub: &OpenHub, command: UpdateKeyCommand) -> Result<(), Failure> {
    let hub_key = hub.key().await?;
    match command {
        UpdateKeyCommand::Add {
            silo,
            hostname,
            key,
            weak,
        } => {
            let made = key.is_none();
            let text = match key {
                Some(key) => key,
                None => new_update_key().map_err(OpenError::from)?,
            };
            let raw = RawKey::of(text.as_bytes())
                .map_err(|error| Failure::Misused(format!("--key: {error}")))?;
            if !raw.is_strong() && !weak {
                return Err(Failure::Misused(format!(
                    "--key: fewer than {STRONG} characters can be guessed; --weak takes them all the same"
                )));
            }
            let id = random_id().map_err(OpenError::from)?;
            let command = AddUpdateKey {
                key: UpdateKey {
                    id,
                    silo,
                    hostname,
                    created_at: hub.clock.now(),
                },
                hash: hub_key.update_key_hash(&raw),
                hashed_by: hub_key.fingerprint(),
            };
            hub.registry.apply(command).await?;
            if made {
                eprintln!("update key {id}, shown this once; it is called as /u/KEY:");
            } else {
                eprintln!("update key {id}; it is called as /u/ and the key as it travels:");
            }
            if let Err(error) = say(format_args!("{}", raw.expose())) {
                // A key that nobody has seen must not stay valid.
                hub.registry.apply(RevokeUpdateKey(id)).await?;
                return Err(error);
            }
        }
        UpdateKeyCommand::List => {
            for key in hub.store.update_keys().await? {
                say(format_args!(
                    "{}  silo {}  hostname {}  made {}",
                    key.id, key.silo, key.hostname, key.created_at
                ))?;
            }
        }
        UpdateKeyCommand::Revoke { id } => {
            hub.registry.apply(RevokeUpdateKey(id)).await?;
            say(format_args!("update key {id} is revoked"))?;
        }
    }
    Ok(())
}
