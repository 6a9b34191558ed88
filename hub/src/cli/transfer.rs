//! The commands for whole silos and databases: `silo …`, `backup`, `restore`.

use std::fmt::Display;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read};
use std::path::{Path, PathBuf};

use crate::config::settings::HubSettings;
use crate::domain::precondition::Precondition;
use crate::domain::revision::Revision;
use crate::domain::time::{Clock, Time};
use crate::registry::{Actor, NoteRestored, RevertSilo, Reverted};
use crate::runtime::backup::{BackupError, Restored, backup, restore};
use crate::runtime::data_dir::beside;
use crate::runtime::open_hub::{OpenError, OpenHub, check_key, database_url, key_file};
use crate::store::{Via, is_sqlite, read_dynahost, read_pyddns};
use crate::transfer::{
    ExportError, ForeignError, Import, ImportError, Taken, by_silo, export, of_dynahost, of_pyddns,
    of_pyddns_database,
};
use clap::Subcommand;
use silo_shared::silo::SiloId;

use super::progress::Progress;
use super::spool::Spool;
use super::{Failure, say, with_hub, with_new_hub};

#[derive(Debug, Subcommand)]
pub(super) enum SiloCommand {
    /// Set a silo's addresses to those of an earlier revision
    Revert {
        /// The silo
        #[arg(value_parser = |text: &str| SiloId::parse(text).map_err(|error| error.to_string()))]
        id: SiloId,
        /// A revision from the silo's history
        revision: Revision,
    },
    /// Print all stored data as JSON lines
    Export {
        /// Leave out access rights: tokens, update keys and dynahost bindings
        #[arg(long)]
        no_tokens: bool,
    },
    /// Import the output of `silo export`, or another program's data; safe to repeat
    Import {
        /// The file, or - for standard input
        file: PathBuf,
        /// The program that the file is of: pyddns, its SQLite database file or its answer to GET /silos or
        /// GET /silos/ID; dynahost, its database file
        #[arg(long, value_name = "PROGRAM")]
        from: Option<Program>,
        /// With --from dynahost: the silo for its hosts [default: that of compat.dynahost]
        #[arg(long, value_name = "ID", requires = "from", value_parser = |text: &str| SiloId::parse(text).map_err(|error| error.to_string()))]
        silo: Option<SiloId>,
    },
}

/// Programs whose data can be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Program {
    /// pyDDNS.
    Pyddns,
    /// dynahost.
    Dynahost,
}

/// The actor for changes by the command line.
fn actor(via: Via) -> Actor {
    Actor {
        via,
        token: None,
        client_ip: None,
    }
}

/// Runs a `silo` command.
pub(super) async fn silo(settings: HubSettings, command: SiloCommand) -> Result<(), Failure> {
    match command {
        SiloCommand::Import {
            file,
            from: None,
            silo: _,
        } => return import(settings, &file).await,
        SiloCommand::Import {
            file,
            from: Some(from),
            silo,
        } => return import_from(settings, &file, from, silo).await,
        _ => {}
    }
    with_hub(settings, async |hub| silo_of(hub, command).await).await
}

async fn silo_of(hub: &OpenHub, command: SiloCommand) -> Result<(), Failure> {
    match command {
        SiloCommand::Revert { id, revision } => revert(hub, id, revision).await,
        SiloCommand::Export { no_tokens } => print(hub, !no_tokens).await,
        SiloCommand::Import { .. } => Ok(()),
    }
}

async fn print(hub: &OpenHub, tokens: bool) -> Result<(), Failure> {
    let progress = Progress::of_steps("exporting", Some(0));
    if progress.is_shown() {
        progress.set_total(hub.store.exported_lines().await?);
    }
    let folder = hub.data_dir.path();
    let failed = |error: &dyn Display| {
        Failure::Failed(format!(
            "{}: cannot write the export's temporary file: {error}",
            folder.display()
        ))
    };
    let spool = Spool::create(folder).map_err(|error| failed(&error))?;
    let mut output = BufWriter::new(progress.writing(spool));
    match export(&hub.store, tokens, &mut output).await {
        Ok(_) => {}
        Err(ExportError::Store(error)) => return Err(error.into()),
        Err(ExportError::Output(error)) => return Err(failed(&error)),
    }
    let output = output.into_inner().map_err(|error| failed(&error))?;
    drop(progress);
    let spool = output.into_inner();
    let printed = tokio::task::spawn_blocking(|| spool.pass_on(&mut std::io::stdout()));
    let printed = printed.await.map_err(|error| failed(&error))?;
    Ok(printed?)
}

