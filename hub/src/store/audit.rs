//! The audit log: actions on tokens, and refused credentials.

use std::net::IpAddr;

use silo_shared::credential::TokenId;
use sqlx::Row;
use sqlx::any::AnyRow;
use utoipa::ToSchema;

use super::{IdCursor, Store, StoreError, WriteTransaction, optional, time};
use crate::domain::time::Time;
use crate::domain::token_change::TokenChange;

/// Maximum number of rows for refused credentials, regardless of the retention.
pub(super) const REFUSED_KEPT: i64 = 100_000;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "lowercase", example = "created")]
pub enum AuditEvent {
    /// A token was created.
    Created,
    /// A token was revoked.
    Revoked,
    /// A token got a new secret.
    Rotated,
    /// A token's name, silos, hostnames or expiry were changed.
    Changed,
    /// A credential was refused.
    Refused,
    /// An invitation was made.
    Invited,
    /// A machine tried to confirm an invitation that another one had redeemed after it.
    Replaced,
}

/// A part of the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditPart {
    /// Everything.
    All,
    /// What was done with tokens.
    Tokens,
    /// Refused credentials.
    Refused,
}

/// One row of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// Increases with time; 0 in a row to be added.
    pub id: i64,
    /// When it happened; for refused credentials, the start of their minute.
    pub at: Time,
    /// What happened.
    pub event: String,
    /// The affected token.
    pub token: Option<String>,
    /// The requesting token.
    pub by: Option<String>,
    /// The interface used.
    pub via: Option<String>,
    /// The client's address.
    pub client_ip: Option<IpAddr>,
    /// Number of occurrences.
    pub times: i64,
    /// What was changed about the token, where that is recorded; of an invitation, what its token will be.
    pub change: Option<TokenChange>,
    /// The affected invitation, or the one that made the token.
    pub invitation: Option<String>,
    /// Where the other machine redeemed the invitation from.
    pub other_ip: Option<IpAddr>,
}

impl AuditEvent {
    /// The stored and displayed form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Revoked => "revoked",
            Self::Rotated => "rotated",
            Self::Changed => "changed",
            Self::Refused => "refused",
            Self::Invited => "invited",
            Self::Replaced => "replaced",
        }
    }
}

fn audit_row(row: &AnyRow) -> Result<AuditRow, StoreError> {
    let change: Option<&str> = row.try_get(8)?;
    Ok(AuditRow {
        id: row.try_get(0)?,
        at: time(row, 1)?,
        event: row.try_get(2)?,
        token: row.try_get(3)?,
        by: row.try_get(4)?,
        via: row.try_get(5)?,
        client_ip: optional(row, 6, "address")?,
        times: row.try_get(7)?,
        // A newer hub may write what this one can't read.
        change: change.and_then(TokenChange::parse),
        invitation: row.try_get(9)?,
        other_ip: optional(row, 10, "address")?,
    })
}

impl Store {
    /// The audit log, newest first.
    pub async fn audit(
        &self,
        part: AuditPart,
        before: IdCursor,
        limit: i64,
    ) -> Result<Vec<AuditRow>, StoreError> {
        let of_part = match part {
            AuditPart::All => "",
            // A newer hub may record other events of tokens.
            AuditPart::Tokens => " AND event <> ?",
            AuditPart::Refused => " AND event = ?",
        };
        let mut query = self
            .dialect
            .query(format!(
                "SELECT id, happened_at, event, token, by_token, via, client_ip, times, \
                 token_change, invitation, other_ip FROM audit WHERE id < ?{of_part} ORDER BY id DESC LIMIT ?"
            ))
            .bind(before.0);
        if part != AuditPart::All {
            query = query.bind(AuditEvent::Refused.as_str());
        }
        let rows = query.bind(limit).fetch_all(&self.readers).await?;
        rows.iter().map(audit_row).collect()
    }
}

impl WriteTransaction {
    /// Adds a row and assigns its id.
    pub async fn add_audit(&mut self, row: &AuditRow) -> Result<(), StoreError> {
        let id = self.advance("audit").await?;
        self.dialect
            .query(
                "INSERT INTO audit (id, happened_at, event, token, by_token, via, client_ip, times, \
                 token_change, invitation, other_ip) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )
            .bind(id)
            .bind(row.at.as_millis())
            .bind(row.event.as_str())
            .bind(row.token.as_deref())
            .bind(row.by.as_deref())
            .bind(row.via.as_deref())
            .bind(row.client_ip.map(|ip| ip.to_string()))
            .bind(row.times)
            .bind(row.change.as_ref().and_then(TokenChange::stored))
            .bind(row.invitation.as_deref())
            .bind(row.other_ip.map(|ip| ip.to_string()))
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }
}

impl AuditRow {
    /// The row of an action on a token.
    pub fn of_token(event: AuditEvent, token: TokenId, at: Time) -> Self {
        Self {
            id: 0,
            at,
            event: event.as_str().to_owned(),
            token: Some(token.to_string()),
            by: None,
            via: None,
            client_ip: None,
            times: 1,
            change: None,
            invitation: None,
            other_ip: None,
        }
    }

    /// The row of an action on an invitation.
    pub fn of_invitation(event: AuditEvent, invitation: TokenId, at: Time) -> Self {
        Self {
            token: None,
            invitation: Some(invitation.to_string()),
            ..Self::of_token(event, invitation, at)
        }
    }
}
