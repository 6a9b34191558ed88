//! The pages of tokens: the list, one token, the forms that make, change, rotate and revoke one, and the one page that
//! shows a secret.

use askama::Template;
use silo_shared::credential::Credential;

use crate::dashboard::href::{Href, href};
use crate::dashboard::layout::Chrome;
use crate::dashboard::token_form::{TokenErrors, TokenForm};
use crate::dashboard::when::When;
use crate::domain::time::Time;
use crate::domain::token::{Role, Token};

/// A page of the list.
#[derive(Debug, Template)]
#[template(path = "dashboard/tokens.html")]
pub(in crate::dashboard) struct TokensPage {
    pub(in crate::dashboard) chrome: Chrome,
    pub(in crate::dashboard) rows: Vec<Facts>,
    /// Shown above the first page.
    pub(in crate::dashboard) invitations: Vec<OpenInvitation>,
    pub(in crate::dashboard) is_first: bool,
    /// The last token of this page, if there are more.
    pub(in crate::dashboard) next: Option<String>,
}

/// An invitation that no machine has used yet.
#[derive(Clone, Debug)]
pub(in crate::dashboard) struct OpenInvitation {
    pub(in crate::dashboard) id: String,
    pub(in crate::dashboard) name: String,
    pub(in crate::dashboard) role: Role,
    pub(in crate::dashboard) silos: Vec<String>,
    /// Empty for a token that only reads.
    pub(in crate::dashboard) hostnames: Vec<String>,
    pub(in crate::dashboard) until: When,
    /// The machine that has begun to use it.
    pub(in crate::dashboard) redeemed_by: Option<String>,
}

/// One token, and what may be done with it.
#[derive(Debug, Template)]
#[template(path = "dashboard/token.html")]
pub(in crate::dashboard) struct TokenPage {
    pub(in crate::dashboard) chrome: Chrome,
    pub(in crate::dashboard) token: Facts,
    /// The form that changes it; `None`: the session may not.
    pub(in crate::dashboard) form: Option<Form>,
    pub(in crate::dashboard) may_rotate: bool,
    pub(in crate::dashboard) may_revoke: bool,
}

/// The form that makes a token.
#[derive(Debug, Template)]
#[template(path = "dashboard/token_new.html")]
pub(in crate::dashboard) struct NewTokenPage {
    pub(in crate::dashboard) chrome: Chrome,
    pub(in crate::dashboard) form: Form,
}

/// What was typed, and what is wrong with it.
#[derive(Debug, Default)]
pub(in crate::dashboard) struct Form {
    pub(in crate::dashboard) values: TokenForm,
    pub(in crate::dashboard) errors: TokenErrors,
}

/// The form that gives a token a new secret.
#[derive(Debug, Template)]
#[template(path = "dashboard/token_rotate.html")]
pub(in crate::dashboard) struct RotatePage {
    pub(in crate::dashboard) chrome: Chrome,
    pub(in crate::dashboard) token: Facts,
    pub(in crate::dashboard) error: Option<String>,
}

/// Asks whether a token is to be revoked.
#[derive(Debug, Template)]
#[template(path = "dashboard/token_revoke.html")]
pub(in crate::dashboard) struct RevokePage {
    pub(in crate::dashboard) chrome: Chrome,
    pub(in crate::dashboard) token: Facts,
}

/// Shows a secret, this once.
#[derive(Debug, Template)]
#[template(path = "dashboard/token_secret.html")]
pub(in crate::dashboard) struct SecretPage {
    pub(in crate::dashboard) chrome: Chrome,
    pub(in crate::dashboard) token: Facts,
    pub(in crate::dashboard) credential: Credential,
    /// Until when the former secret is valid; `None`: the token is new.
    pub(in crate::dashboard) former_ends: Option<When>,
    /// Whether the page itself may be read on the way.
    pub(in crate::dashboard) is_readable: bool,
}

/// What is known of a token.
#[derive(Debug)]
pub(in crate::dashboard) struct Facts {
    pub(in crate::dashboard) id: String,
    pub(in crate::dashboard) name: String,
    role: &'static str,
    class: &'static str,
    may: String,
    silos: Vec<String>,
    hostnames: Option<Vec<String>>,
    created: When,
    last_used: Option<When>,
    expires: Option<When>,
    is_expired: bool,
    /// Whether silos and hostnames limit it.
    has_limits: bool,
    /// Whether it is the token of this session.
    is_own: bool,
}

impl Facts {
    /// What is known of a token, for the session of the token `own`.
    pub(in crate::dashboard) fn of(token: &Token, own: &Token, now: Time) -> Self {
        let (role, class, may) = role_words(token.spec.role);
        Self {
            id: token.id.to_string(),
            name: token.spec.name.clone(),
            role,
            class,
            may: may.to_owned(),
            silos: token.spec.silos.clone(),
            hostnames: token.spec.hostnames.clone(),
            created: When::new(token.created_at, now),
            last_used: token.last_used_at.map(|at| When::new(at, now)),
            expires: token.spec.expires_at.map(|at| When::new(at, now)),
            is_expired: !token.is_valid_at(now),
            has_limits: matches!(token.spec.role, Role::Read | Role::Write),
            is_own: token.id == own.id,
        }
    }
}

/// A role in a word, the class of its tag, and what it may do.
fn role_words(role: Role) -> (&'static str, &'static str, &'static str) {
    match role {
        Role::Read => ("read", "quiet", "reads its silos"),
        Role::Write => ("write", "ok", "reads and writes its silos"),
        Role::Metrics => ("metrics", "quiet", "reads metrics and the state of the hub"),
        Role::Admin => ("admin", "warn", "does everything"),
        Role::Unknown(_) => (
            "unknown",
            "bad",
            "does nothing here: a newer version made it",
        ),
    }
}

impl TokensPage {
    fn page(&self, after: &str) -> Href {
        href("/dashboard/tokens").with("after", after)
    }

    fn first_page(&self) -> Option<Href> {
        (!self.is_first).then(|| self.page(""))
    }

    fn next_page(&self) -> Option<Href> {
        let next = self.next.as_deref()?;
        Some(self.page(next))
    }
}

impl Form {
    /// The roles to choose from, with what they may do.
    fn roles(&self) -> Vec<(&'static str, &'static str, bool)> {
        let roles = [Role::Read, Role::Write, Role::Metrics, Role::Admin];
        let words = roles.into_iter().map(role_words);
        words
            .map(|(role, _, may)| (role, may, self.values.role == role))
            .collect()
    }
}

impl SecretPage {
    /// The name of the file to download.
    fn file_name(&self) -> String {
        file_name(&self.token.name)
    }
}

/// The name of a token's file: what every file system takes.
pub(in crate::dashboard) fn file_name(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    let plain: String = name
        .chars()
        .map(|c| if is_plain(c) { c } else { '-' })
        .take(60)
        .collect();
    let plain = plain.trim_matches('-');
    let plain = if plain.is_empty() { "silo" } else { plain };
    format!("{plain}.token")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_a_name_that_every_system_takes() {
        for (name, file) in [
            ("nas", "nas.token"),
            ("Anna's laptop", "Anna-s-laptop.token"),
            ("../../etc/passwd", "etc-passwd.token"),
            ("a\"; filename=\"b", "a---filename--b.token"),
            ("дом", "silo.token"),
            (&*"x".repeat(100), &*format!("{}.token", "x".repeat(60))),
        ] {
            assert_eq!(file_name(name), file);
        }
    }
}
