//! The commands on links that sign a browser in once. Each link has a token of its own: then what is done in its session
//! has a name in history and audit, and it can be revoked like any other. The token's secret is thrown away.

use silo_shared::credential::TokenId;

use super::sessions::begin;
use super::{Actor, ApplyError, Command, CreateToken, OnToken, logged};
use crate::domain::session::{LONGEST_SECONDS, LinkHash, Session, SessionHash, SignInLink};
use crate::domain::time::Time;
use crate::domain::token::TokenSpec;
use crate::store::{AuditEvent, AuditRow, WriteTransaction};

/// Adds a link and its token.
#[derive(Debug)]
pub struct AddLink {
    /// The token. It expires with the link.
    pub token: CreateToken,
    /// The hash of the link's code.
    pub code: LinkHash,
    /// Until when it may be used.
    pub ends_at: Time,
}

/// Uses a link: begins a session of its token, which is then valid for as long as a session may be.
#[derive(Debug)]
pub struct UseLink {
    /// Who uses it.
    pub actor: Actor,
    /// The hash of the code that was shown.
    pub code: LinkHash,
    /// The link's token.
    pub token: TokenId,
    /// The hash of the id of the new session.
    pub session: SessionHash,
}

impl Command for AddLink {
    type Outcome = ();

    async fn run(&self, transaction: &mut WriteTransaction, now: Time) -> Result<(), ApplyError> {
        self.token.run(transaction, now).await?;
        let link = SignInLink {
            token: self.token.token.id,
            code: self.code,
            ends_at: self.ends_at,
            used_at: None,
        };
        Ok(transaction.insert_link(&link).await?)
    }
}

impl OnToken for AddLink {
    fn audit_event(&self) -> (AuditEvent, TokenId) {
        self.token.audit_event()
    }
}

impl Command for UseLink {
    /// Whether it may be used: once, and in time.
    type Outcome = bool;

    fn is_refused(outcome: &bool) -> bool {
        !outcome
    }

    async fn run(&self, transaction: &mut WriteTransaction, now: Time) -> Result<bool, ApplyError> {
        let link = transaction.link_of(self.token).await?;
        let is_usable = link.is_some_and(|link| link.code == self.code && link.is_usable_at(now));
        let token = transaction.unrevoked_token(self.token).await?;
        let secret = transaction.secret_of(self.token).await?;
        let (true, Some(token), Some(secret)) = (is_usable, token, secret) else {
            return Ok(false);
        };
        transaction.note_link_used(self.token, now).await?;
        let spec = TokenSpec {
            expires_at: Some(now.plus_seconds(LONGEST_SECONDS)),
            ..token.spec
        };
        transaction.change_token(self.token, &spec).await?;
        let row = AuditRow::of_token(AuditEvent::Changed, self.token, now);
        transaction.add_audit(&self.actor.named_in(row)).await?;
        logged::note_token(transaction, self.actor, AuditEvent::Changed, self.token);
        let session = Session {
            token: self.token,
            hash: self.session,
            secret,
            made_at: now,
            used_at: now,
        };
        begin(transaction, session, now).await?;
        Ok(true)
    }
}
