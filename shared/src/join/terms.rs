//! What an invitation grants, checked: nothing of a hub's answer is printed or written that is not a name.

use std::fmt::Write as _;
use std::path::Path;

use super::JoinError;
use crate::install::Agent;
use crate::invitation::Invitation;
use crate::invitation::documents::{InvitationGrant, Redeemed};
use crate::output::one_line;
use crate::silo::{Hostname, SiloId};

/// What the token of an invitation is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    /// At least one.
    pub(super) silos: Vec<SiloId>,
    /// Those that an upstream reports; a downstream has none.
    pub(super) hostnames: Vec<Hostname>,
}

impl Terms {
    /// What the answer to a `GET` says.
    pub(super) fn of_grant(agent: Agent, grant: &InvitationGrant) -> Result<Self, JoinError> {
        Self::parse(agent, &grant.role, &grant.silos, grant.hostnames.as_deref())
    }

    /// What the answer to a redemption says.
    pub(super) fn of_redeemed(agent: Agent, redeemed: &Redeemed) -> Result<Self, JoinError> {
        let hostnames = redeemed.hostnames.as_deref();
        Self::parse(agent, &redeemed.role, &redeemed.silos, hostnames)
    }

    pub(super) fn parse(
        agent: Agent,
        role: &str,
        silos: &[String],
        hostnames: Option<&[String]>,
    ) -> Result<Self, JoinError> {
        let foreign = |what: &'static str| JoinError::NotUnderstood(what);
        let silos: Result<Vec<SiloId>, _> = silos.iter().map(|id| SiloId::parse(id)).collect();
        let silos = silos.map_err(|_| foreign("a silo has no valid id"))?;
        let hostnames = hostnames.unwrap_or_default().iter();
        let hostnames: Result<Vec<Hostname>, _> =
            hostnames.map(|name| Hostname::parse(name)).collect();
        let hostnames = hostnames.map_err(|_| foreign("a hostname is not valid"))?;
        match (agent, role) {
            (Agent::Upstream, "read") => return Err(JoinError::OtherProgram(Agent::Downstream)),
            (Agent::Downstream, "write") => return Err(JoinError::OtherProgram(Agent::Upstream)),
            (Agent::Upstream, "write") | (Agent::Downstream, "read") => {}
            _ => return Err(foreign("the role is neither read nor write")),
        }
        let is_complete = match agent {
            Agent::Upstream => silos.len() == 1 && !hostnames.is_empty(),
            Agent::Downstream => !silos.is_empty() && hostnames.is_empty(),
        };
        if !is_complete {
            return Err(foreign("its silos and hostnames are not those of its role"));
        }
        Ok(Self { silos, hostnames })
    }

    /// In words, as the end of a sentence.
    pub(super) fn words(&self) -> String {
        let silos = list(&self.silos);
        match &self.hostnames[..] {
            [] => format!("read {silos}"),
            names => format!("report {} in {silos}", list(names)),
        }
    }

    /// The configuration of an agent. Every text is quoted, as JSON quotes it, which YAML reads: `no` is a name.
    pub(super) fn configuration(
        &self,
        agent: Agent,
        invitation: &Invitation,
        token_file: &Path,
    ) -> String {
        let program = agent.program();
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let quoted_list = |texts: Vec<&str>| {
            let texts: Vec<String> = texts.into_iter().map(quoted).collect();
            format!("[{}]", texts.join(", "))
        };
        let hub = match invitation.hubs() {
            [hub] => quoted(hub),
            hubs => quoted_list(hubs.iter().map(String::as_str).collect()),
        };
        let token_file = token_file.file_name().unwrap_or_default();
        let mut text = format!(
            "# Written by `{program} join`; `{program} leave` removes it. All settings: `{program} config-example`.\n\
             hub: {hub}\n\
             token_file: {}\n",
            quoted(&token_file.to_string_lossy()),
        );
        if let Some(pin) = invitation.pin() {
            let _ = writeln!(text, "pin_sha256: {}", quoted(&pin.to_string()));
        }
        let silos = self.silos.iter().map(SiloId::as_str).collect();
        let names: Vec<&str> = self.hostnames.iter().map(Hostname::as_str).collect();
        let _ = match agent {
            Agent::Downstream => writeln!(text, "silos: {}", quoted_list(silos)),
            Agent::Upstream => writeln!(
                text,
                "silo: {}\nhostnames: {}",
                quoted(self.silos[0].as_str()),
                quoted_list(names)
            ),
        };
        text
    }
}

