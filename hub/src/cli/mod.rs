//! The command line: arguments and the implementation of each command.

mod agent;
mod dashboard;
mod failure;
mod invite;
#[cfg(unix)]
mod plesk_worker;
mod progress;
mod reference;
#[cfg(windows)]
mod service;
mod sink;
mod spool;
mod status;
mod tls;
mod token;
mod transfer;
mod update_key;

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::compat::openapi;
use crate::config::settings::{EXAMPLE, HubArgs, HubSettings};
use crate::domain::time::Clock;
use crate::registry::KEY_FINGERPRINT;
use crate::runtime::data_dir::DataDir;
use crate::runtime::open_hub::{OpenHub, check_key, database_url, key_file};
use crate::runtime::run as run_hub;
use crate::store::{Queries, Schema, Store};
use crate::tls::Identity;
use clap::{CommandFactory, Parser, Subcommand};
use silo_shared::credential::TokenId;
use silo_shared::program::{self, start_logging};

use agent::AgentCommand;
use dashboard::DashboardCommand;
use failure::Failure;
use invite::InviteArgs;
use progress::Progress;
use sink::SinkCommand;
use status::StatusArgs;
use tls::TlsCommand;
use token::TokenCommand;
use transfer::SiloCommand;
use update_key::UpdateKeyCommand;

/// Stores silos of hostname/IP records and serves them over REST
#[derive(Debug, Parser)]
#[command(name = "silo-hub", version)]
pub struct Cli {
    #[command(flatten)]
    settings: HubArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT
    Serve,
    /// Bring the database's schema up to date
    Migrate,
    /// Check the configuration and print a summary
    CheckConfig {
        /// Also connect to the database and the sinks' receivers
        #[arg(long)]
        connect: bool,
    },
    /// Show how a running hub is; exits with 1 if something needs a hand
    Status(StatusArgs),
    /// Create, list and revoke tokens; a running hub notices at once
    #[command(subcommand)]
    Token(TokenCommand),
    /// Print a line that gives a machine its access, once; a running hub notices at once
    Invite(InviteArgs),
    /// Sign in to the dashboard without a token; a running hub notices at once
    #[command(subcommand)]
    Dashboard(DashboardCommand),
    /// List the agents that use the silos
    #[command(subcommand)]
    Agent(AgentCommand),
    /// Create, list and revoke update keys: secrets that set one record
    #[command(subcommand)]
    UpdateKey(UpdateKeyCommand),
    /// Revert, export and import silos; a running hub notices at once
    #[command(subcommand)]
    Silo(SiloCommand),
    /// Adopt or remove the names of a sink at its receiver
    #[command(subcommand)]
    Sink(SinkCommand),
    /// Copy the SQLite database into a new file; the hub may be running
    Backup {
        /// The new file
        file: PathBuf,
    },
    /// Replace the SQLite database with a copy, while no hub serves it
    Restore {
        /// The file that `backup` wrote
        file: PathBuf,
    },
    /// Inform the hub that its database was restored by other means, such as pg_restore; the hub may be running
    Restored,
    /// Replace a lost key
    #[command(subcommand)]
    Key(KeyCommand),
    /// Create a certificate for TLS
    #[command(subcommand)]
    Tls(TlsCommand),
    /// Process the hub's jobs for Plesk; for root, needs no configuration file
    #[cfg(unix)]
    PleskWorker(plesk_worker::PleskWorkerArgs),
    /// Print the OpenAPI document, which the hub serves at /openapi.json
    Openapi {
        /// As a page for people, docs/api.md
        #[arg(long)]
        markdown: bool,
    },
    /// Process the hub's jobs for Plesk; on Linux only
    #[cfg(not(unix))]
    #[command(hide = true)]
    PleskWorker {
        /// Anything.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
        arguments: Vec<std::ffi::OsString>,
    },
    /// Run the hub as a service of Windows
    #[cfg(windows)]
    #[command(subcommand)]
    Service(service::ServiceCommand),
    /// Print a commented configuration
    ConfigExample,
    /// Print a shell completion script
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Create a new hub key; tokens that sign must be replaced, Bearer and Basic still work
    Reset,
}

fn parse_id(text: &str) -> Result<TokenId, &'static str> {
    TokenId::parse(text).map_err(|_| "an id has 10 characters of a-z and 0-9")
}

