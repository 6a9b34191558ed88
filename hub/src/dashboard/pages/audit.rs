//! The audit page: what was done with tokens, and which addresses sent wrong credentials.

use std::collections::HashMap;
use std::net::IpAddr;

use askama::Template;

use crate::dashboard::href::{Href, href};
use crate::dashboard::layout::Chrome;
use crate::dashboard::when::When;
use crate::domain::time::Time;
use crate::domain::token_change::{TokenChange, TokenProperties};
use crate::store::{AuditEvent, AuditPart, AuditRow, IdCursor};

/// A page of the log.
#[derive(Debug, Template)]
#[template(path = "dashboard/audit.html")]
pub(in crate::dashboard) struct AuditPage {
    pub(in crate::dashboard) chrome: Chrome,
    pub(in crate::dashboard) part: AuditPart,
    pub(in crate::dashboard) rows: Vec<Row>,
    pub(in crate::dashboard) is_first: bool,
    /// Where the next page begins.
    pub(in crate::dashboard) next: Option<IdCursor>,
}

/// A row of the log.
#[derive(Debug)]
pub(in crate::dashboard) struct Row {
    at: When,
    class: &'static str,
    words: String,
    token: Option<Named>,
    by: Option<Named>,
    way: &'static str,
    client_ip: Option<IpAddr>,
    /// The invitation that was made, revoked or used.
    invitation: Option<String>,
    /// Where the other machine redeemed the invitation from.
    other_ip: Option<IpAddr>,
    /// What was changed, a property a line.
    changes: Vec<Change>,
}

/// A property of a token before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    what: &'static str,
    /// `None`: the token is new.
    before: Option<String>,
    after: String,
}

/// A token.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    id: String,
    /// Its name, as far as it is still known.
    name: Option<String>,
}

/// One of the links that limit the log to a part.
#[derive(Debug)]
struct Tab {
    href: Href,
    words: &'static str,
    is_current: bool,
}

/// The name of a part in the query.
pub(in crate::dashboard) fn part_key(part: AuditPart) -> &'static str {
    match part {
        AuditPart::All => "",
        AuditPart::Tokens => "tokens",
        AuditPart::Refused => "refused",
    }
}

impl AuditPage {
    fn of_part(&self, part: AuditPart, before: Option<IdCursor>) -> Href {
        href("/dashboard/audit")
            .with("part", part_key(part))
            .with("before", &before.map_or(String::new(), IdCursor::encode))
    }

    fn tabs(&self) -> Vec<Tab> {
        let tab = |part, words| Tab {
            href: self.of_part(part, None),
            words,
            is_current: self.part == part,
        };
        vec![
            tab(AuditPart::All, "All"),
            tab(AuditPart::Tokens, "Tokens"),
            tab(AuditPart::Refused, "Wrong credentials"),
        ]
    }

    fn first_page(&self) -> Option<Href> {
        (!self.is_first).then(|| self.of_part(self.part, None))
    }

    fn next_page(&self) -> Option<Href> {
        let next = self.next?;
        Some(self.of_part(self.part, Some(next)))
    }
}

impl Row {
    /// A row, with the names of tokens by their ids.
    pub(in crate::dashboard) fn of(
        row: AuditRow,
        names: &HashMap<String, String>,
        now: Time,
    ) -> Self {
        let (class, words) = event_words(&row.event, row.times);
        let named = |id: String| Named {
            name: names.get(&id).cloned(),
            id,
        };
        Self {
            at: When::new(row.at, now),
            class,
            words,
            token: row.token.map(named),
            by: row.by.map(named),
            way: way_words(row.via.as_deref()),
            client_ip: row.client_ip,
            invitation: row.invitation,
            other_ip: row.other_ip,
            changes: row.change.map_or_else(Vec::new, |change| changes(&change)),
        }
    }
}

/// The properties that a command set: all of a new token, else those that differ.
fn changes(change: &TokenChange) -> Vec<Change> {
    let Some(after) = &change.after else {
        return Vec::new();
    };
    let before = change.before.as_ref();
    let all = [
        ("name", of_name as fn(&TokenProperties) -> String),
        ("role", |of| of.role.clone()),
        ("silos", |of| or(of.silos.join(", "), "–")),
        ("hostnames", |of| {
            let names = of.hostnames.as_ref().map(|names| names.join(", "));
            names.unwrap_or_else(|| "all".to_owned())
        }),
        ("expires", |of| {
            of.expires_at
                .map_or_else(|| "never".to_owned(), |at| at.to_string())
        }),
    ];
    let changes = all.into_iter().map(|(what, of)| Change {
        what,
        before: before.map(of),
        after: of(after),
    });
    changes
        .filter(|change| change.before.as_ref() != Some(&change.after))
        .collect()
}

fn of_name(of: &TokenProperties) -> String {
    of.name.clone()
}

fn or(text: String, otherwise: &str) -> String {
    if text.is_empty() {
        otherwise.to_owned()
    } else {
        text
    }
}

fn event_words(event: &str, times: i64) -> (&'static str, String) {
    let of = |known: AuditEvent| event == known.as_str();
    if of(AuditEvent::Created) {
        ("ok", "made".to_owned())
    } else if of(AuditEvent::Revoked) {
        ("quiet", "revoked".to_owned())
    } else if of(AuditEvent::Rotated) {
        ("quiet", "new secret".to_owned())
    } else if of(AuditEvent::Changed) {
        ("quiet", "changed".to_owned())
    } else if of(AuditEvent::Invited) {
        ("ok", "invited".to_owned())
    } else if of(AuditEvent::Replaced) {
        ("bad", "redeemed by two machines".to_owned())
    } else if of(AuditEvent::Refused) {
        let noun = if times == 1 {
            "wrong credential"
        } else {
            "wrong credentials"
        };
        ("bad", format!("{times} {noun}"))
    } else {
        ("quiet", event.to_owned())
    }
}

/// The interface that was used.
fn way_words(via: Option<&str>) -> &'static str {
    match via {
        None => "",
        Some("rest") => "API",
        Some("cli") => "command line",
        Some("dashboard") => "dashboard",
        Some("import") => "import",
        Some(_) => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_shown_of_a_changed_token() {
        let before = TokenProperties {
            name: "nas".to_owned(),
            role: "write".to_owned(),
            silos: vec!["office".to_owned()],
            hostnames: None,
            expires_at: None,
        };
        let after = TokenProperties {
            silos: vec!["office".to_owned(), "lab-*".to_owned()],
            hostnames: Some(vec!["nas".to_owned()]),
            ..before.clone()
        };
        let shown = |before: Option<TokenProperties>| -> Vec<String> {
            let change = TokenChange {
                before,
                after: Some(after.clone()),
            };
            let text = |change: Change| {
                let Change {
                    what,
                    before,
                    after,
                } = change;
                format!("{what} {} {after}", before.unwrap_or_default())
            };
            changes(&change).into_iter().map(text).collect()
        };
        assert_eq!(
            shown(Some(before)),
            ["silos office office, lab-*", "hostnames all nas"]
        );
        assert_eq!(shown(None).len(), 5);
        assert_eq!(changes(&TokenChange::default()), []);
    }

    #[test]
    fn events_are_said_in_words() {
        for (event, times, expected) in [
            ("created", 1, ("ok", "made")),
            ("refused", 1, ("bad", "1 wrong credential")),
            ("refused", 12, ("bad", "12 wrong credentials")),
            ("changed", 1, ("quiet", "changed")),
            ("newer", 1, ("quiet", "newer")),
        ] {
            let (class, words) = event_words(event, times);
            assert_eq!((class, &*words), expected);
        }
    }
}
