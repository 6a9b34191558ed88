//! Names or globs of silos and hostnames, as tokens and sinks are limited by them.

use silo_shared::silo::{Hostname, SiloId};

/// A silo's id in its stored form, or a glob in lower case; `None`: it can match nothing.
pub fn silo_pattern(text: &str) -> Option<String> {
    pattern(text, |name| {
        SiloId::parse(name).ok().map(|id| id.to_string())
    })
}

/// A hostname in its stored form, or a glob in lower case; `None`: it can match nothing.
pub fn hostname_pattern(text: &str) -> Option<String> {
    pattern(text, |name| {
        Hostname::parse(name).ok().map(|name| name.to_string())
    })
}

fn pattern(text: &str, name: impl Fn(&str) -> Option<String>) -> Option<String> {
    if !text.contains('*') {
        return name(text);
    }
    let valid = text.len() <= 253
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-*".contains(&b));
    valid.then(|| text.to_ascii_lowercase())
}
