//! Pins: the SHA-256 of a certificate's public key (its SubjectPublicKeyInfo, RFC 5280 section 4.1.2.7), in the
//! notation of curl's `--pinnedpubkey`. A certificate that is recreated with the same key keeps its pin.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use rustls::server::ParsedCertificate;
use serde::{Deserialize, Deserializer};
use thiserror::Error;

use crate::config::deserialize_texts;

const PREFIX: &str = "sha256//";

/// The SHA-256 of one public key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Pin([u8; 32]);

/// The pins, one of which must match: at least one; several allow replacing a key without an outage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pins(Vec<Pin>);

/// The text is not a pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "not a pin: the SHA-256 of a public key in base64 (44 characters), as `silo-hub tls self-signed` prints it; several with `;` between them"
)]
pub struct InvalidPin;

impl Pin {
    /// The pin of a certificate; `None` if it is not an X.509 certificate of version 3.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let key = ParsedCertificate::try_from(certificate)
            .ok()?
            .subject_public_key_info();
        digest(&SHA256, &key).as_ref().try_into().ok().map(Self)
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Pin {
    type Err = InvalidPin;

    /// Parses base64, with or without curl's prefix `sha256//`.
    fn from_str(text: &str) -> Result<Self, InvalidPin> {
        let text = text.trim();
        let encoded = text.strip_prefix(PREFIX).unwrap_or(text);
        let bytes = STANDARD.decode(encoded).map_err(|_| InvalidPin)?;
        bytes.try_into().map(Self).map_err(|_| InvalidPin)
    }
}

impl From<Pin> for Pins {
    fn from(pin: Pin) -> Self {
        Self(vec![pin])
    }
}

impl Pins {
    /// Whether a pin is one of these.
    pub fn contain(&self, pin: &Pin) -> bool {
        self.0.contains(pin)
    }
}

impl FromStr for Pins {
    type Err = InvalidPin;

    fn from_str(text: &str) -> Result<Self, InvalidPin> {
        text.split(';')
            .map(Pin::from_str)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl<'de> Deserialize<'de> for Pins {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let lists = deserialize_texts(deserializer, Self::from_str)?;
        let pins: Vec<Pin> = lists.into_iter().flat_map(|list| list.0).collect();
        if pins.is_empty() {
            return Err(serde::de::Error::custom(InvalidPin));
        }
        Ok(Self(pins))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_read_as_curl_writes_them() {
        let bare = STANDARD.encode([7; 32]);
        let pin: Pin = bare.parse().unwrap();
        assert_eq!(pin.to_string(), format!("sha256//{bare}"));
        assert_eq!(pin.to_string().parse(), Ok(pin));
        let other: Pin = STANDARD.encode([8; 32]).parse().unwrap();
        let both: Pins = format!("{pin}; {}", STANDARD.encode([8; 32]))
            .parse()
            .unwrap();
        assert!(both.contain(&pin) && both.contain(&other));
        assert!(!Pins(vec![pin]).contain(&other));
        for wrong in [
            "",
            ";",
            "sha256//",
            "sha1//AAAA",
            "AAAA",
            &bare[1..],
            &format!("{bare};"),
            &STANDARD.encode([7; 33]),
        ] {
            assert_eq!(wrong.parse::<Pins>(), Err(InvalidPin), "{wrong:?}");
        }
    }
}
