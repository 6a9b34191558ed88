//! The kinds of sinks. Opens each from its settings.

use ring::digest;
use silo_shared::config::ConfigError;
use silo_shared::credential::Secret;

use super::sink::Sink;
use super::{dyndns2, email, plesk, rfc2136, webhook};
use crate::auth::secrets::{HubKey, hex};
use crate::config::sinks::SinkSettings;
use crate::domain::sink::{SinkFilter, SinkKind, SinkName, SinkSort};

/// A sink, ready to use.
#[derive(Debug)]
pub struct OpenSink {
    /// Its name.
    pub name: SinkName,
    /// Its kind.
    pub kind: SinkKind,
    /// The changes it receives.
    pub filter: SinkFilter,
    /// Changes with any setting or secret of the receiver.
    pub fingerprint: String,
    /// The sink that receives its failures.
    pub tell_failures: Option<SinkName>,
    /// The implementation.
    pub sink: Sink,
}

impl OpenSink {
    /// Reads the keys of the sink's kind and the files that they name.
    pub fn open(settings: &SinkSettings) -> Result<Self, ConfigError> {
        let (sink, secrets) = match settings.kind {
            SinkKind::Rfc2136 => rfc2136::open(settings.own()),
            SinkKind::Dyndns2 => dyndns2::open(settings.own()),
            SinkKind::Plesk => plesk::open(settings.own()),
            SinkKind::Email => email::open(settings.own()),
            SinkKind::Webhook => webhook::open(settings.own()),
        }?;
        let sort = match &sink {
            Sink::State(_) => SinkSort::State,
            Sink::Event(_) => SinkSort::Event,
        };
        debug_assert_eq!(sort, settings.kind.sort(), "the sort in domain/sink.rs");
        let with_login = matches!(&sink, Sink::State(sink) if sink.wants_logins());
        Ok(Self {
            name: settings.name.clone(),
            kind: settings.kind,
            filter: SinkFilter {
                with_login,
                ..settings.filter.clone()
            },
            fingerprint: fingerprint(settings, &secrets),
            tell_failures: settings.tell_failures.clone(),
            sink,
        })
    }

    /// Makes the fingerprint safe to store: a reader can't test guessed secrets against it. Also
    /// gives the sink the key.
    #[must_use]
    pub fn keyed(mut self, key: &HubKey) -> Self {
        if let Sink::State(sink) = &mut self.sink {
            sink.take_key(key);
        }
        Self {
            fingerprint: key.keyed_hash("silo sink settings v1", &self.fingerprint),
            ..self
        }
    }
}

/// Changes with any setting or secret of the receiver. The filter is tracked separately.
fn fingerprint(settings: &SinkSettings, secrets: &[Secret]) -> String {
    let mut hash = digest::Context::new(&digest::SHA256);
    let keys = serde_yaml::to_string(&settings.own().keys).unwrap_or_default();
    let text = format!("{}\n{keys}", settings.kind.as_str());
    for part in std::iter::once(text.as_str()).chain(secrets.iter().map(Secret::expose)) {
        hash.update(&(part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hex(hash.finish().as_ref())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_yaml::Mapping;

    use super::*;

    #[test]
    fn the_fingerprint_differs_with_a_setting_or_a_secret() {
        let one = |text: &str| {
            let list: Vec<Mapping> = serde_yaml::from_str(text).unwrap();
            SinkSettings::read_list(list, Path::new("/etc/silo"))
                .unwrap()
                .remove(0)
        };
        let plain = one("- {name: hook, kind: webhook, url: a}");
        let secret = |text: &str| [Secret::new(text)];
        let first = fingerprint(&plain, &secret("x"));
        assert_eq!(
            first,
            fingerprint(&one("- {name: hook, url: a, kind: webhook}"), &secret("x"))
        );
        assert_ne!(first, fingerprint(&plain, &secret("y")));
        assert_ne!(first, fingerprint(&plain, &[]));
        for other in [
            "- {name: hook, kind: webhook, url: b}",
            "- {name: hook, kind: email, url: a}",
        ] {
            assert_ne!(first, fingerprint(&one(other), &secret("x")), "{other}");
        }
        assert!(!first.contains('x') && first.len() == 64);
    }

    /// The page that the list of kinds in `docs/deliveries.md` names for a kind, and what the list says that it gets.
    fn row(kind: SinkKind) -> (String, String) {
        let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        let list = std::fs::read_to_string(pages.join("deliveries.md")).unwrap();
        let start = format!("| `{}` |", kind.as_str());
        let row = list.lines().find(|line| line.starts_with(&start));
        let row = row.unwrap_or_else(|| panic!("docs/deliveries.md has no row {start}"));
        let cells: Vec<_> = row.split(" | ").collect();
        let link = cells[3].split(['(', ')']).nth(1).unwrap();
        let page = std::fs::read_to_string(pages.join(link)).unwrap();
        (cells[2].to_owned(), page)
    }

    #[test]
    fn the_documentation_has_each_kind() {
        for kind in SinkKind::ALL {
            let (gets, page) = row(*kind);
            let expected = match kind.sort() {
                SinkSort::State => "the current state",
                SinkSort::Event => "every change",
            };
            assert_eq!(gets, expected, "{kind:?}");
            let setting = format!("kind: {}", kind.as_str());
            assert!(page.contains(&setting), "its page has no `{setting}`");
        }
    }
}
