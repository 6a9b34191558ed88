//! What a command changed about a token, for the audit log.

use serde::{Deserialize, Serialize};

use super::time::Time;
use super::token::TokenSpec;

/// The properties of a token before and after a command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenChange {
    /// Before; `None`: the token is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<TokenProperties>,
    /// After.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<TokenProperties>,
}

/// The properties of a token at one time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenProperties {
    /// The name.
    pub name: String,
    /// The role.
    pub role: String,
    /// Names or globs of silos.
    pub silos: Vec<String>,
    /// Names or globs of the hostnames that it may write; `None`: all.
    pub hostnames: Option<Vec<String>>,
    /// When it expires.
    pub expires_at: Option<Time>,
}

impl From<&TokenSpec> for TokenProperties {
    fn from(spec: &TokenSpec) -> Self {
        Self {
            name: spec.name.clone(),
            role: spec.role.to_string(),
            silos: spec.silos.clone(),
            hostnames: spec.hostnames.clone(),
            expires_at: spec.expires_at,
        }
    }
}

impl TokenChange {
    /// The form in the database.
    pub fn stored(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }

    /// Parses the stored form; `None` if a newer version wrote it.
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::token::Role;

    #[test]
    fn a_change_reads_back() {
        let spec = TokenSpec {
            name: "\"nas\" дом".to_owned(),
            role: Role::Write,
            silos: vec!["office".to_owned(), "lab-*".to_owned()],
            hostnames: Some(vec!["nas".to_owned()]),
            expires_at: Some(Time::from_millis(1_767_323_045_678)),
        };
        let change = TokenChange {
            before: None,
            after: Some(TokenProperties::from(&spec)),
        };
        let stored = change.stored().unwrap();
        assert_eq!(TokenChange::parse(&stored), Some(change));
        assert_eq!(TokenChange::parse("{\"after\":{\"name\":1}}"), None);
    }
}
