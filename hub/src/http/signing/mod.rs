//! Signed requests (RFC 9421): verified before a handler sees them, and every answer to a verified one is
//! signed. The layer stands around all routes; [`super::auth::Caller`] takes from it who calls.
//!
//! Open routes and foreign protocols know no signatures, but for `/ip`: an address that somebody forged on
//! the way would be reported.

mod layer;
mod mismatches;
mod nonces;
mod verify;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use silo_shared::signing::component::RequestHead;
use silo_shared::signing::request::RequestSignature;

use crate::auth::token_cache::CachedToken;
use crate::registry::SignedWrite;

pub(crate) use layer::is_open;
pub(super) use layer::{SigningLayer, is_foreign};
pub use mismatches::Mismatches;
pub use nonces::ReadNonces;
pub(super) use verify::is_of_signature;

/// A request whose signature was verified, as handlers find it among the request's extensions.
#[derive(Clone, Debug)]
pub(super) struct Verified {
    /// The token whose key signed it.
    pub(super) token: Arc<CachedToken>,
    /// Whether it was the key of the token's former secret.
    pub(super) by_former: bool,
    /// What the registry must know of a write, or of a request for a stream; `None`: it only reads.
    pub(super) write: Option<Arc<OnceWrite>>,
    content: SignedContent,
}

/// What tells whether a request's content is the one that was signed.
#[derive(Clone)]
struct SignedContent {
    head: Arc<RequestHead>,
    signature: Arc<RequestSignature>,
    ip: IpAddr,
}

impl fmt::Debug for SignedContent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SignedContent")
            .finish_non_exhaustive()
    }
}

/// A signed write, or a request for a stream, and whether a command has taken charge of its nonce.
#[derive(Debug)]
pub(super) struct OnceWrite {
    write: SignedWrite,
    taken: AtomicBool,
}

impl OnceWrite {
    fn new(write: SignedWrite) -> Self {
        Self {
            write,
            taken: AtomicBool::new(false),
        }
    }

    /// The write, for the command that spends its nonce.
    pub(super) fn take(&self) -> SignedWrite {
        self.taken.store(true, Ordering::Release);
        self.write.clone()
    }

    /// Sees to it that nothing spends the nonce: the request was not received as it was signed.
    fn leave_unspent(&self) {
        self.taken.store(true, Ordering::Release);
    }

    /// The write, if its nonce is to be spent and no command has taken it.
    fn rest(&self) -> Option<SignedWrite> {
        (!self.taken.load(Ordering::Acquire)).then(|| self.write.clone())
    }
}
