//! Invitations: what they may grant, how long they last, and whether one can be used.

use std::fmt;
use std::net::IpAddr;

use silo_shared::credential::TokenId;
use silo_shared::invitation::documents::InvitationState;
use silo_shared::signing::MAX_CLOCK_OFFSET;
use thiserror::Error;

use super::time::Time;
use super::token::{InvalidToken, Role, SpecError, TokenSpec};

/// The minimum time for which an invitation can be used, in seconds.
pub const SHORTEST_SECONDS: i64 = 5 * 60;
/// The maximum time for which an invitation can be used, in seconds.
pub const LONGEST_SECONDS: i64 = 7 * 86_400;
/// The time for which an invitation can be used by default, in seconds.
pub const DEFAULT_SECONDS: i64 = 3600;
/// How many invitations can be open at a time.
pub const MAX_OPEN: i64 = 100;
/// How long an invitation is kept after its end, in seconds.
pub const KEPT_SECONDS: i64 = 86_400;

/// A stored invitation, without its secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// Its id.
    pub id: TokenId,
    /// The properties of the token that it makes.
    pub spec: TokenSpec,
    /// The token that made it; `None`: the command line.
    pub made_by: Option<TokenId>,
    /// When it was made.
    pub created_at: Time,
    /// Until when it can be used.
    pub expires_at: Time,
    /// When it was revoked.
    pub revoked_at: Option<Time>,
    /// When it made its token.
    pub used_at: Option<Time>,
    /// The last machine that redeemed it.
    pub redeemed: Option<Redeemer>,
}

/// The machine that redeemed an invitation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redeemer {
    /// The id of the token that it gets.
    pub token: TokenId,
    /// Its address.
    pub client_ip: Option<IpAddr>,
    /// When it redeemed it.
    pub at: Time,
}

impl Invitation {
    /// Whether it can be used. One that ends further ahead than any lasts was made by a wrong clock, and counts as
    /// expired.
    pub fn state_at(&self, now: Time) -> InvitationState {
        let latest = now.plus_seconds(LONGEST_SECONDS + MAX_CLOCK_OFFSET);
        if self.used_at.is_some() {
            InvitationState::Used
        } else if self.revoked_at.is_some() {
            InvitationState::Revoked
        } else if now >= self.expires_at || self.expires_at > latest {
            InvitationState::Expired
        } else if self.redeemed.is_some() {
            InvitationState::Pending
        } else {
            InvitationState::Open
        }
    }
}

/// How an invitation has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvitationEnd {
    /// It was not used in time.
    Expired,
    /// It was revoked.
    Revoked,
    /// It has made its token.
    Used,
}

impl InvitationEnd {
    /// How an invitation in this state has ended; `None`: it can be used.
    pub fn of(state: InvitationState) -> Option<Self> {
        match state {
            InvitationState::Open | InvitationState::Pending => None,
            InvitationState::Expired => Some(Self::Expired),
            InvitationState::Revoked => Some(Self::Revoked),
            InvitationState::Used => Some(Self::Used),
        }
    }
}

impl fmt::Display for InvitationEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "this invitation has expired: ask for another one",
            Self::Revoked => {
                "this invitation was revoked, or ended when the hub's database was restored or its key replaced: ask for another one"
            }
            Self::Used => "this invitation was used already: ask for another one",
        })
    }
}

/// What an invitation is asked for; checked by [`InvitationSpec::check`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvitationSpec {
    /// The name of the token; `None`: its first hostname, or its silo.
    pub name: Option<String>,
    /// The role of the token.
    pub role: Role,
    /// The silos of the token.
    pub silos: Vec<String>,
    /// The hostnames that the token may write.
    pub hostnames: Option<Vec<String>>,
    /// For how many seconds the invitation can be used.
    pub expires_after: i64,
    /// When the token expires.
    pub token_expires_at: Option<Time>,
}

/// A checked [`InvitationSpec`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedInvitation {
    /// The properties of the token.
    pub token: TokenSpec,
    /// Until when the invitation can be used.
    pub expires_at: Time,
}

/// Why an invitation can't be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidInvitation {
    /// Another role.
    #[error("an invitation makes a token that reads or writes")]
    Role,
    /// A glob.
    #[error("an invitation has plain names, no globs")]
    Glob,
    /// An upstream reports to one silo.
    #[error("a token that writes is for one silo")]
    OneSilo,
    /// No hostnames to write.
    #[error("name the hostnames that the machine reports")]
    NoHostnames,
    /// Hostnames for a token that only reads.
    #[error("a token that reads has no hostnames: leave this out")]
    HostnamesOfReader,
    /// Too short or too long.
    #[error("an invitation lasts from 300 seconds (5 minutes) to 604800 (7 days)")]
    Duration,
    /// The token would expire before it is made.
    #[error("the token would expire before the invitation does")]
    TokenExpiry,
    /// As for every token.
    #[error(transparent)]
    Token(#[from] InvalidToken),
}

