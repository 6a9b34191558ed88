//! The frame of every page: title, navigation, who is signed in, theme, and the notice after a form.

use axum::http::{HeaderMap, Uri};
use url::form_urlencoded;

use super::session::cookie;
use crate::domain::revision::Revision;
use crate::domain::time::Time;

/// The colours of pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Theme {
    /// What the system prefers.
    #[default]
    System,
    /// Light.
    Light,
    /// Dark.
    Dark,
}

/// What a request asks of the frame.
#[derive(Clone, Debug)]
pub(super) struct Look {
    /// The chosen theme.
    pub(super) theme: Theme,
    /// What a form has done just before.
    pub(super) notice: Option<Notice>,
    /// Path and query of the page.
    pub(super) path: String,
    /// What the script needs to keep the page up to date.
    pub(super) live: Option<Live>,
}

/// The moment that a page shows, for the script that keeps it up to date.
#[derive(Clone, Debug)]
pub(super) struct Live {
    /// What is newer must be fetched.
    pub(super) revision: Revision,
    /// The hub's time, which the relative times refer to.
    pub(super) now: Time,
    /// Where the page can be fetched again; a refused form has another path.
    pub(super) path: String,
}

/// The part of the dashboard that a page belongs to, which the navigation marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    /// Of none: sign-in, errors.
    None,
    /// The silos.
    Silos,
    /// The agents.
    Agents,
    /// The deliveries.
    Deliveries,
    /// The tokens.
    Tokens,
    /// The audit log.
    Audit,
    /// The hub itself.
    System,
}

/// What a form has done, shown on the page that follows; `?notice=KEY`, never free text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// Signed out.
    SignedOut,
    /// Signed out wherever the token was signed in.
    SignedOutEverywhere,
    /// A silo was made.
    SiloMade,
    /// A silo was deleted.
    SiloDeleted,
    /// A record was added.
    RecordAdded,
    /// A record was changed.
    RecordSaved,
    /// A record was deleted.
    RecordDeleted,
    /// The last change was taken back.
    Undone,
    /// A silo was returned to an earlier revision.
    Reverted,
    /// A delivery is tried again.
    Retried,
    /// A token was changed.
    TokenChanged,
    /// A token was revoked.
    TokenRevoked,
    /// An invitation was revoked.
    InvitationRevoked,
    /// Another backup is being downloaded.
    BackupBusy,
}

/// All of the frame.
#[derive(Clone, Debug)]
pub(super) struct Chrome {
    /// The title of the page, without the name of the program.
    pub(super) title: String,
    /// The part of the dashboard.
    pub(super) section: Section,
    /// Who is signed in.
    pub(super) signed_in: Option<SignedIn>,
    /// Theme, notice, path.
    pub(super) look: Look,
}

/// Who is signed in.
#[derive(Clone, Debug)]
pub(super) struct SignedIn {
    /// The name of the token.
    pub(super) name: String,
    /// Its role.
    pub(super) role: String,
    /// Whether it may do everything.
    pub(super) is_admin: bool,
    /// The hidden field `csrf` of every form.
    pub(super) csrf: String,
}

impl Look {
    /// Of a request.
    pub(super) fn of(uri: &Uri, headers: &HeaderMap) -> Self {
        let query = uri.query().unwrap_or("").as_bytes();
        let notice = form_urlencoded::parse(query)
            .find(|(name, _)| name == "notice")
            .and_then(|(_, key)| Notice::parse(&key));
        Self {
            theme: Theme::of(headers),
            notice,
            path: uri
                .path_and_query()
                .map_or_else(String::new, ToString::to_string),
            live: None,
        }
    }

    /// All themes, and which one is chosen.
    pub(super) fn themes(&self) -> [(Theme, bool); 3] {
        Theme::ALL.map(|theme| (theme, theme == self.theme))
    }
}

impl Theme {
    /// All of them.
    pub(super) const ALL: [Self; 3] = [Self::System, Self::Light, Self::Dark];

    /// The name of the cookie. It is no secret, and the same for all hubs on a host name.
    pub(super) const COOKIE: &str = "silo_theme";

    /// The one that a request's cookie names.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut values = cookie::values(headers, Self::COOKIE);
        values.find_map(Self::parse).unwrap_or_default()
    }

    /// The value in the cookie and the form, and of the attribute `data-theme`.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    /// Parses that value.
    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|theme| theme.as_str() == text)
    }

    /// Its name on pages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::System => "System",
            Self::Light => "Light",
            Self::Dark => "Dark",
        }
    }
}

impl Notice {
    const ALL: [Self; 14] = [
        Self::SignedOut,
        Self::SignedOutEverywhere,
        Self::SiloMade,
        Self::SiloDeleted,
        Self::RecordAdded,
        Self::RecordSaved,
        Self::RecordDeleted,
        Self::Undone,
        Self::Reverted,
        Self::Retried,
        Self::TokenChanged,
        Self::TokenRevoked,
        Self::InvitationRevoked,
        Self::BackupBusy,
    ];

    /// Its key in URLs.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::SignedOut => "signed-out",
            Self::SignedOutEverywhere => "signed-out-everywhere",
            Self::SiloMade => "silo-made",
            Self::SiloDeleted => "silo-deleted",
            Self::RecordAdded => "record-added",
            Self::RecordSaved => "record-saved",
            Self::RecordDeleted => "record-deleted",
            Self::Undone => "undone",
            Self::Reverted => "reverted",
            Self::Retried => "retried",
            Self::TokenChanged => "token-changed",
            Self::TokenRevoked => "token-revoked",
            Self::InvitationRevoked => "invitation-revoked",
            Self::BackupBusy => "backup-busy",
        }
    }

    /// Its text.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::SignedOut => "You are signed out.",
            Self::SignedOutEverywhere => "All sessions of this token are signed out.",
            Self::SiloMade => "The silo is made. Add its first record.",
            Self::SiloDeleted => "The silo is deleted.",
            Self::RecordAdded => "The record is added.",
            Self::RecordSaved => "The record is saved.",
            Self::RecordDeleted => "The record is deleted.",
            Self::Undone => "The last change is undone.",
            Self::Reverted => "The silo is reverted.",
            Self::Retried => "The delivery is tried again now.",
            Self::TokenChanged => "The token is changed.",
            Self::TokenRevoked => "The token is revoked, and its sessions have ended.",
            Self::InvitationRevoked => "The invitation is revoked.",
            Self::BackupBusy => "Another backup is being downloaded: try again when it is done.",
        }
    }

    fn parse(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|notice| notice.key() == key)
    }
}

impl Chrome {
    /// Of a page that needs no session.
    pub(super) fn without_session(look: &Look, title: impl Into<String>, section: Section) -> Self {
        Self {
            title: title.into(),
            section,
            signed_in: None,
            look: look.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_notices_are_shown() {
        for (query, notice) in [
            ("/dashboard/?notice=signed-out", Some(Notice::SignedOut)),
            ("/dashboard/?a=b&notice=signed-out", Some(Notice::SignedOut)),
            ("/dashboard/?notice=You+won", None),
            ("/dashboard/", None),
        ] {
            let look = Look::of(&query.parse().unwrap(), &HeaderMap::new());
            assert_eq!(look.notice, notice, "{query}");
        }
    }
}
