//! `silo-hub update-key`: secret URLs that set one record to the caller's address.

use std::collections::BTreeSet;

use crate::auth::secrets::{HubKey, new_update_key, random_id};
use crate::config::compat::Dynahost;
use crate::domain::pattern::hostname_pattern;
use crate::domain::update_key::{RawKey, STRONG, UpdateKey};
use crate::registry::{AddUpdateKey, OpenDynahost, Opened, RevokeUpdateKey};
use crate::runtime::open_hub::{OpenError, OpenHub};
use clap::Subcommand;
use silo_shared::credential::TokenId;
use silo_shared::silo::{Hostname, SiloId, glob_matches};

use super::{Failure, parse_id, say};

#[derive(Debug, Subcommand)]
pub(super) enum UpdateKeyCommand {
    /// Create an update key and print it; it is shown only once
    Add {
        /// The silo that it writes to
        #[arg(long, required_unless_present = "dynahost")]
        silo: Option<SiloId>,
        /// The only record that it sets
        #[arg(long, required_unless_present = "dynahost")]
        hostname: Option<Hostname>,
        /// The key, such as one that a router already uses [default: 128 random bits]
        #[arg(long)]
        key: Option<String>,
        /// Accept a key of fewer than 16 characters, which can be guessed
        #[arg(long, requires = "key")]
        weak: bool,
        /// Create no key: open this hostname to the first secid received by dynahost's protocol, or confirm the one
        /// received. A pattern such as 'host-*' means all hostnames that match and have a secid or a record
        #[arg(
            long,
            value_name = "HOST",
            value_parser = parse_hosts,
            conflicts_with_all = ["silo", "hostname", "key", "weak"]
        )]
        dynahost: Option<String>,
    },
    /// List the update keys that are not revoked, without the keys themselves, and the bindings of dynahost's protocol
    List,
    /// Revoke an update key or a binding of dynahost's protocol
    Revoke {
        /// The id that `list` shows
        #[arg(value_parser = parse_id)]
        id: TokenId,
    },
}

pub(super) async fn update_key(
    hub: &OpenHub,
    command: UpdateKeyCommand,
    settings: Option<Dynahost>,
) -> Result<(), Failure> {
    let hub_key = hub.key().await?;
    match command {
        UpdateKeyCommand::Add {
            dynahost: Some(hosts),
            ..
        } => open_hosts(hub, &hosts, settings).await,
        UpdateKeyCommand::Add {
            silo,
            hostname,
            key,
            weak,
            dynahost: None,
        } => {
            let (Some(silo), Some(hostname)) = (silo, hostname) else {
                unreachable!("both are required without --dynahost");
            };
            add(hub, &hub_key, (silo, hostname), key, weak).await
        }
        UpdateKeyCommand::List => list(hub).await,
        UpdateKeyCommand::Revoke { id } => {
            hub.registry.apply(RevokeUpdateKey(id)).await?;
            say(format_args!("update key {id} is revoked"))
        }
    }
}

