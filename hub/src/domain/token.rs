//! Tokens and their rights.

use std::fmt;
use std::str::FromStr;

use silo_shared::credential::TokenId;
use silo_shared::silo::{Hostname, SiloId, glob_matches};
use thiserror::Error;

use super::pattern::{Span, hostname_pattern, silo_pattern, spans};
use super::time::Time;

/// A token's role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Read its silos.
    Read,
    /// Read and write its silos.
    Write,
    /// Everything.
    Admin,
}

impl Role {
    /// The role's name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        match text {
            "read" => Ok(Self::Read),
            "write" => Ok(Self::Write),
            "admin" => Ok(Self::Admin),
            _ => Err(InvalidToken::Role),
        }
    }
}

/// The properties of a new token; checked by [`TokenSpec::check`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSpec {
    /// A name for people.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// Names or globs of its silos; empty only for admins.
    pub silos: Vec<String>,
    /// Names or globs of the hostnames that it may write; `None`: all.
    pub hostnames: Option<Vec<String>>,
    /// When it expires.
    pub expires_at: Option<Time>,
}

/// Why a token can't be created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidToken {
    /// The name is empty, too long, or has control characters.
    #[error("a token's name has 1 to 100 characters, none of them a control character")]
    Name,
    /// Unknown role.
    #[error("the role is read, write or admin")]
    Role,
    /// A read or write token without silos.
    #[error("a read or write token names its silos")]
    NoSilos,
    /// An admin token with limits.
    #[error("an admin token may do everything: leave this out")]
    LimitedAdmin,
    /// An empty list of hostnames.
    #[error("an empty list would allow nothing: leave it out, or name hostnames")]
    NoHostnames,
    /// Too many patterns.
    #[error("a token has at most 100 names or globs")]
    TooMany,
    /// A pattern that can't match anything.
    #[error("neither a name nor a glob: letters, digits, '.', '_', '-', and '*' for any run")]
    Pattern,
    /// An expiry in the past.
    #[error("this time has passed")]
    Expired,
}

/// An invalid part of a [`TokenSpec`]: the member (and its entry), and what is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecError {
    /// The member's name.
    pub member: &'static str,
    /// The entry, where the member is a list.
    pub index: Option<usize>,
    /// What is wrong.
    pub error: InvalidToken,
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.member, self.error)
    }
}

const MAX_PATTERNS: usize = 100;

impl TokenSpec {
    /// Checks every part and converts it to lower case; returns all errors.
    pub fn check(mut self, now: Time) -> Result<Self, Vec<SpecError>> {
        let mut errors = Vec::new();
        let mut refuse = |member, index, error| {
            errors.push(SpecError {
                member,
                index,
                error,
            })
        };
        let length = self.name.chars().count();
        if !(1..=100).contains(&length) || self.name.chars().any(char::is_control) {
            refuse("name", None, InvalidToken::Name);
        }
        let everything = self.silos.is_empty() || self.silos == ["*"];
        match self.role {
            Role::Admin if !everything => refuse("silos", None, InvalidToken::LimitedAdmin),
            Role::Read | Role::Write if self.silos.is_empty() => {
                refuse("silos", None, InvalidToken::NoSilos);
            }
            _ => {}
        }
        match (&self.hostnames, self.role) {
            (None, _) => {}
            (Some(_), Role::Admin) => refuse("hostnames", None, InvalidToken::LimitedAdmin),
            (Some(list), Role::Read | Role::Write) if list.is_empty() => {
                refuse("hostnames", None, InvalidToken::NoHostnames);
            }
            // Hostnames limit only writes: they have no effect on a read token.
            (Some(_), Role::Read | Role::Write) => {}
        }
        let mut check_list =
            |member, list: &mut Vec<String>, is_name: fn(&str) -> Option<String>| {
                if list.len() > MAX_PATTERNS {
                    refuse(member, None, InvalidToken::TooMany);
                }
                for (index, pattern) in list.iter_mut().enumerate() {
                    match is_name(pattern) {
                        Some(checked) => *pattern = checked,
                        None => refuse(member, Some(index), InvalidToken::Pattern),
                    }
                }
            };
        check_list("silos", &mut self.silos, silo_pattern);
        if let Some(hostnames) = &mut self.hostnames {
            check_list("hostnames", hostnames, hostname_pattern);
        }
        if self.expires_at.is_some_and(|end| end <= now) {
            refuse("expires_at", None, InvalidToken::Expired);
        }
        if errors.is_empty() {
            Ok(self)
        } else {
            Err(errors)
        }
    }
}

/// SHA-256 of a whole credential: all that the hub stores to verify it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CredentialHash(pub [u8; 32]);

impl CredentialHash {
    /// Parses 64 hexadecimal digits.
    pub fn parse(hex: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&hex[at..at + 2], 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for CredentialHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for CredentialHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<hash>")
    }
}

/// A stored token, without its secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its id, the middle part of the credential.
    pub id: TokenId,
    /// Its properties.
    pub spec: TokenSpec,
    /// When it was created.
    pub created_at: Time,
    /// When it was revoked.
    pub revoked_at: Option<Time>,
    /// When it was last used, as far as this is stored.
    pub last_used_at: Option<Time>,
}

impl Token {
    /// Whether the token is valid at this time.
    pub fn is_valid_at(&self, now: Time) -> bool {
        self.revoked_at.is_none() && self.spec.expires_at.is_none_or(|end| now < end)
    }

    /// Whether the token may do everything.
    pub fn is_admin(&self) -> bool {
        self.spec.role == Role::Admin
    }

