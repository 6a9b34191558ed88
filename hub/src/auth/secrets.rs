//! Random credentials, their hashes, and the hub's key, which seals secrets that must stay readable.

mod invitation;
mod provider_login;
mod secid;
mod session;

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::aead::{self, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hmac};
use silo_shared::credential::{Credential, TokenId};
use silo_shared::signing::SigningKey;
use subtle::ConstantTimeEq;
use thiserror::Error;

use crate::domain::token::CredentialHash;
use crate::domain::update_key::KeyHash;
use crate::domain::update_key::RawKey;
use crate::store::SealedKey;

pub use provider_login::LoginOwner;
pub use secid::{hash_secid, is_secid_of, parse_secid_hash};
pub use session::{LinkCode, SessionId};

/// The system returned no random bytes.
#[derive(Clone, Copy, Debug, Error)]
#[error("the system's random number generator failed")]
pub struct NoRandomness;

fn random<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| NoRandomness)?;
    Ok(bytes)
}

/// A random name: 128 bits in hexadecimal digits.
pub fn random_name() -> Result<String, NoRandomness> {
    random::<16>().map(|bytes| hex(&bytes))
}

/// A random number of 128 bits.
pub fn random_u128() -> Result<u128, NoRandomness> {
    random::<16>().map(u128::from_be_bytes)
}

/// Bytes as hexadecimal digits, in lower case.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A random number for jitter; 0 if the system returns none.
pub fn random_number() -> u64 {
    random::<8>().map_or(0, u64::from_be_bytes)
}

/// A new credential: a random id and 256 random bits.
pub fn new_credential() -> Result<Credential, NoRandomness> {
    renewed_credential(random_id()?)
}

/// A new credential for the same token: its id and 256 new random bits.
pub fn renewed_credential(id: TokenId) -> Result<Credential, NoRandomness> {
    let secret = URL_SAFE_NO_PAD.encode(random::<32>()?);
    Ok(
        Credential::parse(&format!("silo_{id}_{secret}"))
            .expect("it has this form by construction"),
    )
}

/// A new update key: 128 random bits in 22 characters of a URL.
pub fn new_update_key() -> Result<String, NoRandomness> {
    random::<16>().map(|bytes| URL_SAFE_NO_PAD.encode(bytes))
}

/// A random id of a token or an update key.
pub fn random_id() -> Result<TokenId, NoRandomness> {
    const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut id = String::with_capacity(TokenId::LENGTH);
    while id.len() < TokenId::LENGTH {
        // Bytes from the last whole multiple of 36 on are dropped, so that all characters are equally likely.
        let letters = random::<16>()?.into_iter().filter(|byte| *byte < 252);
        id.extend(letters.map(|byte| char::from(LETTERS[usize::from(byte % 36)])));
    }
    id.truncate(TokenId::LENGTH);
    Ok(TokenId::parse(&id).expect("it has this form by construction"))
}

/// The hash that the hub stores to verify a credential.
pub fn credential_hash(credential: &Credential) -> CredentialHash {
    let hash = digest::digest(&digest::SHA256, credential.expose().as_bytes());
    CredentialHash(hash.as_ref().try_into().expect("SHA-256 has 32 bytes"))
}

/// Whether a credential matches a hash, in constant time.
pub fn is_credential_of(credential: &Credential, hash: &CredentialHash) -> bool {
    // By words: each comparison is a call that the compiler may not inline.
    let words = |hash: &CredentialHash| {
        let (words, _) = hash.0.as_chunks();
        [0, 1, 2, 3].map(|at| u64::from_ne_bytes(words[at]))
    };
    let shown = words(&credential_hash(credential));
    shown.ct_eq(&words(hash)).into()
}

/// The hub's key: seals signing keys, so that a stolen database alone does not allow signing.
#[derive(Clone)]
pub struct HubKey([u8; 32]);

/// The text is not a hub key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a hub key: 32 bytes in base64")]
pub struct InvalidHubKey;

impl fmt::Debug for HubKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<hub key>")
    }
}

impl HubKey {
    /// A new random key.
    pub fn generate() -> Result<Self, NoRandomness> {
        random().map(Self)
    }

    /// Parses the text of a key file.
    pub fn parse(text: &str) -> Result<Self, InvalidHubKey> {
        let bytes = STANDARD.decode(text.trim()).map_err(|_| InvalidHubKey)?;
        bytes.try_into().map(Self).map_err(|_| InvalidHubKey)
    }

    /// The text of a key file.
    pub fn encode(&self) -> String {
        STANDARD.encode(self.0)
    }

