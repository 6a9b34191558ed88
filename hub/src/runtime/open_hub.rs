//! Opens what both `serve` and the other commands use: data directory, database, registry, key.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use thiserror::Error;
use tokio::task::JoinHandle;

use crate::auth::failure_limit::FailureLimit;
use crate::auth::refused::RefusedLog;
use crate::auth::secrets::{HubKey, NoRandomness, is_credential_of, random_u128};
use crate::auth::token_cache::TokenCache;
use crate::config::database_url::DatabaseUrl;
use crate::config::settings::HubSettings;
use crate::deliver::WorkerContext;
use crate::deliver::attempts::Attempts;
use crate::domain::database_id::DatabaseId;
use crate::domain::signed_not_before::KnownSignedNotBefore;
use crate::domain::time::Clock;
use crate::domain::token::{Role, TokenSpec};
use crate::follow::bus::Bus;
use crate::follow::changes::Changes;
use crate::follow::database_health::DatabaseHealth;
use crate::follow::database_id::KnownDatabaseId;
use crate::follow::interest::Notifier;
use crate::follow::invalidation::Invalidation;
use crate::read::view::View;
use crate::registry::new_token::NewToken;
use crate::registry::{
    AdoptDatabaseId, AdoptKey, ApplyError, CreateFirstToken, KEY_FINGERPRINT, Listeners,
    NoteTokenMade, Registry, ResetKey,
};
use crate::runtime::before_migrating::{self, CopyError};
#[cfg(unix)]
use crate::runtime::data_dir::refuse_files_of_others;
use crate::runtime::data_dir::{
    DATABASE_FILE, DataDir, DataDirError, TokenFile, beside, lock_database_file,
    prepare_database_file,
};
use crate::runtime::key_file::{make_key, read_key, replace_key};
use crate::store::{Position, Queries, Schema, Store, StoreError};

/// Why the hub can't be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The data directory or the key in it can't be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The database can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A first write failed.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The system returned no random bytes.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// There is no database.
    #[error("{}: no hub database here: check --data-dir, or create a new hub with --init", .0.display())]
    NoHub(PathBuf),
    /// The hub's key exists, but its database is missing.
    #[error(
        "{}: the database is missing or empty, and {} shows that there was one: restore it (`silo-hub restore`), or create a new hub with `silo-hub serve --init`, without the old one's tokens",
        file.display(),
        key.display()
    )]
    Lost {
        /// The database file.
        file: PathBuf,
        /// The hub's key.
        key: PathBuf,
    },
    /// An embedded database makes no sense with the log that lay beside it, as after a hub that was not stopped in
    /// order. SQLite applies a log to whatever file lies beside it.
    #[error(
        "{cause}; there was a log beside it, {}: if the database was copied here, that log belongs to another file. Remove the log and copy the database again, or use `silo-hub restore`",
        log.display()
    )]
    LogOfOther {
        /// What the database said.
        cause: StoreError,
        /// The log. It may be gone by now.
        log: PathBuf,
    },
    /// It can't be prepared for a migration.
    #[error(transparent)]
    Copy(CopyError),
}

impl From<CopyError> for OpenError {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::DataDir(error) => Self::DataDir(error),
            CopyError::Store(error) => Self::Store(error),
            error @ CopyError::Copy { .. } => Self::Copy(error),
        }
    }
}

/// Whether to copy the database before its schema is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Copied {
    Before,
    /// It is a copy already.
    Already,
}

/// The opened parts.
#[derive(Debug)]
pub struct OpenHub {
    /// The data directory.
    pub data_dir: DataDir,
    /// The database.
    pub store: Store,
    /// Executes writes.
    pub registry: Registry,
    /// The read path.
    pub view: View,
    /// The known tokens.
    pub tokens: TokenCache,
    /// The notification bus.
    pub bus: Bus,
    /// The database's position when it was opened.
    pub position: Position,
    /// Whether the database is available.
    pub database_health: DatabaseHealth,
    /// The refused credentials that are not stored yet.
    pub refused: RefusedLog,
    /// Counts wrong credentials.
    pub failures: FailureLimit,
    /// Signatures made before this time are refused.
    pub signed_not_before: KnownSignedNotBefore,
    /// The id of the database.
    pub database_id: KnownDatabaseId,
    /// Counts attempts of deliveries.
    pub attempts: Attempts,
    /// The clock.
    pub clock: Clock,
    key_file: PathBuf,
    writer: JoinHandle<()>,
    /// Wakes subscribers of the bus, once it runs. Commands that do not serve have no subscribers.
    notifier: Mutex<Option<Notifier>>,
    lock: Option<File>,
}

