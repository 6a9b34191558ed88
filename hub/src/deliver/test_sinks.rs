//! Sinks configured like an operator would, and events for them, for the tests of this folder.

use std::net::IpAddr;
use std::path::Path;

use serde::Deserialize;
use serde_yaml::Mapping;
use silo_shared::silo::{Addresses, Family, Hostname, SiloId, parse_address};

use crate::config::sinks::SinkSettings;
use crate::deliver::kinds::OpenSink;
use crate::deliver::sink::{Event, EventKind, EventSink, Sink};
use crate::domain::change::AddressChange;
use crate::domain::time::Time;

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

/// Opens the only sink of a YAML configuration, which gets every change.
pub(super) fn open_event_sink(folder: &Path, yaml: &str) -> Box<dyn EventSink> {
    match open(folder, yaml).unwrap().remove(0).sink {
        Sink::Event(sink) => sink,
        Sink::State(_) => panic!("it gets the current state"),
    }
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

/// A change of one address; an empty text means no address.
pub(super) fn change(hostname: &str, old: &str, new: &str) -> AddressChange {
    let ip = |text: &str| text.parse::<IpAddr>().ok();
    AddressChange {
        hostname: Hostname::parse(hostname).unwrap(),
        family: Family::of(ip(old).or(ip(new)).unwrap()),
        old: ip(old),
        new: ip(new),
    }
}

/// An event of the silo `office`, `id` seconds after 2026-01-02T03:04:05Z.
pub(super) fn event(id: i64, changes: Vec<AddressChange>) -> Event {
    Event {
        id,
        kind: EventKind::Change,
        silo: SiloId::parse("office").unwrap(),
        revision: (1000 + id).into(),
        at: Time::parse("2026-01-02T03:04:05Z")
            .unwrap()
            .plus_seconds(id),
        via: "rest".to_owned(),
        changes,
        notify: Vec::new(),
        last_seen: None,
        notified: Vec::new(),
        only_to: None,
        failure: None,
    }
}
