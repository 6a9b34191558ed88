//! The form of a token's properties: what was typed, and what is wrong with it.

use serde::Deserialize;
use silo_shared::api::FieldError;

use crate::domain::time::Time;
use crate::domain::token::{Role, SpecError, Token, TokenSpec};
use crate::domain::token_patch::TokenPatch;

/// What was typed. Lists have one name a line; commas and blanks separate, too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct TokenForm {
    pub(super) name: String,
    pub(super) role: String,
    pub(super) silos: String,
    pub(super) hostnames: String,
    pub(super) expires_at: String,
}

/// What is wrong with the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TokenErrors {
    pub(super) name: Option<String>,
    pub(super) role: Option<String>,
    pub(super) silos: Option<String>,
    pub(super) hostnames: Option<String>,
    pub(super) expires_at: Option<String>,
    /// What is about none of them.
    pub(super) other: Option<String>,
}

impl TokenErrors {
    /// Adds an error to a field; the first one of a field is shown.
    fn add(&mut self, field: &str, detail: String) {
        let place = match field {
            "name" => &mut self.name,
            "role" => &mut self.role,
            "silos" => &mut self.silos,
            "hostnames" => &mut self.hostnames,
            "expires_at" => &mut self.expires_at,
            _ => &mut self.other,
        };
        place.get_or_insert(detail);
    }
}

impl TokenForm {
    /// What a token has.
    pub(super) fn of(token: &Token) -> Self {
        let spec = &token.spec;
        let hostnames = spec.hostnames.as_deref().unwrap_or_default();
        Self {
            name: spec.name.clone(),
            role: spec.role.to_string(),
            silos: spec.silos.join("\n"),
            hostnames: hostnames.join("\n"),
            expires_at: spec
                .expires_at
                .map_or_else(String::new, |at| at.to_string()),
        }
    }

    /// The properties of a new token.
    pub(super) fn spec(&self, now: Time) -> Result<TokenSpec, Box<TokenErrors>> {
        let mut errors = TokenErrors::default();
        let role: Option<Role> = match self.role.parse() {
            Ok(role) => Some(role),
            Err(error) => {
                let error: crate::domain::token::InvalidToken = error;
                errors.add("role", error.to_string());
                None
            }
        };
        let expires_at = self.expires_at(&mut errors);
        let spec = TokenSpec {
            name: self.name.trim().to_owned(),
            // The other fields are judged too, if the role is missing.
            role: role.unwrap_or(Role::Write),
            silos: list(&self.silos),
            hostnames: self.hostnames(),
            expires_at,
        };
        match spec.check(now) {
            Ok(spec) if errors == TokenErrors::default() => Ok(spec),
            Ok(_) => Err(Box::new(errors)),
            Err(wrong) => Err(Box::new(self.with_wrong(wrong, errors))),
        }
    }

    /// The changes to a token's properties.
    pub(super) fn patch(&self, now: Time) -> Result<TokenPatch, Box<TokenErrors>> {
        let mut errors = TokenErrors::default();
        let expires_at = self.expires_at(&mut errors);
        let patch = TokenPatch {
            role: None,
            name: Some(self.name.trim().to_owned()),
            silos: Some(list(&self.silos)),
            hostnames: Some(self.hostnames()),
            expires_at: Some(expires_at),
        };
        match patch.check(now) {
            Ok(patch) if errors == TokenErrors::default() => Ok(patch),
            Ok(_) => Err(Box::new(errors)),
            Err(wrong) => Err(Box::new(self.with_wrong(wrong, errors))),
        }
    }

    /// The errors with which the API would refuse the same.
    pub(super) fn errors(&self, wrong: &[FieldError]) -> TokenErrors {
        let mut errors = TokenErrors::default();
        for error in wrong {
            let mut places = error.pointer.split('/').skip(1);
            let field = places.next().unwrap_or("");
            let index = places.next().and_then(|index| index.parse().ok());
            errors.add(field, self.named(field, index, error.detail.clone()));
        }
        errors
    }

