//! `silo-hub tls`: self-signed certificates.

use std::path::PathBuf;

use crate::domain::time::Clock;
use crate::tls::self_signed::{MAX_DAYS, SelfSignedError, make};
use clap::Subcommand;

use super::{Failure, say};

const DAY_SECONDS: i64 = 86_400;

#[derive(Debug, Subcommand)]
pub(super) enum TlsCommand {
    /// Create a self-signed cert.pem and key.pem, and print the settings for the hub and the agents
    SelfSigned {
        /// A host name or IP address of the hub; may be repeated
        #[arg(
            long = "name",
            value_name = "NAME",
            required = true,
            value_delimiter = ','
        )]
        names: Vec<String>,
        /// Folder for both files
        #[arg(long, value_name = "DIR", default_value = ".")]
        out: PathBuf,
        /// The certificate's validity in days
        #[arg(long, default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_DAYS)))]
        days: u32,
    },
}

/// Creates a certificate and prints how to use it.
pub(super) fn tls(command: TlsCommand) -> Result<(), Failure> {
    let TlsCommand::SelfSigned { names, out, days } = command;
    let now = Clock::System.now().as_millis() / 1000;
    let made = make(&names, &out, now, now + i64::from(days) * DAY_SECONDS)?;
    let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
    let (cert, key) = (absolute(made.cert), absolute(made.key));
    say(format_args!(
        "# the hub's configuration\n\
         tls:\n  \
           cert: {}\n  \
           key: {}\n\n\
         # each agent's configuration, with `hub: https://{}:8053`\n\
         pin_sha256: {}",
        quoted(&cert),
        quoted(&key),
        host(&names[0]),
        made.pin
    ))
}

/// A path as a quoted YAML string.
fn quoted(path: &std::path::Path) -> String {
    serde_json::Value::from(path.to_string_lossy()).to_string()
}

fn host(name: &str) -> String {
    match name.parse::<std::net::Ipv6Addr>() {
        Ok(ip) => format!("[{ip}]"),
        Err(_) => name.replacen('*', "hub", 1),
    }
}

impl From<SelfSignedError> for Failure {
    fn from(error: SelfSignedError) -> Self {
        match error {
            SelfSignedError::Name(_) | SelfSignedError::Exists(_) => Self::Usage(error.to_string()),
            SelfSignedError::File { .. } | SelfSignedError::Make(_) => {
                Self::Failed(error.to_string())
            }
        }
    }
}