/// A wrong part of an [`InvitationSpec`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongPart {
    /// The member's name.
    pub member: &'static str,
    /// The entry, where the member is a list.
    pub index: Option<usize>,
    /// What is wrong.
    pub error: InvalidInvitation,
}

impl WrongPart {
    /// The JSON pointer to the part.
    pub fn pointer(&self) -> String {
        match self.index {
            Some(index) => format!("/{}/{index}", self.member),
            None => format!("/{}", self.member),
        }
    }
}

impl From<SpecError> for WrongPart {
    fn from(wrong: SpecError) -> Self {
        let member = match wrong.member {
            "expires_at" => "token_expires_at",
            member => member,
        };
        Self {
            member,
            index: wrong.index,
            error: wrong.error.into(),
        }
    }
}

impl InvitationSpec {
    /// Checks every part and converts names to lower case; returns all errors.
    pub fn check(self, now: Time) -> Result<CheckedInvitation, Vec<WrongPart>> {
        let mut errors = Vec::new();
        let mut refuse = |member, index, error| {
            errors.push(WrongPart {
                member,
                index,
                error,
            });
        };
        match (self.role, &self.hostnames) {
            (Role::Write, None) => refuse("hostnames", None, InvalidInvitation::NoHostnames),
            (Role::Read, Some(_)) => {
                refuse("hostnames", None, InvalidInvitation::HostnamesOfReader);
            }
            (Role::Read | Role::Write, _) => {}
            // What else is wrong depends on the role.
            _ => {
                refuse("role", None, InvalidInvitation::Role);
                return Err(errors);
            }
        }
        if self.role == Role::Write && self.silos.len() > 1 {
            refuse("silos", None, InvalidInvitation::OneSilo);
        }
        let hostnames = self.hostnames.as_deref().unwrap_or_default();
        for (member, names) in [("silos", &self.silos[..]), ("hostnames", hostnames)] {
            for (index, name) in names.iter().enumerate() {
                if name.contains('*') {
                    refuse(member, Some(index), InvalidInvitation::Glob);
                }
            }
        }
        if !(SHORTEST_SECONDS..=LONGEST_SECONDS).contains(&self.expires_after) {
            refuse("expires_after", None, InvalidInvitation::Duration);
        }
        let seconds = self.expires_after.clamp(SHORTEST_SECONDS, LONGEST_SECONDS);
        let expires_at = now.plus_seconds(seconds);
        if self
            .token_expires_at
            .is_some_and(|end| now < end && end <= expires_at)
        {
            refuse("token_expires_at", None, InvalidInvitation::TokenExpiry);
        }
        let first = hostnames.first().or(self.silos.first());
        let name = self.name.or_else(|| first.cloned());
        let token = TokenSpec {
            // Without any name, the missing silo is reported.
            name: name.unwrap_or_else(|| "invited".to_owned()),
            role: self.role,
            silos: self.silos,
            hostnames: self.hostnames,
            expires_at: self.token_expires_at,
        };
        match token.check(now) {
            Ok(token) if errors.is_empty() => Ok(CheckedInvitation { token, expires_at }),
            Ok(_) => Err(errors),
            Err(wrong) => {
                errors.extend(wrong.into_iter().map(WrongPart::from));
                Err(errors)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use silo_e2e::clock::STEPS;

    use super::*;

    fn at(seconds: i64) -> Time {
        Time::from_millis(1_767_323_045_000).plus_seconds(seconds)
    }

    fn spec() -> InvitationSpec {
        InvitationSpec {
            name: None,
            role: Role::Write,
            silos: vec!["Home".to_owned()],
            hostnames: Some(vec!["NAS".to_owned()]),
            expires_after: DEFAULT_SECONDS,
            token_expires_at: None,
        }
    }

    #[test]
    fn names_are_normalized_and_the_token_is_named() {
        let made = spec().check(at(0)).unwrap();
        assert_eq!(made.expires_at, at(3600));
        assert_eq!(made.token.name, "NAS");
        assert_eq!(made.token.silos, ["home"]);
        assert_eq!(made.token.hostnames, Some(vec!["nas".to_owned()]));
        let reader = InvitationSpec {
            role: Role::Read,
            silos: vec!["home".to_owned(), "lab".to_owned()],
            hostnames: None,
            token_expires_at: Some(at(3601)),
            ..spec()
        };
        let made = reader.check(at(0)).unwrap();
        assert_eq!(made.token.name, "home");
        assert_eq!(made.token.expires_at, Some(at(3601)));
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn each_wrong_part_is_named() {
        use InvalidInvitation as Invalid;
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let role = |role| InvitationSpec { role, ..spec() };
        for (wrong, pointer, error) in [
            (role(Role::Admin), "/role", Invalid::Role),
            (role(Role::Metrics), "/role", Invalid::Role),
            (role(Role::Read), "/hostnames", Invalid::HostnamesOfReader),
            (
                InvitationSpec {
                    hostnames: None,
                    ..spec()
                },
                "/hostnames",
                Invalid::NoHostnames,
            ),
            (
                InvitationSpec {
                    hostnames: Some(Vec::new()),
                    ..spec()
                },
                "/hostnames",
                Invalid::Token(InvalidToken::NoHostnames),
            ),
            (
                InvitationSpec {
                    silos: Vec::new(),
                    ..spec()
                },
                "/silos",
                Invalid::Token(InvalidToken::NoSilos),
            ),
            (
                InvitationSpec {
                    silos: names(&["home", "lab"]),
                    ..spec()
                },
                "/silos",
                Invalid::OneSilo,
            ),
            (
                InvitationSpec {
                    silos: names(&["h*"]),
                    ..spec()
                },
                "/silos/0",
                Invalid::Glob,
            ),
            (
                InvitationSpec {
                    silos: names(&["-"]),
                    ..spec()
                },
                "/silos/0",
                Invalid::Token(InvalidToken::Pattern),
            ),
            (
                InvitationSpec {
                    hostnames: Some(names(&["nas", "nas-*"])),
                    ..spec()
                },
                "/hostnames/1",
                Invalid::Glob,
            ),
            (
                InvitationSpec {
                    name: Some("a\nb".to_owned()),
                    ..spec()
                },
                "/name",
                Invalid::Token(InvalidToken::Name),
            ),
            (
                InvitationSpec {
                    expires_after: 299,
                    ..spec()
                },
                "/expires_after",
                Invalid::Duration,
            ),
            (
                InvitationSpec {
                    expires_after: LONGEST_SECONDS + 1,
                    ..spec()
                },
                "/expires_after",
                Invalid::Duration,
            ),
            (
                InvitationSpec {
                    token_expires_at: Some(at(3600)),
                    ..spec()
                },
                "/token_expires_at",
                Invalid::TokenExpiry,
            ),
            (
                InvitationSpec {
                    token_expires_at: Some(at(0)),
                    ..spec()
                },
                "/token_expires_at",
                Invalid::Token(InvalidToken::Expired),
            ),
        ] {
            let found = wrong.clone().check(at(0)).unwrap_err();
            assert!(
                found
                    .iter()
                    .any(|found| found.pointer() == pointer && found.error == error),
                "{wrong:?}: {found:?}"
            );
        }
        for seconds in [SHORTEST_SECONDS, LONGEST_SECONDS] {
            let good = InvitationSpec {
                expires_after: seconds,
                ..spec()
            };
            assert_eq!(good.check(at(0)).unwrap().expires_at, at(seconds));
        }
    }

    fn invitation() -> Invitation {
        let id = TokenId::parse("abcdefgh12").unwrap();
        let CheckedInvitation { token, expires_at } = spec().check(at(0)).unwrap();
        Invitation {
            id,
            spec: token,
            made_by: None,
            created_at: at(0),
            expires_at,
            revoked_at: None,
            used_at: None,
            redeemed: None,
        }
    }

    #[test]
    fn an_invitation_is_open_then_pending_and_ends_once() {
        let open = invitation();
        let pending = Invitation {
            redeemed: Some(Redeemer {
                token: open.id,
                client_ip: None,
                at: at(1),
            }),
            ..open.clone()
        };
        let used = Invitation {
            used_at: Some(at(2)),
            ..pending.clone()
        };
        let revoked = Invitation {
            revoked_at: Some(at(2)),
            ..pending.clone()
        };
        for (invitation, now, expected) in [
            (&open, 0, InvitationState::Open),
            (&open, 3599, InvitationState::Open),
            (&open, 3600, InvitationState::Expired),
            (&pending, 3599, InvitationState::Pending),
            (&pending, 3600, InvitationState::Expired),
            (&used, 2, InvitationState::Used),
            (&used, 3600, InvitationState::Used),
            (&revoked, 2, InvitationState::Revoked),
            (&revoked, 3600, InvitationState::Revoked),
        ] {
            assert_eq!(invitation.state_at(at(now)), expected, "{now}");
        }
    }

    #[test]
    fn a_step_of_the_clock_makes_no_invitation_last() {
        for step in STEPS {
            let made = Invitation {
                created_at: at(step),
                expires_at: at(step + LONGEST_SECONDS),
                ..invitation()
            };
            let usable = (0..400 * 24).filter(|hour| {
                let state = made.state_at(at(hour * 3600));
                state == InvitationState::Open
            });
            assert!(usable.count() <= 7 * 24 + 1, "{step}");
        }
    }
}
