//! Invitations, stored with sealed keys and the hash of the token that a machine is about to get: no credential can be
//! recovered from them.

use silo_shared::credential::TokenId;
use sqlx::Row;
use sqlx::any::AnyRow;

use super::rows::{list, stored_list};
use super::{SealedKey, Store, StoreError, WriteTransaction, optional, optional_time, time};
use crate::domain::invitation::{Invitation, Redeemer};
use crate::domain::time::Time;
use crate::domain::token::{CredentialHash, Role, TokenSpec};

/// An invitation with its secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownInvitation {
    /// The invitation.
    pub invitation: Invitation,
    /// The sealed key that signs the requests of its exchange.
    pub signing_key: SealedKey,
    /// What the last machine that redeemed it is to get.
    pub pending: Option<PendingToken>,
}

/// The secrets of a token that is not made yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingToken {
    /// The hash of its credential.
    pub credential_hash: CredentialHash,
    /// Its sealed signing key.
    pub signing_key: SealedKey,
}

/// The columns of an invitation, as [`known_invitation`] reads them.
pub(super) const COLUMNS: &str = "id, signing_key, name, role, silos, hostnames, token_expires_at, \
     made_by, created_at, expires_at, revoked_at, used_at, token, token_hash, token_signing_key, \
     client_ip, redeemed_at";

/// Invitations that can still be used at a time.
const OPEN: &str = "used_at IS NULL AND revoked_at IS NULL AND expires_at > ?";

/// Invitations whose end is longer ago than the first value, and those that end later than the second.
const OVER: &str = "coalesce(used_at, revoked_at, expires_at) < ? OR expires_at > ?";

fn id(text: &str) -> Result<TokenId, StoreError> {
    TokenId::parse(text).map_err(|_| StoreError::Corrupt("id of an invitation"))
}

pub(super) fn known_invitation(row: &AnyRow) -> Result<KnownInvitation, StoreError> {
    let role: &str = row.try_get(3)?;
    let hostnames: Option<&str> = row.try_get(5)?;
    let made_by: Option<&str> = row.try_get(7)?;
    let token: Option<&str> = row.try_get(12)?;
    let (redeemed, pending) = match token {
        None => (None, None),
        Some(token) => {
            let redeemer = Redeemer {
                token: id(token)?,
                client_ip: optional(row, 15, "address")?,
                at: time(row, 16)?,
            };
            let pending = PendingToken {
                credential_hash: CredentialHash::parse(row.try_get(13)?)
                    .ok_or(StoreError::Corrupt("credential hash"))?,
                signing_key: SealedKey(row.try_get(14)?),
            };
            (Some(redeemer), Some(pending))
        }
    };
    Ok(KnownInvitation {
        invitation: Invitation {
            id: id(row.try_get(0)?)?,
            spec: TokenSpec {
                name: row.try_get(2)?,
                role: Role::stored(role).ok_or(StoreError::Corrupt("role"))?,
                silos: list(row.try_get(4)?)?,
                hostnames: hostnames.map(list).transpose()?,
                expires_at: optional_time(row, 6)?,
            },
            made_by: made_by.map(id).transpose()?,
            created_at: time(row, 8)?,
            expires_at: time(row, 9)?,
            revoked_at: optional_time(row, 10)?,
            used_at: optional_time(row, 11)?,
            redeemed,
        },
        signing_key: SealedKey(row.try_get(1)?),
        pending,
    })
}

/// Rows of [`COLUMNS`] without their secrets.
fn shown(rows: &[AnyRow]) -> Result<Vec<Invitation>, StoreError> {
    rows.iter()
        .map(|row| known_invitation(row).map(|known| known.invitation))
        .collect()
}

impl Store {
    /// The invitations with ids after `after` in byte order.
    pub async fn invitations(
        &self,
        after: &str,
        limit: i64,
    ) -> Result<Vec<Invitation>, StoreError> {
        let query = self
            .dialect
            .query(format!(
                "SELECT {COLUMNS} FROM invitations WHERE id > ? ORDER BY id LIMIT ?"
            ))
            .bind(after.to_owned())
            .bind(limit);
        shown(&self.read(query).await?)
    }

    /// The invitations that can still be used, oldest first.
    pub async fn open_invitations(
        &self,
        now: Time,
        limit: i64,
    ) -> Result<Vec<Invitation>, StoreError> {
        let query = self
            .dialect
            .query(format!(
                "SELECT {COLUMNS} FROM invitations WHERE {OPEN} ORDER BY created_at, id LIMIT ?"
            ))
            .bind(now.as_millis())
            .bind(limit);
        shown(&self.read(query).await?)
    }

