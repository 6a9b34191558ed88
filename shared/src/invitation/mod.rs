//! Invitations: one line that gives a machine its access to a hub, without a token in it.
//!
//! - [`form`]: the line, `silo-invite:1:…`.
//! - [`exchange`]: how both sides derive the credential of the new token, which is never sent.
//! - [`documents`]: the JSON of the requests and answers.
//!
//! The hub makes the line and answers; the agents read it and ask. Requests and answers are signed with the invitation's
//! key, [`SigningKey::of`](crate::signing::SigningKey::of) its credential.

pub mod documents;
pub mod exchange;
pub mod form;

pub use exchange::{EphemeralKey, Exchange, ExchangeError, Proof, PublicKey};
pub use form::{InvalidInvitation, Invitation, MAX_INVITATION};
