//! Ids of the dashboard's sessions and codes of its links: 256 random bits each, of which the database has hashes only.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::{digest, hmac};
use silo_shared::credential::{Secret, TokenId};
use subtle::ConstantTimeEq;

use super::{NoRandomness, random};
use crate::domain::session::{LinkHash, SessionHash};

/// The number of characters of 256 bits in base64.
const LENGTH: usize = 43;

/// The id of a session, as its cookie has it: the id of its token, and 256 random bits. Secret.
#[derive(Clone, Debug)]
pub struct SessionId {
    token: TokenId,
    random: Secret,
}

/// The code of a link: 256 random bits. Secret.
#[derive(Clone, Debug)]
pub struct LinkCode(Secret);

impl SessionId {
    /// A new id of a session of a token.
    pub fn new(token: TokenId) -> Result<Self, NoRandomness> {
        let random = Secret::new(URL_SAFE_NO_PAD.encode(random::<32>()?));
        Ok(Self { token, random })
    }

    /// Parses the value of a cookie.
    pub fn parse(text: &str) -> Option<Self> {
        let (token, random) = text.split_once('.')?;
        let token = TokenId::parse(token).ok()?;
        is_random(random).then(|| Self {
            token,
            random: Secret::new(random),
        })
    }

    /// The token that the session belongs to.
    pub fn token(&self) -> TokenId {
        self.token
    }

    /// The value of the cookie.
    pub fn expose(&self) -> String {
        format!("{}.{}", self.token, self.random.expose())
    }

    /// The hash that the database has.
    pub fn hash(&self) -> SessionHash {
        SessionHash(sha256(&self.expose()))
    }

    /// Whether this is the hash of the id, in constant time.
    pub fn has_hash(&self, hash: &SessionHash) -> bool {
        self.hash().0.ct_eq(&hash.0).into()
    }

    /// The token of the session's forms. It is derived from the id, so that it needs no place in the database, and does
    /// not reveal the id.
    pub fn form_token(&self) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.random.expose().as_bytes());
        URL_SAFE_NO_PAD.encode(hmac::sign(&key, b"silo dashboard form v1"))
    }

    /// Whether this is the token of the session's forms, in constant time.
    pub fn is_form_token(&self, shown: &str) -> bool {
        self.form_token().as_bytes().ct_eq(shown.as_bytes()).into()
    }
}

impl LinkCode {
    /// A new code.
    pub fn new() -> Result<Self, NoRandomness> {
        let random = URL_SAFE_NO_PAD.encode(random::<32>()?);
        Ok(Self(Secret::new(random)))
    }

    /// Parses what was pasted.
    pub fn parse(text: &str) -> Option<Self> {
        is_random(text).then(|| Self(Secret::new(text)))
    }

    /// The code, for the link.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// The hash that the database has.
    pub fn hash(&self) -> LinkHash {
        LinkHash(sha256(self.0.expose()))
    }
}

fn is_random(text: &str) -> bool {
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    text.len() == LENGTH && text.bytes().all(is_base64)
}

fn sha256(text: &str) -> [u8; 32] {
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    hash.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> TokenId {
        TokenId::parse("abcdefgh12").unwrap()
    }

    #[test]
    fn ids_survive_the_cookie_and_differ() {
        let (a, b) = (
            SessionId::new(token()).unwrap(),
            SessionId::new(token()).unwrap(),
        );
        assert_ne!(a.expose(), b.expose());
        let read = SessionId::parse(&a.expose()).unwrap();
        assert_eq!(read.token(), token());
        assert!(read.has_hash(&a.hash()) && !read.has_hash(&b.hash()));
        assert!(read.is_form_token(&a.form_token()) && !read.is_form_token(&b.form_token()));
        for wrong in ["", "x", &b.hash().to_string()] {
            assert!(!a.is_form_token(wrong), "{wrong}");
        }
        let random = &a.expose()[11..];
        for wrong in [
            "",
            ".",
            random,
            &format!("abcdefgh12{random}"),
            &format!("ABCDEFGH12.{random}"),
            &format!("abcdefgh12.{}", &random[1..]),
            &format!("abcdefgh12.{random}x"),
            &format!("abcdefgh12.{}!", &random[1..]),
        ] {
            assert!(SessionId::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn debug_output_has_no_secret() {
        let id = SessionId::new(token()).unwrap();
        let code = LinkCode::new().unwrap();
        assert_eq!(
            format!("{id:?} {code:?}"),
            "SessionId { token: abcdefgh12, random: <secret> } LinkCode(<secret>)"
        );
        assert_eq!(LinkCode::parse(code.expose()).unwrap().hash(), code.hash());
        assert!(LinkCode::parse("short").is_none());
    }
}
