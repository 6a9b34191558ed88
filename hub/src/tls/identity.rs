//! Loads certificate and key from PEM files, with errors that name the setting and the file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{Error, InconsistentKeys, ServerConfig};
use silo_shared::pin::Pin;
use thiserror::Error;

use super::TlsSettings;
use crate::domain::time::Time;

/// Why the certificate or its key can't be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("tls.{field}: {}: {why}", path.display())]
pub struct TlsError {
    /// The setting for the file.
    pub field: &'static str,
    /// The file.
    pub path: PathBuf,
    /// The reason.
    pub why: String,
}

/// The content of both files. Not printed, since it includes the key.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Files {
    cert: Vec<u8>,
    key: Vec<u8>,
}

/// A certificate chain and its key.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    certified: Arc<CertifiedKey>,
}

impl Files {
    /// Reads both; refuses a key that every user of the machine can read, on Windows any other user.
    pub(super) fn read(settings: &TlsSettings) -> Result<Self, TlsError> {
        let read = |field, path: &Path| {
            silo_shared::held::read(path).map_err(|error| refuse(field, path, error.to_string()))
        };
        let files = Self {
            cert: read("cert", &settings.cert)?,
            key: read("key", &settings.key)?,
        };
        check_private(&settings.key)?;
        Ok(files)
    }

    /// Parses certificate and key from PEM; `settings` is used for errors.
    pub(super) fn identity(&self, settings: &TlsSettings) -> Result<Identity, TlsError> {
        let wrong_cert = |why: &str| refuse("cert", &settings.cert, why);
        let wrong_key = |why: &str| refuse("key", &settings.key, why);
        let chain = CertificateDer::pem_slice_iter(&self.cert)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| wrong_cert("a PEM certificate in it is broken"))?;
        if chain.is_empty() {
            return Err(wrong_cert("holds no PEM certificate"));
        }
        if Pin::of(&chain[0]).is_none() {
            return Err(match version(&chain[0]) {
                Some(old @ (1 | 2)) => wrong_cert(&format!(
                    "its first certificate is of X.509 version {old}, and TLS clients take version 3 only (`openssl x509 -req` makes version 1 unless it is given extensions): create a new certificate and key with `silo-hub tls self-signed --name HOST --out FOLDER`"
                )),
                _ => wrong_cert("its first certificate can't be read"),
            });
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| {
            wrong_key("holds no PEM private key (one with a passphrase can't be used)")
        })?;
        match CertifiedKey::from_der(chain, key, &default_provider()) {
            Ok(certified) => Ok(Identity {
                certified: Arc::new(certified),
            }),
            Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                Err(wrong_key(&format!(
                    "this is not the key of the certificate in {}",
                    settings.cert.display()
                )))
            }
            Err(_) => Err(wrong_key(
                "a key of this kind can't be used: RSA of 2048 to 8192 bits, ECDSA on P-256 or P-384, or Ed25519",
            )),
        }
    }
}

impl Identity {
    /// Reads both files.
    pub(crate) fn open(settings: &TlsSettings) -> Result<Self, TlsError> {
        Files::read(settings)?.identity(settings)
    }

    /// The pin for agents.
    pub(crate) fn pin(&self) -> Pin {
        let end = &self.certified.cert[0];
        Pin::of(end).expect("it was read when the identity was opened")
    }

    /// The pin for machines that learn it from the hub alone: only of a certificate that is self-signed. Agents verify
    /// others by their issuer, and those who renew them often make a new key, which would lock pinned agents out.
    pub(crate) fn invitation_pin(&self) -> Option<Pin> {
        is_self_signed(&self.certified.cert[0]).then(|| self.pin())
    }

    /// When the certificate expires; `None`: it can't be read.
    pub(crate) fn not_after(&self) -> Option<Time> {
        not_after(&self.certified.cert[0])
    }

    /// TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1, with this identity for any server name.
    pub(super) fn server_config(&self) -> Arc<ServerConfig> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has what TLS 1.2 and 1.3 need")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(
                &self.certified,
            ))));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    }
}

/// The version of an X.509 certificate (RFC 5280 section 4.1): a field with the tag `[0]` at the beginning of the
/// signed part, which version 1 omits. `None`: not a certificate.
fn version(certificate: &[u8]) -> Option<u8> {
    let signed_part = content(0x30, content(0x30, certificate)?)?;
    match signed_part.first()? {
        // The serial number.
        0x02 => Some(1),
        0xa0 => match content(0x02, content(0xa0, signed_part)?)? {
            [version] => version.checked_add(1),
            _ => None,
        },
        _ => None,
    }
}

/// The fields of an X.509 certificate of version 3 from its issuer on (RFC 5280 section 4.1).
fn from_issuer(certificate: &[u8]) -> Option<&[u8]> {
    let signed_part = content(0x30, content(0x30, certificate)?)?;
    let (_, rest) = element(0xa0, signed_part)?;
    let (_, rest) = element(0x02, rest)?;
    let (_, rest) = element(0x30, rest)?;
    Some(rest)
}

