//! Commands whose success is recorded in the audit log, in the same transaction.

use silo_shared::credential::TokenId;

use super::{Actor, ApplyError, Command, CreateToken, RevokeToken, RotateToken, logged};
use crate::auth::refused::RefusedCount;
use crate::domain::time::Time;
use crate::domain::token_change::TokenChange;
use crate::store::{AuditEvent, AuditRow, WriteTransaction};

/// An audited command on a token.
pub trait OnToken: Command {
    /// The audit event, and the affected token.
    fn audit_event(&self) -> (AuditEvent, TokenId);

    /// What it changes about the token, if the audit log is to have it.
    fn audit_change(&self) -> Option<TokenChange> {
        None
    }
}

impl OnToken for CreateToken {
    fn audit_event(&self) -> (AuditEvent, TokenId) {
        (AuditEvent::Created, self.token.id)
    }

    fn audit_change(&self) -> Option<TokenChange> {
        Some(TokenChange {
            before: None,
            after: Some((&self.token.spec).into()),
        })
    }
}

impl OnToken for RevokeToken {
    fn audit_event(&self) -> (AuditEvent, TokenId) {
        (AuditEvent::Revoked, self.0)
    }
}

impl OnToken for RotateToken {
    fn audit_event(&self) -> (AuditEvent, TokenId) {
        (AuditEvent::Rotated, self.id)
    }
}

/// A command on a token, with its actor.
#[derive(Debug)]
pub struct Audited<C> {
    /// The actor.
    pub actor: Actor,
    /// The command.
    pub command: C,
}

/// Records refused credentials.
#[derive(Debug)]
pub struct WriteDownRefused(pub Vec<RefusedCount>);

impl<C: OnToken> Command for Audited<C> {
    type Outcome = C::Outcome;

    async fn run(
        &self,
        transaction: &mut WriteTransaction,
        now: Time,
    ) -> Result<C::Outcome, ApplyError> {
        let outcome = self.command.run(transaction, now).await?;
        let (event, token) = self.command.audit_event();
        let row = AuditRow {
            change: self.command.audit_change(),
            ..AuditRow::of_token(event, token, now)
        };
        transaction.add_audit(&self.actor.named_in(row)).await?;
        logged::note_token(transaction, self.actor, event, token);
        Ok(outcome)
    }
}

impl Command for WriteDownRefused {
    type Outcome = ();

    async fn run(&self, transaction: &mut WriteTransaction, _: Time) -> Result<(), ApplyError> {
        for count in &self.0 {
            let row = AuditRow {
                id: 0,
                at: count.minute,
                event: AuditEvent::Refused.as_str().to_owned(),
                token: None,
                by: None,
                via: None,
                client_ip: count.ip,
                times: count.times,
                change: None,
                invitation: None,
                other_ip: None,
            };
            transaction.add_audit(&row).await?;
        }
        Ok(())
    }
}
