//! The command line: what can be said, and how each command is carried out.

#[cfg(unix)]
mod plesk_worker;
mod sink;
mod tls;
mod transfer;
mod update_key;

use std::fmt;
use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use silo_hub::data_dir::{DataDir, DataDirError};
use silo_hub::domain::time::{Clock, Time};
use silo_hub::domain::token::{Role, SpecError, TokenSpec};
use silo_hub::new_token::{DEFAULT_OVERLAP, MAX_OVERLAP, NewSecret, NewToken};
use silo_hub::open_hub::{OpenError, OpenHub, check_key, database_url, key_file};
use silo_hub::registry::{Actor, ApplyError, Audited, KEY_FINGERPRINT, RevokeToken};
use silo_hub::settings::{EXAMPLE, HubArgs, HubSettings};
use silo_hub::store::{Store, StoreError, Via};
use silo_hub::tls::{Identity, TlsError};
use silo_hub::{RunError, run as run_hub};
use silo_shared::config::ConfigError;
use silo_shared::credential::TokenId;
use silo_shared::program::{self, start_logging};

use sink::SinkCommand;
use tls::TlsCommand;
use transfer::SiloCommand;
use update_key::UpdateKeyCommand;

/// Stores silos of hostname/IP records and serves them over REST
#[derive(Debug, Parser)]
#[command(name = "silo-hub", version)]
pub(crate) struct Cli {
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
    /// Check the configuration and print what it comes to
    CheckConfig {
        /// Also look at the database
        #[arg(long)]
        connect: bool,
    },
    /// Make, list and revoke tokens; a running hub notices at once
    #[command(subcommand)]
    Token(TokenCommand),
    /// Make, list and revoke update keys: secrets that set one record
    #[command(subcommand)]
    UpdateKey(UpdateKeyCommand),
    /// Carry whole silos; a running hub notices at once
    #[command(subcommand)]
    Silo(SiloCommand),
    /// Take over, or remove, what a sink has at its receiver
    #[command(subcommand)]
    Sink(SinkCommand),
    /// Copy the SQLite database into a new file, beside a running hub
    Backup {
        /// The new file
        file: PathBuf,
    },
    /// Put a copy in place of the SQLite database, while no hub serves it
    Restore {
        /// What `backup` wrote
        file: PathBuf,
    },
    /// Replace a lost key
    #[command(subcommand)]
    Key(KeyCommand),
    /// Make a certificate for TLS
    #[command(subcommand)]
    Tls(TlsCommand),
    /// Carry out what the hub has dropped for Plesk; for root, needs no configuration file
    #[cfg(unix)]
    PleskWorker(plesk_worker::PleskWorkerArgs),
    /// Print a commented configuration
    ConfigExample,
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make a token and print its credential, this once
    Create {
        /// What people call it
        #[arg(long)]
        name: String,
        /// read, write or admin
        #[arg(long)]
        role: Role,
        /// A silo that it is for: a name or a glob; may be repeated
        #[arg(long = "silo", value_name = "SILO", value_delimiter = ',')]
        silos: Vec<String>,
        /// A hostname that it may write: a name or a glob; may be repeated [default: all]
        #[arg(long = "hostname", value_name = "HOSTNAME", value_delimiter = ',')]
        hostnames: Vec<String>,
        /// When it ends, such as 2027-01-01T00:00:00Z
        #[arg(long, value_parser = parse_time)]
        expires: Option<Time>,
    },
    /// List the tokens that were not revoked
    List,
    /// Give a token a new secret and print its credential, this once
    Rotate {
        /// The token's id, the middle part of the credential
        #[arg(value_parser = parse_id)]
        id: TokenId,
        /// For how many seconds the old secret still counts
        #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_OVERLAP, value_parser = clap::value_parser!(u32).range(..=i64::from(MAX_OVERLAP)))]
        overlap: u32,
    },
    /// Revoke a token
    Revoke {
        /// The token's id, the middle part of the credential
        #[arg(value_parser = parse_id)]
        id: TokenId,
    },
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Make a new hub key; signing tokens must be made anew, Bearer and Basic go on
    Reset,
}

fn parse_id(text: &str) -> Result<TokenId, &'static str> {
    TokenId::parse(text).map_err(|_| "an id has 10 characters of a-z and 0-9")
}

fn parse_time(text: &str) -> Result<Time, &'static str> {
    Time::parse(text).ok_or("not a time such as 2027-01-01T00:00:00Z (RFC 3339)")
}