/// Runs a command.
pub async fn run(cli: Cli) -> ExitCode {
    match carry_out(cli).await {
        Ok(()) | Err(Failure::BrokenPipe) => program::DONE,
        Err(Failure::Failed(error)) => {
            eprintln!("silo-hub: {error}");
            program::failed()
        }
        Err(Failure::Printed) => program::failed(),
        Err(Failure::Usage(error)) => {
            eprintln!("silo-hub: {error}");
            program::misused()
        }
    }
}

async fn carry_out(cli: Cli) -> Result<(), Failure> {
    match without_settings(cli).await? {
        Some(cli) => with_settings(cli).await,
        None => Ok(()),
    }
}

/// Carries out a command that reads no settings; returns any other one.
async fn without_settings(cli: Cli) -> Result<Option<Cli>, Failure> {
    match cli.command {
        Command::Tls(command) => tls::tls(command)?,
        Command::ConfigExample => std::io::stdout().write_all(EXAMPLE.as_bytes())?,
        Command::Openapi { markdown: false } => {
            std::io::stdout().write_all(openapi::document().json())?;
        }
        Command::Openapi { markdown: true } => {
            let page = reference::markdown(openapi::document().json())
                .map_err(|error| Failure::Failed(error.to_string()))?;
            std::io::stdout().write_all(page.as_bytes())?;
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "silo-hub", &mut script);
            std::io::stdout().write_all(&script)?;
        }
        #[cfg(unix)]
        Command::PleskWorker(args) => {
            start_logging(cli.settings.log_format.unwrap_or_default(), "info");
            plesk_worker::work(args).await?;
        }
        #[cfg(not(unix))]
        Command::PleskWorker { .. } => {
            return Err(Failure::Usage(
                "plesk-worker runs on Linux, where Plesk's command line is".to_owned(),
            ));
        }
        #[cfg(windows)]
        Command::Service(command) => service::service(&cli.settings, command)?,
        _ => return Ok(Some(cli)),
    }
    Ok(None)
}

async fn with_settings(cli: Cli) -> Result<(), Failure> {
    let settings = HubSettings::load(&cli.settings)?;
    let serves = matches!(cli.command, Command::Serve);
    // The pool would log each of its attempts, in addition to the final error.
    let level = if serves { "info" } else { "warn" };
    start_logging(settings.log_format, &format!("{level},sqlx_core::pool=off"));
    match cli.command {
        Command::Serve => serve(settings).await,
        Command::Migrate => migrate(settings).await,
        Command::CheckConfig { connect } => {
            check_config(cli.settings.config.as_deref(), &settings, connect).await
        }
        Command::Status(args) => status::status(&settings, args).await,
        Command::Token(command) => {
            with_hub(settings, async |hub| token::token(hub, command).await).await
        }
        Command::Invite(args) => {
            let site = args.site(&settings)?;
            with_hub(settings, async |hub| invite::invite(hub, args, site).await).await
        }
        Command::Dashboard(command) => {
            let address = dashboard::address(&settings)?;
            with_hub(settings, async |hub| {
                dashboard::dashboard(hub, &address, command).await
            })
            .await
        }
        Command::Agent(command) => {
            with_hub(settings, async |hub| agent::agent(hub, command).await).await
        }
        Command::UpdateKey(command) => {
            let dynahost = settings.compat.dynahost.clone();
            with_hub(settings, async |hub| {
                update_key::update_key(hub, command, dynahost).await
            })
            .await
        }
        Command::Silo(command) => transfer::silo(settings, command).await,
        Command::Sink(command) => sink::sink(settings, command).await,
        Command::Backup { file } => transfer::back_up(&settings, &file).await,
        Command::Restore { file } => transfer::put_back(&settings, &file).await,
        Command::Restored => {
            with_hub(settings, async |hub| transfer::note_restored(hub).await).await
        }
        Command::Key(KeyCommand::Reset) => {
            with_hub(settings, async |hub| {
                let file = hub.reset_key().await?;
                say(format_args!("created a new key in {}", file.display()))?;
                Ok(())
            })
            .await
        }
        #[cfg(unix)]
        Command::PleskWorker(_) => Ok(()),
        #[cfg(not(unix))]
        Command::PleskWorker { .. } => Ok(()),
        #[cfg(windows)]
        Command::Service(_) => Ok(()),
        // Carried out without settings.
        Command::Openapi { .. }
        | Command::ConfigExample
        | Command::Completions { .. }
        | Command::Tls(_) => Ok(()),
    }
}

