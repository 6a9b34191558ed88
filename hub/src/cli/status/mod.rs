//! `silo-hub status`: how a running hub is. On its own machine it is found by the file that `serve` writes into the data
//! directory; elsewhere by its URL, with a token.

mod render;

use std::fs;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use clap::Args;
use silo_shared::agent_name::AgentKind;
use silo_shared::client::{ClientError, HubClient, Route};
use silo_shared::connection::{AuthMode, ConnectionSettings};
use silo_shared::credential::Secret;
use silo_shared::pin::Pins;

use super::{Failure, say};
use crate::config::settings::HubSettings;
use crate::http::status::Status;
use crate::runtime::run_file::{self, RunDocument};

/// The width of a terminal that does not say it.
const USUAL_WIDTH: usize = 80;
/// Lines longer than this are hard to read, however wide the terminal is.
const WIDEST: usize = 120;

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// URL of the hub, if it does not run on this machine
    #[arg(long, value_name = "URL", requires = "token_file")]
    hub: Option<String>,
    /// File with a token of the role metrics or admin, for --hub
    #[arg(long, value_name = "FILE", requires = "hub")]
    token_file: Option<PathBuf>,
    /// PEM file with the certificates to trust instead of the system's, for --hub
    #[arg(long, value_name = "FILE", requires = "hub")]
    ca_file: Option<PathBuf>,
    /// The hub's public key, as `tls self-signed` prints it, for --hub
    #[arg(long, value_name = "PIN", requires = "hub")]
    pin_sha256: Option<Pins>,
    /// Print the facts as JSON
    #[arg(long)]
    json: bool,
}

/// Prints how the hub is.
pub(super) async fn status(settings: &HubSettings, args: StatusArgs) -> Result<(), Failure> {
    let is_json = args.json;
    let asked = match &args.hub {
        Some(_) => ask(far(args)).await,
        None => {
            let found = run_file::read(&settings.data_dir)?;
            let path = run_file::path_in(&settings.data_dir);
            match found {
                None => {
                    return Err(Failure::Failed(format!(
                        "no hub is running with this data directory: there is no {}",
                        path.display()
                    )));
                }
                Some(found) => {
                    let asked = ask(near(&found)?).await;
                    asked.map_err(|failure| explain(failure, &found, &path.display()))
                }
            }
        }
    };
    let status = asked?;
    if is_json {
        let text = serde_json::to_string_pretty(&status)
            .map_err(|error| Failure::Failed(error.to_string()))?;
        say(format_args!("{text}"))?;
    } else {
        print(&status)?;
    }
    if status.is_well {
        Ok(())
    } else {
        Err(Failure::Printed)
    }
}

fn print(status: &Status) -> Result<(), Failure> {
    let stdout = std::io::stdout();
    // In a pipe, lines are as long as they are.
    let width = stdout.is_terminal().then(|| {
        let told = terminal_size::terminal_size();
        let width = told.map_or(USUAL_WIDTH, |(width, _)| usize::from(width.0));
        width.clamp(40, WIDEST)
    });
    let text = render::render(status, width);
    let mut stdout = anstream::AutoStream::auto(stdout);
    stdout.write_all(text.as_bytes())?;
    Ok(())
}

/// The connection from afar.
fn far(args: StatusArgs) -> ConnectionSettings {
    ConnectionSettings {
        hubs: args.hub.into_iter().collect(),
        token_file: args.token_file,
        ca_file: args.ca_file,
        pins: args.pin_sha256,
        ..ConnectionSettings::default()
    }
}

/// The connection to the hub that wrote a file.
fn near(found: &RunDocument) -> Result<ConnectionSettings, Failure> {
    let broken = || Failure::Failed("run.json is not what a hub writes".to_owned());
    let credential = found.credential().ok_or_else(broken)?;
    let pins = found.pin_sha256.as_ref().map(|pin| pin.parse::<Pins>());
    Ok(ConnectionSettings {
        hubs: vec![found.url.clone()],
        token: Some(Secret::new(credential.expose())),
        // The way is within this machine, and a signature would need the database.
        auth: Some(AuthMode::Bearer),
        pins: pins.transpose().map_err(|_| broken())?,
        ..ConnectionSettings::default()
    })
}

async fn ask(settings: ConnectionSettings) -> Result<Status, Failure> {
    let connection = settings.resolve(None)?;
    let failed = |error: ClientError| match error {
        ClientError::Setup(error) => Failure::Usage(error),
        error => Failure::Failed(error.to_string()),
    };
    // The hub notes agents only where they use a silo.
    let client = HubClient::new(&connection, AgentKind::Downstream, &Route::default());
    client.map_err(failed)?.status().await.map_err(failed)
}

/// A hub that was killed leaves its file, and another program may listen at its address since.
fn explain(failure: Failure, found: &RunDocument, path: &dyn std::fmt::Display) -> Failure {
    match failure {
        Failure::Failed(error) if !is_alive(found.pid) => Failure::Failed(format!(
            "the hub is not running: {path} is left from process {}, which has ended ({error})",
            found.pid
        )),
        Failure::Failed(error) => Failure::Failed(format!(
            "the hub (process {}) does not answer: {error}",
            found.pid
        )),
        other => other,
    }
}

/// Whether there is a process with this id, as far as the system shows it.
fn is_alive(pid: u32) -> bool {
    !cfg!(target_os = "linux") || fs::exists(format!("/proc/{pid}")).unwrap_or(true)
}
