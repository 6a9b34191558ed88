//! How the two sides of an invitation derive the credential of the new token: an X25519 exchange (RFC 7748) with new keys
//! on both sides, mixed with the invitation's signing key by HKDF-SHA256 (RFC 5869). Neither the credential nor anything
//! from which it follows is sent or stored: who has the recorded exchange, the invitation and the hub's database and key
//! lacks both private keys, which ended with the exchange.
//!
//! The rotation of a token with a public key is the same exchange, with the token's own signing key and its id twice.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::agreement::{self, X25519};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::hmac;
use ring::rand::SystemRandom;
use thiserror::Error;

use crate::credential::{Credential, TokenId};
use crate::signing::SigningKey;

/// The salt of the derivation.
const SALT: &[u8] = b"silo join v1";
/// What a proof is the HMAC of.
const CONFIRM: &[u8] = b"silo join confirm v1";
/// The length of keys, shared secrets and proofs, in bytes.
const LENGTH: usize = 32;

/// Why an exchange has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ExchangeError {
    /// The system returned no random bytes.
    #[error("the system's random number generator failed")]
    NoRandomness,
    /// The other side's key has a small order, so that the result would be all zeros whatever this side's key is
    /// (RFC 7748 section 6.1).
    #[error("the public key is one with which no secret can be agreed on")]
    WeakKey,
}

/// The text is not 32 bytes in base64url.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("must be 32 bytes in base64url: 43 characters")]
pub struct InvalidBytes;

/// A public key of X25519.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; LENGTH]);

/// A private key for one exchange, with its public key. It can be neither stored nor printed.
pub struct EphemeralKey {
    private: agreement::EphemeralPrivateKey,
    public: PublicKey,
}

/// The result of X25519.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedSecret([u8; LENGTH]);

/// What both sides of an exchange know besides their shared secret.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// The signing key of the invitation, or of the token that is rotated.
    pub key: &'a SigningKey,
    /// The id of the invitation, or of the token that is rotated.
    pub id: TokenId,
    /// The id of the token whose credential is derived.
    pub token: TokenId,
    /// The public key of the machine.
    pub client: PublicKey,
    /// The public key of the hub.
    pub hub: PublicKey,
}

/// Shows that its sender has derived the credential.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Proof([u8; LENGTH]);

impl EphemeralKey {
    /// A new random key.
    pub fn generate() -> Result<Self, ExchangeError> {
        let failed = |_| ExchangeError::NoRandomness;
        let random = SystemRandom::new();
        let private = agreement::EphemeralPrivateKey::generate(&X25519, &random).map_err(failed)?;
        let public = private.compute_public_key().map_err(failed)?;
        let public = public.as_ref().try_into();
        let public = PublicKey(public.expect("a public key of X25519 has 32 bytes"));
        Ok(Self { private, public })
    }

    /// The public key, to be sent.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// Agrees on a secret with the owner of a public key. The private key ends here.
    pub fn agree(self, with: &PublicKey) -> Result<SharedSecret, ExchangeError> {
        let with = agreement::UnparsedPublicKey::new(&X25519, with.0);
        // An error of the library is a result of zeros, too.
        agreement::agree_ephemeral(self.private, &with, SharedSecret::of)
            .map_err(|_| ExchangeError::WeakKey)?
    }
}

impl SharedSecret {
    fn of(agreed: &[u8]) -> Result<Self, ExchangeError> {
        let bytes = agreed.try_into().expect("a result of X25519 has 32 bytes");
        let is_zero = agreed.iter().fold(0, |all, byte| all | byte) == 0;
        if is_zero {
            Err(ExchangeError::WeakKey)
        } else {
            Ok(Self(bytes))
        }
    }
}

