//! Maps records to their names at the provider.

use std::collections::BTreeMap;

use serde::Deserialize;
use silo_shared::silo::Hostname;

/// How to derive a record's name at the provider.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Names {
    /// Appended to single labels; longer names must be inside it.
    pub(super) domain: Option<Hostname>,
    /// The provider's name for single records. Takes precedence over the domain.
    pub(super) hosts: BTreeMap<Hostname, Hostname>,
}

impl Names {
    /// Checks that names are configured and that no name is used for two records.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.is_empty() {
            return Err(
                "set the names of records at the provider: `domain: example.net` (db becomes \
                 db.example.net) or `hosts: {db: home.example.net}`"
                    .to_owned(),
            );
        }
        self.check_each()
    }

    /// Whether no names are configured.
    pub(super) fn is_empty(&self) -> bool {
        self.domain.is_none() && self.hosts.is_empty()
    }

    /// Checks that no name is used for two records.
    pub(super) fn check_each(&self) -> Result<(), String> {
        let mut owners = BTreeMap::new();
        for (hostname, name) in &self.hosts {
            if let Some(other) = owners.insert(name, hostname) {
                return Err(format!("hosts: {other} and {hostname} are both {name}"));
            }
        }
        Ok(())
    }

    /// The provider's name for a record, or why it has none.
    pub(super) fn of(&self, hostname: &Hostname) -> Result<String, String> {
        if let Some(name) = self.hosts.get(hostname) {
            return Ok(name.to_string());
        }
        let Some(domain) = &self.domain else {
            return Err("not one of `hosts`".to_owned());
        };
        let name = if hostname.is_single_label() && hostname != domain {
            Hostname::parse(&format!("{hostname}.{domain}"))
                .map_err(|error| format!("with {domain} appended: {error}"))?
        } else if is_within(hostname, domain) {
            hostname.clone()
        } else {
            return Err(format!("not within {domain}"));
        };
        match self.hosts.iter().find(|(_, taken)| **taken == name) {
            Some((owner, _)) => Err(format!("{name} is the name of {owner} in `hosts`")),
            None => Ok(name.to_string()),
        }
    }
}

fn is_within(hostname: &Hostname, domain: &Hostname) -> bool {
    let above = hostname.as_str().strip_suffix(domain.as_str());
    above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Hostname {
        Hostname::parse(text).unwrap()
    }

    fn names(domain: Option<&str>, hosts: &[(&str, &str)]) -> Names {
        Names {
            domain: domain.map(name),
            hosts: hosts.iter().map(|(a, b)| (name(a), name(b))).collect(),
        }
    }

    #[test]
    fn a_domain_is_put_behind_single_labels_and_bounds_longer_names() {
        let names = names(Some("example.net"), &[("nas", "home.example.org")]);
        for (record, expected) in [
            ("db", Ok("db.example.net")),
            ("nas", Ok("home.example.org")),
            ("db.example.net", Ok("db.example.net")),
            ("a.b.example.net", Ok("a.b.example.net")),
            ("example.net", Ok("example.net")),
            ("db.example.org", Err("not within example.net")),
            ("myexample.net", Err("not within example.net")),
        ] {
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(names.of(&name(record)), expected, "{record}");
        }
        let long = format!("{}.{}", "a".repeat(60), "b".repeat(63));
        let names = self::names(Some(&format!("{long}.{long}")), &[]);
        let error = names.of(&name(&"c".repeat(40))).unwrap_err();
        assert!(
            error.ends_with("a hostname has at most 253 characters"),
            "{error}"
        );
    }

    #[test]
    fn a_list_of_hosts_takes_only_those() {
        let names = names(None, &[("db", "home.example.net")]);
        assert_eq!(names.of(&name("db")), Ok("home.example.net".to_owned()));
        assert_eq!(names.of(&name("web")), Err("not one of `hosts`".to_owned()));
    }

    #[test]
    fn no_name_is_given_twice() {
        let twice = names(None, &[("a", "x.example.net"), ("b", "x.example.net")]);
        assert_eq!(
            twice.check(),
            Err("hosts: a and b are both x.example.net".to_owned())
        );
        let names = names(Some("example.net"), &[("db", "web.example.net")]);
        names.check().unwrap();
        let taken = "web.example.net is the name of db in `hosts`";
        assert_eq!(names.of(&name("web")), Err(taken.to_owned()));
        assert_eq!(names.of(&name("web.example.net")), Err(taken.to_owned()));
        let error = Names::default().check().unwrap_err();
        assert!(
            error.contains("domain") && error.contains("hosts"),
            "{error}"
        );
    }
}
