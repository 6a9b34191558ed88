//! Commands, and the reasons why one can be refused.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use silo_shared::credential::TokenId;
use silo_shared::silo::{Hostname, SiloId};
use thiserror::Error;

use crate::domain::invitation::InvitationEnd;
use crate::domain::revision::Revision;
use crate::domain::time::Time;
use crate::domain::token::SpecError;
use crate::store::{AuditRow, StoreError, Via, WriteTransaction};

/// How long a caller waits for the result.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// Who requests a change, and through which interface.
#[derive(Clone, Copy, Debug)]
pub struct Actor {
    /// The interface.
    pub via: Via,
    /// The presented token.
    pub token: Option<TokenId>,
    /// The address of the client.
    pub client_ip: Option<IpAddr>,
}

impl Actor {
    /// An audit row, with its actor.
    pub(super) fn named_in(&self, row: AuditRow) -> AuditRow {
        AuditRow {
            by: self.token.map(|token| token.to_string()),
            via: Some(self.via.as_str().to_owned()),
            client_ip: self.client_ip,
            ..row
        }
    }
}

/// Why a command was refused; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The silo does not exist.
    #[error("there is no such silo")]
    NoSilo,
    /// The record does not exist, or lacks this family.
    #[error("there is no such record")]
    NoRecord,
    /// The token does not exist.
    #[error("there is no such token")]
    NoToken,
    /// `If-Match`, `If-None-Match` or the body's `revision` does not hold.
    #[error("the stored state does not match If-Match, If-None-Match or the body's revision")]
    Precondition {
        /// The revision of the stored state; `None`: nothing is stored.
        present: Option<Revision>,
        /// Whether `If-Match` names it with a tag that a proxy weakened.
        is_weakened: bool,
    },
    /// The token was already rotated with this secret, and the new secret is in use.
    #[error(
        "this secret has been rotated already, and the new one was used: only the new one may rotate the token"
    )]
    RotatedAlready,
    /// There is no invitation that can be used.
    #[error("there is no invitation with this id that can still be used")]
    NoInvitation,
    /// Too many invitations are open.
    #[error(
        "{} invitations are open: revoke some, or wait until some have expired",
        crate::domain::invitation::MAX_OPEN
    )]
    TooManyInvitations,
    /// The invitation has ended.
    #[error("{0}")]
    InvitationEnded(InvitationEnd),
    /// Another machine has redeemed the invitation since.
    #[error("another machine redeemed this invitation after this one")]
    InvitationReplaced,
    /// The invitation is to be confirmed, and was not redeemed.
    #[error("this invitation was not redeemed, as far as the hub knows: redeem it again")]
    InvitationNotRedeemed,
    /// The proof is not that of the token that the invitation was redeemed for.
    #[error("this proof is not that of the token's credential")]
    WrongProof,
    /// The update key does not exist.
    #[error("there is no such update key")]
    NoUpdateKey,
    /// The same update key exists already.
    #[error("this update key already exists: choose another")]
    KeyTaken,
    /// The hostname is bound to another secid, or has a record that can't be bound.
    #[error("this secid may not set this host")]
    WrongSecid,
    /// The limit of hostnames bound by first use only is reached.
    #[error(
        "{} hosts are waiting to be confirmed: an admin must confirm or revoke some first",
        crate::domain::dynahost::MAX_UNCONFIRMED
    )]
    TooManyUnconfirmed,
    /// The binding changed after the caller's secid was looked up.
    #[error("the host was bound, or its secid revoked, just now: try again")]
    BoundMeanwhile,
    /// The sink does not exist.
    #[error("there is no such sink")]
    NoSink,
    /// No hub serves the sink.
    #[error("no hub has this sink any more")]
    SinkGone,
    /// The delivery does not exist.
    #[error("there is no such delivery")]
    NoDelivery,
    /// The silo would exceed the record limit.
    #[error("a silo holds at most {} records", silo_shared::silo::MAX_RECORDS)]
    TooManyRecords,
    /// The hub's key was reset while this hub ran.
    #[error("the hub's key was reset while this hub ran: restart it")]
    OtherKey,
    /// The nonce of a signed write was used before.
    #[error("this request was received before: sign each retry again")]
    Replayed,
    /// A signed write is older than a newer one that it would undo.
    #[error("a newer signed write to the same place was accepted before")]
    Order,
    /// A signature is older than the restore of the database.
    #[error(
        "this was signed before the hub's database was restored from a copy: sign it again; if this goes on for more than a second, the clock is behind"
    )]
    SignedBeforeRestore,
    /// The token can't have these properties.
    #[error("{0}")]
    BadToken(SpecError),
    /// The record would have no address.
    #[error("a new hostname needs an address")]
    NoAddress,
    /// The same for one of several records to set, by its index.
    #[error("a new hostname needs an address")]
    NoAddressAt(usize),
    /// One of several records to remove, by its index, does not exist.
    #[error("there is no such record")]
    NoRecordAt(usize),
}

/// Why a command has no outcome.
#[derive(Clone, Debug, Error)]
pub enum ApplyError {
    /// The command was refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The database failed. Nothing was written.
    #[error(transparent)]
    Store(#[from] Arc<StoreError>),
    /// The database took too long. Nothing was written, nor will it be.
    #[error("the database did not take the write in time")]
    TimedOut,
    /// The caller gave up before it was known whether the command was executed.
    #[error("this may have been carried out; read before you repeat")]
    Unknown,
    /// The command panicked. Nothing was written.
    #[error("the hub failed to run this command")]
    Panicked,
    /// The database file was moved or deleted: writes to it would be lost.
    #[error("the database's file was moved or removed while the hub serves it")]
    FileGone,
    /// The hub is stopping.
    #[error("the hub is stopping")]
    Stopping,
}

impl From<StoreError> for ApplyError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

/// One change. It may be run again when its batch failed.
pub trait Command: Send + Sync + 'static {
    /// The result for the caller.
    type Outcome: Send + 'static;

    /// The record that the command reads first, if any: the writer fetches those of all commands of
    /// a batch at once.
    fn reads(&self) -> Option<(&SiloId, &Hostname)> {
        None
    }

    /// Whether an outcome means that nothing was accepted, as a refusal does.
    fn is_refused(_outcome: &Self::Outcome) -> bool {
        false
    }

    /// How long the caller waits for the result; `None`: without limit.
    fn patience(&self) -> Option<Duration> {
        Some(ANSWER_TIMEOUT)
    }

    /// Reads, decides and writes, all inside the transaction. A refused command must not have
    /// written anything.
    fn run(
        &self,
        transaction: &mut WriteTransaction,
        now: Time,
    ) -> impl Future<Output = Result<Self::Outcome, ApplyError>> + Send;
}
