//! Signed requests (RFC 9421), which are verified before a handler sees them. Every response to a verified one is
//! signed. The layer is around all routes of REST; [`super::auth::Caller`] takes the caller from it.
//!
//! Open routes and foreign protocols do not use signatures, except for `/ip`: otherwise an agent would report an
//! address that a relay forged.

mod invitation;
mod layer;
mod mismatches;
mod nonces;
mod verify;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use silo_shared::credential::TokenId;
use silo_shared::signing::component::RequestHead;
use silo_shared::signing::request::RequestSignature;

use crate::auth::token_cache::CachedToken;
use crate::registry::SignedWrite;
use crate::store::KnownInvitation;

pub use invitation::InvitationLookups;
pub(super) use layer::SigningLayer;
pub(crate) use layer::is_open;
pub use mismatches::Mismatches;
pub use nonces::ReadNonces;
pub(super) use verify::is_of_signature;

/// A request whose signature was verified, stored in the request's extensions for handlers.
#[derive(Clone, Debug)]
pub(super) struct Verified {
    /// Whose key signed it.
    pub(super) by: SignedBy,
    /// What the registry needs for a write, or for a request for a stream; `None`: it only reads.
    pub(super) write: Option<Arc<OnceWrite>>,
    content: SignedContent,
}

/// Whose key signed a request.
#[derive(Clone, Debug)]
pub(super) enum SignedBy {
    /// A token.
    Token {
        /// The token.
        token: Arc<CachedToken>,
        /// Whether the key belonged to its former secret.
        by_former: bool,
    },
    /// An invitation, on a route of its own.
    Invitation(Arc<KnownInvitation>),
}

impl SignedBy {
    /// The id, under which responses are signed too.
    fn keyid(&self) -> TokenId {
        match self {
            Self::Token { token, .. } => token.known.token.id,
            Self::Invitation(known) => known.invitation.id,
        }
    }
}

/// What is needed to verify a request's content against its signature.
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

/// A signed write, or a request for a stream, and whether a command has taken its nonce.
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

    /// Leaves the nonce unspent: the request was not received as it was signed.
    fn leave_unspent(&self) {
        self.taken.store(true, Ordering::Release);
    }

    /// The write, if its nonce must be spent and no command has taken it.
    fn rest(&self) -> Option<SignedWrite> {
        (!self.taken.load(Ordering::Acquire)).then(|| self.write.clone())
    }
}