impl Exchange<'_> {
    /// The credential of the token: its secret is `HKDF-SHA256(salt "silo join v1", ikm X25519 ‖ key, info id ‖ token ‖
    /// client ‖ hub, 32 bytes)`.
    pub fn credential(&self, shared: &SharedSecret) -> Credential {
        let material = [shared.0, *self.key.expose()].concat();
        let info = [
            self.id.as_str().as_bytes(),
            self.token.as_str().as_bytes(),
            &self.client.0,
            &self.hub.0,
        ];
        let mut secret = [0; LENGTH];
        Salt::new(HKDF_SHA256, SALT)
            .extract(&material)
            .expand(&info, HKDF_SHA256)
            .and_then(|output| output.fill(&mut secret))
            .expect("32 bytes are the length of SHA-256");
        let secret = URL_SAFE_NO_PAD.encode(secret);
        Credential::parse(&format!("silo_{}_{secret}", self.token))
            .expect("it has this form by construction")
    }
}

impl Proof {
    /// The proof of the owner of a signing key: `HMAC-SHA256(key, "silo join confirm v1")`.
    pub fn of(key: &SigningKey) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.expose());
        let proof = hmac::sign(&key, CONFIRM);
        Self(proof.as_ref().try_into().expect("HMAC-SHA256 has 32 bytes"))
    }

    /// Whether it is that of the owner of this key; runs in constant time.
    pub fn is_of(&self, key: &SigningKey) -> bool {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.expose());
        hmac::verify(&key, CONFIRM, &self.0).is_ok()
    }
}

fn parse(text: &str) -> Result<[u8; LENGTH], InvalidBytes> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| InvalidBytes)?;
    bytes.try_into().map_err(|_| InvalidBytes)
}

impl FromStr for PublicKey {
    type Err = InvalidBytes;

    fn from_str(text: &str) -> Result<Self, InvalidBytes> {
        parse(text).map(Self)
    }
}

impl FromStr for Proof {
    type Err = InvalidBytes;

    fn from_str(text: &str) -> Result<Self, InvalidBytes> {
        parse(text).map(Self)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<proof>")
    }
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<shared secret>")
    }
}

