//! The order in which a join happens: one write after the other, so that a run that was killed after any of them is
//! finished by the next one. The hub makes one token whatever happens.
//!
//! | killed | the next run |
//! |---|---|
//! | before or after the redemption | redeems again, which replaces the earlier redemption |
//! | after `join.pending` was written, or after the hub confirmed | confirms again: the same proof has the same answer |
//! | later | the same, and writes again what is there already |
//!
//! `join.pending` goes last.

use super::JoinError;
use super::files::{Mark, Pending, Places};
use super::terms::Terms;
use crate::credential::{Credential, TokenId};
use crate::install::Agent;
use crate::invitation::documents::{ConfirmRequest, Confirmed, RedeemRequest, Redeemed};
use crate::invitation::{EphemeralKey, Exchange, Invitation, Proof};
use crate::signing::SigningKey;

/// The hub that made the invitation. Its answers are verified.
pub(super) trait Inviter {
    async fn redeem(&self, request: &RedeemRequest) -> Result<Redeemed, JoinError>;
    /// Fails with [`JoinError::Ended`] if the invitation has ended for this machine, and with [`JoinError::Unknown`] if
    /// the hub does not know it, which is not signed.
    async fn confirm(&self, request: &ConfirmRequest) -> Result<Confirmed, JoinError>;
    /// Whether the hub knows the credential of a token.
    async fn knows(&self, credential: &Credential) -> Result<bool, JoinError>;
}

/// What happens on this machine once its configuration is there.
pub(super) trait Local {
    /// Runs the agent once.
    fn run_once(&mut self) -> Result<(), JoinError>;
    /// Makes the schedule.
    fn schedule(&mut self) -> Result<(), JoinError>;
    /// Says what was done.
    fn tell(&mut self, words: String);
}

/// A step of a join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Agrees on a credential with the hub.
    Redeem,
    /// Writes the pending join.
    Keep,
    /// Lets the hub make the token.
    Confirm,
    /// Writes the token.
    Token,
    /// Writes what `leave` has to know.
    Mark,
    /// Writes the configuration.
    Configuration,
    /// Runs the agent once.
    Run,
    /// Makes the schedule.
    Schedule,
    /// Removes the pending join.
    Finish,
}

impl Step {
    fn next(self) -> Option<Self> {
        Some(match self {
            Self::Redeem => Self::Keep,
            Self::Keep => Self::Confirm,
            Self::Confirm => Self::Token,
            Self::Token => Self::Mark,
            Self::Mark => Self::Configuration,
            Self::Configuration => Self::Run,
            Self::Run => Self::Schedule,
            Self::Schedule => Self::Finish,
            Self::Finish => return None,
        })
    }
}

/// A join under way.
#[derive(Debug)]
pub(super) struct Joining<'a, I, L> {
    hub: &'a I,
    local: &'a mut L,
    places: &'a Places,
    agent: Agent,
    known: Known,
    next: Option<Step>,
}

/// What is known so far.
#[derive(Debug)]
enum Known {
    /// The invitation, and what it grants.
    Invited(Invitation, Terms),
    /// The credential too.
    Agreed(Pending),
}

impl<'a, I: Inviter, L: Local> Joining<'a, I, L> {
    /// A join with an invitation that grants these terms.
    pub(super) fn begin(
        hub: &'a I,
        local: &'a mut L,
        places: &'a Places,
        agent: Agent,
        (invitation, terms): (Invitation, Terms),
    ) -> Self {
        Self {
            hub,
            local,
            places,
            agent,
            known: Known::Invited(invitation, terms),
            next: Some(Step::Redeem),
        }
    }

    /// A join that an earlier run has begun.
    pub(super) fn resume(
        hub: &'a I,
        local: &'a mut L,
        places: &'a Places,
        agent: Agent,
        pending: Pending,
    ) -> Self {
        Self {
            hub,
            local,
            places,
            agent,
            known: Known::Agreed(pending),
            next: Some(Step::Confirm),
        }
    }

