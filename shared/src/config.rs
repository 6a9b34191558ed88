//! YAML files into typed settings.
//!
//! Settings types derive `Deserialize` with `deny_unknown_fields`; an error then names the file, the
//! line and the key. A missing file is told apart from a wrong one, so that a default path may be absent.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserializer;
use serde::de::{self, DeserializeOwned, Visitor};
use thiserror::Error;

/// Why a configuration can't be used. Every program ends with exit code 2 on it.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// There is no such file.
    #[error("{}: there is no such file", .0.display())]
    Missing(PathBuf),
    /// The file can't be read.
    #[error("{path}: {cause}", path = .0.display(), cause = .1)]
    Unreadable(PathBuf, #[source] std::io::Error),
    /// The file is no YAML, or a key or value in it is wrong.
    #[error("{path}: {cause}", path = .0.display(), cause = .1)]
    Invalid(PathBuf, String),
    /// A setting, wherever it came from, is missing or wrong.
    #[error("{0}")]
    Setting(String),
}

impl ConfigError {
    /// A file that can't be read, told apart from one that is not there.
    pub(crate) fn of_file(path: &Path, error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::NotFound => Self::Missing(path.to_owned()),
            _ => Self::Unreadable(path.to_owned(), error),
        }
    }
}

/// Reads a YAML file into settings. An empty file gives the defaults.
pub fn read_yaml<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    parse_yaml(path, &read_text(path)?)
}

/// Reads a file as text, for those who look at it before they parse it.
pub fn read_text(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|error| ConfigError::of_file(path, error))
}

/// Parses the text of a YAML file; `path` is for the error alone.
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
        // The reader leaves out where an unknown key stands when that is the file's first character.
        if words.starts_with("unknown field") && !words.contains(" at line ") {
            words += " at line 1 column 1";
        }
        ConfigError::Invalid(path.to_owned(), words)
    })
}

/// Deserializes a text and parses it; a refusal then carries the line and the key.
///
/// An error raised after `String::deserialize` has returned carries neither: the YAML reader marks only
/// what a visitor refuses.
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
    fn a_file_that_is_no_mapping_is_told_so() {
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

    #[test]
    fn a_missing_file_is_told_apart() {
        let error = read_yaml::<Settings>(Path::new("/does/not/exist.yaml")).unwrap_err();
        assert!(matches!(error, ConfigError::Missing(_)), "{error}");
    }
}
