//! Tokens and their rights.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use silo_shared::credential::TokenId;
use silo_shared::silo::{Hostname, SiloId, glob_matches};
use thiserror::Error;
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, schema::Type};
use utoipa::{PartialSchema, ToSchema};

use super::pattern::{Span, hostname_pattern, silo_pattern, spans};
use super::time::Time;

/// A token's role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Read its silos.
    Read,
    /// Read and write its silos.
    Write,
    /// Read the hub's metrics and status, and no silo.
    Metrics,
    /// Everything.
    Admin,
    /// A role of a newer version, which created the token. Grants nothing.
    Unknown(RoleName),
}

/// The roles that this version knows: others come from newer versions alone.
impl PartialSchema for Role {
    fn schema() -> RefOr<Schema> {
        let known = [Self::Read, Self::Write, Self::Metrics, Self::Admin];
        ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(known.map(|role| role.to_string())))
            .examples([Self::Write.to_string()])
            .description(Some("A token's role."))
            .into()
    }
}

impl ToSchema for Role {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Role")
    }
}

/// The name of a role that this version does not know.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RoleName {
    bytes: [u8; Self::MAX],
    length: u8,
}

impl RoleName {
    /// The maximum length, in bytes: that of the database's column.
    const MAX: usize = 8;

    fn parse(text: &str) -> Option<Self> {
        let is_word = text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        let mut bytes = [0; Self::MAX];
        bytes
            .get_mut(..text.len())?
            .copy_from_slice(text.as_bytes());
        let length = u8::try_from(text.len()).ok()?;
        (is_word && length > 0).then_some(Self { bytes, length })
    }

    fn as_str(&self) -> &str {
        let bytes = &self.bytes[..usize::from(self.length)];
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl fmt::Debug for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl Role {
    /// The role's name in the API.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Metrics => "metrics",
            Self::Admin => "admin",
            Self::Unknown(name) => name.as_str(),
        }
    }

    /// A stored role, which a newer version may have introduced; `None`: not the name of a role.
    pub fn stored(text: &str) -> Option<Self> {
        let unknown = |_| RoleName::parse(text).map(Self::Unknown);
        text.parse().map_or_else(unknown, Some)
    }

    /// Whether the role concerns silos at all.
    pub fn reads_silos(self) -> bool {
        match self {
            Self::Read | Self::Write | Self::Admin => true,
            Self::Metrics | Self::Unknown(_) => false,
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
            "metrics" => Ok(Self::Metrics),
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
    /// Names or globs of its silos; empty only for admins and for metrics.
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
    #[error("the role is read, write, metrics or admin")]
    Role,
    /// A read or write token without silos.
    #[error("a read or write token names its silos")]
    NoSilos,
    /// An admin token with limits.
    #[error("an admin token may do everything: leave this out")]
    LimitedAdmin,
    /// A metrics token with silos or hostnames.
    #[error("a metrics token reads no silos: leave this out")]
    LimitedMetrics,
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
    /// A change of the role.
    #[error("a token keeps its role: create another one")]
    OtherRole,
}

/// An invalid part of a [`TokenSpec`]: the member (and its entry), and what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpecError {
    /// The member's name.
    pub member: &'static str,
    /// The entry, where the member is a list.
    pub index: Option<usize>,
    /// What is wrong.
    pub error: InvalidToken,
}

impl SpecError {
    /// The JSON pointer to the part.
    pub fn pointer(&self) -> String {
        match self.index {
            Some(index) => format!("/{}/{index}", self.member),
            None => format!("/{}", self.member),
        }
    }
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
            Role::Metrics if !self.silos.is_empty() => {
                refuse("silos", None, InvalidToken::LimitedMetrics);
            }
            _ => {}
        }
        match (&self.hostnames, self.role) {
            (None, _) => {}
            (Some(_), Role::Admin) => refuse("hostnames", None, InvalidToken::LimitedAdmin),
            (Some(_), Role::Metrics) => refuse("hostnames", None, InvalidToken::LimitedMetrics),
            (Some(list), Role::Read | Role::Write) if list.is_empty() => {
                refuse("hostnames", None, InvalidToken::NoHostnames);
            }
            // Hostnames limit only writes: they have no effect on a read token.
            (Some(_), Role::Read | Role::Write | Role::Unknown(_)) => {}
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

    /// Whether the token may read the hub's metrics and status.
    pub fn may_read_metrics(&self) -> bool {
        matches!(self.spec.role, Role::Metrics | Role::Admin)
    }

    /// Whether this version knows the token's role.
    pub fn has_known_role(&self) -> bool {
        !matches!(self.spec.role, Role::Unknown(_))
    }

    /// Whether the token may read any silos.
    pub fn reads_silos(&self) -> bool {
        self.spec.role.reads_silos()
    }

    /// Whether the token may read this silo, and so all of it.
    pub fn may_read(&self, silo: &SiloId) -> bool {
        let is_named = |glob: &String| glob_matches(glob, silo.as_str());
        self.is_admin() || (self.reads_silos() && self.spec.silos.iter().any(is_named))
    }

    /// The ranges of silo ids that the token may read, in byte order.
    pub fn readable_spans(&self) -> Vec<Span> {
        if self.is_admin() {
            spans(&["*".to_owned()])
        } else if self.reads_silos() {
            spans(&self.spec.silos)
        } else {
            Vec::new()
        }
    }

    /// Whether the token may write anything in this silo.
    pub fn may_write(&self, silo: &SiloId) -> bool {
        matches!(self.spec.role, Role::Write | Role::Admin) && self.may_read(silo)
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
#[path = "token_tests.rs"]
mod tests;
