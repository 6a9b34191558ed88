//! What was done to tokens, and which credentials were refused.

use std::net::IpAddr;

use silo_shared::credential::TokenId;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::{IdCursor, Store, StoreError, WriteTransaction, optional, time};
use crate::domain::time::Time;

/// How many rows of refused credentials are kept, whatever the retention.
pub(super) const REFUSED_KEPT: i64 = 100_000;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditEvent {
    /// A token was made.
    Created,
    /// A token was revoked.
    Revoked,
    /// A token got a new secret.
    Rotated,
    /// A credential was refused.
    Refused,
}

/// One row of the audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// Grows with time; 0 in a row that is to be added.
    pub id: i64,
    /// When; of refused credentials, when their minute began.
    pub at: Time,
    /// What.
    pub event: String,
    /// The token that it was done to.
    pub token: Option<String>,
    /// The token that asked for it.
    pub by: Option<String>,
    /// Which way.
    pub via: Option<String>,
    /// From where.
    pub client_ip: Option<IpAddr>,
    /// How often.
    pub times: i64,
}

impl AuditEvent {
    /// As it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Revoked => "revoked",
            Self::Rotated => "rotated",
            Self::Refused => "refused",
        }
    }
}

fn audit_row(row: &AnyRow) -> Result<AuditRow, StoreError> {
    Ok(AuditRow {
        id: row.try_get(0)?,
        at: time(row, 1)?,
        event: row.try_get(2)?,
        token: row.try_get(3)?,
        by: row.try_get(4)?,
        via: row.try_get(5)?,
        client_ip: optional(row, 6, "address")?,
        times: row.try_get(7)?,
    })
}

impl Store {
    /// The audit, newest first.
    pub async fn audit(&self, before: IdCursor, limit: i64) -> Result<Vec<AuditRow>, StoreError> {
        self.dialect
            .query(
                "SELECT id, happened_at, event, token, by_token, via, client_ip, times FROM audit \
                 WHERE id < ? ORDER BY id DESC LIMIT ?",
            )
            .bind(before.0)
            .bind(limit)
            .fetch_all(&self.readers)
            .await?
            .iter()
            .map(audit_row)
            .collect()
    }
}

impl WriteTransaction {
    /// Adds a row; its id is given here.
    pub async fn add_audit(&mut self, row: &AuditRow) -> Result<(), StoreError> {
        let id = self.advance("audit").await?;
        self.dialect
            .query(
                "INSERT INTO audit (id, happened_at, event, token, by_token, via, client_ip, times) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            )
            .bind(id)
            .bind(row.at.as_millis())
            .bind(row.event.as_str())
            .bind(row.token.as_deref())
            .bind(row.by.as_deref())
            .bind(row.via.as_deref())
            .bind(row.client_ip.map(|ip| ip.to_string()))
            .bind(row.times)
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }
}

impl AuditRow {
    /// What was done to a token.
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
        }
    }
}