    /// Takes the next step, and returns it; `None` if all were taken. After an error the join is over; the next run
    /// goes on with what is on the disk.
    pub(super) async fn step(&mut self) -> Result<Option<Step>, JoinError> {
        let Some(step) = self.next else {
            return Ok(None);
        };
        match (step, &self.known) {
            (Step::Redeem, Known::Invited(invitation, terms)) => {
                let credential = redeem(self.hub, self.agent, invitation, terms).await?;
                self.known = Known::Agreed(Pending {
                    invitation: invitation.clone(),
                    credential,
                    terms: terms.clone(),
                    made_folder: self.places.owns_folder(),
                });
            }
            (_, Known::Invited(..)) => unreachable!("a join begins with its redemption"),
            (_, Known::Agreed(pending)) => self.take(step, &pending.clone()).await?,
        }
        self.next = step.next();
        Ok(Some(step))
    }

    async fn take(&mut self, step: Step, pending: &Pending) -> Result<(), JoinError> {
        let places = self.places;
        let configuration =
            pending
                .terms
                .configuration(self.agent, &pending.invitation, &places.token);
        match step {
            Step::Redeem => {}
            Step::Keep => {
                places.make_folder()?;
                places.keep(pending, self.agent)?;
            }
            Step::Confirm => self.confirm(pending).await?,
            Step::Token => {
                places.write_token(&pending.credential)?;
                self.wrote(&places.token);
            }
            Step::Mark => {
                places.write_mark(&Mark::new(pending, &configuration))?;
            }
            Step::Configuration => {
                places.write_configuration(&configuration)?;
                self.wrote(&places.config);
            }
            Step::Run => self.local.run_once()?,
            Step::Schedule => self.local.schedule()?,
            Step::Finish => places.discard(pending, self.agent)?,
        }
        Ok(())
    }

    async fn confirm(&mut self, pending: &Pending) -> Result<(), JoinError> {
        let proof = Proof::of(&SigningKey::of(&pending.credential));
        let request = ConfirmRequest {
            token_id: pending.credential.id().to_string(),
            proof: proof.to_string(),
        };
        match self.hub.confirm(&request).await {
            Ok(_) => {}
            // Removed 24 hours after it was used, by this machine perhaps.
            Err(JoinError::Unknown(hub)) => {
                if !self.hub.knows(&pending.credential).await? {
                    return Err(JoinError::Unknown(hub));
                }
            }
            Err(error @ JoinError::Ended(_)) => {
                self.places.discard(pending, self.agent)?;
                return Err(error);
            }
            Err(error) => return Err(error),
        }
        let id = pending.credential.id();
        let words = pending.terms.words();
        self.local.tell(format!("joined: token {id} may {words}"));
        Ok(())
    }

    fn wrote(&mut self, path: &std::path::Path) {
        self.local.tell(format!("wrote {}", path.display()));
    }
}

/// Agrees on a credential. Both private keys end here.
async fn redeem(
    hub: &impl Inviter,
    agent: Agent,
    invitation: &Invitation,
    terms: &Terms,
) -> Result<Credential, JoinError> {
    let own = EphemeralKey::generate()?;
    let client = own.public();
    let request = RedeemRequest {
        public_key: client.to_string(),
    };
    let answer = hub.redeem(&request).await?;
    if Terms::of_redeemed(agent, &answer)? != *terms {
        return Err(JoinError::NotUnderstood("it grants something else by now"));
    }
    let token = TokenId::parse(&answer.token_id)
        .map_err(|_| JoinError::NotUnderstood("the id of the token is not valid"))?;
    let key = answer.public_key.parse();
    let key = key.map_err(|_| JoinError::NotUnderstood("the hub's public key is not valid"))?;
    let exchange = Exchange {
        key: &SigningKey::of(invitation.key()),
        id: invitation.key().id(),
        token,
        client,
        hub: key,
    };
    Ok(exchange.credential(&own.agree(&key)?))
}

#[cfg(test)]
#[path = "steps_tests.rs"]
mod tests;
