//! Sinks configured like an operator would, for the tests of this folder.

use std::path::Path;

use serde::Deserialize;
use serde_yaml::Mapping;
use silo_shared::silo::{Addresses, parse_address};

use crate::config::sinks::SinkSettings;
use crate::deliver::kinds::OpenSink;

/// Writes a file that only its owner can read.
pub(super) fn write_secret(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
}

/// Opens the sinks of a YAML configuration; returns errors as text.
pub(super) fn open(folder: &Path, yaml: &str) -> Result<Vec<OpenSink>, String> {
    #[derive(Deserialize)]
    struct File {
        sinks: Vec<Mapping>,
    }
    let file: File = serde_yaml::from_str(yaml).unwrap();
    let settings = SinkSettings::read_list(file.sinks, folder).map_err(|e| e.to_string())?;
    let open =
        |settings: &SinkSettings| OpenSink::open(settings).map_err(|error| error.to_string());
    settings.iter().map(open).collect()
}

/// The code blocks of a language in a documentation page.
pub(super) fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    page.split(&format!("```{language}\n"))
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect()
}

/// Addresses, separated by blanks.
pub(super) fn addresses(text: &str) -> Addresses {
    text.split_whitespace()
        .map(|ip| parse_address(ip).unwrap())
        .collect()
}