    fn with_wrong(&self, wrong: Vec<SpecError>, mut errors: TokenErrors) -> TokenErrors {
        for error in wrong {
            let detail = self.named(error.member, error.index, error.error.to_string());
            errors.add(error.member, detail);
        }
        errors
    }

    /// A detail with the entry of a list that it is about.
    fn named(&self, field: &str, index: Option<usize>, detail: String) -> String {
        let names = match field {
            "silos" => list(&self.silos),
            "hostnames" => list(&self.hostnames),
            _ => Vec::new(),
        };
        match index.and_then(|index| names.get(index)) {
            Some(name) => format!("{name}: {detail}"),
            None => detail,
        }
    }

    fn hostnames(&self) -> Option<Vec<String>> {
        Some(list(&self.hostnames)).filter(|names| !names.is_empty())
    }

    /// A day means its beginning.
    fn expires_at(&self, errors: &mut TokenErrors) -> Option<Time> {
        let text = self.expires_at.trim();
        if text.is_empty() {
            return None;
        }
        let time = Time::parse(text).or_else(|| Time::parse(&format!("{text}T00:00:00Z")));
        if time.is_none() {
            let detail = "not a day such as 2027-01-01, nor a time such as 2027-01-01T12:00:00Z";
            errors.add("expires_at", detail.to_owned());
        }
        time
    }
}

/// The entries of a list.
fn list(text: &str) -> Vec<String> {
    text.split(|c: char| c.is_whitespace() || c == ',')
        .filter(|entry| !entry.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_millis(1_767_323_045_678);

    fn form(role: &str, silos: &str, hostnames: &str, expires_at: &str) -> TokenForm {
        TokenForm {
            name: " nas ".to_owned(),
            role: role.to_owned(),
            silos: silos.to_owned(),
            hostnames: hostnames.to_owned(),
            expires_at: expires_at.to_owned(),
        }
    }

    #[test]
    fn a_form_becomes_the_properties_of_a_token() {
        let full = form("write", "Office\r\nlab-*, home", "nas nas-*", "2027-01-01");
        let spec = full.spec(NOW).unwrap();
        assert_eq!(spec.name, "nas");
        assert_eq!(spec.silos, ["office", "lab-*", "home"]);
        assert_eq!(spec.hostnames.unwrap(), ["nas", "nas-*"]);
        assert_eq!(spec.expires_at, Time::parse("2027-01-01T00:00:00Z"));
        let admin = form("admin", "", "", "").spec(NOW).unwrap();
        assert_eq!(
            (admin.silos.len(), admin.hostnames, admin.expires_at),
            (0, None, None)
        );
        let patch = full.patch(NOW).unwrap();
        assert_eq!(patch.silos.unwrap(), ["office", "lab-*", "home"]);
        assert_eq!(
            form("", "", "", "").patch(NOW).unwrap().expires_at,
            Some(None)
        );
    }

    #[test]
    fn what_is_wrong_is_beside_its_field_and_names_the_entry() {
        let errors = form("boss", "office a/b", "x!", "soon")
            .spec(NOW)
            .unwrap_err();
        assert!(errors.role.unwrap().contains("read, write"));
        assert!(errors.silos.unwrap().starts_with("a/b: neither"));
        assert!(errors.hostnames.unwrap().starts_with("x!: neither"));
        assert!(errors.expires_at.unwrap().contains("2027-01-01"));
        assert_eq!((errors.name, errors.other), (None, None));
        let errors = form("read", "", "", "2020-01-01").spec(NOW).unwrap_err();
        assert!(errors.silos.unwrap().contains("names its silos"));
        assert!(errors.expires_at.unwrap().contains("passed"));
        let of_api = [
            FieldError {
                pointer: "/silos/1".to_owned(),
                detail: "no".to_owned(),
            },
            FieldError {
                pointer: String::new(),
                detail: "nothing".to_owned(),
            },
        ];
        let errors = form("read", "a b", "", "").errors(&of_api);
        assert_eq!(errors.silos.as_deref(), Some("b: no"));
        assert_eq!(errors.other.as_deref(), Some("nothing"));
    }
}
