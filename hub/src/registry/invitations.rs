//! The commands on invitations. What a machine is about to get is stored with the invitation; the confirmation makes the
//! token of it, once, in the transaction that also ends the invitation.

use silo_shared::credential::TokenId;
use silo_shared::invitation::Proof;
use silo_shared::invitation::documents::InvitationState;

use super::tokens::check_sealed_by;
use super::{Actor, ApplyError, Command, CreateToken, Refusal, logged};
use crate::auth::secrets::HubKey;
use crate::domain::invitation::{Invitation, InvitationEnd, MAX_OPEN, Redeemer};
use crate::domain::time::Time;
use crate::domain::token::Token;
use crate::domain::token_change::TokenChange;
use crate::store::{
    AuditEvent, AuditRow, KnownInvitation, PendingToken, Queries, SealedKey, StoreError,
    WriteTransaction,
};

/// Adds an invitation.
#[derive(Debug)]
pub struct AddInvitation {
    /// Who makes it.
    pub actor: Actor,
    /// The invitation.
    pub invitation: Invitation,
    /// The sealed key that signs the requests of its exchange.
    pub signing_key: SealedKey,
    /// The fingerprint of the hub key that sealed it.
    pub sealed_by: String,
}

/// Revokes an invitation that was not used.
#[derive(Debug)]
pub struct RevokeInvitation {
    /// Who revokes it.
    pub actor: Actor,
    /// The invitation.
    pub id: TokenId,
}

/// Stores what the machine that redeems an invitation is to get. A later machine replaces it.
#[derive(Debug)]
pub struct RedeemInvitation {
    /// The invitation.
    pub id: TokenId,
    /// The machine.
    pub redeemer: Redeemer,
    /// The secrets of its token.
    pub token: PendingToken,
    /// The fingerprint of the hub key that sealed them.
    pub sealed_by: String,
}

/// Makes the token of an invitation, for the machine that redeemed it last and proves that it has the credential.
#[derive(Debug)]
pub struct ConfirmInvitation {
    /// Who confirms.
    pub actor: Actor,
    /// The invitation.
    pub id: TokenId,
    /// The id that the machine got for its token.
    pub token: TokenId,
    /// The proof.
    pub proof: Proof,
    /// Opens the signing key that the proof is compared with.
    pub key: HubKey,
}

/// Removes invitations that ended before a time, and those that a wrong clock has made.
#[derive(Debug)]
pub struct PurgeInvitations {
    /// Those that ended earlier.
    pub before: Time,
    /// Those that end later.
    pub after: Time,
}

impl Command for AddInvitation {
    type Outcome = ();

    async fn run(&self, transaction: &mut WriteTransaction, now: Time) -> Result<(), ApplyError> {
        check_sealed_by(transaction, &self.sealed_by).await?;
        if transaction.open_invitations(now).await? >= MAX_OPEN {
            return Err(Refusal::TooManyInvitations.into());
        }
        transaction
            .insert_invitation(&self.invitation, &self.signing_key)
            .await?;
        let change = TokenChange {
            before: None,
            after: Some((&self.invitation.spec).into()),
        };
        let row = AuditRow {
            change: Some(change),
            ..AuditRow::of_invitation(AuditEvent::Invited, self.invitation.id, now)
        };
        record(transaction, self.actor, row).await?;
        Ok(())
    }
}

impl Command for RevokeInvitation {
    type Outcome = ();

    async fn run(&self, transaction: &mut WriteTransaction, now: Time) -> Result<(), ApplyError> {
        let known = transaction.invitation(self.id).await?;
        let is_usable = known.is_some_and(|known| {
            let state = known.invitation.state_at(now);
            InvitationEnd::of(state).is_none()
        });
        if !is_usable {
            return Err(Refusal::NoInvitation.into());
        }
        transaction.revoke_invitation(self.id, now).await?;
        let row = AuditRow::of_invitation(AuditEvent::Revoked, self.id, now);
        record(transaction, self.actor, row).await?;
        Ok(())
    }
}

