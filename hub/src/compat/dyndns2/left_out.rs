//! What the log says of an update's values that are not used. Called by `update_request` alone.

use std::fmt;

/// The most values that a log line names.
const MAX_NAMED: usize = 4;
/// The longest name of a parameter in a message, in characters.
pub(super) const MAX_NAME: usize = 64;
/// The longest value in a message, in characters: an IPv6 address with a length behind it.
const MAX_VALUE: usize = 49;

/// What an update holds beside an address that is set, for the log: each parameter by its name, and why its value
/// is not used. Values show only as far as they look like addresses, since some clients put a password there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LeftOut {
    named: Vec<String>,
    more: usize,
}

impl LeftOut {
    pub(super) fn add(&mut self, value: impl FnOnce() -> String) {
        match self.named.len() {
            0..MAX_NAMED => self.named.push(value()),
            _ => self.more += 1,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.named.is_empty()
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.named.join("; "))?;
        match self.more {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

/// A value for a message, clipped; `None`: it does not look like an address. That is one of only what addresses have,
/// and with something that keys and passwords in hex have not.
pub(super) fn shown(text: &str) -> Option<String> {
    let of_addresses = |c: char| c.is_ascii_hexdigit() || matches!(c, '.' | ':' | '/' | '[' | ']');
    let is_one = text.contains(['.', ':']) && text.chars().all(of_addresses);
    is_one.then(|| text.chars().take(MAX_VALUE).collect())
}
