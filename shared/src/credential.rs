//! The format of credentials, and secrets that never print themselves.

use std::fmt;

use serde::Deserialize;
use thiserror::Error;

/// A text that must not reach a log, an error or `Debug`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the only place that must send or hash it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// The id of a token: 10 characters of `[a-z0-9]`. Not secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId([u8; Self::LENGTH]);

impl TokenId {
    /// The number of characters of an id.
    pub const LENGTH: usize = 10;

    /// Parses an id.
    pub fn parse(text: &str) -> Result<Self, InvalidCredential> {
        let bytes: [u8; Self::LENGTH] =
            text.as_bytes().try_into().map_err(|_| InvalidCredential)?;
        let is_valid = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let valid = all(&bytes, is_valid);
        valid.then_some(Self(bytes)).ok_or(InvalidCredential)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a token id is ASCII")
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A whole credential, `silo_<id>_<secret>`: the id is 10 characters of `[a-z0-9]`, the secret 43 of `[A-Za-z0-9_-]`
/// (256 random bits in base64url).
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    id: TokenId,
    text: Secret,
}

/// The text does not have the form of a credential or of a token id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a credential: silo_, 10 characters, _, 43 characters")]
pub struct InvalidCredential;

/// Whether a condition holds for all bytes. Checking all of them, several at once, costs less than stopping at the
/// first failure.
fn all(bytes: &[u8], holds: impl Fn(&u8) -> bool) -> bool {
    bytes.iter().fold(true, |all, byte| all & holds(byte))
}

impl Credential {
    const PREFIX: &str = "silo_";
    const SECRET_LENGTH: usize = 43;

    /// Parses a credential.
    pub fn parse(text: &str) -> Result<Self, InvalidCredential> {
        let rest = text.strip_prefix(Self::PREFIX).ok_or(InvalidCredential)?;
        let (id, secret) = rest
            .split_at_checked(TokenId::LENGTH)
            .ok_or(InvalidCredential)?;
        let secret = secret.strip_prefix('_').ok_or(InvalidCredential)?;
        let id = TokenId::parse(id)?;
        let is_valid = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        let valid = secret.len() == Self::SECRET_LENGTH && all(secret.as_bytes(), is_valid);
        valid
            .then(|| Self {
                id,
                text: Secret::new(text),
            })
            .ok_or(InvalidCredential)
    }

    /// The id of the token.
    pub fn id(&self) -> TokenId {
        self.id
    }

    /// The whole credential, for the only place that must send or hash it.
    pub fn expose(&self) -> &str {
        self.text.expose()
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "silo_{}_<secret>", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_have_one_form_and_hide_their_secret() {
        let text = format!("silo_abcdefgh12_{}", "x".repeat(43));
        let credential = Credential::parse(&text).unwrap();
        assert_eq!(credential.id().as_str(), "abcdefgh12");
        assert_eq!(credential.expose(), text);
        assert_eq!(format!("{credential:?}"), "silo_abcdefgh12_<secret>");
        assert_eq!(format!("{:?}", Secret::new("hush")), "<secret>");
        for wrong in [
            "",
            "silo_",
            "silo_abcdefgh12",
            "silo_abcdefgh12_",
            &text[1..],
            &text[..text.len() - 1],
            &format!("{text}x"),
            &text.replace("abcdefgh12", "ABCDEFGH12"),
            &text.replace("xx", "x "),
            &text.replace("gh12_", "ghé1_"),
        ] {
            assert_eq!(
                Credential::parse(wrong),
                Err(InvalidCredential),
                "{wrong:?}"
            );
        }
    }
}
