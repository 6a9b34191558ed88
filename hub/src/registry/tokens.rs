//! The commands on tokens, on the hub's key, and on recorded use.

use silo_shared::credential::TokenId;
use silo_shared::silo::{Hostname, SiloId};

use super::{Actor, ApplyError, Command, Refusal};
use crate::domain::time::Time;
use crate::domain::token::{CredentialHash, Token};
use crate::domain::token_change::TokenChange;
use crate::domain::token_patch::TokenPatch;
use crate::store::{AuditEvent, AuditRow, Queries, SealedKey, WriteTransaction};

/// The fact under which the fingerprint of the hub's key is stored.
pub const KEY_FINGERPRINT: &str = "key_fingerprint";

/// Adds a token.
#[derive(Debug)]
pub struct CreateToken {
    /// The token.
    pub token: Token,
    /// The hash of its credential.
    pub credential_hash: CredentialHash,
    /// Its sealed signing key.
    pub signing_key: SealedKey,
    /// The fingerprint of the hub key that sealed it.
    pub sealed_by: String,
}

/// Adds a token if none was ever created; several hubs may try at once.
#[derive(Debug)]
pub struct CreateFirstToken(pub CreateToken);

/// Records that a token was created, in a database of version 0.1.0.
#[derive(Debug)]
pub struct NoteTokenMade;

/// Revokes a token.
#[derive(Debug)]
pub struct RevokeToken(pub TokenId);

/// Changes the properties of a token, and records that in the audit log if it changes anything.
#[derive(Debug)]
pub struct ChangeToken {
    /// The actor.
    pub actor: Actor,
    /// The token.
    pub id: TokenId,
    /// What to change.
    pub patch: TokenPatch,
}

/// Gives a token a new secret.
#[derive(Debug)]
pub struct RotateToken {
    /// The token.
    pub id: TokenId,
    /// The hash of its new credential.
    pub credential_hash: CredentialHash,
    /// Its new sealed signing key.
    pub signing_key: SealedKey,
    /// The fingerprint of the hub key that sealed it.
    pub sealed_by: String,
    /// Until when the old secret remains valid.
    pub former_ends: Time,
    /// The former secret that rotates the token again because the new one never arrived; `None`:
    /// rotated with the present secret, or by an admin.
    pub by_former: Option<CredentialHash>,
}

/// Records that a token's present secret is in use, so that the former one can no longer rotate the token.
#[derive(Debug)]
pub struct NoteNewSecretUsed {
    /// The token.
    pub id: TokenId,
    /// The hash of the secret's credential.
    pub credential_hash: CredentialHash,
}

impl Command for NoteNewSecretUsed {
    type Outcome = ();

    async fn run(&self, transaction: &mut WriteTransaction, now: Time) -> Result<(), ApplyError> {
        let noted = transaction.note_new_secret_used(self.id, self.credential_hash, now);
        Ok(noted.await?)
    }
}

/// Ties a database without a key to this hub's key.
#[derive(Debug)]
pub struct AdoptKey {
    /// The key's fingerprint.
    pub fingerprint: String,
}

/// Ties the database to a new key and deletes what the old one sealed.
#[derive(Debug)]
pub struct ResetKey {
    /// The new key's fingerprint.
    pub fingerprint: String,
}

/// Changes nothing, durably: tests whether the database accepts writes.
#[derive(Debug)]
pub struct ProveWritable;

/// Writes last-seen times of records and last-used times of tokens.
#[derive(Debug)]
pub struct WriteDownUse {
    /// Records.
    pub records: Vec<(SiloId, Hostname, Time)>,
    /// Tokens.
    pub tokens: Vec<(TokenId, Time)>,
}

impl Command for CreateToken {
    type Outcome = ();

    async fn run(&self, transaction: &mut WriteTransaction, _: Time) -> Result<(), ApplyError> {
        check_sealed_by(transaction, &self.sealed_by).await?;
        transaction
            .insert_token(&self.token, self.credential_hash, &self.signing_key)
            .await?;
        Ok(())
    }
}

/// The key may have been reset while this hub runs; what this hub seals could then not be opened.
pub(super) async fn check_sealed_by(
    transaction: &mut WriteTransaction,
    sealed_by: &str,
) -> Result<(), ApplyError> {
    let known = transaction.fact(KEY_FINGERPRINT).await?;
    if known.is_some_and(|known| known != sealed_by) {
        Err(Refusal::OtherKey.into())
    } else {
        Ok(())
    }
}