/// Opens the parts of an existing hub, whether or not a hub process is running, and closes them again.
async fn with_hub(
    settings: HubSettings,
    work: impl AsyncFnOnce(&OpenHub) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let hub = OpenHub::open_existing(&settings, Clock::System).await?;
    let done = work(&hub).await;
    hub.close().await;
    done
}

/// The same, but may create the hub.
async fn with_new_hub(
    settings: HubSettings,
    work: impl AsyncFnOnce(&OpenHub) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let init = true;
    with_hub(HubSettings { init, ..settings }, work).await
}

async fn serve(settings: HubSettings) -> Result<(), Failure> {
    crate::serve::raise_open_files();
    let listener = crate::serve::listen(settings.listen).map_err(|error| {
        Failure::Failed(format!("cannot listen on {}: {error}", settings.listen))
    })?;
    let stop = stop_signal()
        .map_err(|error| Failure::Failed(format!("cannot listen for signals: {error}")))?;
    Ok(run_hub(listener, settings, Clock::System, stop).await?)
}

/// Completes on SIGTERM or SIGINT (Ctrl-C).
#[cfg(unix)]
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Completes on Ctrl-C, Ctrl-Break, when the console is closed, and when Windows shuts down.
#[cfg(not(unix))]
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut signals = silo_shared::stay::Signals::listen()?;
    Ok(async move {
        signals.next().await;
    })
}

async fn migrate(mut settings: HubSettings) -> Result<(), Failure> {
    settings.migrate = true;
    let _progress = Progress::of_steps("migrating", None);
    with_new_hub(settings, async |_| {
        say(format_args!("the database's schema is up to date"))?;
        Ok(())
    })
    .await
}

/// The embedded database's file, if it is missing.
fn missing_file(settings: &HubSettings) -> Option<PathBuf> {
    database_url(settings).file().filter(|file| !file.exists())
}

async fn check_config(
    file: Option<&Path>,
    settings: &HubSettings,
    connect: bool,
) -> Result<(), Failure> {
    let database = database_url(settings);
    match file {
        Some(file) => say(format_args!("configuration: {}", file.display()))?,
        None => say(format_args!(
            "configuration: flags, environment and defaults (no --config)"
        ))?,
    }
    say(format_args!("listen: {}", settings.listen))?;
    if let Some(tls) = &settings.tls {
        let pin = Identity::open(tls)?.pin();
        say(format_args!(
            "TLS: certificate and key fit, pin_sha256: {pin}"
        ))?;
        if let (Some(address), false) = (tls.plain_listen, tls.plain_allow.is_empty()) {
            say(format_args!(
                "without TLS at {address}: {}; these secrets travel in clear text",
                tls.plain_allow
            ))?;
        }
    }
    say(format_args!(
        "data directory: {}",
        settings.data_dir.display()
    ))?;
    say(format_args!("database: {database}"))?;
    for parameter in database.ignored() {
        say(format_args!(
            "database: the URL's parameter {parameter} is not supported and ignored"
        ))?;
    }
    if connect && missing_file(settings).is_some() {
        say(format_args!(
            "the database does not exist yet; the first start creates it"
        ))?;
    } else if connect {
        let store = Store::open(&database, Schema::Check, Clock::System.now()).await?;
        say(format_args!(
            "the database answers and its schema is up to date"
        ))?;
        let known = store.fact(KEY_FINGERPRINT).await;
        store.close().await;
        let data_dir = DataDir::open(&settings.data_dir)?;
        if check_key(&key_file(settings, &data_dir), known?.as_deref())?.is_some() {
            say(format_args!("the hub's key matches the database"))?;
        }
    }
    if let Some(dynahost) = &settings.compat.dynahost {
        say(format_args!(
            "dynahost: hostnames {} of the silo {}",
            dynahost.hostnames, dynahost.silo
        ))?;
    }
    let unreached = sink::check(settings, connect).await?;
    say(format_args!("the configuration is valid"))?;
    match unreached {
        0 => Ok(()),
        _ => Err(Failure::Failed(format!(
            "{unreached} sinks cannot be reached"
        ))),
    }
}

/// Writes a line to standard output.
fn say(line: fmt::Arguments<'_>) -> Result<(), Failure> {
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}
