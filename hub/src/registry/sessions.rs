//! The commands on sessions of the dashboard.

use silo_shared::credential::TokenId;

use super::{Actor, ApplyError, Command, logged};
use crate::domain::session::{LatelyShown, MAX_OF_TOKEN, Session, SessionHash};
use crate::domain::time::Time;
use crate::domain::token::CredentialHash;
use crate::store::{AuditEvent, AuditRow, StoreError, WriteTransaction};

/// Begins a session. If its token has too many, the oldest one ends.
#[derive(Debug)]
pub struct BeginSession {
    /// The token whose rights it gets.
    pub token: TokenId,
    /// The hash of the token's secret that was shown.
    pub secret: CredentialHash,
    /// The hash of its id.
    pub hash: SessionHash,
}

/// Stores that a session was used.
#[derive(Debug)]
pub struct NoteSessionUsed {
    /// Its token.
    pub token: TokenId,
    /// The hash of its id.
    pub hash: SessionHash,
}

/// Ends a session. The token of a link ends with it.
#[derive(Debug)]
pub struct EndSession {
    /// Who ends it.
    pub actor: Actor,
    /// Its token.
    pub token: TokenId,
    /// The hash of its id.
    pub hash: SessionHash,
}

/// Ends every session of a token.
#[derive(Debug)]
pub struct EndSessionsOf {
    /// Who ends them.
    pub actor: Actor,
    /// The token.
    pub token: TokenId,
}

/// Removes the sessions that have ended by themselves, and revokes the tokens of links that are over.
#[derive(Debug)]
pub struct PurgeSessions {
    /// Who revokes them.
    pub actor: Actor,
    /// Only what is over by all of these times is removed.
    pub shown: LatelyShown,
}

impl Command for BeginSession {
    type Outcome = ();

    async fn run(&self, transaction: &mut WriteTransaction, now: Time) -> Result<(), ApplyError> {
        let session = Session {
            token: self.token,
            hash: self.hash,
            secret: self.secret,
            made_at: now,
            used_at: now,
        };
        Ok(begin(transaction, session, now).await?)
    }
}

/// Adds a session, and ends those that are too many.
pub(super) async fn begin(
    transaction: &mut WriteTransaction,
    session: Session,
    now: Time,
) -> Result<(), StoreError> {
    let mut known = transaction.sessions_of(session.token).await?;
    // Those that are over go first; the oldest next.
    known.sort_by_key(|known| !known.is_over_at(now));
    let too_many = (known.len() + 1).saturating_sub(MAX_OF_TOKEN);
    for ended in known.drain(..too_many) {
        transaction.end_session(ended.token, ended.hash).await?;
    }
    transaction.insert_session(&session).await
}

impl Command for NoteSessionUsed {
    type Outcome = ();

    async fn run(&self, transaction: &mut WriteTransaction, now: Time) -> Result<(), ApplyError> {
        let noted = transaction.note_session_used(self.token, self.hash, now);
        Ok(noted.await?)
    }
}

impl Command for EndSession {
    type Outcome = ();

    async fn run(&self, transaction: &mut WriteTransaction, now: Time) -> Result<(), ApplyError> {
        transaction.end_session(self.token, self.hash).await?;
        Ok(end_token_of_link(transaction, self.token, self.actor, now).await?)
    }
}

impl Command for EndSessionsOf {
    type Outcome = ();

    async fn run(&self, transaction: &mut WriteTransaction, now: Time) -> Result<(), ApplyError> {
        transaction.end_sessions_of(self.token).await?;
        Ok(end_token_of_link(transaction, self.token, self.actor, now).await?)
    }
}

impl Command for PurgeSessions {
    type Outcome = ();

    async fn run(&self, transaction: &mut WriteTransaction, now: Time) -> Result<(), ApplyError> {
        transaction.purge_sessions(self.shown).await?;
        for token in transaction.links_over(self.shown).await? {
            revoke_with_link(transaction, token, self.actor, now).await?;
        }
        Ok(())
    }
}

/// Revokes the token of a link whose last session has ended. Other tokens outlive their sessions.
async fn end_token_of_link(
    transaction: &mut WriteTransaction,
    token: TokenId,
    actor: Actor,
    now: Time,
) -> Result<(), StoreError> {
    let link = transaction.link_of(token).await?;
    if link.is_none_or(|link| link.used_at.is_none())
        || !transaction.sessions_of(token).await?.is_empty()
    {
        return Ok(());
    }
    revoke_with_link(transaction, token, actor, now).await
}

/// Removes a link, and revokes its token.
async fn revoke_with_link(
    transaction: &mut WriteTransaction,
    token: TokenId,
    actor: Actor,
    now: Time,
) -> Result<(), StoreError> {
    transaction.remove_link(token).await?;
    // It may have been revoked before.
    if transaction.revoke_token(token, now).await? {
        let row = AuditRow::of_token(AuditEvent::Revoked, token, now);
        transaction.add_audit(&actor.named_in(row)).await?;
        logged::note_token(transaction, actor, AuditEvent::Revoked, token);
    }
    Ok(())
}
