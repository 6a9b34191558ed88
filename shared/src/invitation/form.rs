//! The line of an invitation: `silo-invite:1:` and base64url of a JSON object, a dot, and a checksum. It says where the
//! hub is and has a key that counts for one exchange. What it grants is not in it: the hub's signed answer says that.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use url::Url;

use crate::connection::parse_hub_url;
use crate::credential::{Credential, Secret};
use crate::pin::Pin;

/// The maximum length of an invitation, in characters.
pub const MAX_INVITATION: usize = 1024;
/// The maximum number of URLs in an invitation.
const MAX_HUBS: usize = 8;
/// How every invitation begins.
const PREFIX: &str = "silo-invite:";
/// The version of the form.
const VERSION: &str = "1";
/// The length of the checksum, in characters: a mistyped line passes once in 2^36.
const CHECKSUM: usize = 6;

/// A parsed invitation.
#[derive(Clone, PartialEq, Eq)]
pub struct Invitation {
    hubs: Vec<String>,
    pin: Option<Pin>,
    key: Credential,
}

/// Why a text is not an invitation that this program can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidInvitation {
    /// The prefix is missing.
    #[error("not an invitation: it begins with silo-invite:1:")]
    Prefix,
    /// It is of another version.
    #[error("this invitation has another form than this program knows: install a newer version")]
    Version,
    /// It is too long.
    #[error("an invitation has at most {MAX_INVITATION} characters")]
    Length,
    /// The checksum does not match.
    #[error(
        "the invitation is incomplete or mistyped (its checksum is wrong): copy the whole line"
    )]
    Checksum,
    /// The checksum is right, the content is not.
    #[error("the invitation is malformed: {0}")]
    Content(&'static str),
}

/// The JSON in the line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    hub: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pin: Option<String>,
    key: String,
}

impl Invitation {
    /// An invitation to the hub at these URLs, in order of precedence, with its pin if it is known by its own key.
    /// `key` is a credential that counts for the exchange alone.
    pub fn new(
        hubs: Vec<String>,
        pin: Option<Pin>,
        key: Credential,
    ) -> Result<Self, InvalidInvitation> {
        if hubs.is_empty() || hubs.len() > MAX_HUBS {
            return Err(InvalidInvitation::Content(
                "it needs 1 to 8 URLs of the hub",
            ));
        }
        for hub in &hubs {
            check_hub(hub)?;
        }
        let invitation = Self { hubs, pin, key };
        if invitation.encode().expose().len() > MAX_INVITATION {
            return Err(InvalidInvitation::Length);
        }
        Ok(invitation)
    }

    /// Parses a line; blanks around it do not count.
    pub fn parse(text: &str) -> Result<Self, InvalidInvitation> {
        use InvalidInvitation as Invalid;
        let text = text.trim();
        let rest = text.strip_prefix(PREFIX).ok_or(Invalid::Prefix)?;
        let (version, rest) = rest.split_once(':').ok_or(Invalid::Prefix)?;
        if version != VERSION {
            return Err(Invalid::Version);
        }
        if text.len() > MAX_INVITATION {
            return Err(Invalid::Length);
        }
        let (content, given) = rest.split_once('.').ok_or(Invalid::Checksum)?;
        let checked = &text[..text.len() - given.len() - 1];
        if given != checksum(checked) {
            return Err(Invalid::Checksum);
        }
        let json = URL_SAFE_NO_PAD
            .decode(content)
            .map_err(|_| Invalid::Content("it is not base64url"))?;
        let content: Content = serde_json::from_slice(&json)
            .map_err(|_| Invalid::Content("it is not an object of hub, pin and key"))?;
        let pin = content.pin.map(|pin| pin.parse());
        let pin = pin
            .transpose()
            .map_err(|_| Invalid::Content("the pin is not one"))?;
        let key =
            Credential::parse(&content.key).map_err(|_| Invalid::Content("the key is not one"))?;
        Self::new(content.hub, pin, key)
    }

    /// The line.
    pub fn encode(&self) -> Secret {
        let content = Content {
            hub: self.hubs.clone(),
            pin: self.pin.map(|pin| pin.to_string()),
            key: self.key.expose().to_owned(),
        };
        let json = serde_json::to_vec(&content).expect("it has string keys only");
        let mut text = format!("{PREFIX}{VERSION}:{}", URL_SAFE_NO_PAD.encode(json));
        let checksum = checksum(&text);
        text.push('.');
        text += &checksum;
        Secret::new(text)
    }

    /// The hub's URLs, in order of precedence, at least one; each is one that [`parse_hub_url`] accepts.
    pub fn hubs(&self) -> &[String] {
        &self.hubs
    }

    /// The pin of the hub's key.
    pub fn pin(&self) -> Option<Pin> {
        self.pin
    }

    /// The key of the exchange.
    pub fn key(&self) -> &Credential {
        &self.key
    }
}

impl fmt::Debug for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invitation")
            .field("hubs", &self.hubs)
            .field("pin", &self.pin)
            .field("key", &self.key)
            .finish()
    }
}

