//! The name by which a hub lists an agent, and what kinds of agents there are.

use http::HeaderValue;
use serde::{Deserialize, Deserializer};
use thiserror::Error;

use crate::config::deserialize_text;

/// Which of the two agents it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "openapi",
    derive(utoipa::ToSchema),
    schema(rename_all = "lowercase", example = "downstream")
)]
pub enum AgentKind {
    /// It reports addresses.
    Upstream,
    /// It keeps a hosts file.
    Downstream,
}

impl AgentKind {
    /// As in the header and in the hub's database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Downstream => "downstream",
        }
    }

    /// Parses it.
    pub fn parse(text: &str) -> Option<Self> {
        let all = [Self::Upstream, Self::Downstream];
        all.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// The name of an agent: 1 to 64 printable ASCII characters without `"` and `\`, no blank at either end. By default the
/// first label of the machine's host name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentName(Box<str>);

/// The text is not a name of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "expected 1 to {} printable ASCII characters without \" and \\",
    AgentName::MAX
)]
pub struct InvalidAgentName;

impl AgentName {
    /// The maximum length, in characters.
    pub const MAX: usize = 64;

    /// Parses a name; blanks at its ends do not count.
    pub fn parse(text: &str) -> Result<Self, InvalidAgentName> {
        let name = text.trim_matches(' ');
        let is_valid = (1..=Self::MAX).contains(&name.len()) && name.chars().all(is_allowed);
        is_valid.then(|| Self(name.into())).ok_or(InvalidAgentName)
    }

    /// The first name in their order.
    pub fn first() -> Self {
        Self("!".into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name from a host name, without characters that a name can't have.
    fn of_host(host: &str) -> Self {
        let label = host.split('.').next().unwrap_or_default();
        let usable = label.chars().filter(|c| is_allowed(*c)).take(Self::MAX);
        let name: String = usable.collect();
        Self::parse(&name).unwrap_or_else(|_| Self("unnamed".into()))
    }

    /// The value of `Silo-Agent`: a String with parameters (RFC 9651 section 3.3.3), such as
    /// `"laptop-7"; kind=downstream; version="0.2.0"`.
    pub fn header(&self, kind: AgentKind) -> HeaderValue {
        let value = format!(
            "\"{}\"; kind={}; version=\"{}\"",
            self.0,
            kind.as_str(),
            env!("CARGO_PKG_VERSION")
        );
        HeaderValue::from_str(&value).expect("a name has only printable ASCII characters")
    }
}

impl Default for AgentName {
    fn default() -> Self {
        Self::of_host(&gethostname::gethostname().to_string_lossy())
    }
}

impl std::str::FromStr for AgentName {
    type Err = InvalidAgentName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl<'de> Deserialize<'de> for AgentName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer, Self::parse)
    }
}

fn is_allowed(c: char) -> bool {
    (' '..='~').contains(&c) && !matches!(c, '"' | '\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_into_a_structured_field() {
        for (text, is_valid) in [
            ("laptop-7", true),
            ("Laptop 7 (kitchen)", true),
            ("", false),
            (" ", false),
            (" a ", true),
            ("a\"b", false),
            ("a\\b", false),
            ("a\nb", false),
            ("küche", false),
            (&*"x".repeat(64), true),
            (&*"x".repeat(65), false),
        ] {
            assert_eq!(AgentName::parse(text).is_ok(), is_valid, "{text:?}");
        }
        let version = env!("CARGO_PKG_VERSION");
        let header = AgentName::parse("laptop-7")
            .unwrap()
            .header(AgentKind::Downstream);
        let expected = format!("\"laptop-7\"; kind=downstream; version=\"{version}\"");
        assert_eq!(header, expected);
    }

    #[test]
    fn every_host_name_gives_a_name() {
        for (host, name) in [
            ("laptop-7.lan", "laptop-7"),
            ("küche", "kche"),
            ("", "unnamed"),
            ("日本", "unnamed"),
        ] {
            assert_eq!(AgentName::of_host(host).as_str(), name, "{host:?}");
        }
    }
}