/// What may be done with the schema: `wanted`, or only a check with `migrate: false`.
fn allowed(settings: &HubSettings, wanted: Schema) -> Schema {
    if settings.migrate {
        wanted
    } else {
        Schema::Check
    }
}

impl OpenHub {
    /// Opens everything but the key, with or without a hub that serves. Creates a missing database.
    pub async fn open(settings: &HubSettings, clock: Clock) -> Result<Self, OpenError> {
        let schema = allowed(settings, Schema::Make);
        Self::open_with(settings, clock, schema, Copied::Before, |_| Ok(None)).await
    }

    /// Like [`OpenHub::open`], but creates a missing database only with `init`: tokens created in a mistyped directory
    /// would not be valid anywhere.
    pub async fn open_existing(settings: &HubSettings, clock: Clock) -> Result<Self, OpenError> {
        if settings.init {
            return Self::open(settings, clock).await;
        }
        let url = database_url(settings);
        // Before the data directory is created.
        if let Some(file) = url.file().filter(|file| is_missing(file)) {
            return Err(OpenError::NoHub(file));
        }
        let schema = allowed(settings, Schema::Update);
        Self::open_with(settings, clock, schema, Copied::Before, |_| Ok(None)).await
    }

    /// Like [`OpenHub::open`], for a database that is a copy itself: it is not copied again.
    pub async fn open_copy(settings: &HubSettings, clock: Clock) -> Result<Self, OpenError> {
        let schema = allowed(settings, Schema::Make);
        Self::open_with(settings, clock, schema, Copied::Already, |_| Ok(None)).await
    }

    /// The context of delivery workers.
    pub(crate) fn worker_context(&self) -> WorkerContext {
        WorkerContext {
            store: self.store.clone(),
            registry: self.registry.clone(),
            bus: self.bus.clone(),
            clock: self.clock.clone(),
            since: self.clock.now(),
            attempts: self.attempts.clone(),
        }
    }

    /// Opens everything but the key, as the only hub that serves an embedded database.
    pub async fn open_to_serve(settings: &HubSettings, clock: Clock) -> Result<Self, OpenError> {
        let data_dir = DataDir::open(&settings.data_dir)?;
        if let Some(file) = database_url(settings).file()
            && is_missing(&file)
            && matches!(read_key(&data_dir.key_file()), Ok(Some(_)))
            && !settings.init
        {
            let key = data_dir.key_file();
            return Err(OpenError::Lost { file, key });
        }
        let schema = allowed(settings, Schema::Make);
        for (setting, path) in settings.relative_paths() {
            tracing::info!(setting, "{setting} is a relative path: {}", path.display());
        }
        let lock = |file: &Path| lock_database_file(file).map(Some);
        Self::open_with(settings, clock, schema, Copied::Before, lock).await
    }

    async fn open_with(
        settings: &HubSettings,
        clock: Clock,
        schema: Schema,
        copied: Copied,
        lock: impl FnOnce(&Path) -> Result<Option<File>, DataDirError>,
    ) -> Result<Self, OpenError> {
        // Before the first connection, which removes it when it is closed.
        let log = database_url(settings).file();
        let log = log.and_then(|file| filled_log(&file));
        let opened = Self::open_parts(settings, clock, schema, copied, lock).await;
        opened.map_err(|error| match (error, log) {
            (OpenError::Store(cause), Some(log)) if cause.is_malformed() => {
                OpenError::LogOfOther { cause, log }
            }
            (error, _) => error,
        })
    }