/// Why a command ended badly, by exit code.
#[derive(Debug)]
enum Failure {
    /// A later try may succeed: 1.
    Failed(String),
    /// The command line or configuration must be changed first: 2.
    Misused(String),
    /// Nobody reads the output any more, as with `| head`: 0, in silence.
    Unread,
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Misused(error.to_string())
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match &error {
            OpenError::DataDir(
                DataDirError::Key { .. } | DataDirError::NotAFolder(_) | DataDirError::Open { .. },
            )
            | OpenError::Store(StoreError::Schema(_)) => Self::Misused(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl From<TlsError> for Failure {
    fn from(error: TlsError) -> Self {
        Self::Misused(error.to_string())
    }
}

impl From<std::io::Error> for Failure {
    /// Of writing to standard output.
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::Unread,
            _ => Self::Failed(format!("cannot write the output: {error}")),
        }
    }
}

impl From<DataDirError> for Failure {
    fn from(error: DataDirError) -> Self {
        OpenError::from(error).into()
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        OpenError::from(error).into()
    }
}

impl From<ApplyError> for Failure {
    fn from(error: ApplyError) -> Self {
        OpenError::from(error).into()
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Open(error) => error.into(),
            RunError::Sinks(error) => error.into(),
            RunError::Tls(error) => error.into(),
            error @ (RunError::Listen(_) | RunError::Bind { .. }) => {
                Self::Failed(error.to_string())
            }
        }
    }
}

/// Carries out a command.
pub(crate) async fn run(cli: Cli) -> ExitCode {
    match carry_out(cli).await {
        Ok(()) | Err(Failure::Unread) => program::DONE,
        Err(Failure::Failed(error)) => {
            eprintln!("silo-hub: {error}");
            program::failed()
        }
        Err(Failure::Misused(error)) => {
            eprintln!("silo-hub: {error}");
            program::misused()
        }
    }
}

async fn carry_out(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Tls(command) => return tls::tls(command),
        Command::ConfigExample => {
            std::io::stdout().write_all(EXAMPLE.as_bytes())?;
            return Ok(());
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "silo-hub", &mut script);
            std::io::stdout().write_all(&script)?;
            return Ok(());
        }
        #[cfg(unix)]
        Command::PleskWorker(args) => {
            start_logging(cli.settings.log_format.unwrap_or_default(), "info");
            return plesk_worker::work(args).await;
        }
        _ => {}
    }
    let settings = HubSettings::load(&cli.settings)?;
    let serves = matches!(cli.command, Command::Serve);
    // The pool would log each of its attempts, beside the error that ends them.
    let level = if serves { "info" } else { "warn" };
    start_logging(settings.log_format, &format!("{level},sqlx_core::pool=off"));
    match cli.command {
        Command::Serve => serve(settings).await,
        Command::Migrate => migrate(settings).await,
        Command::CheckConfig { connect } => check_config(&settings, connect).await,
        Command::Token(
            TokenCommand::List | TokenCommand::Rotate { .. } | TokenCommand::Revoke { .. },
        )
        | Command::UpdateKey(UpdateKeyCommand::List | UpdateKeyCommand::Revoke { .. })
        | Command::Silo(SiloCommand::Revert { .. } | SiloCommand::Export { .. })
            if let Some(file) = missing_file(&settings) =>
        {
            Err(Failure::Misused(format!(
                "{}: there is no hub's database here: is this the right --data-dir?",
                file.display()
            )))
        }
        Command::Token(command) => with_hub(settings, async |hub| token(hub, command).await).await,
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
        Command::Key(KeyCommand::Reset) => {
            with_hub(settings, async |hub| {
                let file = hub.reset_key().await?;
                say(format_args!("made a new key in {}", file.display()))?;
                Ok(())
            })
            .await
        }
        #[cfg(unix)]
        Command::PleskWorker(_) => Ok(()),
        Command::ConfigExample | Command::Completions { .. } | Command::Tls(_) => Ok(()),
    }
}

/// Opens the hub's parts beside a running hub, or without one, and closes them again.
async fn with_hub(
    settings: HubSettings,
    work: impl AsyncFnOnce(&OpenHub) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let hub = OpenHub::open(&settings, Clock::System).await?;
    let done = work(&hub).await;
    hub.close().await;
    done
}

