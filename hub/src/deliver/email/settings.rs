//! The keys of an `email` sink.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use lettre::message::{Mailbox, Mailboxes};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde::Deserialize;
use serde_yaml::Value;
use silo_shared::config::ConfigError;
use silo_shared::credential::Secret;

use super::render::Templates;
use super::smtp::{Security, SmtpServer};
use super::template::Template;
use crate::config::sinks::OwnKeys;

/// Default number of attempts before a mail is given up.
const MAX_ATTEMPTS: i64 = 20;
/// Maximum of `digest`.
const MAX_DIGEST: Duration = Duration::from_secs(24 * 3600);
/// Minimum of `unseen_after`: last-seen times are written at most once a minute.
const MIN_UNSEEN_AFTER: Duration = Duration::from_secs(60);

/// The keys as read from the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EmailKeys {
    smtp: Option<SmtpKeys>,
    sendmail: Option<PathBuf>,
    from: String,
    to: Option<Value>,
    allow_to: Option<Value>,
    subject: Option<String>,
    text: Option<String>,
    html: Option<String>,
    digest: Option<Value>,
    unseen_after: Option<Value>,
    max_attempts: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SmtpKeys {
    host: String,
    port: Option<u16>,
    #[serde(default)]
    tls: TlsMode,
    username: Option<String>,
    password_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    hello: Option<String>,
    #[serde(default)]
    allow_plaintext_password: bool,
}

/// How the connection is encrypted.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum TlsMode {
    #[default]
    Starttls,
    Tls,
    None,
}

/// How mails are sent.
pub(super) enum Transport {
    /// To an SMTP server.
    Smtp(Box<SmtpServer>),
    /// Through a program that reads the mail from its standard input.
    Sendmail(PathBuf),
}

impl std::fmt::Display for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Smtp(server) => server.fmt(f),
            Self::Sendmail(program) => program.display().fmt(f),
        }
    }
}

/// The checked settings.
pub(super) struct EmailSettings {
    /// How mails are sent.
    pub(super) transport: Transport,
    /// The sender.
    pub(super) from: Mailbox,
    /// Receivers of every change.
    pub(super) to: Vec<Mailbox>,
    /// Globs, in lower case, for the addresses that a record may name. Empty: records may name none.
    pub(super) allow_to: Vec<String>,
    /// The templates.
    pub(super) templates: Templates,
    /// How long changes are collected for one mail.
    pub(super) digest: Duration,
    /// Time without a write after which a record is reported.
    pub(super) unseen_after: Option<Duration>,
    /// Attempts before a mail is given up.
    pub(super) max_attempts: i64,
}

impl EmailSettings {
    /// Reads the keys and the files that they name; returns the secrets separately.
    pub(super) fn read(own: &OwnKeys) -> Result<(Self, Vec<Secret>), ConfigError> {
        let keys: EmailKeys = own.parse()?;
        let mut secrets = Vec::new();
        let transport = match (&keys.smtp, &keys.sendmail) {
            (Some(smtp), None) => {
                let (server, password) = smtp.server(own)?;
                secrets.extend(password);
                Transport::Smtp(Box::new(server))
            }
            (None, Some(_)) if !cfg!(unix) => {
                return Err(own.wrong("sendmail is for hubs on Unix: use smtp"));
            }
            (None, Some(program)) => Transport::Sendmail(own.path(program)),
            _ => return Err(own.wrong("one of smtp and sendmail must be given, and not both")),
        };
        let allow_to = texts(own, "allow_to", keys.allow_to.as_ref())?;
        let allow_to = allow_to.iter().enumerate().map(|(index, pattern)| {
            let why = "not a pattern such as \"*@example.net\"";
            address_pattern(pattern).ok_or_else(|| own.wrong(format!("allow_to[{index}]: {why}")))
        });
        let to = texts(own, "to", keys.to.as_ref())?;
        let to = to.iter().enumerate();
        let to = to.map(|(index, text)| mailbox(own, &format!("to[{index}]"), text));
        let settings = Self {
            transport,
            from: mailbox(own, "from", &keys.from)?,
            to: to.collect::<Result<_, _>>()?,
            allow_to: allow_to.collect::<Result<_, _>>()?,
            templates: keys.templates(own)?,
            digest: duration(own, "digest", keys.digest.as_ref())?.unwrap_or_default(),
            unseen_after: duration(own, "unseen_after", keys.unseen_after.as_ref())?,
            max_attempts: keys.max_attempts.unwrap_or(MAX_ATTEMPTS),
        };
        settings.check().map_err(|why| own.wrong(why))?;
        Ok((settings, secrets))
    }

    fn check(&self) -> Result<(), &'static str> {
        if self.to.is_empty() && self.allow_to.is_empty() {
            Err("`to` is empty and `allow_to` allows no address: set one of them")
        } else if self.digest > MAX_DIGEST {
            Err("digest: at most 24h")
        } else if self
            .unseen_after
            .is_some_and(|time| time < MIN_UNSEEN_AFTER)
        {
            Err("unseen_after: at least 1m")
        } else if self.max_attempts < 1 {
            Err("max_attempts: at least 1")
        } else {
            Ok(())
        }
    }
}

