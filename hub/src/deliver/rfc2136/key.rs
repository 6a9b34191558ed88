//! The signing key, from the settings or from a file in BIND's format.

use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hickory_proto::rr::rdata::tsig::TsigAlgorithm;
use hickory_proto::rr::{Name, TSigner};
use silo_shared::credential::Secret;

use crate::config::sinks::read_secret;

/// Maximum clock difference, in seconds (RFC 8945, section 10).
pub(super) const FUDGE_SECONDS: u16 = 300;

/// The source of the key.
#[derive(Debug)]
pub(super) enum KeySource {
    /// The settings, with the secret from a file read at start.
    Settings(Key),
    /// A file in BIND's format, read at every send: BIND writes a new session key at each start.
    File(PathBuf),
}

impl KeySource {
    /// The current key; the error names the file.
    pub(super) fn key(&self) -> Result<Key, String> {
        match self {
            Self::Settings(key) => Ok(key.clone()),
            Self::File(path) => {
                if is_yet_to_come(path) {
                    let at = path.display();
                    return Err(format!(
                        "{at}: not there yet (BIND writes it when it starts)"
                    ));
                }
                let text = read_secret(path)?;
                Key::parse_file(text.expose()).map_err(|why| format!("{}: {why}", path.display()))
            }
        }
    }
}

/// Whether a key file is missing or still empty: BIND may start after the hub and write it then.
pub(super) fn is_yet_to_come(path: &Path) -> bool {
    match std::fs::metadata(path) {
        Ok(metadata) => metadata.is_file() && metadata.len() == 0,
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

/// A key: name, algorithm and secret.
#[derive(Clone)]
pub(super) struct Key(TSigner);

impl fmt::Debug for Key {
    /// Omits the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<key {}>", self.0.signer_name())
    }
}

impl Key {
    /// Builds a key; the error names the invalid part, never the secret.
    pub(super) fn new(name: &str, algorithm: &str, secret: &Secret) -> Result<Self, String> {
        // The MAC covers the name in lower case (RFC 8945, section 4.3.3).
        let name = Name::from_ascii(name.to_ascii_lowercase())
            .ok()
            .filter(|name| !name.is_root() && !name.is_wildcard())
            .ok_or_else(|| format!("name: {name:?} is not a valid key name"))?;
        let algorithm = match algorithm.to_ascii_lowercase().trim_end_matches('.') {
            "hmac-sha256" => TsigAlgorithm::HmacSha256,
            "hmac-sha384" => TsigAlgorithm::HmacSha384,
            "hmac-sha512" => TsigAlgorithm::HmacSha512,
            _ => {
                return Err(format!(
                    "algorithm: {algorithm:?} is not one of hmac-sha256, hmac-sha384, hmac-sha512"
                ));
            }
        };
        let secret = STANDARD
            .decode(secret.expose().trim())
            .ok()
            .filter(|secret| !secret.is_empty())
            .ok_or("secret: not valid Base64")?;
        TSigner::new(secret, algorithm, name, FUDGE_SECONDS)
            .map(Self)
            .map_err(|error| error.to_string())
    }

    /// Signs and verifies messages.
    pub(super) fn signer(&self) -> &TSigner {
        &self.0
    }

    /// Parses a file written by `tsig-keygen` or BIND: one statement `key "name" { algorithm
    /// hmac-sha256; secret "base64"; };`.
    pub(super) fn parse_file(text: &str) -> Result<Self, String> {
        let mut words = Words { text, line: 1 };
        words.expect("key")?;
        let name = words.value("the key's name")?;
        words.expect("{")?;
        let (mut algorithm, mut secret) = (None, None);
        loop {
            match words.next()?.as_deref() {
                Some("algorithm") => algorithm = Some(words.value("an algorithm")?),
                Some("secret") => secret = Some(Secret::new(words.value("a secret")?)),
                Some("}") => break,
                // Omits the word, which may be the secret.
                _ => return Err(format!("line {}: expected algorithm or secret", words.line)),
            }
            words.expect(";")?;
        }
        words.expect(";")?;
        if words.next()?.is_some() {
            return Err(format!("line {}: more than one key", words.line));
        }
        let algorithm = algorithm.ok_or("no algorithm")?;
        let secret = secret.ok_or("no secret")?;
        Self::new(&name, &algorithm, &secret)
    }
}

/// The tokens of a file in BIND's format, without comments.
struct Words<'a> {
    text: &'a str,
    line: usize,
}

