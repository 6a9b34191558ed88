//! `silo-hub tls self-signed`: a self-signed certificate for a hub. Agents pin its key.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use rcgen::string::Ia5String;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, SanType,
};
use silo_shared::pin::Pin;
use silo_shared::private_file;
use thiserror::Error;

/// The maximum validity of a certificate, in days: well within the range of its dates.
pub(crate) const MAX_DAYS: u32 = 36_500;

/// Why no certificate was created.
#[derive(Debug, Error)]
pub(crate) enum SelfSignedError {
    /// The name can't be used in a certificate.
    #[error("--name {0}: neither a host name nor an IP address")]
    Name(String),
    /// The file exists already.
    #[error("{}: already exists and is not overwritten", .0.display())]
    Exists(PathBuf),
    /// A file can't be written.
    #[error("{}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        cause: std::io::Error,
    },
    /// The certificate library failed.
    #[error("cannot create a certificate: {0}")]
    Make(#[from] rcgen::Error),
}

/// The result.
#[derive(Debug)]
pub(crate) struct SelfSigned {
    /// The certificate's file.
    pub cert: PathBuf,
    /// The key's file, readable only by its owner.
    pub key: PathBuf,
    /// The pin for agents.
    pub pin: Pin,
}

/// Creates `cert.pem` and `key.pem` in a folder, for these host names and addresses, valid until `ends` (Unix time in
/// seconds); the validity begins a day before `now`, since clocks differ.
pub(crate) fn make(
    names: &[String],
    folder: &Path,
    now: i64,
    ends: i64,
) -> Result<SelfSigned, SelfSignedError> {
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    for file in [&cert, &key] {
        if file.symlink_metadata().is_ok() {
            return Err(SelfSignedError::Exists(file.clone()));
        }
    }
    let pair = KeyPair::generate()?;
    let made = params(names, now, ends)?.self_signed(&pair)?;
    let pin = Pin::of(made.der()).expect("a certificate that was just created can be parsed");
    std::fs::create_dir_all(folder).map_err(of_file(folder))?;
    // The key first: a leftover certificate would make the next try fail needlessly.
    write_new(&key, &pair.serialize_pem(), true)?;
    write_new(&cert, &made.pem(), false).inspect_err(|_| {
        // Best effort: the error that matters is returned.
        let _ = std::fs::remove_file(&key);
    })?;
    Ok(SelfSigned { cert, key, pin })
}

fn params(names: &[String], now: i64, ends: i64) -> Result<CertificateParams, SelfSignedError> {
    let mut params = CertificateParams::default();
    params.subject_alt_names = names
        .iter()
        .map(|name| san(name))
        .collect::<Result<_, _>>()?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, "Silo hub");
    params.distinguished_name = subject;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let day = |seconds: i64| -> Result<_, SelfSignedError> {
        let date = jiff::Timestamp::from_second(seconds)
            .unwrap_or(jiff::Timestamp::MAX)
            .to_zoned(jiff::tz::TimeZone::UTC)
            .date();
        let (month, day) = (date.month().unsigned_abs(), date.day().unsigned_abs());
        Ok(rcgen::date_time_ymd(date.year().into(), month, day))
    };
    params.not_before = day(now - 86_400)?;
    params.not_after = day(ends)?;
    Ok(params)
}

fn san(name: &str) -> Result<SanType, SelfSignedError> {
    if let Ok(ip) = name.parse() {
        return Ok(SanType::IpAddress(ip));
    }
    let wrong = || SelfSignedError::Name(name.to_owned());
    let bare = name.strip_prefix("*.").unwrap_or(name);
    let host = silo_shared::silo::Hostname::parse(bare);
    // `localhost` is not a valid record name, but a valid name of a hub.
    let text = match host {
        Ok(host) => name.replace(bare, host.as_str()),
        Err(_) if name == "localhost" => name.to_owned(),
        Err(_) => return Err(wrong()),
    };
    let text = Ia5String::try_from(text).map_err(|_| wrong())?;
    Ok(SanType::DnsName(text))
}

fn write_new(path: &Path, text: &str, is_private: bool) -> Result<(), SelfSignedError> {
    let created = if is_private {
        private_file::create_new(path)
    } else {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o644);
        options.open(path)
    };
    let mut file = created.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => SelfSignedError::Exists(path.to_owned()),
        _ => of_file(path)(error),
    })?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(|error| {
            // A partial file would make the next try fail.
            let _ = std::fs::remove_file(path);
            of_file(path)(error)
        })
}

fn of_file(path: &Path) -> impl FnOnce(std::io::Error) -> SelfSignedError {
    let path = path.to_owned();
    move |cause| SelfSignedError::File { path, cause }
}