    /// Whether there are invitations that ended before a time, or that end after another one, which only a wrong clock
    /// can have made.
    pub async fn has_invitations_over(
        &self,
        before: Time,
        after: Time,
    ) -> Result<bool, StoreError> {
        let query = self
            .dialect
            .query(format!("SELECT id FROM invitations WHERE {OVER} LIMIT 1"))
            .bind(before.as_millis())
            .bind(after.as_millis());
        Ok(!self.read(query).await?.is_empty())
    }
}

impl WriteTransaction {
    /// How many invitations can still be used.
    pub async fn open_invitations(&mut self, now: Time) -> Result<i64, StoreError> {
        let row = self
            .dialect
            .query(format!("SELECT count(*) FROM invitations WHERE {OPEN}"))
            .bind(now.as_millis())
            .fetch_one(&mut *self.inner)
            .await?;
        Ok(row.try_get(0)?)
    }

    /// Adds an invitation that no machine has redeemed.
    pub async fn insert_invitation(
        &mut self,
        invitation: &Invitation,
        signing_key: &SealedKey,
    ) -> Result<(), StoreError> {
        let spec = &invitation.spec;
        self.dialect
            .query(
                "INSERT INTO invitations (id, signing_key, name, role, silos, hostnames, \
                 token_expires_at, made_by, created_at, expires_at) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )
            .bind(invitation.id.to_string())
            .bind(signing_key.0.as_str())
            .bind(spec.name.as_str())
            .bind(spec.role.to_string())
            .bind(stored_list(&spec.silos))
            .bind(spec.hostnames.as_deref().map(stored_list))
            .bind(spec.expires_at.map(Time::as_millis))
            .bind(invitation.made_by.map(|id| id.to_string()))
            .bind(invitation.created_at.as_millis())
            .bind(invitation.expires_at.as_millis())
            .execute(&mut *self.inner)
            .await?;
        self.must_commit = true;
        Ok(())
    }

    /// Stores what the machine that has redeemed an invitation is to get, in place of what another one was to get.
    pub async fn redeem_invitation(
        &mut self,
        invitation: TokenId,
        redeemer: &Redeemer,
        token: &PendingToken,
    ) -> Result<(), StoreError> {
        self.dialect
            .query(
                "UPDATE invitations SET token = ?, token_hash = ?, token_signing_key = ?, \
                 client_ip = ?, redeemed_at = ? WHERE id = ?",
            )
            .bind(redeemer.token.to_string())
            .bind(token.credential_hash.to_string())
            .bind(token.signing_key.0.as_str())
            .bind(redeemer.client_ip.map(|ip| ip.to_string()))
            .bind(redeemer.at.as_millis())
            .bind(invitation.to_string())
            .execute(&mut *self.inner)
            .await?;
        self.must_commit = true;
        Ok(())
    }

    /// Stores that an invitation has made its token.
    pub async fn note_invitation_used(
        &mut self,
        invitation: TokenId,
        now: Time,
    ) -> Result<(), StoreError> {
        self.dialect
            .query("UPDATE invitations SET used_at = ? WHERE id = ?")
            .bind(now.as_millis())
            .bind(invitation.to_string())
            .execute(&mut *self.inner)
            .await?;
        self.must_commit = true;
        Ok(())
    }

    /// Revokes an invitation.
    pub async fn revoke_invitation(
        &mut self,
        invitation: TokenId,
        now: Time,
    ) -> Result<(), StoreError> {
        self.dialect
            .query("UPDATE invitations SET revoked_at = ? WHERE id = ?")
            .bind(now.as_millis())
            .bind(invitation.to_string())
            .execute(&mut *self.inner)
            .await?;
        self.must_commit = true;
        Ok(())
    }

    /// Revokes every invitation that was not used.
    pub async fn revoke_all_invitations(&mut self, now: Time) -> Result<(), StoreError> {
        let revoked = self
            .dialect
            .query(
                "UPDATE invitations SET revoked_at = ? \
                 WHERE used_at IS NULL AND revoked_at IS NULL",
            )
            .bind(now.as_millis())
            .execute(&mut *self.inner)
            .await?;
        self.must_commit |= revoked.rows_affected() > 0;
        Ok(())
    }

    /// Removes the invitations that ended before a time, and those that end after another one; returns their number.
    pub async fn purge_invitations(
        &mut self,
        before: Time,
        after: Time,
    ) -> Result<u64, StoreError> {
        let gone = self
            .dialect
            .query(format!("DELETE FROM invitations WHERE {OVER}"))
            .bind(before.as_millis())
            .bind(after.as_millis())
            .execute(&mut *self.inner)
            .await?;
        self.must_commit |= gone.rows_affected() > 0;
        Ok(gone.rows_affected())
    }
}