    async fn open_parts(
        settings: &HubSettings,
        clock: Clock,
        schema: Schema,
        copied: Copied,
        lock: impl FnOnce(&Path) -> Result<Option<File>, DataDirError>,
    ) -> Result<Self, OpenError> {
        let data_dir = DataDir::open(&settings.data_dir)?;
        let url = database_url(settings);
        // Before any change of the schema, which another hub may be using.
        let (mut served, mut migrated) = (None, None);
        if let Some(file) = url.file() {
            #[cfg(unix)]
            refuse_files_of_others(&file)?;
            served = lock(&file)?;
            prepare_database_file(&file)?;
            if settings.migrate && copied == Copied::Before {
                migrated = before_migrating::copy(&url, &file).await?;
            }
        }
        let store = Store::open(&url, schema, clock.now()).await?;
        drop(migrated);
        let clock = store.clock(clock);
        let position = store.position().await?;
        let (bus, notifier) = Bus::new(position.revision);
        let view = View::new(store.clone(), settings.view_bytes);
        let tokens = TokenCache::new(store.clone());
        let signed_not_before = KnownSignedNotBefore::default();
        signed_not_before.set(position.signed_not_before);
        let new_id = DatabaseId::new(random_u128()?);
        // Read after the position, so that the feed notices a later one.
        let stored_id = store.database_id().await?;
        let database_id = KnownDatabaseId::new(stored_id.unwrap_or(new_id));
        let listeners = Listeners {
            invalidation: Invalidation::new(view.clone(), bus.clone()),
            tokens: tokens.clone(),
            bus: bus.clone(),
            database_id: database_id.clone(),
        };
        let (registry, writer) = Registry::start(store.clone(), listeners, clock.clone())?;
        if stored_id.is_none() {
            // Another hub may be faster.
            database_id.set(registry.apply(AdoptDatabaseId(new_id)).await?);
        }
        let key_file = key_file(settings, &data_dir);
        let refused = RefusedLog::default();
        Ok(Self {
            data_dir,
            store,
            registry,
            view,
            tokens,
            bus,
            position,
            signed_not_before,
            database_id,
            database_health: DatabaseHealth::new(clock.monotonic()),
            failures: FailureLimit::noting(refused.clone()),
            refused,
            attempts: Attempts::default(),
            clock,
            key_file,
            writer,
            notifier: Mutex::new(Some(notifier)),
            lock: served,
        })
    }

    /// The hub's key. It is created only if the database has none.
    pub async fn key(&self) -> Result<HubKey, OpenError> {
        let known = self.store.fact(KEY_FINGERPRINT).await?;
        let key = match known.as_deref() {
            None => make_key(&self.key_file)?,
            known => check_key(&self.key_file, known)?.expect("a key that is known is there"),
        };
        let fingerprint = key.fingerprint();
        if known.is_none() {
            // Another hub may have stored another key first.
            let known = self.registry.apply(AdoptKey { fingerprint }).await?;
            check_key(&self.key_file, Some(&known))?;
        }
        Ok(key)
    }

    /// Creates a new key; everything sealed with the old one is discarded.
    pub async fn reset_key(&self) -> Result<&Path, OpenError> {
        let key = replace_key(&self.key_file)?;
        self.registry
            .apply(ResetKey {
                fingerprint: key.fingerprint(),
            })
            .await?;
        Ok(&self.key_file)
    }

    /// Creates the first admin token if there was never a token, and logs its path.
    pub async fn first_admin_token(&self, key: &HubKey) -> Result<(), OpenError> {
        let path = self.data_dir.admin_token_file();
        // The transaction checks this again; here it only avoids writing the file at later starts.
        if !self.store.any_token().await? {
            self.make_first_admin_token(key).await?;
        } else if !self.store.is_token_noted().await? {
            self.registry.apply(NoteTokenMade).await?;
        }
        match self.data_dir.read_admin_token()? {
            TokenFile::Absent => {}
            TokenFile::Whole(credential) => {
                let known = self
                    .store
                    .token(credential.id())
                    .await?
                    .is_some_and(|known| {
                        is_credential_of(&credential, &known.credential_hash)
                            && known.token.is_valid_at(self.clock.now())
                    });
                if known {
                    tracing::info!(
                        "the admin token is in {}: move it to a safe place",
                        path.display()
                    );
                } else {
                    tracing::warn!("{}: this token is not valid here", path.display());
                }
            }
            TokenFile::Broken => {
                tracing::warn!("{}: this token is not valid here", path.display());
            }
        }
        Ok(())
    }

    async fn make_first_admin_token(&self, key: &HubKey) -> Result<(), OpenError> {
        let spec = TokenSpec {
            name: "first admin".to_owned(),
            role: Role::Admin,
            silos: Vec::new(),
            hostnames: None,
            expires_at: None,
        };
        let now = self.clock.now();
        // The file is written first: there must be no token whose credential is lost.
        let (new, ours) = match self.data_dir.read_admin_token()? {
            TokenFile::Whole(credential) => (
                NewToken::with_credential(credential, spec, key, now)?,
                false,
            ),
            TokenFile::Absent | TokenFile::Broken => {
                self.data_dir.remove_admin_token()?;
                let new = NewToken::make(spec, key, now)?;
                self.data_dir.write_admin_token(&new.credential)?;
                (new, true)
            }
        };
        let made = self.registry.apply(CreateFirstToken(new.command)).await?;
        if !made && ours {
            // Another hub was faster: its file has the token.
            self.data_dir.remove_admin_token()?;
        }
        Ok(())
    }

