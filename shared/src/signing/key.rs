//! A token's signing key.

use std::fmt;

use ring::hmac;

use crate::credential::Credential;

/// The context for deriving a signing key from the credential.
const CONTEXT: &[u8] = b"silo http-signature v1";

/// A token's signing key: `HMAC-SHA256(key: the whole credential, message: "silo http-signature v1")`.
/// Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey([u8; Self::LENGTH]);

impl SigningKey {
    /// The length of a key in bytes.
    pub const LENGTH: usize = 32;

    /// The key of a credential.
    pub fn of(credential: &Credential) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, credential.expose().as_bytes());
        let bytes = hmac::sign(&key, CONTEXT);
        Self(bytes.as_ref().try_into().expect("HMAC-SHA256 has 32 bytes"))
    }

    /// A key from its bytes; `None` if the length is not [`SigningKey::LENGTH`].
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes, for the only place that seals them.
    pub fn expose(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }

    /// The signature of a signature base.
    pub(super) fn sign(&self, base: &str) -> Vec<u8> {
        sign_with(&self.0, base)
    }

    /// Whether a signature was made with this key; runs in constant time.
    pub(super) fn verifies(&self, base: &str, signature: &[u8]) -> bool {
        verifies_with(&self.0, base, signature)
    }
}

/// HMAC-SHA256 with a key of any length.
pub(super) fn sign_with(key: &[u8], base: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, base.as_bytes()).as_ref().to_vec()
}

/// Whether a signature was made with a key of any length.
pub(super) fn verifies_with(key: &[u8], base: &str, signature: &[u8]) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::verify(&key, base.as_bytes(), signature).is_ok()
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<signing key>")
    }
}