impl Words<'_> {
    fn skip(&mut self, bytes: usize) {
        let (skipped, rest) = self.text.split_at(bytes);
        self.line += skipped.matches('\n').count();
        self.text = rest;
    }

    fn skip_blanks(&mut self) -> Result<(), String> {
        loop {
            let blank = self.text.len() - self.text.trim_start().len();
            self.skip(blank);
            if self.text.starts_with('#') || self.text.starts_with("//") {
                self.skip(self.text.find('\n').unwrap_or(self.text.len()));
            } else if self.text.starts_with("/*") {
                let end = self.text[2..].find("*/");
                let end = end.ok_or_else(|| format!("line {}: unterminated comment", self.line))?;
                self.skip(end + 4);
            } else {
                return Ok(());
            }
        }
    }

    /// The next word, or one of `{`, `}` and `;`; a quoted string comes without quotes.
    fn next(&mut self) -> Result<Option<String>, String> {
        self.skip_blanks()?;
        let Some(first) = self.text.chars().next() else {
            return Ok(None);
        };
        if first == '"' {
            let end = self.text[1..].find(['"', '\n']);
            let end = end.filter(|end| self.text[1 + end..].starts_with('"'));
            let end = end.ok_or_else(|| format!("line {}: unterminated quote", self.line))?;
            let word = self.text[1..=end].to_owned();
            self.skip(end + 2);
            return Ok(Some(word));
        }
        let ends = |c: char| c.is_whitespace() || "{};\"".contains(c);
        let length = match self.text.find(ends) {
            Some(0) => first.len_utf8(),
            Some(end) => end,
            None => self.text.len(),
        };
        let word = self.text[..length].to_owned();
        self.skip(length);
        Ok(Some(word))
    }

    fn expect(&mut self, wanted: &str) -> Result<(), String> {
        let word = self.next()?;
        if word.as_deref() == Some(wanted) {
            Ok(())
        } else {
            Err(format!("line {}: {wanted} is missing", self.line))
        }
    }

    fn value(&mut self, what: &str) -> Result<String, String> {
        let word = self.next()?;
        word.filter(|word| !matches!(word.as_str(), "{" | "}" | ";" | ""))
            .ok_or_else(|| format!("line {}: {what} is missing", self.line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn name_of(text: &str) -> Result<String, String> {
        Key::parse_file(text).map(|key| key.signer().signer_name().to_string())
    }

    #[test]
    fn files_of_binds_form_are_read() {
        let plain = format!(
            "key \"local-ddns\" {{\n\talgorithm hmac-sha256;\n\tsecret \"{SECRET}\";\n}};\n"
        );
        assert_eq!(name_of(&plain), Ok("local-ddns.".to_owned()));
        let odd = format!(
            "# by hand\n// still\nkey Silo. {{ /* {{ */ secret {SECRET};\r\nalgorithm \"HMAC-SHA512.\"; }} ; # end"
        );
        assert_eq!(name_of(&odd), Ok("silo.".to_owned()));
        let key = Key::parse_file(&odd).unwrap();
        assert_eq!(key.signer().algorithm(), &TsigAlgorithm::HmacSha512);
        assert_eq!(key.signer().key(), (0..32).collect::<Vec<u8>>());
        assert!(!format!("{key:?}").contains(SECRET));
    }

    #[test]
    fn key_file_errors_name_the_line_and_hide_the_secret() {
        let key = |inner: &str| format!("key silo. {{\n{inner}\n}};\n");
        let whole = key(&format!("algorithm hmac-sha256; secret {SECRET};"));
        for (text, why) in [
            (String::new(), "line 1: key is missing"),
            ("key {".to_owned(), "line 1: the key's name is missing"),
            ("key silo. \nalgorithm".to_owned(), "line 2: { is missing"),
            (key(""), "no algorithm"),
            (key("algorithm hmac-sha256;"), "no secret"),
            (key("algorithm hmac-sha256"), "line 3: ; is missing"),
            (key("secret ;"), "line 2: a secret is missing"),
            (key("secret \"AAEC\n\""), "line 2: unterminated quote"),
            (key("/* algorithm"), "line 2: unterminated comment"),
            (key(SECRET), "line 2: expected algorithm or secret"),
            (
                key("algorithm hmac-md5; secret AAEC;"),
                "algorithm: \"hmac-md5\" is not one of hmac-sha256, hmac-sha384, hmac-sha512",
            ),
            (
                key("algorithm hmac-sha256; secret AAECAw;"),
                "secret: not valid Base64",
            ),
            (format!("{whole}{whole}"), "line 4: more than one key"),
        ] {
            assert_eq!(name_of(&text), Err(why.to_owned()), "{text:?}");
        }
    }
}
