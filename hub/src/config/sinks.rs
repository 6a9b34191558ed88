//! The `sinks` of the hub's configuration: a list of mappings, each with `name`, `kind`, optionally `silos` and
//! `hostnames`, and the keys of its kind.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_yaml::{Mapping, Value};
use silo_shared::config::ConfigError;
use silo_shared::credential::Secret;
use silo_shared::held;

pub use crate::domain::sink::SinkKind;
use crate::domain::sink::{SinkFilter, SinkName, SinkSort};

/// The maximum size of a secret's file, in bytes.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// The configuration of one sink.
#[derive(Clone, Debug)]
pub struct SinkSettings {
    /// Its name.
    pub name: SinkName,
    /// Its kind.
    pub kind: SinkKind,
    /// Which changes it receives.
    pub filter: SinkFilter,
    /// The sink to notify of its failures.
    pub tell_failures: Option<SinkName>,
    /// The keys of its kind, and the directory of their file.
    own: OwnKeys,
}

/// The keys of a sink's kind.
#[derive(Clone)]
pub struct OwnKeys {
    sink: SinkName,
    pub(crate) keys: Mapping,
    folder: PathBuf,
}

impl fmt::Debug for OwnKeys {
    /// Omits the values, which may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.keys()).finish()
    }
}

/// The keys that every sink has.
#[derive(Default, Deserialize)]
#[serde(default)]
struct SharedKeys {
    name: String,
    kind: Option<SinkKind>,
    silos: Vec<String>,
    hostnames: Vec<String>,
    tell_failures: Option<String>,
}

impl SinkSettings {
    /// Reads the list from the file; relative paths in it are resolved against `folder`.
    pub fn read_list(list: Vec<Mapping>, folder: &Path) -> Result<Vec<Self>, ConfigError> {
        let mut sinks: Vec<Self> = Vec::with_capacity(list.len());
        for (index, keys) in list.into_iter().enumerate() {
            let sink = Self::read(index, keys, folder)?;
            if sinks.iter().any(|other| other.name == sink.name) {
                return Err(ConfigError::Setting(format!(
                    "sinks: duplicate name {}",
                    sink.name
                )));
            }
            sinks.push(sink);
        }
        for sink in &sinks {
            let Some(to) = &sink.tell_failures else {
                continue;
            };
            let hears = sinks.iter().find(|other| other.name == *to);
            let why = match hears.map(|other| other.kind.sort()) {
                _ if *to == sink.name => "a sink can't report its own failures".to_owned(),
                Some(SinkSort::Event) => continue,
                Some(SinkSort::State) => {
                    let kinds = SinkKind::of_sort(SinkSort::Event).join(" or ");
                    format!("only a sink of kind {kinds} can report failures")
                }
                None => "there is no such sink".to_owned(),
            };
            return Err(sink.own.wrong(format!("tell_failures: {to}: {why}")));
        }
        Ok(sinks)
    }

    fn read(index: usize, mut keys: Mapping, folder: &Path) -> Result<Self, ConfigError> {
        let wrong = |why: &dyn fmt::Display| ConfigError::Setting(format!("sinks[{index}]: {why}"));
        let mut shared = Mapping::new();
        for key in ["name", "kind", "silos", "hostnames", "tell_failures"] {
            if let Some(value) = keys.remove(key) {
                shared.insert(key.into(), value);
            }
        }
        let shared: SharedKeys =
            serde_yaml::from_value(Value::Mapping(shared)).map_err(|error| wrong(&error))?;
        let name = match shared.name.as_str() {
            "" => return Err(wrong(&"name is missing")),
            text => SinkName::parse(text).map_err(|error| wrong(&format!("name: {error}")))?,
        };
        let of_sink = |why: String| ConfigError::Setting(format!("sinks: {name}: {why}"));
        let kind = shared
            .kind
            .ok_or_else(|| of_sink("kind is missing".to_owned()))?;
        let tell_failures = shared.tell_failures.as_deref().map(SinkName::parse);
        let tell_failures = tell_failures
            .transpose()
            .map_err(|error| of_sink(format!("tell_failures: {error}")))?;
        let filter = SinkFilter {
            silos: shared.silos,
            hostnames: shared.hostnames,
            with_login: false,
        };
        let filter = filter.checked().map_err(|text| {
            of_sink(format!(
                "{text:?} in silos or hostnames can't match anything"
            ))
        })?;
        Ok(Self {
            own: OwnKeys {
                sink: name.clone(),
                keys,
                folder: folder.to_owned(),
            },
            name,
            kind,
            filter,
            tell_failures,
        })
    }

    /// The keys of its kind.
    pub fn own(&self) -> &OwnKeys {
        &self.own
    }
}

