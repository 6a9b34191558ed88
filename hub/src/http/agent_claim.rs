//! The headers by which agents name themselves, structured fields (RFC 9651):
//!
//! - `Silo-Agent: "laptop-7"; kind=downstream; version="0.2.0"`, on each request of an agent;
//! - `Silo-Applied: "41"; agent="laptop-7"`: the entity tag of what a downstream has applied. `agent` may be left out if
//!   `Silo-Agent` is there.
//!
//! They are hints for lists of agents: a wrong value is ignored, since it must not fail what the request is for, and
//! nothing of its field is stored.

use axum::http::{HeaderMap, HeaderName};
use sfv::{BareItem, Item, Parser};

use crate::domain::agents::{AgentClaim, AgentKind, AgentName, AgentVersion};
use crate::domain::revision::Revision;

const SILO_AGENT: HeaderName = HeaderName::from_static("silo-agent");
const SILO_APPLIED: HeaderName = HeaderName::from_static("silo-applied");
/// The highest revision that a client can send: JSON's integers are exact below it (RFC 8259 section 6).
const MAX_REVISION: i64 = (1 << 53) - 1;
/// How much of a wrong value is logged.
const SHOWN: usize = 100;

/// What a request says of its agent; `None` also if it has a wrong value instead.
pub(super) fn claim(headers: &HeaderMap) -> Option<AgentClaim> {
    // Comparing each name costs less than lookups, which hash theirs.
    let mut names = headers.keys();
    if !names.any(|name| *name == SILO_AGENT || *name == SILO_APPLIED) {
        return None;
    }
    let agent = field(headers, &SILO_AGENT, agent);
    let applied = field(headers, &SILO_APPLIED, applied);
    match (agent, applied) {
        (None, None) => None,
        (Some(agent), None) => Some(agent),
        (Some(agent), Some(applied)) => {
            let is_of_agent = applied.name.is_none_or(|name| name == agent.name);
            Some(AgentClaim {
                applied: is_of_agent.then_some(applied.revision),
                ..agent
            })
        }
        (None, Some(applied)) => Some(AgentClaim {
            name: applied.name?,
            // Only these apply anything.
            kind: Some(AgentKind::Downstream),
            version: None,
            applied: Some(applied.revision),
        }),
    }
}

struct Applied {
    revision: Revision,
    name: Option<AgentName>,
}

/// The value of a field that is there once and has the right form.
fn field<T>(
    headers: &HeaderMap,
    name: &HeaderName,
    parse: impl Fn(&Item) -> Option<T>,
) -> Option<T> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    let item = Parser::new(value.as_bytes()).parse::<Item>();
    let parsed = item.ok().as_ref().and_then(parse);
    if parsed.is_none() || values.next().is_some() {
        let shown: String = String::from_utf8_lossy(value.as_bytes())
            .chars()
            .take(SHOWN)
            .collect();
        tracing::debug!("ignored a wrong value of {name}: {shown:?}");
        return None;
    }
    parsed
}

fn agent(item: &Item) -> Option<AgentClaim> {
    let mut claim = AgentClaim {
        name: AgentName::parse(text(&item.bare_item)?).ok()?,
        kind: None,
        version: None,
        applied: None,
    };
    for (parameter, value) in &item.params {
        match parameter.as_str() {
            "kind" => claim.kind = Some(AgentKind::parse(value.as_token()?.as_str())?),
            "version" => claim.version = Some(AgentVersion::parse(text(value)?)?),
            // A newer agent may say more.
            _ => {}
        }
    }
    Some(claim)
}

fn applied(item: &Item) -> Option<Applied> {
    let tag = text(&item.bare_item)?;
    // Tags of other formats are `41-hosts` and `41-zone`.
    let revision = tag.split_once('-').map_or(tag, |(revision, _)| revision);
    let is_number = revision.bytes().all(|byte| byte.is_ascii_digit());
    let revision = is_number.then(|| revision.parse().ok())??;
    let mut name = None;
    for (parameter, value) in &item.params {
        if parameter.as_str() == "agent" {
            name = Some(AgentName::parse(text(value)?).ok()?);
        }
    }
    (0..=MAX_REVISION).contains(&revision).then_some(Applied {
        revision: revision.into(),
        name,
    })
}

fn text(item: &BareItem) -> Option<&str> {
    item.as_string().map(|text| text.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `name kind version applied`.
    fn read(fields: &[(&'static str, &str)]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        let claim = claim(&headers)?;
        let kind = claim.kind.map_or("-", AgentKind::as_str);
        let version = claim.version.as_ref().map_or("-", AgentVersion::as_str);
        let applied = claim
            .applied
            .map_or("-".to_owned(), |revision| revision.to_string());
        Some(format!(
            "{} {kind} {version} {applied}",
            claim.name.as_str()
        ))
    }

    #[test]
    fn an_agent_names_itself() {
        for (value, read_as) in [
            (
                "\"laptop-7\"; kind=downstream; version=\"0.2.0\"",
                Some("laptop-7 downstream 0.2.0 -"),
            ),
            ("\"nas\";kind=upstream", Some("nas upstream - -")),
            ("\"nas\"", Some("nas - - -")),
            ("\"nas\";later=?1;kind=upstream", Some("nas upstream - -")),
            ("\" nas \"", Some("nas - - -")),
            ("nas", None),
            ("41", None),
            ("", None),
            ("\"\"", None),
            ("\"na\\\"s\"", None),
            ("\"nas", None),
            ("\"nas\", \"other\"", None),
            ("(\"nas\")", None),
            ("\"nas\";kind=\"upstream\"", None),
            ("\"nas\";kind=sideways", None),
            ("\"nas\";version=0.2", None),
            ("\"nas\";version=\"0 2\"", None),
        ] {
            assert_eq!(
                read(&[("silo-agent", value)]).as_deref(),
                read_as,
                "{value}"
            );
        }
        let twice = [("silo-agent", "\"a\""), ("silo-agent", "\"b\"")];
        assert_eq!(read(&twice), None);
        let long = format!("\"{}\"", "x".repeat(65));
        assert_eq!(read(&[("silo-agent", &long)]), None);
    }

    #[test]
    fn a_downstream_says_what_it_has_applied() {
        let agent = "\"laptop-7\";kind=downstream";
        for (value, with_agent, alone) in [
            ("\"41\"", Some("41"), None),
            ("\"41-hosts\"", Some("41"), None),
            (
                "\"41\"; agent=\"laptop-7\"",
                Some("41"),
                Some("laptop-7 downstream - 41"),
            ),
            (
                "\"41\"; agent=\"other\"",
                Some("-"),
                Some("other downstream - 41"),
            ),
            ("\"41\"; agent=laptop-7", Some("-"), None),
            ("41", Some("-"), None),
            ("\"\"", Some("-"), None),
            ("\"-1\"", Some("-"), None),
            ("\"+1\"", Some("-"), None),
            ("\"one\"", Some("-"), None),
            ("W/\"41\"", Some("-"), None),
            ("\"9007199254740991\"", Some("9007199254740991"), None),
            ("\"9007199254740992\"", Some("-"), None),
            ("\"99999999999999999999\"", Some("-"), None),
        ] {
            let both = [("silo-agent", agent), ("silo-applied", value)];
            let with_agent = with_agent.map(|applied| format!("laptop-7 downstream - {applied}"));
            assert_eq!(read(&both), with_agent, "{value}");
            let one = [("silo-applied", value)];
            assert_eq!(read(&one).as_deref(), alone, "{value}");
        }
        assert_eq!(read(&[("silo-other", "\"41\"")]), None);
    }
}
