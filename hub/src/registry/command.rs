//! What a command is, and why one can be refused.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use silo_shared::credential::TokenId;
use silo_shared::silo::{Hostname, SiloId};
use thiserror::Error;

use crate::domain::time::Time;
use crate::store::{StoreError, Via, WriteTransaction};

/// How long a caller waits for its answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// Who asks for a change, and by which way.
#[derive(Clone, Copy, Debug)]
pub struct Actor {
    /// Which way.
    pub via: Via,
    /// The token that was shown.
    pub token: Option<TokenId>,
    /// Where the request came from.
    pub client_ip: Option<IpAddr>,
}

/// Why a command was refused; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// There is no such silo.
    #[error("there is no such silo")]
    NoSilo,
    /// There is no such record, or none of this family.
    #[error("there is no such record")]
    NoRecord,
    /// There is no such token.
    #[error("there is no such token")]
    NoToken,
    /// `If-Match`, `If-None-Match` or the body's `revision` does not hold.
    #[error(
        "the stored state is not the one that If-Match, If-None-Match or the body's revision asks for"
    )]
    Precondition {
        /// The revision of what is stored; `None`: there is nothing.
        present: Option<i64>,
        /// Whether `If-Match` names it as a proxy has changed its tag.
        is_weakened: bool,
    },
    /// The token was rotated by this secret already, and the new one is used.
    #[error(
        "this secret has been rotated already, and the new one was used: only the new one may rotate the token"
    )]
    RotatedAlready,
    /// There is no such update key.
    #[error("there is no such update key")]
    NoUpdateKey,
    /// Another update key is the same.
    #[error("this update key is there already: choose another")]
    KeyTaken,
    /// The hostname is bound to another secid, or has a record that nobody may bind.
    #[error("this secid may not set this host")]
    WrongSecid,
    /// As many hostnames are bound by a first use alone as may be.
    #[error(
        "{} hosts are waiting to be confirmed: an admin must confirm or revoke some first",
        crate::domain::dynahost::MAX_UNCONFIRMED
    )]
    TooManyUnconfirmed,
    /// The hostname's secid is not the one that it was when the caller's was looked at.
    #[error("the host was bound, or its secid revoked, just now: try again")]
    BoundMeanwhile,
    /// There is no such sink.
    #[error("there is no such sink")]
    NoSink,
    /// Nobody works for the sink.
    #[error("no hub has this sink any more")]
    SinkGone,
    /// There is no such delivery.
    #[error("there is no such delivery")]
    NoDelivery,
    /// The silo would hold more records than it may.
    #[error("a silo holds at most {} records", silo_shared::silo::MAX_RECORDS)]
    TooManyRecords,
    /// The hub's key was reset while this hub ran.
    #[error("the hub's key was reset while this hub ran: restart it")]
    OtherKey,
    /// The nonce of a signed write was spent before.
    #[error("this request was received before: a retry is signed anew")]
    Replayed,
    /// A signed write is older than another one that it would undo.
    #[error("a newer signed write to the same place was accepted before")]
    Order,
    /// A signature is older than the moment at which the database was put back.
    #[error(
        "this was signed before the hub's database was put back from a copy: sign it again; if this goes on for more than a second, the clock is behind"
    )]
    SignedBeforeRestore,
    /// A new hostname without any address.
    #[error("a new hostname needs an address")]
    NoAddress,
}

/// Why a command had no outcome.
#[derive(Clone, Debug, Error)]
pub enum ApplyError {
    /// The command was refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The database failed. Nothing was written.
    #[error(transparent)]
    Store(#[from] Arc<StoreError>),
    /// The database took too long. Nothing was written, and nothing will be.
    #[error("the database did not take the write in time")]
    TimedOut,
    /// It was not found out in time whether the command was carried out.
    #[error("this may have been carried out; read before you repeat")]
    Unknown,
    /// The command panicked. Nothing was written.
    #[error("the hub failed at this command")]
    Panicked,
    /// The database's file is no longer where it was opened: what is written would be lost with it.
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

/// One change, which may be run again when its batch failed.
pub trait Command: Send + Sync + 'static {
    /// What the caller learns.
    type Outcome: Send + 'static;

    /// The record that the command begins by reading, if it is one: the writer fetches those of all the
    /// commands of a batch at once.
    fn reads(&self) -> Option<(&SiloId, &Hostname)> {
        None
    }

    /// How long the caller waits for the answer; `None`: as long as it takes.
    fn patience(&self) -> Option<Duration> {
        Some(ANSWER_TIMEOUT)
    }

    /// Reads, decides and writes, all inside the transaction. A refused command has written nothing.
    fn run(
        &self,
        transaction: &mut WriteTransaction,
        now: Time,
    ) -> impl Future<Output = Result<Self::Outcome, ApplyError>> + Send;
}
