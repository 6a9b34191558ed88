//! Changes to the properties of a stored token.

use super::time::Time;
use super::token::{InvalidToken, Role, SpecError, TokenSpec};

/// The properties to change; `None`: keep. A token keeps its role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenPatch {
    /// The role that the caller takes the token to have.
    pub role: Option<Role>,
    /// The name.
    pub name: Option<String>,
    /// Names or globs of its silos.
    pub silos: Option<Vec<String>>,
    /// Names or globs of the hostnames that it may write; `Some(None)`: all.
    pub hostnames: Option<Option<Vec<String>>>,
    /// When it expires; `Some(None)`: never.
    pub expires_at: Option<Option<Time>>,
}

impl TokenPatch {
    /// Checks what does not depend on the token, and converts it to lower case; returns all errors.
    pub fn check(self, now: Time) -> Result<Self, Vec<SpecError>> {
        let silos = self.silos.clone().unwrap_or_default();
        let none = silos.is_empty();
        let whole = TokenSpec {
            name: self.name.clone().unwrap_or_else(|| "kept".to_owned()),
            // Not for the role that allows nothing else; [`Self::applied_to`] checks the token's own one.
            role: Role::Write,
            silos: if none { vec!["*".to_owned()] } else { silos },
            hostnames: self.hostnames.clone().flatten(),
            expires_at: self.expires_at.flatten(),
        };
        let timeless = TokenSpec {
            expires_at: None,
            ..whole.clone()
        };
        let checked = match whole.check(now) {
            // A token may keep a time that has passed; [`Self::applied_to`] knows its time.
            Err(errors) if errors.iter().all(|error| error.member == "expires_at") => {
                timeless.check(now)
            }
            checked => checked,
        }?;
        let silos = if none { Vec::new() } else { checked.silos };
        Ok(Self {
            role: self.role,
            name: self.name,
            silos: self.silos.map(|_| silos),
            hostnames: self.hostnames.map(|_| checked.hostnames),
            expires_at: self.expires_at,
        })
    }

    /// The changed properties of a token, or the first reason why it can't have them.
    pub fn applied_to(&self, spec: &TokenSpec, now: Time) -> Result<TokenSpec, SpecError> {
        if self.role.is_some_and(|role| role != spec.role) {
            return Err(SpecError {
                member: "role",
                index: None,
                error: InvalidToken::OtherRole,
            });
        }
        let expires_at = self
            .expires_at
            .filter(|expires_at| *expires_at != spec.expires_at);
        let changed = TokenSpec {
            name: self.name.clone().unwrap_or_else(|| spec.name.clone()),
            role: spec.role,
            silos: self.silos.clone().unwrap_or_else(|| spec.silos.clone()),
            hostnames: self
                .hostnames
                .clone()
                .unwrap_or_else(|| spec.hostnames.clone()),
            // A time that is kept may have passed.
            expires_at: expires_at.flatten(),
        };
        let checked = changed.check(now);
        let mut changed = checked.map_err(|mut errors| errors.swap_remove(0))?;
        if expires_at.is_none() {
            changed.expires_at = spec.expires_at;
        }
        Ok(changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000;

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn spec(role: Role) -> TokenSpec {
        let is_admin = role == Role::Admin;
        TokenSpec {
            name: "nas".to_owned(),
            role,
            silos: if is_admin {
                list(&[])
            } else {
                list(&["office"])
            },
            hostnames: (!is_admin).then(|| list(&["nas"])),
            expires_at: Some(Time::from_millis(NOW - 1)),
        }
    }

    fn change(patch: TokenPatch, role: Role) -> Result<TokenSpec, Vec<SpecError>> {
        let now = Time::from_millis(NOW);
        let patch = patch.check(now)?;
        patch
            .applied_to(&spec(role), now)
            .map_err(|error| vec![error])
    }

    #[test]
    fn only_what_is_given_changes() {
        let later = Time::from_millis(NOW + 1);
        let write = spec(Role::Write);
        for (patch, expected) in [
            (TokenPatch::default(), write.clone()),
            (
                TokenPatch {
                    name: Some("new".to_owned()),
                    ..TokenPatch::default()
                },
                TokenSpec {
                    name: "new".to_owned(),
                    ..write.clone()
                },
            ),
            (
                TokenPatch {
                    silos: Some(list(&["Lab-*"])),
                    hostnames: Some(Some(list(&["DB."]))),
                    ..TokenPatch::default()
                },
                TokenSpec {
                    silos: list(&["lab-*"]),
                    hostnames: Some(list(&["db"])),
                    ..write.clone()
                },
            ),
            (
                TokenPatch {
                    hostnames: Some(None),
                    expires_at: Some(None),
                    ..TokenPatch::default()
                },
                TokenSpec {
                    hostnames: None,
                    expires_at: None,
                    ..write.clone()
                },
            ),
            (
                TokenPatch {
                    expires_at: Some(Some(later)),
                    ..TokenPatch::default()
                },
                TokenSpec {
                    expires_at: Some(later),
                    ..write.clone()
                },
            ),
        ] {
            assert_eq!(
                change(patch.clone(), Role::Write),
                Ok(expected),
                "{patch:?}"
            );
        }
        // The document of an expired token.
        let same = TokenPatch {
            silos: Some(list(&["office"])),
            hostnames: Some(Some(list(&["nas"]))),
            expires_at: Some(write.expires_at),
            ..TokenPatch::default()
        };
        assert_eq!(change(same, Role::Write), Ok(write));
        // The documents of admin tokens have an empty list.
        let same = TokenPatch {
            silos: Some(list(&[])),
            hostnames: Some(None),
            ..TokenPatch::default()
        };
        assert_eq!(change(same, Role::Admin), Ok(spec(Role::Admin)));
    }

    #[test]
    fn what_a_token_can_not_have_is_named() {
        let silos = |names: &[&str]| TokenPatch {
            silos: Some(list(names)),
            ..TokenPatch::default()
        };
        let hostnames = |names: &[&str]| TokenPatch {
            hostnames: Some(Some(list(names))),
            ..TokenPatch::default()
        };
        let name = |name: &str| TokenPatch {
            name: Some(name.to_owned()),
            ..TokenPatch::default()
        };
        let past = TokenPatch {
            expires_at: Some(Some(Time::from_millis(NOW))),
            ..TokenPatch::default()
        };
        let other_role = TokenPatch {
            role: Some(Role::Admin),
            ..TokenPatch::default()
        };
        for (patch, role, member, index, error) in [
            (
                silos(&[]),
                Role::Write,
                "silos",
                None,
                InvalidToken::NoSilos,
            ),
            (
                silos(&["a", "a b"]),
                Role::Read,
                "silos",
                Some(1),
                InvalidToken::Pattern,
            ),
            (
                silos(&["a"]),
                Role::Admin,
                "silos",
                None,
                InvalidToken::LimitedAdmin,
            ),
            (
                hostnames(&["a"]),
                Role::Admin,
                "hostnames",
                None,
                InvalidToken::LimitedAdmin,
            ),
            (
                hostnames(&[]),
                Role::Write,
                "hostnames",
                None,
                InvalidToken::NoHostnames,
            ),
            (name(""), Role::Admin, "name", None, InvalidToken::Name),
            (
                other_role,
                Role::Write,
                "role",
                None,
                InvalidToken::OtherRole,
            ),
            (past, Role::Write, "expires_at", None, InvalidToken::Expired),
        ] {
            let expected = SpecError {
                member,
                index,
                error,
            };
            assert_eq!(
                change(patch.clone(), role),
                Err(vec![expected]),
                "{patch:?}"
            );
        }
    }
}