async fn serve(settings: HubSettings) -> Result<(), Failure> {
    silo_hub::serve::raise_open_files();
    let listener = TcpListener::bind(settings.listen).map_err(|error| {
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

/// Completes on Ctrl-C.
#[cfg(not(unix))]
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async {
        if tokio::signal::ctrl_c().await.is_err() {
            // Without a handler the system's own ending of the program remains.
            std::future::pending::<()>().await;
        }
    })
}

async fn migrate(mut settings: HubSettings) -> Result<(), Failure> {
    settings.migrate = true;
    with_hub(settings, async |_| {
        say(format_args!("the database's schema is up to date"))?;
        Ok(())
    })
    .await
}

/// The embedded database's file, if it is not there.
fn missing_file(settings: &HubSettings) -> Option<PathBuf> {
    database_url(settings).file().filter(|file| !file.exists())
}

async fn check_config(settings: &HubSettings, connect: bool) -> Result<(), Failure> {
    let database = database_url(settings);
    say(format_args!("listen: {}", settings.listen))?;
    if let Some(tls) = &settings.tls {
        let pin = Identity::open(tls)?.pin();
        say(format_args!(
            "TLS: certificate and key fit, pin_sha256: {pin}"
        ))?;
    }
    say(format_args!(
        "data directory: {}",
        settings.data_dir.display()
    ))?;
    say(format_args!("database: {database}"))?;
    if connect && missing_file(settings).is_some() {
        say(format_args!(
            "the database is not there yet: the first start makes it"
        ))?;
    } else if connect {
        let store = Store::open(&database, false, Clock::System.now()).await?;
        say(format_args!(
            "the database answers, its schema is up to date"
        ))?;
        let known = store.fact(KEY_FINGERPRINT).await;
        store.close().await;
        let data_dir = DataDir::open(&settings.data_dir)?;
        if check_key(&key_file(settings, &data_dir), known?.as_deref())?.is_some() {
            say(format_args!(
                "the hub's key is the one that the database knows"
            ))?;
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
            "{unreached} of the sinks would not be reached"
        ))),
    }
}

async fn token(hub: &OpenHub, command: TokenCommand) -> Result<(), Failure> {
    let key = hub.key().await?;
    match command {
        TokenCommand::Create {
            name,
            role,
            silos,
            hostnames,
            expires,
        } => {
            let now = hub.clock.now();
            let hostnames = (!hostnames.is_empty()).then_some(hostnames);
            let spec = TokenSpec {
                name,
                role,
                silos,
                hostnames,
                expires_at: expires,
            };
            let spec = spec
                .check(now)
                .map_err(|errors| Failure::Misused(in_flags(&errors)))?;
            let new = NewToken::make(spec, &key, now).map_err(OpenError::from)?;
            hub.registry.apply(audited(new.command)).await?;
            eprintln!("token {}, shown this once:", new.token.id);
            if let Err(error) = say(format_args!("{}", new.credential.expose())) {
                // A credential that nobody has seen must not stay valid.
                hub.registry
                    .apply(audited(RevokeToken(new.token.id)))
                    .await?;
                return Err(error);
            }
        }
        TokenCommand::List => {
            for token in hub.store.tokens().await? {
                let spec = token.spec;
                let silos = if spec.silos.is_empty() {
                    "*".to_owned()
                } else {
                    spec.silos.join(",")
                };
                let or_dash = |time: Option<Time>| Dash(time);
                say(format_args!(
                    "{}  {:5}  silos {silos}  hostnames {}  made {}  ends {}  used {}  {}",
                    token.id,
                    spec.role.as_str(),
                    spec.hostnames.map_or("*".to_owned(), |list| list.join(",")),
                    token.created_at,
                    or_dash(spec.expires_at),
                    or_dash(token.last_used_at),
                    spec.name,
                ))?;
            }
        }
        TokenCommand::Rotate { id, overlap } => {
            let new =
                NewSecret::make(id, overlap, &key, hub.clock.now()).map_err(OpenError::from)?;
            let ends = new.command.former_ends;
            hub.registry.apply(audited(new.command)).await?;
            eprintln!("token {id}, shown this once; the old secret counts until {ends}:");
            say(format_args!("{}", new.credential.expose()))?;
        }
        TokenCommand::Revoke { id } => {
            hub.registry.apply(audited(RevokeToken(id))).await?;
            say(format_args!("token {id} is revoked"))?;
        }
    }
    Ok(())
}

/// A command on a token, as the audit tells of it.
fn audited<C>(command: C) -> Audited<C> {
    let actor = Actor {
        via: Via::Cli,
        token: None,
        client_ip: None,
    };
    Audited { actor, command }
}

/// Writes a line to standard output.
fn say(line: fmt::Arguments<'_>) -> Result<(), Failure> {
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}

struct Dash(Option<Time>);

impl fmt::Display for Dash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(time) => time.fmt(f),
            None => f.write_str("-"),
        }
    }
}

/// The errors by the names of the flags.
fn in_flags(errors: &[SpecError]) -> String {
    let flag = |member| match member {
        "silos" => "--silo",
        "hostnames" => "--hostname",
        "expires_at" => "--expires",
        _ => "--name",
    };
    let words: Vec<String> = errors
        .iter()
        .map(|wrong| format!("{}: {}", flag(wrong.member), wrong.error))
        .collect();
    words.join("; ")
}