async fn revert(hub: &OpenHub, id: SiloId, revision: Revision) -> Result<(), Failure> {
    let command = RevertSilo {
        actor: actor(Via::Revert),
        id: id.clone(),
        revision,
        precondition: Precondition::default(),
        replayed: None,
    };
    let command = command.replayed(&hub.store).await?;
    let reverted = hub.registry.apply(command).await;
    match reverted.map_err(|error| Failure::Failed(format!("{id}: {error}")))? {
        Reverted::Changed { revision: new } => say(format_args!(
            "{id} reverted to its state at revision {revision}, now at revision {new}"
        )),
        Reverted::Unchanged { revision: last } => say(format_args!(
            "{id} already equals its state at revision {revision}: nothing changed, revision {last}"
        )),
        Reverted::Unknown { first, last } => Err(Failure::Failed(format!(
            "{id}: revision {revision} is unknown: its history goes from {first} to {last}"
        ))),
        Reverted::Unfitting(unfitting) => Err(Failure::Failed(format!(
            "{id}: nothing was changed: its history does not show its state at revision {revision}: {unfitting}"
        ))),
        Reverted::Importing { whole_from } => Err(Failure::Failed(format!(
            "{id}: nothing was changed: an interrupted import lacks part of its history before revision {whole_from}: import the same export again"
        ))),
    }
}

/// What pyDDNS's database file or answer holds.
async fn from_pyddns(file: &Path, now: Time) -> Result<Result<Taken, ForeignError>, Failure> {
    let failed = |why: String| Failure::Failed(format!("{}: {why}", file.display()));
    let is_input = file == Path::new("-");
    let mut input: Box<dyn Read + Send> = if is_input {
        Box::new(std::io::stdin())
    } else {
        Box::new(File::open(file).map_err(|error| failed(error.to_string()))?)
    };
    let mut content = Vec::new();
    // A database's beginning tells it apart: it is read as one then.
    let mut head = input.by_ref().take(16);
    head.read_to_end(&mut content)
        .map_err(|error| failed(error.to_string()))?;
    if !is_sqlite(&content) {
        input
            .read_to_end(&mut content)
            .map_err(|error| failed(error.to_string()))?;
        return Ok(of_pyddns(&content, now));
    }
    if is_input {
        return Err(Failure::Usage(
            "a database can't be read from standard input: name its file".to_owned(),
        ));
    }
    let database = read_pyddns(file).await.map_err(failed)?;
    Ok(of_pyddns_database(&database, now))
}