impl Command for RedeemInvitation {
    /// The invitation that was redeemed.
    type Outcome = Invitation;

    async fn run(
        &self,
        transaction: &mut WriteTransaction,
        now: Time,
    ) -> Result<Invitation, ApplyError> {
        let known = transaction.invitation(self.id).await?;
        let KnownInvitation { invitation, .. } = known.ok_or(Refusal::NoInvitation)?;
        if let Some(end) = InvitationEnd::of(invitation.state_at(now)) {
            return Err(Refusal::InvitationEnded(end).into());
        }
        check_sealed_by(transaction, &self.sealed_by).await?;
        transaction
            .redeem_invitation(self.id, &self.redeemer, &self.token)
            .await?;
        Ok(invitation)
    }
}

impl Command for ConfirmInvitation {
    /// The token. An error was recorded in the audit log, since it may be an attack: another machine has redeemed the
    /// invitation.
    type Outcome = Result<Token, Refusal>;

    fn is_refused(outcome: &Self::Outcome) -> bool {
        outcome.is_err()
    }

    async fn run(
        &self,
        transaction: &mut WriteTransaction,
        now: Time,
    ) -> Result<Self::Outcome, ApplyError> {
        let known = transaction.invitation(self.id).await?;
        let known = known.ok_or(Refusal::NoInvitation)?;
        let state = known.invitation.state_at(now);
        let end = InvitationEnd::of(state).filter(|end| *end != InvitationEnd::Used);
        if let Some(end) = end {
            return Err(Refusal::InvitationEnded(end).into());
        }
        let (Some(redeemer), Some(pending)) = (known.invitation.redeemed, known.pending) else {
            return Err(Refusal::InvitationNotRedeemed.into());
        };
        let is_used = state == InvitationState::Used;
        if redeemer.token != self.token {
            let row = AuditRow {
                other_ip: redeemer.client_ip,
                ..AuditRow::of_invitation(AuditEvent::Replaced, self.id, now)
            };
            record(transaction, self.actor, row).await?;
            return Ok(Err(if is_used {
                Refusal::InvitationEnded(InvitationEnd::Used)
            } else {
                Refusal::InvitationReplaced
            }));
        }
        let key = self.key.open_signing_key(&pending.signing_key, self.token);
        if !key.is_some_and(|key| self.proof.is_of(&key)) {
            return Err(Refusal::WrongProof.into());
        }
        let token = Token {
            id: self.token,
            spec: known.invitation.spec,
            created_at: now,
            revoked_at: None,
            last_used_at: None,
        };
        if is_used {
            return Ok(Ok(token));
        }
        let create = CreateToken {
            token: token.clone(),
            credential_hash: pending.credential_hash,
            signing_key: pending.signing_key,
            sealed_by: self.key.fingerprint(),
        };
        create.run(transaction, now).await?;
        transaction.note_invitation_used(self.id, now).await?;
        let change = TokenChange {
            before: None,
            after: Some((&token.spec).into()),
        };
        let row = AuditRow {
            invitation: Some(self.id.to_string()),
            change: Some(change),
            ..AuditRow::of_token(AuditEvent::Created, token.id, now)
        };
        transaction.add_audit(&self.actor.named_in(row)).await?;
        logged::note_token(transaction, self.actor, AuditEvent::Created, token.id);
        Ok(Ok(token))
    }
}

impl Command for PurgeInvitations {
    /// Number of deleted invitations.
    type Outcome = u64;

    async fn run(&self, transaction: &mut WriteTransaction, _: Time) -> Result<u64, ApplyError> {
        Ok(transaction
            .purge_invitations(self.before, self.after)
            .await?)
    }
}

/// Records an event of an invitation in the audit log, and logs it once it is committed.
async fn record(
    transaction: &mut WriteTransaction,
    actor: Actor,
    row: AuditRow,
) -> Result<(), StoreError> {
    transaction.add_audit(&actor.named_in(row.clone())).await?;
    logged::note_invitation(transaction, actor, &row);
    Ok(())
}
