//! HTTP Message Signatures (RFC 9421) with HMAC-SHA256 and `Content-Digest` (RFC 9530): the secret is never sent, and
//! neither a request nor its response can be changed on the way. Pure code; the hub and both agents use it.
//!
//! - [`component`], [`base`]: the signed parts of a message, and the text to sign.
//! - [`input`]: the fields `Signature-Input` and `Signature`.
//! - [`digest`] of the content, in the field `Content-Digest`.
//! - [`key`]: a token's signing key.
//! - [`request`], [`answer`]: the two directions, with the rules of this API.
//!
//! Reading is stricter than the RFC: both fields must be in the form that a serializer writes (RFC 9651 section 4.1),
//! so that a signature has only one form.

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
/// The only algorithm (RFC 9421 section 3.3.3).
pub const ALGORITHM: &str = "hmac-sha256";
/// The maximum offset between the clocks of signer and verifier, in seconds.
pub const MAX_CLOCK_OFFSET: i64 = 300;
/// The maximum length of a nonce, in characters.
pub const MAX_NONCE: usize = 64;
/// The field that lists what is signed (RFC 9421 section 4.1).
pub const SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");
/// The field with the signature (RFC 9421 section 4.2).
pub const SIGNATURE: HeaderName = HeaderName::from_static("signature");
/// The field that binds the content to the signature (RFC 9530 section 2).
pub const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// Why a message's signature is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// A field can't be read.
    #[error("{field}: {why}")]
    Malformed {
        /// The field.
        field: &'static str,
        /// The reason.
        why: &'static str,
    },
    /// A duplicate field.
    #[error("duplicate {0}")]
    Repeated(String),
    /// An unknown component.
    #[error("unknown component {0}")]
    UnknownComponent(String),
    /// A component that the message does not have.
    #[error("the message lacks the component {0}")]
    AbsentComponent(String),
    /// A required component is not signed.
    #[error("{0} is not signed but must be")]
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
    /// The signature does not match this message and this key.
    #[error("the signature is wrong")]
    Wrong,
    /// The signature has expired.
    #[error("the signature has expired")]
    Expired,
    /// The content differs from what was signed.
    #[error("the content does not match Content-Digest")]
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
