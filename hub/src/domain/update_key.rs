//! Update keys: what sftdyn clients put after the slash of a URL, with path and query unchanged.

use std::fmt::Write;

use silo_shared::credential::{Secret, TokenId};
use silo_shared::silo::{Hostname, SiloId};
use thiserror::Error;

use super::time::Time;

/// The minimum length of a key that is accepted without confirmation, in characters.
pub const STRONG: usize = 16;
/// The maximum length of a key, in bytes as sent: it must fit into a request's head with the rest of it.
const LONGEST: usize = 32 * 1024;

/// The first path segments of the hub's own routes and pages, and of what browsers request by themselves. With `compat.sftdyn`,
/// keys directly follow the root's slash, where these would be taken for the route.
pub const TAKEN: [&str; 25] = [
    "audit",
    "dashboard",
    "deliveries",
    "events",
    "favicon.ico",
    "healthz",
    "invitations",
    "ip",
    "log",
    "metrics",
    "nic",
    "openapi.json",
    "ping",
    "problems",
    "readyz",
    "records",
    "robots.txt",
    "silos",
    "status",
    "token",
    "tokens",
    "u",
    "update",
    "v3",
    "version",
];

/// A key as sent: printable ASCII without spaces, everything else percent-encoded. Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawKey(Secret);

/// The text can't be an update key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidKey {
    /// Empty.
    #[error("an update key has at least one character")]
    Empty,
    /// Too long.
    #[error("an update key has at most {LONGEST} bytes")]
    TooLong,
    /// Contains a character that clients never send.
    #[error("'#' begins a fragment, which clients do not send: write %23")]
    Fragment,
}

impl RawKey {
    /// Takes the bytes of a request target or a command line. Bytes outside of printable ASCII are percent-encoded (RFC
    /// 3986 section 2.1, upper-case digits); nothing is decoded. If a client has encoded such a byte itself, the case
    /// of its digits does not matter: curl writes `ü` as `%c3%bc`.
    pub fn of(bytes: &[u8]) -> Result<Self, InvalidKey> {
        let mut text = String::with_capacity(bytes.len());
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                b'#' => return Err(InvalidKey::Fragment),
                b'a'..=b'f' if is_digit_of_encoded(bytes, at) => {
                    text.push(char::from(byte.to_ascii_uppercase()));
                }
                b'!'..=b'~' => text.push(char::from(*byte)),
                _ => write!(text, "%{byte:02X}").expect("writing to a String never fails"),
            }
        }
        match text.len() {
            0 => Err(InvalidKey::Empty),
            1..=LONGEST => Ok(Self(Secret::new(text))),
            _ => Err(InvalidKey::TooLong),
        }
    }

    /// The key, for the only place that hashes or shows it.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// Whether the key begins with the name of one of the hub's routes, so that it could not be used at the root.
    pub fn is_taken(&self) -> bool {
        let key = self.expose();
        let first = key.split(['/', '?']).next().unwrap_or(key);
        TAKEN.contains(&first)
    }

    /// The key without a final slash or question mark, which clients and people add; `None`: it ends in neither.
    pub fn without_end(&self) -> Option<Self> {
        let key = self.expose();
        let bare = key.strip_suffix(['/', '?'])?;
        (!bare.is_empty()).then(|| Self(Secret::new(bare)))
    }

    /// Whether it is too long to be guessed.
    pub fn is_strong(&self) -> bool {
        self.expose().len() >= STRONG
    }
}

/// Whether the byte is a digit of a percent-encoding of a byte outside of printable ASCII.
fn is_digit_of_encoded(bytes: &[u8], at: usize) -> bool {
    let encoded = |at: usize| {
        let digits = bytes.get(at..)?.strip_prefix(b"%")?.get(..2)?;
        let digit = |at: usize| char::from(digits[at]).to_digit(16);
        Some(digit(0)? * 16 + digit(1)?)
    };
    let before = [1, 2].into_iter().filter_map(|back| at.checked_sub(back));
    before
        .filter_map(encoded)
        .any(|byte| !(0x21..=0x7e).contains(&byte))
}

/// An update key's properties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateKey {
    /// Its id, for listing and revoking it.
    pub id: TokenId,
    /// The silo that it writes to.
    pub silo: SiloId,
    /// The only record that it sets.
    pub hostname: Hostname,
    /// When it was created.
    pub created_at: Time,
}

/// The hash of an update key under the hub's key: 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyHash(pub String);

impl KeyHash {
    /// Accepts 64 lower-case hexadecimal digits, as stored and compared.
    pub fn parse(hex: &str) -> Option<Self> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        (hex.len() == 64 && hex.bytes().all(is_digit)).then(|| Self(hex.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_travel_undecoded_and_in_printable_ascii() {
        for (bytes, key) in [
            (b"abc".as_slice(), "abc"),
            (b"a/b?c=d,e&f", "a/b?c=d,e&f"),
            (b"a%2Fb", "a%2Fb"),
            ("ä b".as_bytes(), "%C3%A4%20b"),
            (b"\x00\x7f", "%00%7F"),
            (b"%c3%bC%1f", "%C3%BC%1F"),
            (b"%2f%af2%+f%c%", "%2f%AF2%+f%c%"),
        ] {
            assert_eq!(RawKey::of(bytes).unwrap().expose(), key);
        }
        assert_eq!(RawKey::of(b""), Err(InvalidKey::Empty));
        assert_eq!(RawKey::of(b"a#b"), Err(InvalidKey::Fragment));
        assert!(RawKey::of(&[b'a'; LONGEST]).is_ok());
        assert_eq!(RawKey::of(&[b'a'; LONGEST + 1]), Err(InvalidKey::TooLong));
        assert!(!format!("{:?}", RawKey::of(b"hush-hush").unwrap()).contains("hush"));
        assert!(RawKey::of(b"0123456789abcdef").unwrap().is_strong());
        assert!(!RawKey::of(b"0123456789abcde").unwrap().is_strong());
    }

    #[test]
    fn keys_that_would_be_routes_at_the_root_are_known() {
        let key = |text: &str| RawKey::of(text.as_bytes()).unwrap();
        for (text, taken) in [
            ("ip", true),
            ("ping?x", true),
            ("silos/office", true),
            ("u/0123456789abcdef", true),
            ("ip2", false),
            ("0123456789abcdef", false),
            ("a/ip", false),
            ("?ip", false),
        ] {
            assert_eq!(key(text).is_taken(), taken, "{text}");
        }
        for (text, bare) in [
            ("a?", Some("a")),
            ("a/", Some("a")),
            ("a/?", Some("a/")),
            ("a", None),
            ("/", None),
        ] {
            let found = key(text).without_end();
            assert_eq!(found.as_ref().map(RawKey::expose), bare, "{text}");
        }
    }
}
