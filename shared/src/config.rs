//! Reads YAML files into typed settings.
//!
//! Settings types derive `Deserialize` with `deny_unknown_fields`; an error then names the file, the
//! line and the key. A missing file is distinguished from an invalid one, so that a default path may be absent.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, SeqAccess, Visitor};
use thiserror::Error;

use crate::held;
use crate::text::{self, NotText};
use crate::trusted_file::NotTrusted;

/// Why a configuration can't be used. Every program then ends with exit code 2, except [where another program holds the
/// file](ConfigError::is_usage).
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file does not exist.
    #[error("{}: there is no such file", .0.display())]
    Missing(PathBuf),
    /// The file can't be read.
    #[error("{path}: {cause}{advice}", path = .0.display(), cause = .1, advice = held::advice(.1))]
    Unreadable(PathBuf, #[source] std::io::Error),
    /// The file is not YAML, or a key or value in it is wrong.
    #[error("{path}: {cause}", path = .0.display(), cause = .1)]
    Invalid(PathBuf, String),
    /// The file is not UTF-8 text.
    #[error("{path}: {cause}", path = .0.display(), cause = .1)]
    NotText(PathBuf, NotText),
    /// Users other than root can change a file of an agent that runs as root.
    #[error(transparent)]
    NotTrusted(#[from] NotTrusted),
    /// A setting from any source is missing or wrong.
    #[error("{0}")]
    Setting(String),
}

impl ConfigError {
    /// Whether no later run can succeed until something is changed. A file that another program holds (Windows) is free
    /// again some time.
    pub fn is_usage(&self) -> bool {
        !matches!(self, Self::Unreadable(_, cause) if held::is_held(cause))
    }

    /// The error for a file that can't be read; a missing one is distinguished.
    pub(crate) fn of_file(path: &Path, error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::NotFound => Self::Missing(path.to_owned()),
            _ => Self::Unreadable(path.to_owned(), error),
        }
    }
}

/// Reads a YAML file into settings. An empty file results in the defaults.
pub fn read_yaml<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    parse_yaml(path, &read_text(path)?)
}

/// Reads a file as text, for callers that inspect it before parsing. Removes a byte order mark.
pub fn read_text(path: &Path) -> Result<String, ConfigError> {
    let bytes = held::read(path).map_err(|error| ConfigError::of_file(path, error))?;
    text::decode(&bytes)
        .map(str::to_owned)
        .map_err(|error| ConfigError::NotText(path.to_owned(), error))
}

/// The path in the setting `setting` of an agent's configuration file `config`: a relative one is resolved against the
/// file's folder.
///
/// Fails if it does not exist there, but exists relative to the working directory, as older versions resolved it.
pub fn beside(config: &Path, setting: &str, path: PathBuf) -> Result<PathBuf, ConfigError> {
    if path.is_absolute() {
        return Ok(path);
    }
    let config =
        std::path::absolute(config).map_err(|error| ConfigError::of_file(config, error))?;
    let beside = config.parent().unwrap_or(Path::new("/")).join(&path);
    let is_there = |path: &Path| std::fs::symlink_metadata(path).is_ok();
    match std::path::absolute(&path) {
        // As the user wrote it, if both are the same.
        Ok(from_here) if from_here == beside => Ok(path),
        Ok(from_here) if !is_there(&beside) && is_there(&from_here) => {
            Err(ConfigError::Setting(format!(
                "{setting}: relative paths are resolved from the folder of {}; {} does not exist, but {} does: write the absolute path",
                config.display(),
                beside.display(),
                from_here.display()
            )))
        }
        _ => Ok(beside),
    }
}

/// Parses the text of a YAML file; `path` is used only for errors.
pub fn parse_yaml<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, ConfigError> {
    let only_comments = text
        .lines()
        .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
    let text = if only_comments { "{}" } else { text };
    serde_yaml::from_str(text).map_err(|error| {
        if let Ok(value) = serde_yaml::from_str::<serde_yaml::Value>(text)
            && !value.is_mapping()
        {
            let words = "the file must be a mapping of settings (`key: value`)".to_owned();
            return ConfigError::Invalid(path.to_owned(), words);
        }
        let mut words = error.to_string();
        // The parser omits the position of an unknown key at the file's first character.
        if words.starts_with("unknown field") && !words.contains(" at line ") {
            words += " at line 1 column 1";
        }
        ConfigError::Invalid(path.to_owned(), words)
    })
}

/// Deserializes a text and parses it; an error then contains the line and the key.
///
/// An error raised after `String::deserialize` has returned contains neither: the YAML reader adds them only to errors
/// of a visitor.
pub fn deserialize_text<'de, D, T, E>(
    deserializer: D,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    E: fmt::Display,
{
    struct Text<P>(P);

    impl<T, E: fmt::Display, P: FnOnce(&str) -> Result<T, E>> Visitor<'_> for Text<P> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text")
        }

        fn visit_str<F: de::Error>(self, text: &str) -> Result<T, F> {
            (self.0)(text).map_err(F::custom)
        }
    }

    deserializer.deserialize_str(Text(parse))
}