impl Command for RotateToken {
    type Outcome = ();

    async fn run(&self, transaction: &mut WriteTransaction, _: Time) -> Result<(), ApplyError> {
        check_sealed_by(transaction, &self.sealed_by).await?;
        if let Some(former) = self.by_former {
            let rotated = transaction.rotate_unused_token(
                self.id,
                former,
                self.credential_hash,
                &self.signing_key,
                self.former_ends,
            );
            return if rotated.await? {
                Ok(())
            } else {
                Err(Refusal::RotatedAlready.into())
            };
        }
        let rotated = transaction
            .rotate_token(
                self.id,
                self.credential_hash,
                &self.signing_key,
                self.former_ends,
            )
            .await?;
        if rotated {
            Ok(())
        } else {
            Err(Refusal::NoToken.into())
        }
    }
}

impl Command for CreateFirstToken {
    /// Whether the token was added.
    type Outcome = bool;

    async fn run(&self, transaction: &mut WriteTransaction, now: Time) -> Result<bool, ApplyError> {
        if transaction.any_token().await? {
            return Ok(false);
        }
        self.0.run(transaction, now).await?;
        let row = AuditRow::of_token(AuditEvent::Created, self.0.token.id, now);
        transaction.add_audit(&row).await?;
        Ok(true)
    }
}

impl Command for NoteTokenMade {
    type Outcome = ();

    async fn run(&self, transaction: &mut WriteTransaction, _: Time) -> Result<(), ApplyError> {
        Ok(transaction.note_token_made().await?)
    }
}

impl Command for RevokeToken {
    type Outcome = ();

    async fn run(&self, transaction: &mut WriteTransaction, now: Time) -> Result<(), ApplyError> {
        if transaction.revoke_token(self.0, now).await? {
            Ok(())
        } else {
            Err(Refusal::NoToken.into())
        }
    }
}

impl Command for ChangeToken {
    /// The token after the change.
    type Outcome = Token;

    async fn run(
        &self,
        transaction: &mut WriteTransaction,
        now: Time,
    ) -> Result<Token, ApplyError> {
        let token = transaction.unrevoked_token(self.id).await?;
        let token = token.ok_or(Refusal::NoToken)?;
        let applied = self.patch.applied_to(&token.spec, now);
        let spec = applied.map_err(Refusal::BadToken)?;
        if spec == token.spec {
            return Ok(token);
        }
        transaction.change_token(self.id, &spec).await?;
        let row = AuditRow {
            change: Some(TokenChange {
                before: Some((&token.spec).into()),
                after: Some((&spec).into()),
            }),
            ..AuditRow::of_token(AuditEvent::Changed, self.id, now)
        };
        transaction.add_audit(&self.actor.named_in(row)).await?;
        Ok(Token { spec, ..token })
    }
}

impl Command for AdoptKey {
    /// The fingerprint to which the database is tied afterwards.
    type Outcome = String;

    async fn run(&self, transaction: &mut WriteTransaction, _: Time) -> Result<String, ApplyError> {
        if let Some(known) = transaction.fact(KEY_FINGERPRINT).await? {
            return Ok(known);
        }
        transaction
            .set_fact(KEY_FINGERPRINT, &self.fingerprint)
            .await?;
        Ok(self.fingerprint.clone())
    }
}

impl Command for ResetKey {
    type Outcome = ();

    async fn run(&self, transaction: &mut WriteTransaction, now: Time) -> Result<(), ApplyError> {
        transaction
            .set_fact(KEY_FINGERPRINT, &self.fingerprint)
            .await?;
        transaction.forget_signing_keys().await?;
        transaction.revoke_all_invitations(now).await?;
        transaction.revoke_update_keys(now).await?;
        transaction.forget_logins().await?;
        Ok(())
    }
}

impl Command for ProveWritable {
    type Outcome = ();

    async fn run(&self, transaction: &mut WriteTransaction, _: Time) -> Result<(), ApplyError> {
        Ok(transaction.prove_writable().await?)
    }
}

impl Command for WriteDownUse {
    type Outcome = ();

    async fn run(&self, transaction: &mut WriteTransaction, _: Time) -> Result<(), ApplyError> {
        transaction.set_last_seen(&self.records).await?;
        transaction.set_last_used(&self.tokens).await?;
        Ok(())
    }
}