/// Whether a certificate names itself as its issuer. One that can't be read does not count as such.
fn is_self_signed(certificate: &[u8]) -> bool {
    let names = || {
        let (issuer, rest) = element(0x30, from_issuer(certificate)?)?;
        let (_, rest) = element(0x30, rest)?;
        Some((issuer, content(0x30, rest)?))
    };
    names().is_some_and(|(issuer, subject)| issuer == subject)
}

/// When a certificate expires: the second time of its validity, which follows the issuer.
fn not_after(certificate: &[u8]) -> Option<Time> {
    let (_, rest) = element(0x30, from_issuer(certificate)?)?;
    let validity = content(0x30, rest)?;
    let after_first = element(0x17, validity)
        .or_else(|| element(0x18, validity))?
        .1;
    let utc_time = content(0x17, after_first);
    let digits = match utc_time {
        // Two digits of the year, from 1950 to 2049 (section 4.1.2.5.1).
        Some(time) => {
            let time = std::str::from_utf8(time).ok()?;
            let century = if time.get(..2)? < "50" { "20" } else { "19" };
            format!("{century}{time}")
        }
        None => std::str::from_utf8(content(0x18, after_first)?)
            .ok()?
            .to_owned(),
    };
    let part = |from: usize, to: usize| digits.get(from..to);
    let (date, time) = (
        [part(0, 4)?, part(4, 6)?, part(6, 8)?].join("-"),
        [part(8, 10)?, part(10, 12)?, part(12, 14)?].join(":"),
    );
    (digits.get(14..) == Some("Z"))
        .then(|| Time::parse(&format!("{date}T{time}Z")))
        .flatten()
}

/// The content of the DER element at the beginning of `bytes`, if it has this tag.
fn content(tag: u8, bytes: &[u8]) -> Option<&[u8]> {
    element(tag, bytes).map(|(content, _)| content)
}

/// The same, with what follows the element.
fn element(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        // Longer lengths begin with their number of bytes.
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(length - 0x80))?;
            let length = digits
                .iter()
                .fold(0, |all, digit| all << 8 | usize::from(*digit));
            (length, rest)
        }
        _ => return None,
    };
    (first == tag)
        .then(|| rest.split_at_checked(length))
        .flatten()
}

fn refuse(field: &'static str, path: &Path, why: impl Into<String>) -> TlsError {
    TlsError {
        field,
        path: path.to_owned(),
        why: why.into(),
    }
}

/// A group may read the key, as Debian's `ssl-cert` group does.
#[cfg(unix)]
fn check_private(key: &Path) -> Result<(), TlsError> {
    use std::os::unix::fs::PermissionsExt;
    let metadata = std::fs::metadata(key).map_err(|error| refuse("key", key, error.to_string()))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o007 == 0 {
        return Ok(());
    }
    let path = key.display();
    Err(refuse(
        "key",
        key,
        format!(
            "its mode is {mode:04o}, so that every user can reach it: run `chmod 600 {path}`, or 640 for a group"
        ),
    ))
}

#[cfg(windows)]
fn check_private(key: &Path) -> Result<(), TlsError> {
    match silo_shared::windows::readable_by_others(key) {
        Ok(None) => Ok(()),
        Ok(Some(why)) => Err(refuse("key", key, why)),
        Err(error) => Err(refuse("key", key, error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_certificate_that_names_itself_as_issuer_is_self_signed() {
        let key = rcgen::KeyPair::generate().unwrap();
        let named = |name: &str| {
            let mut parameters = rcgen::CertificateParams::new(vec!["hub".to_owned()]).unwrap();
            parameters
                .distinguished_name
                .push(rcgen::DnType::CommonName, name);
            parameters
        };
        let own = named("hub").self_signed(&key).unwrap();
        assert!(is_self_signed(own.der()));
        let authority_key = rcgen::KeyPair::generate().unwrap();
        let authority = named("authority");
        let authority = rcgen::Issuer::from_params(&authority, &authority_key);
        let issued = named("hub").signed_by(&key, &authority).unwrap();
        assert!(!is_self_signed(issued.der()));
        for broken in [&own.der()[..40], b"", b"\x30\x00"] {
            assert!(!is_self_signed(broken));
        }
    }

    #[test]
    fn the_end_of_a_certificate_is_read() {
        let key = rcgen::KeyPair::generate().unwrap();
        for (year, month, day) in [(2027, 3, 9), (2049, 12, 31), (2050, 1, 1), (4096, 1, 1)] {
            let mut parameters = rcgen::CertificateParams::new(vec!["hub".to_owned()]).unwrap();
            parameters.not_after = rcgen::date_time_ymd(year, month, day);
            let certificate = parameters.self_signed(&key).unwrap();
            let end = Time::parse(&format!("{year}-{month:02}-{day:02}T00:00:00Z"));
            assert!(end.is_some());
            let der = certificate.der();
            assert_eq!(not_after(der), end);
            for cut in 0..der.len() {
                assert_eq!(not_after(&der[..cut]), None, "{cut}");
            }
        }
    }
}
