//! The origins of pages: those that may call the hub from a browser, and the hub's own.

use std::str::FromStr;

use serde::{Deserialize, Deserializer};
use silo_shared::config::deserialize_text;
use url::Url;

/// An origin as browsers send it (RFC 6454 section 6.2): scheme, host, and a port that is not the scheme's default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    /// Parses an origin; the error says what is wrong.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const FORM: &str = "write an origin as https://home.lan or http://10.0.0.5:8123: scheme, host and port alone";
        if text == "*" || text == "null" {
            return Err("name each origin: pages of all others must not call the hub");
        }
        let url = Url::parse(text).map_err(|_| FORM)?;
        let is_bare = matches!(url.scheme(), "http" | "https")
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        // The parser takes what browsers take in an address, such as backslashes and blanks.
        let is_plain =
            text.bytes().all(|byte| byte.is_ascii_graphic()) && !text.contains(['\\', '*']);
        if is_bare && is_plain {
            Ok(Self(url.origin().ascii_serialization()))
        } else {
            Err(FORM)
        }
    }

    /// The origin as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Origin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        Self::parse(text)
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer, Self::parse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_read_as_browsers_send_them() {
        for (text, origin) in [
            ("https://home.lan", Some("https://home.lan")),
            ("https://home.lan/", Some("https://home.lan")),
            ("HTTPS://Home.LAN:443", Some("https://home.lan")),
            ("http://home.lan:8123", Some("http://home.lan:8123")),
            ("http://[fd00::5]:80", Some("http://[fd00::5]")),
            ("https://b\u{fc}ro.lan", None),
            ("https://home.lan/page", None),
            ("https://home.lan?x", None),
            ("https://home.lan#x", None),
            ("https://me@home.lan", None),
            ("https://*.lan", None),
            ("https://home.lan, https://b.lan", None),
            ("https:\\\\home.lan", None),
            ("home.lan", None),
            ("home.lan:8123", None),
            ("ftp://home.lan", None),
            ("file:///x", None),
            ("null", None),
            ("*", None),
            ("", None),
        ] {
            let found = Origin::parse(text).ok();
            assert_eq!(found.as_ref().map(Origin::as_str), origin, "{text}");
        }
    }
}
