//! The log lines of committed changes: one a change.

use std::net::IpAddr;

use silo_shared::credential::TokenId;
use silo_shared::request_id::{self, RequestScope};
use silo_shared::silo::SiloId;

use super::Actor;
use crate::domain::change::AddressChange;
use crate::domain::revision::Revision;
use crate::store::{AuditEvent, AuditRow, CommittedChange, WriteTransaction};

/// How many addresses a line names.
const NAMED: usize = 3;

/// Notes a change of a silo, to be logged once it is committed.
pub(super) fn note_change(
    transaction: &mut WriteTransaction,
    actor: Actor,
    (silo, revision): (&SiloId, Revision),
    deleted: bool,
    changes: &[AddressChange],
) {
    if is_logged() {
        let words = if deleted {
            format!("deleted {silo}")
        } else {
            format!("changed {silo}: {}", words(changes))
        };
        note(transaction, actor, Some((silo.clone(), revision)), words);
    }
}

/// Notes a change of a token, to be logged once it is committed.
pub(super) fn note_token(
    transaction: &mut WriteTransaction,
    actor: Actor,
    event: AuditEvent,
    token: TokenId,
) {
    if is_logged() {
        note(
            transaction,
            actor,
            None,
            format!("token {token} was {}", event.as_str()),
        );
    }
}

/// Notes an event of an invitation, to be logged once it is committed.
pub(super) fn note_invitation(
    transaction: &mut WriteTransaction,
    actor: Actor,
    AuditRow {
        event,
        invitation,
        client_ip,
        other_ip,
        ..
    }: &AuditRow,
) {
    if !is_logged() {
        return;
    }
    let invitation = invitation.as_deref().unwrap_or_default();
    let ip = |ip: &Option<IpAddr>| ip.map_or_else(|| "unknown".to_owned(), |ip| ip.to_string());
    let words = match event.as_str() {
        "invited" => format!("invitation {invitation} was made"),
        "replaced" => format!(
            "invitation {invitation}: refused a machine at {}, since another one at {} has redeemed it after that",
            ip(client_ip),
            ip(other_ip)
        ),
        event => format!("invitation {invitation} was {event}"),
    };
    note(transaction, actor, None, words);
}

/// Commands other than `serve` log warnings only, and may change a lot.
fn is_logged() -> bool {
    tracing::enabled!(tracing::Level::INFO)
}

fn note(
    transaction: &mut WriteTransaction,
    actor: Actor,
    silo: Option<(SiloId, Revision)>,
    words: String,
) {
    transaction.note_committed(CommittedChange {
        silo,
        via: actor.via,
        token: actor.token,
        request: request_id::current(),
        words,
    });
}

/// What changed. Attributes other than addresses are not named: a mail address is not for a log.
fn words(changes: &[AddressChange]) -> String {
    let named = changes.iter().take(NAMED).map(|change| {
        let hostname = &change.hostname;
        match (change.old, change.new) {
            (None, Some(new)) => format!("{hostname} is {new}"),
            (Some(old), Some(new)) => format!("{hostname} is {new}, was {old}"),
            (Some(old), None) => format!("{hostname} is no longer {old}"),
            (None, None) => format!("{hostname} is unchanged"),
        }
    });
    let mut words = named.collect::<Vec<_>>().join("; ");
    match changes.len() {
        0 => "attributes of a record".clone_into(&mut words),
        more if more > NAMED => words += &format!("; and {} more", more - NAMED),
        _ => {}
    }
    words
}

/// Logs changes that are committed.
pub(super) fn log(changes: Vec<CommittedChange>) {
    for change in changes {
        RequestScope::of(change.request).enter(|| {
            let (silo, revision) = change.silo.unzip();
            tracing::info!(
                silo = silo.as_ref().map(SiloId::as_str),
                revision = revision.map(i64::from),
                via = change.via.as_str(),
                token_id = change.token.as_ref().map(TokenId::as_str),
                "{}",
                change.words
            );
        });
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use silo_shared::silo::{Family, Hostname};

    use super::*;

    #[test]
    fn a_line_names_three_addresses() {
        let change = |hostname: &str, old: Option<&str>, new: Option<&str>| AddressChange {
            hostname: Hostname::parse(hostname).unwrap(),
            family: Family::V4,
            old: old.map(|ip| ip.parse::<IpAddr>().unwrap()),
            new: new.map(|ip| ip.parse().unwrap()),
        };
        let (a, b) = (Some("10.0.0.1"), Some("10.0.0.2"));
        for (changes, expected) in [
            (vec![], "attributes of a record"),
            (vec![change("db", None, a)], "db is 10.0.0.1"),
            (
                vec![change("db", a, b), change("nas", a, None)],
                "db is 10.0.0.2, was 10.0.0.1; nas is no longer 10.0.0.1",
            ),
            (
                vec![change("x", None, a); 5],
                "x is 10.0.0.1; x is 10.0.0.1; x is 10.0.0.1; and 2 more",
            ),
        ] {
            assert_eq!(words(&changes), expected);
        }
    }
}