    /// Whether no other hub can serve this database.
    pub fn is_alone(&self) -> bool {
        self.lock.is_some()
    }

    /// Wakes subscribers of the bus, forever; `None` after the first call.
    pub fn wake_ups(&self) -> Option<impl Future<Output = ()> + Send + 'static> {
        let mut notifier = self.notifier.lock().unwrap_or_else(PoisonError::into_inner);
        notifier.take().map(Notifier::run)
    }

    /// Waits for the writer to finish and closes the database.
    pub async fn close(self) {
        self.registry.stop().await;
        if let Err(error) = self.writer.await {
            tracing::error!("the writer ended with an error: {error}");
        }
        self.store.close().await;
    }
}

/// Whether the database's file is missing or empty.
fn is_missing(file: &Path) -> bool {
    std::fs::metadata(file).map_or_else(
        |error| error.kind() == std::io::ErrorKind::NotFound,
        |metadata| metadata.len() == 0,
    )
}

/// The log beside an embedded database's file, unless it is missing or empty.
fn filled_log(file: &Path) -> Option<PathBuf> {
    let log = beside(file, "-wal");
    let metadata = std::fs::metadata(&log).ok()?;
    (metadata.len() > 0).then_some(log)
}

/// The database from the settings, else the SQLite file in the data directory.
pub fn database_url(settings: &HubSettings) -> DatabaseUrl {
    let default = || DatabaseUrl::sqlite_file(&settings.data_dir.join(DATABASE_FILE));
    settings.database.clone().unwrap_or_else(default)
}

/// The path of the hub's key.
pub fn key_file(settings: &HubSettings, data_dir: &DataDir) -> PathBuf {
    settings
        .key_file
        .clone()
        .unwrap_or_else(|| data_dir.key_file())
}

/// Reads the key and compares it with the fingerprint stored in the database; `None` if neither exists.
pub fn check_key(path: &Path, known: Option<&str>) -> Result<Option<HubKey>, DataDirError> {
    let wrong = |why| DataDirError::Key {
        path: path.to_owned(),
        why,
    };
    match (read_key(path)?, known) {
        (Some(key), Some(known)) if key.fingerprint() != known => {
            Err(wrong("this key does not match the database"))
        }
        (None, Some(_)) => Err(wrong("the hub's key is missing")),
        (key, _) => Ok(key),
    }
}

/// The parts of an open hub that its HTTP handlers share.
impl OpenHub {
    /// Creates the state of the handlers.
    pub fn http(&self, settings: &HubSettings, key: HubKey) -> Arc<crate::http::Hub> {
        Arc::new(crate::http::Hub {
            store: self.store.clone(),
            registry: self.registry.clone(),
            view: self.view.clone(),
            tokens: self.tokens.clone(),
            bus: self.bus.clone(),
            changes: Changes::new(self.store.clone(), self.bus.clone(), self.position.revision),
            key,
            database_health: self.database_health.clone(),
            clock: self.clock.clone(),
            dates: Arc::new(crate::http::DateGuard::new(self.clock.clone())),
            database_id: self.database_id.clone(),
            failures: self.failures.clone(),
            nonces: crate::http::ReadNonces::default(),
            mismatches: crate::http::Mismatches::default(),
            session_ids: crate::auth::session_ids::SessionIds::default(),
            invitation_lookups: crate::http::InvitationLookups::default(),
            session_notes: crate::http::SessionNotes::default(),
            signed_not_before: self.signed_not_before.clone(),
            rate: crate::http::TokenRate::new(
                settings.limits.requests_per_minute,
                self.clock.clone(),
            ),
            cors: crate::http::Cors::new(&settings.cors_origins),
            // The listener without TLS beside one with TLS serves no pages.
            sites: crate::http::Sites::new(settings.tls.is_some(), settings.public_url.as_ref()),
            dashboard: settings.dashboard,
            body_budgets: crate::http::BodyBudgets::new(settings.limits.body_bytes),
            trusted_proxies: crate::http::TrustedProxies::new(settings.trusted_proxies.clone()),
            openapi: crate::compat::openapi::document,
            requests: crate::http::Requests::default(),
            watchers: crate::http::Watchers::default(),
            attempts: self.attempts.clone(),
            monitor: crate::http::Monitor::new(self.clock.now()),
        })
    }
}