/// Deserializes a text, or a list of texts, and parses each; an error then contains the line and the key.
pub fn deserialize_texts<'de, D, T, E>(
    deserializer: D,
    parse: fn(&str) -> Result<T, E>,
) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    E: fmt::Display,
{
    struct Texts<T, E>(fn(&str) -> Result<T, E>);
    struct Text<T, E>(fn(&str) -> Result<T, E>);

    impl<'de, T, E: fmt::Display> Visitor<'de> for Texts<T, E> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text or a list of texts")
        }

        fn visit_str<F: de::Error>(self, text: &str) -> Result<Vec<T>, F> {
            Ok(vec![(self.0)(text).map_err(F::custom)?])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
            let mut all = Vec::new();
            while let Some(item) = list.next_element_seed(Text(self.0))? {
                all.push(item);
            }
            Ok(all)
        }
    }

    impl<'de, T, E: fmt::Display> DeserializeSeed<'de> for Text<T, E> {
        type Value = T;

        fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
            deserialize_text(deserializer, self.0)
        }
    }

    deserializer.deserialize_any(Texts(parse))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Settings {
        listen: Option<u16>,
    }

    #[test]
    fn errors_name_file_line_and_key() {
        let parse = |text| parse_yaml::<Settings>(Path::new("hub.yaml"), text);
        assert_eq!(parse("listen: 5\n").unwrap().listen, Some(5));
        assert_eq!(parse("# only this\n\n").unwrap().listen, None);
        let unknown = parse("listen: 5\nlisten_to: 6\n").unwrap_err().to_string();
        assert!(unknown.starts_with("hub.yaml: "), "{unknown}");
        assert!(
            unknown.contains("listen_to") && unknown.contains("line 2"),
            "{unknown}"
        );
        let first = parse("listen_to: 6\n").unwrap_err().to_string();
        assert!(first.ends_with("at line 1 column 1"), "{first}");
        let wrong = parse("listen: many\n").unwrap_err().to_string();
        assert!(
            wrong.contains("listen") && wrong.contains("line 1"),
            "{wrong}"
        );
    }

    #[test]
    fn a_file_that_is_not_a_mapping_is_named() {
        for text in ["- listen\n", "listen\n", "5\n", "~\n", "[]\n", "listen=5\n"] {
            let error = parse_yaml::<Settings>(Path::new("hub.yaml"), text).unwrap_err();
            assert_eq!(
                error.to_string(),
                "hub.yaml: the file must be a mapping of settings (`key: value`)",
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_refused_text_is_named_with_line_and_key() {
        #[derive(Debug, Deserialize)]
        struct Silos {
            silos: Vec<crate::silo::SiloId>,
        }
        let parse = |text| parse_yaml::<Silos>(Path::new("a.yaml"), text);
        assert_eq!(parse("silos: [office, 7]\n").unwrap().silos.len(), 2);
        let error = parse("silos:\n- office\n- a/b\n").unwrap_err().to_string();
        assert!(
            error.contains("silos[1]") && error.contains("line 3"),
            "{error}"
        );
    }

    // Its paths are those of Unix.
    #[cfg(unix)]
    #[test]
    fn relative_paths_begin_at_the_file_and_are_never_mistaken() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("agent.yaml");
        std::fs::write(folder.path().join("token"), "").unwrap();
        let find = |path: &str| beside(&config, "token_file", PathBuf::from(path));
        assert_eq!(find("/etc/token").unwrap(), Path::new("/etc/token"));
        assert_eq!(find("token").unwrap(), folder.path().join("token"));
        // Missing in both: reported at the expected place.
        assert_eq!(find("none").unwrap(), folder.path().join("none"));
        // The tests run in the package's folder, which has a manifest.
        let error = find("Cargo.toml").unwrap_err().to_string();
        let here = std::path::absolute("Cargo.toml").unwrap();
        for path in [folder.path().join("Cargo.toml"), here] {
            assert!(error.contains(&path.display().to_string()), "{error}");
        }
        assert!(error.starts_with("token_file: "), "{error}");
    }

    #[test]
    fn a_byte_order_mark_is_left_out_and_utf_16_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "\u{feff}listen: 5\n").unwrap();
        assert_eq!(read_yaml::<Settings>(file.path()).unwrap().listen, Some(5));
        let utf16: Vec<u8> = "\u{feff}listen: 5\n"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        std::fs::write(file.path(), utf16).unwrap();
        let error = read_yaml::<Settings>(file.path()).unwrap_err().to_string();
        assert!(
            error.contains("it is UTF-16") && error.contains("save it as UTF-8"),
            "{error}"
        );
    }

    #[test]
    fn a_missing_file_is_distinguished_from_other_errors() {
        let error = read_yaml::<Settings>(Path::new("/does/not/exist.yaml")).unwrap_err();
        assert!(matches!(error, ConfigError::Missing(_)), "{error}");
    }
}
