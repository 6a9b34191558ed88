//! HTTP Message Signatures (RFC 9421) with HMAC-SHA256 and `Content-Digest` (RFC 9530): the secret never
//! travels, and neither a request nor its answer can be changed on the way. Pure code; the hub and both
//! agents use it.
//!
//! - [`component`], [`base`]: what of a message is signed, and the text that is.
//! - [`input`]: the fields `Signature-Input` and `Signature`.
//! - [`digest`] of the content, in the field `Content-Digest`.
//! - [`key`]: a token's signing key.
//! - [`request`], [`answer`]: the two directions, with the rules of this contract.
//!
//! Reading is stricter than the RFC asks: both fields must be in the form in which a serializer writes
//! them (RFC 9651 section 4.1), so that one signature has one text.

pub mod answer;
pub mod base;
pub mod component;
pub mod digest;
pub mod input;
pub mod key;
pub mod request;

use http::HeaderName;
use thiserror::Error;

pub use component::RequestHead;
pub use key::SigningKey;

/// The label of a signature in its fields.
pub const LABEL: &str = "silo";
/// The one algorithm (RFC 9421 section 3.3.3).
pub const ALGORITHM: &str = "hmac-sha256";
/// How far the clocks of signer and verifier may be apart, in seconds.
pub const MAX_CLOCK_OFFSET: i64 = 300;
/// The longest nonce, in characters.
pub const MAX_NONCE: usize = 64;
/// The field that says what is signed (RFC 9421 section 4.1).
pub const SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");
/// The field that holds the signature (RFC 9421 section 4.2).
pub const SIGNATURE: HeaderName = HeaderName::from_static("signature");
/// The field that ties the content to the signature (RFC 9530 section 2).
pub const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// Why a message's signature does not count.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// A field can't be read.
    #[error("{field}: {why}")]
    Malformed {
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A duplicate field.
    #[error("{0} stands in the message more than once")]
    Repeated(String),
    /// An unknown component.
    #[error("the component {0} is not known here")]
    UnknownComponent(String),
    /// A component that the message does not have.
    #[error("the component {0} is not in the message")]
    AbsentComponent(String),
    /// A required component is not signed.
    #[error("{0} must be signed and is not")]
    Uncovered(String),
    /// A required parameter is missing.
    #[error("Signature-Input: the parameter {0} is missing")]
    NoParameter(&'static str),
    /// Another algorithm.
    #[error("Signature-Input: alg must be \"{ALGORITHM}\"")]
    Algorithm,
    /// A nonce that is empty or too long.
    #[error("Signature-Input: nonce must have 1 to {MAX_NONCE} characters")]
    Nonce,
    /// The signature is not of this message and this key.
    #[error("the signature is wrong")]
    Wrong,
    /// The signature ended.
    #[error("the signature has expired")]
    Expired,
    /// The content is not the one that was signed.
    #[error("the content is not what Content-Digest says")]
    Content,
}

impl SignatureError {
    fn malformed(field: &'static str, why: &'static str) -> Self {
        Self::Malformed { field, why }
    }
}

#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod rfc_tests;