/// Whether a URL may be in an invitation: one that agents accept. It is printed, so it has no control characters.
pub fn check_hub(hub: &str) -> Result<Url, InvalidInvitation> {
    const WHY: InvalidInvitation =
        InvalidInvitation::Content("a URL of the hub is http://HOST:PORT or https://HOST");
    if !hub.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(WHY);
    }
    parse_hub_url(hub).map_err(|_| WHY)
}

/// The first characters of base64url of the SHA-256.
fn checksum(text: &str) -> String {
    let mut checksum = URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_bytes()));
    checksum.truncate(CHECKSUM);
    checksum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> Credential {
        Credential::parse(&format!("silo_abcdefgh12_{}", "x".repeat(43))).unwrap()
    }

    fn line(json: &str) -> String {
        let text = format!("silo-invite:1:{}", URL_SAFE_NO_PAD.encode(json));
        let checksum = checksum(&text);
        format!("{text}.{checksum}")
    }

    #[test]
    fn the_line_has_one_form() {
        let invitation = Invitation::new(vec!["http://hub.lan:8053".to_owned()], None, key());
        let line = invitation.unwrap().encode();
        let text = line.expose();
        // Computed by another program.
        assert_eq!(
            text,
            "silo-invite:1:eyJodWIiOlsiaHR0cDovL2h1Yi5sYW46ODA1MyJdLCJrZXkiOiJzaWxvX2FiY2RlZmdoMTJfeHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eCJ9.5wavNj"
        );
    }

    #[test]
    fn what_is_made_is_read_and_hides_its_key() {
        let pin: Pin = format!("sha256//{}", "A".repeat(43) + "=").parse().unwrap();
        let hubs = vec![
            "https://a.lan".to_owned(),
            "https://[fd00::1]:8053".to_owned(),
        ];
        let made = Invitation::new(hubs.clone(), Some(pin), key()).unwrap();
        let text = made.encode();
        let read = Invitation::parse(&format!(" {}\r\n", text.expose())).unwrap();
        assert_eq!(read, made);
        assert_eq!((read.hubs(), read.pin()), (&hubs[..], Some(pin)));
        assert_eq!(read.key().expose(), key().expose());
        assert!(!format!("{read:?}").contains("xxx"));
        assert_eq!(format!("{text:?}"), "<secret>");
    }

    #[test]
    fn what_is_wrong_is_said() {
        use InvalidInvitation as Invalid;
        let good = line(&format!(
            r#"{{"hub":["http://h"],"key":"{}"}}"#,
            key().expose()
        ));
        assert!(Invitation::parse(&good).is_ok());
        let with = |hub: &str, more: &str| {
            line(&format!(
                r#"{{"hub":{hub},"key":"{}"{more}}}"#,
                key().expose()
            ))
        };
        let content = |text: String| match Invitation::parse(&text) {
            Err(Invalid::Content(why)) => why,
            other => panic!("{text}: {other:?}"),
        };
        for (text, expected) in [
            (String::new(), Invalid::Prefix),
            ("silo-invite:".to_owned(), Invalid::Prefix),
            (key().expose().to_owned(), Invalid::Prefix),
            (good.replace(":1:", ":2:"), Invalid::Version),
            (good[..good.len() - 1].to_owned(), Invalid::Checksum),
            (format!("{good}x"), Invalid::Checksum),
            (good.replace('.', ""), Invalid::Checksum),
            (good.replace(":1:e", ":1:f"), Invalid::Checksum),
            (
                with(&format!(r#"["http://{}"]"#, "a".repeat(900)), ""),
                Invalid::Length,
            ),
        ] {
            assert_eq!(Invitation::parse(&text), Err(expected), "{text}");
        }
        for hub in [
            "[]",
            r#"["ftp://h"]"#,
            r#"["http://u:p@h"]"#,
            r#"["http://h?q"]"#,
            r#"["http://h/\u0007"]"#,
            r#"["http://h","nonsense"]"#,
        ] {
            assert!(content(with(hub, "")).contains("URL"), "{hub}");
        }
        assert!(content(with(r#"["http://h"]"#, r#","pin":"x""#)).contains("pin"));
        assert!(content(with(r#"["http://h"]"#, r#","silo":"x""#)).contains("object"));
        assert!(content(with(r#""http://h""#, "")).contains("object"));
        assert!(content(line(r#"{"hub":["http://h"],"key":"x"}"#)).contains("key"));
        let text = "silo-invite:1:!!";
        assert!(content(format!("{text}.{}", checksum(text))).contains("base64url"));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC*", at in 0..200_usize, to in any::<char>()) {
            let _ = Invitation::parse(&text);
            let _ = Invitation::parse(&format!("silo-invite:1:{text}"));
            let good = line(&format!(r#"{{"hub":["http://h"],"key":"{}"}}"#, key().expose()));
            let changed: String = good.chars().enumerate()
                .map(|(index, c)| if index == at { to } else { c })
                .collect();
            if changed != good && !to.is_whitespace() {
                prop_assert!(Invitation::parse(&changed).is_err());
            }
        }
    }
}