/// What the hub says of an invitation, in a line.
pub(super) fn offer(hub: &str, terms: &Terms, grant: &InvitationGrant) -> String {
    let until = |time: &str| one_line(time);
    let ends = match &grant.token_expires_at {
        Some(at) => format!("expires at {}", until(at)),
        None => "does not expire".to_owned(),
    };
    format!(
        "{hub} invites this machine to {} (token {:?}, which {ends}; invitation {} valid until {})",
        terms.words(),
        one_line(&grant.name),
        one_line(&grant.id),
        until(&grant.expires_at),
    )
}

fn list<T: ToString>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    items.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::Credential;

    fn terms(
        agent: Agent,
        role: &str,
        silos: &[&str],
        hostnames: Option<&[&str]>,
    ) -> Result<Terms, String> {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let silos: Vec<String> = texts(silos);
        let hostnames: Option<Vec<String>> = hostnames.map(texts);
        Terms::parse(agent, role, &silos, hostnames.as_deref()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_a_hub_grants_is_said_for_each_program() {
        let upstream = terms(Agent::Upstream, "write", &["home"], Some(&["nas", "db"]));
        assert_eq!(upstream.unwrap().words(), "report nas, db in home");
        let downstream = terms(Agent::Downstream, "read", &["home", "lab"], None);
        assert_eq!(downstream.unwrap().words(), "read home, lab");
    }

    #[test]
    fn what_is_for_the_other_program_or_no_name_is_refused() {
        use Agent::{Downstream, Upstream};
        let (home, nas) = (&["home"][..], Some(&["nas"][..]));
        for (agent, role, silos, hostnames, expected) in [
            (Upstream, "read", home, None, "silo-downstream join"),
            (Downstream, "write", home, nas, "silo-upstream join"),
            (Upstream, "admin", home, nas, "neither read nor write"),
            (Upstream, "write", &["home", "lab"], nas, "of its role"),
            (Upstream, "write", home, None, "of its role"),
            (Downstream, "read", &[], None, "of its role"),
            (Downstream, "read", home, nas, "of its role"),
            (Downstream, "read", &["a\u{1b}[2J"], None, "no valid id"),
            (Upstream, "write", home, Some(&["a\nb"]), "is not valid"),
            (
                Upstream,
                "write",
                home,
                Some(&["\u{202e}a"]),
                "is not valid",
            ),
        ] {
            let why = terms(agent, role, silos, hostnames).unwrap_err();
            assert!(why.contains(expected), "{why}");
            assert!(!why.contains(|c: char| c.is_control() || crate::text::is_bidi(c)));
        }
    }

    #[test]
    fn an_offer_has_nothing_that_drives_a_terminal() {
        let terms = terms(Agent::Downstream, "read", &["home"], None).unwrap();
        let hostile = "a\u{1b}[2J\u{202e}\nb".to_owned();
        let grant = InvitationGrant {
            id: hostile.clone(),
            state: crate::invitation::documents::InvitationState::Open,
            name: hostile.clone(),
            role: "read".to_owned(),
            silos: vec!["home".to_owned()],
            hostnames: None,
            expires_at: hostile.clone(),
            token_expires_at: Some(hostile),
        };
        let said = offer("http://h", &terms, &grant);
        assert!(
            !said.contains(|c: char| c.is_control() || crate::text::is_bidi(c)),
            "{said:?}"
        );
    }

    #[test]
    fn a_configuration_is_yaml_whatever_the_names_are() {
        let key = Credential::parse(&format!("silo_abcdefgh12_{}", "x".repeat(43))).unwrap();
        let hubs = vec![
            "https://[fd00::1]:8053/#".replace("/#", ""),
            "https://b/{a}".to_owned(),
        ];
        let pin = format!("sha256//{}=", "A".repeat(43)).parse().unwrap();
        let invitation = Invitation::new(hubs, Some(pin), key).unwrap();
        let upstream = terms(Agent::Upstream, "write", &["no"], Some(&["true", "null"])).unwrap();
        let text = upstream.configuration(Agent::Upstream, &invitation, Path::new("/a/b.token"));
        assert_eq!(
            text,
            "# Written by `silo-upstream join`; `silo-upstream leave` removes it. All settings: `silo-upstream config-example`.\n\
             hub: [\"https://[fd00::1]:8053\", \"https://b/{a}\"]\n\
             token_file: \"b.token\"\n\
             pin_sha256: \"sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"\n\
             silo: \"no\"\n\
             hostnames: [\"true\", \"null\"]\n"
        );
        let read: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
        assert_eq!(read["hostnames"][1].as_str(), Some("null"));
        let downstream = terms(Agent::Downstream, "read", &["a", "b"], None).unwrap();
        let text = downstream.configuration(Agent::Downstream, &invitation, Path::new("/t"));
        assert!(text.ends_with("silos: [\"a\", \"b\"]\n"), "{text}");
    }
}
