//! `compat` of the hub's configuration.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use silo_shared::config::deserialize_text;
use silo_shared::silo::{Hostname, SiloId, glob_matches};

use crate::domain::pattern::hostname_pattern;

/// Foreign protocols that are disabled by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Compat {
    /// Also accept sftdyn's update keys directly after the root's slash.
    pub sftdyn: bool,
    /// dynahost's `/update` and `/log`.
    pub dynahost: Option<Dynahost>,
}

/// Where dynahost clients may write.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dynahost {
    /// The silo for all of them.
    pub silo: SiloId,
    /// The hostnames that this protocol may use.
    pub hostnames: Hostnames,
}

/// Names or globs of hostnames; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hostnames(Vec<String>);

impl Hostnames {
    /// Whether a hostname matches.
    pub fn has(&self, hostname: &Hostname) -> bool {
        self.0
            .iter()
            .any(|glob| glob_matches(glob, hostname.as_str()))
    }
}

impl fmt::Display for Hostnames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

/// An entry of the list.
struct Pattern(String);

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer, |text| {
            hostname_pattern(text)
                .map(Self)
                .ok_or_else(|| format!("{text:?} can't match any hostname"))
        })
    }
}

impl<'de> Deserialize<'de> for Hostnames {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = Hostnames;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of hostnames or globs")
            }

            // Errors from here contain line and key.
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Hostnames, A::Error> {
                let mut patterns = Vec::new();
                while let Some(Pattern(pattern)) = list.next_element()? {
                    patterns.push(pattern);
                }
                if patterns.is_empty() {
                    return Err(A::Error::custom(
                        "an empty list would allow nothing: name hostnames or globs, \"*\" for any",
                    ));
                }
                Ok(Hostnames(patterns))
            }
        }

        deserializer.deserialize_seq(List)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use silo_shared::config::parse_yaml;

    use crate::config::settings::HubFile;

    #[test]
    fn wrong_settings_are_named_with_file_line_and_key() {
        for (text, words) in [
            ("{silo: home}", &["hub.yaml: ", "`hostnames`"][..]),
            ("{hostnames: [a]}", &["hub.yaml: ", "`silo`"]),
            (
                "{silo: ho/me, hostnames: [a]}",
                &["compat.dynahost.silo", "line 1"],
            ),
            (
                "{silo: home, hostnames: []}",
                &["compat.dynahost.hostnames", "empty", "line 1"],
            ),
            (
                "{silo: home, hostnames: [a, 'b c']}",
                &["compat.dynahost.hostnames[1]", "\"b c\"", "line 1"],
            ),
            (
                "{silo: home, hostnames: a}",
                &["compat.dynahost.hostnames", "a list"],
            ),
            (
                "{silo: home, hostnames: [a], colour: red}",
                &["`colour`", "line 1"],
            ),
            ("true", &["compat.dynahost"]),
        ] {
            let text = format!("compat: {{dynahost: {text}}}\n");
            let error = parse_yaml::<HubFile>(Path::new("hub.yaml"), &text).unwrap_err();
            let error = error.to_string();
            for word in words {
                assert!(error.contains(word), "{text}: {error}");
            }
        }
    }
}