impl OwnKeys {
    /// Parses the keys into the settings type of the sink's kind, which refuses unknown ones (`deny_unknown_fields`).
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        serde_yaml::from_value(Value::Mapping(self.keys.clone())).map_err(|error| {
            // Only errors from text contain the key; their line number is not one of the operator's file.
            let text = serde_yaml::to_string(&self.keys).unwrap_or_default();
            let error = serde_yaml::from_str::<T>(&text).err().unwrap_or(error);
            let error = error.to_string();
            self.wrong(error.split(" at line ").next().unwrap_or(&error))
        })
    }

    /// An error that names the sink.
    pub fn wrong(&self, why: impl fmt::Display) -> ConfigError {
        ConfigError::Setting(format!("sinks: {}: {why}", self.sink))
    }

    /// The name of the sink with these keys.
    pub fn sink(&self) -> &SinkName {
        &self.sink
    }

    /// A path from the settings: a relative one is resolved against the configuration file's directory.
    pub fn path(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }

    /// The secret in a file, without the newline at its end. The file must not be readable for everyone.
    pub fn secret(&self, key: &str, path: &Path) -> Result<Secret, ConfigError> {
        read_secret(&self.path(path)).map_err(|why| self.wrong(format!("{key}: {why}")))
    }
}

/// Reads a file that contains a secret and must not be readable for everyone.
pub fn read_secret(path: &Path) -> Result<Secret, String> {
    let named = |why: &dyn fmt::Display| format!("{}: {why}", path.display());
    let file = held::retry(|| std::fs::File::open(path)).map_err(|error| named(&error))?;
    let metadata = file.metadata().map_err(|error| named(&error))?;
    if !metadata.is_file() {
        return Err(named(&"not a regular file"));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        if metadata.permissions().mode() & 0o007 != 0 {
            return Err(named(
                &"contains a secret but every user can read it: run `chmod 600` on it",
            ));
        }
    }
    #[cfg(windows)]
    if let Some(why) =
        silo_shared::windows::readable_by_others(path).map_err(|error| named(&error))?
    {
        return Err(named(&format_args!("contains a secret but {why}")));
    }
    let mut bytes = Vec::new();
    file.take(MAX_SECRET_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| named(&error))?;
    if bytes.len() as u64 > MAX_SECRET_BYTES {
        return Err(named(&"too large to hold a secret"));
    }
    let text = silo_shared::text::decode(&bytes).map_err(|error| named(&error))?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        return Err(named(&"is empty"));
    }
    Ok(Secret::new(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<SinkSettings>, String> {
        let list: Vec<Mapping> = serde_yaml::from_str(text).unwrap();
        SinkSettings::read_list(list, Path::new("/etc/silo")).map_err(|error| error.to_string())
    }

    #[test]
    fn wrong_settings_name_the_sink_and_the_key() {
        for (text, words) in [
            ("- kind: webhook", "sinks[0]: name is missing"),
            (
                "- {name: Hook, kind: webhook}",
                "sinks[0]: name: a sink's name has",
            ),
            ("- name: hook", "sinks: hook: kind is missing"),
            ("- {name: hook, kind: fax}", "unknown variant `fax`"),
            (
                "- {name: hook, kind: webhook, silos: office}",
                "invalid type",
            ),
            (
                "- {name: hook, kind: webhook, silos: [a/b]}",
                "sinks: hook: \"a/b\" in silos",
            ),
            (
                "[{name: hook, kind: webhook}, {name: hook, kind: email}]",
                "sinks: duplicate name hook",
            ),
            (
                "- {name: hook, kind: webhook, tell_failures: mail}",
                "sinks: hook: tell_failures: mail: there is no such sink",
            ),
            (
                "- {name: hook, kind: webhook, tell_failures: hook}",
                "sinks: hook: tell_failures: hook: a sink can't report its own failures",
            ),
            (
                "[{name: hook, kind: webhook, tell_failures: dns}, {name: dns, kind: rfc2136}]",
                "sinks: hook: tell_failures: dns: only a sink of kind email or webhook",
            ),
            (
                "- {name: hook, kind: webhook, tell_failures: A b}",
                "sinks: hook: tell_failures: a sink's name has",
            ),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn another_sink_may_hear_of_failures() {
        let sinks = read(
            "[{name: dns, kind: rfc2136, tell_failures: mail}, \
             {name: mail, kind: email, tell_failures: hook}, {name: hook, kind: webhook}]",
        );
        let targets: Vec<_> = sinks
            .unwrap()
            .into_iter()
            .map(|sink| sink.tell_failures.map(|name| name.to_string()))
            .collect();
        assert_eq!(
            targets,
            [Some("mail".to_owned()), Some("hook".to_owned()), None]
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_secret_must_not_be_readable_for_everyone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        assert!(read_secret(&path).unwrap_err().contains("secret: "));
        assert!(
            read_secret(folder.path())
                .unwrap_err()
                .contains("not a regular file")
        );
        std::fs::write(&path, "\n").unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |mode| std::fs::set_permissions(&path, PermissionsExt::from_mode(mode));
            mode(0o644).unwrap();
            assert!(read_secret(&path).unwrap_err().contains("chmod 600"));
            mode(0o640).unwrap();
        }
        assert!(read_secret(&path).unwrap_err().contains("is empty"));
        std::fs::write(&path, " hush \r\n").unwrap();
        assert_eq!(read_secret(&path).unwrap().expose(), " hush ");
    }
}