impl EmailKeys {
    fn templates(&self, own: &OwnKeys) -> Result<Templates, ConfigError> {
        let parse = |key: &str, text: &Option<String>| {
            let template = text.as_deref().map(Template::parse).transpose();
            template.map_err(|why| own.wrong(format!("{key}: {why}")))
        };
        if let Some(subject) = &self.subject
            && (subject.trim().is_empty() || subject.chars().any(char::is_control))
        {
            return Err(own.wrong("subject: must be one line, and not empty"));
        }
        Ok(Templates {
            subject: parse("subject", &self.subject)?,
            text: parse("text", &self.text)?,
            html: parse("html", &self.html)?,
        })
    }
}

impl SmtpKeys {
    fn server(&self, own: &OwnKeys) -> Result<(SmtpServer, Option<Secret>), ConfigError> {
        let wrong = |why: &str| own.wrong(format!("smtp: {why}"));
        if ServerName::try_from(self.host.as_str()).is_err() {
            return Err(wrong("host: neither a hostname nor an IP address"));
        }
        if self.port == Some(0) {
            return Err(wrong("port: 0 is not a valid port"));
        }
        let password = match (&self.username, &self.password_file) {
            (None, None) => None,
            (Some(_), Some(file)) => Some(own.secret("smtp: password_file", file)?),
            _ => return Err(wrong("username and password_file belong together")),
        };
        if self.tls == TlsMode::None {
            if self.ca_file.is_some() {
                return Err(wrong(
                    "ca_file: there is no certificate to check with tls: none",
                ));
            }
            if password.is_some() && !is_loopback(&self.host) && !self.allow_plaintext_password {
                return Err(wrong(
                    "tls: none would send the password in clear text; set \
                     allow_plaintext_password: true to accept this",
                ));
            }
        }
        let hello = match &self.hello {
            None => ClientId::default(),
            Some(name) if name.bytes().all(|b| b.is_ascii_graphic()) && !name.is_empty() => {
                ClientId::Domain(name.clone())
            }
            Some(_) => return Err(wrong("hello: not a hostname")),
        };
        let (security, usual_port) = match self.tls {
            TlsMode::None => (Security::None, 25),
            TlsMode::Starttls => (Security::StartTls(self.tls_parameters(own)?), 587),
            TlsMode::Tls => (Security::Tls(self.tls_parameters(own)?), 465),
        };
        let credentials = self.username.clone().zip(password.clone());
        let server = SmtpServer {
            host: self.host.clone(),
            port: self.port.unwrap_or(usual_port),
            security,
            credentials: credentials
                .map(|(name, password)| Credentials::new(name, password.expose().to_owned())),
            hello,
        };
        Ok((server, password))
    }

    fn tls_parameters(&self, own: &OwnKeys) -> Result<TlsParameters, ConfigError> {
        let mut builder = TlsParameters::builder(self.host.clone());
        if let Some(file) = &self.ca_file {
            let path = own.path(file);
            let wrong = |why: &dyn std::fmt::Display| {
                own.wrong(format!("smtp: ca_file: {}: {why}", path.display()))
            };
            let pem = std::fs::read(&path).map_err(|error| wrong(&error))?;
            // For lettre, a file without certificates would mean trusting none.
            let readable = CertificateDer::pem_slice_iter(&pem)
                .try_fold(0, |count, found| found.map(|_| count + 1));
            let certificate = Certificate::from_pem(&pem)
                .ok()
                .filter(|_| readable.is_ok_and(|count| count > 0))
                .ok_or_else(|| wrong(&"holds no PEM certificate"))?;
            builder = builder
                .certificate_store(CertificateStore::None)
                .add_root_certificate(certificate);
        }
        builder
            .build()
            .map_err(|error| own.wrong(format!("smtp: certificates: {error}")))
    }
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Parses one mailbox, such as `silo@example.net` or `Silo <silo@example.net>`.
fn mailbox(own: &OwnKeys, key: &str, text: &str) -> Result<Mailbox, ConfigError> {
    // The parser of a single mailbox ignores what follows it.
    let mut all = text.parse::<Mailboxes>().into_iter().flatten();
    match (all.next(), all.next()) {
        (Some(one), None) => Ok(one),
        _ => Err(own.wrong(format!("{key}: not a single mail address"))),
    }
}

/// A glob for addresses, in lower case.
fn address_pattern(text: &str) -> Option<String> {
    let fits = text.contains(['@', '*'])
        && !text.contains(|c: char| c.is_control() || c.is_whitespace() || c == ',');
    fits.then(|| text.to_lowercase())
}

/// A list of texts; a single text is accepted too.
fn texts<'a>(
    own: &OwnKeys,
    key: &str,
    value: Option<&'a Value>,
) -> Result<Vec<&'a str>, ConfigError> {
    let all = match value {
        None => Some(Vec::new()),
        Some(Value::String(text)) => Some(vec![text.as_str()]),
        Some(Value::Sequence(list)) => list.iter().map(Value::as_str).collect(),
        Some(_) => None,
    };
    all.ok_or_else(|| own.wrong(format!("{key}: not a list of strings")))
}

/// A duration such as `90s`, `1m` or `2h`. The unit is required.
fn duration(
    own: &OwnKeys,
    key: &str,
    value: Option<&Value>,
) -> Result<Option<Duration>, ConfigError> {
    let Some(value) = value else { return Ok(None) };
    let time = value
        .as_str()
        .and_then(|text| text.parse::<jiff::SignedDuration>().ok())
        .and_then(|time| Duration::try_from(time).ok());
    let why = || own.wrong(format!("{key}: not a time such as 90s, 1m or 2h"));
    time.map(Some).ok_or_else(why)
}

#[cfg(test)]
#[cfg(unix)]
#[path = "settings_tests.rs"]
mod tests;