impl fmt::Debug for EphemeralKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<private key of {}>", self.public)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> [u8; LENGTH] {
        let digits = (0..LENGTH).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16));
        let bytes: Result<Vec<u8>, _> = digits.collect();
        bytes.unwrap().try_into().unwrap()
    }

    fn id(text: &str) -> TokenId {
        TokenId::parse(text).unwrap()
    }

    fn key_of(credential: &str) -> SigningKey {
        SigningKey::of(&Credential::parse(credential).unwrap())
    }

    /// The keys of RFC 7748 section 6.1: Alice is the client, Bob the hub.
    #[test]
    fn the_vector_of_the_contract_is_derived_step_by_step() {
        let key = key_of(&format!("silo_abcdefgh12_{}", "x".repeat(43)));
        assert_eq!(
            *key.expose(),
            bytes("7321205496aee08e3d669603fd4b159bbd989c81bf3490a00eec360f912960dc")
        );
        let shared = SharedSecret::of(&bytes(
            "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742",
        ))
        .unwrap();
        let exchange = Exchange {
            key: &key,
            id: id("abcdefgh12"),
            token: id("zyxwvuts98"),
            client: PublicKey(bytes(
                "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
            )),
            hub: PublicKey(bytes(
                "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
            )),
        };
        let credential = exchange.credential(&shared);
        assert_eq!(
            credential.expose(),
            "silo_zyxwvuts98_j1bnGbqAGj29FpdP-yN5VoIVohjunj8K91KBtw_LUBA"
        );
        assert_eq!(
            URL_SAFE_NO_PAD.decode(&credential.expose()[16..]).unwrap(),
            bytes("8f56e719ba801a3dbd16974ffb2379568215a218ee9e3f0af75281b70fcb5010")
        );
        let signing_key = SigningKey::of(&credential);
        assert_eq!(
            *signing_key.expose(),
            bytes("2716e04397501ee0d19beed0f7a8d1ce9e7b74b57a49d044c34f07beb5803935")
        );
        let proof = Proof::of(&signing_key);
        assert_eq!(
            proof.to_string(),
            "cPehZmFdKs_FI00Vas1GC8mRyhrrjxU_u9CHX__po9Y"
        );
        assert!(proof.is_of(&signing_key) && !proof.is_of(&key));
        // The proof follows from the credential alone.
        assert_eq!(proof, Proof::of(&key_of(credential.expose())));
    }

    #[test]
    fn both_sides_derive_the_same_and_each_part_counts() {
        let (client, hub) = (
            EphemeralKey::generate().unwrap(),
            EphemeralKey::generate().unwrap(),
        );
        let (client_public, hub_public) = (client.public(), hub.public());
        let key = key_of(&format!("silo_abcdefgh12_{}", "x".repeat(43)));
        let other_key = key_of(&format!("silo_abcdefgh12_{}", "y".repeat(43)));
        let exchange = Exchange {
            key: &key,
            id: id("abcdefgh12"),
            token: id("zyxwvuts98"),
            client: client_public,
            hub: hub_public,
        };
        let shared = client.agree(&hub_public).unwrap();
        assert_eq!(shared, hub.agree(&client_public).unwrap());
        let derived = exchange.credential(&shared);
        assert_eq!(derived.id(), exchange.token);
        let third = EphemeralKey::generate().unwrap();
        let third_public = third.public();
        for other in [
            Exchange {
                key: &other_key,
                ..exchange
            },
            Exchange {
                id: exchange.token,
                ..exchange
            },
            Exchange {
                token: exchange.id,
                ..exchange
            },
            Exchange {
                client: third_public,
                ..exchange
            },
            Exchange {
                hub: third_public,
                ..exchange
            },
            Exchange {
                client: hub_public,
                hub: client_public,
                ..exchange
            },
        ] {
            assert_ne!(other.credential(&shared), derived, "{other:?}");
        }
        let other = third.agree(&hub_public).unwrap();
        assert_ne!(exchange.credential(&other), derived);
    }

    /// The points of small order, from RFC 7748 section 6.1 and https://cr.yp.to/ecdh.html#validate.
    #[test]
    fn keys_of_small_order_are_refused() {
        for weak in [
            "0000000000000000000000000000000000000000000000000000000000000000",
            "0100000000000000000000000000000000000000000000000000000000000000",
            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
            "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        ] {
            let key = EphemeralKey::generate().unwrap();
            let agreed = key.agree(&PublicKey(bytes(weak)));
            assert_eq!(agreed, Err(ExchangeError::WeakKey), "{weak}");
        }
        assert_eq!(SharedSecret::of(&[0; 32]), Err(ExchangeError::WeakKey));
    }

    #[test]
    fn keys_and_proofs_have_one_form_and_secrets_are_not_printed() {
        let text = "cPehZmFdKs_FI00Vas1GC8mRyhrrjxU_u9CHX__po9Y";
        assert_eq!(text.parse::<Proof>().unwrap().to_string(), text);
        assert_eq!(text.parse::<PublicKey>().unwrap().to_string(), text);
        for wrong in [
            "",
            &text[1..],
            &format!("{text}="),
            &format!("{text}A"),
            // The last character has bits that mean nothing.
            &text.replace("o9Y", "o9Z"),
            &text.replace('_', "/"),
            &text.replace('_', " "),
        ] {
            assert_eq!(wrong.parse::<Proof>(), Err(InvalidBytes), "{wrong:?}");
            assert_eq!(wrong.parse::<PublicKey>(), Err(InvalidBytes), "{wrong:?}");
        }
        let key = EphemeralKey::generate().unwrap();
        let public = key.public();
        assert_eq!(format!("{key:?}"), format!("<private key of {public}>"));
        assert_eq!(format!("{:?}", SharedSecret([1; 32])), "<shared secret>");
        assert_eq!(format!("{:?}", Proof([1; 32])), "<proof>");
    }
}