    /// Whether the token may read this silo, and so all of it.
    pub fn may_read(&self, silo: &SiloId) -> bool {
        self.is_admin()
            || self
                .spec
                .silos
                .iter()
                .any(|glob| glob_matches(glob, silo.as_str()))
    }

    /// The ranges of silo ids that the token may read, in byte order.
    pub fn readable_spans(&self) -> Vec<Span> {
        match self.is_admin() {
            true => spans(&["*".to_owned()]),
            false => spans(&self.spec.silos),
        }
    }

    /// Whether the token may write anything in this silo.
    pub fn may_write(&self, silo: &SiloId) -> bool {
        self.spec.role != Role::Read && self.may_read(silo)
    }

    /// Whether the token may write this record.
    pub fn may_write_record(&self, silo: &SiloId, hostname: &Hostname) -> bool {
        self.may_write(silo)
            && self.spec.hostnames.as_ref().is_none_or(|globs| {
                globs
                    .iter()
                    .any(|glob| glob_matches(glob, hostname.as_str()))
            })
    }

    /// Whether the token may replace or delete the whole silo.
    pub fn may_replace(&self, silo: &SiloId) -> bool {
        self.may_write(silo) && self.spec.hostnames.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000;

    fn spec(role: Role, silos: &[&str], hostnames: Option<&[&str]>) -> TokenSpec {
        let owned = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
        TokenSpec {
            name: "nas".to_owned(),
            role,
            silos: owned(silos),
            hostnames: hostnames.map(owned),
            expires_at: None,
        }
    }

    fn token(spec: TokenSpec) -> Token {
        Token {
            id: TokenId::parse("abcdefgh12").unwrap(),
            spec: spec.check(Time::from_millis(NOW)).unwrap(),
            created_at: Time::from_millis(NOW),
            revoked_at: None,
            last_used_at: None,
        }
    }

    #[test]
    fn rights_follow_role_silos_and_hostnames() {
        let office = SiloId::parse("office").unwrap();
        let other = SiloId::parse("other").unwrap();
        let nas = Hostname::parse("nas-1").unwrap();
        let db = Hostname::parse("db").unwrap();
        // read, write, write nas-1, write db, replace; then read of another silo
        for (spec, rights) in [
            (
                spec(Role::Read, &["office"], None),
                [true, false, false, false, false, false],
            ),
            (
                spec(Role::Write, &["office"], None),
                [true, true, true, true, true, false],
            ),
            (
                spec(Role::Write, &["Off*"], Some(&["nas-*"])),
                [true, true, true, false, false, false],
            ),
            (
                spec(Role::Write, &["*"], Some(&["DB."])),
                [true, true, false, true, false, true],
            ),
            (spec(Role::Admin, &[], None), [true; 6]),
        ] {
            let token = token(spec);
            let seen = [
                token.may_read(&office),
                token.may_write(&office),
                token.may_write_record(&office, &nas),
                token.may_write_record(&office, &db),
                token.may_replace(&office),
                token.may_read(&other),
            ];
            assert_eq!(seen, rights, "{:?}", token.spec);
        }
    }

    #[test]
    fn wrong_specs_name_the_member() {
        let long = vec!["a"; 101];
        for (spec, member, index, error) in [
            (
                spec(Role::Read, &[], None),
                "silos",
                None,
                InvalidToken::NoSilos,
            ),
            (
                spec(Role::Write, &["a b"], None),
                "silos",
                Some(0),
                InvalidToken::Pattern,
            ),
            (
                spec(Role::Write, &["a", "-a"], None),
                "silos",
                Some(1),
                InvalidToken::Pattern,
            ),
            (
                spec(Role::Write, &long, None),
                "silos",
                None,
                InvalidToken::TooMany,
            ),
            (
                spec(Role::Admin, &["a"], None),
                "silos",
                None,
                InvalidToken::LimitedAdmin,
            ),
            (
                spec(Role::Admin, &[], Some(&["a"])),
                "hostnames",
                None,
                InvalidToken::LimitedAdmin,
            ),
            (
                spec(Role::Write, &["a"], Some(&[])),
                "hostnames",
                None,
                InvalidToken::NoHostnames,
            ),
            (
                spec(Role::Write, &["a"], Some(&["x", "localhost"])),
                "hostnames",
                Some(1),
                InvalidToken::Pattern,
            ),
            (
                TokenSpec {
                    name: String::new(),
                    ..spec(Role::Admin, &[], None)
                },
                "name",
                None,
                InvalidToken::Name,
            ),
            (
                TokenSpec {
                    expires_at: Some(Time::from_millis(NOW)),
                    ..spec(Role::Admin, &[], None)
                },
                "expires_at",
                None,
                InvalidToken::Expired,
            ),
        ] {
            let errors = spec.check(Time::from_millis(NOW)).unwrap_err();
            assert_eq!(
                errors,
                [SpecError {
                    member,
                    index,
                    error
                }]
            );
        }
    }

    #[test]
    fn a_token_ends_when_revoked_or_expired() {
        let mut token = token(spec(Role::Read, &["a"], None));
        let now = Time::from_millis(NOW);
        assert!(token.is_valid_at(now));
        token.spec.expires_at = Some(now.plus_seconds(1));
        assert!(token.is_valid_at(now));
        assert!(!token.is_valid_at(now.plus_seconds(1)));
        token.spec.expires_at = None;
        token.revoked_at = Some(now);
        assert!(!token.is_valid_at(now));
    }
}