    /// The value that the database stores to recognise the key: it reveals nothing about the key.
    pub fn fingerprint(&self) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.0);
        URL_SAFE_NO_PAD.encode(hmac::sign(&key, b"silo hub key fingerprint v1"))
    }

    /// A hash that requires this key (HMAC-SHA256, 64 hexadecimal digits), so that the hashed text can't be guessed
    /// from the database. `context` is the purpose.
    pub fn keyed_hash(&self, context: &str, text: &str) -> String {
        let mut mac = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &self.0));
        mac.update(context.as_bytes());
        mac.update(&[0]);
        mac.update(text.as_bytes());
        hex(mac.sign().as_ref())
    }

    /// The hash under which an update key is stored and looked up.
    pub fn update_key_hash(&self, key: &RawKey) -> KeyHash {
        KeyHash(self.keyed_hash("silo update key v1", key.expose()))
    }

    /// Derives a token's signing key and seals it, bound to the token's id:
    /// base64 of a nonce (12 bytes), the ciphertext (32 bytes) and the tag (16 bytes).
    pub fn seal_signing_key(&self, credential: &Credential) -> Result<SealedKey, NoRandomness> {
        let derived = SigningKey::of(credential).expose().to_vec();
        self.seal(credential.id().as_str().as_bytes(), derived)
            .map(SealedKey)
    }

    /// Seals at most a few kilobytes, bound to `context`: base64 of a nonce (12 bytes), the ciphertext
    /// and the tag (16 bytes).
    fn seal(&self, context: &[u8], mut bytes: Vec<u8>) -> Result<String, NoRandomness> {
        let nonce = random::<{ aead::NONCE_LEN }>()?;
        self.cipher()
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(context),
                &mut bytes,
            )
            .expect("this is far below the cipher's limit");
        Ok(STANDARD.encode([nonce.as_slice(), &bytes].concat()))
    }

    /// Opens a text sealed with the same context and key; `None` for any other.
    fn open(&self, context: &[u8], sealed: &str) -> Option<Vec<u8>> {
        let mut bytes = STANDARD.decode(sealed).ok()?;
        let nonce = Nonce::try_assume_unique_for_key(bytes.get(..aead::NONCE_LEN)?).ok()?;
        let opened = self
            .cipher()
            .open_within(nonce, Aad::from(context), &mut bytes, aead::NONCE_LEN..)
            .ok()?;
        Some(opened.to_vec())
    }

    /// Opens the output of [`HubKey::seal_signing_key`]; `None` if it was sealed with another key or for another token,
    /// or was discarded by a key reset.
    pub fn open_signing_key(&self, sealed: &SealedKey, id: TokenId) -> Option<SigningKey> {
        let opened = self.open(id.as_str().as_bytes(), &sealed.0)?;
        SigningKey::from_bytes(&opened)
    }

    fn cipher(&self) -> LessSafeKey {
        let key = UnboundKey::new(&CHACHA20_POLY1305, &self.0).expect("the key has 32 bytes");
        LessSafeKey::new(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_of_the_form_and_differ() {
        let (a, b) = (new_credential().unwrap(), new_credential().unwrap());
        assert_ne!(a.expose(), b.expose());
        assert_ne!(a.id(), b.id());
        assert!(is_credential_of(&a, &credential_hash(&a)));
        assert!(!is_credential_of(&b, &credential_hash(&a)));
        let hash = credential_hash(&a);
        assert_eq!(CredentialHash::parse(&hash.to_string()), Some(hash));
    }

    #[test]
    fn a_key_survives_its_file_and_is_recognised() {
        let key = HubKey::generate().unwrap();
        let read = HubKey::parse(&format!("{}\n", key.encode())).unwrap();
        assert_eq!(read.fingerprint(), key.fingerprint());
        assert_ne!(HubKey::generate().unwrap().fingerprint(), key.fingerprint());
        assert_eq!(HubKey::parse("c2hvcnQ=").unwrap_err(), InvalidHubKey);
        assert_eq!(format!("{key:?}"), "<hub key>");
    }

    #[test]
    fn a_sealed_key_opens_only_with_the_hub_key_and_for_its_token() {
        let key = HubKey::generate().unwrap();
        let credential = new_credential().unwrap();
        let sealed = key.seal_signing_key(&credential).unwrap();
        assert_eq!(STANDARD.decode(&sealed.0).unwrap().len(), 12 + 32 + 16);
        let signing_key = hmac::Key::new(hmac::HMAC_SHA256, credential.expose().as_bytes());
        let expected = hmac::sign(&signing_key, b"silo http-signature v1");
        let opened = key.open_signing_key(&sealed, credential.id()).unwrap();
        assert_eq!(opened.expose(), expected.as_ref());
        let other = HubKey::generate().unwrap();
        assert_eq!(other.open_signing_key(&sealed, credential.id()), None);
        let id = TokenId::parse("aaaaaaaaaa").unwrap();
        assert_eq!(key.open_signing_key(&sealed, id), None);
        for wrong in ["", "c2hvcnQ=", "?"] {
            let wrong = SealedKey(wrong.to_owned());
            assert_eq!(key.open_signing_key(&wrong, credential.id()), None);
        }
    }
}
