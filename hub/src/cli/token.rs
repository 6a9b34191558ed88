//! `silo-hub token`: the credentials of clients.

use std::fmt;

use crate::domain::time::Time;
use crate::domain::token::{Role, SpecError, Token, TokenSpec};
use crate::registry::new_token::{DEFAULT_OVERLAP, MAX_OVERLAP, NewSecret, NewToken};
use crate::registry::{Actor, Audited, RevokeToken};
use crate::runtime::open_hub::{OpenError, OpenHub};
use crate::store::{Store, StoreError, Via};
use clap::Subcommand;
use silo_shared::credential::TokenId;

use super::{Failure, parse_id, say};

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Create a token and print its credential; it is shown only once
    Create {
        /// A name for people
        #[arg(long)]
        name: String,
        /// read, write, metrics or admin; metrics reads /metrics and /status, and no silo
        #[arg(long)]
        role: Role,
        /// A silo that it may access: a name or a glob; may be repeated
        #[arg(long = "silo", value_name = "SILO", value_delimiter = ',')]
        silos: Vec<String>,
        /// A hostname that it may write: a name or a glob; may be repeated [default: all]
        #[arg(long = "hostname", value_name = "HOSTNAME", value_delimiter = ',')]
        hostnames: Vec<String>,
        /// When it expires, such as 2027-01-01T00:00:00Z
        #[arg(long, value_parser = parse_time)]
        expires: Option<Time>,
    },
    /// List the tokens that are not revoked
    List,
    /// Give a token a new secret and print its credential; it is shown only once
    Rotate {
        /// The token's id, the middle part of the credential
        #[arg(value_parser = parse_id)]
        id: TokenId,
        /// For how many seconds the old secret stays valid
        #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_OVERLAP, value_parser = clap::value_parser!(u32).range(..=i64::from(MAX_OVERLAP)))]
        overlap: u32,
    },
    /// Revoke a token
    Revoke {
        /// The token's id, the middle part of the credential
        #[arg(value_parser = parse_id)]
        id: TokenId,
    },
}

pub(super) fn parse_time(text: &str) -> Result<Time, &'static str> {
    Time::parse(text).ok_or("not a time such as 2027-01-01T00:00:00Z (RFC 3339)")
}

pub(super) async fn token(hub: &OpenHub, command: TokenCommand) -> Result<(), Failure> {
    let key = hub.key().await?;
    match command {
        TokenCommand::Create {
            name,
            role,
            silos,
            hostnames,
            expires,
        } => {
            let now = hub.clock.now();
            let hostnames = (!hostnames.is_empty()).then_some(hostnames);
            let spec = TokenSpec {
                name,
                role,
                silos,
                hostnames,
                expires_at: expires,
            };
            let spec = spec
                .check(now)
                .map_err(|errors| Failure::Usage(in_flags(&errors)))?;
            let new = NewToken::make(spec, &key, now).map_err(OpenError::from)?;
            hub.registry.apply(audited(new.command)).await?;
            eprintln!("token {}, shown only once:", new.token.id);
            if let Err(error) = say(format_args!("{}", new.credential.expose())) {
                // A credential that was not printed must not stay valid.
                hub.registry
                    .apply(audited(RevokeToken(new.token.id)))
                    .await?;
                return Err(error);
            }
        }
        TokenCommand::List => {
            for token in all_tokens(&hub.store).await? {
                let spec = token.spec;
                let reads_silos = spec.role.reads_silos();
                let silos = match spec.silos.as_slice() {
                    _ if !reads_silos => "-".to_owned(),
                    [] => "*".to_owned(),
                    silos => silos.join(","),
                };
                let hostnames = match spec.hostnames {
                    _ if !reads_silos => "-".to_owned(),
                    None => "*".to_owned(),
                    Some(hostnames) => hostnames.join(","),
                };
                let or_dash = |time: Option<Time>| Dash(time);
                say(format_args!(
                    "{}  {:7}  silos {silos}  hostnames {hostnames}  made {}  ends {}  used {}  {}",
                    token.id,
                    spec.role.as_str(),
                    token.created_at,
                    or_dash(spec.expires_at),
                    or_dash(token.last_used_at),
                    spec.name,
                ))?;
            }
        }
        TokenCommand::Rotate { id, overlap } => {
            let new =
                NewSecret::make(id, overlap, &key, hub.clock.now()).map_err(OpenError::from)?;
            let ends = new.command.former_ends;
            hub.registry.apply(audited(new.command)).await?;
            eprintln!("token {id}, shown only once; the old secret is valid until {ends}:");
            say(format_args!("{}", new.credential.expose()))?;
        }
        TokenCommand::Revoke { id } => {
            hub.registry.apply(audited(RevokeToken(id))).await?;
            say(format_args!("token {id} is revoked"))?;
        }
    }
    Ok(())
}

/// Every token that is not revoked, oldest first.
async fn all_tokens(store: &Store) -> Result<Vec<Token>, StoreError> {
    const PAGE: usize = 1000;
    let mut tokens: Vec<Token> = Vec::new();
    loop {
        let after = tokens.last().map(|last| last.id.to_string());
        let after = after.unwrap_or_default();
        let page = store.tokens(&after, PAGE as i64).await?;
        let is_end = page.len() < PAGE;
        tokens.extend(page);
        if is_end {
            tokens.sort_by_key(|token| (token.created_at, token.id));
            return Ok(tokens);
        }
    }
}

/// A command on a token, recorded in the audit log.
fn audited<C>(command: C) -> Audited<C> {
    let actor = Actor {
        via: Via::Cli,
        token: None,
        client_ip: None,
    };
    Audited { actor, command }
}

/// A value, or a dash.
pub(super) struct Dash<T>(pub(super) Option<T>);

impl<T: fmt::Display> fmt::Display for Dash<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("-"),
        }
    }
}

/// The errors, with the names of the flags.
fn in_flags(errors: &[SpecError]) -> String {
    let flag = |member| match member {
        "silos" => "--silo",
        "hostnames" => "--hostname",
        "expires_at" => "--expires",
        _ => "--name",
    };
    let words: Vec<String> = errors
        .iter()
        .map(|wrong| format!("{}: {}", flag(wrong.member), wrong.error))
        .collect();
    words.join("; ")
}
