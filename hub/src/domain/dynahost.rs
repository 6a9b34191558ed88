//! dynahost's credentials: a secid, which the client chose, and a login at a DDNS provider.

use std::fmt;

use silo_shared::credential::{Secret, TokenId};
use silo_shared::silo::{Hostname, SiloId};
use thiserror::Error;

use super::sink::SinkName;
use super::time::Time;

/// How many hostnames may be bound by first use only, so that strangers can't fill the database.
pub const MAX_UNCONFIRMED: i64 = 100;

/// The hash of a secid: a PHC string with its own salt.
#[derive(Clone, PartialEq, Eq)]
pub struct SecidHash(pub String);

impl fmt::Debug for SecidHash {
    /// Without the hash: secrets that people choose can be found by brute force.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secid hash>")
    }
}

/// A credential that may set a hostname.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Its id, for listing and revoking it.
    pub id: TokenId,
    /// The silo that it writes to.
    pub silo: SiloId,
    /// The only record that it sets.
    pub hostname: Hostname,
    /// The secid; `None`: the first one to be used.
    pub secid: Option<SecidHash>,
    /// Whether an admin has confirmed it, before or after the first use.
    pub is_confirmed: bool,
    /// When it was created.
    pub created_at: Time,
    /// The provider's login that the client sent.
    pub login: Option<KnownLogin>,
}

/// Identifies the stored login without containing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownLogin {
    /// The sink that it is for.
    pub sink: SinkName,
    /// Its hash under the hub's key.
    pub hash: String,
}

/// A login that only the hub's key can decrypt, in base64.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedLogin(pub String);

impl fmt::Debug for SealedLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<sealed login>")
    }
}

/// The credentials for updates at a provider (RFC 7617).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderLogin {
    username: Secret,
    password: Secret,
}

/// The text can't be sent as part of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidLogin {
    /// The user name.
    #[error("it must not be empty or hold ':' or control characters")]
    Username,
    /// The password.
    #[error("more than one line, or control characters in it")]
    Password,
}

impl ProviderLogin {
    /// Checks both parts against the limits of HTTP's Basic scheme.
    pub fn new(username: Secret, password: Secret) -> Result<Self, InvalidLogin> {
        let name = username.expose();
        if name.is_empty() || name.contains(|c: char| c == ':' || c.is_control()) {
            Err(InvalidLogin::Username)
        } else if password.expose().contains(char::is_control) {
            Err(InvalidLogin::Password)
        } else {
            Ok(Self { username, password })
        }
    }

    /// The user name, for the one place that sends it.
    pub fn username(&self) -> &str {
        self.username.expose()
    }

    /// The password, for the one place that sends it.
    pub fn password(&self) -> &str {
        self.password.expose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_what_basic_can_carry_and_never_prints_itself() {
        let login = |name: &str, password: &str| {
            ProviderLogin::new(Secret::new(name), Secret::new(password))
        };
        let good = login("example.net-silo", "correct: horse").unwrap();
        assert_eq!(
            (good.username(), good.password()),
            ("example.net-silo", "correct: horse")
        );
        assert_eq!(login("", "x"), Err(InvalidLogin::Username));
        assert_eq!(login("a:b", "x"), Err(InvalidLogin::Username));
        assert_eq!(login("a\0b", "x"), Err(InvalidLogin::Username));
        assert_eq!(login("a", "x\ny"), Err(InvalidLogin::Password));
        let shown = format!(
            "{good:?} {:?} {:?}",
            SecidHash("hush".to_owned()),
            SealedLogin("hush".to_owned())
        );
        for secret in ["example", "horse", "hush"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