/// Stores an update key, a new one if none is given, and prints it.
async fn add(
    hub: &OpenHub,
    hub_key: &HubKey,
    (silo, hostname): (SiloId, Hostname),
    key: Option<String>,
    weak: bool,
) -> Result<(), Failure> {
    let made = key.is_none();
    let text = match key {
        Some(key) => key,
        None => new_update_key().map_err(OpenError::from)?,
    };
    let raw =
        RawKey::of(text.as_bytes()).map_err(|error| Failure::Usage(format!("--key: {error}")))?;
    if raw.is_taken() {
        return Err(Failure::Usage(
            "--key: begins with the name of one of the hub's routes, which would be called instead: choose another"
                .to_owned(),
        ));
    }
    if !raw.is_strong() && !weak {
        return Err(Failure::Usage(format!(
            "--key: fewer than {STRONG} characters can be guessed: choose a longer key, or accept it with --weak"
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
        eprintln!("update key {id}, shown only once; call it as /u/KEY:");
    } else {
        eprintln!("update key {id}; call it as /u/ followed by the encoded key:");
    }
    if let Err(error) = say(format_args!("{}", raw.expose())) {
        // A key that was not printed must not stay valid.
        hub.registry.apply(RevokeUpdateKey(id)).await?;
        return Err(error);
    }
    Ok(())
}

/// Prints the update keys, without the keys themselves, and dynahost's hosts.
async fn list(hub: &OpenHub) -> Result<(), Failure> {
    for key in hub.store.update_keys().await? {
        say(format_args!(
            "{}  silo {}  hostname {}  made {}",
            key.id, key.silo, key.hostname, key.created_at
        ))?;
    }
    for binding in hub.store.dynahosts().await? {
        let state = match (&binding.secid, binding.is_confirmed) {
            (None, _) => "open to the first secid",
            (Some(_), true) => "bound",
            (Some(_), false) => "bound by first use, not confirmed",
        };
        let login = binding
            .login
            .map(|login| format!("  login for {}", login.sink));
        say(format_args!(
            "{}  silo {}  hostname {}  made {}  dynahost: {state}{}",
            binding.id,
            binding.silo,
            binding.hostname,
            binding.created_at,
            login.unwrap_or_default()
        ))?;
    }
    Ok(())
}

/// Parses a hostname, or a pattern for hostnames.
fn parse_hosts(text: &str) -> Result<String, String> {
    match hostname_pattern(text) {
        Some(pattern) => Ok(pattern),
        // For its error message.
        None => match Hostname::parse(text) {
            Err(why) if !text.contains('*') => Err(why.to_string()),
            _ => Err("can't match any hostname".to_owned()),
        },
    }
}

/// `update-key add --dynahost HOST`.
async fn open_hosts(hub: &OpenHub, hosts: &str, settings: Option<Dynahost>) -> Result<(), Failure> {
    let Some(settings) = settings else {
        return Err(Failure::Usage(
            "--dynahost: compat.dynahost, which names the silo, is not in the configuration (--config)"
                .to_owned(),
        ));
    };
    if let Ok(hostname) = Hostname::parse(hosts) {
        if !settings.hostnames.has(&hostname) {
            return Err(Failure::Usage(format!(
                "--dynahost: {hostname} is not within compat.dynahost.hostnames ({})",
                settings.hostnames
            )));
        }
        return open(hub, &settings, hostname).await;
    }
    let bindings = hub.store.dynahosts().await?.into_iter();
    let bound = bindings.filter(|binding| binding.silo == settings.silo);
    let mut known: BTreeSet<Hostname> = bound.map(|binding| binding.hostname).collect();
    if let Some(silo) = hub.store.silo(&settings.silo).await? {
        known.extend(silo.records.into_keys());
    }
    known.retain(|name| glob_matches(hosts, name.as_str()) && settings.hostnames.has(name));
    if known.is_empty() {
        return Err(Failure::Failed(format!(
            "--dynahost: no host within compat.dynahost.hostnames ({}) that has a secid or a record matches {hosts}",
            settings.hostnames
        )));
    }
    for hostname in known {
        open(hub, &settings, hostname).await?;
    }
    Ok(())
}

/// Opens or confirms one hostname.
async fn open(hub: &OpenHub, settings: &Dynahost, hostname: Hostname) -> Result<(), Failure> {
    let command = OpenDynahost {
        silo: settings.silo.clone(),
        hostname: hostname.clone(),
        id: random_id().map_err(OpenError::from)?,
    };
    let (opened, id) = hub.registry.apply(command).await?;
    let state = match opened {
        Opened::Open => "is open to the first secid that calls",
        Opened::OpenAlready => "was already open to the first secid that calls",
        Opened::Confirmed => "is confirmed as bound to the secid that has called",
        Opened::ConfirmedAlready => {
            "is already bound to a secid; revoke the binding to open the hostname to another"
        }
    };
    say(format_args!("{id}  {hostname} {state}"))
}