/// `silo import --from`: silos that are or were here are left as they are, since what is here is newer.
async fn import_from(
    settings: HubSettings,
    file: &Path,
    from: Program,
    silo: Option<SiloId>,
) -> Result<(), Failure> {
    let name = file.display();
    let now = Clock::System.now();
    let taken = match from {
        Program::Pyddns if silo.is_some() => {
            return Err(Failure::Usage(
                "--silo: pyDDNS's data already names its silos".to_owned(),
            ));
        }
        Program::Pyddns => from_pyddns(file, now).await?,
        Program::Dynahost => {
            let of_settings = settings.compat.dynahost.as_ref().map(|of| of.silo.clone());
            let silo = silo.or(of_settings).ok_or_else(|| {
                Failure::Usage(
                    "--silo: name the silo for dynahost's hosts, here or with compat.dynahost in the configuration (--config)"
                        .to_owned(),
                )
            })?;
            std::fs::metadata(file).map_err(|error| Failure::Failed(format!("{name}: {error}")))?;
            let database = read_dynahost(file).await.map_err(|error| {
                Failure::Failed(format!("{name}: not a dynahost database: {error}"))
            })?;
            of_dynahost(&database, &silo, now)
        }
    };
    let taken = taken.map_err(|error| Failure::Failed(format!("{name}: {error}")))?;
    let failed = |error: &dyn Display| Failure::Failed(format!("{name}: {error}"));
    let import = Import::begin(&taken.export[..]).map_err(|error| failed(&error))?;
    with_new_hub(settings, async |hub| {
        let imported = import.only_new().read_in(&hub.registry, now).await;
        let imported = imported.map_err(|error| match error {
            ImportError::Apply(error) => error.into(),
            error => failed(&error),
        })?;
        say(format_args!(
            "read {} silos ({} new, {} left unchanged) with {} records, {} history rows ({} new)",
            imported.read.silos,
            imported.silos_added,
            imported.silos_kept,
            taken.records.len(),
            imported.read.history,
            imported.history,
        ))?;
        let mut missing = Vec::new();
        for (silo, hostname) in taken.records {
            if hub.store.record(&silo, &hostname).await?.is_none() {
                missing.push((silo, hostname));
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let words: Vec<_> = by_silo(missing)
            .into_iter()
            .map(|(silo, hostnames)| {
                let names: Vec<_> = hostnames.iter().map(ToString::to_string).collect();
                format!("{silo} ({})", names.join(", "))
            })
            .collect();
        Err(Failure::Failed(format!(
            "{name}: these silos exist or existed here and were left unchanged, without these records: {}; set them yourself, or import into a new hub or silo",
            words.join("; ")
        )))
    })
    .await
}

async fn import(settings: HubSettings, file: &Path) -> Result<(), Failure> {
    let failed = |error: &dyn Display| {
        if file == Path::new("-") {
            Failure::Failed(error.to_string())
        } else {
            Failure::Failed(format!("{}: {error}", file.display()))
        }
    };
    let mut input: Box<dyn Read> = Box::new(std::io::stdin());
    let mut size = None;
    if file != Path::new("-") {
        let opened = File::open(file).map_err(|error| failed(&error))?;
        size = opened.metadata().ok().map(|metadata| metadata.len());
        input = Box::new(opened);
    }
    let progress = Progress::of_bytes("importing", size.filter(|size| *size > 0));
    let input = BufReader::new(progress.reading(input));
    // Before anything is opened, so that a wrong file does not create a database.
    let import = Import::begin(input).map_err(|error| failed(&error))?;
    with_new_hub(settings.clone(), async |hub| {
        if let Some(key) = import.key() {
            let file = key_file(&settings, &hub.data_dir);
            if check_key(&file, Some(key)).is_err() {
                return Err(Failure::Usage(format!(
                    "the tokens, update keys and dynahost secids in this export need a hub.key other than {}: put the exporting hub's key there before this hub's first start, or leave them out with `silo export --no-tokens`",
                    file.display()
                )));
            }
            hub.key().await?;
        }
        let imported = import.read_in(&hub.registry, hub.clock.now()).await;
        drop(progress);
        let imported = imported.map_err(|error| match error {
            ImportError::Apply(error) => error.into(),
            error => failed(&error),
        })?;
        let read = imported.read;
        say(format_args!(
            "read {} silos ({} new, {} changed), {} history rows ({} new, {} left out), {} tokens ({} new), {} update keys ({} new), {} dynahost hosts ({} new)",
            read.silos,
            imported.silos_added,
            imported.silos_changed,
            read.history,
            imported.history,
            imported.history_left_out,
            read.tokens,
            imported.tokens,
            read.update_keys,
            imported.update_keys,
            read.dynahosts,
            imported.dynahosts,
        ))?;
        match imported.history_left_out {
            0 => Ok(()),
            left_out => say(format_args!(
                "left out {left_out} history rows: they belong to silos that existed here before this import and keep their own history"
            )),
        }
    })
    .await
}

/// Runs `restored`.
pub(super) async fn note_restored(hub: &OpenHub) -> Result<(), Failure> {
    let restored = NoteRestored::after(Revision::NONE).map_err(OpenError::from)?;
    let revision = hub.registry.apply(restored).await?;
    say(format_args!(
        "revisions continue above {revision}; the database has a new id, running hubs drop their caches, event streams restart, sinks are compared with what they published, and requests signed before now are refused"
    ))?;
    say(format_args!(
        "tokens that were revoked after the copy was made are valid again: check `silo-hub token list`"
    ))
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        match error {
            BackupError::Open(error) => error.into(),
            BackupError::Server(_) | BackupError::NoDatabase(_) => Self::Usage(error.to_string()),
            error => Self::Failed(error.to_string()),
        }
    }
}

/// The size of a file, for an estimate.
fn size_of(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |metadata| metadata.len())
}

/// Runs `backup`.
pub(super) async fn back_up(settings: &HubSettings, file: &Path) -> Result<(), Failure> {
    let size = database_url(settings).file().map(|file| size_of(&file));
    let progress = Progress::of_bytes("copying", size).watch_file(beside(file, ".part"));
    let copied = backup(settings, file).await;
    drop(progress);
    copied?;
    say(format_args!(
        "copied the database to {}; the copy does not contain the hub's key",
        file.display()
    ))
}

/// Runs `restore`.
pub(super) async fn put_back(settings: &HubSettings, file: &Path) -> Result<(), Failure> {
    let new = database_url(settings).file();
    let new = new.map_or_else(PathBuf::new, |file| beside(&file, ".restoring"));
    let progress = Progress::of_bytes("restoring", Some(size_of(file))).watch_file(new);
    let restored = restore(settings, Clock::System, file).await;
    drop(progress);
    let Restored {
        file: database,
        old,
        key,
    } = restored?;
    if let Err(error) = key {
        tracing::warn!("{error}");
    }
    say(format_args!(
        "{} restored from the copy: tokens revoked since then are valid again",
        database.display()
    ))?;
    if let Some(old) = old {
        say(format_args!(
            "the replaced database is in {}",
            old.display()
        ))?;
    }
    Ok(())
}
